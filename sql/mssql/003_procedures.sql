-- The procedures of sql/README.md. Each is one call, one SELECT at its end, one transaction: its own, or
-- the caller's, which it neither ends nor undoes. An owner's procedures use the owner's
-- tables, so whoever may execute them needs no right on any table (for Babelfish see agent_role.sql).
--
-- They have to hold on SQL Server, where readers wait for writers, and on Babelfish, where a statement sees what
-- was committed when it began and lock hints are ignored. So a row that a decision hangs on is locked by an
-- UPDATE that changes nothing in it, and what is decided by is read by a later statement. The hints are
-- for SQL Server: with READPAST a reader passes over what another transaction is at.
--
-- A duplicate key (2627 of a constraint, 2601 of an index) is an answer, not an error. With XACT_ABORT ON
-- it would undo the caller's transaction, so that is OFF here.

CREATE PROCEDURE dbo.p_Schema_Select
AS
BEGIN
    SET NOCOUNT ON;
    SELECT m.number, m.name, m.[checksum], m.applied_ms FROM dbo.schema_migrations AS m ORDER BY m.number;
END;
GO

CREATE PROCEDURE dbo.p_Clock_Select
AS
BEGIN
    SET NOCOUNT ON;
    DECLARE @now DATETIME2(3) = SYSUTCDATETIME();
    DECLARE @today DATETIME2(3) = CAST(CAST(@now AS DATE) AS DATETIME2(3));
    -- DATEDIFF counts in INT, which holds the days and the milliseconds of one of them.
    SELECT
        CAST(DATEDIFF(DAY, CAST('1970-01-01' AS DATETIME2(3)), @today) AS BIGINT) * 86400000
        + CAST(DATEDIFF(MILLISECOND, @today, @now) AS BIGINT) AS now_ms;
END;
GO

CREATE PROCEDURE dbo.p_AccountData_Select
    @id_key NVARCHAR(192)
AS
BEGIN
    SET NOCOUNT ON;
    -- To = trailing blanks are nothing. To DATALENGTH they are something.
    SELECT a.account, a.id, a.password_hash
    FROM dbo.accounts AS a
    WHERE a.id_key = @id_key COLLATE Latin1_General_BIN2 AND DATALENGTH(a.id_key) = DATALENGTH(@id_key);
END;
GO

-- INSERTED 0, ID_TAKEN 1
CREATE PROCEDURE dbo.p_AccountData_Insert
    @id NVARCHAR(64), @id_key NVARCHAR(192), @password_hash NVARCHAR(255), @password_cost NVARCHAR(64),
    @now_ms BIGINT
AS
BEGIN
    SET NOCOUNT ON;
    SET XACT_ABORT OFF;
    DECLARE @account BIGINT;
    BEGIN TRY
        INSERT INTO dbo.accounts (id, id_key, password_hash, password_cost, created_ms)
        VALUES (@id, @id_key, @password_hash, @password_cost, @now_ms);
        SET @account = SCOPE_IDENTITY();
    END TRY
    BEGIN CATCH
        IF ERROR_NUMBER() NOT IN (2627, 2601) THROW;
    END CATCH;
    SELECT CASE WHEN @account IS NULL THEN 1 ELSE 0 END AS result, @account AS account;
END;
GO

-- REPLACED 0, KEPT 1
CREATE PROCEDURE dbo.p_Password_Replace
    @account BIGINT, @old_hash NVARCHAR(255), @new_hash NVARCHAR(255), @new_cost NVARCHAR(64)
AS
BEGIN
    SET NOCOUNT ON;
    DECLARE @replaced INT;
    -- The new hash too: a repeated call, whose answer was lost.
    UPDATE dbo.accounts SET password_hash = @new_hash, password_cost = @new_cost
    WHERE account = @account
        AND password_hash COLLATE Latin1_General_BIN2
            IN (@old_hash COLLATE Latin1_General_BIN2, @new_hash COLLATE Latin1_General_BIN2);
    SET @replaced = @@ROWCOUNT;
    SELECT CASE WHEN @replaced = 1 THEN 0 ELSE 1 END AS result;
END;
GO

CREATE PROCEDURE dbo.p_PasswordCost_Next
    @after NVARCHAR(64)
