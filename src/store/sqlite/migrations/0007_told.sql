-- Since when a destination is not in the settings any more; how often a receiver said "not now"; which documents a folder had.
ALTER TABLE told ADD COLUMN left_at INTEGER;
ALTER TABLE dispatch ADD COLUMN put_off INTEGER NOT NULL DEFAULT 0;
CREATE INDEX dispatch_named ON dispatch (destination, control_id);
