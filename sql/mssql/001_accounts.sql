-- Accounts and their characters. Uniqueness is decided here, on the keys that the
-- DB agent computes (sql/README.md): a BIN2 collation compares code by code. Sizes are in
-- units of UTF-16, of which a character has up to two.
-- The schema is always written out, so that nobody's default schema has a say.

CREATE TABLE dbo.accounts (
    -- A number is never given again: an identity does not go back.
    account       BIGINT IDENTITY(1, 1) NOT NULL CONSTRAINT accounts_account PRIMARY KEY,
    id            NVARCHAR(64)        NOT NULL,
    id_key        NVARCHAR(192) COLLATE Latin1_General_BIN2 NOT NULL CONSTRAINT accounts_id_key UNIQUE,
    password_hash NVARCHAR(255)       NOT NULL,
    -- The parameters in the hash; '' if no password matches it.
    password_cost NVARCHAR(64) COLLATE Latin1_General_BIN2 NOT NULL
                  CONSTRAINT accounts_password_cost_default DEFAULT N'',
    created_ms    BIGINT              NOT NULL
);
GO

-- The costs in use are found by a few seeks (p_PasswordCost_Next).
CREATE INDEX accounts_password_cost ON dbo.accounts (password_cost);
GO

CREATE TABLE dbo.characters (
    [character] BIGINT IDENTITY(1, 1) NOT NULL CONSTRAINT characters_character PRIMARY KEY,
    account     BIGINT        NOT NULL CONSTRAINT characters_account UNIQUE
                              CONSTRAINT characters_of_account REFERENCES dbo.accounts (account),
    name        NVARCHAR(48)  NOT NULL,
    name_key    NVARCHAR(144) COLLATE Latin1_General_BIN2 NOT NULL CONSTRAINT characters_name_key UNIQUE,
    level       BIGINT        NOT NULL CONSTRAINT characters_level_default DEFAULT 1
                              CONSTRAINT characters_level CHECK (level BETWEEN 1 AND 4294967295),
    -- The bits of an unsigned number.
    experience  BIGINT        NOT NULL CONSTRAINT characters_experience_default DEFAULT 0,
    created_ms  BIGINT        NOT NULL
);
GO
