-- The procedures of sql/README.md. Each is one call, one row or more, one transaction.
-- SECURITY DEFINER: whoever may execute them needs no right on any table; the
-- search_path is pinned, so nobody can put tables of their own in the way. PL/pgSQL even for a single SELECT:
-- it keeps the plan for the session, where a function in SQL is parsed anew at each call.

CREATE FUNCTION throng.p_Schema_Select()
RETURNS TABLE (number integer, name varchar, checksum varchar, applied_ms bigint)
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = throng, pg_temp AS $$
BEGIN
    RETURN QUERY
        SELECT m.number, m.name, m.checksum, m.applied_ms FROM schema_migrations m ORDER BY m.number;
END
$$;

CREATE FUNCTION throng.p_Clock_Select()
RETURNS TABLE (now_ms bigint)
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = throng, pg_temp AS $$
BEGIN
    RETURN QUERY SELECT floor(extract(epoch FROM clock_timestamp()) * 1000)::bigint;
END
$$;

CREATE FUNCTION throng.p_AccountData_Select(p_id_key varchar)
RETURNS TABLE (account bigint, id varchar, password_hash varchar)
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = throng, pg_temp AS $$
BEGIN
    RETURN QUERY SELECT a.account, a.id, a.password_hash FROM accounts a WHERE a.id_key = p_id_key;
END
$$;

-- INSERTED 0, ID_TAKEN 1
CREATE FUNCTION throng.p_AccountData_Insert(
    p_id varchar, p_id_key varchar, p_password_hash varchar, p_password_cost varchar, p_now_ms bigint
)
RETURNS TABLE (result integer, account bigint)
LANGUAGE plpgsql SECURITY DEFINER SET search_path = throng, pg_temp AS $$
#variable_conflict use_column
DECLARE
    v_account bigint;
BEGIN
    INSERT INTO accounts (id, id_key, password_hash, password_cost, created_ms)
    VALUES (p_id, p_id_key, p_password_hash, p_password_cost, p_now_ms)
    ON CONFLICT (id_key) DO NOTHING RETURNING account INTO v_account;
    RETURN QUERY SELECT CASE WHEN v_account IS NULL THEN 1 ELSE 0 END, v_account;
END
$$;

-- REPLACED 0, KEPT 1
CREATE FUNCTION throng.p_Password_Replace(
    p_account bigint, p_old_hash varchar, p_new_hash varchar, p_new_cost varchar
)
RETURNS TABLE (result integer)
LANGUAGE plpgsql SECURITY DEFINER SET search_path = throng, pg_temp AS $$
BEGIN
    -- The new hash too: a repeated call, whose answer was lost.
    UPDATE accounts a SET password_hash = p_new_hash, password_cost = p_new_cost
    WHERE a.account = p_account AND a.password_hash COLLATE "C" IN (p_old_hash, p_new_hash);
    RETURN QUERY SELECT CASE WHEN FOUND THEN 0 ELSE 1 END;
END
$$;

CREATE FUNCTION throng.p_PasswordCost_Next(p_after varchar)
RETURNS TABLE (password_cost varchar)
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = throng, pg_temp AS $$
BEGIN
    RETURN QUERY
        SELECT a.password_cost FROM accounts a WHERE a.password_cost > p_after
        ORDER BY a.password_cost LIMIT 1;
END
$$;

CREATE FUNCTION throng.p_Character_Select(p_account bigint)
RETURNS TABLE ("character" bigint, name varchar, level bigint, experience bigint)
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = throng, pg_temp AS $$
BEGIN
    RETURN QUERY
        SELECT c."character", c.name, c.level, c.experience FROM characters c WHERE c.account = p_account;
END
$$;

-- INSERTED 0, NO_SUCH_ACCOUNT 1, CHARACTER_EXISTS 2, NAME_TAKEN 3
CREATE FUNCTION throng.p_Character_Insert(
    p_account bigint, p_name varchar, p_name_key varchar, p_now_ms bigint
)
RETURNS TABLE (result integer, "character" bigint)
LANGUAGE plpgsql SECURITY DEFINER SET search_path = throng, pg_temp AS $$
#variable_conflict use_column
DECLARE
    v_character bigint;
