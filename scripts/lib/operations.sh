# shellcheck shell=bash
# Sourced by the scripts that run commands of docs/operations.md as the page has them: its blocks
# are read from the page, so that it cannot go stale.
#   enter_namespace SCRIPT KIND...   starts the script anew in a namespace of its own, if one can be
#                                    had, with the arguments `--inside NAMESPACE ARGUMENT...`
#   begin_work                       makes the directory $work, which goes with the script, and the
#                                    processes in $pids with it
#   block HEADING LANGUAGE NUMBER    prints a fenced block below a heading of the page
#   wait_for WHAT COMMAND...         waits until a command succeeds, at most 30 s
#   start_role NAME COMMAND-LINE     starts a server of the page, and waits until it is ready
#   end_in_order PID...              ends servers by SIGTERM; each must have exit code 0
#   fail REASON                      says what does not work, with the end of all output

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
page=$root/docs/operations.md
work=""
pids=()

# Tries each of the ways to get a namespace, the flags of unshare; without any the word is `none`.
enter_namespace() {
    local script=$1 arguments=$2 flags
    shift 2
    local -a given
    read -ra given <<<"$arguments"
    for flags in "$@"; do
        # shellcheck disable=SC2086
        if unshare $flags true 2>/dev/null; then
            exec unshare $flags "$script" --inside own "${given[@]}"
        fi
    done
    exec "$script" --inside none "${given[@]}"
}

begin_work() {
    work=$(mktemp -d "${TMPDIR:-/tmp}/throng-operations.XXXXXX")
    trap end_work EXIT
}

end_work() {
    local pid
    for pid in "${pids[@]}"; do kill -9 "$pid" 2>/dev/null || true; done
    rm -rf "$work"
}

fail() {
    printf 'docs/operations.md does not work as written: %s\n' "$1" >&2
    tail -n 30 "$work"/*.out "$work"/*.err >&2 2>/dev/null || true
    exit 1
}

block() {
    python3 - "$page" "$@" <<'PYTHON'
import sys
page, heading, language, number = sys.argv[1:]
found, block, is_below = [], None, False
for line in open(page, encoding="utf-8"):
    if line.startswith("```"):
        if block is None:
            block = []
            is_wanted = is_below and line[3:].strip() == language
        else:
            found += ["".join(block)] if is_wanted else []
            block = None
    elif block is not None:
        block.append(line)
    elif line.startswith("#"):
        is_below = line.strip("# \n") == heading
print(found[int(number) - 1], end="")
PYTHON
}

# No program that sets up an interface is certain to be installed.
set_loopback_up() {
    python3 -c '
import fcntl, socket, struct
interface = struct.pack("16sH14s", b"lo", 1, b"")  # IFF_UP
fcntl.ioctl(socket.socket(socket.AF_INET, socket.SOCK_DGRAM), 0x8914, interface)  # SIOCSIFFLAGS
'
}

free_port() {
    python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'
}

# Has the servers listen on free ports instead of the page's.
use_free_ports() {
    THRONG_LOGIN_LISTEN=127.0.0.1:$(free_port)
    THRONG_CHAT_LISTEN=127.0.0.1:$(free_port)
    THRONG_CHAT_LINK_LISTEN=127.0.0.1:$(free_port)
    THRONG_DBAGENT_LISTEN=127.0.0.1:$(free_port)
    THRONG_LOGIN_CHAT=$THRONG_CHAT_LINK_LISTEN
    THRONG_LOGIN_DBAGENT=$THRONG_DBAGENT_LISTEN
    THRONG_CHAT_DBAGENT=$THRONG_DBAGENT_LISTEN
    THRONG_ADMIN_LISTEN=127.0.0.1:0
    export THRONG_LOGIN_LISTEN THRONG_CHAT_LISTEN THRONG_CHAT_LINK_LISTEN THRONG_DBAGENT_LISTEN \
        THRONG_LOGIN_CHAT THRONG_LOGIN_DBAGENT THRONG_CHAT_DBAGENT THRONG_ADMIN_LISTEN
}

# A debug build on a busy machine hashes slowly.
hash_cheaply() { export THRONG_DBAGENT_ARGON2_MEMORY=8KiB THRONG_DBAGENT_ARGON2_ITERATIONS=1; }

wait_for() {
    local what=$1
    shift
    for _ in $(seq 600); do
        if "$@"; then return 0; fi
        sleep 0.05
    done
    fail "$what"
}

is_ready_or_gone() { grep -qsx ready "$1.out" || ! kill -0 "$2" 2>/dev/null; }

start_role() {
    bash -c "exec $2" >"$1.out" 2>"$1.err" &
    pids+=($!)
    wait_for "the $1 is not ready" is_ready_or_gone "$1" "${pids[-1]}"
    grep -qx ready "$1.out" || fail "the $1 has ended"
}

end_in_order() {
    local pid code
    for pid in "$@"; do
        kill -TERM "$pid"
        code=0
        wait "$pid" || code=$?
        [ $code -eq 0 ] || fail "a server ended with exit code $code"
    done
}
