-- The text of a key that was made under an Idempotency-Key, sealed, until the answer
-- that has it is kept.
ALTER TABLE idempotency_keys ADD COLUMN secret_sealed TEXT;
