-- What older versions left when they purged a message.
DELETE FROM mention p WHERE NOT EXISTS (SELECT 1 FROM message m WHERE m.number = p.message);