BEGIN
    BEGIN
        INSERT INTO characters (account, name, name_key, created_ms)
        VALUES (p_account, p_name, p_name_key, p_now_ms)
        ON CONFLICT DO NOTHING RETURNING "character" INTO v_character;
    EXCEPTION WHEN foreign_key_violation THEN
        v_character := NULL;
    END;
    -- The constraints have decided; what follows only finds the words for it.
    RETURN QUERY SELECT
        CASE
            WHEN v_character IS NOT NULL THEN 0
            WHEN NOT EXISTS (SELECT 1 FROM accounts a WHERE a.account = p_account) THEN 1
            WHEN EXISTS (SELECT 1 FROM characters c WHERE c.account = p_account) THEN 2
            ELSE 3
        END,
        v_character;
END
$$;

-- CLAIMED 0, ALREADY_ONLINE 1, NO_LEASE 2
CREATE FUNCTION throng.p_Online_Claim(
    p_account bigint, p_claim bigint, p_instance bigint, p_agent bigint, p_take_over integer, p_now_ms bigint
)
RETURNS TABLE (result integer, displaced_claim bigint, displaced_instance bigint)
LANGUAGE plpgsql SECURITY DEFINER SET search_path = throng, pg_temp AS $$
#variable_conflict use_column
DECLARE
    v_held online%ROWTYPE;
    v_valid boolean;
BEGIN
    -- Online state need not survive a power cut to the last moment: the servers report it again.
    PERFORM set_config('synchronous_commit', 'off', true);
    IF NOT EXISTS (
        SELECT 1 FROM leases l
        WHERE l.instance = p_instance AND l.agent = p_agent AND l.lease_until_ms > p_now_ms
    ) THEN
        RETURN QUERY SELECT 2, NULL::bigint, NULL::bigint;
        RETURN;
    END IF;
    LOOP
        INSERT INTO online (account, claim, instance, agent)
        VALUES (p_account, p_claim, p_instance, p_agent)
        ON CONFLICT (account) DO NOTHING;
        IF FOUND THEN
            RETURN QUERY SELECT 0, NULL::bigint, NULL::bigint;
            RETURN;
        END IF;
        SELECT * INTO v_held FROM online o WHERE o.account = p_account FOR UPDATE;
        -- Gone between the two statements: it can be inserted now.
        EXIT WHEN FOUND;
    END LOOP;
    IF v_held.claim = p_claim AND v_held.instance = p_instance THEN
        -- The same call again, whose answer was lost.
        RETURN QUERY SELECT 0, v_held.displaced_claim, v_held.displaced_instance;
        RETURN;
    END IF;
    v_valid := EXISTS (
        SELECT 1 FROM leases l
        WHERE l.instance = v_held.instance AND l.agent = v_held.agent AND l.lease_until_ms > p_now_ms
    );
    -- An away claim gives way to any login.
    IF v_valid AND v_held.is_away = 0 AND p_take_over = 0 THEN
        RETURN QUERY SELECT 1, NULL::bigint, NULL::bigint;
        RETURN;
    END IF;
    IF NOT v_valid THEN
        v_held.claim := NULL;
        v_held.instance := NULL;
    END IF;
    UPDATE online o
    SET claim = p_claim, instance = p_instance, agent = p_agent, is_away = 0,
        displaced_claim = v_held.claim, displaced_instance = v_held.instance
    WHERE o.account = p_account;
    RETURN QUERY SELECT 0, v_held.claim, v_held.instance;
END
$$;

-- MOVED 0, LOST 1, NO_LEASE 2
CREATE FUNCTION throng.p_Online_Transfer(
    p_account bigint, p_claim bigint, p_to_instance bigint, p_agent bigint, p_now_ms bigint
)
RETURNS TABLE (result integer)
LANGUAGE plpgsql SECURITY DEFINER SET search_path = throng, pg_temp AS $$
BEGIN
    PERFORM set_config('synchronous_commit', 'off', true);
    IF NOT EXISTS (
        SELECT 1 FROM leases l
        WHERE l.instance = p_to_instance AND l.agent = p_agent AND l.lease_until_ms > p_now_ms
    ) THEN
        RETURN QUERY SELECT 2;
        RETURN;
    END IF;
    -- A repeated call leaves the mark of its new holder.
    UPDATE online o
    SET instance = p_to_instance, agent = p_agent,
        is_away = CASE WHEN o.instance = p_to_instance THEN o.is_away ELSE 0 END
    WHERE o.account = p_account AND o.claim = p_claim;
    RETURN QUERY SELECT CASE WHEN FOUND THEN 0 ELSE 1 END;
