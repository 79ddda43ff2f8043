//! Players who come and go while their database is tormented.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use throng_core::wire::packets::Outcome;

use crate::support::{Client, Cluster, Player, Postgres, ServerAddr, exit, wait_until};

/// A login waits for two servers, one after the other: what the configuration allows each, and what a
/// busy machine may add.
const ANSWERED_WITHIN: Duration = Duration::from_millis(2 * 1500 + 1500);

/// How long it goes on: `CHAOS_SECONDS`, or long enough for the server to be away once.
fn duration() -> Duration {
    let seconds = std::env::var("CHAOS_SECONDS").ok().map(|text| text.parse().expect("a number"));
    Duration::from_secs(seconds.unwrap_or(20))
}

/// What players have seen.
#[derive(Default)]
struct Seen {
    /// Whole rounds: signed up, made a character, logged in, entered, left.
    rounds: Vec<Instant>,
    later: Vec<Instant>,
    slowest: Duration,
    made: Vec<String>,
}

/// One player after the other, each with a new account.
fn play(thread: usize, login: ServerAddr, stop: &AtomicBool, seen: &Mutex<Seen>) {
    for number in 0.. {
        if stop.load(Ordering::Relaxed) {
            return;
        }
        let player = Player::named(&format!("player {thread}.{number}"));
        let mut client = Client::connect(login);
        // Asks until there is an answer, and says whether an earlier attempt was left open.
        let until_answered = |ask: &mut dyn FnMut(&mut Client) -> Outcome, client: &mut Client| {
            let mut again = false;
            loop {
                let asked = Instant::now();
                let outcome = ask(client);
                let took = asked.elapsed();
                assert!(took < ANSWERED_WITHIN, "{player:?} had {outcome:?} after {took:?}");
                let mut seen = seen.lock().unwrap();
                seen.slowest = seen.slowest.max(took);
                if outcome != Outcome::TryAgainLater {
                    return (outcome, again);
                }
                seen.later.push(Instant::now());
                drop(seen);
                again = true;
                // As a client would; the next attempt is not to be the same moment's.
                thread::sleep(Duration::from_millis(50));
            }
        };
        let signed_up = until_answered(&mut |client| player.sign_up(client), &mut client);
        assert!(
            matches!(signed_up, (Outcome::Ok, _) | (Outcome::IdTaken, true)),
            "{player:?}: {signed_up:?}"
        );
        seen.lock().unwrap().made.push(player.id.clone());
        let twin = until_answered(&mut |client| player.sign_up(client), &mut client);
        assert_eq!(twin.0, Outcome::IdTaken, "{player:?} a second time");
        let thief = Player { password: "not the password".into(), ..player.clone() };
        let stolen =
            until_answered(&mut |client| thief.log_in_over(client).err().unwrap_or(Outcome::Ok), &mut client);
        assert_eq!(stolen.0, Outcome::BadCredentials, "{player:?}");
        let name = player.id.clone();
        let named = until_answered(&mut |client| player.create_character(client, &name), &mut client);
        assert!(
            matches!(named, (Outcome::Ok, _) | (Outcome::CharacterExists, true)),
            "{player:?}: {named:?}"
        );
        let granted = std::cell::RefCell::new(None);
        loop {
            let logged_in = until_answered(
                &mut |client| match player.log_in_over(client) {
                    Ok(ticket) => {
                        granted.replace(Some(ticket));
                        Outcome::Ok
                    }
                    Err(outcome) => outcome,
                },
                &mut client,
            );
            match logged_in {
                (Outcome::Ok, _) => break,
                // The attempt before was given up by the servers, and they are at undoing it.
                (Outcome::AlreadyOnline, _) => thread::sleep(Duration::from_millis(50)),
                other => panic!("{player:?}: {other:?}"),
            }
        }
        let granted = granted.into_inner().expect("it was granted");
        let inside = crate::support::TicketHolder { login: client, granted }.enter().0;
        exit(inside);
        seen.lock().unwrap().rounds.push(Instant::now());
    }
}

#[test]
fn a_tormented_database_costs_nobody_more_than_another_try() {
    const PLAYERS: usize = 6;
    let mut postgres = Postgres::start();
    let (settings, name) = {
        let database = postgres.database();
        (database.settings(), database.name.clone())
    };
    let cluster = Cluster::start_with(2, &settings);
    let login = cluster.login_addr();
    let stop = AtomicBool::new(false);
    let seen = Mutex::new(Seen::default());
    let began = Instant::now();
    let back = thread::scope(|scope| {
        for thread in 0..PLAYERS {
            let stop = &stop;
            let seen = &seen;
            scope.spawn(move || play(thread, login, stop, seen));
        }
        // Should something go wrong here, the players are not to go on for ever.
        let stopper = Stopper(&stop);
        let torment = |postgres: &Postgres, until: Duration| {
            while began.elapsed() < until {
                postgres.terminate_all(&name);
                thread::sleep(Duration::from_secs(1));
            }
        };
        torment(&postgres, duration() / 2);
        postgres.stop();
        thread::sleep(Duration::from_secs(5));
        postgres.resume();
        let back = Instant::now();
        thread::sleep(Duration::from_secs(4));
        torment(&postgres, duration());
        drop(stopper);
        back
    });
    let Seen { rounds, later, slowest, made } = seen.into_inner().unwrap();
    println!(
        "{} players came and went, {} were told to try again later, the slowest answer took {slowest:?}",
        rounds.len(),
        later.len()
    );
    let normal = back..back + Duration::from_secs(4);
    let two = back + Duration::from_secs(2);
    assert!(rounds.iter().any(|at| *at > back && *at < two), "somebody is in 2 s after the restart");
    let late: Vec<_> = later.iter().filter(|at| normal.contains(at) && **at > two).collect();
    assert!(late.is_empty(), "{} were told to try again later 2 s after the restart", late.len());

    let database = postgres.existing(&name);
    let count = |sql: &str| -> usize { database.sql(sql).parse().unwrap() };
    assert_eq!(count("SELECT count(*) FROM throng.accounts"), made.len(), "every account, once");
    assert_eq!(count("SELECT count(DISTINCT id_key) FROM throng.accounts"), made.len());
    wait_until("nobody is online", || count("SELECT count(*) FROM throng.online") == 0);
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
