//! Channels, positions and whispers, churn, and clients that do not read, against the stub.

use crate::stub::{Fault, Script, Stub};
use crate::{CLIENTS, Ended, MESSAGES, TRAFFIC, check, start};

/// Four of eight clients are in each of two channels.
const CHANNELS: &str = "--scope channel --channels 2";

#[track_caller]
fn check_channels(script: Script, more: &str, code: i32, changed: &[(&str, u64)]) -> Ended {
    let all = CLIENTS / 2 * MESSAGES;
    let mut numbers = vec![("/deliveries/expected", all), ("/deliveries/received", all)];
    numbers.extend(changed);
    check(script, &format!("{CHANNELS} {more}"), code, &numbers)
}

#[test]
fn a_channels_messages_reach_its_members() {
    let ended = check_channels(Script::default(), "", 0, &[]);
    assert_eq!(ended.number("/latency_us/count"), CLIENTS / 2 * MESSAGES);
    assert!(
        ended.json["traffic"].is_string() && ended.json["traffic"] == ended.json["traffic_sent"],
        "{ended}"
    );
    check_channels(Script::default(), "--workers 3 --senders 2", 0, &[]);
    // One message reaches no member at all, and one client misses others.
    let fault = |client, message| (message == 9 || (client == 3 && message < 30)).then_some(Fault::Drop);
    let stub = Stub::start(Script { fault, ..Script::default() });
    let ended = start(&stub, "broadcast", &format!("{TRAFFIC} {CHANNELS}")).end();
    assert_eq!(ended.code, Some(3), "{ended}");
    let missing = ended.number("/deliveries/missing");
    assert!((5..=30).contains(&missing), "{ended}");
    assert_eq!(ended.number("/deliveries/received") + missing, CLIENTS / 2 * MESSAGES, "{ended}");
    assert!(ended.json["deliveries"]["missing_examples"].to_string().contains("\"message\":9"), "{ended}");
}

#[test]
fn a_refused_message_is_not_sent() {
    let refuses_message = |message| message % 20 == 7;
    let (sent, all) = (MESSAGES - 3, CLIENTS / 2 * (MESSAGES - 3));
    let numbers = [("/sent", sent), ("/deliveries/expected", all), ("/deliveries/received", all)];
    let ended = check_channels(Script { refuses_message, ..Script::default() }, "", 0, &numbers);
    assert_eq!(ended.number("/clients/reasons/message refused: NotAMember"), 3);
    // The planned traffic equals that of a run without refusals.
    let all_sent = check_channels(Script::default(), "", 0, &[]);
    assert_eq!(ended.json["traffic"], all_sent.json["traffic"]);
    assert_eq!(all_sent.json["traffic"], all_sent.json["traffic_sent"]);
    let sent = &ended.json["traffic_sent"];
    assert!(sent.is_string() && *sent != ended.json["traffic"], "{ended}");
}

#[test]
fn a_message_with_the_wrong_scope_is_corrupted() {
    let fault = |client, message| (client == 2 && message < 30).then_some(Fault::Misplace);
    let stub = Stub::start(Script { fault, ..Script::default() });
    let ended = start(&stub, "broadcast", &format!("{TRAFFIC} {CHANNELS}")).end();
    let corrupted = ended.number("/deliveries/corrupted");
    assert!(corrupted > 5 && corrupted == ended.number("/deliveries/missing"), "{ended}");
}

#[test]
fn whispers_have_two_recipients() {
    let numbers = [("/deliveries/expected", 2 * MESSAGES), ("/deliveries/received", 2 * MESSAGES)];
    check(Script::default(), "--scope whisper --workers 2", 0, &numbers);
    let fault = |_, message| (message == 5).then_some(Fault::Drop);
    let ended = check(
        Script { fault, ..Script::default() },
        "--scope whisper",
        3,
        &[
            ("/deliveries/expected", 2 * MESSAGES),
            ("/deliveries/received", 2 * MESSAGES - 2),
            ("/deliveries/missing", 2),
        ],
    );
    assert!(ended.json["deliveries"]["missing_examples"].to_string().contains("\"message\":5"), "{ended}");
    let fault = |client, message| (client == 0 && message < 30).then_some(Fault::Duplicate);
    let stub = Stub::start(Script { fault, ..Script::default() });
    let ended = start(&stub, "broadcast", &format!("{TRAFFIC} --scope whisper")).end();
    assert!(
        ended.number("/deliveries/duplicated") > 0 && ended.number("/deliveries/missing") == 0,
        "{ended}"
    );
}

