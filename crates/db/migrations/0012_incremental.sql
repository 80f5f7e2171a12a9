-- Pulls of what has changed, and pulls by a schedule.

-- The newest change that the connection has of the type, by the source's clock; NULL:
-- it is asked for whole.
ALTER TABLE type_watermarks ADD COLUMN had_to BIGINT;

-- How the type was asked for: full or updated. NULL: it was not searched for.
ALTER TABLE pull_types ADD COLUMN mode TEXT;

-- Whether the pull asks for everything, whatever the connection has.
ALTER TABLE pulls ADD COLUMN asks_full BIGINT NOT NULL DEFAULT 0;

-- Types of a source whose searches do not take _lastUpdated, as a pull found out.
CREATE TABLE unfiltered_types (
    source_id TEXT NOT NULL,
    resource_type TEXT NOT NULL,
    learned_at BIGINT NOT NULL,
    expires_at BIGINT NOT NULL,
    PRIMARY KEY (source_id, resource_type)
);

-- Seconds between two pulls of a connection. Of a source NULL: none are scheduled; of
-- a connection NULL: as at its source, 0: none.
ALTER TABLE sources ADD COLUMN pull_interval_s BIGINT;
ALTER TABLE connections ADD COLUMN pull_interval_s BIGINT;

-- When a pull of the connection that asks the source was last queued.
ALTER TABLE connections ADD COLUMN last_pull_at BIGINT;
UPDATE connections SET last_pull_at =
    (SELECT MAX(pulls.created_at) FROM pulls WHERE pulls.connection_id = connections.id AND pulls.kind = 'fetch');
