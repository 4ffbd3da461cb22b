-- What seals everything that may tell of patients, and (number 0) what digests hang from: each wrapped with a master key
-- that is not here, or with two while one takes the place of the other. Sealed values say so themselves; nothing is sealed
-- before this migration is contracted, for older versions cannot read it.
CREATE TABLE data_key (
  number    integer NOT NULL,
  master    bytea NOT NULL,
  wrapped   bytea NOT NULL,
  made_at   bigint NOT NULL,
  used_from bigint NOT NULL,
  retired   boolean NOT NULL,
  seals     bigint NOT NULL,
  PRIMARY KEY (number, master)
);

-- How far what is stored was sealed anew: the table that is walked, and the key of the row up to which it was.
CREATE TABLE renewal (
  walk integer NOT NULL,
  row  text
);
