-- Identifiers are 16 bytes (UUID), digests 32, times microseconds since 1970 (UTC).
-- `number` is the order of arrival; rows refer to each other by it.

CREATE TABLE source (
  number INTEGER PRIMARY KEY,
  name   TEXT NOT NULL UNIQUE
) STRICT;

-- One inbound unit exactly as received. Never changed afterwards.
CREATE TABLE message (
  number          INTEGER PRIMARY KEY,
  id              BLOB NOT NULL UNIQUE,
  source          INTEGER NOT NULL REFERENCES source (number),
  transport       TEXT NOT NULL,
  control_id      TEXT,
  kind            TEXT NOT NULL,
  charset         TEXT NOT NULL,
  received_at     INTEGER NOT NULL,
  verdict         TEXT NOT NULL,
  size            INTEGER NOT NULL,
  sha256          BLOB NOT NULL,
  problems        TEXT,
  -- Its commands have the numbers first_command .. first_command + commands - 1.
  first_command   INTEGER NOT NULL,
  commands        INTEGER NOT NULL,
  acknowledgement BLOB NOT NULL,
  -- NULL if the message is long: its bytes are in message_chunk. Last, so that what is listed is read without it.
  raw             BLOB
) STRICT;
CREATE INDEX message_source ON message (source);
CREATE INDEX message_verdict ON message (verdict) WHERE verdict <> 'accepted';

CREATE TABLE message_chunk (
  message  INTEGER NOT NULL REFERENCES message (number),
  position INTEGER NOT NULL,
  bytes    BLOB NOT NULL,
  PRIMARY KEY (message, position)
) STRICT;

-- Text that intake made from a message, in chunks.
CREATE TABLE document (
  message  INTEGER NOT NULL REFERENCES message (number),
  number   INTEGER NOT NULL,
  position INTEGER NOT NULL,
  bytes    BLOB NOT NULL,
  PRIMARY KEY (message, number, position)
) STRICT;

-- That the sender got its answer. A table of its own: one small row at the end instead of a message rewritten.
CREATE TABLE acknowledged (
  message INTEGER PRIMARY KEY REFERENCES message (number),
  at      INTEGER NOT NULL
) STRICT;

-- What a resend is recognised by. No reference to message: it outlives what is purged.
CREATE TABLE dedup (
  source     INTEGER NOT NULL,
  control_id TEXT NOT NULL,
  sha256     BLOB NOT NULL,
  message    BLOB NOT NULL,
  PRIMARY KEY (source, control_id)
) STRICT, WITHOUT ROWID;

-- Everything about one referral.
CREATE TABLE thread (
  number      INTEGER PRIMARY KEY,
  id          BLOB NOT NULL,
  -- That of its newest event.
  sequence    INTEGER NOT NULL,
  -- The command that made (or will make) the referral.
  created_by  INTEGER,
  known       TEXT,
  -- Set when another thread took over its commands.
  merged_into INTEGER REFERENCES thread (number)
) STRICT;

CREATE TABLE alias (
  digest BLOB NOT NULL,
  kind   INTEGER NOT NULL,
  thread INTEGER NOT NULL,
  PRIMARY KEY (digest, kind)
) STRICT, WITHOUT ROWID;

-- standing: 0 ready, 1 held, 2 running, 3 waiting, 4 unauthorised, 5 in doubt, 6 failed, 7 completed,
-- 8 discarded, 9 shadowed. Ready and held are both `queued`: only the head of a thread is ready.
CREATE TABLE command (
  number      INTEGER PRIMARY KEY,
  id          BLOB NOT NULL UNIQUE,
  message     BLOB NOT NULL,
  source      INTEGER NOT NULL,
  thread      INTEGER NOT NULL REFERENCES thread (number),
  name        TEXT NOT NULL,
  class       INTEGER NOT NULL,
  standing    INTEGER NOT NULL,
  state       TEXT NOT NULL,
  received_at INTEGER NOT NULL,
  changed_at  INTEGER NOT NULL,
  not_after   INTEGER,
  -- When a waiting head is tried again; NULL for every other.
  due         INTEGER,
  deferrals   INTEGER NOT NULL,
  -- Number of its newest transition.
  changes     INTEGER NOT NULL,
  fence       INTEGER NOT NULL,
  owner       TEXT,
  lease_until INTEGER,
  lease       INTEGER,
  creates     BLOB,
  mapping_set TEXT NOT NULL,
  body        TEXT NOT NULL,
  plan        TEXT
) STRICT;
CREATE INDEX command_thread ON command (thread, standing);
-- What is completed is the many; everything else is found without passing it.
CREATE INDEX command_queue ON command (standing, class, source) WHERE standing <> 7;
CREATE INDEX command_due ON command (class, source, due) WHERE due IS NOT NULL;

