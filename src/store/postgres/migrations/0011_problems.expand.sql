-- Why messages were refused and commands do not get on: a row for all that have the same reason. Its number is a digest of
-- the rest. `seen_at` tells the day on which it was last given.
CREATE TABLE IF NOT EXISTS cause (
  id      bigint PRIMARY KEY,
  source  text NOT NULL,
  kind    text NOT NULL,
  state   text NOT NULL,
  code    text NOT NULL,
  place   text,
  text    text NOT NULL,
  seen_at bigint NOT NULL
);

-- Why a message is refused: until it is taken in once more.
CREATE TABLE IF NOT EXISTS blame (
  message bigint NOT NULL,
  cause   bigint NOT NULL,
  PRIMARY KEY (message, cause)
);
CREATE INDEX IF NOT EXISTS blame_cause ON blame (cause, message);

-- Counts only where a command stands so that it has one. What older versions change keeps the one that it had.
ALTER TABLE command ADD COLUMN IF NOT EXISTS cause bigint;
CREATE INDEX CONCURRENTLY IF NOT EXISTS command_cause ON command (cause, number)
  WHERE cause IS NOT NULL AND standing IN (3, 4, 5, 6);
