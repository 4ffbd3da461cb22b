-- Identifiers are uuid, digests 32 bytes, times microseconds since 1970 (UTC), JSON is text.
-- No foreign keys: their triggers cost a tenth of intake, and `store verify` proves the same.

CREATE TABLE source (
  number integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  name   text NOT NULL UNIQUE
);

-- A message takes a number, and its commands take those that follow it: so the order of commands is that of
-- messages, and one leads to the other without an index. Drawn when the threads of its commands are locked,
-- so within a thread the numbers are in order of arrival, whichever instance it was.
CREATE SEQUENCE message_number INCREMENT BY 4096 START WITH 4096;
CREATE SEQUENCE thread_number;

-- One inbound unit exactly as received. Never changed afterwards.
CREATE TABLE message (
  number          bigint PRIMARY KEY,
  id              uuid NOT NULL UNIQUE,
  source          integer NOT NULL,
  transport       text NOT NULL,
  control_id      text,
  kind            text NOT NULL,
  charset         text NOT NULL,
  received_at     bigint NOT NULL,
  verdict         text NOT NULL,
  size            bigint NOT NULL,
  sha256          bytea NOT NULL,
  problems        text,
  commands        integer NOT NULL,
  acknowledgement bytea NOT NULL,
  -- NULL if the message is long: its bytes are in message_chunk.
  raw             bytea
) WITH (toast_tuple_target = 8160);
ALTER TABLE message ALTER COLUMN raw SET STORAGE EXTERNAL, ALTER COLUMN acknowledgement SET STORAGE EXTERNAL;
CREATE INDEX message_source ON message (source, number);
CREATE INDEX message_verdict ON message (verdict, number) WHERE verdict <> 'accepted';

CREATE TABLE message_chunk (
  message  bigint NOT NULL,
  position integer NOT NULL,
  bytes    bytea NOT NULL,
  PRIMARY KEY (message, position)
);
ALTER TABLE message_chunk ALTER COLUMN bytes SET STORAGE EXTERNAL;

-- Text that intake made from a message, in chunks.
CREATE TABLE document (
  message  bigint NOT NULL,
  number   bigint NOT NULL,
  position integer NOT NULL,
  bytes    bytea NOT NULL,
  PRIMARY KEY (message, number, position)
);
ALTER TABLE document ALTER COLUMN bytes SET STORAGE EXTERNAL;

-- That the sender got its answer.
CREATE TABLE acknowledged (
  message bigint PRIMARY KEY,
  at      bigint NOT NULL
);

-- What a resend is recognised by. It outlives what is purged.
CREATE TABLE dedup (
  source     integer NOT NULL,
  control_id text NOT NULL,
  sha256     bytea NOT NULL,
  message    uuid NOT NULL,
  PRIMARY KEY (source, control_id)
);

-- Everything about one referral. Its row is the lock: whoever changes a command holds that of its thread.
CREATE TABLE thread (
  number            bigint PRIMARY KEY,
  id                uuid NOT NULL,
  -- That of its newest event.
  sequence          bigint NOT NULL,
  -- The command that made (or will make) the referral, and the digest of what it says. They outlive it.
  created_by        bigint,
  created_by_id     uuid,
  created_by_digest bytea,
  -- As above, of one that was purged: it counts again when a person discards the one that came before it.
  purged_creator    bigint,
  purged_creator_id uuid,
  purged_creates    bytea,
  known             text,
  -- Set when another thread took over its commands.
  merged_into       bigint
) WITH (fillfactor = 80);

CREATE TABLE alias (
  digest bytea NOT NULL,
  kind   smallint NOT NULL,
  thread bigint NOT NULL,
  PRIMARY KEY (digest, kind)
);

-- standing: 0 ready, 1 held, 2 running, 3 waiting, 4 unauthorised, 5 in doubt, 6 failed, 7 completed,
-- 8 discarded, 9 shadowed. Ready and held are both `queued`: only the head of a thread is ready.
CREATE TABLE command (
  number      bigint PRIMARY KEY,
  id          uuid NOT NULL UNIQUE,
  message     uuid NOT NULL,
  source      integer NOT NULL,
  thread      bigint NOT NULL,
  name        text NOT NULL,
  class       smallint NOT NULL,
  standing    smallint NOT NULL,
  state       text NOT NULL,
  received_at bigint NOT NULL,
  changed_at  bigint NOT NULL,
  not_after   bigint,
  -- When a waiting head is tried again; NULL for every other.
  due         bigint,
  deferrals   integer NOT NULL,
  -- Number of its newest transition.
  changes     integer NOT NULL,
  fence       bigint NOT NULL,
  owner       text,
  -- By the clock of this database, and for how long it is renewed.
  lease_until bigint,
  lease       bigint,
  creates     bytea,
  -- As in its body, for events.
  local_id    text,
  mapping_set text NOT NULL,
  body        text NOT NULL,
  plan        text
) WITH (fillfactor = 80);
CREATE INDEX command_thread ON command (thread);
-- What is completed is the many; everything else is found without passing it.
CREATE INDEX command_queue ON command (standing, class, source, number) WHERE standing <> 7;
CREATE INDEX command_due ON command (class, source, due) WHERE due IS NOT NULL;

