//! The accounting against a naive model that keeps every event and every pair.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use proptest::prelude::*;
use rand::rngs::Xoshiro256PlusPlus;
use rand::{RngExt, SeedableRng};
use throng_harness_model::audiences::{Audiences, ScopeMix};
use throng_harness_model::results::{Deliveries, Gaps, Pair};

use super::*;

#[derive(Debug, Clone, Copy)]
enum Event {
    AskedIn(u32),
    Entered(u32),
    AskedOut(u32),
    Gone(u32),
    Sent(u32),
    Delivered { client: u32, index: u32, sequence: u64 },
}

/// How a made-up server and its clients behave; shares are out of 1,000.
#[derive(Debug, Clone, Copy)]
struct Behaviour {
    seed: u64,
    clients: u32,
    messages: u32,
    senders: u32,
    /// Of all steps: a client enters, leaves or is lost.
    churn: u32,
    /// Of all pairs.
    drop: u32,
    duplicate: u32,
    leak: u32,
    /// Messages that overtake others, of all deliveries.
    overtake: u32,
    /// Messages that are not sent at all, or numbered anew.
    unsent: u32,
    renumber: u32,
}

/// The events of a run, in the order of time; the time of an event is its place.
fn simulate(how: &Behaviour, traffic: &Traffic) -> Vec<Event> {
    let mut rng = Xoshiro256PlusPlus::seed_from_u64(how.seed);
    let mut events = Vec::new();
    // 0 outside, 1 asked in, 2 inside, 3 asked out.
    let mut state = vec![0; how.clients as usize];
    let mut queue: Vec<Event> = Vec::new();
    if rng.random_bool(0.8) {
        events.extend((0..how.clients).map(Event::AskedIn));
        events.extend((0..how.clients).map(Event::Entered));
        state.fill(2);
    }
    let mut next = 0;
    while next < how.messages || !queue.is_empty() {
        let chance = |rng: &mut Xoshiro256PlusPlus, share| rng.random_range(0..1000) < share;
        if chance(&mut rng, how.churn) {
            let client = rng.random_range(0..how.clients);
            let lost = rng.random_bool(0.3);
            let (event, then) = match state[client as usize] {
                0 => (Event::AskedIn(client), 1),
                1..3 if lost => (Event::Gone(client), 0),
                1 => (Event::Entered(client), 2),
                2 => (Event::AskedOut(client), 3),
                _ => (Event::Gone(client), 0),
            };
            state[client as usize] = then;
            events.push(event);
        }
        if next < how.messages && (queue.len() < 20 || rng.random_bool(0.3)) {
            if !chance(&mut rng, how.unsent) {
                events.push(Event::Sent(next));
            }
            let mut sequence = 1000 + u64::from(next) * 2;
            for client in 0..how.clients {
                if chance(&mut rng, how.renumber) {
                    sequence -= rng.random_range(1..5);
                }
                let due = if state[client as usize] == 2 {
                    !chance(&mut rng, how.drop)
                } else {
                    chance(&mut rng, how.leak)
                };
                let copies = u32::from(due) * (1 + u32::from(chance(&mut rng, how.duplicate)));
                queue.extend((0..copies).map(|_| Event::Delivered { client, index: next, sequence }));
            }
            debug_assert!(traffic.sender(next).is_some());
            next += 1;
        } else if !queue.is_empty() {
            let reach = if chance(&mut rng, how.overtake) { queue.len() } else { 1 };
            events.push(queue.remove(rng.random_range(0..reach)));
        }
    }
    events
}

