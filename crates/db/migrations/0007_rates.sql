-- How often a source may be asked, by all workers together.

-- Requests a second; NULL: as often as they like.
ALTER TABLE sources ADD COLUMN requests_per_second BIGINT;

-- When the next turn is that nobody has; workers lease a few at a time.
CREATE TABLE rates (
    subject_id TEXT PRIMARY KEY,
    next_at BIGINT NOT NULL
);
