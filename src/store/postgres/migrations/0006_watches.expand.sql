-- Worklists as they were when they were last looked at, and how often that was on each day.
CREATE TABLE snapshot (
  watch   text NOT NULL,
  service text NOT NULL,
  version bigint NOT NULL,
  by      uuid NOT NULL,
  at      bigint NOT NULL,
  content bytea NOT NULL,
  PRIMARY KEY (watch, service)
);

CREATE TABLE spent (
  application text NOT NULL,
  call        text NOT NULL,
  counts_for  text NOT NULL,
  day         text NOT NULL,
  calls       bigint NOT NULL,
  PRIMARY KEY (application, call, counts_for, day)
);
