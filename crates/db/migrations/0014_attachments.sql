-- Attachments that resources name by a URL.

-- `fetch` or `leave`.
ALTER TABLE sources ADD COLUMN attachments TEXT NOT NULL DEFAULT 'fetch';

-- What became of the attachments of a pull (JSON). NULL: none were looked for.
ALTER TABLE pulls ADD COLUMN attachments TEXT;

-- One row for each URL of a connection's resources.
CREATE TABLE attachments (
    id TEXT PRIMARY KEY,
    connection_id TEXT NOT NULL REFERENCES connections (id),
    -- SHA-256, cut to 128 bits, over connection and URL.
    url_hash TEXT NOT NULL,
    -- Where it lies: relative to the source's base, or whole.
    url_sealed TEXT NOT NULL,
    -- What the source called the version that is had.
    etag_sealed TEXT,
    -- The type of a resource that names it.
    resource_type TEXT NOT NULL,
    state TEXT NOT NULL,
    code TEXT,
    -- Attempts in a row that brought nothing, and when the next may be made; NULL: none
    -- is made until the resource changes or everything is asked for.
    attempts BIGINT NOT NULL,
    not_before BIGINT,
    -- What its resource says of it.
    declared_type TEXT,
    declared_size_bytes BIGINT,
    declared_sha1 TEXT,
    -- What the source said it is when it was asked last, and how large.
    content_type TEXT,
    told_size_bytes BIGINT,
    -- The bytes that are had: names of pieces are object_key, a dot and a number.
    size_bytes BIGINT,
    sha256 TEXT,
    object_key TEXT,
    piece_count BIGINT,
    fetched_at BIGINT,
    -- The last pull that asked for it, or decided not to.
    pull_id TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL,
    UNIQUE (connection_id, url_hash)
);
CREATE INDEX attachments_by_connection ON attachments (connection_id, id);
