//! Tests of SIGTERM: every client is told, everything is written, and the process ends in time.

use rustix::process::Signal;
use throng_core::wire::CloseReason;
use throng_core::wire::packets::{ChatRequest, ChatText, Outcome, Scope};

use crate::support::{ChatGroup, Client, Cluster, End, Home, Player, Server};

const TOLD: End = End::Told(CloseReason::ServerShutdown);

/// A drain time beyond the tests' patience: a process that waits for it fails the test.
const SLOW_DRAIN: &str = "shutdown.drain=60s";

#[test]
fn every_client_is_told_and_the_database_is_intact() {
    let home = Home::new();
    let up = home.up(&[SLOW_DRAIN]);
    let login = up.login();
    let player = Player::create(login, "Player");
    let mut inside = player.enter(login);
    let other = Player::create(login, "Other");
    let mut waiting = other.log_in(login).unwrap();
    let mut idle = Client::connect(login);
    let mut group = ChatGroup::enter(&home, up.chat(), 20);
    // Traffic is under way, and no answer is awaited before the signal.
    for member in &mut group.members {
        let burst: Vec<u8> = (0..100)
            .flat_map(|_| {
                member.seal(ChatRequest {
                    scope: Scope::World,
                    target: 0,
                    stamp: 0,
                    text: ChatText::new("still here").unwrap(),
                })
            })
            .collect();
        member.raw.write(&burst);
    }
    for number in 0..20 {
        let mut client = Client::connect(login);
        let newcomer = Player::named(&format!("Newcomer {number}"));
        client.send(newcomer.request());
    }
    up.signal(Signal::TERM);
    for client in group.members.iter_mut().chain([&mut inside, &mut waiting.login, &mut idle]) {
        assert_eq!(client.end(), TOLD);
    }
    drop(group);
    drop((inside, waiting, idle));
    assert_eq!(up.exit_code(), Some(0));

    for file in ["throng.db-wal", "throng.db-shm", "endpoints.toml"] {
        assert!(!home.path().join(file).exists(), "{file} is left behind");
    }
    assert_eq!(home.query::<String>("PRAGMA integrity_check"), "ok");
    assert_eq!(home.online(), 0);
    // Accounts and characters are kept, and no account is left online.
    let up = home.up(&[]);
    player.log_in(up.login()).unwrap().enter();
    other.log_in(up.login()).unwrap().enter();
}

#[test]
fn each_role_stops_independently() {
    let mut cluster = Cluster::start(&[SLOW_DRAIN]);
    let login = cluster.login_addr();
    let player = Player::create(login, "Player");
    let mut inside = player.enter(login);
    let mut idle = Client::connect(login);
    let check = |server: Option<Server>| {
        let server = server.unwrap();
        server.signal(Signal::TERM);
        assert_eq!(server.exit_code(), Some(0));
    };
    check(cluster.dbagent.take());
    assert_eq!(player.log_in(login).err(), Some(Outcome::TryAgainLater));
    check(cluster.login.take());
    assert_eq!(idle.end(), TOLD);
    check(cluster.chat.take());
    assert_eq!(inside.end(), TOLD);
    assert!(!cluster.home.path().join("endpoints.toml").exists());
}

/// A client that keeps its end open delays the shutdown no longer than the linger time.
#[test]
fn clients_that_stay_connected_do_not_delay_the_shutdown() {
    let home = Home::new();
    let up = home.up(&["net.linger=500ms", SLOW_DRAIN]);
    let mut group = ChatGroup::enter(&home, up.chat(), 2);
    let mut idle = Client::connect(up.login());
    up.signal(Signal::TERM);
    for client in group.members.iter_mut().chain([&mut idle]) {
        assert_eq!(client.end(), TOLD);
    }
    assert_eq!(up.exit_code(), Some(0));
}

/// They ended the process, and no client was told.
#[test]
fn sigquit_ends_in_order_and_signals_without_a_use_do_not_end() {
    let home = Home::new();
    let up = home.up(&[SLOW_DRAIN]);
    let mut idle = Client::connect(up.login());
    for signal in [Signal::USR1, Signal::USR2, Signal::ALARM, Signal::PIPE, Signal::HUP, Signal::USR1] {
        up.signal(signal);
    }
    Player::create(up.login(), "Player").log_in(up.login()).unwrap();
    up.signal(Signal::QUIT);
    assert_eq!(idle.end(), TOLD);
    assert_eq!(up.exit_code(), Some(0));
    let log = std::fs::read_to_string(home.path().join("throng.log")).unwrap();
    for name in ["SIGUSR1", "SIGUSR2", "SIGALRM", "SIGHUP", "SIGQUIT"] {
        assert_eq!(log.matches(name).count(), 1, "{name}: {log}");
    }
}

#[test]
fn a_second_signal_ends_the_process_at_once() {
    let home = Home::new();
    let up = home.up(&["net.linger=60s", SLOW_DRAIN]);
    let mut idle = Client::connect(up.login());
    up.signal(Signal::TERM);
    assert_eq!(idle.end(), TOLD);
    up.signal(Signal::TERM);
    assert_eq!(up.exit_code(), Some(128 + 15));
}
