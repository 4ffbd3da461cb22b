-- What kind of actor it was and from where; the reason beside the chain, with a salted digest of it in the chain.
-- Rows before this keep NULL in all four: their reason itself is in the chain.
ALTER TABLE audit ADD COLUMN kind TEXT;
ALTER TABLE audit ADD COLUMN place TEXT;
ALTER TABLE audit ADD COLUMN why_salt TEXT;
ALTER TABLE audit ADD COLUMN why_digest TEXT;
CREATE INDEX audit_act ON audit (act, by, number);
CREATE INDEX audit_reason ON audit (at) WHERE why_salt IS NOT NULL;
-- How many entries there ever were.
INSERT INTO meta (name, value) SELECT 'audit_entries', coalesce(max(number), 0) FROM audit;
