use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::ops::Range;

use proptest::prelude::*;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use throng_core::wire::packets::{IdText, Origin, PasswordText};

use super::*;
use crate::dbagent::request::Request;

const TIME: Duration = Duration::from_secs(1);

fn ms(milliseconds: u64) -> Duration {
    Duration::from_millis(milliseconds)
}

/// A job of the address `address` whose session has made `attempts` before.
fn job(tag: u32, address: u8, attempts: u32, deadline: Instant) -> Job<u32> {
    let request = Request::SignUp { id: IdText::default(), password: PasswordText::new("x").unwrap() };
    let origin = Origin { address: [address; 16], attempts, wait_ms: 0 };
    Job { request, origin, tag, deadline }
}

fn refused(pushed: Result<(), (Refusal, Job<u32>)>) -> Option<(Refusal, u32)> {
    pushed.err().map(|(refusal, job)| (refusal, job.tag))
}

/// Pops everything. Returns the tags of the jobs that are due, and of those that are late.
fn pop_all(lane: &FairLane<u32>, now: Instant) -> (Vec<u32>, Vec<u32>) {
    let (mut due, mut late) = (Vec::new(), Vec::new());
    while let Some(popped) = lane.pop(now) {
        match popped {
            Popped::Due(job) => due.push(job.tag),
            Popped::Late(job) => late.push(job.tag),
        }
    }
    (due, late)
}

#[test]
fn addresses_take_turns_and_the_session_with_the_fewest_attempts_goes_first() {
    let (lane, now) = (FairLane::new(100), Instant::now());
    for (tag, address, attempts) in
        [(0, 1, 5), (1, 1, 5), (2, 1, 9), (3, 2, 0), (4, 1, 0), (5, 3, 7), (6, 2, 0), (7, 1, 5)]
    {
        assert!(lane.push(job(tag, address, attempts, now + TIME), 1, now).is_ok());
    }
    assert_eq!((lane.len(), lane.addresses()), (8, 3));
    assert_eq!(pop_all(&lane, now), (vec![4, 3, 5, 0, 6, 1, 7, 2], vec![]));
    assert_eq!((lane.len(), lane.addresses()), (0, 0));
}

#[test]
fn a_full_lane_evicts_the_last_job_of_the_address_with_the_most() {
    let (lane, now) = (FairLane::new(4), Instant::now());
    let push = |tag, address, attempts| refused(lane.push(job(tag, address, attempts, now + TIME), 1, now));
    for (tag, attempts) in [(0, 0), (1, 2), (2, 1), (3, 1)] {
        assert_eq!(push(tag, 1, attempts), None);
    }
    assert_eq!(push(4, 1, 9), Some((Refusal::Full, 4)), "it has the most jobs itself");
    assert_eq!(push(5, 2, 9), Some((Refusal::Full, 1)));
    assert_eq!(push(6, 3, 0), Some((Refusal::Full, 3)));
    assert_eq!(push(7, 2, 0), Some((Refusal::Full, 5)), "as many as the largest: its own last one");
    assert_eq!((lane.len(), lane.addresses()), (4, 3));
    assert_eq!(pop_all(&lane, now), (vec![0, 7, 6, 2], vec![]));
}

#[test]
fn jobs_that_would_end_too_late_are_refused_at_arrival() {
    let (lane, now) = (FairLane::new(1000), Instant::now());
    lane.measured(ms(50));
    let push = |tag, address, attempts| refused(lane.push(job(tag, address, attempts, now + TIME), 1, now));
    // In a second one thread hashes 20 times; the last hash may take longer.
    let first: Vec<_> = (0..22).filter_map(|tag| push(tag, 1, 1)).collect();
    assert_eq!(first, [19, 20, 21].map(|tag| (Refusal::Late, tag)));
    assert_eq!(push(22, 1, 0), Some((Refusal::Late, 18)), "a session with fewer attempts goes first");
    // A second address has every other turn.
    let second: Vec<_> = (30..42).filter_map(|tag| push(tag, 2, 0)).collect();
    assert_eq!(second, [39, 40, 41].map(|tag| (Refusal::Late, tag)));
    assert_eq!(lane.len(), 19 + 9);
    // More threads, more room.
    assert_eq!(refused(lane.push(job(42, 2, 0, now + TIME), 2, now)), None);
}

