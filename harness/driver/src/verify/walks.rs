//! The accounting of clients that walk about, against a naive model that looks at where they could be at every moment.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Arc;

use proptest::prelude::*;
use rand::rngs::Xoshiro256PlusPlus;
use rand::{RngExt, SeedableRng};
use throng_harness_model::audiences::{Audiences, ScopeMix};
use throng_harness_model::results::Deliveries;

use super::*;

/// How a made-up server and its clients behave; shares are out of 1,000.
#[derive(Debug, Clone, Copy)]
struct Behaviour {
    seed: u64,
    /// Half of them talk, the others walk.
    clients: u32,
    side: u32,
    messages: u32,
    /// Of all steps of time: a client moves.
    moves: u32,
    /// Of all pairs.
    drop: u32,
    leak: u32,
    /// How much happens in the server, rather than elsewhere, so that less or more is on its way.
    pace: u32,
}

/// On its way to the server.
enum Asked {
    Message(u32),
    Move(u32),
}

/// On its way to a client.
enum Told {
    Message(u32),
    Arrived,
}

/// A move, as a client knows it: when it asked and when it was told, from where to where.
#[derive(Debug, Clone, Copy)]
struct Move {
    asked: Nanos,
    done: Nanos,
    from: u32,
    to: u32,
}

/// What happened, and what became of it.
struct Run {
    deliveries: Deliveries,
    moves: Vec<Vec<Move>>,
    sent: Vec<Nanos>,
    received: HashSet<(u32, u32)>,
    /// When the first had each message.
    first: HashMap<u32, Nanos>,
    faults: u64,
    end: Nanos,
}

fn run(how: &Behaviour, audiences: &Audiences, traffic: &Arc<Traffic>) -> Run {
    let mut rng = Xoshiro256PlusPlus::seed_from_u64(how.seed ^ 1);
    let mut tally = DeliveryLedger::new(traffic.clone(), 0..how.clients);
    let start: Vec<u32> =
        (0..how.clients).map(|client| audiences.sector(client).expect("on the grid")).collect();
    for client in 0..how.clients {
        tally.asked_in(client as usize, 0);
        tally.entered(client as usize, 0);
        for audience in audiences.within_earshot(client) {
            tally.joining(client as usize, audience, 0);
            tally.joined(client as usize, audience, 0);
        }
    }
    // Where the client thinks that it is, and is going; where the server has it.
    let (mut own, mut going) = (start.clone(), vec![None; start.len()]);
    let mut server = start.clone();
    let mut asked: Vec<VecDeque<Asked>> = start.iter().map(|_| VecDeque::new()).collect();
    let mut told: Vec<VecDeque<Told>> = start.iter().map(|_| VecDeque::new()).collect();
    let mut found = Run {
        deliveries: Deliveries::default(),
        moves: vec![Vec::new(); start.len()],
        sent: Vec::new(),
        received: HashSet::new(),
        first: HashMap::new(),
        faults: 0,
        end: 0,
    };
    let mut now = 1;
    let near = |one: u32, other: u32| is_near(how.side, one, other);
    loop {
        now += 1;
        let chance = |rng: &mut Xoshiro256PlusPlus, share| rng.random_range(0..1000) < share;
        let next = found.sent.len() as u32;
        let is_over = next == how.messages;
        if !is_over && chance(&mut rng, how.moves) {
            let client = rng.random_range(how.clients / 2..how.clients) as usize;
            if let (None, Some(to)) = (going[client], audiences.beside(own[client], rng.random())) {
                let from = own[client];
                going[client] = Some(to);
                found.moves[client].push(Move { asked: now, done: Nanos::MAX, from, to });
                audiences.heard_only_from(from, to).for_each(|audience| tally.leaving(client, audience, now));
                audiences.heard_only_from(to, from).for_each(|audience| tally.joining(client, audience, now));
                asked[client].push_back(Asked::Move(to));
            }
        } else if !is_over && chance(&mut rng, how.pace) {
            tally.sent(next, now);
            found.sent.push(now);
            let sender = traffic.sender(next).expect("scheduled");
            asked[sender as usize].push_back(Asked::Message(next));
        } else if rng.random_bool(0.5) {
            let client = rng.random_range(0..how.clients) as usize;
            match asked[client].pop_front() {
                Some(Asked::Move(to)) => {
                    server[client] = to;
                    told[client].push_back(Told::Arrived);
                }
                Some(Asked::Message(index)) => {
                    for (hearer, at) in server.iter().enumerate() {
                        let hears = near(*at, server[client]);
                        let is_wrong = chance(&mut rng, if hears { how.drop } else { how.leak });
                        found.faults += u64::from(is_wrong);
                        if hears != is_wrong {
                            told[hearer].push_back(Told::Message(index));
                        }
                    }
                }
                None => {}
            }
        } else {
            let client = rng.random_range(0..how.clients) as usize;
            match told[client].pop_front() {
                Some(Told::Message(index)) => {
                    tally.delivered(client, index, 0, now);
                    found.received.insert((client as u32, index));
                    found.first.entry(index).or_insert(now);
                }
                Some(Told::Arrived) => {
                    let (from, to) = (own[client], going[client].take().expect("it was on its way"));
                    own[client] = to;
                    found.moves[client].last_mut().expect("it has asked").done = now;
                    audiences
                        .heard_only_from(from, to)
                        .for_each(|audience| tally.faded(client, audience, now));
                    audiences
                        .heard_only_from(to, from)
                        .for_each(|audience| tally.joined(client, audience, now));
                }
                None => {}
            }
        }
        if is_over && asked.iter().all(VecDeque::is_empty) && told.iter().all(VecDeque::is_empty) {
            break;
        }
    }
    found.end = now;
    found.deliveries = settle(vec![tally]).expect("one tally").deliveries;
    found.deliveries.missing_examples.clear();
    found
}

