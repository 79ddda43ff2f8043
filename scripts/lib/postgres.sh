# shellcheck shell=bash
# Sourced by scripts, after servers.sh.
#   start_postgres THRONG   starts a private PostgreSQL on a free port in a directory of its own.
#                           Its database `throng` has the schema. The user `throng_agent_1` may
#                           execute the procedures and nothing else. $POSTGRES_SETTINGS are the
#                           flags of a server that uses it.
#   stop_postgres           ends it and removes its directory

POSTGRES_ROOT=""
POSTGRES_PORT=""
POSTGRES_SETTINGS=()

# Runs a command as the user `postgres` when the script runs as root, because PostgreSQL refuses
# root.
postgres_user() {
    if [ "$(id -u)" -eq 0 ]; then runuser --user postgres -- "$@"; else "$@"; fi
}

free_port() {
    python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'
}

start_postgres() {
    local throng=$1 programs
    programs=$(find /usr/lib/postgresql -name initdb -printf '%h\n' | sort -V | tail -1)
    POSTGRES_ROOT=$(mktemp -d "${TMPDIR:-/tmp}/throng-postgres.XXXXXX")
    if [ "$(id -u)" -eq 0 ]; then chown postgres "$POSTGRES_ROOT"; fi
    POSTGRES_PORT=$(free_port)
    (
        cd "$POSTGRES_ROOT" || exit
        postgres_user "$programs/initdb" --pgdata data --username postgres --auth trust --encoding UTF8 \
            --locale C.UTF-8 >/dev/null
        postgres_user "$programs/pg_ctl" --pgdata data --silent --wait --log "$POSTGRES_ROOT/log" start --options \
            "-p $POSTGRES_PORT -k $POSTGRES_ROOT -c listen_addresses=127.0.0.1 -c shared_buffers=256MB"
    )
    trap 'end_servers; stop_postgres' EXIT
    local sql=(psql -X -q -v ON_ERROR_STOP=1 -h 127.0.0.1 -p "$POSTGRES_PORT" -U postgres)
    "${sql[@]}" -c 'CREATE ROLE throng_owner LOGIN' -c 'CREATE ROLE throng_agent_1 LOGIN' \
        -c 'CREATE DATABASE throng OWNER throng_owner'
    POSTGRES_SETTINGS=(--set dbagent.engine=postgres --set "odbc.port=$POSTGRES_PORT" --set odbc.user=throng_agent_1)
    "$throng" db migrate --data "$POSTGRES_ROOT/none" "${POSTGRES_SETTINGS[@]}" --set odbc.user=throng_owner >/dev/null
    "${sql[@]}" -d throng -f sql/postgres/agent_role.sql -c 'GRANT throng_agent TO throng_agent_1'
}

stop_postgres() {
    if [ -z "$POSTGRES_ROOT" ]; then return; fi
    kill -INT "$(head -1 "$POSTGRES_ROOT/data/postmaster.pid")" 2>/dev/null || true
    while [ -e "$POSTGRES_ROOT/data/postmaster.pid" ]; do sleep 0.05; done
    rm -rf "$POSTGRES_ROOT"
    POSTGRES_ROOT=""
}