END
$$;

-- RELEASED 0, NOT_HELD 1
CREATE FUNCTION throng.p_Online_Release(p_account bigint, p_claim bigint, p_instance bigint)
RETURNS TABLE (result integer)
LANGUAGE plpgsql SECURITY DEFINER SET search_path = throng, pg_temp AS $$
BEGIN
    PERFORM set_config('synchronous_commit', 'off', true);
    DELETE FROM online o
    WHERE o.account = p_account AND o.claim = p_claim AND o.instance = p_instance;
    RETURN QUERY SELECT CASE WHEN FOUND THEN 0 ELSE 1 END;
END
$$;

-- MARKED 0, NOT_HELD 1
CREATE FUNCTION throng.p_Online_Away(
    p_account bigint, p_claim bigint, p_instance bigint, p_agent bigint, p_is_away integer
)
RETURNS TABLE (result integer)
LANGUAGE plpgsql SECURITY DEFINER SET search_path = throng, pg_temp AS $$
BEGIN
    PERFORM set_config('synchronous_commit', 'off', true);
    UPDATE online o SET is_away = p_is_away
    WHERE o.account = p_account AND o.claim = p_claim AND o.instance = p_instance AND o.agent = p_agent;
    RETURN QUERY SELECT CASE WHEN FOUND THEN 0 ELSE 1 END;
END
$$;

-- A page of a list: for each claim its account and its number, 20 characters each, padded with blanks. DONE 0
CREATE FUNCTION throng.p_Online_List(p_instance bigint, p_list bigint, p_claims varchar, p_now_ms bigint)
RETURNS TABLE (result integer)
LANGUAGE plpgsql SECURITY DEFINER SET search_path = throng, pg_temp AS $$
BEGIN
    PERFORM set_config('synchronous_commit', 'off', true);
    INSERT INTO listed (instance, list, account, claim, listed_ms)
    SELECT p_instance, p_list, substr(p_claims, at * 40 + 1, 20)::bigint,
           substr(p_claims, at * 40 + 21, 20)::bigint, p_now_ms
    FROM generate_series(0, length(p_claims) / 40 - 1) at
    ON CONFLICT DO NOTHING;
    RETURN QUERY SELECT 0;
END
$$;

-- DONE 0, then VOID 1 with each claim that is void
CREATE FUNCTION throng.p_Online_Sync(
    p_instance bigint, p_agent bigint, p_list bigint, p_is_first integer, p_now_ms bigint,
    p_lease_until_ms bigint
)
RETURNS TABLE (result integer, account bigint, claim bigint)
LANGUAGE plpgsql SECURITY DEFINER SET search_path = throng, pg_temp AS $$
#variable_conflict use_column
BEGIN
    PERFORM set_config('synchronous_commit', 'off', true);
    -- The row stays locked: lists of one process are compared one after the other.
    INSERT INTO holders AS h (instance, list) VALUES (p_instance, p_list)
    ON CONFLICT (instance) DO UPDATE SET list = excluded.list WHERE h.list <= excluded.list;
    -- Of a list that is not the latest nothing counts: a later one has taken all claims over.
    IF NOT FOUND THEN
        DELETE FROM listed l WHERE l.instance = p_instance AND l.list = p_list;
    END IF;
    INSERT INTO leases (instance, agent, lease_until_ms) VALUES (p_instance, p_agent, p_lease_until_ms)
    ON CONFLICT (instance, agent) DO UPDATE SET lease_until_ms = excluded.lease_until_ms;
    IF p_is_first <> 0 THEN
        DELETE FROM online o
        WHERE o.instance = p_instance AND o.agent = p_agent AND NOT EXISTS (
            SELECT 1 FROM listed l
            WHERE l.instance = p_instance AND l.list = p_list AND l.account = o.account AND l.claim = o.claim
        );
    END IF;
    INSERT INTO online AS o (account, claim, instance, agent)
    SELECT DISTINCT ON (l.account) l.account, l.claim, p_instance, p_agent
    FROM listed l LEFT JOIN online t ON t.account = l.account
    WHERE l.instance = p_instance AND l.list = p_list AND l.claim <> 0
    -- Of two claims on one account the one that the table knows. In the order of accounts, so that
    -- two lists at once cannot wait for each other.
    ORDER BY l.account, l.claim = t.claim DESC NULLS LAST
    ON CONFLICT (account) DO UPDATE
    SET claim = excluded.claim, instance = excluded.instance, agent = excluded.agent, is_away = 0,
        displaced_claim = NULL, displaced_instance = NULL
    WHERE (o.claim = excluded.claim AND o.instance = excluded.instance) OR NOT EXISTS (
        SELECT 1 FROM leases l
        WHERE l.instance = o.instance AND l.agent = o.agent AND l.lease_until_ms > p_now_ms
    );
    RETURN QUERY SELECT 0, NULL::bigint, NULL::bigint;
    RETURN QUERY
        SELECT 1, l.account, l.claim FROM listed l JOIN online o ON o.account = l.account
        WHERE l.instance = p_instance AND l.list = p_list AND l.claim <> 0 AND o.claim <> l.claim;
    DELETE FROM listed l
    WHERE (l.instance = p_instance AND l.list <= p_list) OR l.listed_ms < p_now_ms - 3600000;
    PERFORM prune_online(p_now_ms - 3600000);