#[test]
fn nearby_messages_reach_nearby_clients() {
    for more in [
        "--scope nearby --sectors 25",
        "--scope nearby --audience 3 --workers 2",
        "--scope mixed --channels 3 --sectors 16",
    ] {
        let stub = Stub::start(Script::default());
        let ended = start(&stub, "broadcast", &format!("{TRAFFIC} {more}")).end();
        ended.expect(0, &[("/sent", MESSAGES), ("/deliveries/missing", 0), ("/deliveries/leaked", 0)]);
        let expected = ended.number("/deliveries/expected");
        assert!((MESSAGES..CLIENTS * MESSAGES).contains(&expected), "{ended}");
        assert_eq!(ended.number("/deliveries/received"), expected);
        assert_eq!(ended.number("/deliveries/inconsistent"), 0, "{ended}");
    }
}

/// A thousand messages, and a channel join or leave for every 1.7 of them.
const CHURN: &str =
    "--scope channel --channels 2 --churn 300/s --interval 2ms --duration 2s --warmup 20ms --drain 20s";

#[test]
fn churning_clients_get_what_is_due() {
    let ended = start(&Stub::start(Script::default()), "broadcast", CHURN).end();
    ended.expect(0, &[("/deliveries/missing", 0), ("/deliveries/leaked", 0), ("/sent", 1_000)]);
    let other = CHURN.replace("--churn 300/s", "--churn 30/s");
    let other = start(&Stub::start(Script::default()), "broadcast", &other).end();
    assert_ne!(ended.json["traffic"], other.json["traffic"], "the churn is part of the traffic: {other}");
    let [joins, leaves] = ["joins", "leaves"].map(|what| ended.number(&format!("/churn/{what}")));
    assert!(joins > 30 && leaves > 30, "{ended}");
    // Two clients stay in each channel, and the others are members about half of the time.
    let expected = ended.number("/deliveries/expected");
    assert!((2_000..4_500).contains(&expected), "{ended}");
    // The sending takes two seconds. The two seconds of watching for leaks do not count.
    let measured = ended.json["measured_s"].as_f64().unwrap();
    assert!((1.9..3.9).contains(&measured), "{ended}");
}

#[test]
fn a_message_after_leaving_has_leaked() {
    let leaks_to_former = |message| (500..600).contains(&message);
    let ended =
        start(&Stub::start(Script { leaks_to_former, ..Script::default() }), "broadcast", CHURN).end();
    assert_eq!(ended.code, Some(3), "{ended}");
    let leaked = ended.number("/deliveries/leaked");
    // A hundred messages and at most four former members, some of which have asked to join again.
    assert!((20..=400).contains(&leaked), "{ended}");
    assert_eq!(ended.number("/deliveries/missing"), 0, "{ended}");
}

#[test]
fn a_withheld_message_is_a_gap_and_a_lost_one_is_missing() {
    let withheld = |client, message| (client == 3 && (10..20).contains(&message)).then_some(Fault::Withhold);
    let gaps = [("/gaps/told", 1), ("/gaps/messages", 10), ("/gaps/of_readers", 10)];
    let received = ("/deliveries/received", CLIENTS * MESSAGES - 10);
    // With one sender messages arrive in the order of their numbers. Client 3 reads, so that the
    // server has no reason to withhold.
    let ended = check(Script { fault: withheld, ..Script::default() }, "--senders 1", 3, &[received]);
    ended.expect(3, &gaps);
    ended.expect(3, &[("/deliveries/missing", 0)]);
    assert!(ended.stdout.contains("told 1 time") && ended.stdout.contains("gaps=0"), "{ended}");
    let ended = check(
        Script { fault: withheld, ..Script::default() },
        "--senders 1 --threshold gaps=10",
        0,
        &[received],
    );
    ended.expect(0, &gaps);
    // One more message than announced.
    let fault = |client, message| match (client, message) {
        (3, 10..20) => Some(Fault::Withhold),
        (3, 40) => Some(Fault::Drop),
        _ => None,
    };
    let numbers = [("/deliveries/received", CLIENTS * MESSAGES - 11), ("/deliveries/missing", 1)];
    check(Script { fault, ..Script::default() }, "--senders 1", 3, &numbers).expect(3, &gaps);
    // Gaps of whispers have no scope of their own.
    let fault = |_, message| (message == 5).then_some(Fault::Withhold);
    let numbers = [("/deliveries/expected", 2 * MESSAGES), ("/deliveries/received", 2 * MESSAGES - 2)];
    let ended = check(Script { fault, ..Script::default() }, "--scope whisper", 3, &numbers);
    ended.expect(3, &[("/gaps/told", 2), ("/gaps/messages", 2), ("/gaps/of_readers", 2)]);
}

