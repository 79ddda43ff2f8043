//! The accounting, against a naive model that keeps every event and every pair.

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
    EnterRequested(u32),
    Entered(u32),
    LeaveRequested(u32),
    Gone(u32),
    Sent(u32),
    Delivered { client: u32, index: u32, sequence: u64 },
}

/// Behavior of a simulated server and its clients; shares are out of 1,000.
#[derive(Debug, Clone, Copy)]
struct Behavior {
    seed: u64,
    clients: u32,
    messages: u32,
    senders: u32,
    /// Share of steps in which a client enters, leaves or is lost.
    churn: u32,
    /// Shares of pairs.
    drop: u32,
    duplicate: u32,
    leak: u32,
    /// Share of deliveries that overtake others.
    overtake: u32,
    /// Shares of messages that are not sent, or renumbered for some recipients.
    unsent: u32,
    renumber: u32,
}

/// Returns the events of a run in order of time; the time of an event is its index.
fn simulate(behavior: &Behavior, traffic: &Traffic) -> Vec<Event> {
    let mut rng = Xoshiro256PlusPlus::seed_from_u64(behavior.seed);
    let mut events = Vec::new();
    // 0 outside, 1 enter requested, 2 inside, 3 leave requested.
    let mut state = vec![0; behavior.clients as usize];
    let mut queue: Vec<Event> = Vec::new();
    if rng.random_bool(0.8) {
        events.extend((0..behavior.clients).map(Event::EnterRequested));
        events.extend((0..behavior.clients).map(Event::Entered));
        state.fill(2);
    }
    let mut next = 0;
    while next < behavior.messages || !queue.is_empty() {
        let chance = |rng: &mut Xoshiro256PlusPlus, share| rng.random_range(0..1000) < share;
        if chance(&mut rng, behavior.churn) {
            let client = rng.random_range(0..behavior.clients);
            let lost = rng.random_bool(0.3);
            let (event, then) = match state[client as usize] {
                0 => (Event::EnterRequested(client), 1),
                1..3 if lost => (Event::Gone(client), 0),
                1 => (Event::Entered(client), 2),
                2 => (Event::LeaveRequested(client), 3),
                _ => (Event::Gone(client), 0),
            };
            state[client as usize] = then;
            events.push(event);
        }
        if next < behavior.messages && (queue.len() < 20 || rng.random_bool(0.3)) {
            if !chance(&mut rng, behavior.unsent) {
                events.push(Event::Sent(next));
            }
            let mut sequence = 1000 + u64::from(next) * 2;
            for client in 0..behavior.clients {
                if chance(&mut rng, behavior.renumber) {
                    sequence -= rng.random_range(1..5);
                }
                let arrives = if state[client as usize] == 2 {
                    !chance(&mut rng, behavior.drop)
                } else {
                    chance(&mut rng, behavior.leak)
                };
                let copies = u32::from(arrives) * (1 + u32::from(chance(&mut rng, behavior.duplicate)));
                queue.extend((0..copies).map(|_| Event::Delivered { client, index: next, sequence }));
            }
            debug_assert!(traffic.sender(next).is_some());
            next += 1;
        } else if !queue.is_empty() {
            let reach = if chance(&mut rng, behavior.overtake) { queue.len() } else { 1 };
            events.push(queue.remove(rng.random_range(0..reach)));
        }
    }
    events
}

