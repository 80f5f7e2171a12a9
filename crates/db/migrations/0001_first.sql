-- One schema for SQLite and PostgreSQL: TEXT and BIGINT only. Times are
-- microseconds UTC, booleans 0 or 1, sealed values base64 (crates/seal).
-- Changes are additive; docs/contract.md lists every name.

CREATE TABLE sources (
    id TEXT PRIMARY KEY,
    name TEXT NOT NULL UNIQUE,
    base_url TEXT NOT NULL,
    identity TEXT NOT NULL UNIQUE,
    auth TEXT NOT NULL,
    enabled BIGINT NOT NULL,
    created_at BIGINT NOT NULL
);

CREATE TABLE patients (
    id TEXT PRIMARY KEY,
    external_id TEXT UNIQUE,
    created_at BIGINT NOT NULL
);

CREATE TABLE connections (
    id TEXT PRIMARY KEY,
    patient_id TEXT NOT NULL REFERENCES patients (id),
    source_id TEXT NOT NULL REFERENCES sources (id),
    status TEXT NOT NULL,
    enabled BIGINT NOT NULL,
    source_patient_id_sealed TEXT NOT NULL,
    token_sealed TEXT,
    -- The log: compare-and-swap on log_version is how settle commits.
    log_version BIGINT NOT NULL,
    head_seq BIGINT NOT NULL,
    index_key TEXT,
    pull_failures BIGINT NOT NULL,
    pull_not_before BIGINT NOT NULL,
    created_at BIGINT NOT NULL,
    UNIQUE (patient_id, source_id)
);

CREATE TABLE pulls (
    id TEXT PRIMARY KEY,
    connection_id TEXT NOT NULL REFERENCES connections (id),
    state TEXT NOT NULL,
    phase TEXT NOT NULL,
    retry_of TEXT,
    workflow_run_id TEXT,
    settle_seq BIGINT,
    batch_seq BIGINT,
    pages BIGINT NOT NULL,
    counts TEXT NOT NULL,
    error_code TEXT,
    created_at BIGINT NOT NULL,
    started_at BIGINT,
    finished_at BIGINT,
    updated_at BIGINT NOT NULL
);
CREATE UNIQUE INDEX pulls_one_queued ON pulls (connection_id) WHERE state = 'queued';
CREATE UNIQUE INDEX pulls_one_running ON pulls (connection_id) WHERE state = 'running';
CREATE INDEX pulls_by_connection ON pulls (connection_id, id);
CREATE INDEX pulls_open ON pulls (state, updated_at) WHERE state IN ('queued', 'running');

-- What one pull got of each type: its coverage.
CREATE TABLE pull_types (
    pull_id TEXT NOT NULL REFERENCES pulls (id),
    resource_type TEXT NOT NULL,
    outcome TEXT NOT NULL,
    error_code TEXT,
    pages BIGINT NOT NULL,
    counts TEXT NOT NULL,
    PRIMARY KEY (pull_id, resource_type)
);

-- Why a run was asked for; run_id is a pull's or an export's.
CREATE TABLE run_triggers (
    run_id TEXT NOT NULL,
    reason TEXT NOT NULL,
    count BIGINT NOT NULL,
    first_at BIGINT NOT NULL,
    PRIMARY KEY (run_id, reason)
);

-- One row a step of a run: the fence (token), saved progress, the receipt.
CREATE TABLE steps (
    run_id TEXT NOT NULL,
    name TEXT NOT NULL,
    token TEXT NOT NULL,
    state TEXT NOT NULL,
    attempts BIGINT NOT NULL,
    idle_attempts BIGINT NOT NULL,
    progress_sealed TEXT,
    receipt TEXT,
    updated_at BIGINT NOT NULL,
    PRIMARY KEY (run_id, name)
);

CREATE TABLE staging_objects (
    pull_id TEXT NOT NULL REFERENCES pulls (id),
    step TEXT NOT NULL,
    ordinal BIGINT NOT NULL,
    object_key TEXT NOT NULL,
    row_count BIGINT NOT NULL,
    size_bytes BIGINT NOT NULL,
    saved_at BIGINT NOT NULL,
    PRIMARY KEY (pull_id, step, ordinal)
);

CREATE TABLE batches (
    connection_id TEXT NOT NULL REFERENCES connections (id),
    seq BIGINT NOT NULL,
    id TEXT NOT NULL UNIQUE,
    object_key TEXT NOT NULL,
    pull_id TEXT NOT NULL,
    settle_seq BIGINT NOT NULL,
    row_count BIGINT NOT NULL,
    deleted_count BIGINT NOT NULL,
    size_bytes BIGINT NOT NULL,
    created_at BIGINT NOT NULL,
    PRIMARY KEY (connection_id, seq)
);

