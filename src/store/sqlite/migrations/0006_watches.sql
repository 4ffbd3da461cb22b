-- Worklists as they were when they were last looked at, and how often that was on each day.
CREATE TABLE snapshot (
  watch   TEXT NOT NULL,
  service TEXT NOT NULL,
  version INTEGER NOT NULL,
  by      BLOB NOT NULL,
  at      INTEGER NOT NULL,
  content BLOB NOT NULL,
  PRIMARY KEY (watch, service)
) STRICT, WITHOUT ROWID;

CREATE TABLE spent (
  application TEXT NOT NULL,
  call        TEXT NOT NULL,
  counts_for  TEXT NOT NULL,
  day         TEXT NOT NULL,
  calls       INTEGER NOT NULL,
  PRIMARY KEY (application, call, counts_for, day)
) STRICT, WITHOUT ROWID;