#[test]
fn a_job_is_not_begun_that_cannot_end_in_time() {
    let (lane, now) = (FairLane::new(100), Instant::now());
    for (tag, time) in [(0, ms(100)), (1, ms(159)), (2, ms(161)), (3, TIME)] {
        assert!(lane.push(job(tag, 1, tag, now + time), 1, now).is_ok());
    }
    lane.measured(ms(40));
    assert_eq!(pop_all(&lane, now + ms(100)), (vec![2, 3], vec![0, 1]));
    // A late job costs its address no turn.
    for (tag, address, time) in [(0, 1, ms(100)), (1, 1, TIME), (2, 2, TIME)] {
        assert!(lane.push(job(tag, address, tag, now + time), 1, now).is_ok());
    }
    assert_eq!(pop_all(&lane, now + ms(100)), (vec![1, 2], vec![0]));
}

#[test]
fn the_time_of_a_hash_is_measured_even_if_it_seems_longer_than_every_deadline() {
    let (lane, now) = (FairLane::new(100), Instant::now());
    for _ in 0..100 {
        lane.measured(Duration::from_mins(1));
    }
    assert!(lane.push(job(1, 1, 0, now + TIME), 1, now).is_ok());
    assert_eq!(pop_all(&lane, now + TIME / 2), (vec![1], vec![]));
    for _ in 0..100 {
        lane.measured(ms(20));
    }
    let time = lane.hash_time();
    assert!(time >= ms(20) && time < ms(21), "{time:?}");
    lane.measured(Duration::from_mins(1));
    assert!(lane.hash_time() < ms(28), "one call that hung: {:?}", lane.hash_time());
}

proptest! {
    /// Against a naive model: no job is lost or given out twice, and the bounds hold.
    #[test]
    fn every_job_leaves_once(
        steps in prop::collection::vec((0..4_u8, 0..4_u32, 1..500_u64, 0..40_u64, any::<bool>()), 1..200),
        hash in 0..100_u64,
    ) {
        let (lane, mut now) = (FairLane::new(6), Instant::now());
        lane.measured(ms(hash));
        let mut inside = std::collections::BTreeMap::new();
        for (tag, (address, attempts, time, pause, is_push)) in steps.into_iter().enumerate() {
            let tag = tag as u32;
            now += ms(pause);
            if is_push {
                inside.insert(tag, address);
                if let Err((_, out)) = lane.push(job(tag, address, attempts, now + ms(time)), 2, now) {
                    prop_assert_eq!(inside.remove(&out.tag), Some(out.origin.address[0]));
                }
            } else if let Some(Popped::Due(out) | Popped::Late(out)) = lane.pop(now) {
                prop_assert_eq!(inside.remove(&out.tag), Some(out.origin.address[0]));
            } else {
                prop_assert!(inside.is_empty());
            }
            let addresses: std::collections::BTreeSet<_> = inside.values().collect();
            prop_assert_eq!((lane.len(), lane.addresses()), (inside.len(), addresses.len()));
            prop_assert!(inside.len() <= 6);
        }
    }
}

/// Client of the simulation.
#[derive(Clone)]
struct Player {
    address: u8,
    /// Pause before the next attempt, after a refusal or a wrong password.
    pause: Duration,
    is_honest: bool,
    attempts: u32,
    is_in: bool,
}

#[derive(PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    /// A player's request arrives.
    Try(usize),
    /// A thread has hashed the password of a player, whose time was over at the deadline.
    Hashed(usize, Duration),
}

