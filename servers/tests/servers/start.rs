//! Tests of the start: its duration, and the configurations that are refused.

use std::fs::{self, Permissions};
use std::io::Write;
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use throng_core::wire::packets::Outcome;

use crate::support::{Client, Cluster, Home, Player, Postgres, Server, Stopwatch, wait_until};

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
            // As on a further machine, which has had no keys.
            fs::remove_file(home.path().join("manifest")).unwrap();
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

/// A lost part of a directory is not replaced without a word: a new key would lock out every
/// client, a new database would lose every account.
#[test]
fn a_used_directory_with_a_missing_part_is_refused_until_it_is_done_on_purpose() {
    for (file, role) in [("login.key", "login"), ("chat.key", "chat"), ("throng.db", "dbagent")] {
        let home = Home::new();
        let up = home.up(&[]);
        up.signal(rustix::process::Signal::TERM);
        assert_eq!(up.exit_code(), Some(0));
        let path = home.path().join(file);
        fs::remove_file(&path).unwrap();
        for command in ["up", role, if file == "throng.db" { "db migrate" } else { "keygen" }] {
            let (code, stderr) = home.run(command, &[]);
            assert_eq!(code, Some(1), "{command} without {file}: {stderr}");
            for text in [path.to_str().unwrap(), "restore it", "manifest"] {
                assert!(stderr.contains(text), "{command} without {file}: {stderr}");
            }
            assert!(!path.exists(), "{command} has replaced {file}");
        }
        let manifest = home.path().join("manifest");
        let text = fs::read_to_string(&manifest).unwrap();
        fs::write(&manifest, text.replace(&format!("{file}\n"), "")).unwrap();
        let _up = home.up(&[]);
        assert!(path.exists());
    }
}

#[test]
fn a_database_whose_log_was_deleted_after_a_kill_is_refused() {
    let home = Home::new();
    let up = home.up(&[]);
    let player = Player::create(up.login(), "Player");
    let open = home.path().join("throng.db-open");
    wait_until("the database is marked as open", || open.exists());
    up.kill();
    let log = home.path().join("throng.db-wal");
    let kept = fs::read(&log).unwrap();
    fs::remove_file(&log).unwrap();
    let (code, stderr) = home.run("up", &[]);
    assert!(code == Some(1) && stderr.contains("throng.db-wal is missing"), "{stderr}");
    assert!(stderr.contains("delete") && stderr.contains("throng.db-open"), "{stderr}");
    fs::write(&log, kept).unwrap();
    let up = home.up(&[]);
    player.log_in_when_free(up.login());
    up.signal(rustix::process::Signal::TERM);
    assert_eq!(up.exit_code(), Some(0));
    assert!(!open.exists() && !log.exists());
    home.up(&[]);
}

/// With the database down no player can log in: the process says so, and is ready when it is back.
#[test]
fn a_process_is_ready_only_when_its_database_is_there() {
    let mut postgres = Postgres::start();
    let mut settings = postgres.database().settings();
    settings.push("odbc.connect_timeout=1s".into());
    postgres.stop();
    let home = Home::new();
    let up = home.start_unready("up", &settings);
    assert!(up.unready().contains("no connection to the database"));
    assert!(up.admin("/health").contains("ok"));
    let (status, body) = up.ask_admin("/ready");
    assert_eq!(status, 503, "{body}");
    assert!(body.contains("\"ready\":false") && body.contains("no connection to the database"), "{body}");
    postgres.resume();
    up.wait_for_line("ready");
    assert_eq!(up.ask_admin("/ready").0, 200);
    Player::create(up.login(), "First").log_in(up.login()).unwrap().enter();
}

/// Silent connections keep no request from the admin port.
#[test]
fn silent_connections_do_not_keep_the_admin_port_from_answering() {
    let home = Home::new();
    let up = home.up(&[]);
    let silent: Vec<TcpStream> = (0..100)
        .map(|number| {
            let mut stream = TcpStream::connect(up.admin_address()).unwrap();
            if number % 2 == 0 {
                // Refused if it was evicted already.
                let _ = stream.write_all(b"GET /health HTTP/1.1\r\n");
            }
            stream
        })
        .collect();
    assert!(up.admin("/health").contains("ok"));
    assert!(up.admin("/metrics").contains("throng_net_sessions"));
    drop(silent);
}

/// The three processes of docs/operations.md share a directory and a configuration.
#[test]
fn each_role_has_a_log_of_its_own() {
    let cluster = Cluster::start(&[]);
    for role in ["login", "chat", "dbagent"] {
        let text = fs::read_to_string(cluster.home.path().join(format!("throng-{role}.log"))).unwrap();
        assert!(text.contains("sessions fit"), "{role}: {text}");
    }
    assert!(!cluster.home.path().join("throng.log").exists());
}

/// Peers are dialed by name, over whichever family answers.
#[test]
fn links_are_dialed_by_host_name() {
    let mut cluster = Cluster::start(&[]);
    let by_name = |address: std::net::SocketAddr| format!("localhost:{}", address.port());
    let login = cluster.login.take().unwrap();
    let [agent, chat] = [
        by_name(cluster.dbagent.as_ref().unwrap().address("dbagent")),
        by_name(cluster.chat.as_ref().unwrap().address("chat links")),
    ];
    login.kill();
    let other = Home::with_keys();
    fs::copy(cluster.home.path().join("cluster.key"), other.path().join("cluster.key")).unwrap();
    let settings = [format!("login.dbagent={agent}"), format!("login.chat={chat}")];
    let login = other.start("login", &settings);
    wait_until("the links are up", || login.links_up() == 2);
    Player::create(login.login(), "First").log_in(login.login()).unwrap().enter();
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
