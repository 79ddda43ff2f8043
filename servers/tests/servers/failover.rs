//! Tests of a PostgreSQL that turns read-only or hangs, and comes back.

use std::net::{Ipv4Addr, TcpListener};
use std::thread;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use throng_core::wire::packets::Outcome;

use crate::support::{
    Client, Cluster, Database, Home, Player, Postgres, Proxy, Stopwatch, exit, wait_for, wait_until,
};

/// Limit from the database's return to the first login.
const RECOVERY_LIMIT: Duration = Duration::from_secs(2);

/// Limit for an answer while the database is of no use: a login waits for two servers in turn.
const ANSWER_LIMIT: Duration = Duration::from_secs(4);

/// The default request timeouts, and short limits for calls of the driver.
fn settings(database: &Database<'_>) -> Vec<String> {
    let mut settings = database.settings();
    settings.extend(
        ["login.request_timeout=1500ms", "dbagent.request_timeout=1s", "odbc.query_timeout=1s"]
            .map(String::from),
    );
    settings
}

/// Asserts that this login is told to try again later, in time.
fn assert_refused(cluster: &Cluster, player: &Player) {
    let stopwatch = Stopwatch::start();
    assert_eq!(player.log_in(cluster.login_addr()).err(), Some(Outcome::TryAgainLater));
    stopwatch.assert_within("the answer to a login", ANSWER_LIMIT);
}

/// Asserts that the player can log in as soon as the database is back.
fn assert_recovers(cluster: &Cluster, player: &Player) {
    let stopwatch = Stopwatch::start();
    let ticket = wait_for("a login works", || match player.log_in(cluster.login_addr()) {
        Err(Outcome::TryAgainLater) => None,
        result => Some(result.unwrap()),
    });
    stopwatch.assert_within("the first login after the return", RECOVERY_LIMIT);
    exit(ticket.enter().0);
}

fn assert_nobody_is_left_online(database: &Database<'_>) {
    wait_until("no account is online", || database.sql("SELECT count(*) FROM throng.online") == "0");
}

#[test]
fn a_database_that_turns_read_only_costs_retries_and_no_release() {
    let database = Postgres::shared().database();
    let cluster = Cluster::start_with(1, &settings(&database));
    let login = cluster.login_addr();
    let [leaving, staying, other] = ["Leaving", "Staying", "Other"].map(|name| Player::create(login, name));
    let inside = leaving.enter(login);
    let stays = staying.enter(login);
    let agent = cluster.dbagent.as_ref().unwrap();
    let links_lost = agent.metric("throng_links_lost_total");

    // The connections are cut, and lead to a demoted server from now on.
    let role = format!("ALTER ROLE throng_agent_1 IN DATABASE {}", database.name);
    database.sql(&format!("{role} SET default_transaction_read_only = on"));
    Postgres::shared().terminate_all(&database.name);
    exit(inside);
    for _ in 0..3 {
        assert_refused(&cluster, &other);
        let mut client = Client::connect(login);
        assert_eq!(Player::named("New").sign_up(&mut client), Outcome::TryAgainLater);
    }
    assert_eq!(database.sql("SELECT count(*) FROM throng.online"), "2");
    assert_eq!(agent.metric("throng_links_lost_total"), links_lost, "the links flap");
    let connections = agent.metric("throng_db_connections_total");
    assert!(connections < 500, "{connections} connections in a few seconds");

    // The old connections stay read-only for ever.
    database.sql(&format!("{role} RESET default_transaction_read_only"));
    assert_recovers(&cluster, &other);
    wait_until("the release is carried out", || database.sql("SELECT count(*) FROM throng.online") == "1");
    assert_eq!(staying.log_in(login).err(), Some(Outcome::AlreadyOnline));
    exit(stays);
    assert_nobody_is_left_online(&database);
}

