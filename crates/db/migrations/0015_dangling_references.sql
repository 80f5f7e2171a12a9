-- References of a connection that led nowhere when they were last read: not asked for
-- again for a while.
CREATE TABLE dangling_references (
    connection_id TEXT NOT NULL,
    -- A hash of type and id; neither can be read from it.
    target_hash BIGINT NOT NULL,
    asked_at BIGINT NOT NULL,
    PRIMARY KEY (connection_id, target_hash)
);
