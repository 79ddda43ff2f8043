//! A simulation of a login server, a chat server and two DB agents on one database, for tests.
//!
//! Everything runs in one thread, without sockets or clocks, and follows from a seed. Packets wait
//! in queues until the test delivers them, and DB threads finish in any order. The servers' roles
//! are the real ones; DB threads (`threads.rs`) and database (`tables.rs`) are models.
//!
//! Faults: links are cut; processes die and start again, or stop for up to 15 s and then get
//! everything at once; wall clocks step by up to an hour. The database turns read-only, hangs, is
//! down, breaks connections, and carries out statements whose answers are lost or late. Abusers
//! (`members.rs`) send any packet at any time, replay tickets, log in for others and never read.
//!
//! Players' connections to the chat are lost, with what is on its way in both directions. The
//! server notices at once, late or never. The players resume over new ones (`lines.rs`), or never
//! come back; abusers steal and forge tokens. An onlooker (`truth.rs`) judges every resume: a good
//! token is accepted, any other changes nothing, and no packet is handled twice.
//!
//! After each round of faults (`invariants.rs`) a login must succeed, no account may be online
//! without its player or the other way round, and lists must be those of the rooms. In the end
//! nothing may remain in any table.
//!
//! | variable | default | |
//! |---|---|---|
//! | `THRONG_SIM_SEEDS` | 800 | number of runs |
//! | `THRONG_SIM_FIRST` | 0 | first seed |
//! | `THRONG_SIM_THREADS` | 1 | threads that run seeds |
//! | `THRONG_SIM_TRACE` | | shows all events; for one seed |

mod faults;
mod invariants;
mod lines;
mod members;
mod tables;
mod threads;
mod truth;
mod world;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use faults::Counts;

/// Runs in `cargo test`: enough to reach every kind of fault.
const SEEDS: u64 = 800;

/// Failures after which no more seeds are run.
const FAILURES_MAX: usize = 20;

fn variable(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |text| text.parse().unwrap_or_else(|_| panic!("{name} is no number")))
}

#[test]
fn claims_tickets_rooms_and_tables_survive_every_fault() {
    let first = variable("THRONG_SIM_FIRST", 0);
    let seeds = variable("THRONG_SIM_SEEDS", SEEDS);
    let trace = std::env::var_os("THRONG_SIM_TRACE").is_some();
    let next = AtomicU64::new(first);
    let results = Mutex::new((Counts::default(), Vec::new(), Duration::ZERO));
    let began = Instant::now();
    let work = || loop {
        let seed = next.fetch_add(1, Relaxed);
        if seed >= first + seeds || results.lock().1.len() >= FAILURES_MAX {
            return;
        }
        let outcome = catch_unwind(AssertUnwindSafe(|| invariants::run(seed, trace)));
        let (counts, failed, login) = &mut *results.lock();
        if let Ok(outcome) = outcome {
            counts.merge(&outcome.counts);
            *login = outcome.login.max(*login);
        } else {
            eprintln!(
                "seed {seed} failed; run it with: THRONG_SIM_TRACE=1 THRONG_SIM_FIRST={seed} \
                 THRONG_SIM_SEEDS=1 cargo test -p throng-servers --lib survive_every_fault -- --nocapture"
            );
            failed.push(seed);
        }
    };
    std::thread::scope(|scope| {
        for _ in 1..variable("THRONG_SIM_THREADS", 1) {
            scope.spawn(work);
        }
        work();
    });
    let (counts, failed, login) = results.into_inner();
    let rate = (next.into_inner() - first) as f64 / began.elapsed().as_secs_f64();
    println!(
        "{seeds} seeds from {first}, {rate:.0} a second; logins after {login:?} at most; events:\n{counts}"
    );
    assert!(failed.is_empty(), "seeds that failed: {failed:?}");
    if seeds >= SEEDS {
        assert_eq!(counts.missing(), [], "kinds of events that were never reached");
    }
}

#[test]
fn a_seed_always_runs_in_the_same_way() {
    for seed in 0..5 {
        let [one, two] = [(); 2].map(|()| invariants::run(seed, false).digest);
        assert_eq!(one, two, "seed {seed}");
    }
}
