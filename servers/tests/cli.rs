//! Tests of the binary's command line: output and exit codes.

use std::fs;
use std::path::Path;
use std::process::Command;

/// Runs `throng` with `arguments` in `dir`. Returns the exit code, standard output and standard
/// error.
fn throng(dir: &Path, arguments: &[&str]) -> (Option<i32>, String, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_throng"))
        .current_dir(dir)
        .args(arguments)
        .env_clear()
        .env("THRONG_NET_HEARTBEAT", "10s")
        .output()
        .unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (output.status.code(), text(output.stdout), text(output.stderr))
}

#[test]
fn keys_are_created_once() {
    let dir = tempfile::tempdir().unwrap();
    let (code, first, _) = throng(dir.path(), &["keygen", "--data", "d"]);
    assert_eq!(code, Some(0));
    assert_eq!(first.matches("created d/").count(), 3, "{first}");
    assert_eq!(first.matches("public key ").count(), 2, "{first}");
    let secret = fs::read_to_string(dir.path().join("d/cluster.key")).unwrap();
    assert!(!first.contains(secret.trim()));
    let (code, second, _) = throng(dir.path(), &["keygen", "--data", "d"]);
    assert_eq!((code, second), (Some(0), first.replace("created", "kept")));
}

#[test]
fn the_printed_configuration_is_valid() {
    let dir = tempfile::tempdir().unwrap();
    let (code, printed, _) = throng(dir.path(), &["config", "print", "--set", "net.shards=3"]);
    assert_eq!(code, Some(0));
    assert!(
        printed.contains("# From: environment variable THRONG_NET_HEARTBEAT.\nheartbeat = \"10s\""),
        "{printed}"
    );
    fs::write(dir.path().join("throng.toml"), printed).unwrap();
    let (code, stdout, _) = throng(dir.path(), &["config", "check", "--config", "throng.toml"]);
    assert_eq!((code, stdout.as_str()), (Some(0), "the configuration is valid\n"));
}

#[test]
fn usage_errors_have_an_exit_code_and_a_message() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("file"), "").unwrap();
    let check = |arguments: &[&str], code: i32, wanted: &str| {
        let (found, _, stderr) = throng(dir.path(), arguments);
        assert_eq!(found, Some(code), "{arguments:?}: {stderr}");
        assert!(stderr.contains(wanted), "{arguments:?}: {stderr}");
    };
    check(&["fly"], 2, "unrecognized subcommand");
    check(
        &["up", "--set", "net.shard=1"],
        2,
        "throng: the configuration is not valid:\nthere is no key \"net.shard\"",
    );
    check(
        &["config", "check", "--config", "absent.toml"],
        2,
        "cannot read the configuration file absent.toml",
    );
    check(&["keygen", "--data", "file"], 1, "throng: cannot use file");
    check(&["up", "--data", "file"], 1, "throng: cannot use file");
}