AS
BEGIN
    SET NOCOUNT ON;
    SELECT TOP (1) a.password_cost
    FROM dbo.accounts AS a
    WHERE a.password_cost > @after COLLATE Latin1_General_BIN2
    ORDER BY a.password_cost;
END;
GO

CREATE PROCEDURE dbo.p_Character_Select
    @account BIGINT
AS
BEGIN
    SET NOCOUNT ON;
    SELECT c.[character], c.name, c.level, c.experience
    FROM dbo.characters AS c
    WHERE c.account = @account;
END;
GO

-- INSERTED 0, NO_SUCH_ACCOUNT 1, CHARACTER_EXISTS 2, NAME_TAKEN 3
CREATE PROCEDURE dbo.p_Character_Insert
    @account BIGINT, @name NVARCHAR(48), @name_key NVARCHAR(144), @now_ms BIGINT
AS
BEGIN
    SET NOCOUNT ON;
    SET XACT_ABORT OFF;
    DECLARE @character BIGINT;
    BEGIN TRY
        INSERT INTO dbo.characters (account, name, name_key, created_ms)
        VALUES (@account, @name, @name_key, @now_ms);
        SET @character = SCOPE_IDENTITY();
    END TRY
    BEGIN CATCH
        -- 547: the foreign key.
        IF ERROR_NUMBER() NOT IN (2627, 2601, 547) THROW;
    END CATCH;
    -- The constraints have decided; what follows only finds the words for it.
    SELECT
        CASE
            WHEN @character IS NOT NULL THEN 0
            WHEN NOT EXISTS (SELECT 1 FROM dbo.accounts AS a WHERE a.account = @account) THEN 1
            WHEN EXISTS (SELECT 1 FROM dbo.characters AS c WHERE c.account = @account) THEN 2
            ELSE 3
        END AS result,
        @character AS [character];
END;
GO

-- CLAIMED 0, ALREADY_ONLINE 1, NO_LEASE 2
CREATE PROCEDURE dbo.p_Online_Claim
    @account BIGINT, @claim BIGINT, @instance BIGINT, @agent BIGINT, @take_over INT, @now_ms BIGINT
AS
BEGIN
    SET NOCOUNT ON;
    SET XACT_ABORT OFF;
    DECLARE @outer INT = @@TRANCOUNT;
    DECLARE @tries INT = 0;
    DECLARE @result INT;
    DECLARE @held_claim BIGINT;
    DECLARE @held_instance BIGINT;
    DECLARE @is_valid INT;
    DECLARE @is_away INT;
    DECLARE @displaced_claim BIGINT;
    DECLARE @displaced_instance BIGINT;
    BEGIN TRY
        IF @outer = 0 BEGIN TRANSACTION;
        IF NOT EXISTS (
            SELECT 1 FROM dbo.leases AS l
            WHERE l.instance = @instance AND l.agent = @agent AND l.lease_until_ms > @now_ms
        )
            SET @result = 2;
        WHILE @result IS NULL
        BEGIN
            IF @tries = 10 THROW 50001, N'p_Online_Claim: the row comes and goes', 1;
            SET @tries = @tries + 1;
            UPDATE dbo.online SET claim = claim WHERE account = @account;
            IF @@ROWCOUNT = 0
            BEGIN
                BEGIN TRY
                    INSERT INTO dbo.online (account, claim, instance, agent)
                    VALUES (@account, @claim, @instance, @agent);
                    SET @result = 0;
                END TRY
                BEGIN CATCH
                    -- Come between the two statements: it can be locked now.
                    IF ERROR_NUMBER() NOT IN (2627, 2601) THROW;
                END CATCH;
            END
            ELSE
            BEGIN
                SELECT
                    @held_claim = o.claim,
                    @held_instance = o.instance,
                    @is_away = o.is_away,
                    @displaced_claim = o.displaced_claim,
                    @displaced_instance = o.displaced_instance,
                    @is_valid = CASE
                        WHEN EXISTS (
                            SELECT 1 FROM dbo.leases AS l
                            WHERE l.instance = o.instance AND l.agent = o.agent AND l.lease_until_ms > @now_ms
                        ) THEN 1
                        ELSE 0
                    END
                FROM dbo.online AS o
                WHERE o.account = @account;
                -- The same call again, whose answer was lost: what was displaced stands in the row.
                IF @held_claim = @claim AND @held_instance = @instance
                    SET @result = 0;
                ELSE
                BEGIN
                    SET @displaced_claim = CASE WHEN @is_valid = 1 THEN @held_claim END;
                    SET @displaced_instance = CASE WHEN @is_valid = 1 THEN @held_instance END;
                    -- An away claim gives way to any login.
                    IF @is_valid = 1 AND @is_away = 0 AND @take_over = 0
                        SET @result = 1;
                    ELSE
                    BEGIN
                        UPDATE dbo.online
                        SET claim = @claim, instance = @instance, agent = @agent, is_away = 0,
                            displaced_claim = @displaced_claim, displaced_instance = @displaced_instance
                        WHERE account = @account;
                        SET @result = 0;
                    END;
                END;
            END;
        END;
        IF @outer = 0 COMMIT TRANSACTION;
    END TRY
    BEGIN CATCH
        IF @outer = 0 AND @@TRANCOUNT > 0 ROLLBACK TRANSACTION;
        THROW;
    END CATCH;
    SELECT
        @result AS result,
        CASE WHEN @result = 0 THEN @displaced_claim END AS displaced_claim,
        CASE WHEN @result = 0 THEN @displaced_instance END AS displaced_instance;
