-- What a source bears: the bounds that the operator sets, and what its answers say.

-- Requests that wait for an answer, and pulls at work, of all workers together;
-- NULL: what the workers' settings come to.
ALTER TABLE sources ADD COLUMN concurrent_requests BIGINT;
ALTER TABLE sources ADD COLUMN concurrent_pulls BIGINT;

-- The rate that its throttling has left, in thousandths of a request a second, and
-- what a second of use adds to it; NULL: the whole.
ALTER TABLE rates ADD COLUMN milli_per_second BIGINT;
ALTER TABLE rates ADD COLUMN growth_milli BIGINT NOT NULL DEFAULT 0;
ALTER TABLE rates ADD COLUMN throttled_at BIGINT NOT NULL DEFAULT 0;

-- It wants to be left alone until then.
ALTER TABLE rates ADD COLUMN held_until BIGINT NOT NULL DEFAULT 0;

-- How long a request takes, smoothed; NULL: not known yet.
ALTER TABLE rates ADD COLUMN request_us BIGINT;
