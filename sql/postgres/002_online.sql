-- Who is online, and until when which server process is believed to live. All numbers but
-- times are unsigned ones, bit for bit. No foreign keys: the servers rebuild
-- these tables, and a claim says nothing about an account's existence.

-- A lease: the DB agent `agent` has heard of the server process `instance`.
CREATE TABLE throng.leases (
    instance       bigint NOT NULL,
    agent          bigint NOT NULL,
    lease_until_ms bigint NOT NULL,
    PRIMARY KEY (instance, agent)
);

-- The number of the last list of claims that was compared for a server process.
CREATE TABLE throng.holders (
    instance bigint PRIMARY KEY,
    list     bigint NOT NULL
);

CREATE TABLE throng.online (
    account            bigint PRIMARY KEY,
    claim              bigint NOT NULL CHECK (claim <> 0),
    instance           bigint NOT NULL,
    agent              bigint NOT NULL,
    -- 1 while the user has lost its connection, and its place is kept: another login may have the
    -- account.
    is_away            integer NOT NULL DEFAULT 0 CHECK (is_away IN (0, 1)),
    -- The valid claim that went for this one; NULL: there was none.
    displaced_claim    bigint,
    displaced_instance bigint
);

CREATE INDEX online_holder ON throng.online (instance, agent);

-- Lists of claims on their way, page by page.
CREATE TABLE throng.listed (
    instance  bigint NOT NULL,
    list      bigint NOT NULL,
    account   bigint NOT NULL,
    claim     bigint NOT NULL,
    listed_ms bigint NOT NULL,
    PRIMARY KEY (instance, list, account, claim)
);