END;
GO

-- MOVED 0, LOST 1, NO_LEASE 2
CREATE PROCEDURE dbo.p_Online_Transfer
    @account BIGINT, @claim BIGINT, @to_instance BIGINT, @agent BIGINT, @now_ms BIGINT
AS
BEGIN
    SET NOCOUNT ON;
    DECLARE @result INT = 2;
    IF EXISTS (
        SELECT 1 FROM dbo.leases AS l
        WHERE l.instance = @to_instance AND l.agent = @agent AND l.lease_until_ms > @now_ms
    )
    BEGIN
        -- A repeated call leaves the mark of its new holder.
        UPDATE dbo.online
        SET instance = @to_instance, agent = @agent,
            is_away = CASE WHEN instance = @to_instance THEN is_away ELSE 0 END
        WHERE account = @account AND claim = @claim;
        SET @result = CASE WHEN @@ROWCOUNT = 1 THEN 0 ELSE 1 END;
    END;
    SELECT @result AS result;
END;
GO

-- RELEASED 0, NOT_HELD 1
CREATE PROCEDURE dbo.p_Online_Release
    @account BIGINT, @claim BIGINT, @instance BIGINT
AS
BEGIN
    SET NOCOUNT ON;
    DECLARE @result INT;
    DELETE FROM dbo.online WHERE account = @account AND claim = @claim AND instance = @instance;
    SET @result = CASE WHEN @@ROWCOUNT = 1 THEN 0 ELSE 1 END;
    SELECT @result AS result;
END;
GO

-- MARKED 0, NOT_HELD 1
CREATE PROCEDURE dbo.p_Online_Away
    @account BIGINT, @claim BIGINT, @instance BIGINT, @agent BIGINT, @is_away INT
AS
BEGIN
    SET NOCOUNT ON;
    DECLARE @result INT;
    UPDATE dbo.online SET is_away = @is_away
    WHERE account = @account AND claim = @claim AND instance = @instance AND agent = @agent;
    SET @result = CASE WHEN @@ROWCOUNT = 1 THEN 0 ELSE 1 END;
    SELECT @result AS result;
END;
GO

-- A page of a list: for each claim its account and its number, 20 characters each, padded with blanks. DONE 0
CREATE PROCEDURE dbo.p_Online_List
    @instance BIGINT, @list BIGINT, @claims NVARCHAR(4000), @now_ms BIGINT
