//! A node's own side of the order: its batches until they have come back, and the silence of the
//! others.
//!
//! A batch that does not come back in time is published again, with all that follow it (go-back-N):
//! the ledger counts each once, and in its turn. So nothing has to be known of the bus but what it
//! delivers. A node whose batches do not come back is *cut off*: it takes no requests, and keeps
//! what it has proposed. A node that was silent for too long is declared dead by one that is not
//! cut off. It learns so from the order, drops what has not come back, and takes part anew.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::batch::{Batch, Body, NodeInfo};
use super::ledger::{Ledger, Node, Verdict};

/// Most batches of a node that have not come back. Facts beyond it wait for each other, and go
/// together.
const IN_FLIGHT_MAX: usize = 64;

/// Bytes of facts beyond which a batch takes no more.
pub(super) const BATCH_BYTES: usize = 64 * 1024;

/// Longest pause before batches are published again; it doubles up to this.
const RESEND_MAX: Duration = Duration::from_secs(4);

/// Times of a node.
#[derive(Debug, Clone, Copy)]
pub struct Timing {
    /// Silence after which a node says that it is alive.
    pub heartbeat: Duration,
    /// Silence after which a node is declared dead.
    pub dead_after: Duration,
    /// Time that a batch may take to come back, before the node counts as cut off.
    pub cut_after: Duration,
    /// Time that a batch may take to come back, before it is published again.
    pub resend_after: Duration,
}

/// A batch to publish.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outgoing {
    /// The number that the node drew.
    pub instance: u64,
    /// Number of the batch.
    pub counter: u64,
    /// Its encoded content.
    pub text: Arc<[u8]>,
}

/// A batch that counts, as the node's role sees it.
#[derive(Debug, PartialEq, Eq)]
pub enum Reading {
    /// A node takes part.
    Up {
        /// Number of the node.
        node: u32,
        /// True for this node.
        is_own: bool,
    },
    /// A node takes part no more. If it is this one, what it has proposed and not read is void.
    Dead {
        /// The node as it was.
        node: Node,
        /// True for this node.
        is_own: bool,
    },
    /// The users of a node have done something.
    Facts {
        /// Number of the node.
        node: u32,
        /// Their facts, encoded.
        facts: Vec<u8>,
        /// True for this node.
        is_own: bool,
    },
}

#[derive(Debug)]
struct InFlight {
    counter: u64,
    text: Arc<[u8]>,
    made_at: Instant,
    is_sent: bool,
}

/// One node's side of the order.
pub struct Member {
    timing: Timing,
    info: NodeInfo,
    ledger: Ledger,
    /// Place of the last batch that was read.
    position: u64,
    instance: u64,
    /// Number of the latest batch made.
    counter: u64,
    in_flight: VecDeque<InFlight>,
    /// Facts of later batches.
    waiting: VecDeque<Vec<u8>>,
    /// Time of each node's latest batch.
    heard: BTreeMap<u64, Instant>,
    made_at: Instant,
    sent_at: Instant,
    /// Time after which what is in flight is published again.
    resend_after: Duration,
    polled_at: Instant,
    /// Start of the time in which own batches have come back without a break.
    current_since: Option<Instant>,
    /// Time at which this node last declared others dead.
    declared_at: Option<Instant>,
    /// Time at which this node asks to take part.
    wish_at: Option<Instant>,
    /// True once this node has declared itself dead: it does not take part anew.
    has_resigned: bool,
}

impl Member {
    /// Creates a node that begins at a state of the order. The others know it by `instance`, which
    /// is drawn at random, and by the numbers that follow if it takes part anew.
    pub fn new(
        timing: Timing,
        info: NodeInfo,
        instance: u64,
        ledger: Ledger,
        position: u64,
        now: Instant,
    ) -> Self {
        let heard = ledger.nodes().map(|(instance, _)| (instance, now)).collect();
        Self {
            timing,
            info,
            ledger,
            position,
            instance,
            counter: 0,
            in_flight: VecDeque::new(),
            waiting: VecDeque::new(),
            heard,
            made_at: now,
            sent_at: now,
            resend_after: timing.resend_after,
            polled_at: now,
            current_since: None,
            declared_at: None,
            wish_at: Some(now),
            has_resigned: false,
        }
    }

