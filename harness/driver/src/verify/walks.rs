//! The accounting of moving clients, against a naive model that checks their possible positions at
//! every moment.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Arc;

use proptest::prelude::*;
use rand::rngs::Xoshiro256PlusPlus;
use rand::{RngExt, SeedableRng};
use throng_harness_model::audiences::{Audiences, ScopeMix};
use throng_harness_model::results::Deliveries;

use super::*;

/// Behavior of a simulated server and its clients; shares are out of 1,000.
#[derive(Debug, Clone, Copy)]
struct Behavior {
    seed: u64,
    /// Half of the clients send, the others move.
    clients: u32,
    side: u32,
    messages: u32,
    /// Share of time steps in which a client moves.
    moves: u32,
    /// Shares of pairs.
    drop: u32,
    leak: u32,
    /// Share of steps that send the next message, which decides how much is in flight.
    pace: u32,
}

/// In flight to the server.
enum ToServer {
    Message(u32),
    Move(u32),
}

/// In flight to a client.
enum ToClient {
    Message(u32),
    Moved,
}

/// A move as its client sees it: times of request and confirmation, and the two sectors.
#[derive(Debug, Clone, Copy)]
struct Move {
    requested: Nanos,
    done: Nanos,
    from: u32,
    to: u32,
}

/// Events of a simulated run, and their accounting.
struct Run {
    deliveries: Deliveries,
    moves: Vec<Vec<Move>>,
    sent: Vec<Nanos>,
    received: HashSet<(u32, u32)>,
    /// Time of the first receipt of each message.
    first: HashMap<u32, Nanos>,
    faults: u64,
    end: Nanos,
}

/// A simulated run: its clients, its server, and what is in flight between them.
struct World<'a> {
    behavior: &'a Behavior,
    audiences: &'a Audiences,
    traffic: &'a Traffic,
    rng: Xoshiro256PlusPlus,
    now: Nanos,
    ledger: DeliveryLedger,
    /// Each client's own sector, its destination, and the server's idea of its sector.
    own: Vec<u32>,
    going: Vec<Option<u32>>,
    server: Vec<u32>,
    to_server: Vec<VecDeque<ToServer>>,
    to_client: Vec<VecDeque<ToClient>>,
    found: Run,
}

impl<'a> World<'a> {
    /// All clients have entered and stand in their first sectors.
    fn new(behavior: &'a Behavior, audiences: &'a Audiences, traffic: &'a Arc<Traffic>) -> Self {
        let mut ledger = DeliveryLedger::new(traffic.clone(), 0..behavior.clients);
        for client in 0..behavior.clients {
            ledger.entry_requested(client as usize, 0);
            ledger.entered(client as usize, 0);
            for audience in audiences.within_earshot(client) {
                ledger.joining(client as usize, audience, 0);
                ledger.joined(client as usize, audience, 0);
            }
        }
        let start: Vec<u32> =
            (0..behavior.clients).map(|client| audiences.sector(client).expect("on the grid")).collect();
        Self {
            behavior,
            audiences,
            traffic,
            rng: Xoshiro256PlusPlus::seed_from_u64(behavior.seed ^ 1),
            now: 1,
            ledger,
            own: start.clone(),
            going: vec![None; start.len()],
            to_server: start.iter().map(|_| VecDeque::new()).collect(),
            to_client: start.iter().map(|_| VecDeque::new()).collect(),
            found: Run {
                deliveries: Deliveries::default(),
                moves: vec![Vec::new(); start.len()],
                sent: Vec::new(),
                received: HashSet::new(),
                first: HashMap::new(),
                faults: 0,
                end: 0,
            },
            server: start,
        }
    }

    /// Draws true in `share` of 1,000 cases.
    fn chance(&mut self, share: u32) -> bool {
        self.rng.random_range(0..1000) < share
    }

