//! Tests of several DB agents and several servers on one PostgreSQL.

use std::sync::Barrier;
use std::thread;
use std::time::{Duration, Instant};

use throng_core::wire::packets::Outcome;

use crate::support::{
    ChatGroup, Client, Cluster, Home, Player, Postgres, Server, Stopwatch, assert_took, exit, wait_for,
    wait_until,
};

#[test]
fn a_player_enters_over_postgres_and_no_account_is_left_online() {
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
    wait_until("no account is online", || database.sql("SELECT count(*) FROM throng.online") == "0");
    assert!(!home.path().join("throng.db").exists(), "the embedded database is not used");
}

#[test]
fn one_of_a_thousand_sign_ups_with_one_id_through_three_agents_succeeds() {
    const THREADS: usize = 20;
    const EACH: usize = 50;
    let database = Postgres::shared().database();
    let mut settings = database.settings();
    // Every request reaches the database, however long connecting takes.
    settings.extend(["net.handshake_timeout=5m", "net.first_packet_timeout=5m"].map(String::from));
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
    let served = |server: Option<&Server>| server.unwrap().metric("throng_db_served_total");
    let others = cluster.others.iter().map(|agent| served(agent.server.as_ref()));
    for served in others.chain([served(cluster.dbagent.as_ref())]) {
        assert!(served > 200, "an agent has served only {served} requests");
    }
}

#[test]
fn players_stay_online_and_logins_continue_when_an_agent_dies() {
    let database = Postgres::shared().database();
    let mut settings = database.settings();
    settings.push("dbagent.lease=5s".into());
    let mut cluster = Cluster::start_with(2, &settings);
    let login = cluster.login_addr();
    let players: Vec<_> = (0..6).map(|number| Player::create(login, &format!("Player {number}"))).collect();
    let inside: Vec<_> = players[..4].iter().map(|player| player.enter(login)).collect();
    let group = ChatGroup::enter(&cluster.home, cluster.chat_addr(), 10).chat_in_background();

    cluster.others[0].server.take().unwrap().kill();
    let stopwatch = Stopwatch::start();
    // A login at the moment of the crash may be told to try again, until the lost link is noticed.
    let free = wait_for("a login works", || match players[4].log_in(login) {
        Err(Outcome::TryAgainLater) => None,
        result => Some(result.unwrap()),
    });
    stopwatch.assert_within("the first login after the crash", Duration::from_secs(2));
    let late = free.enter().0;
    // Longer than the lease of the dead agent.
    while stopwatch.elapsed() < Duration::from_secs(6) {
        for player in &players[..5] {
            // The agent that is left may be late on a busy machine, and is asked again.
            let outcome = wait_for("the agent answers", || match player.log_in(login) {
                Err(Outcome::TryAgainLater) => None,
                result => Some(result.err()),
            });
            assert_eq!(outcome, Some(Outcome::AlreadyOnline), "{player:?}");
        }
        group.assert_progress();
    }
    cluster.others[0].start();
    cluster.linked();
    for player in &players[..5] {
        assert_eq!(player.log_in(login).err(), Some(Outcome::AlreadyOnline), "{player:?}");
    }

    // The other agent stops in order, after its pending work.
    let first = cluster.dbagent.take().unwrap();
    first.signal(rustix::process::Signal::TERM);
    assert_eq!(first.exit_code(), Some(0));
    for chat in inside.into_iter().chain([late]) {
        exit(chat);
    }
    for player in &players {
        exit(player.enter(login));
    }
    group.stop().round();
    wait_until("no account is online", || database.sql("SELECT count(*) FROM throng.online") == "0");
}

/// The chat server is killed together with the agent that holds its leases. Its players are free
/// when the leases expire.
#[test]
fn players_of_a_killed_server_and_a_killed_agent_become_free() {
    let database = Postgres::shared().database();
    let mut settings = database.settings();
    settings.push("dbagent.lease=5s".into());
    let mut cluster = Cluster::start_with(2, &settings);
    let login = cluster.login_addr();
    let player = Player::create(login, "Player");
    let _inside = player.enter(login);
    cluster.others[0].server.take().unwrap().kill();
    cluster.chat.take().unwrap().kill();
    let stopwatch = Stopwatch::start();
    cluster.start_chat();
    cluster.linked();
    player.enter(login);
    stopwatch.assert_within("the return of the player", Duration::from_secs(8));
}

/// Every statement on the accounts waits for a lock, and the DB threads with it. The chat does not.
#[test]
fn the_chat_does_not_wait_for_the_database() {
    let database = Postgres::shared().database();
    let mut settings = database.settings();
    settings.extend(
        ["odbc.lock_timeout=1m", "login.request_timeout=3s", "dbagent.request_timeout=2500ms"]
            .map(String::from),
    );
    let cluster = Cluster::start_with(1, &settings);
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
        let mut rounds = 0;
        while !logins.iter().all(thread::ScopedJoinHandle::is_finished) {
            let began_at = Instant::now();
            group.round();
            slowest = slowest.max(began_at.elapsed());
            rounds += 1;
        }
        // A login waits for 2.5 s, a message to twenty users for some milliseconds.
        assert_took("the slowest chat message", slowest, Duration::from_millis(500));
        assert!(rounds > 5, "{rounds} messages while the database was locked");
        for login in logins {
            assert_eq!(login.join().unwrap(), Some(Outcome::TryAgainLater));
        }
    });
    owner.rollback("test").unwrap();
    player.enter(login);
}
