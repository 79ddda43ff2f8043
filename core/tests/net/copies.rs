//! What is said to few, sealed once for each of them: in small rooms and to whoever is nearby.

use throng_core::SessionId;
use throng_core::limits::OUTBOX_CHAT_MAX;
use throng_core::net::ShardSize;
use throng_core::room::{Class, RoomId};
use throng_core::wire::List;
use throng_core::wire::packets::{ChatGap, Packet, Scope, UsersChanged};

use crate::support::*;

const CHANNEL: RoomId = RoomId(5);
/// Messages: some times what the system and a session's buffer hold.
const SAID: u64 = 3_000;
/// Messages in one errand.
const AT_ONCE: u64 = 50;

/// A server with a member who does not read and one who does.
fn two() -> (Loops, [(Peer, SessionId); 2]) {
    let server = Loops::start_sized(ShardSize::new(10, 1024), vec![server_rules()], echo);
    let mut deaf = Peer::connect_narrow(server.addresses[0], client_rules());
    deaf.handshake();
    let deaf = (deaf, server.next_opened());
    let good = (server.connect(), server.next_opened());
    (server, [deaf, good])
}

/// Has the deaf one read at last: what it hears, up to the last message, are messages in their order, and word of exactly those that are missing
/// between them. How often it was told.
fn hear_all(deaf: &mut Peer, scope: Scope, gap: (Scope, u32)) -> u64 {
    let (mut next, mut gaps) = (1, 0);
    while next <= SAID {
        match deaf.hear() {
            Heard::Packet(Packet::ChatGap(ChatGap { scope, channel, missed })) => {
                assert_eq!((scope, channel), gap);
                gaps += 1;
                next += missed;
            }
            Heard::Packet(packet) => {
                assert_eq!(packet, message(scope, next));
                next += 1;
            }
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(next, SAID + 1, "every message was there or told of");
    gaps
}

#[test]
fn who_does_not_read_is_told_how_many_it_missed_of_those_nearby() {
    let (server, [(mut deaf, id), (mut good, other)]) = two();
    for from in (1..=SAID).step_by(AT_ONCE as usize) {
        let messages: Vec<_> = (from..from + AT_ONCE).map(|n| encoded(&message(Scope::Nearby, n))).collect();
        server.run(0, move |sessions| {
            messages.iter().for_each(|message| sessions.multicast(&[id, other], message))
        });
        for sequence in from..from + AT_ONCE {
            assert_eq!(
                good.hear(),
                Heard::Packet(message(Scope::Nearby, sequence)),
                "the other notices nothing"
            );
        }
    }
    assert!(hear_all(&mut deaf, Scope::Nearby, (Scope::Nearby, 0)) > 0);
    let last = encoded(&message(Scope::Nearby, 7));
    server.run(0, move |sessions| sessions.multicast(&[id], &last));
    assert_eq!(deaf.hear(), Heard::Packet(message(Scope::Nearby, 7)));
}

#[test]
fn who_does_not_read_is_told_how_many_it_missed_of_a_small_room() {
    let (server, [(mut deaf, id), (mut good, other)]) = two();
    server.run(0, move |sessions| [id, other].into_iter().for_each(|id| sessions.join(id, CHANNEL)));
    for from in (1..=SAID).step_by(AT_ONCE as usize) {
        let messages: Vec<_> = (from..from + AT_ONCE).map(|n| encoded(&message(Scope::Channel, n))).collect();
        server.run(0, move |sessions| {
            messages.iter().for_each(|message| sessions.copies(CHANNEL, Class::Chat, message))
        });
        for sequence in from..from + AT_ONCE {
            assert_eq!(
                good.hear(),
                Heard::Packet(message(Scope::Channel, sequence)),
                "the other notices nothing"
            );
        }
    }
    assert!(hear_all(&mut deaf, Scope::Channel, (Scope::Channel, CHANNEL.0)) > 0);
}

#[test]
fn notices_are_left_out_before_messages() {
    let (server, [(mut deaf, id), (mut good, _)]) = two();
    server.run(0, move |sessions| sessions.join(id, CHANNEL));
    // Both have the same number, and neither is told of when it is a notice.
    let notice = |number| -> Packet {
        let (entered, left) = (List::default(), List::default());
        UsersChanged {
            channel: 5,
            since: number,
            version: number + 1,
            head_count: 1,
            complete: false,
            entered,
            left,
        }
        .into()
    };
    for from in (1..=SAID).step_by(AT_ONCE as usize) {
        let pairs: Vec<_> = (from..from + AT_ONCE)
            .map(|number| (encoded(&message(Scope::Channel, number)), encoded(&notice(number))))
            .collect();
        server.run(0, move |sessions| {
            for (message, notice) in &pairs {
                sessions.copies(CHANNEL, Class::Chat, message);
                sessions.copies(CHANNEL, Class::Notice, notice);
            }
        });
        good.send(&ping(from));
        assert_eq!(good.hear(), Heard::Packet(ping(from)));
    }
    let (mut messages, mut notices, mut whole) = (0, 0, 0);
    loop {
        match deaf.hear() {
            Heard::Packet(Packet::ChatGap(_)) => break,
            Heard::Packet(Packet::UsersChanged(_)) => notices += 1,
            Heard::Packet(packet) => {
                messages += 1;
                assert_eq!(packet, message(Scope::Channel, messages));
                whole += u64::from(notices == messages - 1);
            }
            other => panic!("{other:?}"),
        }
    }
    assert!(
        whole > 1 && notices < messages,
        "{whole} with their notices, {notices} notices, {messages} messages"
    );
    // As many messages came without their notices as the half of the buffer holds that notices do not get.
    let half = (OUTBOX_CHAT_MAX / 2 / encoded(&message(Scope::Channel, 1)).len()) as u64;
    assert!((messages - notices).abs_diff(half) <= 2, "{messages} - {notices}, {half}");
}
