-- Documents that e-RS answered with, in chunks, each with the attempt that fetched it.
CREATE TABLE fetched (
  command  bigint NOT NULL,
  attempt  uuid NOT NULL,
  position integer NOT NULL,
  bytes    bytea NOT NULL,
  PRIMARY KEY (command, attempt, position)
);
ALTER TABLE fetched ALTER COLUMN bytes SET STORAGE EXTERNAL;
