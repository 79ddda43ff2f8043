//! Frames in pieces, which must not show in a report, and frames torn off at the end of their
//! connection, of which no part may count.

use serde_json::{Value, json};
use throng_harness_model::results::{Deliveries, Pair};
use throng_harness_model::spec::Scenario;

use crate::stub::{LONG, Script, Stub};
use crate::{CLIENTS, MESSAGES, driven, job, start};

/// 60 messages. The drain ends with the last delivery, which comes late in pieces on a busy
/// machine.
const TRAFFIC: &str = "--interval 5ms --duration 300ms --warmup 20ms --drain 60s";

#[test]
fn frames_in_any_pieces_are_read_as_if_whole() {
    for (seed, more) in [(1, "--senders 3"), (2, "--workers 3 --lists all --payload 900")] {
        let stub = Stub::start(Script { pieces: Some(seed), ..Script::default() });
        let ended = start(&stub, "broadcast", &format!("{TRAFFIC} {more}")).end();
        let all = CLIENTS * MESSAGES;
        ended.expect(
            0,
            &[
                ("/clients/connected", CLIENTS),
                ("/clients/disconnected", 0),
                ("/sent", MESSAGES),
                ("/deliveries/expected", all),
                ("/deliveries/received", all),
                ("/deliveries/duplicated", 0),
                ("/deliveries/reordered", 0),
                ("/deliveries/corrupted", 0),
                ("/deliveries/inconsistent", 0),
                ("/deliveries/foreign", 0),
                ("/latency_us/count", all),
            ],
        );
        let pieces = stub.pieces();
        println!("{pieces:?}");
        assert!(pieces.split > all / 4 && pieces.glued > 20 && pieces.torn == 0, "{pieces:?}\n{ended}");
    }
}

#[test]
fn a_login_may_arrive_in_pieces() {
    let stub = Stub::start(Script { pieces: Some(3), later: 3, ..Script::default() });
    let ended = start(&stub, "login", "--in-flight 4").end();
    ended.expect(0, &[("/clients/connected", CLIENTS), ("/clients/retries/TryAgainLater", 3)]);
    // The handshakes and packets of each client with both servers.
    assert!(stub.pieces().split > 4 * CLIENTS, "{:?}\n{ended}", stub.pieces());
}

/// Bytes of their last frame that clients 1 to 7 receive: none, one of its header, the header, one
/// and two more, about half, and all but one.
const KEPT: [usize; 7] = [0, 1, 2, 3, 4, 250, usize::MAX];

#[test]
fn a_torn_frame_is_no_delivery() {
    let last = MESSAGES as u32 - 1;
    let tears = |client: u32, message| {
        let kept = client.checked_sub(1).and_then(|at| KEPT.get(at as usize)).copied();
        kept.filter(|_| message == MESSAGES as u32 - 1)
    };
    for (pieces, workers) in [(None, 1), (Some(4), 3)] {
        let stub = Stub::start(Script { pieces, tears: Some(tears), ..Script::default() });
        let more = format!("{TRAFFIC} --payload {LONG} --senders 1 --workers {workers}");
        let ended = start(&stub, "broadcast", &more).end();
        let torn = KEPT.len() as u64;
        assert_eq!(stub.pieces().torn, torn, "{ended}");
        ended.expect(
            3,
            &[
                ("/clients/connected", CLIENTS),
                ("/clients/disconnected", torn),
                ("/clients/reasons/disconnected: PeerClosed", torn),
                ("/sent", MESSAGES),
                ("/deliveries/expected", CLIENTS * MESSAGES),
                ("/deliveries/received", CLIENTS * MESSAGES - torn),
                ("/deliveries/missing", torn),
                ("/deliveries/duplicated", 0),
                ("/deliveries/reordered", 0),
                ("/deliveries/corrupted", 0),
                ("/deliveries/leaked", 0),
                ("/deliveries/inconsistent", 0),
                ("/deliveries/indeterminate", 0),
                ("/latency_us/count", CLIENTS * MESSAGES - torn),
            ],
        );
        let named: Vec<Value> = (1..=torn).map(|client| json!({"client": client, "message": last})).collect();
        assert_eq!(ended.json["deliveries"]["missing_examples"], Value::from(named), "{ended}");
    }
}

#[test]
fn a_torn_client_misses_that_message_and_none_after_it() {
    let tears = |client, message| match (client, message) {
        (2, 20) => Some(LONG),
        (7, 35) => Some(2),
        _ => None,
    };
    // The one sender is not torn off.
    let stub = Stub::start(Script { pieces: Some(5), tears: Some(tears), ..Script::default() });
    let flags =
        "--clients 8 --seed 1 --warmup 20ms --drain 60s --connect-interval 0s --duration 120s --senders 1";
    let mut job = job(&stub, "broadcast", &format!("{flags} --payload {LONG}"));
    let Scenario::Broadcast(broadcast) = &mut job.scenario else { panic!("{job:?}") };
    // A message is sent only when every client has the one before, or is known to be disconnected.
    (broadcast.ahead, broadcast.messages) = (Some(1), 60);
    let found = driven(&job);
    let expected = Deliveries {
        expected: 6 * 60 + 21 + 36,
        received: 6 * 60 + 20 + 35,
        missing: 2,
        missing_examples: vec![Pair { client: 2, message: 20 }, Pair { client: 7, message: 35 }],
        ..Deliveries::default()
    };
    assert_eq!((found.sent, found.deliveries), (60, Some(expected)));
    assert_eq!((found.clients.disconnected, stub.pieces().torn), (2, 2));
}