/// The events through tallies of several workers.
fn account(events: &[Event], traffic: &Arc<Traffic>, clients: u32, workers: u32) -> Settlement {
    let mut tallies: Vec<DeliveryLedger> = (0..workers)
        .map(|worker| DeliveryLedger::new(traffic.clone(), (worker..clients).step_by(workers as usize)))
        .collect();
    for (now, event) in events.iter().enumerate() {
        let now = now as Nanos;
        let place = |client: u32| ((client % workers) as usize, (client / workers) as usize);
        match *event {
            Event::AskedIn(client) => tallies[place(client).0].asked_in(place(client).1, now),
            Event::Entered(client) => tallies[place(client).0].entered(place(client).1, now),
            Event::AskedOut(client) => tallies[place(client).0].asked_out(place(client).1, now),
            Event::Gone(client) => tallies[place(client).0].gone(place(client).1, now),
            Event::Sent(index) => {
                let sender = traffic.sender(index).expect("scheduled");
                tallies[place(sender).0].sent(index, now);
            }
            Event::Delivered { client, index, sequence } => {
                tallies[place(client).0].delivered(place(client).1, index, sequence, now);
            }
        }
    }
    settle(tallies).expect("at least one worker")
}

/// One stay as the model remembers it.
#[derive(Debug, Default)]
struct Stay {
    asked: Nanos,
    entered: Option<Nanos>,
    asked_out: Option<Nanos>,
    gone: Option<Nanos>,
}

#[derive(Debug, PartialEq, Eq, Clone, Copy)]
enum Verdict {
    In,
    Out,
    Unknown,
}

impl Stay {
    fn verdict(&self, sent: Nanos, handled: Option<Nanos>) -> Verdict {
        let all_before = |time: Nanos| handled.is_some_and(|handled| handled <= time);
        let entered_before = self.entered.is_some_and(|entered| entered <= sent);
        let still_there = match (self.asked_out, self.gone) {
            (Some(asked_out), _) => all_before(asked_out),
            (None, Some(lost)) => sent < lost,
            (None, None) => true,
        };
        if entered_before && still_there {
            Verdict::In
        } else if handled.is_some_and(|handled| handled < self.asked)
            || self.gone.is_some_and(|gone| sent >= gone)
        {
            Verdict::Out
        } else {
            Verdict::Unknown
        }
    }
}

/// The same result, worked out pair by pair.
fn model(events: &[Event], traffic: &Traffic, clients: u32) -> Deliveries {
    let mut stays: BTreeMap<u32, Vec<Stay>> = (0..clients).map(|client| (client, Vec::new())).collect();
    let mut sent: BTreeMap<u32, Nanos> = BTreeMap::new();
    let mut first: HashMap<u32, Nanos> = HashMap::new();
    let mut numbers: HashMap<u32, HashSet<u64>> = HashMap::new();
    let mut pairs: HashSet<(u32, u32)> = HashSet::new();
    let mut this_stay: HashMap<u32, (u32, u64)> = HashMap::new();
    let mut result = Deliveries::default();
    for (now, event) in events.iter().enumerate() {
        let now = now as Nanos;
        match *event {
            Event::AskedIn(client) => {
                stays.entry(client).or_default().push(Stay { asked: now, ..Stay::default() });
                this_stay.remove(&client);
            }
            Event::Entered(client) => stays.get_mut(&client).unwrap().last_mut().unwrap().entered = Some(now),
            Event::AskedOut(client) => {
                stays.get_mut(&client).unwrap().last_mut().unwrap().asked_out = Some(now);
            }
            Event::Gone(client) => stays.get_mut(&client).unwrap().last_mut().unwrap().gone = Some(now),
            Event::Sent(index) => drop(sent.insert(index, now)),
            Event::Delivered { client, index, sequence } => {
                if !pairs.insert((client, index)) {
                    result.duplicated += 1;
                    continue;
                }
                let before = this_stay.entry(client).or_default();
                let (ceiling, highest) = *before;
                let overtaken = highest > sequence;
                let wrong_way = (index + 1..=ceiling).any(|later| {
                    traffic.sender(later) == traffic.sender(index) && pairs.contains(&(client, later))
                });
                result.reordered += u64::from(overtaken || wrong_way);
                *before = (ceiling.max(index), highest.max(sequence));
                first.entry(index).or_insert(now);
                numbers.entry(index).or_default().insert(sequence);
            }
        }
    }
    let mut handled: HashMap<u32, Nanos> = HashMap::new();
    for (index, at) in &first {
        // Whoever sent this message had sent all of its earlier ones by then.
        for earlier in (0..=*index).filter(|earlier| traffic.sender(*earlier) == traffic.sender(*index)) {
            handled.entry(earlier).and_modify(|known| *known = *at.min(known)).or_insert(*at);
        }
    }
    for (index, at) in &sent {
        let handled = handled.get(index).copied();
        for (client, stays) in &stays {
            let verdicts: Vec<_> = stays.iter().map(|stay| stay.verdict(*at, handled)).collect();
            let got = u64::from(pairs.contains(&(*client, *index)));
            if verdicts.contains(&Verdict::In) {
                result.expected += 1;
                result.received += got;
                result.missing += 1 - got;
            } else if verdicts.contains(&Verdict::Unknown) {
                result.indeterminate += 1;
                result.indeterminate_received += got;
            } else {
                result.leaked += got;
            }
        }
        result.unheard_messages += u64::from(!first.contains_key(index));
    }
    result.corrupted = pairs.iter().filter(|(_, index)| !sent.contains_key(index)).count() as u64;
    let mut users: HashMap<u64, u32> = HashMap::new();
    let only = |seen: &HashSet<u64>| seen.iter().next().copied().filter(|_| seen.len() == 1);
    numbers.values().filter_map(only).for_each(|number| *users.entry(number).or_default() += 1);
    let alone = |seen: &HashSet<u64>| only(seen).is_some_and(|number| users[&number] == 1);
    result.inconsistent = numbers.values().filter(|seen| !alone(seen)).count() as u64;
    result
}

