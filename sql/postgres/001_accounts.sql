-- Accounts and their characters. Uniqueness is decided here, on the keys that the
-- DB agent computes (sql/README.md): COLLATE "C" compares bytes.
-- Everything lives in a schema of its own, so that no search_path has a say.

CREATE TABLE throng.accounts (
    -- A number is never given again: sequences do not go back.
    account       bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    id            varchar(32)             NOT NULL,
    id_key        varchar(192) COLLATE "C" NOT NULL CONSTRAINT accounts_id_key UNIQUE,
    password_hash varchar(255)            NOT NULL,
    -- The parameters in the hash; '' if no password matches it.
    password_cost varchar(64) COLLATE "C" NOT NULL DEFAULT '',
    created_ms    bigint                  NOT NULL
);

-- The costs in use are found by a few seeks (p_PasswordCost_Next).
CREATE INDEX accounts_password_cost ON throng.accounts (password_cost);

CREATE TABLE throng.characters (
    "character" bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    account     bigint                  NOT NULL CONSTRAINT characters_account UNIQUE
                                        REFERENCES throng.accounts (account),
    name        varchar(24)             NOT NULL,
    name_key    varchar(144) COLLATE "C" NOT NULL CONSTRAINT characters_name_key UNIQUE,
    level       bigint                  NOT NULL DEFAULT 1 CHECK (level BETWEEN 1 AND 4294967295),
    -- The bits of an unsigned number.
    experience  bigint                  NOT NULL DEFAULT 0,
    created_ms  bigint                  NOT NULL
);
