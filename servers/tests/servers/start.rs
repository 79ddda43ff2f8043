//! Tests of the start: its duration, and the configurations that are refused.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use throng_core::wire::packets::Outcome;

use crate::support::{Client, Cluster, Home, Player, Server, Stopwatch, wait_until};

#[test]
fn a_fresh_directory_is_ready_soon() {
    // A release build must be ready within a second; this is a debug build.
    const LIMIT: Duration = Duration::from_secs(3);
    let home = Home::new();
    let stopwatch = Stopwatch::start();
    let first = home.up(&[]);
    stopwatch.assert_within("the first start", LIMIT);
    // Ready means that the first login succeeds.
    Player::create(first.login(), "First").log_in(first.login()).unwrap().enter();
    assert_eq!(first.links_up(), 6);
    first.kill();
    let stopwatch = Stopwatch::start();
    let _second = home.up(&[]);
    stopwatch.assert_within("the second start", LIMIT);
}

#[test]
fn no_role_starts_without_a_valid_cluster_key() {
    let good = "0123456789abcdef0f1e2d3c4b5a6978a1b2c3d4e5f60718293a4b5c6d7e8f90\n";
    let check = |roles: &[&str], key: Option<&str>, mode: u32, wanted: &[&str]| {
        for role in roles {
            let home = Home::with_keys();
            let path = home.path().join("cluster.key");
            fs::remove_file(&path).unwrap();
            if let Some(key) = key {
                fs::write(&path, key).unwrap();
                fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
            }
            let (code, stderr) = home.run(role, &[]);
            assert_eq!(code, Some(1), "{role}: {stderr}");
            for text in wanted.iter().chain(&["throng: ", "cluster key", path.to_str().unwrap()]) {
                assert!(stderr.contains(text), "{role} with {key:?}: {stderr}");
            }
        }
    };
    let single = ["login", "chat", "dbagent"];
    let all = ["up", "login", "chat", "dbagent"];
    check(&single, None, 0o600, &["there is no", "throng keygen --data", "link.cluster_key_file"]);
    check(&all, Some(&good[..40]), 0o600, &["not 64 hexadecimal digits", "throng keygen"]);
    check(&all, Some(&"0".repeat(64)), 0o600, &["a sample, not a secret", "throng keygen"]);
    check(&all, Some(good), 0o644, &["can be read by other users", "chmod 600"]);
}

#[test]
fn a_second_process_in_the_same_directory_is_refused() {
    let home = Home::new();
    let up = home.up(&[]);
    for role in ["up", "login", "chat", "dbagent"] {
        let (code, stderr) = home.run(role, &[]);
        assert_eq!(code, Some(1), "{stderr}");
        assert!(stderr.contains("already runs the") && stderr.contains("--data"), "{stderr}");
    }
    // The first process is not affected.
    Player::create(up.login(), "First").log_in(up.login()).unwrap().enter();
}

#[test]
fn a_taken_port_is_named_and_no_files_are_left() {
    let home = Home::new();
    let up = home.up(&[]);
    let other = Home::new();
    for (key, address) in [
        ("login.listen", up.login().address),
        ("chat.listen", up.chat().address),
        ("dbagent.listen", up.address("dbagent")),
        ("admin.listen", up.admin_address()),
    ] {
        let (code, stderr) = other.run("up", &[&format!("{key}={address}")]);
        assert_eq!(code, Some(1), "{stderr}");
        assert!(stderr.contains(&address.to_string()) && stderr.contains("another"), "{stderr}");
        for file in ["throng.db-wal", "throng.db-shm", "endpoints.toml"] {
            assert!(!other.path().join(file).exists(), "{key}: {file} is left behind");
        }
    }
}

/// A server of another cluster gets no link, is told why, and backs off.
#[test]
fn a_server_with_another_cluster_key_gets_no_link_and_backs_off() {
    let cluster = Cluster::start(&[]);
    let agent: &Server = cluster.dbagent.as_ref().unwrap();
    let stranger = Home::with_keys();
    let settings = [
        format!("login.dbagent={}", agent.address("dbagent")),
        format!("login.chat={}", cluster.chat.as_ref().unwrap().address("chat links")),
        "link.retry_min=100ms".to_owned(),
        "link.retry_max=800ms".to_owned(),
    ];
    let started = std::time::Instant::now();
    let login = stranger.start("login", &settings);
    wait_until("five handshakes have failed", || agent.closed_for("HandshakeFailed") >= 5);
    // A pause is at least half of its maximum: 50 + 100 + 200 + 400 ms.
    assert!(started.elapsed() >= Duration::from_millis(750), "{:?}", started.elapsed());
    assert_eq!((login.links_up(), login.metric("throng_links_connected_total")), (0, 0));
    assert!(login.admin("/links").contains("down (HandshakeFailed), dialing again"));
    let mut client = Client::connect(login.login());
    assert_eq!(Player::named("Alice").sign_up(&mut client), Outcome::TryAgainLater);
    // The cluster itself is not affected.
    Player::create(cluster.login_addr(), "Alice").log_in(cluster.login_addr()).unwrap();
}