fn check(how: &Behaviour, workers: u32) -> Result<(), TestCaseError> {
    let traffic = Arc::new(Traffic::draw(how.seed, how.clients, how.senders, how.messages));
    let events = simulate(how, &traffic);
    let settlement = account(&events, &traffic, how.clients, workers);
    let mut deliveries = settlement.deliveries;
    let shown = std::mem::take(&mut deliveries.missing_examples);
    prop_assert_eq!(shown.len() as u64, deliveries.missing.min(10));
    prop_assert_eq!(deliveries, model(&events, &traffic, how.clients));
    Ok(())
}

/// Mostly nothing, sometimes a little, sometimes a lot.
fn share() -> impl Strategy<Value = u32> {
    prop_oneof![3 => Just(0_u32), 2 => 0_u32..30, 1 => 0_u32..600]
}

fn behaviour(messages: std::ops::Range<u32>) -> impl Strategy<Value = Behaviour> {
    let size = (any::<u64>(), 1_u32..6, 1_u32..6, messages);
    let faults = (share(), share(), share(), share(), share(), share(), share());
    (size, faults).prop_map(
        |((seed, clients, senders, messages), (churn, drop, duplicate, leak, overtake, unsent, renumber))| {
            Behaviour {
                seed,
                clients,
                messages,
                senders,
                churn,
                drop,
                duplicate,
                leak,
                overtake,
                unsent,
                renumber,
            }
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, ..ProptestConfig::default() })]
    #[test]
    fn reports_exactly_what_happened(how in behaviour(1..60), workers in 1_u32..4) {
        check(&how, workers)?;
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 16, ..ProptestConfig::default() })]
    #[test]
    fn reports_exactly_what_happened_over_many_blocks(how in behaviour(500..1600), workers in 1_u32..4) {
        check(&how, workers)?;
    }
}