AS
BEGIN
    SET NOCOUNT ON;
    SET XACT_ABORT OFF;
    DECLARE @tries INT = 0;
    DECLARE @result INT;
    WHILE @result IS NULL
    BEGIN
        BEGIN TRY
            SET @tries = @tries + 1;
            -- A page ends with a digit, so LEN, to which trailing blanks are nothing, is all of it.
            INSERT INTO dbo.listed (instance, list, account, claim, listed_ms)
            SELECT DISTINCT @instance, @list, p.account, p.claim, @now_ms
            FROM (
                SELECT
                    CAST(SUBSTRING(@claims, n.place * 40 + 1, 20) AS BIGINT) AS account,
                    CAST(SUBSTRING(@claims, n.place * 40 + 21, 20) AS BIGINT) AS claim
                FROM (
                    SELECT tens.digit * 10 + ones.digit AS place
                    FROM (VALUES (0), (1), (2), (3), (4), (5), (6), (7), (8), (9)) AS tens (digit)
                    CROSS JOIN (VALUES (0), (1), (2), (3), (4), (5), (6), (7), (8), (9)) AS ones (digit)
                ) AS n
                WHERE n.place < LEN(@claims) / 40
            ) AS p
            WHERE NOT EXISTS (
                SELECT 1 FROM dbo.listed AS l
                WHERE l.instance = @instance AND l.list = @list AND l.account = p.account AND l.claim = p.claim
            );
            SET @result = 0;
        END TRY
        BEGIN CATCH
            -- The same page twice at once: what the other call noted is seen now.
            IF ERROR_NUMBER() NOT IN (2627, 2601) OR @tries = 10 THROW;
        END CATCH;
    END;
    SELECT @result AS result;
END;
GO

-- The last one counts, be it later or earlier.
CREATE PROCEDURE dbo.renew_lease
    @instance BIGINT, @agent BIGINT, @lease_until_ms BIGINT
AS
BEGIN
    SET NOCOUNT ON;
    SET XACT_ABORT OFF;
    DECLARE @tries INT = 0;
    DECLARE @is_done INT = 0;
    WHILE @is_done = 0
    BEGIN
        BEGIN TRY
            SET @tries = @tries + 1;
            UPDATE dbo.leases SET lease_until_ms = @lease_until_ms WHERE instance = @instance AND agent = @agent;
            IF @@ROWCOUNT = 0
                INSERT INTO dbo.leases (instance, agent, lease_until_ms)
                VALUES (@instance, @agent, @lease_until_ms);
            SET @is_done = 1;
        END TRY
        BEGIN CATCH
            -- Come between the two statements: it can be updated now.
            IF ERROR_NUMBER() NOT IN (2627, 2601) OR @tries = 10 THROW;
        END CATCH;
    END;
END;
GO

-- Removes a bounded part of what long dead processes left. What is found without waiting for anybody
-- is locked by its primary key, and looked at again before it goes.
CREATE PROCEDURE dbo.prune_online
    @before_ms BIGINT
AS
BEGIN
    SET NOCOUNT ON;
    DECLARE @claims TABLE (account BIGINT NOT NULL PRIMARY KEY);
    DECLARE @leases TABLE (instance BIGINT NOT NULL, agent BIGINT NOT NULL, PRIMARY KEY (instance, agent));
    DECLARE @holders TABLE (instance BIGINT NOT NULL PRIMARY KEY);

    INSERT INTO @claims (account)
    SELECT TOP (1024) o.account
    FROM dbo.leases AS l WITH (READCOMMITTEDLOCK, READPAST)
    INNER JOIN dbo.online AS o WITH (READCOMMITTEDLOCK, READPAST) ON o.instance = l.instance AND o.agent = l.agent
    WHERE l.lease_until_ms < @before_ms;
    IF @@ROWCOUNT > 0
    BEGIN
        UPDATE o SET claim = o.claim
        FROM dbo.online AS o INNER JOIN @claims AS c ON c.account = o.account;
        DELETE o
        FROM dbo.online AS o
        INNER JOIN @claims AS c ON c.account = o.account
        INNER JOIN dbo.leases AS l ON l.instance = o.instance AND l.agent = o.agent
        WHERE l.lease_until_ms < @before_ms;
    END;

    INSERT INTO @leases (instance, agent)
    SELECT TOP (16) l.instance, l.agent
    FROM dbo.leases AS l WITH (READCOMMITTEDLOCK, READPAST)
    WHERE l.lease_until_ms < @before_ms AND NOT EXISTS (
        SELECT 1 FROM dbo.online AS o WITH (READCOMMITTEDLOCK, READPAST)
        WHERE o.instance = l.instance AND o.agent = l.agent
    );
    IF @@ROWCOUNT > 0
        DELETE l
        FROM dbo.leases AS l
        INNER JOIN @leases AS d ON d.instance = l.instance AND d.agent = l.agent
        WHERE l.lease_until_ms < @before_ms AND NOT EXISTS (
            SELECT 1 FROM dbo.online AS o WHERE o.instance = l.instance AND o.agent = l.agent
        );

    INSERT INTO @holders (instance)
    SELECT TOP (16) h.instance
    FROM dbo.holders AS h WITH (READCOMMITTEDLOCK, READPAST)
    WHERE NOT EXISTS (
        SELECT 1 FROM dbo.leases AS l WITH (READCOMMITTEDLOCK, READPAST) WHERE l.instance = h.instance
    );
    IF @@ROWCOUNT > 0
    BEGIN
        UPDATE h SET list = h.list
        FROM dbo.holders AS h INNER JOIN @holders AS d ON d.instance = h.instance;
        DELETE h
        FROM dbo.holders AS h
        INNER JOIN @holders AS d ON d.instance = h.instance
        WHERE NOT EXISTS (SELECT 1 FROM dbo.leases AS l WHERE l.instance = h.instance);
    END;

    DELETE FROM dbo.listed WITH (READCOMMITTEDLOCK, READPAST) WHERE listed_ms < @before_ms;
