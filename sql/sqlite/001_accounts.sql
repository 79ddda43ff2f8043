-- Accounts and their characters. Uniqueness is decided here, on the keys that the
-- DB agent computes (sql/README.md): BINARY, SQLite's default, compares bytes.

CREATE TABLE accounts (
    -- AUTOINCREMENT: the number of an account that is gone is never given again.
    account       INTEGER PRIMARY KEY AUTOINCREMENT,
    id            TEXT    NOT NULL,
    id_key        TEXT    NOT NULL CONSTRAINT accounts_id_key UNIQUE,
    password_hash TEXT    NOT NULL,
    -- The parameters in the hash; '' if no password matches it.
    password_cost TEXT    NOT NULL DEFAULT '',
    created_ms    INTEGER NOT NULL
) STRICT;

-- The costs in use are found by a few seeks (p_PasswordCost_Next).
CREATE INDEX accounts_password_cost ON accounts (password_cost);

CREATE TABLE characters (
    character  INTEGER PRIMARY KEY AUTOINCREMENT,
    account    INTEGER NOT NULL CONSTRAINT characters_account UNIQUE REFERENCES accounts (account),
    name       TEXT    NOT NULL,
    name_key   TEXT    NOT NULL CONSTRAINT characters_name_key UNIQUE,
    level      INTEGER NOT NULL DEFAULT 1 CHECK (level BETWEEN 1 AND 4294967295),
    -- The bits of an unsigned number.
    experience INTEGER NOT NULL DEFAULT 0,
    created_ms INTEGER NOT NULL
) STRICT;
