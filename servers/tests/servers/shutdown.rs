//! SIGTERM: everybody is told, everything is written, and the process is gone in time.

use std::time::Duration;

use rustix::process::Signal;
use throng_core::wire::CloseReason;
use throng_core::wire::packets::{ChatRequest, ChatText, Outcome, Scope};

use crate::support::{ChatGroup, Client, Cluster, End, Home, Player, Server};

const TOLD: End = End::Told(CloseReason::ServerShutdown);

#[test]
fn everybody_is_told_and_the_database_is_whole() {
    let home = Home::new();
    let up = home.up(&[]);
    let login = up.login();
    let player = Player::create(login, "Player");
    let mut inside = player.enter(login);
    let other = Player::create(login, "Other");
    let mut waiting = other.log_in(login).unwrap();
    let mut idle = Client::connect(login);
    let mut group = ChatGroup::enter(&home, up.chat(), 20);
    // Traffic under way: nobody waits for the answers before the signal comes.
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
    let (code, took) = up.ended();
    assert_eq!(code, Some(0));
    assert!(took < Duration::from_secs(5), "{took:?}");

    for file in ["throng.db-wal", "throng.db-shm", "endpoints.toml"] {
        assert!(!home.path().join(file).exists(), "{file} is left behind");
    }
    assert_eq!(home.query::<String>("PRAGMA integrity_check"), "ok");
    assert_eq!(home.online(), 0);
    // What was there is there, and nobody is online by mistake.
    let up = home.up(&[]);
    player.log_in(up.login()).unwrap().enter();
    other.log_in(up.login()).unwrap().enter();
}

#[test]
fn each_role_ends_by_itself() {
    let mut cluster = Cluster::start(&[]);
    let login = cluster.login_addr();
    let player = Player::create(login, "Player");
    let mut inside = player.enter(login);
    let mut idle = Client::connect(login);
    let check = |server: Option<Server>| {
        let server = server.unwrap();
        server.signal(Signal::TERM);
        let (code, took) = server.ended();
        assert_eq!(code, Some(0));
        assert!(took < Duration::from_secs(5), "{took:?}");
    };
    check(cluster.dbagent.take());
    assert_eq!(player.log_in(login).err(), Some(Outcome::TryAgainLater));
    check(cluster.login.take());
    assert_eq!(idle.end(), TOLD);
    check(cluster.chat.take());
    assert_eq!(inside.end(), TOLD);
    assert!(!cluster.home.path().join("endpoints.toml").exists());
}

/// Clients that hold their end open keep nobody longer than the linger time allows.
#[test]
fn who_does_not_go_is_left_behind() {
    let home = Home::new();
    let up = home.up(&["net.linger=500ms", "shutdown.drain=60s"]);
    let mut group = ChatGroup::enter(&home, up.chat(), 2);
    let mut idle = Client::connect(up.login());
    up.signal(Signal::TERM);
    for client in group.members.iter_mut().chain([&mut idle]) {
        assert_eq!(client.end(), TOLD);
    }
    let (code, took) = up.ended();
    assert_eq!(code, Some(0));
    assert!(took < Duration::from_secs(5), "{took:?}");
}

#[test]
fn a_second_signal_ends_at_once() {
    let home = Home::new();
    let up = home.up(&["net.linger=60s", "shutdown.drain=60s"]);
    let mut idle = Client::connect(up.login());
    up.signal(Signal::TERM);
    assert_eq!(idle.end(), TOLD);
    up.signal(Signal::TERM);
    let (code, took) = up.ended();
    assert_eq!(code, Some(128 + 15));
    assert!(took < Duration::from_secs(5), "{took:?}");
}