#[test]
fn clients_that_do_not_read_are_counted_apart() {
    let traffic = "--interval 5ms --duration 1s --warmup 20ms --drain 20s";
    let check = |more: &str, hearing: u64, numbers: &[(&str, u64)]| {
        let ended = start(&Stub::start(Script::default()), "broadcast", &format!("{traffic} {more}")).end();
        ended.expect(0, numbers);
        ended.expect(0, &[("/deliveries/missing", 0), ("/clients/disconnected", 0), ("/sent", 200)]);
        assert_eq!(ended.number("/latency_us/count"), hearing * 200, "{ended}");
        let [expected, behind] =
            ["expected", "behind"].map(|what| ended.number(&format!("/deliveries/{what}")));
        assert_eq!(expected + behind, 8 * 200, "{ended}");
        ended
    };
    let ended = check("--deaf 2", 6, &[("/impaired/deaf", 2), ("/impaired/closed", 0)]);
    assert!(ended.number("/deliveries/behind") >= 2 * 190, "{ended}");
    check("--deaf 2 --deaf-for 300ms", 6, &[("/impaired/deaf", 2), ("/deliveries/behind", 0)]);
    check("--slow 3 --slow-rate 100000", 5, &[("/impaired/slow", 3), ("/impaired/closed", 0)]);
    // An impaired client that the server closes is not one of the disconnected.
    let stub = Stub::start(Script { cuts: Some((7, 100)), ..Script::default() });
    let ended = start(&stub, "broadcast", &format!("{traffic} --deaf 1 --senders 1")).end();
    ended.expect(
        0,
        &[("/clients/disconnected", 0), ("/impaired/closed", 1), ("/impaired/reasons/TooSlow", 1)],
    );
}

#[test]
fn a_slow_client_may_have_gaps() {
    // Client 7 is slow. All clients receive what is sent after the gap.
    let withheld = |client, message| (client == 7 && (10..20).contains(&message)).then_some(Fault::Withhold);
    let more =
        "--interval 5ms --duration 1s --warmup 20ms --drain 20s --senders 1 --slow 1 --slow-rate 100000";
    let ended = start(&Stub::start(Script { fault: withheld, ..Script::default() }), "broadcast", more).end();
    ended.expect(0, &[("/gaps/told", 1), ("/gaps/messages", 10), ("/gaps/of_readers", 0)]);
    // A slow client does not excuse the gaps of the others.
    let withheld =
        |client, message| (matches!(client, 3 | 7) && (10..20).contains(&message)).then_some(Fault::Withhold);
    let ended = start(&Stub::start(Script { fault: withheld, ..Script::default() }), "broadcast", more).end();
    ended.expect(3, &[("/gaps/told", 2), ("/gaps/messages", 20), ("/gaps/of_readers", 10)]);
}

#[test]
fn user_lists_are_checked_against_the_clients_present() {
    let run = |script: Script, more: &str| {
        start(&Stub::start(script), "connect", &format!("--duration 50ms {more}")).end()
    };
    let ended = run(Script::default(), "");
    ended.expect(0, &[("/lists/kept", 8), ("/lists/exact", 8), ("/lists/resyncs", 0)]);
    ended.expect(0, &[("/lists/head_count_mismatches", 0), ("/lists/incomplete", 0)]);
    let seconds = |name: &str| ended.json["lists"][name].as_f64().unwrap();
    assert!(seconds("exact_s") >= seconds("entered_s") && seconds("complete_s") > 0.0, "{ended}");
    assert!(ended.stdout.contains("8 of 8 exact (after"), "{ended}");
    run(Script::default(), "--lists none").expect(0, &[("/lists/kept", 0)]);
    run(Script::default(), "--lists all --workers 2").expect(0, &[("/lists/kept", 8), ("/lists/exact", 8)]);
    // A client that entered before the fourth learns from the fifth's notice that it missed one.
    let ended = run(Script { loses_notice: |version| version == 4, ..Script::default() }, "");
    ended.expect(0, &[("/lists/exact", 8)]);
    assert!(ended.number("/lists/resyncs") >= 3, "{ended}");
}

