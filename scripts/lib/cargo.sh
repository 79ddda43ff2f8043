# shellcheck shell=bash
# Sourced by scripts, from the root of the repository. Asks cargo where it puts what it builds:
# CARGO_TARGET_DIR and the configuration file's `target-dir` and `target` move it.

# target_directory: prints the directory that cargo builds in.
target_directory() {
    cargo metadata --format-version 1 --no-deps |
        python3 -c 'import json, sys; print(json.load(sys.stdin)["target_directory"])'
}

# executables: reads cargo's JSON messages; prints "PACKAGE KIND NAME TEST PATH" for each
# executable, TEST being `test` for one made of tests and `plain` for any other.
executables() {
    python3 -c '
import json, pathlib, sys
for line in sys.stdin:
    message = json.loads(line)
    if message.get("reason") == "compiler-artifact" and message.get("executable"):
        target = message["target"]
        test = "test" if message["profile"]["test"] else "plain"
        package = pathlib.Path(message["manifest_path"]).parent.name
        print(package, target["kind"][0], target["name"], test, message["executable"])
'
}

# build_binaries [FLAG...]: builds the binaries and sets THRONG, HARNESS and CLIENT to their paths.
# shellcheck disable=SC2034
build_binaries() {
    local built
    built=$(cargo build --bins --quiet --message-format=json-render-diagnostics "$@" | executables)
    THRONG=$(sed -n 's/^[^ ]* bin throng plain //p' <<<"$built")
    HARNESS=$(sed -n 's/^[^ ]* bin throng-harness plain //p' <<<"$built")
    CLIENT=$(sed -n 's/^[^ ]* bin throng-client plain //p' <<<"$built")
}