/// Runs the events through the ledgers of several workers.
fn account(events: &[Event], traffic: &Arc<Traffic>, clients: u32, workers: u32) -> Settlement {
    let mut ledgers: Vec<DeliveryLedger> = (0..workers)
        .map(|worker| DeliveryLedger::new(traffic.clone(), (worker..clients).step_by(workers as usize)))
        .collect();
    for (now, event) in events.iter().enumerate() {
        let now = now as Nanos;
        let place = |client: u32| ((client % workers) as usize, (client / workers) as usize);
        match *event {
            Event::EnterRequested(client) => ledgers[place(client).0].entry_requested(place(client).1, now),
            Event::Entered(client) => ledgers[place(client).0].entered(place(client).1, now),
            Event::LeaveRequested(client) => ledgers[place(client).0].exit_requested(place(client).1, now),
            Event::Gone(client) => ledgers[place(client).0].session_ended(place(client).1, now),
            Event::Sent(index) => {
                let sender = traffic.sender(index).expect("scheduled");
                ledgers[place(sender).0].sent(index, now);
            }
            Event::Delivered { client, index, sequence } => {
                ledgers[place(client).0].delivered(place(client).1, index, sequence, now);
            }
        }
    }
    settle(ledgers).expect("at least one worker")
}

#[derive(Debug, Default)]
struct Stay {
    requested: Nanos,
    entered: Option<Nanos>,
    leave_requested: Option<Nanos>,
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
        let still_there = match (self.leave_requested, self.gone) {
            (Some(requested), _) => all_before(requested),
            (None, Some(lost)) => sent < lost,
            (None, None) => true,
        };
        if entered_before && still_there {
            Verdict::In
        } else if handled.is_some_and(|handled| handled < self.requested)
            || self.gone.is_some_and(|gone| sent >= gone)
        {
            Verdict::Out
        } else {
            Verdict::Unknown
        }
    }
}

