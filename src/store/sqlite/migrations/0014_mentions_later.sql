-- Whom a message mentions, 32 bytes each, until its rows of `mention` are made: for many messages at once, for the pages of
-- that table and its index made each commit an eighth larger. NULL where the rows were made with the message.
ALTER TABLE message ADD COLUMN patients BLOB;
