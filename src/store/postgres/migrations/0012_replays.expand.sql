-- Many failed commands or refused messages, replayed because of one decision.
CREATE TABLE bulk_replay (
  id         uuid PRIMARY KEY,
  filter     text NOT NULL,
  -- Of the quota, in thousandths.
  share      integer NOT NULL,
  overtaken  boolean NOT NULL,
  standing   text NOT NULL,
  by         text NOT NULL,
  place      text NOT NULL,
  why        text NOT NULL,
  created_at bigint NOT NULL,
  changed_at bigint NOT NULL,
  -- Everything up to this number was come to.
  at         bigint NOT NULL
);

-- What each came to. `subject`: the command, or the refused message.
CREATE TABLE replay_item (
  replay  uuid NOT NULL,
  subject uuid NOT NULL,
  message uuid NOT NULL,
  command uuid,
  -- The message as which a refused one was taken in.
  made    uuid,
  outcome text NOT NULL,
  why     text NOT NULL,
  at      bigint NOT NULL,
  PRIMARY KEY (replay, subject)
);
CREATE INDEX replay_outcome ON replay_item (replay, outcome, subject);