/// Computes the result pair by pair.
fn model(events: &[Event], traffic: &Traffic, clients: u32) -> Deliveries {
    let mut stays: BTreeMap<u32, Vec<Stay>> = (0..clients).map(|client| (client, Vec::new())).collect();
    let mut sent: BTreeMap<u32, Nanos> = BTreeMap::new();
    let mut first: HashMap<u32, Nanos> = HashMap::new();
    let mut numbers: HashMap<u32, HashSet<u64>> = HashMap::new();
    let mut pairs: HashSet<(u32, u32)> = HashSet::new();
    let mut current_stay: HashMap<u32, (u32, u64)> = HashMap::new();
    let mut result = Deliveries::default();
    for (now, event) in events.iter().enumerate() {
        let now = now as Nanos;
        match *event {
            Event::EnterRequested(client) => {
                stays.entry(client).or_default().push(Stay { requested: now, ..Stay::default() });
                current_stay.remove(&client);
            }
            Event::Entered(client) => stays.get_mut(&client).unwrap().last_mut().unwrap().entered = Some(now),
            Event::LeaveRequested(client) => {
                stays.get_mut(&client).unwrap().last_mut().unwrap().leave_requested = Some(now);
            }
            Event::Gone(client) => stays.get_mut(&client).unwrap().last_mut().unwrap().gone = Some(now),
            Event::Sent(index) => drop(sent.insert(index, now)),
            Event::Delivered { client, index, sequence } => {
                if !pairs.insert((client, index)) {
                    result.duplicated += 1;
                    continue;
                }
                let bounds = current_stay.entry(client).or_default();
                let (ceiling, highest) = *bounds;
                let overtaken = highest > sequence;
                let wrong_way = (index + 1..=ceiling).any(|later| {
                    traffic.sender(later) == traffic.sender(index) && pairs.contains(&(client, later))
                });
                result.reordered += u64::from(overtaken || wrong_way);
                *bounds = (ceiling.max(index), highest.max(sequence));
                first.entry(index).or_insert(now);
                numbers.entry(index).or_default().insert(sequence);
            }
        }
    }
    let mut handled: HashMap<u32, Nanos> = HashMap::new();
    for (index, at) in &first {
        // The sender of this message had sent all its earlier ones before.
        for earlier in (0..=*index).filter(|earlier| traffic.sender(*earlier) == traffic.sender(*index)) {
            handled.entry(earlier).and_modify(|known| *known = *at.min(known)).or_insert(*at);
        }
    }
    for (index, at) in &sent {
        let handled = handled.get(index).copied();
        for (client, stays) in &stays {
            let verdicts: Vec<_> = stays.iter().map(|stay| stay.verdict(*at, handled)).collect();
            let received = u64::from(pairs.contains(&(*client, *index)));
            if verdicts.contains(&Verdict::In) {
                result.expected += 1;
                result.received += received;
                result.missing += 1 - received;
            } else if verdicts.contains(&Verdict::Unknown) {
                result.indeterminate += 1;
                result.indeterminate_received += received;
            } else {
                result.leaked += received;
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

fn check(behavior: &Behavior, workers: u32) -> Result<(), TestCaseError> {
    let traffic =
        Arc::new(Traffic::draw(behavior.seed, behavior.clients, behavior.senders, behavior.messages));
    let events = simulate(behavior, &traffic);
    let settlement = account(&events, &traffic, behavior.clients, workers);
    let mut deliveries = settlement.deliveries;
    let shown = std::mem::take(&mut deliveries.missing_examples);
    prop_assert_eq!(shown.len() as u64, deliveries.missing.min(10));
    prop_assert_eq!(deliveries, model(&events, &traffic, behavior.clients));
    Ok(())
}

/// Returns a share that is mostly 0, sometimes small, sometimes large.
fn share() -> impl Strategy<Value = u32> {
    prop_oneof![3 => Just(0_u32), 2 => 0_u32..30, 1 => 0_u32..600]
}

fn behavior(messages: std::ops::Range<u32>) -> impl Strategy<Value = Behavior> {
    let size = (any::<u64>(), 1_u32..6, 1_u32..6, messages);
    let faults = (share(), share(), share(), share(), share(), share(), share());
    (size, faults).prop_map(
        |((seed, clients, senders, messages), (churn, drop, duplicate, leak, overtake, unsent, renumber))| {
            Behavior {
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
    fn the_accounting_agrees_with_the_model(behavior in behavior(1..60), workers in 1_u32..4) {
        check(&behavior, workers)?;
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 16, ..ProptestConfig::default() })]
    #[test]
    fn the_accounting_agrees_with_the_model_over_many_blocks(behavior in behavior(500..1600), workers in 1_u32..4) {
        check(&behavior, workers)?;
    }
}

/// Ensures that the properties above are tested with every fault.
#[test]
fn the_simulation_makes_every_fault() {
    let behavior = Behavior {
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
    let traffic = Traffic::draw(behavior.seed, behavior.clients, behavior.senders, behavior.messages);
    let found = model(&simulate(&behavior, &traffic), &traffic, behavior.clients);
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

/// Settles a run in which all clients are members and get every message, except for the pairs for
/// which `lose` returns true.
fn all_except(clients: u32, messages: u32, lose: impl Fn(u32, u32) -> bool) -> Settlement {
    let traffic = Arc::new(Traffic::draw(1, clients, clients, messages));
    let mut ledger = DeliveryLedger::new(traffic, 0..clients);
    for client in 0..clients as usize {
        ledger.entry_requested(client, 1);
        ledger.entered(client, 2);
    }
    for index in 0..messages {
        let now = Nanos::from(index) * 10 + 10;
        ledger.sent(index, now);
        for client in (0..clients).filter(|client| !lose(*client, index)) {
            ledger.delivered(client as usize, index, index.into(), now + 1);
        }
    }
    settle(vec![ledger]).expect("one ledger")
}

#[test]
fn one_lost_pair_in_a_million_is_named() {
    let lost = Pair { client: 17, message: 7_777 };
    let settlement = all_except(100, 10_000, |client, message| Pair { client, message } == lost);
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
fn a_message_that_no_client_received_is_missing_for_all() {
    let deliveries = all_except(5, 10, |_, message| message == 9).deliveries;
    assert_eq!((deliveries.expected, deliveries.missing, deliveries.unheard_messages), (50, 5, 1));
}

#[test]
fn numbers_that_are_not_in_the_schedule_are_counted() {
    let mut ledger = DeliveryLedger::new(Arc::new(Traffic::draw(1, 1, 1, 3)), [0]);
    assert_eq!(ledger.delivered(0, 3, 0, 1), Receipt::Invented);
    assert_eq!(ledger.delivered(0, u32::MAX, 0, 1), Receipt::Invented);
    ledger.corrupt();
    ledger.foreign();
    // In the schedule, but never sent.
    assert_eq!(ledger.delivered(0, 0, 5, 1), Receipt::First);
    assert_eq!(ledger.delivered(0, 0, 5, 1), Receipt::Duplicate);
    let deliveries = settle(vec![ledger]).expect("one ledger").deliveries;
    assert_eq!((deliveries.corrupted, deliveries.foreign, deliveries.duplicated), (4, 1, 1));
    assert!(settle(Vec::new()).is_none());
}

#[test]
fn announced_gaps_of_readers_and_impaired_clients_are_separate() {
    let audiences = Audiences::new(3, ScopeMix::Whisper, 1, 1, 100, 1);
    for (traffic, is_whispered) in
        [(Traffic::of(vec![0; 10], 3), false), (Traffic::draw(1, 3, 3, 30).among(&audiences, 1), true)]
    {
        let traffic = Arc::new(traffic);
        let mut ledger = DeliveryLedger::new(traffic.clone(), 0..3);
        for client in 0..3 {
            ledger.entry_requested(client, 0);
            ledger.entered(client, 1);
        }
        ledger.impair(2);
        let mut lost = [0; 3];
        for index in 0..traffic.messages() {
            let to_all = [0, 1, 2];
            let pair = [traffic.whispered_to(traffic.place(index).1), traffic.sender(index)];
            let recipients = if is_whispered {
                pair.map(|id| id.expect("a whisper") as usize).to_vec()
            } else {
                to_all.to_vec()
            };
            ledger.sent(index, 2);
            for client in recipients {
                // The last messages arrive, so that no client is behind.
                if client > 0 && index % 4 == 0 && index + 6 < traffic.messages() {
                    lost[client] += 1;
                } else {
                    ledger.delivered(client, index, index.into(), 3 + Nanos::from(index));
                }
            }
        }
        let audience = (!is_whispered).then_some(WORLD);
        ledger.gap(1, audience, lost[1]);
        ledger.gap(2, audience, lost[2]);
        let Deliveries { missing, gaps, behind, .. } = settle(vec![ledger]).expect("one").deliveries;
        assert!(lost[1] > 0 && lost[2] > behind, "{lost:?} {behind}");
        assert_eq!(missing, 0);
        assert_eq!(gaps, Gaps { told: 2, messages: lost[1] + lost[2] - behind, of_readers: lost[1] });
    }
}

#[test]
fn another_stay_has_an_order_of_its_own() {
    let mut ledger = DeliveryLedger::new(Arc::new(Traffic::of(vec![0, 0, 0], 1)), [0]);
    ledger.entry_requested(0, 0);
    ledger.entered(0, 1);
    (0..2).for_each(|index| ledger.sent(index, 2));
    ledger.delivered(0, 0, 1000, 3);
    ledger.session_ended(0, 4);
    // The server restarted and numbers from the start.
    ledger.entry_requested(0, 5);
    ledger.entered(0, 6);
    ledger.sent(2, 7);
    ledger.delivered(0, 2, 1, 8);
    ledger.delivered(0, 1, 2, 9);
    let deliveries = settle(vec![ledger]).expect("one ledger").deliveries;
    assert_eq!(deliveries.reordered, 1, "message 1 after message 2 of the same sender, in one stay");
}

/// A client is cut after three of ten messages, and is given `after` once it is back.
#[track_caller]
fn check_cut(after: &[u32], gap: u64, [missing, duplicated, reordered, of_readers]: [u64; 4]) {
    let mut ledger = DeliveryLedger::new(Arc::new(Traffic::of(vec![0; 10], 1)), 0..2);
    for client in 0..2 {
        ledger.entry_requested(client, 0);
        ledger.entered(client, 1);
    }
    for index in 0..10 {
        ledger.sent(index, 2);
        ledger.delivered(0, index, index.into(), 3 + Nanos::from(index));
    }
    (0..3).for_each(|index| assert_eq!(ledger.delivered(1, index, index.into(), 20), Receipt::First));
    if gap > 0 {
        ledger.gap(1, Some(WORLD), gap);
    }
    for index in after {
        ledger.delivered(1, *index, u64::from(*index), 99);
    }
    let Deliveries { expected, missing: lost, duplicated: copies, reordered: late, gaps, .. } =
        settle(vec![ledger]).expect("one ledger").deliveries;
    assert_eq!(
        (expected, [lost, copies, late, gaps.of_readers]),
        (20, [missing, duplicated, reordered, of_readers])
    );
}

#[test]
fn the_account_of_a_cut_client_goes_on() {
    check_cut(&[3, 4, 5, 6, 7, 8, 9], 0, [0, 0, 0, 0]);
    // What was under way at the cut does not come again, or comes twice, or late.
    check_cut(&[5, 6, 7, 8, 9], 0, [2, 0, 0, 0]);
    check_cut(&[2, 3, 4, 5, 6, 7, 8, 9], 0, [0, 1, 0, 0]);
    check_cut(&[4, 5, 3, 6, 7, 8, 9], 0, [0, 0, 1, 0]);
    check_cut(&[5, 6, 7, 8, 9], 2, [0, 0, 0, 2]);
}

#[test]
fn receipt_of_a_message_can_be_queried() {
    let audiences = Audiences::new(2, ScopeMix::Channel, 1, 0, 1, 1);
    for traffic in [Traffic::of(vec![0, 1], 2), Traffic::of(vec![0, 1], 2).among(&audiences, 1)] {
        let mut ledger = DeliveryLedger::new(Arc::new(traffic), 0..2);
        ledger.delivered(1, 0, 1, 5);
        let has = |client, index| ledger.has_received(client, index);
        assert_eq!(
            [has(1, 0), has(0, 0), has(1, 1), has(1, 2), has(1, u32::MAX)],
            [true, false, false, false, false]
        );
    }
}

#[test]
fn only_the_sender_can_have_its_message_refused() {
    let mut ledger = DeliveryLedger::new(Arc::new(Traffic::of(vec![0, 1], 2)), 0..2);
    for client in 0..2 {
        ledger.entry_requested(client, 0);
        ledger.entered(client, 1);
    }
    ledger.sent(0, 2);
    ledger.sent(1, 3);
    // A refusal to another client, or of an unknown message, excuses nothing.
    assert!(!ledger.refused(1, 0) && !ledger.refused(0, 1) && !ledger.refused(0, u32::MAX));
    assert!(ledger.refused(1, 1));
    let settlement = settle(vec![ledger]).expect("one ledger");
    let Deliveries { expected, missing, .. } = settlement.deliveries;
    assert_eq!((settlement.sent, expected, missing), (1, 2, 2));
}

#[test]
fn announced_gaps_saturate() {
    let mut ledger = DeliveryLedger::new(Arc::new(Traffic::of(vec![0], 1)), [0]);
    ledger.entry_requested(0, 0);
    ledger.entered(0, 1);
    ledger.sent(0, 2);
    for audience in [None, Some(WORLD)] {
        (0..3).for_each(|_| ledger.gap(0, audience, u64::MAX));
    }
    let Deliveries { expected, missing, gaps, .. } = settle(vec![ledger]).expect("one ledger").deliveries;
    assert_eq!((expected, missing, gaps), (1, 0, Gaps { told: 6, messages: 1, of_readers: 1 }));
}