/// Without this the properties above could hold because nothing ever goes wrong in them.
#[test]
fn the_simulation_makes_every_fault() {
    let how = Behaviour {
        seed: 1,
        clients: 4,
        messages: 2000,
        senders: 3,
        churn: 20,
        drop: 20,
        duplicate: 20,
        leak: 300,
        overtake: 20,
        unsent: 20,
        renumber: 1,
    };
    let traffic = Traffic::draw(how.seed, how.clients, how.senders, how.messages);
    let found = model(&simulate(&how, &traffic), &traffic, how.clients);
    let counts = [
        found.missing,
        found.duplicated,
        found.reordered,
        found.leaked,
        found.indeterminate,
        found.indeterminate_received,
        found.corrupted,
        found.inconsistent,
        found.unheard_messages,
    ];
    assert!(counts.iter().all(|count| *count > 0), "{found:?}");
    assert!(found.received > 1000, "{found:?}");
}

/// Everybody in, every message to everybody; `lose` says which pairs are lost.
fn all_but(clients: u32, messages: u32, lose: impl Fn(u32, u32) -> bool) -> Settlement {
    let traffic = Arc::new(Traffic::draw(1, clients, clients, messages));
    let mut tally = DeliveryLedger::new(traffic, 0..clients);
    for client in 0..clients as usize {
        tally.asked_in(client, 1);
        tally.entered(client, 2);
    }
    for index in 0..messages {
        let now = Nanos::from(index) * 10 + 10;
        tally.sent(index, now);
        for client in (0..clients).filter(|client| !lose(*client, index)) {
            tally.delivered(client as usize, index, index.into(), now + 1);
        }
    }
    settle(vec![tally]).expect("one tally")
}

#[test]
fn one_lost_pair_in_a_million_is_named() {
    let lost = Pair { client: 17, message: 7_777 };
    let settlement = all_but(100, 10_000, |client, message| Pair { client, message } == lost);
    let expected = Deliveries {
        expected: 1_000_000,
        received: 999_999,
        missing: 1,
        missing_examples: vec![lost],
        ..Deliveries::default()
    };
    assert_eq!(settlement.deliveries, expected);
    assert_eq!(settlement.sent, 10_000);
}

#[test]
fn a_message_that_nobody_got_is_missing_for_all() {
    let deliveries = all_but(5, 10, |_, message| message == 9).deliveries;
    assert_eq!((deliveries.expected, deliveries.missing, deliveries.unheard_messages), (50, 5, 1));
}

#[test]
fn numbers_that_are_not_in_the_schedule_are_counted() {
    let mut tally = DeliveryLedger::new(Arc::new(Traffic::draw(1, 1, 1, 3)), [0]);
    assert_eq!(tally.delivered(0, 3, 0, 1), Receipt::Invented);
    assert_eq!(tally.delivered(0, u32::MAX, 0, 1), Receipt::Invented);
    tally.corrupt();
    tally.foreign();
    // In the schedule, but never sent.
    assert_eq!(tally.delivered(0, 0, 5, 1), Receipt::First);
    assert_eq!(tally.delivered(0, 0, 5, 1), Receipt::Duplicate);
    let deliveries = settle(vec![tally]).expect("one tally").deliveries;
    assert_eq!((deliveries.corrupted, deliveries.foreign, deliveries.duplicated), (4, 1, 1));
    assert!(settle(Vec::new()).is_none());
}

