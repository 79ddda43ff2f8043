//! A simulation of players' clients (`throng-client`) with a chat server, for tests.
//!
//! Everything runs in one thread, without sockets or clocks, and follows from a seed. The clients,
//! the chat server's role and the sessions at both ends are the real ones, so every byte between
//! them is sealed. The login server is a model (`world.rs`): it lets a player in, has it wait, or
//! turns it away.
//!
//! Faults: bytes come late and in pieces. Connections fail, and break with what is on the way in
//! both directions; each end learns of it late or by its own timers. The chat server starts again.
//! It drops messages and notices for a client, as for one whose line is slow.
//!
//! A model of each player (`player.rs`) checks every event: messages are those that were said, in
//! order, each once, none missing that the client does not tell of. A message has one fate. Users
//! that came and left add up to the list. In the end all are in the chat, with exact lists.
//!
//! `THRONG_CLIENT_SIM_SEEDS` is the number of runs (default 200), `THRONG_CLIENT_SIM_FIRST` the
//! first seed (0); `THRONG_CLIENT_SIM_TRACE` shows all events.

mod player;
mod world;

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};

use world::World;

/// Runs in `cargo test`: enough to reach every kind of event.
const SEEDS: u64 = 200;

/// Steps of a run, before it comes to rest.
const STEPS: usize = 700;

/// Kinds of events and faults that all runs together must reach.
const KINDS: &[&str] = &[
    "away by its own timers",
    "away",
    "back",
    "broken line",
    "channel joined",
    "connection failed",
    "dropped for a slow line",
    "left and returns",
    "left for good",
    "message refused",
    "message uncertain",
    "missed",
    "queued at the door",
    "refused at the door",
    "restart",
    "unreachable",
    "users changed",
    "whisper",
];

fn variable(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |text| text.parse().unwrap_or_else(|_| panic!("{name} is no number")))
}

fn run(seed: u64, is_traced: bool) -> BTreeMap<&'static str, u64> {
    let mut world = World::new(seed, is_traced);
    for _ in 0..STEPS {
        world.step();
    }
    world.come_to_rest();
    world.counts
}

#[test]
fn a_client_survives_every_fault_and_tells_the_truth() {
    let first = variable("THRONG_CLIENT_SIM_FIRST", 0);
    let seeds = variable("THRONG_CLIENT_SIM_SEEDS", SEEDS);
    let is_traced = std::env::var_os("THRONG_CLIENT_SIM_TRACE").is_some();
    let (mut counts, mut failed) = (BTreeMap::<_, u64>::new(), Vec::new());
    for seed in first..first + seeds {
        let outcome = catch_unwind(AssertUnwindSafe(|| run(seed, is_traced)));
        let Ok(found) = outcome else {
            eprintln!(
                "seed {seed} failed; run it with: THRONG_CLIENT_SIM_TRACE=1 THRONG_CLIENT_SIM_FIRST={seed} \
                 THRONG_CLIENT_SIM_SEEDS=1 cargo test -p throng-servers --lib tells_the_truth"
            );
            failed.push(seed);
            continue;
        };
        for (kind, count) in found {
            *counts.entry(kind).or_default() += count;
        }
    }
    println!("{seeds} seeds from {first}; events: {counts:#?}");
    assert!(failed.is_empty(), "seeds that failed: {failed:?}");
    if seeds >= SEEDS {
        let missing: Vec<_> = KINDS.iter().filter(|kind| !counts.contains_key(*kind)).collect();
        assert!(missing.is_empty(), "kinds of events that were never reached: {missing:?}");
    }
}