CREATE TABLE destinations (
    id TEXT PRIMARY KEY,
    name TEXT NOT NULL UNIQUE,
    location TEXT NOT NULL UNIQUE,
    format TEXT NOT NULL,
    enabled BIGINT NOT NULL,
    epoch BIGINT NOT NULL,
    last_publication BIGINT NOT NULL,
    failures BIGINT NOT NULL,
    not_before BIGINT NOT NULL,
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL
);

-- What a destination lacks: a cache of head > watermark.
CREATE TABLE marks (
    destination_id TEXT NOT NULL REFERENCES destinations (id),
    connection_id TEXT NOT NULL REFERENCES connections (id),
    since BIGINT NOT NULL,
    PRIMARY KEY (destination_id, connection_id)
);

-- Reasons gathered for the next export of a destination.
CREATE TABLE pending_triggers (
    destination_id TEXT NOT NULL REFERENCES destinations (id),
    reason TEXT NOT NULL,
    count BIGINT NOT NULL,
    first_at BIGINT NOT NULL,
    PRIMARY KEY (destination_id, reason)
);

CREATE TABLE watermarks (
    destination_id TEXT NOT NULL REFERENCES destinations (id),
    connection_id TEXT NOT NULL REFERENCES connections (id),
    epoch BIGINT NOT NULL,
    seq BIGINT NOT NULL,
    updated_at BIGINT NOT NULL,
    PRIMARY KEY (destination_id, connection_id)
);

CREATE TABLE exports (
    id TEXT PRIMARY KEY,
    destination_id TEXT NOT NULL REFERENCES destinations (id),
    state TEXT NOT NULL,
    phase TEXT NOT NULL,
    retry_of TEXT,
    workflow_run_id TEXT,
    plan_id TEXT,
    plan_number BIGINT,
    plan_epoch BIGINT,
    chunk_count BIGINT NOT NULL,
    counts TEXT NOT NULL,
    patients BIGINT NOT NULL,
    part_count BIGINT NOT NULL,
    size_bytes BIGINT NOT NULL,
    publication_count BIGINT NOT NULL,
    error_code TEXT,
    created_at BIGINT NOT NULL,
    started_at BIGINT,
    finished_at BIGINT,
    updated_at BIGINT NOT NULL
);
CREATE UNIQUE INDEX exports_one_queued ON exports (destination_id) WHERE state = 'queued';
CREATE UNIQUE INDEX exports_one_running ON exports (destination_id) WHERE state = 'running';
CREATE INDEX exports_by_destination ON exports (destination_id, id);
CREATE INDEX exports_open ON exports (state, updated_at) WHERE state IN ('queued', 'running');

-- A plan: which batches of which connection, in which chunk.
CREATE TABLE export_spans (
    export_id TEXT NOT NULL REFERENCES exports (id),
    plan_id TEXT NOT NULL,
    connection_id TEXT NOT NULL REFERENCES connections (id),
    chunk BIGINT NOT NULL,
    from_seq BIGINT NOT NULL,
    to_seq BIGINT NOT NULL,
    index_key TEXT,
    state TEXT NOT NULL,
    counts TEXT NOT NULL,
    error_code TEXT,
    PRIMARY KEY (export_id, plan_id, connection_id)
);

-- Files written by the chunks of a plan; a publication says which count.
CREATE TABLE parts (
    export_id TEXT NOT NULL REFERENCES exports (id),
    plan_id TEXT NOT NULL,
    chunk BIGINT NOT NULL,
    ordinal BIGINT NOT NULL,
    path TEXT NOT NULL,
    resource_type TEXT NOT NULL,
    deleted BIGINT NOT NULL,
    row_count BIGINT NOT NULL,
    size_bytes BIGINT NOT NULL,
    sha256 TEXT NOT NULL,
    PRIMARY KEY (export_id, plan_id, chunk, ordinal)
);

CREATE TABLE publications (
    destination_id TEXT NOT NULL REFERENCES destinations (id),
    number BIGINT NOT NULL,
    export_id TEXT NOT NULL,
    plan_id TEXT NOT NULL,
    burnt BIGINT NOT NULL,
    part_count BIGINT NOT NULL,
    row_count BIGINT NOT NULL,
    size_bytes BIGINT NOT NULL,
    created_at BIGINT NOT NULL,
    PRIMARY KEY (destination_id, number)
);

CREATE TABLE events (
    id TEXT PRIMARY KEY,
    type TEXT NOT NULL,
    subject_id TEXT NOT NULL,
    body TEXT NOT NULL,
    created_at BIGINT NOT NULL
);

-- Numbers handed out in blocks: value is the last given, block_end the last reserved.
CREATE TABLE counters (
    name TEXT PRIMARY KEY,
    value BIGINT NOT NULL,
    block_end BIGINT NOT NULL
);
INSERT INTO counters (name, value, block_end) VALUES ('settle_seq', 0, 0);

CREATE TABLE leases (
    name TEXT PRIMARY KEY,
    holder TEXT NOT NULL,
    until BIGINT NOT NULL
);
