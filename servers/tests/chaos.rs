//! A chaos test: players come and go while the connections of their database break and its server
//! restarts.
//!
//! Their hashes keep every core busy for a minute, so the test has the machine to itself. Beside
//! it, a thread of another test can wait for seconds until it gets a core.

#[path = "servers/support/mod.rs"]
#[allow(dead_code, unused_imports, reason = "the other tests use the rest")]
mod support;

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use throng_core::config::Config;
use throng_core::wire::packets::Outcome;

use support::stopwatch::slowdown;
use support::{
    Client, Cluster, Player, Postgres, ServerAddr, Stopwatch, TicketHolder, assert_took, exit, wait_until,
};

/// The default request timeouts.
const REQUEST_TIMEOUTS: [&str; 2] = ["login.request_timeout=1500ms", "dbagent.request_timeout=1s"];

/// The shorter of them.
const AGENT_TIMEOUT: Duration = Duration::from_secs(1);

/// Slowdown of a machine on which a request may time out without a fault.
const SLOW: f64 = 1.5;

/// Limit for an answer. A login waits for two servers in turn, each for its request timeout.
const ANSWER_LIMIT: Duration = Duration::from_millis(2 * 1500 + 1500);

/// Limit from the database's restart to the first complete round of a player.
const RECOVERY_LIMIT: Duration = Duration::from_secs(2);

/// Duration of the test: `CHAOS_SECONDS`, or long enough for one restart of the database.
fn duration() -> Duration {
    let seconds = std::env::var("CHAOS_SECONDS").ok().map(|text| text.parse().expect("a number"));
    Duration::from_secs(seconds.unwrap_or(20))
}

/// Results of all players.
#[derive(Default)]
struct Results {
    /// Ends of complete rounds: sign-up, new character, login, entry and exit.
    rounds: Vec<Instant>,
    retries: Vec<Retry>,
    slowest: Duration,
    created: Vec<String>,
}

/// A request that was answered with "try again later".
#[derive(Debug)]
struct Retry {
    asked_at: Instant,
    answered_at: Instant,
    /// Slowdown of the machine, if the answer took as long as a server waits for another.
    slowdown: f64,
}

/// The answer to a request that was repeated until it was answered.
#[derive(Debug)]
struct Answer {
    outcome: Outcome,
    /// True if an earlier attempt was answered with "try again later", and may have been carried
    /// out.
    is_repeated: bool,
}

/// One player at a time, each with a new account.
struct Play<'a> {
    login: ServerAddr,
    results: &'a Mutex<Results>,
}

impl Play<'_> {
    fn run(&self, thread: usize, stop: &AtomicBool) {
        for number in 0.. {
            if stop.load(Ordering::Relaxed) {
                return;
            }
            self.round(&Player::named(&format!("player {thread}.{number}")));
        }
    }

    fn round(&self, player: &Player) {
        let mut client = Client::connect(self.login);
        let answer = self.ask(player, &mut || player.sign_up(&mut client));
        assert!(is_done(&answer, Outcome::IdTaken), "{player:?}: {answer:?}");
        self.results.lock().unwrap().created.push(player.id.clone());
        let again = self.ask(player, &mut || player.sign_up(&mut client));
        assert_eq!(again.outcome, Outcome::IdTaken, "{player:?} a second time");
        let thief = Player { password: "not the password".into(), ..player.clone() };
        let stolen = self.ask(player, &mut || thief.log_in_over(&mut client).err().unwrap_or(Outcome::Ok));
        assert_eq!(stolen.outcome, Outcome::BadCredentials, "{player:?}");
        let named = self.ask(player, &mut || player.create_character(&mut client, &player.id));
        assert!(is_done(&named, Outcome::CharacterExists), "{player:?}: {named:?}");
        let (chat, ..) = self.log_in(player, client).enter();
        exit(chat);
        self.results.lock().unwrap().rounds.push(Instant::now());
    }

    fn log_in(&self, player: &Player, mut client: Client) -> TicketHolder {
        loop {
            let mut granted = None;
            let answer = self.ask(player, &mut || match player.log_in_over(&mut client) {
                Ok(ticket) => {
                    granted = Some(ticket);
                    Outcome::Ok
                }
                Err(outcome) => outcome,
            });
            if let Some(granted) = granted {
                return TicketHolder { login: client, granted };
            }
            // The servers gave up an earlier attempt and are undoing it.
            assert_eq!(answer.outcome, Outcome::AlreadyOnline, "{player:?}");
            thread::sleep(Duration::from_millis(50));
        }
    }

    /// Repeats a request until its answer is not "try again later".
    fn ask(&self, player: &Player, request: &mut dyn FnMut() -> Outcome) -> Answer {
        let mut is_repeated = false;
        loop {
            let asked_at = Instant::now();
            let outcome = request();
            let took = asked_at.elapsed();
            assert_took(&format!("{player:?} had {outcome:?}"), took, ANSWER_LIMIT);
            let mut results = self.results.lock().unwrap();
            results.slowest = results.slowest.max(took);
            if outcome != Outcome::TryAgainLater {
                return Answer { outcome, is_repeated };
            }
            drop(results);
            let answered_at = asked_at + took;
            let slowdown = if took >= AGENT_TIMEOUT { slowdown() } else { 1.0 };
            self.results.lock().unwrap().retries.push(Retry { asked_at, answered_at, slowdown });
            is_repeated = true;
            // The pause of a client before it retries.
            thread::sleep(Duration::from_millis(50));
        }
    }
}

