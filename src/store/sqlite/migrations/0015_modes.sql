-- What people switched, by target: a list of decisions as JSON, replaced as a whole by who knows its version.
CREATE TABLE switched (
  kind     TEXT NOT NULL,
  name     TEXT NOT NULL,
  version  INTEGER NOT NULL,
  switches TEXT NOT NULL,
  at       INTEGER NOT NULL,
  PRIMARY KEY (kind, name)
) STRICT, WITHOUT ROWID;
