-- Whom a message and what e-RS answered to its calls mention, as keyed digests; one that mentions nobody has a row with an
-- empty one, so that those without a row are known to be unread, those of older versions among them.
CREATE TABLE IF NOT EXISTS mention (
  message bigint NOT NULL,
  patient bytea NOT NULL,
  PRIMARY KEY (message, patient)
);
CREATE INDEX IF NOT EXISTS mention_patient ON mention (patient, message);

-- What retention leaves alone: a message, or a patient.
CREATE TABLE IF NOT EXISTS legal_hold (
  id      uuid PRIMARY KEY,
  message uuid,
  patient bytea,
  at      bigint NOT NULL,
  by      text NOT NULL
);

CREATE INDEX CONCURRENTLY IF NOT EXISTS thread_merged ON thread (merged_into) WHERE merged_into IS NOT NULL;
