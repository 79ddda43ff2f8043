-- The role of a DB agent: executes the procedures and has no access to any table.
-- Run this file as the schema's owner after every `throng db migrate`; it may be run repeatedly.
-- Then create a login that belongs to the role:
--     CREATE ROLE throng_agent_1 LOGIN PASSWORD '...' IN ROLE throng_agent;

DO $$
BEGIN
    CREATE ROLE throng_agent NOLOGIN;
EXCEPTION WHEN duplicate_object OR unique_violation THEN
    NULL;
END
$$;

GRANT USAGE ON SCHEMA throng TO throng_agent;
GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA throng TO throng_agent;
REVOKE EXECUTE ON FUNCTION throng.prune_online(bigint) FROM throng_agent;
