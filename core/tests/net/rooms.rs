//! What is said in rooms with keys: to those who read, to those who do not, and to those who leave.

use std::time::Duration;

use throng_core::SessionId;
use throng_core::crypto::RoomSealer;
use throng_core::net::{Endpoint, ShardSize};
use throng_core::room::{Class, RoomId};
use throng_core::wire::CloseReason;
use throng_core::wire::packets::{ChatGap, Packet, Scope};

use crate::support::*;

const ROOM: RoomId = RoomId::WORLD;

/// A room with its key, and a server that it is on.
struct Room {
    sealer: RoomSealer,
    said: u64,
}

impl Room {
    fn new() -> Self {
        Self { sealer: RoomSealer::new(1, [1; 32]), said: 0 }
    }

    fn admit(&self, server: &Loops, id: SessionId) {
        let key = self.sealer.packet(ROOM);
        server.run(0, move |sessions| {
            sessions.send(id, &key);
            sessions.join(id, ROOM);
        });
    }

    fn say(&mut self, server: &Loops, count: u64) {
        let mut frames = Vec::new();
        for _ in 0..count {
            self.said += 1;
            let mut frame = Vec::new();
            let packet = message(Scope::World, self.said);
            self.sealer.seal(Class::Chat, &mut frame, |out| packet.encode(out));
            frames.push(frame);
        }
        server.run(0, move |sessions| {
            let now = sessions.now();
            for frame in &frames {
                sessions.append(ROOM, Class::Chat, frame, now);
            }
        });
    }

    fn change_key(&mut self, server: &Loops) {
        self.sealer = RoomSealer::new(2, [2; 32]);
        let key = self.sealer.packet(ROOM);
        server.run(0, move |sessions| sessions.rekey(ROOM, &key));
    }
}

fn narrow(server: &Loops) -> (Peer, SessionId) {
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
        room.say(&server, 50);
        if round == 10 {
            room.change_key(&server);
        }
    }
    for (member, _) in &mut members {
        for sequence in 1..=room.said {
            assert_eq!(member.hear(), Heard::Packet(message(Scope::World, sequence)));
        }
    }
}

#[test]
fn who_leaves_gets_what_was_said_before_and_nothing_after() {
    let server = Loops::start(1, 10, vec![server_rules()], echo);
    let mut room = Room::new();
    let (mut leaver, id) = (server.connect(), server.next_opened());
    let (mut member, other) = (server.connect(), server.next_opened());
    room.admit(&server, id);
    room.admit(&server, other);
    room.say(&server, 30);
    server.run(0, move |sessions| {
        sessions.leave(id, ROOM);
        sessions.send(id, &ping(9));
    });
    room.say(&server, 30);
    for sequence in 1..=60 {
        assert_eq!(member.hear(), Heard::Packet(message(Scope::World, sequence)));
    }
    for sequence in 1..=30 {
        assert_eq!(leaver.hear(), Heard::Packet(message(Scope::World, sequence)));
    }
    assert_eq!(leaver.hear(), Heard::Packet(ping(9)));
    // Its socket has nothing else: what it says comes back next.
    leaver.send(&ping(10));
    assert_eq!(leaver.hear(), Heard::Packet(ping(10)));
}

#[test]
fn who_is_closed_with_a_reason_gets_what_was_said_before() {
    let server = Loops::start(1, 10, vec![server_rules()], echo);
    let mut room = Room::new();
    let (mut member, id) = (server.connect(), server.next_opened());
    room.admit(&server, id);
    room.say(&server, 30);
    server.run(0, move |sessions| sessions.close(id, CloseReason::Goodbye, ""));
    room.say(&server, 30);
    let (packets, reason) = member.hear_out();
    assert_eq!(reason, Some(CloseReason::Goodbye));
    assert_eq!(packets, (1..=30).map(|sequence| message(Scope::World, sequence)).collect::<Vec<_>>());
}

#[test]
fn who_does_not_read_is_told_how_many_it_missed_and_goes_on() {
    let server = Loops::start(1, 10, vec![server_rules()], echo);
    let mut room = Room::new();
    let (mut deaf, id) = narrow(&server);
    let (mut member, other) = (server.connect(), server.next_opened());
    room.admit(&server, id);
    room.admit(&server, other);
    // Some times what the log keeps.
    for round in 0..200 {
        room.say(&server, 50);
        for sequence in round * 50 + 1..=round * 50 + 50 {
            assert_eq!(
                member.hear(),
                Heard::Packet(message(Scope::World, sequence)),
                "the others notice nothing"
            );
        }
    }
    let mut next = 1;
    let mut gaps = 0;
    while next <= room.said {
        match deaf.hear() {
            Heard::Packet(Packet::ChatGap(ChatGap { scope: Scope::World, channel: 0, missed })) => {
                gaps += 1;
                next += missed;
            }
            Heard::Packet(packet) => {
                assert_eq!(packet, message(Scope::World, next));
                next += 1;
            }
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(next, room.said + 1, "every message was there or told of");
    assert!(gaps > 0);
    room.say(&server, 1);
    assert_eq!(deaf.hear(), Heard::Packet(message(Scope::World, room.said)));
}

#[test]
fn who_takes_nothing_for_too_long_is_closed() {
    const PATIENCE: Duration = Duration::from_millis(300);
    let size = ShardSize { slow_timeout: PATIENCE, ..ShardSize::new(10, 1024) };
    let rules = Endpoint { linger: Duration::ZERO, ..server_rules() };
    let server = Loops::start_sized(size, vec![rules], echo);
    let mut room = Room::new();
    let (deaf, id) = narrow(&server);
    let (mut member, other) = (server.connect(), server.next_opened());
    room.admit(&server, id);
    room.admit(&server, other);
    let (closed, reason) = loop {
        room.say(&server, 20);
        for _ in 0..20 {
            assert!(matches!(member.hear(), Heard::Packet(_)));
        }
        if let Ok(Seen::Closed(id, closed)) = server.seen.try_recv() {
            break (id, closed.reason);
        }
    };
    assert_eq!((closed, reason), (id, CloseReason::TooSlow));
    assert_eq!(server.run(0, |sessions| sessions.members(ROOM)), 1);
    drop(deaf);
}
