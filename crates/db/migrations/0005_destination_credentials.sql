-- The key to a destination that is an object store, sealed; none for a folder.
ALTER TABLE destinations ADD COLUMN credentials_sealed TEXT;
