//! Wrong keys: no client enters, and the report names the key to check.

use super::*;

/// Runs `scenario` with `flag` set to `value` instead of the stub's.
fn with_other(stub: &Stub, scenario: &str, flag: &str, value: &str) -> Ended {
    let mut flags = stub.flags(scenario);
    let at = flags.iter().position(|known| known == flag).expect("one of its flags");
    flags[at + 1] = value.into();
    Run::spawn(&mut binary(), scenario, flags, "--clients 3 --seed 1").end()
}

#[test]
fn a_wrong_server_key_is_named() {
    let stub = Stub::start(Script::default());
    for (scenario, role) in [("broadcast", "chat"), ("login", "login")] {
        let ended = with_other(&stub, scenario, "--server-key", &"ab".repeat(32));
        ended.expect(3, &[("/clients/failed", 3), ("/clients/reasons/failed: HandshakeFailed", 3)]);
        let hint = format!("compare --server-key with the key that the {role} server at 127.0.0.1:");
        assert!(ended.text("incomplete_because").contains(&hint), "{ended}");
        assert!(ended.stdout.contains("BROKEN  every client failed in its first handshake"), "{ended}");
    }
}

#[test]
fn a_wrong_cluster_key_is_named() {
    let stub = Stub::start(Script::default());
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("other.key");
    throng_core::crypto::ClusterKey::generate().unwrap().store(&path).unwrap();
    let ended = with_other(&stub, "broadcast", "--cluster-key", path.to_str().unwrap());
    ended.expect(3, &[("/clients/refused", 3), ("/clients/reasons/refused: TicketInvalid", 3)]);
    assert!(ended.text("incomplete_because").contains("differ from the file of --cluster-key"), "{ended}");
}
