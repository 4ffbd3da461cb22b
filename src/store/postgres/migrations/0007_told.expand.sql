-- Since when a destination is not in the settings any more; how often a receiver said "not now"; which documents a folder had.
ALTER TABLE told ADD COLUMN IF NOT EXISTS left_at bigint;
ALTER TABLE dispatch ADD COLUMN IF NOT EXISTS put_off integer NOT NULL DEFAULT 0;
CREATE INDEX CONCURRENTLY IF NOT EXISTS dispatch_named ON dispatch (destination, control_id);
