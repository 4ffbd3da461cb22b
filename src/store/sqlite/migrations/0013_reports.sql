-- Days whose report was published.
CREATE TABLE day_report (
  day TEXT PRIMARY KEY,
  at  INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
