-- What people switched, by target: a list of decisions as JSON, replaced as a whole by who knows its version.
CREATE TABLE switched (
  kind     text NOT NULL,
  name     text NOT NULL,
  version  bigint NOT NULL,
  switches text NOT NULL,
  at       bigint NOT NULL,
  PRIMARY KEY (kind, name)
);
