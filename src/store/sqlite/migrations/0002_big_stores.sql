-- Which command made a thread's referral, once that command is purged: the first of those that completed.
-- `created_by` then still has its number, which is never used again.
ALTER TABLE thread ADD COLUMN purged_creator INTEGER;
ALTER TABLE thread ADD COLUMN purged_creator_id BLOB;
ALTER TABLE thread ADD COLUMN purged_creates BLOB;

-- One index for lists by source, by verdict and by both: whatever is rare is found without passing the many.
DROP INDEX message_source;
DROP INDEX message_verdict;
CREATE INDEX message_place ON message (source, verdict);

-- Completed commands, newest first, also where nearly everything waits.
CREATE INDEX command_completed ON command (class, source) WHERE standing = 7;