fn is_near(side: u32, one: u32, other: u32) -> bool {
    (one % side).abs_diff(other % side) <= 1 && (one / side).abs_diff(other / side) <= 1
}

/// The same, worked out by where each client could be at each moment at which the server could have dealt with a message.
fn model(how: &Behaviour, audiences: &Audiences, traffic: &Traffic, found: &Run) -> Deliveries {
    let mut result = Deliveries::default();
    for (index, sent) in (0..).zip(&found.sent) {
        let sender = traffic.sender(index).expect("scheduled");
        let spoken = audiences.sector(sender).expect("on the grid");
        let later = (index..how.messages).filter(|later| traffic.sender(*later) == Some(sender));
        let handled = later.filter_map(|later| found.first.get(&later)).min().copied();
        result.unheard_messages += u64::from(!found.first.contains_key(&index));
        for client in 0..how.clients {
            let moves = &found.moves[client as usize];
            // Whether the client could have been near at a moment, and far.
            let could_be = |now: Nanos| {
                let last = moves.iter().rev().find(|step| step.asked <= now);
                let places = match last {
                    None => [audiences.sector(client).expect("on the grid"); 2],
                    Some(step) if step.done <= now => [step.to; 2],
                    Some(step) => [step.from, step.to],
                };
                places.map(|place| is_near(how.side, place, spoken))
            };
            let until = handled.unwrap_or(found.end);
            let always_near = (*sent..until).all(|now| could_be(now) == [true; 2]);
            let never_near = (*sent..=until).all(|now| could_be(now) == [false; 2]);
            let got = u64::from(found.received.contains(&(client, index)));
            if always_near {
                result.expected += 1;
                result.received += got;
                result.missing += 1 - got;
            } else if never_near {
                result.leaked += got;
            } else {
                result.indeterminate += 1;
                result.indeterminate_received += got;
            }
        }
    }
    result
}

fn behaviour() -> impl Strategy<Value = Behaviour> {
    let share = || prop_oneof![2 => Just(0_u32), 1 => 0_u32..30, 1 => 0_u32..400];
    (any::<u64>(), 2_u32..9, 2_u32..7, 1_u32..60, 0_u32..400, share(), share(), 5_u32..500).prop_map(
        |(seed, clients, side, messages, moves, drop, leak, pace)| Behaviour {
            seed,
            clients,
            side,
            messages,
            moves,
            drop,
            leak,
            pace,
        },
    )
}

fn set_up(how: &Behaviour) -> (Audiences, Arc<Traffic>) {
    let audiences = Audiences::new(how.clients, ScopeMix::Nearby, 0, how.side, 100, how.seed);
    let speakers = how.clients / 2;
    let traffic = Traffic::draw(how.seed, speakers, speakers, how.messages).among(&audiences, how.seed);
    (audiences, Arc::new(traffic))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, ..ProptestConfig::default() })]
    #[test]
    fn walkers_are_accounted_for_exactly(how in behaviour()) {
        let (audiences, traffic) = set_up(&how);
        let found = run(&how, &audiences, &traffic);
        prop_assert_eq!(&found.deliveries, &model(&how, &audiences, &traffic, &found));
        if how.drop == 0 && how.leak == 0 {
            prop_assert_eq!((found.deliveries.missing, found.deliveries.leaked), (0, 0));
        }
        prop_assert!(found.deliveries.missing + found.deliveries.leaked <= found.faults);
    }
}

/// Without this the property could hold because nothing ever goes wrong in it.
#[test]
fn walkers_lose_and_overhear() {
    let how =
        Behaviour { seed: 3, clients: 12, side: 5, messages: 400, moves: 100, drop: 50, leak: 50, pace: 20 };
    let (audiences, traffic) = set_up(&how);
    let Run { deliveries, moves, .. } = run(&how, &audiences, &traffic);
    assert!(moves.iter().map(Vec::len).sum::<usize>() > 100);
    let counts = [deliveries.missing, deliveries.leaked, deliveries.indeterminate_received];
    assert!(counts.iter().all(|count| *count > 10), "{deliveries:?}");
    assert!(deliveries.expected > 2 * deliveries.indeterminate, "{deliveries:?}");
}
