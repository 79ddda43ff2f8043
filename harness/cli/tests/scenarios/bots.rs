//! Bots: their conversation is known in advance, and every delivery is accounted for.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use throng_harness_model::bots::{Manner, Pauses, Script as Conversation};
use throng_harness_model::spec::Scenario;

use crate::stub::{Fault, Script, Stub};
use crate::{Ended, Run, binary, driven, job};

const BOTS: u32 = 10;
const SEED: u64 = 11;

fn start(stub: &Stub, more: &str) -> Run {
    let entrance = if more.contains("--login") { "login" } else { "bots" };
    Run::spawn(&mut binary(), "bots", stub.flags(entrance), &format!("--seed {SEED} {more}"))
}

/// The conversation of bots with pauses from `min` to `max` milliseconds.
fn conversation(min: u64, max: u64, seconds: u64) -> Conversation {
    let pauses = Pauses { min: Duration::from_millis(min), max: Duration::from_millis(max) };
    let manner = Manner { pauses, ..Manner::default() };
    Conversation::draw(SEED, BOTS, manner, Duration::from_secs(seconds))
}

/// The sum of all counts in a map of the report's part about bots.
fn sum(ended: &Ended, map: &str) -> u64 {
    let counts = ended.json["bots"][map].as_object().unwrap();
    counts.values().map(|count| count["messages"].as_u64().or(count.as_u64()).unwrap()).sum()
}

#[test]
fn every_bot_receives_every_message_and_some_answer() {
    let stub = Stub::start(Script::default());
    let conversation = conversation(50, 250, 2);
    let ended = start(&stub, "--pauses 50ms..250ms --duration 2s").end();
    let unprovoked = ended.number("/bots/reactions/unprovoked");
    let messages = u64::from(conversation.messages()) - unprovoked;
    let bots = u64::from(BOTS);
    ended.expect(
        0,
        &[
            ("/clients/connected", bots),
            ("/sent", messages),
            ("/deliveries/received", messages * bots),
            ("/deliveries/missing", 0),
            ("/deliveries/corrupted", 0),
            ("/deliveries/reordered", 0),
            ("/latency_us/count", messages * bots),
            ("/last_recipient_us/count", messages),
        ],
    );
    assert_eq!(["personalities", "topics", "languages"].map(|map| sum(&ended, map)), [messages; 3]);
    let answers = ended.number("/bots/reactions/sent");
    assert!(answers > 0 && answers == ended.number("/bots/topics/reactions"), "{ended}");
    let planned = (0..conversation.messages()).filter(|index| conversation.answers(*index).is_some()).count();
    assert_eq!(answers + unprovoked, planned as u64);
    let rate = |name: &str| ended.json["rates"][name].as_f64().unwrap();
    assert!(rate("achieved_per_s") > 0.5 * rate("offered_per_s"), "{ended}");
    assert!((rate("offered_per_s") - messages as f64 / 2.0).abs() < 0.1, "{ended}");
    assert!(ended.stdout.contains("not sent (message to answer not received in time)"), "{ended}");
}

/// The (client, message) pair that the stub drops.
static DROPPED: [AtomicU32; 2] = [AtomicU32::new(u32::MAX), AtomicU32::new(u32::MAX)];

#[test]
fn a_bot_does_not_answer_a_message_it_missed() {
    let conversation = conversation(300, 1_500, 3);
    let answers = |index: &u32| conversation.answers(*index).map(|answered| (*index, answered));
    let (answer, answered) = (0..conversation.messages()).find_map(|index| answers(&index)).unwrap();
    let bot = conversation.traffic().sender(answer).unwrap();
    DROPPED[0].store(bot, Ordering::Relaxed);
    DROPPED[1].store(answered, Ordering::Relaxed);
    let fault = |client, message| {
        let is_it = [client, message] == DROPPED.each_ref().map(|number| number.load(Ordering::Relaxed));
        is_it.then_some(Fault::Drop)
    };
    let stub = Stub::start(Script { fault, ..Script::default() });
    let ended = start(&stub, "--pauses 300ms..1500ms --duration 3s --drain 1s").end();
    let unprovoked = ended.number("/bots/reactions/unprovoked");
    // On a busy machine other messages arrive late, too.
    assert!(unprovoked >= 1, "{ended}");
    ended.expect(
        3,
        &[
            ("/sent", u64::from(conversation.messages()) - unprovoked),
            ("/deliveries/missing", 1),
            ("/deliveries/missing_examples/0/client", bot.into()),
            ("/deliveries/missing_examples/0/message", answered.into()),
        ],
    );
}

#[test]
fn bots_enter_as_players() {
    let stub = Stub::start(Script { later: 3, ..Script::default() });
    let ended =
        start(&stub, "--login --pauses 50ms..250ms --duration 1s --language ko --workers 2 --processes 2")
            .end();
    let bots = u64::from(BOTS);
    ended.expect(
        0,
        &[
            ("/clients/connected", bots),
            ("/clients/retries/TryAgainLater", 3),
            ("/phases_us/sign_up/count", bots),
            ("/phases_us/log_in/count", bots),
            ("/deliveries/missing", 0),
            ("/deliveries/leaked", 0),
            ("/bots/languages/en", 0),
        ],
    );
    assert_eq!(u64::from(stub.seen().sign_ups), bots + ended.number("/clients/retries/TryAgainLater"));
    assert!(ended.number("/sent") > 20, "{ended}");
}

#[test]
fn leaks_are_detected_when_bots_enter_as_players() {
    let stub = Stub::start(Script { leaks: |message| message == 2, ..Script::default() });
    let ended = start(&stub, "--login --pauses 50ms..250ms --duration 1s").end();
    ended.expect(3, &[("/deliveries/leaked", 1), ("/deliveries/missing", 0)]);
}

#[test]
fn an_endless_conversation_ends_with_ctrl_c() {
    let stub = Stub::start(Script::default());
    let run = start(&stub, "--preset persistent --clients 10 --pauses 50ms..250ms --duration 10m");
    stub.wait_for_messages(20);
    kill_process(Pid::from_child(&run.child), Signal::INT).unwrap();
    let ended = run.end();
    ended.expect(130, &[("/deliveries/missing", 0), ("/clients/disconnected", 0)]);
    assert_eq!(ended.number("/deliveries/received"), ended.number("/sent") * u64::from(BOTS));
    assert!(ended.number("/sent") >= 20 && sum(&ended, "topics") == ended.number("/sent"), "{ended}");
}

// No command line is as short, but a step may be.
#[test]
fn a_conversation_without_messages_ends() {
    let stub = Stub::start(Script::default());
    let mut job = job(&stub, "bots", "--clients 3 --seed 1");
    let Scenario::Bots(bots) = &mut job.scenario else { panic!("{job:?}") };
    bots.duration = Duration::from_nanos(1);
    let found = driven(&job);
    assert_eq!((found.sent, found.clients.connected, found.clients.disconnected), (0, 3, 0));
    assert_eq!(found.incomplete_because, Vec::<String>::new());
    assert!(found.measured < Duration::from_secs(10), "{:?}", found.measured);
}