#[test]
fn a_network_that_forwards_nothing_hangs_neither_logins_after_it_nor_the_end() {
    let postgres = Postgres::shared();
    let database = postgres.database();
    let proxy = Proxy::to(postgres.port);
    let mut settings = settings(&database);
    settings.push(format!("odbc.port={}", proxy.port));
    let mut cluster = Cluster::start_with(1, &settings);
    let login = cluster.login_addr();
    let [leaving, other] = ["Leaving", "Other"].map(|name| Player::create(login, name));
    let inside = leaving.enter(login);

    proxy.stop();
    exit(inside);
    wait_until("the agent gives its threads up", || {
        assert_refused(&cluster, &other);
        cluster.dbagent.as_ref().unwrap().metric("throng_db_hung") >= 2
    });
    proxy.resume();
    assert_recovers(&cluster, &other);
    assert_nobody_is_left_online(&database);
    let agent = cluster.dbagent.as_ref().unwrap();
    wait_until("the calls have ended", || agent.metric("throng_db_hung") == 0);
    wait_until("there are as many threads as before", || agent.metric("throng_db_connected") == 2);

    proxy.stop();
    assert_refused(&cluster, &other);
    let agent = cluster.dbagent.take().unwrap();
    let stopwatch = Stopwatch::start();
    agent.signal(Signal::TERM);
    assert_eq!(agent.exit_code(), Some(0));
    // TimeoutStopSec of operations.md.
    stopwatch.assert_within("the end", Duration::from_secs(10));
}

/// Backends that are stopped when this is dropped go on.
struct Stopped(Vec<Pid>);

impl Stopped {
    /// Stops the backends of a database.
    fn backends_of(database: &Database<'_>) -> Self {
        let pids = database.sql(
            "SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND usename = 'throng_agent_1'",
        );
        let pids = pids.lines().map(|pid| Pid::from_raw(pid.parse().unwrap()).unwrap());
        let stopped = Self(pids.collect());
        for pid in &stopped.0 {
            kill_process(*pid, Signal::STOP).unwrap();
        }
        stopped
    }
}

impl Drop for Stopped {
    fn drop(&mut self) {
        for pid in &self.0 {
            // Some may have ended.
            let _ = kill_process(*pid, Signal::CONT);
        }
    }
}

#[test]
fn backends_that_are_stopped_are_replaced_and_take_nothing_back_when_they_go_on() {
    // Stopped backends would delay the databases of other tests.
    let postgres = Postgres::start();
    let database = postgres.database();
    let cluster = Cluster::start_with(1, &settings(&database));
    let login = cluster.login_addr();
    let [staying, other] = ["Staying", "Other"].map(|name| Player::create(login, name));
    let stays = staying.enter(login);
    let stopped = Stopped::backends_of(&database);
    assert_eq!(stopped.0.len(), 2);
    assert_refused(&cluster, &other);
    // New connections lead to new backends.
    let ticket = wait_for("a login works", || match other.log_in(login) {
        Err(Outcome::TryAgainLater) => None,
        result => Some(result.unwrap()),
    });
    let inside = ticket.enter().0;
    drop(stopped);
    thread::sleep(Duration::from_millis(200));
    for player in [&staying, &other] {
        wait_until("the account is still online", || match player.log_in(login) {
            // The servers list their claims anew.
            Err(Outcome::TryAgainLater) => false,
            result => {
                assert_eq!(result.err(), Some(Outcome::AlreadyOnline), "{player:?}");
                true
            }
        });
    }
    exit(inside);
    exit(stays);
    assert_nobody_is_left_online(&database);
    assert_recovers(&cluster, &other);
}

/// The start asks the server once, and the driver waits for an answer that never comes.
#[test]
fn a_start_that_waits_for_a_silent_database_ends_when_it_is_told_to() {
    let silent = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let port = silent.local_addr().unwrap().port();
    let home = Home::with_keys();
    let settings = [
        "dbagent.engine=postgres".into(),
        format!("odbc.port={port}"),
        "odbc.user=throng_agent_1".into(),
        "odbc.connect_timeout=1m".into(),
    ];
    let mut agent = home.spawn("dbagent", &settings);
    let _connection = silent.accept().unwrap();
    let stopwatch = Stopwatch::start();
    kill_process(Pid::from_child(&agent), Signal::TERM).unwrap();
    let status = wait_for("the agent ends", || agent.try_wait().unwrap());
    assert_eq!(status.code(), Some(0));
    stopwatch.assert_within("the end", Duration::from_secs(10));
}
