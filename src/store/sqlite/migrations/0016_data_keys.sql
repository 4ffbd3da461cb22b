-- What seals everything that may tell of patients, and (number 0) what digests hang from: each wrapped with a master key
-- that is not here, or with two while one takes the place of the other. Sealed values say so themselves.
CREATE TABLE data_key (
  number    INTEGER NOT NULL,
  master    BLOB NOT NULL,
  wrapped   BLOB NOT NULL,
  made_at   INTEGER NOT NULL,
  used_from INTEGER NOT NULL,
  retired   INTEGER NOT NULL,
  seals     INTEGER NOT NULL,
  PRIMARY KEY (number, master)
) STRICT, WITHOUT ROWID;

-- For a copy to PostgreSQL, which needs it apart from the body; NULL where the body is in clear.
ALTER TABLE command ADD COLUMN local_id TEXT;
