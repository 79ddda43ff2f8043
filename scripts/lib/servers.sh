# shellcheck shell=bash
# Sourced by scripts.
#   start_servers THRONG [FLAG...]   runs `throng up` on free ports in a directory of its own, and
#                                    waits until it is ready; its data are in $SERVERS_DATA
#   stop_servers                     ends it, and fails unless it ends in order

SERVERS_PID=""
SERVERS_ROOT=""
SERVERS_DATA=""

start_servers() {
    local throng=$1 free=127.0.0.1:0
    shift
    SERVERS_ROOT=$(mktemp -d "${TMPDIR:-/tmp}/throng-servers.XXXXXX")
    SERVERS_DATA=$SERVERS_ROOT/data
    trap end_servers EXIT
    "$throng" up --data "$SERVERS_DATA" --set "login.listen=$free" --set "chat.listen=$free" \
        --set "chat.link_listen=$free" --set "dbagent.listen=$free" --set "admin.listen=$free" \
        --set log.console=false "$@" >"$SERVERS_ROOT/stdout" 2>"$SERVERS_ROOT/stderr" &
    SERVERS_PID=$!
    for _ in $(seq 200); do
        if grep -qx ready "$SERVERS_ROOT/stdout"; then return 0; fi
        if ! kill -0 "$SERVERS_PID" 2>/dev/null; then break; fi
        sleep 0.05
    done
    echo "the servers did not become ready within 10 s:" >&2
    cat "$SERVERS_ROOT/stdout" "$SERVERS_ROOT/stderr" >&2
    return 1
}

stop_servers() {
    local code=0
    kill -TERM "$SERVERS_PID"
    wait "$SERVERS_PID" || code=$?
    SERVERS_PID=""
    end_servers
    trap - EXIT
    if [ "$code" -ne 0 ]; then
        echo "the servers ended with exit code $code" >&2
        return 1
    fi
}

# Kills the servers if they still run, and removes their directory.
end_servers() {
    if [ -n "$SERVERS_PID" ]; then kill -9 "$SERVERS_PID" 2>/dev/null || true; fi
    if [ -n "$SERVERS_ROOT" ]; then rm -rf "$SERVERS_ROOT"; fi
    SERVERS_PID=""
    SERVERS_ROOT=""
}