END;
GO

-- DONE 0, then VOID 1 with each claim that is void
CREATE PROCEDURE dbo.p_Online_Sync
    @instance BIGINT, @agent BIGINT, @list BIGINT, @is_first INT, @now_ms BIGINT, @lease_until_ms BIGINT
AS
BEGIN
    SET NOCOUNT ON;
    SET XACT_ABORT OFF;
    DECLARE @outer INT = @@TRANCOUNT;
    DECLARE @tries INT = 0;
    DECLARE @is_latest INT;
    DECLARE @is_taken_up INT = 0;
    DECLARE @before_ms BIGINT = @now_ms - 3600000;
    DECLARE @listed TABLE (account BIGINT NOT NULL, claim BIGINT NOT NULL, PRIMARY KEY (account, claim));
    DECLARE @held TABLE (
        account BIGINT NOT NULL PRIMARY KEY, claim BIGINT NOT NULL, instance BIGINT NOT NULL,
        agent BIGINT NOT NULL, is_valid INT NOT NULL
    );
    DECLARE @chosen TABLE (account BIGINT NOT NULL PRIMARY KEY, claim BIGINT NOT NULL);
    DECLARE @void TABLE (account BIGINT NOT NULL, claim BIGINT NOT NULL, PRIMARY KEY (account, claim));
    BEGIN TRY
        IF @outer = 0 BEGIN TRANSACTION;
        -- The row stays locked: lists of one process are compared one after the other.
        WHILE @is_latest IS NULL
        BEGIN
            IF @tries = 10 THROW 50001, N'p_Online_Sync: the holder comes and goes', 1;
            SET @tries = @tries + 1;
            UPDATE dbo.holders SET list = CASE WHEN list < @list THEN @list ELSE list END WHERE instance = @instance;
            IF @@ROWCOUNT = 1
                SELECT @is_latest = CASE WHEN h.list = @list THEN 1 ELSE 0 END
                FROM dbo.holders AS h
                WHERE h.instance = @instance;
            ELSE
            BEGIN
                BEGIN TRY
                    INSERT INTO dbo.holders (instance, list) VALUES (@instance, @list);
                    SET @is_latest = 1;
                END TRY
                BEGIN CATCH
                    -- Come between the two statements: it can be locked now.
                    IF ERROR_NUMBER() NOT IN (2627, 2601) THROW;
                END CATCH;
            END;
        END;
        -- Of a list that is not the latest nothing counts: a later one has taken all claims over.
        INSERT INTO @listed (account, claim)
        SELECT l.account, l.claim FROM dbo.listed AS l
        WHERE @is_latest = 1 AND l.instance = @instance AND l.list = @list AND l.claim <> 0;
        DELETE FROM dbo.listed WHERE instance = @instance AND list <= @list;
        IF @is_first <> 0
            DELETE o
            FROM dbo.online AS o
            WHERE o.instance = @instance AND o.agent = @agent AND NOT EXISTS (
                SELECT 1 FROM @listed AS l WHERE l.account = o.account AND l.claim = o.claim
            );
        SET @tries = 0;
        WHILE @is_taken_up = 0
        BEGIN
            IF @tries = 10 THROW 50001, N'p_Online_Sync: the rows come and go', 1;
            SET @tries = @tries + 1;
            DELETE FROM @held;
            DELETE FROM @chosen;
            UPDATE dbo.online SET claim = claim
            OUTPUT inserted.account, inserted.claim, inserted.instance, inserted.agent, 0
                INTO @held (account, claim, instance, agent, is_valid)
            WHERE account IN (SELECT l.account FROM @listed AS l);
            -- The holder's own lease counts as it will be: it is written last, since whoever
            -- locked a claim reads leases, and must not wait for us while we wait for the claim.
            UPDATE h SET is_valid = 1
            FROM @held AS h
            WHERE (h.instance = @instance AND h.agent = @agent AND @lease_until_ms > @now_ms)
                OR ((h.instance <> @instance OR h.agent <> @agent) AND EXISTS (
                    SELECT 1 FROM dbo.leases AS l
                    WHERE l.instance = h.instance AND l.agent = h.agent AND l.lease_until_ms > @now_ms
                ));
            -- Of two claims on one account the one that the table knows, or else either. (Not in one SELECT:
            -- of a NULL in a MAX SQL Server warns the client.)
            INSERT INTO @chosen (account, claim)
            SELECT l.account, l.claim
            FROM @listed AS l INNER JOIN @held AS h ON h.account = l.account AND h.claim = l.claim;
            INSERT INTO @chosen (account, claim)
            SELECT l.account, MAX(l.claim)
            FROM @listed AS l
            WHERE NOT EXISTS (SELECT 1 FROM @chosen AS c WHERE c.account = l.account)
            GROUP BY l.account;
            UPDATE o
            SET claim = c.claim, instance = @instance, agent = @agent, is_away = 0,
                displaced_claim = NULL, displaced_instance = NULL
            FROM dbo.online AS o
            INNER JOIN @chosen AS c ON c.account = o.account
            INNER JOIN @held AS h ON h.account = c.account
            WHERE (h.claim = c.claim AND h.instance = @instance) OR h.is_valid = 0;
            BEGIN TRY
                -- In the order of accounts, so that two lists at once cannot wait for each other.
                INSERT INTO dbo.online (account, claim, instance, agent)
                SELECT c.account, c.claim, @instance, @agent
                FROM @chosen AS c
                WHERE NOT EXISTS (SELECT 1 FROM @held AS h WHERE h.account = c.account)
                ORDER BY c.account;
                SET @is_taken_up = 1;
            END TRY
            BEGIN CATCH
                -- One has come between the two statements: it can be locked now.
                IF ERROR_NUMBER() NOT IN (2627, 2601) THROW;
            END CATCH;
        END;
        -- What was valid has kept its number; on every other account there is the chosen one now.
        INSERT INTO @void (account, claim)
        SELECT l.account, l.claim
        FROM @listed AS l
        INNER JOIN @chosen AS c ON c.account = l.account
        LEFT JOIN @held AS h ON h.account = l.account
        WHERE l.claim <> CASE WHEN h.is_valid = 1 THEN h.claim ELSE c.claim END;
        EXEC dbo.renew_lease @instance, @agent, @lease_until_ms;
        EXEC dbo.prune_online @before_ms;
        IF @outer = 0 COMMIT TRANSACTION;
    END TRY
    BEGIN CATCH
        IF @outer = 0 AND @@TRANCOUNT > 0 ROLLBACK TRANSACTION;
        THROW;
    END CATCH;
    SELECT 0 AS result, CAST(NULL AS BIGINT) AS account, CAST(NULL AS BIGINT) AS claim
    UNION ALL
    SELECT 1, v.account, v.claim FROM @void AS v
    ORDER BY result;
END;
GO

-- DONE 0
CREATE PROCEDURE dbo.p_Holder_Renew
    @instance BIGINT, @agent BIGINT, @lease_until_ms BIGINT
AS
BEGIN
    SET NOCOUNT ON;
    EXEC dbo.renew_lease @instance, @agent, @lease_until_ms;
    SELECT 0 AS result;
END;
GO

-- DONE 0
CREATE PROCEDURE dbo.p_Agent_Start
    @agent BIGINT, @until_ms BIGINT
AS
BEGIN
    SET NOCOUNT ON;
    -- The upper half of a number's bits.
    DECLARE @half BIGINT = -4294967296;
    UPDATE dbo.leases SET lease_until_ms = @until_ms
    WHERE (agent & @half) = (@agent & @half) AND agent <> @agent AND lease_until_ms > @until_ms;
    SELECT 0 AS result;
END;
GO
