-- How a source wants to be asked, and what a pull has to say of a type beside its
-- counts.

-- What worked at a source where the plain search of a type was refused.
CREATE TABLE source_plans (
    source_id TEXT NOT NULL,
    resource_type TEXT NOT NULL,
    plan_sealed TEXT NOT NULL,
    learned_at BIGINT NOT NULL,
    expires_at BIGINT NOT NULL,
    PRIMARY KEY (source_id, resource_type)
);

-- A JSON array of remarks.
ALTER TABLE pull_types ADD COLUMN notes TEXT NOT NULL DEFAULT '[]';

-- The types that the operator wants of a source, a JSON array; NULL: all.
ALTER TABLE sources ADD COLUMN types TEXT;
