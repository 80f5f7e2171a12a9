-- Which connections a schedule says are to be pulled is found by an index, however many
-- there are.

-- The interval that holds, in seconds: the connection's own, else its source's; 0: none,
-- or the source is disabled. Kept with both (schedules.rs).
ALTER TABLE connections ADD COLUMN pull_every_s BIGINT NOT NULL DEFAULT 0;

-- By how many thousandths of a tenth of the interval the connection is due earlier: the
-- last six digits of its id, in hexadecimal, modulo 1000.
ALTER TABLE connections ADD COLUMN pull_share BIGINT NOT NULL DEFAULT 0;

CREATE TABLE hex_digits (digit TEXT PRIMARY KEY, value BIGINT NOT NULL);
INSERT INTO hex_digits (digit, value) VALUES
    ('0', 0), ('1', 1), ('2', 2), ('3', 3), ('4', 4), ('5', 5), ('6', 6), ('7', 7),
    ('8', 8), ('9', 9), ('a', 10), ('b', 11), ('c', 12), ('d', 13), ('e', 14), ('f', 15);

UPDATE connections SET
    pull_every_s = (SELECT CASE WHEN sources.enabled = 1
        THEN COALESCE(connections.pull_interval_s, sources.pull_interval_s, 0) ELSE 0 END
        FROM sources WHERE sources.id = connections.source_id),
    pull_share = (
        1048576 * (SELECT value FROM hex_digits WHERE digit = substr(connections.id, length(connections.id) - 5, 1))
        + 65536 * (SELECT value FROM hex_digits WHERE digit = substr(connections.id, length(connections.id) - 4, 1))
        + 4096 * (SELECT value FROM hex_digits WHERE digit = substr(connections.id, length(connections.id) - 3, 1))
        + 256 * (SELECT value FROM hex_digits WHERE digit = substr(connections.id, length(connections.id) - 2, 1))
        + 16 * (SELECT value FROM hex_digits WHERE digit = substr(connections.id, length(connections.id) - 1, 1))
        + (SELECT value FROM hex_digits WHERE digit = substr(connections.id, length(connections.id), 1))
    ) % 1000;

DROP TABLE hex_digits;

-- When a connection is due, and its id. Queries name the expression letter by letter.
CREATE INDEX connections_due ON connections
    ((COALESCE(last_pull_at, created_at) + pull_every_s * (1000000 - 100 * pull_share)), id)
    WHERE pull_every_s > 0 AND enabled = 1 AND status = 'active';
