//! Several DB agents, and several servers, on one PostgreSQL.

use std::sync::Barrier;
use std::thread;
use std::time::{Duration, Instant};

use throng_core::wire::packets::Outcome;

use crate::support::{ChatGroup, Client, Cluster, Home, Player, Postgres, exit, wait_for, wait_until};

#[test]
fn a_player_gets_in_over_postgres_and_nobody_is_left_online() {
    let database = Postgres::shared().database();
    let home = Home::new();
    let up = home.up(&database.settings().iter().map(String::as_str).collect::<Vec<_>>());
    let player = Player::create(up.login(), "꿀벌🐝 d'Or");
    let inside = player.enter(up.login());
    assert_eq!(player.log_in(up.login()).err(), Some(Outcome::AlreadyOnline));
    exit(inside);
    let inside = player.enter(up.login());
    assert_eq!(database.sql("SELECT count(*) FROM throng.online"), "1");
    exit(inside);
    wait_until("nobody is online", || database.sql("SELECT count(*) FROM throng.online") == "0");
    assert!(!home.path().join("throng.db").exists(), "the embedded database is not used");
}

#[test]
fn of_a_thousand_sign_ups_of_one_id_through_three_agents_one_succeeds() {
    const THREADS: usize = 20;
    const EACH: usize = 50;
    let database = Postgres::shared().database();
    let mut settings = database.settings();
    // All are to reach the database, however long the queues are.
    settings.extend(["login.request_timeout=30s", "dbagent.request_timeout=29s"].map(String::from));
    let cluster = Cluster::start_with(3, &settings);
    let login = cluster.login_addr();
    let start = Barrier::new(THREADS);
    let outcomes: Vec<Outcome> = thread::scope(|scope| {
        let threads: Vec<_> = (0..THREADS)
            .map(|thread| {
                let start = &start;
                scope.spawn(move || {
                    let id = if thread % 2 == 0 { "Same Id" } else { "SAME ID" };
                    let player = Player::named(id);
                    let mut clients: Vec<_> = (0..EACH).map(|_| Client::connect(login)).collect();
                    start.wait();
                    for client in &mut clients {
                        player.send_sign_up(client);
                    }
                    clients.iter_mut().map(Player::signed_up).collect::<Vec<_>>()
                })
            })
            .collect();
        threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
    });
    let count = |wanted| outcomes.iter().filter(|outcome| **outcome == wanted).count();
    assert_eq!((count(Outcome::Ok), count(Outcome::IdTaken)), (1, THREADS * EACH - 1), "{outcomes:?}");
    assert_eq!(database.sql("SELECT count(*) FROM throng.accounts"), "1");
    let served = |server: Option<&crate::support::Server>| server.unwrap().metric("throng_db_served_total");
    let others = cluster.others.iter().map(|agent| served(agent.server.as_ref()));
    for served in others.chain([served(cluster.dbagent.as_ref())]) {
        assert!(served > 200, "each agent has its share: {served}");
    }
}

#[test]
fn players_stay_online_when_an_agent_dies_and_logins_go_on() {
    let database = Postgres::shared().database();
    let mut settings = database.settings();
    settings.push("dbagent.lease=5s".into());
    let mut cluster = Cluster::start_with(2, &settings);
    let login = cluster.login_addr();
    let players: Vec<_> = (0..6).map(|number| Player::create(login, &format!("Player {number}"))).collect();
    let inside: Vec<_> = players[..4].iter().map(|player| player.enter(login)).collect();
    let group = ChatGroup::enter(&cluster.home, cluster.chat_addr(), 10).chat_in_background();

    cluster.others[0].server.take().unwrap().kill();
    let killed_at = Instant::now();
    // Who asks in the very moment may be told to try again, for no longer than that.
    let free = wait_for("a login works", || match players[4].log_in(login) {
        Err(Outcome::TryAgainLater) => None,
        result => Some(result.unwrap()),
    });
    assert!(killed_at.elapsed() < Duration::from_secs(2), "{:?}", killed_at.elapsed());
    let late = free.enter().0;
    // Longer than the lease that the dead agent gave.
    while killed_at.elapsed() < Duration::from_secs(6) {
        for player in &players[..5] {
            assert_eq!(player.log_in(login).err(), Some(Outcome::AlreadyOnline), "{player:?}");
        }
        group.assert_progress();
    }
    cluster.others[0].start();
    cluster.linked();
    for player in &players[..5] {
        assert_eq!(player.log_in(login).err(), Some(Outcome::AlreadyOnline), "{player:?}");
    }

    // The other one goes in order. What it had to do is done.
    let first = cluster.dbagent.take().unwrap();
    first.signal(rustix::process::Signal::TERM);
    assert_eq!(first.ended().0, Some(0));
    for chat in inside.into_iter().chain([late]) {
        exit(chat);
    }
    for player in &players {
        exit(player.enter(login));
    }
    group.stop().round();
    wait_until("nobody is online", || database.sql("SELECT count(*) FROM throng.online") == "0");
}

/// A server process dies without a word, with an agent that knew of it. Its players are free when the leases end.
#[test]
fn players_of_a_dead_server_and_a_dead_agent_come_free() {
    let database = Postgres::shared().database();
    let mut settings = database.settings();
    settings.push("dbagent.lease=5s".into());
    let mut cluster = Cluster::start_with(2, &settings);
    let login = cluster.login_addr();
    let player = Player::create(login, "Player");
    let _inside = player.enter(login);
    cluster.others[0].server.take().unwrap().kill();
    cluster.chat.take().unwrap().kill();
    let killed_at = Instant::now();
    cluster.start_chat();
    cluster.linked();
    player.enter(login);
    assert!(killed_at.elapsed() < Duration::from_secs(8), "{:?}", killed_at.elapsed());
}

/// Every statement on the accounts waits for a lock, and the DB threads with it; the chat does not.
#[test]
fn the_chat_does_not_wait_for_the_database() {
    let database = Postgres::shared().database();
    let cluster = Cluster::start_with(1, &database.settings());
    let login = cluster.login_addr();
    let player = Player::create(login, "Player");
    let mut group = ChatGroup::enter(&cluster.home, cluster.chat_addr(), 20);
    let mut owner = database.connect();
    owner.set_autocommit("test", false).unwrap();
    owner.run("test", "LOCK TABLE throng.accounts").unwrap();
    thread::scope(|scope| {
        let logins: Vec<_> = (0..8).map(|_| scope.spawn(|| player.log_in(login).err())).collect();
        wait_until("a login waits for the database", || {
            database.sql("SELECT count(*) FROM pg_locks WHERE NOT granted") != "0"
        });
        let mut slowest = Duration::ZERO;
        while !logins.iter().all(thread::ScopedJoinHandle::is_finished) {
            let began = Instant::now();
            group.round();
            slowest = slowest.max(began.elapsed());
        }
        // A login is given up after a second and more; a message to twenty people takes some milliseconds.
        assert!(slowest < Duration::from_millis(500), "{slowest:?}");
        for login in logins {
            assert_eq!(login.join().unwrap(), Some(Outcome::TryAgainLater));
        }
    });
    owner.rollback("test").unwrap();
    player.enter(login);
}