#[test]
fn lists_with_strangers_are_exact() {
    let exact = [("/lists/kept", 8), ("/lists/exact", 8), ("/lists/head_count_mismatches", 0)];
    for more in ["--hold 50ms", "--hold 50ms --processes 2", "--hold 300ms --churn 40/s --storm"] {
        let stub = Stub::start(Script { strangers: 11, ..Script::default() });
        start(&stub, "connect", more).end().expect(0, &exact);
    }
}

/// Churn, and a wait of four seconds for lists to become exact.
const COME_AND_GO: &str = "--hold 500ms --churn 40/s --connect-timeout 4s";

#[test]
fn a_client_that_has_left_and_is_still_listed_is_a_ghost() {
    let run = |script: Script, more: &str| start(&Stub::start(script), "connect", more).end();
    let ghosts = |script: Script, more: &str| {
        let ended = run(script, more);
        // The lists are exact at first, before any client has left.
        ended.expect(3, &[("/lists/kept", 8), ("/lists/exact", 8), ("/clients/disconnected", 0)]);
        let why = ended.json["incomplete_because"].to_string();
        assert!(why.contains("0 of 8 user lists matched the clients present"), "{ended}");
        assert!(why.contains("8 had more"), "{ended}");
    };
    let keeps_left = |client| client == 5;
    ghosts(Script { keeps_left, ..Script::default() }, COME_AND_GO);
    ghosts(Script { keeps_left, ..Script::default() }, "--hold 50ms --storm --connect-timeout 4s");
    // Neither strangers in the list nor other processes hide it.
    let script = Script { keeps_left, strangers: 20, ..Script::default() };
    ghosts(script, "--hold 50ms --storm --connect-timeout 4s --processes 3");
}

#[test]
fn an_unannounced_leave_is_detected_by_the_head_count() {
    let script = Script { hides_leave: |client| client % 2 == 0, ..Script::default() };
    let ended = start(&Stub::start(script), "connect", COME_AND_GO).end();
    ended.expect(3, &[("/lists/kept", 8), ("/lists/exact", 8)]);
    let mismatches = ended.number("/lists/head_count_mismatches");
    assert!(mismatches > 0 && ended.stdout.contains("head_count_mismatches=0"), "{ended}");
    // A client that detects it fetches the list again, which is then exact.
    assert!(ended.number("/lists/resyncs") > 0, "{ended}");
    assert_eq!(ended.json["incomplete_because"].as_array().map(Vec::len), Some(0), "{ended}");
}

#[test]
fn a_client_that_disconnects_reconnects() {
    let stub = Stub::start(Script::default());
    let ended =
        start(&stub, "connect", "--hold 500ms --rate 200/s --ramp 50ms --churn 40/s --storm --workers 2")
            .end();
    ended.expect(0, &[("/clients/connected", CLIENTS), ("/clients/disconnected", 0), ("/clients/failed", 0)]);
    ended.expect(0, &[("/lists/kept", 8), ("/lists/exact", 8)]);
    let [asked, back] = ["asked", "back"].map(|what| ended.number(&format!("/reconnects/{what}")));
    // Eight in the storm, and about twenty before it.
    assert!(asked == back && (12..40).contains(&asked), "{ended}");
    assert_eq!(ended.number("/phases_us/reconnect/count"), back);
    assert!(ended.json["reconnects"]["storm_s"].as_f64().unwrap() > 0.0, "{ended}");
    let entries: u32 = stub.seen().entries.values().sum();
    assert_eq!(u64::from(entries), CLIENTS + back);
    // A client that is refused on its return counts as disconnected.
    let stub = Stub::start(Script { returns: |client| client != 5, ..Script::default() });
    let ended = start(&stub, "connect", "--hold 50ms --storm").end();
    ended
        .expect(3, &[("/clients/connected", CLIENTS), ("/clients/disconnected", 1), ("/clients/refused", 0)]);
    assert_eq!(ended.number("/clients/reasons/reconnecting: TicketInvalid"), 1);
}