END
$$;

-- Removes a bounded part of what long dead processes left. Whatever another transaction
-- is at is left to the next time.
CREATE FUNCTION throng.prune_online(p_before_ms bigint) RETURNS void
LANGUAGE plpgsql SET search_path = throng, pg_temp AS $$
BEGIN
    DELETE FROM online WHERE account IN (
        SELECT o.account FROM leases l JOIN online o ON o.instance = l.instance AND o.agent = l.agent
        WHERE l.lease_until_ms < p_before_ms LIMIT 1024 FOR UPDATE OF o SKIP LOCKED
    );
    DELETE FROM leases WHERE (instance, agent) IN (
        SELECT l.instance, l.agent FROM leases l
        WHERE l.lease_until_ms < p_before_ms AND NOT EXISTS (
            SELECT 1 FROM online o WHERE o.instance = l.instance AND o.agent = l.agent
        ) LIMIT 16 FOR UPDATE OF l SKIP LOCKED
    );
    DELETE FROM holders WHERE instance IN (
        SELECT h.instance FROM holders h
        WHERE NOT EXISTS (SELECT 1 FROM leases l WHERE l.instance = h.instance)
        LIMIT 16 FOR UPDATE OF h SKIP LOCKED
    );
END
$$;

-- DONE 0
CREATE FUNCTION throng.p_Holder_Renew(p_instance bigint, p_agent bigint, p_lease_until_ms bigint)
RETURNS TABLE (result integer)
LANGUAGE plpgsql SECURITY DEFINER SET search_path = throng, pg_temp AS $$
BEGIN
    PERFORM set_config('synchronous_commit', 'off', true);
    INSERT INTO leases (instance, agent, lease_until_ms) VALUES (p_instance, p_agent, p_lease_until_ms)
    ON CONFLICT (instance, agent) DO UPDATE SET lease_until_ms = excluded.lease_until_ms;
    RETURN QUERY SELECT 0;
END
$$;

-- DONE 0
CREATE FUNCTION throng.p_Agent_Start(p_agent bigint, p_until_ms bigint)
RETURNS TABLE (result integer)
LANGUAGE plpgsql SECURITY DEFINER SET search_path = throng, pg_temp AS $$
BEGIN
    UPDATE leases l SET lease_until_ms = p_until_ms
    WHERE l.agent / 4294967296 = p_agent / 4294967296 AND l.agent <> p_agent
      AND l.lease_until_ms > p_until_ms;
    RETURN QUERY SELECT 0;
END
$$;

-- Functions are everybody's by default. Who may execute these is said in agent_role.sql.
REVOKE ALL ON ALL FUNCTIONS IN SCHEMA throng FROM PUBLIC;
