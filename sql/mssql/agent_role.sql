-- The role of a DB agent: executes the procedures and has no access to any table.
-- Run this file as the database's owner after every `throng db migrate`; it may be run repeatedly.
-- Then create a login, and a user of this database that belongs to the role:
--     CREATE LOGIN throng_agent_1 WITH PASSWORD = '...';
--     CREATE USER throng_agent_1 FOR LOGIN throng_agent_1;
--     ALTER ROLE throng_agent ADD MEMBER throng_agent_1;
--
-- SQL Server executes a procedure with its owner's rights on the tables. Babelfish (4.3) does so for
-- views only, and refuses EXECUTE AS OWNER: calls of the role's members end with "permission denied".
-- On Babelfish also run the block below, over its PostgreSQL port and in its PostgreSQL database.
-- `throng_dbo` is the schema's name there for a database `throng` in migration mode multi-db; in
-- single-db it is `dbo`.
--     DO $$
--     DECLARE
--         routine regprocedure;
--     BEGIN
--         FOR routine IN SELECT oid FROM pg_proc
--             WHERE pronamespace = 'throng_dbo'::regnamespace AND proname LIKE 'p\_%'
--         LOOP
--             EXECUTE format('ALTER ROUTINE %s SECURITY DEFINER', routine);
--         END LOOP;
--     END
--     $$;

IF NOT EXISTS (SELECT 1 FROM sys.database_principals AS p WHERE p.name = N'throng_agent')
    CREATE ROLE throng_agent;
GO

GRANT EXECUTE ON dbo.p_Schema_Select TO throng_agent;
GRANT EXECUTE ON dbo.p_Clock_Select TO throng_agent;
GRANT EXECUTE ON dbo.p_AccountData_Select TO throng_agent;
GRANT EXECUTE ON dbo.p_AccountData_Insert TO throng_agent;
GRANT EXECUTE ON dbo.p_Password_Replace TO throng_agent;
GRANT EXECUTE ON dbo.p_PasswordCost_Next TO throng_agent;
GRANT EXECUTE ON dbo.p_Character_Select TO throng_agent;
GRANT EXECUTE ON dbo.p_Character_Insert TO throng_agent;
GRANT EXECUTE ON dbo.p_Online_Claim TO throng_agent;
GRANT EXECUTE ON dbo.p_Online_Transfer TO throng_agent;
GRANT EXECUTE ON dbo.p_Online_Release TO throng_agent;
GRANT EXECUTE ON dbo.p_Online_Away TO throng_agent;
GRANT EXECUTE ON dbo.p_Online_List TO throng_agent;
GRANT EXECUTE ON dbo.p_Online_Sync TO throng_agent;
GRANT EXECUTE ON dbo.p_Holder_Renew TO throng_agent;
GRANT EXECUTE ON dbo.p_Agent_Start TO throng_agent;
GO
