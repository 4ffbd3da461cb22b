-- What kind of actor it was and from where; the reason beside the chain, with a salted digest of it in the chain.
-- Rows before this, and those of older versions, keep NULL in all four: their reason itself is in the chain.
ALTER TABLE audit ADD COLUMN IF NOT EXISTS kind text;
ALTER TABLE audit ADD COLUMN IF NOT EXISTS place text;
ALTER TABLE audit ADD COLUMN IF NOT EXISTS why_salt text;
ALTER TABLE audit ADD COLUMN IF NOT EXISTS why_digest text;
CREATE INDEX CONCURRENTLY IF NOT EXISTS audit_act ON audit (act, by, number);
CREATE INDEX CONCURRENTLY IF NOT EXISTS audit_reason ON audit (at) WHERE why_salt IS NOT NULL;
-- How many entries there ever were, but for those that older versions add.
INSERT INTO meta (name, value) SELECT 'audit_entries', coalesce(max(number), 0) FROM audit ON CONFLICT DO NOTHING;
