-- One index for lists by source, by verdict and by both: whatever is rare is found without passing the many.
CREATE INDEX CONCURRENTLY IF NOT EXISTS message_place ON message (source, verdict, number);

-- Completed commands, newest first, also where nearly everything waits.
CREATE INDEX CONCURRENTLY IF NOT EXISTS command_completed ON command (class, source, number) WHERE standing = 7;