-- Every change of state. A command's arrival is its first one and not written unless it has a reason.
CREATE TABLE transition (
  command    bigint NOT NULL,
  number     integer NOT NULL,
  at         bigint NOT NULL,
  from_state text,
  to_state   text NOT NULL,
  why        text NOT NULL,
  by         text NOT NULL,
  PRIMARY KEY (command, number)
);

CREATE TABLE attempt (
  number         bigint GENERATED ALWAYS AS IDENTITY,
  id             uuid NOT NULL,
  command        bigint NOT NULL,
  -- That of the claim under which it was made.
  fence          bigint NOT NULL,
  step           text NOT NULL,
  call           text NOT NULL,
  is_write       boolean NOT NULL,
  correlation_id text NOT NULL,
  started_at     bigint NOT NULL,
  finished_at    bigint,
  status         integer,
  outcome        text,
  duration_ms    bigint,
  request        text NOT NULL,
  response       text,
  PRIMARY KEY (command, id)
) WITH (fillfactor = 60);

-- Positions are drawn under a lock that is held until the commit, so that they become visible in their order:
-- whoever has read up to one has missed none before it.
CREATE SEQUENCE outbox_position;
CREATE TABLE outbox (
  position     bigint PRIMARY KEY,
  id           uuid NOT NULL,
  name         text NOT NULL,
  at           bigint NOT NULL,
  source       text NOT NULL,
  subject      text NOT NULL,
  thread       uuid NOT NULL,
  sequence     bigint NOT NULL,
  confirmed_at bigint,
  data         text NOT NULL
) WITH (fillfactor = 80);
CREATE INDEX outbox_unconfirmed ON outbox (position) WHERE confirmed_at IS NULL;

-- How many commands stand where (standing -1: unconfirmed events), as changes that each desk made: nobody waits
-- for another to count. A place's count is the sum over all desks.
CREATE TABLE tally (
  desk     integer NOT NULL,
  standing smallint NOT NULL,
  class    smallint NOT NULL,
  source   integer NOT NULL,
  count    bigint NOT NULL,
  PRIMARY KEY (desk, standing, class, source)
) WITH (fillfactor = 50);

-- One row for every connection that commits in groups: which group was its last. Read when the answer to a commit
-- was lost; the row's lock waits for a transaction that still lives.
CREATE TABLE desk (
  number     integer PRIMARY KEY,
  last_group bigint NOT NULL
) WITH (fillfactor = 20);

-- Numbers that outlive the rows they come from.
CREATE TABLE meta (
  name  text PRIMARY KEY,
  value bigint NOT NULL
);

CREATE TABLE secret (
  connection text NOT NULL,
  kind       text NOT NULL,
  version    bigint NOT NULL,
  sealed     bytea NOT NULL,
  at         bigint NOT NULL,
  PRIMARY KEY (connection, kind)
);

CREATE TABLE mapping_set (
  digest        text PRIMARY KEY,
  registered_at bigint NOT NULL,
  archive       bytea NOT NULL
);

-- Which set an instance read from its files, and when: the newest is the one that all use.
CREATE TABLE announcement (
  number   bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  digest   text NOT NULL,
  instance text NOT NULL,
  at       bigint NOT NULL
);

-- People's acts. hash = SHA-256 over the previous hash and this row.
CREATE TABLE audit (
  number  bigint PRIMARY KEY,
  at      bigint NOT NULL,
  by      text NOT NULL,
  act     text NOT NULL,
  subject text NOT NULL,
  why     text NOT NULL,
  hash    bytea NOT NULL
);

-- Who shares this store. Times by the clock of this database.
CREATE TABLE instance (
  name        text PRIMARY KEY,
  -- Its desks are 8 * slot .. 8 * slot + 7. Desk 0 is shared by what happens rarely.
  slot        integer NOT NULL UNIQUE,
  version     text NOT NULL,
  -- The newest migration that it knows.
  schema      integer NOT NULL,
  mapping_set text NOT NULL,
  started_at  bigint NOT NULL,
  seen_at     bigint NOT NULL,
  standing    text NOT NULL,
  holds       bigint NOT NULL
) WITH (fillfactor = 50);

CREATE TABLE duty (
  name     text PRIMARY KEY,
  instance text NOT NULL,
  until    bigint NOT NULL
) WITH (fillfactor = 50);

-- Quota of an application at e-RS, shared by all instances.
CREATE TABLE quota (
  application text PRIMARY KEY,
  clock       bigint NOT NULL,
  last        bigint NOT NULL,
  rate        double precision NOT NULL,
  rate_since  bigint NOT NULL
) WITH (fillfactor = 50);
