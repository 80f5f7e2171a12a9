-- What the API keeps: keys (only their hashes), what was asked under which
-- Idempotency-Key, and who did what.

CREATE TABLE api_keys (
    id TEXT PRIMARY KEY,
    name TEXT NOT NULL,
    hash TEXT NOT NULL UNIQUE,
    scopes TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    expires_at BIGINT,
    revoked_at BIGINT,
    last_used_at BIGINT,
    -- The key that took its place; both are good until expires_at.
    replaced_by TEXT
);

-- Inserted in the transaction of the effect; the answer is added afterwards,
-- sealed: it may hold a new key.
CREATE TABLE idempotency_keys (
    idempotency_key TEXT PRIMARY KEY,
    api_key_id TEXT NOT NULL,
    fingerprint TEXT NOT NULL,
    subject_id TEXT NOT NULL,
    answer_sealed TEXT,
    created_at BIGINT NOT NULL
);
CREATE INDEX idempotency_keys_by_age ON idempotency_keys (created_at);

-- Rows are only ever added.
CREATE TABLE audit (
    id TEXT PRIMARY KEY,
    -- Whose key; NULL for the command line and the service itself.
    api_key_id TEXT,
    action TEXT NOT NULL,
    subject_id TEXT NOT NULL,
    detail TEXT NOT NULL,
    created_at BIGINT NOT NULL
);
CREATE INDEX audit_by_subject ON audit (subject_id, id);