    /// Lets one random thing happen; false once all messages are sent and nothing is in flight.
    fn step(&mut self) -> bool {
        self.now += 1;
        let is_over = self.found.sent.len() as u32 == self.behavior.messages;
        if !is_over && self.chance(self.behavior.moves) {
            self.begin_move();
        } else if !is_over && self.chance(self.behavior.pace) {
            self.send();
        } else if self.rng.random_bool(0.5) {
            let client = self.rng.random_range(0..self.behavior.clients) as usize;
            self.serve(client);
        } else {
            let client = self.rng.random_range(0..self.behavior.clients) as usize;
            self.receive(client);
        }
        let is_idle =
            self.to_server.iter().all(VecDeque::is_empty) && self.to_client.iter().all(VecDeque::is_empty);
        !(is_over && is_idle)
    }

    /// A client requests a move, unless it is on the move.
    fn begin_move(&mut self) {
        let client = self.rng.random_range(self.behavior.clients / 2..self.behavior.clients) as usize;
        let (from, now) = (self.own[client], self.now);
        let (None, Some(to)) = (self.going[client], self.audiences.beside(from, self.rng.random())) else {
            return;
        };
        self.going[client] = Some(to);
        self.found.moves[client].push(Move { requested: now, done: Nanos::MAX, from, to });
        for audience in self.audiences.heard_only_from(from, to) {
            self.ledger.leaving(client, audience, now);
        }
        for audience in self.audiences.heard_only_from(to, from) {
            self.ledger.joining(client, audience, now);
        }
        self.to_server[client].push_back(ToServer::Move(to));
    }

    /// The sender of the next message sends it.
    fn send(&mut self) {
        let next = self.found.sent.len() as u32;
        self.ledger.sent(next, self.now);
        self.found.sent.push(self.now);
        let sender = self.traffic.sender(next).expect("scheduled");
        self.to_server[sender as usize].push_back(ToServer::Message(next));
    }

    /// The server handles one request of a client.
    fn serve(&mut self, client: usize) {
        match self.to_server[client].pop_front() {
            Some(ToServer::Move(to)) => {
                self.server[client] = to;
                self.to_client[client].push_back(ToClient::Moved);
            }
            Some(ToServer::Message(index)) => {
                for listener in 0..self.server.len() {
                    let hears = is_near(self.behavior.side, self.server[listener], self.server[client]);
                    let is_wrong = self.chance(if hears { self.behavior.drop } else { self.behavior.leak });
                    self.found.faults += u64::from(is_wrong);
                    if hears != is_wrong {
                        self.to_client[listener].push_back(ToClient::Message(index));
                    }
                }
            }
            None => {}
        }
    }

    /// A client receives one thing.
    fn receive(&mut self, client: usize) {
        let now = self.now;
        match self.to_client[client].pop_front() {
            Some(ToClient::Message(index)) => {
                self.ledger.delivered(client, index, 0, now);
                self.found.received.insert((client as u32, index));
                self.found.first.entry(index).or_insert(now);
            }
            Some(ToClient::Moved) => {
                let to = self.going[client].take().expect("a move is in flight");
                let from = std::mem::replace(&mut self.own[client], to);
                self.found.moves[client].last_mut().expect("a move was requested").done = now;
                for audience in self.audiences.heard_only_from(from, to) {
                    self.ledger.membership_ended(client, audience, now);
                }
                for audience in self.audiences.heard_only_from(to, from) {
                    self.ledger.joined(client, audience, now);
                }
            }
            None => {}
        }
    }
}

fn run(behavior: &Behavior, audiences: &Audiences, traffic: &Arc<Traffic>) -> Run {
    let mut world = World::new(behavior, audiences, traffic);
    while world.step() {}
    let World { mut found, now, ledger, .. } = world;
    found.end = now;
    found.deliveries = settle(vec![ledger]).expect("one ledger").deliveries;
    found.deliveries.missing_examples.clear();
    found
}

fn is_near(side: u32, one: u32, other: u32) -> bool {
    (one % side).abs_diff(other % side) <= 1 && (one / side).abs_diff(other / side) <= 1
}

