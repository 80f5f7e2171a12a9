-- Cancel, retry and full re-send; held deletes; back-off per connection; slots of a
-- source; merging; databases restored from a copy.

ALTER TABLE pulls ADD COLUMN kind TEXT NOT NULL DEFAULT 'fetch';
ALTER TABLE pulls ADD COLUMN cancel_requested_at BIGINT;
ALTER TABLE exports ADD COLUMN full_resend BIGINT NOT NULL DEFAULT 0;
ALTER TABLE exports ADD COLUMN cancel_requested_at BIGINT;

-- The end of the block that is being reserved: known before the record store is
-- told, so that a kill in between does not look like a restored database.
ALTER TABLE counters ADD COLUMN reserving_end BIGINT NOT NULL DEFAULT 0;

-- Connections left out of a destination's automatic plans: after a failed chunk
-- until not_before, after a cancelled run until the log grows beyond head_seq.
CREATE TABLE holds (
    destination_id TEXT NOT NULL REFERENCES destinations (id),
    connection_id TEXT NOT NULL REFERENCES connections (id),
    reason TEXT NOT NULL,
    failures BIGINT NOT NULL,
    not_before BIGINT NOT NULL,
    head_seq BIGINT NOT NULL,
    PRIMARY KEY (destination_id, connection_id)
);

-- Deletions that wait for a decision; the object lies in the record store.
CREATE TABLE held_deletes (
    pull_id TEXT PRIMARY KEY,
    connection_id TEXT NOT NULL REFERENCES connections (id),
    object_key TEXT NOT NULL,
    row_count BIGINT NOT NULL,
    types TEXT NOT NULL,
    head_seq BIGINT NOT NULL,
    state TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    decided_at BIGINT,
    -- The pull that settles them once they are accepted.
    accepted_by TEXT
);
CREATE INDEX held_deletes_by_connection ON held_deletes (connection_id, state);
CREATE UNIQUE INDEX held_deletes_one ON held_deletes (connection_id) WHERE state = 'held';

-- The last complete pull of a type: absence is evidence only against the same plan.
CREATE TABLE type_watermarks (
    connection_id TEXT NOT NULL REFERENCES connections (id),
    resource_type TEXT NOT NULL,
    mode TEXT NOT NULL,
    plan_hash TEXT NOT NULL,
    completed_at BIGINT NOT NULL,
    PRIMARY KEY (connection_id, resource_type)
);

-- A source's share of the slots of a queue: rows 0 to n - 1 a subject, taken by
-- conditional update.
CREATE TABLE slots (
    subject_id TEXT NOT NULL,
    number BIGINT NOT NULL,
    holder TEXT NOT NULL,
    until BIGINT NOT NULL,
    PRIMARY KEY (subject_id, number)
);

-- Objects of the record store that no row names any more, kept a while for those
-- who still read them.
CREATE TABLE superseded_objects (
    object_key TEXT PRIMARY KEY,
    connection_id TEXT NOT NULL REFERENCES connections (id),
    superseded_at BIGINT NOT NULL
);

-- Where the numbers of a log jump: a database restored from a copy goes on above
-- all that the record store and the destinations have seen.
CREATE TABLE log_jumps (
    connection_id TEXT NOT NULL REFERENCES connections (id),
    after_seq BIGINT NOT NULL,
    next_seq BIGINT NOT NULL,
    created_at BIGINT NOT NULL,
    PRIMARY KEY (connection_id, after_seq)
);
