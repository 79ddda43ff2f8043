-- Several DB agents may vouch for one server process, and a claim holds as long as the lease of the
-- agent that it came by. What there was is rebuilt by the servers.

DROP TABLE online;
DROP TABLE holders;

-- A lease: the DB agent `agent` has heard of the server process `instance`.
CREATE TABLE leases (
    instance       INTEGER NOT NULL,
    agent          INTEGER NOT NULL,
    lease_until_ms INTEGER NOT NULL,
    PRIMARY KEY (instance, agent)
) STRICT, WITHOUT ROWID;

-- The number of the last list of claims that was compared for a server process.
CREATE TABLE holders (
    instance INTEGER PRIMARY KEY,
    list     INTEGER NOT NULL
) STRICT;

CREATE TABLE online (
    account            INTEGER PRIMARY KEY,
    claim              INTEGER NOT NULL CHECK (claim <> 0),
    instance           INTEGER NOT NULL,
    agent              INTEGER NOT NULL,
    -- 1 while the user has lost its connection, and its place is kept: another login may have the
    -- account.
    is_away            INTEGER NOT NULL DEFAULT 0 CHECK (is_away IN (0, 1)),
    -- The valid claim that went for this one; NULL: there was none.
    displaced_claim    INTEGER,
    displaced_instance INTEGER
) STRICT;

-- No index on instance and agent: it would cost each login three pages, and only a link that comes
-- up, or a process that died, reads all rows of a holder.
