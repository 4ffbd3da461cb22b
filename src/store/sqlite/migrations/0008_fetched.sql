-- Documents that e-RS answered with, in chunks, each with the attempt that fetched it.
CREATE TABLE fetched (
  command  INTEGER NOT NULL REFERENCES command (number),
  attempt  BLOB NOT NULL,
  position INTEGER NOT NULL,
  bytes    BLOB NOT NULL,
  PRIMARY KEY (command, attempt, position)
) STRICT;
