-- Who is online, and until when which server process is believed to live. All numbers but
-- times are unsigned ones, bit for bit. No foreign keys: the servers rebuild
-- these tables, and a claim says nothing about an account's existence.

-- A lease: the DB agent `agent` has heard of the server process `instance`.
CREATE TABLE dbo.leases (
    instance       BIGINT NOT NULL,
    agent          BIGINT NOT NULL,
    lease_until_ms BIGINT NOT NULL,
    CONSTRAINT leases_instance_agent PRIMARY KEY (instance, agent)
);
GO

-- The number of the last list of claims that was compared for a server process.
CREATE TABLE dbo.holders (
    instance BIGINT NOT NULL CONSTRAINT holders_instance PRIMARY KEY,
    list     BIGINT NOT NULL
);
GO

CREATE TABLE dbo.online (
    account            BIGINT NOT NULL CONSTRAINT online_account PRIMARY KEY,
    claim              BIGINT NOT NULL CONSTRAINT online_claim CHECK (claim <> 0),
    instance           BIGINT NOT NULL,
    agent              BIGINT NOT NULL,
    -- 1 while the user has lost its connection, and its place is kept: another login may have the
    -- account.
    is_away            INT    NOT NULL CONSTRAINT online_is_away_default DEFAULT 0
                              CONSTRAINT online_is_away CHECK (is_away IN (0, 1)),
    -- The valid claim that went for this one; NULL: there was none.
    displaced_claim    BIGINT NULL,
    displaced_instance BIGINT NULL
);
GO

CREATE INDEX online_holder ON dbo.online (instance, agent);
GO

-- Lists of claims on their way, page by page.
CREATE TABLE dbo.listed (
    instance  BIGINT NOT NULL,
    list      BIGINT NOT NULL,
    account   BIGINT NOT NULL,
    claim     BIGINT NOT NULL,
    listed_ms BIGINT NOT NULL,
    CONSTRAINT listed_instance_list_account_claim PRIMARY KEY (instance, list, account, claim)
);
GO
