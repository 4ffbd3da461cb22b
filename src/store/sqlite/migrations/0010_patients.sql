-- Whom a message and what e-RS answered to its calls mention, as keyed digests; one that mentions nobody has a row with an
-- empty one, so that those without a row are known to be unread.
CREATE TABLE mention (
  message INTEGER NOT NULL REFERENCES message (number),
  patient BLOB NOT NULL,
  PRIMARY KEY (message, patient)
) STRICT, WITHOUT ROWID;
CREATE INDEX mention_patient ON mention (patient, message);

-- What retention leaves alone: a message, or a patient.
CREATE TABLE legal_hold (
  id      BLOB PRIMARY KEY,
  message BLOB,
  patient BLOB,
  at      INTEGER NOT NULL,
  by      TEXT NOT NULL
) STRICT, WITHOUT ROWID;

CREATE INDEX thread_merged ON thread (merged_into) WHERE merged_into IS NOT NULL;