    /// Returns the ledger at [`position`](Self::position).
    pub fn ledger(&self) -> &Ledger {
        &self.ledger
    }

    /// Returns the place of the last batch that was read.
    pub fn position(&self) -> u64 {
        self.position
    }

    /// Returns a number by which the node can be known if it begins anew.
    pub fn next_instance(&self) -> u64 {
        self.instance.wrapping_add(1)
    }

    /// Returns this node's number, once it takes part.
    pub fn id(&self) -> Option<u32> {
        self.ledger.get(self.instance).map(|node| node.id)
    }

    /// Returns true if the node takes part and its batches come back in time.
    pub fn is_current(&self, now: Instant) -> bool {
        self.id().is_some() && !self.is_late(now)
    }

    fn is_late(&self, now: Instant) -> bool {
        let oldest = self.in_flight.front();
        oldest.is_some_and(|oldest| now.saturating_duration_since(oldest.made_at) >= self.timing.cut_after)
    }

    /// Returns true if as much waits as may.
    pub fn is_full(&self) -> bool {
        self.waiting.len() >= IN_FLIGHT_MAX
    }

    /// Proposes a fact, which `encode` appends. It comes back in [`read`](Self::read), after those
    /// that were proposed before, unless the node is declared dead. The node must take part.
    pub fn propose(&mut self, encode: impl FnOnce(&mut Vec<u8>)) {
        debug_assert!(self.id().is_some(), "a node that does not take part has no users");
        if self.waiting.back().is_none_or(|batch| batch.len() >= BATCH_BYTES) {
            self.waiting.push_back(Vec::new());
        }
        if let Some(batch) = self.waiting.back_mut() {
            encode(batch);
        }
    }

    /// Reads the next batch.
    pub fn read(&mut self, batch: Batch, now: Instant) -> Option<Reading> {
        debug_assert!(batch.sequence > self.position);
        self.position = batch.sequence;
        let (instance, counter) = (batch.instance, batch.counter);
        let is_own = instance == self.instance;
        let verdict = self.ledger.read(batch);
        if verdict == Verdict::Void {
            if is_own {
                self.read_own_void(counter, now);
            }
            return None;
        }
        self.heard.insert(instance, now);
        if is_own {
            self.in_flight.pop_front();
            self.resend_after = self.timing.resend_after;
            if !self.is_late(now) {
                self.current_since.get_or_insert(now);
            }
        }
        match verdict {
            Verdict::Void | Verdict::Nothing => None,
            Verdict::Up { node } => Some(Reading::Up { node, is_own }),
            Verdict::Facts { node, facts } => Some(Reading::Facts { node, facts, is_own }),
            Verdict::Dead { instance, node } => {
                self.heard.remove(&instance);
                let is_own = instance == self.instance;
                if is_own {
                    self.start_anew(now);
                }
                Some(Reading::Dead { node, is_own })
            }
        }
    }

    fn read_own_void(&mut self, counter: u64, now: Instant) {
        match self.ledger.get(self.instance) {
            // The wish to take part came too late.
            None => self.start_anew(now),
            // One before it is missing.
            Some(node) if counter > node.counter + 1 => self.send_again(),
            Some(_) => {}
        }
    }

    /// Has all that is in flight published again, since the bus may have lost it.
    pub fn send_again(&mut self) {
        self.in_flight.iter_mut().for_each(|batch| batch.is_sent = false);
    }

