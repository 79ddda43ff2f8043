//! Plans of many faults: the report matches the plan exactly, down to one delivery in a million.

use std::collections::BTreeSet;
use std::time::Instant;

use serde_json::{Value, json};
use throng_harness_model::results::{Deliveries, Pair};
use throng_harness_model::spec::Scenario;

use crate::stub::{Fault, Script, Stub, Walker};
use crate::{CLIENTS, MESSAGES, check, driven, job, start, start_many};

/// Messages of [`planned`], enough for all faults to combine.
const MANY: u32 = 500;

/// The first message after which there are no faults, so that held messages arrive.
const CLEAN: u32 = 490;

/// A pseudo-random number below 100, equal in every run.
fn drawn(client: u32, message: u32) -> u32 {
    let bits = (u64::from(message) << 32 | u64::from(client)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    ((bits ^ bits >> 31).wrapping_mul(0xbf58_476d_1ce4_e5b9) >> 33) as u32 % 100
}

/// A fault for every seventh delivery.
fn planned(client: u32, message: u32) -> Option<Fault> {
    match drawn(client, message) {
        _ if message >= CLEAN => None,
        0..3 => Some(Fault::Drop),
        3..6 => Some(Fault::Duplicate),
        6..9 => Some(Fault::Late),
        9..12 => Some(Fault::Damage),
        12..14 => Some(Fault::Renumber),
        _ => None,
    }
}

fn leaks(message: u32) -> bool {
    message % 50 == 3
}

fn refuses_message(message: u32) -> bool {
    message % 100 == 60
}

/// The pairs of the plan that fulfill `of`, without refused messages.
fn pairs(of: impl Fn(u32, u32) -> bool) -> Vec<(u32, u32)> {
    let all = (0..CLIENTS as u32).flat_map(|client| (0..MANY).map(move |message| (client, message)));
    all.filter(|(_, message)| !refuses_message(*message))
        .filter(|(client, message)| of(*client, *message))
        .collect()
}

#[test]
fn a_plan_of_all_faults_is_reported_exactly() {
    let is = |fault| move |client, message| planned(client, message) == Some(fault);
    let count = |fault| pairs(is(fault)).len() as u64;
    let renumbered: BTreeSet<u32> =
        pairs(is(Fault::Renumber)).into_iter().map(|(_, message)| message).collect();
    // Another client received each renumbered message under its own number.
    let has_its_own = |message: &u32| {
        (0..CLIENTS as u32).any(|client| matches!(planned(client, *message), None | Some(Fault::Duplicate)))
    };
    assert!(renumbered.iter().all(has_its_own));
    let missing =
        pairs(|client, message| matches!(planned(client, message), Some(Fault::Drop | Fault::Damage)));
    let sent = u64::from((0..MANY).filter(|message| !refuses_message(*message)).count() as u32);
    let received = sent * CLIENTS - missing.len() as u64;
    let fast = "--interval 2ms --duration 1s --drain 4s";
    let slow = "--interval 4ms --duration 2s --drain 20s";
    for (more, pieces) in [
        (format!("{fast} --workers 1"), None),
        (format!("{fast} --workers 3"), None),
        // In other pieces the results are the same, but take longer.
        (format!("{slow} --workers 2"), Some(6)),
    ] {
        let stub =
            Stub::start(Script { fault: planned, leaks, refuses_message, pieces, ..Script::default() });
        let ended = start(&stub, "broadcast", &format!("--warmup 20ms --senders 5 {more}")).end();
        ended.expect(
            3,
            &[
                ("/sent", sent),
                ("/clients/reasons/message refused: NotAMember", u64::from(MANY) - sent),
                ("/deliveries/expected", sent * CLIENTS),
                ("/deliveries/received", received),
                ("/deliveries/missing", missing.len() as u64),
                ("/deliveries/duplicated", count(Fault::Duplicate)),
                ("/deliveries/reordered", count(Fault::Late)),
                ("/deliveries/corrupted", count(Fault::Damage)),
                ("/deliveries/inconsistent", renumbered.len() as u64),
                ("/deliveries/leaked", (0..MANY).filter(|message| leaks(*message)).count() as u64),
                ("/deliveries/indeterminate", 0),
                ("/latency_us/count", received),
                ("/fairness/clients", CLIENTS),
            ],
        );
        let first = missing.iter().take(10);
        let named: Vec<Value> =
            first.map(|(client, message)| json!({"client": client, "message": message})).collect();
        assert_eq!(ended.json["deliveries"]["missing_examples"], Value::from(named), "{ended}");
    }
}

#[test]
fn one_fault_of_each_kind_among_a_million_deliveries() {
    let fault = |client, message| match (client, message) {
        (42, 5_000) => Some(Fault::Drop),
        (17, 7_777) => Some(Fault::Duplicate),
        (99, 1_234) => Some(Fault::Late),
        _ => None,
    };
    let stub = Stub::start(Script { fault, leaks: |message| message == 4_321, ..Script::default() });
    // A closed loop adapts to the speed of the machine.
    let mut job = job(
        &stub,
        "broadcast",
        "--clients 100 --seed 1 --warmup 20ms --drain 10s --connect-interval 0s --duration 120s",
    );
    let Scenario::Broadcast(broadcast) = &mut job.scenario else { panic!("{job:?}") };
    (broadcast.ahead, broadcast.messages) = (Some(100), 10_000);
    let begun = Instant::now();
    let found = driven(&job);
    println!("a million deliveries took {:?}", begun.elapsed());
    let expected = Deliveries {
        expected: 1_000_000,
        received: 999_999,
        missing: 1,
        duplicated: 1,
        reordered: 1,
        leaked: 1,
        missing_examples: vec![Pair { client: 42, message: 5_000 }],
        ..Deliveries::default()
    };
    assert_eq!((found.sent, found.deliveries), (10_000, Some(expected)));
    assert_eq!((found.recorder.corrected.count(), found.clients.disconnected), (999_999, 0));
}

#[test]
fn a_message_to_another_client_than_its_recipients_has_leaked() {
    // Of two clients in different channels, each message has one as a recipient.
    let leaks_to = |client, message| message % 30 == 7 && (client == 3 || client == 4);
    let numbers = [
        ("/deliveries/expected", CLIENTS / 2 * MESSAGES),
        ("/deliveries/received", CLIENTS / 2 * MESSAGES),
        ("/deliveries/leaked", 2),
    ];
    let script = Script { leaks_to, ..Script::default() };
    check(script, "--scope channel --channels 2", 3, &numbers);
    // A whisper to all clients reaches six that are not recipients.
    let script = Script { leaks_to: |_, message| message % 20 == 5, ..Script::default() };
    let numbers = [
        ("/deliveries/expected", 2 * MESSAGES),
        ("/deliveries/received", 2 * MESSAGES),
        ("/deliveries/leaked", 3 * (CLIENTS - 2)),
    ];
    check(script, "--scope whisper", 3, &numbers);
}

/// Planned delay in milliseconds.
const HELD: u64 = 1_000;

/// The most that a busy machine adds to it, in microseconds.
const BUSY: f64 = 400_000.0;

#[test]
fn planned_delays_are_measured() {
    // One delivery in 16 is held without holding up later ones, and so is reordered.
    let fault = |client, message| (client % 2 == 0 && message % 8 == 1).then_some(Fault::Hold(HELD));
    let traffic = "--interval 5ms --duration 1s --warmup 20ms --senders 1";
    let ended = start(&Stub::start(Script { fault, ..Script::default() }), "broadcast", traffic).end();
    let held = CLIENTS / 2 * 200 / 8;
    ended.expect(3, &[("/deliveries/missing", 0), ("/deliveries/received", 200 * CLIENTS)]);
    ended.expect(3, &[("/deliveries/reordered", held), ("/deliveries/inconsistent", 0)]);
    let planned = HELD as f64 * 1e3;
    let near = planned * 0.999..planned + BUSY;
    // 1/16 is between 1 % and 10 %.
    assert!(near.contains(&ended.micros("/latency_us/p99")), "{ended}");
    let p90 = ended.micros("/latency_us/p90");
    assert!(p90 < BUSY, "{ended}");
    // One message in eight has a held last recipient.
    assert!(near.contains(&ended.micros("/last_recipient_us/p90")), "{ended}");
    assert!(ended.micros("/last_recipient_us/p50") < BUSY, "{ended}");
    assert!(ended.micros("/first_recipient_us/p99") < BUSY, "{ended}");
    let mean = ended.micros("/latency_us/mean") - planned / 16.0;
    assert!((0.0..20_000.0 + p90).contains(&mean), "{mean} beside the planned delay\n{ended}");
}

#[test]
fn the_client_that_is_always_served_last_is_named() {
    // Client 7 is alone in its group by entry, and on an event loop with two others.
    let fault = |client, _| (client == 7).then_some(Fault::Hold(HELD));
    let script = Script { fault, shard: |client| u8::from(client >= 5), ..Script::default() };
    let traffic = "--interval 5ms --duration 300ms --warmup 20ms --workers 2";
    let ended = start(&Stub::start(script), "broadcast", traffic).end();
    ended.expect(
        0,
        &[
            ("/deliveries/missing", 0),
            ("/deliveries/reordered", 0),
            ("/fairness/clients", CLIENTS),
            ("/fairness/slowest/client", 7),
            ("/fairness/by_shard/0/clients", 5),
            ("/fairness/by_shard/1/clients", 3),
        ],
    );
    let planned = HELD as f64 * 1e3;
    let of = |pointer: &str| ended.micros(&format!("/fairness{pointer}"));
    assert!((planned..planned + BUSY).contains(&of("/slowest/mean_us")), "{ended}");
    assert!(of("/slowest/max_us") >= of("/slowest/mean_us"), "{ended}");
    let groups = ended.json["fairness"]["by_entry"].as_array().unwrap();
    let longest = groups.iter().filter_map(|group| group["mean_us"].as_f64()).fold(0.0, f64::max);
    assert!(groups.len() == 8 && (longest - of("/slowest/mean_us")).abs() < 0.2, "{ended}");
    assert!(of("/p50_us") < BUSY && of("/by_entry_ratio") > 2.0, "{ended}");
    // A third of the clients on its loop are held, and none on the other.
    let gap = of("/by_shard/1/mean_us") - of("/by_shard/0/mean_us") - planned / 3.0;
    assert!(gap.abs() < planned / 6.0, "{gap}\n{ended}");
    // Jain's index is 1/8 if the other clients do not wait at all, and nears 1 the more they do.
    assert!((0.12..0.9).contains(&of("/jain")), "{ended}");
    assert!(ended.stdout.contains("slowest over fastest entry group (group "), "{ended}");
    assert!(ended.stdout.contains(" of 8)"), "{ended}");
}

/// Twenty clients send and twenty walk, on seven by seven sectors.
const WALK: &str =
    "--scope nearby --sectors 49 --moves 500/s --interval 2ms --duration 3s --warmup 20ms --drain 20s";

#[test]
fn walkers_get_what_is_due() {
    for more in [
        WALK,
        &format!("{WALK} --workers 3"),
        "--scope mixed --sectors 16 --channels 3 --moves 300/s --churn 200/s --interval 2ms --duration 2s",
    ] {
        let ended = start_many(&Stub::start(Script::default()), 40, "broadcast", more).end();
        ended.expect(
            0,
            &[("/deliveries/missing", 0), ("/deliveries/leaked", 0), ("/deliveries/corrupted", 0)],
        );
        let [made, skipped, expected, indeterminate] =
            ["/moves/made", "/moves/skipped", "/deliveries/expected", "/deliveries/indeterminate"]
                .map(|pointer| ended.number(pointer));
        // The schedule decides the turns, the machine how many find their client still on the move.
        assert!(made + skipped > 400 && made > 10, "{ended}");
        // Half of the clients stand, which decides their pairs however long a move takes.
        assert!(expected > 2_000 && indeterminate < expected, "{ended}");
        assert!(ended.stdout.contains("moves       "), "{ended}");
    }
}

#[test]
fn messages_lost_by_and_leaked_to_walkers_are_counted() {
    // One step out of the sender's sector stays nearby. One step from three sectors away does not
    // get nearby.
    let walker = |message: u32, distance| match (message % 5, distance) {
        (2, 0) => Walker::Drop,
        (4, 3..) => Walker::Leak,
        _ => Walker::Fair,
    };
    for workers in [1, 2] {
        let stub = Stub::start(Script { walker, ..Script::default() });
        let ended = start_many(&stub, 40, "broadcast", &format!("{WALK} --workers {workers}")).end();
        let seen = stub.seen();
        assert!(seen.walkers_lost > 10 && seen.walkers_leaked > 500, "{seen:?}");
        assert_eq!(ended.code, Some(3), "{ended}");
        let number = |name: &str| ended.number(&format!("/deliveries/{name}"));
        // A walker makes a step every 40 ms. While a message is on its way for long, on a busy
        // machine, it can make several, and then whether it was due is undecided.
        let is_quick = ended.micros("/latency_us/max") < 10_000.0;
        let undecided = |name: &str| if is_quick { 0 } else { number(name) };
        let received = undecided("indeterminate_received");
        for (planned, found, undecided) in [
            (seen.walkers_lost, number("missing"), undecided("indeterminate") - received),
            (seen.walkers_leaked, number("leaked"), received),
        ] {
            assert!((found..=found + undecided).contains(&planned), "{planned} and {found}\n{ended}");
        }
    }
}
