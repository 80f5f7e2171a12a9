-- How sources are logged in to, the tokens that come of it, and the keys that sign.

-- JSON: client_id, token_url, scope, method, algorithm; NULL where none is needed.
ALTER TABLE sources ADD COLUMN login TEXT;
ALTER TABLE sources ADD COLUMN login_secret_sealed TEXT;

-- The tokens of a connection, or of a source where they are the client's own.
-- A version is a pair of tokens; who refreshes it holds it until a time.
CREATE TABLE tokens (
    subject_id TEXT PRIMARY KEY,
    version BIGINT NOT NULL,
    access_sealed TEXT,
    refresh_sealed TEXT,
    scope TEXT,
    obtained_at BIGINT NOT NULL,
    refresh_at BIGINT NOT NULL,
    expires_at BIGINT NOT NULL,
    after_refusal BIGINT NOT NULL,
    holder TEXT NOT NULL,
    held_until BIGINT NOT NULL,
    failures BIGINT NOT NULL,
    not_before BIGINT NOT NULL,
    error_code TEXT
);

-- The keys by which Chartlift proves who it is. One signs from a time on, and its
-- public half is published until a time (NULL: no end is known).
CREATE TABLE signing_keys (
    kid TEXT PRIMARY KEY,
    algorithm TEXT NOT NULL,
    public_jwk TEXT NOT NULL,
    private_sealed TEXT NOT NULL,
    signs_from BIGINT NOT NULL,
    published_until BIGINT,
    created_at BIGINT NOT NULL
);
