-- The role that a DB agent needs, and no more: it executes the procedures and cannot touch a table.
-- Run it as the schema's owner after every `throng db migrate` (it may be run again and again),
-- then make a login that belongs to it:
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
