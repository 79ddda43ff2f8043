//! Rooms with keys: delivery to members that read, that do not read, and that leave.

use std::time::{Duration, Instant};

use throng_core::SessionId;
use throng_core::crypto::RoomSealer;
use throng_core::limits::OUTBOX_CHAT_MAX;
use throng_core::net::{Endpoint, Sessions, ShardSize};
use throng_core::room::{Class, RoomId};
use throng_core::wire::CloseReason;
use throng_core::wire::packets::{ChatGap, Packet, Scope};

use crate::support::*;

const ROOM: RoomId = RoomId::WORLD;

/// A room with its key and its message count.
struct Room {
    sealer: RoomSealer,
    sent: u64,
}

impl Room {
    fn new() -> Self {
        Self { sealer: RoomSealer::new(1, [1; 32]), sent: 0 }
    }

    fn admit(&self, server: &Loops, id: SessionId) {
        let key = self.sealer.packet(ROOM);
        server.run(0, move |sessions| {
            sessions.send(id, &key);
            sessions.join(id, ROOM);
        });
    }

    fn send(&mut self, server: &Loops, count: u64) {
        let frames = self.seal(count);
        server.run(0, move |sessions| append(sessions, &frames));
    }

    /// Seals the next `count` messages with the room's key.
    fn seal(&mut self, count: u64) -> Vec<Vec<u8>> {
        let seal_next = |_| {
            self.sent += 1;
            let mut frame = Vec::new();
            let packet = message(Scope::World, self.sent);
            self.sealer.seal(Class::Chat, &mut frame, |out| packet.encode(out));
            frame
        };
        (0..count).map(seal_next).collect()
    }

    /// Changes the key between two halves of `count` messages. All goes to the loop in one errand,
    /// so that the first half is pending for every member when the key changes.
    fn send_across_change_of_keys(&mut self, server: &Loops, count: u64) {
        let before = self.seal(count / 2);
        let bytes: usize = before.iter().map(Vec::len).sum();
        assert!(bytes < OUTBOX_CHAT_MAX, "pending frames fit in the outboxes, through which they go");
        self.sealer = RoomSealer::new(2, [2; 32]);
        let key = self.sealer.packet(ROOM);
        let after = self.seal(count - count / 2);
        let was_pending = server.run(0, move |sessions| {
            append(sessions, &before);
            let was_pending = sessions.is_sweeping();
            sessions.rekey(ROOM, &key);
            append(sessions, &after);
            was_pending
        });
        assert!(was_pending, "frames are pending when the key changes");
    }
}

fn append(sessions: &mut Sessions, frames: &[Vec<u8>]) {
    let now = sessions.now();
    for frame in frames {
        sessions.append(ROOM, Class::Chat, frame, now);
    }
}

fn connect_narrow(server: &Loops) -> (Peer, SessionId) {
    let mut peer = Peer::connect_narrow(server.addresses[0], client_rules());
    peer.handshake();
    (peer, server.next_opened())
}

#[test]
fn members_get_everything_in_order_across_a_change_of_keys() {
    let server = Loops::start(1, 10, vec![server_rules()], echo);
    let mut room = Room::new();
    let mut members: Vec<_> = (0..5).map(|_| (server.connect(), server.next_opened())).collect();
    for (_, id) in &members {
        room.admit(&server, *id);
    }
    for round in 0..20 {
        let received = room.sent;
        if round == 10 {
            room.send_across_change_of_keys(&server, 40);
        } else {
            room.send(&server, 50);
        }
        for (member, _) in &mut members {
            for sequence in received + 1..=room.sent {
                assert_eq!(member.receive(), Received::Packet(message(Scope::World, sequence)));
            }
        }
    }
}