    fn start_anew(&mut self, now: Instant) {
        self.instance = self.instance.wrapping_add(1);
        self.counter = 0;
        self.in_flight.clear();
        self.waiting.clear();
        self.current_since = None;
        // Not at once if the wish before was refused: the fleet may be full.
        let earliest = self.made_at + self.timing.heartbeat;
        self.wish_at = (!self.has_resigned).then_some(earliest.max(now));
    }

    fn wish(&mut self, now: Instant) {
        let info = self.info.clone();
        self.make(&Body::Up { info, read: self.position }, now);
    }

    fn make(&mut self, body: &Body, now: Instant) {
        self.counter += 1;
        self.made_at = now;
        let text = body.encode().into();
        self.in_flight.push_back(InFlight { counter: self.counter, text, made_at: now, is_sent: false });
    }

    /// Does what is due at `now`, and appends the batches to publish, in their order.
    pub fn poll(&mut self, now: Instant, out: &mut Vec<Outgoing>) {
        let pause = now.saturating_duration_since(self.polled_at);
        self.polled_at = now;
        // A process that was stopped knows nothing of the silence of others.
        if self.is_late(now) || pause >= self.timing.dead_after / 2 {
            self.current_since = None;
        }
        if self.wish_at.take_if(|at| *at <= now).is_some() {
            self.wish(now);
        }
        if self.id().is_some() {
            self.declare_dead(now);
            while self.in_flight.len() < IN_FLIGHT_MAX
                && let Some(facts) = self.waiting.pop_front()
            {
                self.make(&Body::Facts(facts), now);
            }
            let is_silent = now.saturating_duration_since(self.made_at) >= self.timing.heartbeat;
            // More of them would say no more.
            if is_silent && self.in_flight.len() < 2 {
                self.make(&Body::Facts(Vec::new()), now);
            }
        }
        if !self.in_flight.is_empty() && now.saturating_duration_since(self.sent_at) >= self.resend_after {
            self.resend_after = (2 * self.resend_after).min(RESEND_MAX);
            self.send_again();
        }
        for batch in self.in_flight.iter_mut().filter(|batch| !batch.is_sent) {
            batch.is_sent = true;
            self.sent_at = now;
            out.push(Outgoing { instance: self.instance, counter: batch.counter, text: batch.text.clone() });
        }
    }

    /// Declares the nodes dead that have been silent for too long, while this one was not.
    fn declare_dead(&mut self, now: Instant) {
        let after = self.timing.dead_after;
        let is_past = |at: Instant| now.saturating_duration_since(at) >= after;
        if !self.current_since.is_some_and(is_past) || self.declared_at.is_some_and(|at| !is_past(at)) {
            return;
        }
        let is_silent = |instance: &u64| self.heard.get(instance).copied().is_none_or(is_past);
        let silent = self.ledger.nodes().filter(|(other, _)| *other != self.instance && is_silent(other));
        let dead: Vec<_> =
            silent.map(|(instance, node)| Body::Dead { instance, counter: node.counter }).collect();
        for body in &dead {
            self.make(body, now);
            self.declared_at = Some(now);
        }
    }

    /// Declares this node itself dead, because it ends. Facts that wait come before.
    pub fn resign(&mut self, now: Instant) {
        if self.id().is_none() {
            return;
        }
        while let Some(facts) = self.waiting.pop_front() {
            self.make(&Body::Facts(facts), now);
        }
        self.has_resigned = true;
        self.make(&Body::Dead { instance: self.instance, counter: self.counter + 1 }, now);
    }

