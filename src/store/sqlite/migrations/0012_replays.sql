-- Many failed commands or refused messages, replayed because of one decision.
CREATE TABLE bulk_replay (
  id         BLOB PRIMARY KEY,
  filter     TEXT NOT NULL,
  -- Of the quota, in thousandths.
  share      INTEGER NOT NULL,
  overtaken  INTEGER NOT NULL,
  standing   TEXT NOT NULL,
  by         TEXT NOT NULL,
  place      TEXT NOT NULL,
  why        TEXT NOT NULL,
  created_at INTEGER NOT NULL,
  changed_at INTEGER NOT NULL,
  -- Everything up to this number was come to.
  at         INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- What each came to. `subject`: the command, or the refused message.
CREATE TABLE replay_item (
  replay  BLOB NOT NULL,
  subject BLOB NOT NULL,
  message BLOB NOT NULL,
  command BLOB,
  -- The message as which a refused one was taken in.
  made    BLOB,
  outcome TEXT NOT NULL,
  why     TEXT NOT NULL,
  at      INTEGER NOT NULL,
  PRIMARY KEY (replay, subject)
) STRICT, WITHOUT ROWID;
CREATE INDEX replay_outcome ON replay_item (replay, outcome);
