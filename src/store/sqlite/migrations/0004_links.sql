-- What must be remembered between two messages of a sender: pieces of a message that wait for their continuation, and
-- the sequence number that comes next. Both are small and few.
CREATE TABLE held_piece (
  source  TEXT NOT NULL,
  pointer BLOB NOT NULL,
  message BLOB NOT NULL,
  at      INTEGER NOT NULL,
  PRIMARY KEY (source, pointer)
) STRICT, WITHOUT ROWID;

CREATE TABLE link_number (
  source TEXT PRIMARY KEY,
  next   INTEGER NOT NULL,
  at     INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
