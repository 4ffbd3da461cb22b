-- What `message_place` took over.
DROP INDEX message_source;
DROP INDEX message_verdict;