-- Every change of state. A command's arrival is its first one and not written unless it has a reason.
CREATE TABLE transition (
  command    INTEGER NOT NULL REFERENCES command (number),
  number     INTEGER NOT NULL,
  at         INTEGER NOT NULL,
  from_state TEXT,
  to_state   TEXT NOT NULL,
  why        TEXT NOT NULL,
  by         TEXT NOT NULL,
  PRIMARY KEY (command, number)
) STRICT, WITHOUT ROWID;

CREATE TABLE attempt (
  number         INTEGER PRIMARY KEY,
  id             BLOB NOT NULL,
  command        INTEGER NOT NULL REFERENCES command (number),
  -- That of the claim under which it was made.
  fence          INTEGER NOT NULL,
  step           TEXT NOT NULL,
  call           TEXT NOT NULL,
  is_write       INTEGER NOT NULL,
  correlation_id TEXT NOT NULL,
  started_at     INTEGER NOT NULL,
  finished_at    INTEGER,
  status         INTEGER,
  outcome        TEXT,
  duration_ms    INTEGER,
  request        TEXT NOT NULL,
  response       TEXT
) STRICT;
CREATE INDEX attempt_command ON attempt (command);

-- AUTOINCREMENT: a position is never used again, for readers keep it as their cursor.
CREATE TABLE outbox (
  position     INTEGER PRIMARY KEY AUTOINCREMENT,
  id           BLOB NOT NULL,
  name         TEXT NOT NULL,
  at           INTEGER NOT NULL,
  source       TEXT NOT NULL,
  subject      TEXT NOT NULL,
  thread       BLOB NOT NULL,
  sequence     INTEGER NOT NULL,
  confirmed_at INTEGER,
  data         TEXT NOT NULL
) STRICT;
CREATE INDEX outbox_unconfirmed ON outbox (confirmed_at) WHERE confirmed_at IS NULL;

-- How many commands stand where, and how many events are unconfirmed: kept with every commit, because
-- counting a million rows every few seconds is not free.
CREATE TABLE tally (
  standing INTEGER NOT NULL,
  class    INTEGER NOT NULL,
  source   INTEGER NOT NULL,
  count    INTEGER NOT NULL,
  PRIMARY KEY (standing, class, source)
) STRICT, WITHOUT ROWID;

CREATE TABLE meta (
  name  TEXT PRIMARY KEY,
  value INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE secret (
  connection TEXT NOT NULL,
  kind       TEXT NOT NULL,
  version    INTEGER NOT NULL,
  sealed     BLOB NOT NULL,
  at         INTEGER NOT NULL,
  PRIMARY KEY (connection, kind)
) STRICT, WITHOUT ROWID;

CREATE TABLE mapping_set (
  digest        TEXT PRIMARY KEY,
  registered_at INTEGER NOT NULL,
  archive       BLOB NOT NULL
) STRICT;

-- People's acts. hash = SHA-256 over the previous hash and this row.
CREATE TABLE audit (
  number  INTEGER PRIMARY KEY,
  at      INTEGER NOT NULL,
  by      TEXT NOT NULL,
  act     TEXT NOT NULL,
  subject TEXT NOT NULL,
  why     TEXT NOT NULL,
  hash    BLOB NOT NULL
) STRICT;
