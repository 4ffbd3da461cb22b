-- Days whose report was published.
CREATE TABLE day_report (
  day text PRIMARY KEY,
  at  bigint NOT NULL
);
