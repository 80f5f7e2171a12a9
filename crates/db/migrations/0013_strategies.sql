-- How a source is asked for a patient's record.

-- `search`, `everything` or `bulk`.
ALTER TABLE sources ADD COLUMN strategy TEXT NOT NULL DEFAULT 'search';
