-- What must be remembered between two messages of a sender: pieces of a message that wait for their continuation, and
-- the sequence number that comes next. Both are small and few.
CREATE TABLE held_piece (
  source  text NOT NULL,
  pointer bytea NOT NULL,
  message uuid NOT NULL,
  at      bigint NOT NULL,
  PRIMARY KEY (source, pointer)
);

CREATE TABLE link_number (
  source text PRIMARY KEY,
  next   bigint NOT NULL,
  at     bigint NOT NULL
);