#[derive(Debug, Default)]
struct Outcome {
    /// Time until the last honest player was in.
    all_in: Duration,
    hashes: u32,
    /// Hashes that ended after the deadline.
    wasted: u32,
}

/// Runs the lane with two threads, which hash 30 passwords a second together, until all honest
/// players are in, or ten seconds are over. They come at a time of `arrivals`, in milliseconds; the
/// others guess from the start and without end.
fn simulate(players: &[Player], arrivals: Range<u64>, seed: u64) -> Outcome {
    const THREADS: usize = 2;
    let mut rng = StdRng::seed_from_u64(seed);
    let (lane, start) = (FairLane::new(1024), Instant::now());
    let mut players = players.to_vec();
    let mut events = BinaryHeap::new();
    for (player, it) in players.iter().enumerate() {
        let at = if it.is_honest { ms(rng.random_range(arrivals.clone())) } else { Duration::ZERO };
        events.push(Reverse((at, Event::Try(player))));
    }
    let (mut idle, mut outcome) = (THREADS, Outcome::default());
    while let Some(Reverse((now, event))) = events.pop() {
        let put_off = |player: usize, players: &[Player]| {
            // The login server's pause before the refusal, and the client's.
            Reverse((now + ms(250) + players[player].pause, Event::Try(player)))
        };
        match event {
            Event::Try(player) => {
                let it = &mut players[player];
                let job = job(player as u32, it.address, it.attempts, start + now + TIME);
                it.attempts += 1;
                if let Err((_, out)) = lane.push(job, THREADS, start + now) {
                    events.push(put_off(out.tag as usize, &players));
                }
            }
            Event::Hashed(player, deadline) => {
                idle += 1;
                outcome.hashes += 1;
                outcome.wasted += u32::from(now > deadline);
                let it = &mut players[player];
                if it.is_honest && now <= deadline {
                    it.is_in = true;
                } else {
                    events.push(Reverse((now + it.pause, Event::Try(player))));
                }
            }
        }
        while idle > 0
            && let Some(popped) = lane.pop(start + now)
        {
            match popped {
                Popped::Late(job) => events.push(put_off(job.tag as usize, &players)),
                Popped::Due(job) => {
                    idle -= 1;
                    let time = Duration::from_micros(rng.random_range(50_000..83_000));
                    lane.measured(time);
                    let deadline = job.deadline - start;
                    events.push(Reverse((now + time, Event::Hashed(job.tag as usize, deadline))));
                }
            }
        }
        outcome.all_in = now;
        if now > Duration::from_secs(10) || players.iter().all(|it| !it.is_honest || it.is_in) {
            break;
        }
    }
    outcome
}

fn guessers(count: usize) -> Vec<Player> {
    vec![Player { address: 1, pause: ms(1), is_honest: false, attempts: 0, is_in: false }; count]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    /// 20 players get in within three seconds beside 300 guessers, whether each has an address of
    /// its own, all have one, or all come from the guessers' address.
    #[test]
    fn players_get_in_beside_guessers(seed in any::<u64>(), homes in 0..3_u8, pause in 300..1000_u64) {
        let mut players = guessers(300);
        players.extend((0..20).map(|number| {
            let address = [100 + number, 100, 1][usize::from(homes)];
            Player { address, pause: ms(pause), is_honest: true, attempts: 0, is_in: false }
        }));
        let arrival = 2000;
        let outcome = simulate(&players, arrival..arrival + 100, seed);
        prop_assert!(outcome.all_in <= ms(arrival + 3000), "{:?}", outcome);
        prop_assert_eq!(outcome.wasted, 0, "{:?}", outcome);
        // The threads are busy all the time.
        let possible = outcome.all_in.as_secs_f64() * 30.0;
        prop_assert!(f64::from(outcome.hashes) > 0.9 * possible, "{:?} of {}", outcome, possible);
    }
}
