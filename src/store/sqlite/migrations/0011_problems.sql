-- Why messages were refused and commands do not get on: a row for all that have the same reason. Its number is a digest of
-- the rest. `seen_at` tells the day on which it was last given.
CREATE TABLE cause (
  id      INTEGER PRIMARY KEY,
  source  TEXT NOT NULL,
  kind    TEXT NOT NULL,
  state   TEXT NOT NULL,
  code    TEXT NOT NULL,
  place   TEXT,
  text    TEXT NOT NULL,
  seen_at INTEGER NOT NULL
) STRICT;

-- Why a message is refused: until it is taken in once more.
CREATE TABLE blame (
  message INTEGER NOT NULL REFERENCES message (number),
  cause   INTEGER NOT NULL,
  PRIMARY KEY (message, cause)
) STRICT, WITHOUT ROWID;
CREATE INDEX blame_cause ON blame (cause, message);

-- Counts only where a command stands so that it has one.
ALTER TABLE command ADD COLUMN cause INTEGER;
CREATE INDEX command_cause ON command (cause) WHERE cause IS NOT NULL AND standing IN (3, 4, 5, 6);
