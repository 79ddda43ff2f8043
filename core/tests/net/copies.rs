//! Messages that are sealed once for each recipient: in small rooms, and to users nearby.

use throng_core::SessionId;
use throng_core::limits::OUTBOX_CHAT_MAX;
use throng_core::net::ShardSize;
use throng_core::room::{Class, RoomId};
use throng_core::wire::List;
use throng_core::wire::packets::{ChatGap, Packet, Scope, UsersChanged};

use crate::support::*;

const CHANNEL: RoomId = RoomId(5);
/// Number of messages: several times what the system's buffers and an outbox hold.
const MESSAGES: u64 = 3_000;
/// Messages of one errand.
const BATCH: u64 = 50;

/// Returns a server with two sessions: one whose peer does not read, and one whose peer does.
fn slow_and_fast() -> (Loops, [(Peer, SessionId); 2]) {
    let server = Loops::start_sized(ShardSize::new(10, 1024), vec![server_rules()], echo);
    let mut slow = Peer::connect_narrow(server.addresses[0], client_rules());
    slow.handshake();
    let slow = (slow, server.next_opened());
    let fast = (server.connect(), server.next_opened());
    (server, [slow, fast])
}

/// Reads all messages, which must come in order, with gaps that name exactly the missing ones.
/// Returns the number of gaps.
fn receive_with_gaps(slow: &mut Peer, scope: Scope, gap: (Scope, u32)) -> u64 {
    let mut next = 1;
    let mut gaps = 0;
    while next <= MESSAGES {
        match slow.receive() {
            Received::Packet(Packet::ChatGap(ChatGap { scope, channel, missed })) => {
                assert_eq!((scope, channel), gap);
                gaps += 1;
                next += missed;
            }
            Received::Packet(packet) => {
                assert_eq!(packet, message(scope, next));
                next += 1;
            }
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(next, MESSAGES + 1, "every message was received or in a gap");
    gaps
}

#[test]
fn a_session_that_does_not_read_gets_gaps_of_nearby_messages() {
    let (server, [(mut slow, id), (mut fast, other)]) = slow_and_fast();
    for from in (1..=MESSAGES).step_by(BATCH as usize) {
        let messages: Vec<_> = (from..from + BATCH).map(|n| encoded(&message(Scope::Nearby, n))).collect();
        server.run(0, move |sessions| {
            for message in &messages {
                sessions.multicast(1, &[id, other], message);
            }
        });
        for sequence in from..from + BATCH {
            assert_eq!(
                fast.receive(),
                Received::Packet(message(Scope::Nearby, sequence)),
                "the other session is not affected"
            );
        }
    }
    assert!(receive_with_gaps(&mut slow, Scope::Nearby, (Scope::Nearby, 0)) > 0);
    let last = encoded(&message(Scope::Nearby, 7));
    server.run(0, move |sessions| sessions.multicast(1, &[id], &last));
    assert_eq!(slow.receive(), Received::Packet(message(Scope::Nearby, 7)));
}

#[test]
fn a_flood_of_whispers_to_a_slow_reader_leaves_room_for_a_friend() {
    let (server, [(mut slow, id), _]) = slow_and_fast();
    let [flooder, friend] = [1, 2];
    let flood: Vec<_> = (1..=MESSAGES).map(|n| encoded(&message(Scope::Whisper, n))).collect();
    let kind = encoded(&message(Scope::Whisper, 0));
    server.run(0, move |sessions| {
        for message in &flood {
            sessions.multicast(flooder, &[id], message);
        }
        sessions.multicast(friend, &[id], &kind);
    });
    let (mut received, mut missed) = (0, 0);
    while received + missed <= MESSAGES {
        match slow.receive() {
            Received::Packet(Packet::ChatGap(gap)) => missed += gap.missed,
            Received::Packet(_) => received += 1,
            other => panic!("{other:?}"),
        }
        if missed > 0 {
            break;
        }
    }
    assert_eq!(slow.receive(), Received::Packet(message(Scope::Whisper, 0)), "the friend's, after the gap");
    assert_eq!(received + missed, MESSAGES);
}

#[test]
fn a_session_that_does_not_read_gets_gaps_of_a_small_room() {
    let (server, [(mut slow, id), (mut fast, other)]) = slow_and_fast();
    server.run(0, move |sessions| {
        for id in [id, other] {
            sessions.join(id, CHANNEL);
        }
    });
    for from in (1..=MESSAGES).step_by(BATCH as usize) {
        let messages: Vec<_> = (from..from + BATCH).map(|n| encoded(&message(Scope::Channel, n))).collect();
        server.run(0, move |sessions| {
            for message in &messages {
                sessions.copies(CHANNEL, Class::Chat, message);
            }
        });
        for sequence in from..from + BATCH {
            assert_eq!(
                fast.receive(),
                Received::Packet(message(Scope::Channel, sequence)),
                "the other session is not affected"
            );
        }
    }
    assert!(receive_with_gaps(&mut slow, Scope::Channel, (Scope::Channel, CHANNEL.0)) > 0);
}

#[test]
fn notices_are_dropped_before_messages() {
    let (server, [(mut slow, id), (mut fast, _)]) = slow_and_fast();
    server.run(0, move |sessions| sessions.join(id, CHANNEL));
    // A message and a notice share each number. Dropped notices are not announced.
    let notice = |number| -> Packet {
        UsersChanged {
            channel: 5,
            since: number,
            version: number + 1,
            head_count: 1,
            complete: false,
            entered: List::default(),
            left: List::default(),
        }
        .into()
    };
    for from in (1..=MESSAGES).step_by(BATCH as usize) {
        let pairs: Vec<_> = (from..from + BATCH)
            .map(|number| (encoded(&message(Scope::Channel, number)), encoded(&notice(number))))
            .collect();
        server.run(0, move |sessions| {
            for (message, notice) in &pairs {
                sessions.copies(CHANNEL, Class::Chat, message);
                sessions.copies(CHANNEL, Class::Notice, notice);
            }
        });
        fast.send(&ping(from));
        assert_eq!(fast.receive(), Received::Packet(ping(from)));
    }
    let mut messages = 0;
    let mut notices = 0;
    let mut pairs = 0;
    loop {
        match slow.receive() {
            Received::Packet(Packet::ChatGap(_)) => break,
            Received::Packet(Packet::UsersChanged(_)) => notices += 1,
            Received::Packet(packet) => {
                messages += 1;
                assert_eq!(packet, message(Scope::Channel, messages));
                pairs += u64::from(notices == messages - 1);
            }
            other => panic!("{other:?}"),
        }
    }
    assert!(
        pairs > 1 && notices < messages,
        "{pairs} with their notices, {notices} notices, {messages} messages"
    );
    // The messages without a notice fill the half of the outbox that notices may not use.
    let half = (OUTBOX_CHAT_MAX / 2 / encoded(&message(Scope::Channel, 1)).len()) as u64;
    assert!((messages - notices).abs_diff(half) <= 2, "{messages} - {notices}, {half}");
}