#[test]
fn a_member_that_leaves_gets_earlier_messages_and_no_later_ones() {
    let server = Loops::start(1, 10, vec![server_rules()], echo);
    let mut room = Room::new();
    let mut leaver = server.connect();
    let id = server.next_opened();
    let mut member = server.connect();
    let other = server.next_opened();
    room.admit(&server, id);
    room.admit(&server, other);
    room.send(&server, 30);
    server.run(0, move |sessions| {
        sessions.leave(id, ROOM);
        sessions.send(id, &ping(9));
    });
    room.send(&server, 30);
    for sequence in 1..=60 {
        assert_eq!(member.receive(), Received::Packet(message(Scope::World, sequence)));
    }
    for sequence in 1..=30 {
        assert_eq!(leaver.receive(), Received::Packet(message(Scope::World, sequence)));
    }
    assert_eq!(leaver.receive(), Received::Packet(ping(9)));
    // No other message is on its way: the next packet is its own echo.
    leaver.send(&ping(10));
    assert_eq!(leaver.receive(), Received::Packet(ping(10)));
}

#[test]
fn a_closed_member_gets_earlier_messages_before_the_reason() {
    let server = Loops::start(1, 10, vec![server_rules()], echo);
    let mut room = Room::new();
    let mut member = server.connect();
    let id = server.next_opened();
    room.admit(&server, id);
    room.send(&server, 30);
    server.run(0, move |sessions| sessions.close(id, CloseReason::Goodbye, ""));
    room.send(&server, 30);
    let (packets, reason) = member.receive_all();
    assert_eq!(reason, Some(CloseReason::Goodbye));
    assert_eq!(packets, (1..=30).map(|sequence| message(Scope::World, sequence)).collect::<Vec<_>>());
}

#[test]
fn a_member_that_does_not_read_gets_gaps_and_goes_on() {
    let server = Loops::start(1, 10, vec![server_rules()], echo);
    let mut room = Room::new();
    let (mut slow, id) = connect_narrow(&server);
    let mut member = server.connect();
    let other = server.next_opened();
    room.admit(&server, id);
    room.admit(&server, other);
    // Several times what the log keeps.
    for round in 0..200 {
        room.send(&server, 50);
        for sequence in round * 50 + 1..=round * 50 + 50 {
            assert_eq!(
                member.receive(),
                Received::Packet(message(Scope::World, sequence)),
                "the other member is not affected"
            );
        }
    }
    let mut next = 1;
    let mut gaps = 0;
    while next <= room.sent {
        match slow.receive() {
            Received::Packet(Packet::ChatGap(ChatGap { scope: Scope::World, channel: 0, missed })) => {
                gaps += 1;
                next += missed;
            }
            Received::Packet(packet) => {
                assert_eq!(packet, message(Scope::World, next));
                next += 1;
            }
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(next, room.sent + 1, "every message was received or in a gap");
    assert!(gaps > 0);
    room.send(&server, 1);
    assert_eq!(slow.receive(), Received::Packet(message(Scope::World, room.sent)));
}

#[test]
fn a_member_whose_socket_accepts_nothing_is_closed() {
    const SLOW_TIMEOUT: Duration = Duration::from_millis(300);
    let size = ShardSize { slow_timeout: SLOW_TIMEOUT, ..ShardSize::new(10, 1024) };
    let rules = Endpoint { linger: Duration::ZERO, ..server_rules() };
    let server = Loops::start_sized(size, vec![rules], echo);
    let mut room = Room::new();
    let (slow, id) = connect_narrow(&server);
    let mut member = server.connect();
    let other = server.next_opened();
    room.admit(&server, id);
    room.admit(&server, other);
    let deadline = Instant::now() + PATIENCE;
    let (closed, reason) = loop {
        assert!(Instant::now() < deadline, "never closed");
        room.send(&server, 20);
        for _ in 0..20 {
            assert!(matches!(member.receive(), Received::Packet(_)));
        }
        if let Ok(Seen::Closed(id, closed)) = server.seen.try_recv() {
            break (id, closed.reason);
        }
    };
    assert_eq!((closed, reason), (id, CloseReason::TooSlow));
    assert_eq!(server.run(0, |sessions| sessions.members(ROOM)), 1);
    drop(slow);
}
