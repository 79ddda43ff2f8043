-- Who is online, and until when which server process is believed to live. All numbers but
-- the lease are unsigned ones, bit for bit. No foreign keys: the servers rebuild
-- these tables after a power cut, and a claim says nothing about an account's existence.

CREATE TABLE holders (
    instance       INTEGER PRIMARY KEY,
    lease_until_ms INTEGER NOT NULL
) STRICT;

CREATE TABLE online (
    account  INTEGER PRIMARY KEY,
    claim    INTEGER NOT NULL CHECK (claim <> 0),
    instance INTEGER NOT NULL
) STRICT;

CREATE INDEX online_instance ON online (instance);