#[test]
fn what_readers_are_told_of_is_apart_from_what_others_are() {
    let audiences = Audiences::new(3, ScopeMix::Whisper, 1, 1, 100, 1);
    for (traffic, is_whispered) in
        [(Traffic::of(vec![0; 10], 3), false), (Traffic::draw(1, 3, 3, 30).among(&audiences, 1), true)]
    {
        let traffic = Arc::new(traffic);
        let mut tally = DeliveryLedger::new(traffic.clone(), 0..3);
        for client in 0..3 {
            tally.asked_in(client, 0);
            tally.entered(client, 1);
        }
        tally.impair(2);
        let mut lost = [0; 3];
        for index in 0..traffic.messages() {
            let to_all = [0, 1, 2];
            let pair = [traffic.whispered_to(traffic.place(index).1), traffic.sender(index)];
            let hearers = if is_whispered {
                pair.map(|id| id.expect("a whisper") as usize).to_vec()
            } else {
                to_all.to_vec()
            };
            tally.sent(index, 2);
            for client in hearers {
                // The last messages come, so that nobody is behind.
                if client > 0 && index % 4 == 0 && index + 6 < traffic.messages() {
                    lost[client] += 1;
                } else {
                    tally.delivered(client, index, index.into(), 3 + Nanos::from(index));
                }
            }
        }
        let audience = (!is_whispered).then_some(WORLD);
        tally.gap(1, audience, lost[1]);
        tally.gap(2, audience, lost[2]);
        let Deliveries { missing, gaps, behind, .. } = settle(vec![tally]).expect("one").deliveries;
        assert!(lost[1] > 0 && lost[2] > behind, "{lost:?} {behind}");
        assert_eq!(missing, 0);
        assert_eq!(gaps, Gaps { told: 2, messages: lost[1] + lost[2] - behind, of_readers: lost[1] });
    }
}

#[test]
fn another_stay_has_an_order_of_its_own() {
    let mut tally = DeliveryLedger::new(Arc::new(Traffic::of(vec![0, 0, 0], 1)), [0]);
    tally.asked_in(0, 0);
    tally.entered(0, 1);
    (0..2).for_each(|index| tally.sent(index, 2));
    tally.delivered(0, 0, 1000, 3);
    tally.gone(0, 4);
    // The server came back and numbers from the start.
    tally.asked_in(0, 5);
    tally.entered(0, 6);
    tally.sent(2, 7);
    tally.delivered(0, 2, 1, 8);
    tally.delivered(0, 1, 2, 9);
    let deliveries = settle(vec![tally]).expect("one tally").deliveries;
    assert_eq!(deliveries.reordered, 1, "message 1 after message 2 of the same sender, in one stay");
}

#[test]
fn who_has_received_what_can_be_asked() {
    let audiences = Audiences::new(2, ScopeMix::Channel, 1, 0, 1, 1);
    for traffic in [Traffic::of(vec![0, 1], 2), Traffic::of(vec![0, 1], 2).among(&audiences, 1)] {
        let mut tally = DeliveryLedger::new(Arc::new(traffic), 0..2);
        tally.delivered(1, 0, 1, 5);
        let has = |client, index| tally.has_received(client, index);
        assert_eq!(
            [has(1, 0), has(0, 0), has(1, 1), has(1, 2), has(1, u32::MAX)],
            [true, false, false, false, false]
        );
    }
}

#[test]
fn only_who_sent_a_message_can_be_told_that_it_is_refused() {
    let mut tally = DeliveryLedger::new(Arc::new(Traffic::of(vec![0, 1], 2)), 0..2);
    for client in 0..2 {
        tally.asked_in(client, 0);
        tally.entered(client, 1);
    }
    tally.sent(0, 2);
    tally.sent(1, 3);
    // What was said to the wrong one, or of no message, excuses nothing.
    assert!(!tally.refused(1, 0) && !tally.refused(0, 1) && !tally.refused(0, u32::MAX));
    assert!(tally.refused(1, 1));
    let settlement = settle(vec![tally]).expect("one tally");
    let Deliveries { expected, missing, .. } = settlement.deliveries;
    assert_eq!((settlement.sent, expected, missing), (1, 2, 2));
}

#[test]
fn a_server_may_say_that_anything_was_missed() {
    let mut tally = DeliveryLedger::new(Arc::new(Traffic::of(vec![0], 1)), [0]);
    tally.asked_in(0, 0);
    tally.entered(0, 1);
    tally.sent(0, 2);
    for audience in [None, Some(WORLD)] {
        (0..3).for_each(|_| tally.gap(0, audience, u64::MAX));
    }
    let Deliveries { expected, missing, gaps, .. } = settle(vec![tally]).expect("one tally").deliveries;
    assert_eq!((expected, missing, gaps), (1, 0, Gaps { told: 6, messages: 1, of_readers: 1 }));
}
