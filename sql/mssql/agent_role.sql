-- The role that a DB agent needs, and no more: it executes the procedures and cannot touch a table.
-- Run it as the database's owner after every `throng db migrate` (it may be run again and again),
-- then make a login, and a user of this database that belongs to the role:
--     CREATE LOGIN throng_agent_1 WITH PASSWORD = '...';
--     CREATE USER throng_agent_1 FOR LOGIN throng_agent_1;
--     ALTER ROLE throng_agent ADD MEMBER throng_agent_1;
--
-- In SQL Server the procedures use their owner's tables, whoever executes them. In Babelfish (4.3) that holds for views
-- only, and EXECUTE AS OWNER is refused. There run this as well, over its PostgreSQL port and in its PostgreSQL
-- database, with the schema's name in PostgreSQL for `throng_dbo` (database `throng`, migration mode
-- multi-db; in single-db it is `dbo`). Until then the members' calls end with "permission denied":
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
GRANT EXECUTE ON dbo.p_Character_Select TO throng_agent;
GRANT EXECUTE ON dbo.p_Character_Insert TO throng_agent;
GRANT EXECUTE ON dbo.p_Online_Claim TO throng_agent;
GRANT EXECUTE ON dbo.p_Online_Transfer TO throng_agent;
GRANT EXECUTE ON dbo.p_Online_Release TO throng_agent;
GRANT EXECUTE ON dbo.p_Online_List TO throng_agent;
GRANT EXECUTE ON dbo.p_Online_Sync TO throng_agent;
GRANT EXECUTE ON dbo.p_Holder_Renew TO throng_agent;
GRANT EXECUTE ON dbo.p_Agent_Start TO throng_agent;
GO
