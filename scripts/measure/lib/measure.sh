# shellcheck shell=bash
# Sourced by the scripts of scripts/measure/, from the root of the repository. A measurement makes
# one folder, results/SUBJECT, which replaces the earlier one of that subject when it is complete:
#   command.txt   the command that repeats it
#   machine.txt   the machine, the commit and the compiler
#   summary.txt   the figures that documents quote
#   raw.tar.gz    the rest: the JSON report of each run, logs; `tar -xf` opens it
# Until then it lies in results/.unfinished/SUBJECT, which git ignores.
# shellcheck source=scripts/lib/cargo.sh
. scripts/lib/cargo.sh
# shellcheck source=scripts/lib/servers.sh
. scripts/lib/servers.sh

SUBJECT=""
RESULTS=""
RAW=""
readonly SERVER_CORE=0 HARNESS_CORE=1

# begin_results SUBJECT [ARGUMENT...]: opens a folder; the arguments are those of the script.
begin_results() {
    open_results "$1"
    echo "${RUNS:+RUNS=$RUNS }scripts/measure/$*" >"$RESULTS/command.txt"
}

# continue_results SUBJECT: opens a folder that starts as a copy of the earlier one, because its
# parts may be measured at different times. measure_parts writes command.txt.
continue_results() {
    open_results "$1"
    touch "$RESULTS/command.txt"
    if [ -e "results/$1/raw.tar.gz" ]; then
        cp "results/$1/command.txt" "$RESULTS/"
        tar -xf "results/$1/raw.tar.gz" -C "$RAW"
    fi
}

open_results() {
    SUBJECT=$1
    RESULTS=results/.unfinished/$1
    RAW=$RESULTS/raw
    rm -rf "$RESULTS"
    mkdir -p "$RAW"
    scripts/measure/lib/describe-machine >"$RESULTS/machine.txt"
}

# measure_parts PART...: calls measure_PART for each part, and notes it in command.txt.
measure_parts() {
    local part commit given="${RUNS:+RUNS=$RUNS }${SECONDS_EACH:+SECONDS_EACH=$SECONDS_EACH }"
    commit=$(sed -n 's/^commit *//p' "$RESULTS/machine.txt")
    for part in "$@"; do
        sed -i "/ $part\$/d" "$RESULTS/command.txt"
        echo "$(date -u +%Y-%m-%dT%H:%MZ) of $commit: ${given}scripts/measure/$SUBJECT $part" >>"$RESULTS/command.txt"
        "measure_$part"
    done
}

# finish_results [--without-histograms]: packs the raw files and puts the folder in its place. Whole
# distributions are most of the bytes of a report: measurements of many short runs leave them out,
# and the percentiles remain.
finish_results() {
    local target
    target=$(target_directory)
    # A repository has no use for paths of the machine that measured.
    find "$RAW" "$RESULTS/summary.txt" -type f -exec sed -i \
        "s#$RAW/##g; s#$target#target#g; s#$PWD#.#g; s#[^\" ]*/throng-servers\.[^/ ]*/data#DATA#g" {} +
    if [ "${1:-}" = --without-histograms ]; then scripts/measure/lib/drop-histograms "$RAW"; fi
    tar -C "$RAW" -c --sort=name --owner=0 --group=0 --numeric-owner --mtime=@0 . |
        gzip -9n >"$RESULTS/raw.tar.gz"
    rm -r "$RAW"
    rm -rf "results/$SUBJECT"
    mv "$RESULTS" "results/$SUBJECT"
    rmdir --ignore-fail-on-non-empty results/.unfinished
    echo "measured: results/$SUBJECT"
}

# summarize: writes summary.txt from the raw files, and prints it.
summarize() { python3 scripts/measure/lib/summarize "$RAW" | tee "$RESULTS/summary.txt"; }

# start_pinned_servers [FLAG...]: starts the servers, pinned to their core.
start_pinned_servers() {
    start_servers "$THRONG" "$@"
    taskset -acp "$SERVER_CORE" "$SERVERS_PID" >/dev/null
}

# sides NUMBER: the two builds of a comparison, in the order of this turn. The second of a turn
# finds a warmer machine, which is worth 10 % in some cases.
sides() { if (($1 % 2)); then echo earlier new; else echo new earlier; fi; }

# pinned COMMAND...: runs it on the core of the harness. Exit codes 3 and 4 count as success: a
# broken threshold, and a run that is not valid, are results, and the report has them.
pinned() { taskset -c "$HARNESS_CORE" "$@" || is_result $?; }

# is_result CODE: true for the harness's exit codes of a report whose thresholds did not hold.
is_result() { [ "$1" -eq 3 ] || [ "$1" -eq 4 ]; }