    /// Returns the time of the next [`poll`](Self::poll).
    pub fn next_poll(&self) -> Instant {
        let mut at = self.made_at + self.timing.heartbeat;
        if !self.in_flight.is_empty() {
            at = self.polled_at.max(self.sent_at) + self.timing.heartbeat.min(self.resend_after);
        }
        at.max(self.polled_at + Duration::from_millis(1))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use throng_core::wire::Line;

    use super::*;
    use crate::dice::Dice;

    const TIMING: Timing = Timing {
        heartbeat: Duration::from_millis(250),
        dead_after: Duration::from_millis(1200),
        cut_after: Duration::from_secs(1),
        resend_after: Duration::from_millis(500),
    };

    fn info(number: u64) -> NodeInfo {
        let name = Line::truncated(&format!("chat-{number}"));
        NodeInfo { name, client_address: Line::truncated("a:1"), client_key: [0; 32] }
    }

    fn member(number: u64, ledger: Ledger, position: u64, now: Instant) -> Member {
        Member::new(TIMING, info(number), number << 32, ledger, position, now)
    }

    /// A node, what it has read, and what it waits for.
    struct Process {
        member: Member,
        is_stopped: bool,
        is_cut_off: bool,
        read: usize,
        proposed: u64,
        /// Own facts that are yet to come back.
        waits: VecDeque<u64>,
        /// State of the fold: facts of each node number, in order.
        folded: Vec<(u32, u64)>,
    }

    struct World {
        dice: Dice,
        now: Instant,
        order: Vec<Batch>,
        /// Batches on their way to the bus.
        under_way: Vec<(Instant, Outgoing)>,
        nodes: Vec<Process>,
        deaths: usize,
    }

    impl World {
        fn new(seed: u64) -> Self {
            let now = Instant::now();
            let nodes = (1..=3).map(|number| Process {
                member: member(number, Ledger::default(), 0, now),
                is_stopped: false,
                is_cut_off: false,
                read: 0,
                proposed: number << 32,
                waits: VecDeque::new(),
                folded: Vec::new(),
            });
            let nodes = nodes.collect();
            Self { dice: Dice::new(seed), now, order: Vec::new(), under_way: Vec::new(), nodes, deaths: 0 }
        }

        fn step(&mut self, is_calm: bool) {
            self.now += Duration::from_millis(10);
            for at in 0..self.nodes.len() {
                let (dice, node) = (&mut self.dice, &mut self.nodes[at]);
                if is_calm {
                    (node.is_stopped, node.is_cut_off) = (false, false);
                } else {
                    node.is_stopped ^= dice.one_in(if node.is_stopped { 150 } else { 300 });
                    node.is_cut_off ^= dice.one_in(if node.is_cut_off { 150 } else { 300 });
                }
                if node.is_stopped {
                    continue;
                }
                if node.member.is_current(self.now) && dice.one_in(3) {
                    node.proposed += 1;
                    let fact = node.proposed;
                    node.waits.push_back(fact);
                    node.member.propose(|out| out.extend_from_slice(&fact.to_le_bytes()));
                }
                let mut out = Vec::new();
                node.member.poll(self.now, &mut out);
                for outgoing in out {
                    let copies = if is_calm || !dice.one_in(4) { 1 } else { 2 * dice.below(2) };
                    for _ in 0..if node.is_cut_off { 0 } else { copies } {
                        let delay = if is_calm { 5 } else { dice.below(100) as u64 };
                        let arrives = self.now + Duration::from_millis(delay);
                        self.under_way.push((arrives, outgoing.clone()));
                    }
                }
                let limit = if is_calm { usize::MAX } else { dice.below(5) };
                for _ in 0..limit {
                    if node.is_cut_off || node.read == self.order.len() {
                        break;
                    }
                    let batch = self.order[node.read].clone();
                    node.read += 1;
                    self.deaths += node.take(batch, self.now);
                }
            }
            let now = self.now;
            for (_, Outgoing { instance, counter, text }) in
                self.under_way.extract_if(.., |(arrives, _)| *arrives <= now)
            {
                let sequence = self.order.len() as u64 + 1;
                let body = Body::decode(&text).unwrap();
                self.order.push(Batch { sequence, instance, counter, body });
            }
        }
    }

    impl Process {
        /// Reads a batch. Returns 1 if it is this node's death.
        fn take(&mut self, batch: Batch, now: Instant) -> usize {
            match self.member.read(batch, now) {
                Some(Reading::Facts { node, facts, is_own }) => {
                    for fact in facts.chunks(8) {
                        let fact = u64::from_le_bytes(fact.try_into().unwrap());
                        self.folded.push((node, fact));
                        if is_own {
                            assert_eq!(self.waits.pop_front(), Some(fact), "in the order of proposals");
                        }
                    }
                }
                Some(Reading::Dead { is_own: true, .. }) => {
                    self.waits.clear();
                    return 1;
                }
                _ => {}
            }
            0
        }
    }

    /// The bus delays, repeats, reorders and loses what is published; nodes stop, are cut off and
    /// fall behind.
    #[test]
    fn all_nodes_read_the_same_and_nothing_twice() {
        let mut deaths = 0;
        for seed in 0..100 {
            let mut world = World::new(seed);
            for _ in 0..1000 {
                world.step(false);
            }
            for _ in 0..600 {
                world.step(true);
            }
            let World { nodes, now, .. } = world;
            for node in &nodes {
                assert!(node.member.is_current(now), "seed {seed}");
                assert!(node.waits.len() <= 2, "seed {seed}: {} wait", node.waits.len());
                assert_eq!(node.member.ledger().nodes().count(), 3, "seed {seed}");
            }
            let shortest = nodes.iter().map(|node| node.folded.len()).min().unwrap();
            assert!(shortest > 100, "seed {seed}");
            for node in &nodes {
                assert_eq!(node.folded[..shortest], nodes[0].folded[..shortest], "seed {seed}");
            }
            let mut last = BTreeMap::new();
            for (node, fact) in &nodes[0].folded {
                let earlier = last.insert(fact >> 32, (*node, *fact));
                assert!(earlier.is_none_or(|(_, earlier)| earlier < *fact), "seed {seed}: {fact} repeated");
            }
            deaths += world.deaths;
        }
        assert!(deaths > 10, "{deaths}");
    }

    #[test]
    fn a_silent_node_is_declared_dead_in_time_and_by_its_last_batch_only() {
        let mut world = World::new(1);
        while world.nodes.iter().any(|node| node.member.ledger().nodes().count() < 3) {
            world.step(true);
        }
        for _ in 0..200 {
            world.step(true);
        }
        assert_eq!(world.deaths, 0);
        let begin = world.now;
        let silent = world.nodes.remove(2);
        while world.nodes[0].member.ledger().nodes().count() == 3 {
            world.step(true);
        }
        let silence = world.now - begin;
        assert!((1000..1500).contains(&silence.as_millis()), "{silence:?}");
        // It was only stopped, and learns of its death before anything else.
        world.nodes.push(silent);
        for _ in 0..100 {
            world.step(true);
        }
        assert_eq!(world.deaths, 1);
        assert!(world.nodes[2].member.is_current(world.now));
    }

    #[test]
    fn a_node_that_ends_says_so_after_its_last_facts() {
        let now = Instant::now();
        let mut member = member(1, Ledger::default(), 0, now);
        let mut out = Vec::new();
        let mut sequence = 0;
        let mut turn = |member: &mut Member| {
            member.poll(now, &mut out);
            let readings = out.drain(..).map(|Outgoing { instance, counter, text }| {
                sequence += 1;
                let body = Body::decode(&text).unwrap();
                member.read(Batch { sequence, instance, counter, body }, now)
            });
            readings.flatten().collect::<Vec<_>>()
        };
        assert_eq!(turn(&mut member), [Reading::Up { node: 1, is_own: true }]);
        member.propose(|out| out.push(5));
        member.resign(now);
        let read = turn(&mut member);
        let [Reading::Facts { facts, .. }, Reading::Dead { is_own: true, .. }] = &read[..] else {
            panic!("{read:?}");
        };
        assert_eq!(facts, &[5]);
        assert_eq!(turn(&mut member), []);
        assert_eq!(member.ledger().nodes().count(), 0);
    }
}
