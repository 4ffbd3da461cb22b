-- Messages to hospital systems: application answers that are owed, how far each destination was told of events, and what
-- is on its way to one.
CREATE TABLE owed_answer (
  message     BLOB PRIMARY KEY,
  outcome_of  BLOB NOT NULL,
  destination TEXT NOT NULL,
  at          INTEGER NOT NULL,
  settled_at  INTEGER
) STRICT, WITHOUT ROWID;
CREATE INDEX owed_answer_open ON owed_answer (at) WHERE settled_at IS NULL;
CREATE INDEX owed_answer_settled ON owed_answer (settled_at) WHERE settled_at IS NOT NULL;

CREATE TABLE told (
  destination TEXT PRIMARY KEY,
  position    INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- AUTOINCREMENT: what a destination gets, it gets in the order of these numbers. Without content: to be made anew.
CREATE TABLE dispatch (
  number      INTEGER PRIMARY KEY AUTOINCREMENT,
  id          BLOB NOT NULL UNIQUE,
  destination TEXT NOT NULL,
  state       TEXT NOT NULL,
  kind        TEXT NOT NULL,
  control_id  TEXT NOT NULL,
  subject     TEXT NOT NULL,
  event       INTEGER,
  created_at  INTEGER NOT NULL,
  changed_at  INTEGER NOT NULL,
  tries       INTEGER NOT NULL,
  why         TEXT NOT NULL,
  content     BLOB
) STRICT;
CREATE INDEX dispatch_place ON dispatch (destination, state, number);
CREATE INDEX dispatch_open ON dispatch (state, destination, number) WHERE state NOT IN ('delivered', 'discarded');
CREATE INDEX dispatch_ended ON dispatch (changed_at) WHERE state IN ('delivered', 'discarded');