/// Computes the deliveries from each client's possible positions at each moment at which the server
/// could have handled a message.
fn model(behavior: &Behavior, audiences: &Audiences, traffic: &Traffic, found: &Run) -> Deliveries {
    let mut result = Deliveries::default();
    for (index, sent) in (0..).zip(&found.sent) {
        let sender = traffic.sender(index).expect("scheduled");
        let origin = audiences.sector(sender).expect("on the grid");
        let later = (index..behavior.messages).filter(|later| traffic.sender(*later) == Some(sender));
        let handled = later.filter_map(|later| found.first.get(&later)).min().copied();
        result.unheard_messages += u64::from(!found.first.contains_key(&index));
        for client in 0..behavior.clients {
            let moves = &found.moves[client as usize];
            // Possible states of the client at a moment: near or far.
            let could_be = |now: Nanos| {
                let last = moves.iter().rev().find(|step| step.requested <= now);
                let places = match last {
                    None => [audiences.sector(client).expect("on the grid"); 2],
                    Some(step) if step.done <= now => [step.to; 2],
                    Some(step) => [step.from, step.to],
                };
                places.map(|place| is_near(behavior.side, place, origin))
            };
            let until = handled.unwrap_or(found.end);
            let always_near = (*sent..until).all(|now| could_be(now) == [true; 2]);
            let never_near = (*sent..=until).all(|now| could_be(now) == [false; 2]);
            let received = u64::from(found.received.contains(&(client, index)));
            if always_near {
                result.expected += 1;
                result.received += received;
                result.missing += 1 - received;
            } else if never_near {
                result.leaked += received;
            } else {
                result.indeterminate += 1;
                result.indeterminate_received += received;
            }
        }
    }
    result
}

fn behavior() -> impl Strategy<Value = Behavior> {
    let share = || prop_oneof![2 => Just(0_u32), 1 => 0_u32..30, 1 => 0_u32..400];
    (any::<u64>(), 2_u32..9, 2_u32..7, 1_u32..60, 0_u32..400, share(), share(), 5_u32..500).prop_map(
        |(seed, clients, side, messages, moves, drop, leak, pace)| Behavior {
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

fn set_up(behavior: &Behavior) -> (Audiences, Arc<Traffic>) {
    let audiences = Audiences::new(behavior.clients, ScopeMix::Nearby, 0, behavior.side, 100, behavior.seed);
    let speakers = behavior.clients / 2;
    let traffic =
        Traffic::draw(behavior.seed, speakers, speakers, behavior.messages).among(&audiences, behavior.seed);
    (audiences, Arc::new(traffic))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, ..ProptestConfig::default() })]
    #[test]
    fn walkers_are_accounted_for_exactly(behavior in behavior()) {
        let (audiences, traffic) = set_up(&behavior);
        let found = run(&behavior, &audiences, &traffic);
        prop_assert_eq!(&found.deliveries, &model(&behavior, &audiences, &traffic, &found));
        if behavior.drop == 0 && behavior.leak == 0 {
            prop_assert_eq!((found.deliveries.missing, found.deliveries.leaked), (0, 0));
        }
        prop_assert!(found.deliveries.missing + found.deliveries.leaked <= found.faults);
    }
}

/// Ensures that the property above is tested with faults.
#[test]
fn the_simulation_makes_losses_and_leaks() {
    let behavior =
        Behavior { seed: 3, clients: 12, side: 5, messages: 400, moves: 100, drop: 50, leak: 50, pace: 20 };
    let (audiences, traffic) = set_up(&behavior);
    let Run { deliveries, moves, .. } = run(&behavior, &audiences, &traffic);
    assert!(moves.iter().map(Vec::len).sum::<usize>() > 100);
    let counts = [deliveries.missing, deliveries.leaked, deliveries.indeterminate_received];
    assert!(counts.iter().all(|count| *count > 10), "{deliveries:?}");
    assert!(deliveries.expected > 2 * deliveries.indeterminate, "{deliveries:?}");
}