/// Returns true if the request was carried out, by this attempt or by a repeated one.
fn is_done(answer: &Answer, already_done: Outcome) -> bool {
    answer.outcome == Outcome::Ok || (answer.is_repeated && answer.outcome == already_done)
}

/// The time after a restart in which the database is undisturbed and connected.
struct QuietPhase {
    began_at: Instant,
    ended_at: Instant,
}

impl QuietPhase {
    /// Waits until the servers have recovered from a restart of the database, and for 2 s more.
    fn observe(cluster: &Cluster, results: &Mutex<Results>) -> Self {
        let restarted_at = Instant::now();
        let stopwatch = Stopwatch::start();
        let last_round = || results.lock().unwrap().rounds.last().copied();
        wait_until("a player has entered after the restart", || {
            last_round().is_some_and(|round| round > restarted_at)
        });
        stopwatch.assert_within("the first round after the restart", RECOVERY_LIMIT);
        let others = cluster.others.iter().map(|agent| &agent.server);
        let agents: Vec<_> = [&cluster.dbagent].into_iter().chain(others).flatten().collect();
        let threads = agents.len() * Config::default().dbagent.threads;
        wait_until("every DB thread is connected", || {
            agents.iter().map(|agent| agent.metric("throng_db_connected")).sum::<u64>() == threads as u64
        });
        thread::sleep(RECOVERY_LIMIT.saturating_sub(stopwatch.elapsed()));
        let began_at = Instant::now();
        thread::sleep(Duration::from_secs(2));
        Self { began_at, ended_at: Instant::now() }
    }

    fn contains(&self, retry: &Retry) -> bool {
        retry.asked_at > self.began_at && retry.answered_at < self.ended_at
    }
}

#[test]
fn a_disturbed_database_costs_players_no_more_than_a_retry() {
    const PLAYERS: usize = 6;
    let mut postgres = Postgres::start();
    let (mut settings, name) = {
        let database = postgres.database();
        (database.settings(), database.name.clone())
    };
    settings.extend(REQUEST_TIMEOUTS.map(String::from));
    let cluster = Cluster::start_with(2, &settings);
    let stop = AtomicBool::new(false);
    let results = Mutex::new(Results::default());
    let began_at = Instant::now();
    let quiet = thread::scope(|scope| {
        for thread in 0..PLAYERS {
            let play = Play { login: cluster.login_addr(), results: &results };
            let stop = &stop;
            scope.spawn(move || play.run(thread, stop));
        }
        // Players stop even if the test fails here.
        let stopper = Stopper(&stop);
        let disturb = |postgres: &Postgres, until: Duration| {
            while began_at.elapsed() < until {
                postgres.terminate_all(&name);
                thread::sleep(Duration::from_secs(1));
            }
        };
        disturb(&postgres, duration() / 2);
        postgres.stop();
        thread::sleep(Duration::from_secs(5));
        postgres.resume();
        let quiet = QuietPhase::observe(&cluster, &results);
        disturb(&postgres, duration());
        drop(stopper);
        quiet
    });
    let Results { rounds, retries, slowest, created } = results.into_inner().unwrap();
    println!(
        "{} players came and went, {} were told to try again later, the slowest answer took {slowest:?}",
        rounds.len(),
        retries.len()
    );
    let late: Vec<_> =
        retries.iter().filter(|retry| quiet.contains(retry) && retry.slowdown < SLOW).collect();
    assert!(late.is_empty(), "told to try again later after the servers had recovered: {late:?}");

    let database = postgres.existing(&name);
    let count = |sql: &str| -> usize { database.sql(sql).parse().unwrap() };
    assert_eq!(count("SELECT count(*) FROM throng.accounts"), created.len(), "each account exists once");
    assert_eq!(count("SELECT count(DISTINCT id_key) FROM throng.accounts"), created.len());
    wait_until("no account is online", || count("SELECT count(*) FROM throng.online") == 0);
    let others = cluster.others.iter().map(|agent| &agent.server);
    for server in [&cluster.login, &cluster.chat, &cluster.dbagent].into_iter().chain(others) {
        assert_eq!(server.as_ref().unwrap().metric("throng_panics_total"), 0);
    }
}

/// Stops the players when it is dropped.
struct Stopper<'s>(&'s AtomicBool);

impl Drop for Stopper<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}
