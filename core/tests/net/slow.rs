//! Peers that read slowly or not at all.

use std::io::Write;

use throng_core::net::{Endpoint, Mail};
use throng_core::wire::packets::{ChatRequest, Heartbeat, Packet, Scope};
use throng_core::wire::{CloseReason, Text};

use crate::support::*;

/// More bytes than the system's buffers hold between two sockets of this machine.
const ENOUGH: usize = 64 << 20;

fn narrow_rules() -> Endpoint {
    Endpoint { outbox_max: 64 * 1024, ..server_rules() }
}

fn chat_request(number: usize) -> Packet {
    ChatRequest {
        scope: Scope::World,
        target: 0,
        stamp: 0,
        text: Text::truncated(&format!("{number:0>1000}")),
    }
    .into()
}

#[test]
fn a_slow_reader_is_closed_with_a_reason_and_others_are_not_affected() {
    let server = Loops::start(1, 10, vec![narrow_rules()], echo);
    let mut slow = Peer::connect_narrow(server.addresses[0], client_rules());
    slow.handshake();
    let slow_id = server.next_opened();
    let mut good = server.connect();
    server.next_opened();
    let mut sent = 0;
    let closed = loop {
        assert!(sent * 1000 < ENOUGH, "never closed");
        server.run(0, move |sessions| {
            for number in sent..sent + 50 {
                sessions.send(slow_id, &chat_request(number));
            }
        });
        sent += 50;
        good.send(&ping(sent as u64));
        assert_eq!(good.receive(), Received::Packet(ping(sent as u64)));
        let seen = server.seen.try_iter().find(|seen| matches!(seen, Seen::Closed(..)));
        if let Some(Seen::Closed(id, closed)) = seen {
            assert_eq!(id, slow_id);
            break closed;
        }
    };
    assert_eq!(closed.reason, CloseReason::TooSlow);
    // Once it reads, it gets all packets that were queued before the close, in order, and then the
    // reason.
    let (packets, reason) = slow.receive_all();
    assert_eq!(reason, Some(CloseReason::TooSlow));
    assert!(packets.len() <= sent);
    assert!(packets.iter().enumerate().all(|(number, packet)| *packet == chat_request(number)));
    drop(slow);
    wait_until("only the other session is left", || server.sessions() == 1);
}

#[test]
fn a_paused_session_loses_nothing() {
    let server = Loops::start(1, 10, vec![server_rules()], echo);
    let dialer = Loops::dialer(ignore);
    let id = dialer.dial(server.addresses[0], client_rules(), 1);
    dialer.next_opened();
    dialer.run(0, move |sessions| {
        sessions.pause_reading(id, true);
        for token in 0..5 {
            sessions.send(id, &ping(token));
        }
    });
    let next_five = |loops: &Loops| (0..5).map(|_| loops.next()).collect::<Vec<_>>();
    server.next_opened();
    next_five(&server);
    // The echoes are written, and the dialer's loop had an opportunity to read them.
    server.finish_turn(0);
    dialer.finish_turn(0);
    assert!(dialer.seen.try_recv().is_err());
    dialer.run(0, move |sessions| sessions.pause_reading(id, false));
    for (token, seen) in (0..).zip(next_five(&dialer)) {
        assert!(matches!(seen, Seen::Packet(_, packet) if packet == ping(token)));
    }
    // A close that came while the session was paused is noticed after that.
    dialer.run(0, move |sessions| sessions.pause_reading(id, true));
    server.mail(0, Mail::CloseClients(CloseReason::ServerShutdown));
    server.finish_turn(0);
    dialer.finish_turn(0);
    assert!(dialer.seen.try_recv().is_err());
    dialer.run(0, move |sessions| sessions.pause_reading(id, false));
    assert_eq!(dialer.next_closed().1.reason, CloseReason::ServerShutdown);
}

#[test]
fn a_burst_that_the_socket_accepts_is_not_too_slow() {
    let server = Loops::start(1, 10, vec![narrow_rules()], echo);
    let mut peer = server.connect();
    let id = server.next_opened();
    // Three times what may wait, but no more than a socket accepts at once.
    server.run(0, move |sessions| {
        for number in 0..190 {
            sessions.send(id, &chat_request(number));
        }
    });
    for number in 0..190 {
        assert_eq!(peer.receive(), Received::Packet(chat_request(number)));
    }
}

/// Answers to heartbeats, which the session sends itself, count as waiting bytes, too.
#[test]
fn a_peer_that_sends_heartbeats_and_never_reads_is_closed() {
    let server = Loops::start(1, 10, vec![narrow_rules()], echo);
    let mut peer = Peer::connect_narrow(server.addresses[0], client_rules());
    peer.handshake();
    let id = server.next_opened();
    let mut sent = 0;
    while server.seen.try_recv().is_err() {
        assert!(sent < ENOUGH, "never closed");
        for token in 0..2000 {
            peer.queue(&Heartbeat { token }.into());
        }
        let bytes = peer.take_queued();
        sent += bytes.len();
        peer.stream.write_all(&bytes).unwrap();
    }
    server.run(0, move |sessions| sessions.send(id, &ping(1)));
    assert_eq!(peer.receive_all(), (Vec::new(), Some(CloseReason::TooSlow)));
}

#[test]
fn a_burst_to_a_room_does_not_wait_for_its_slowest_member() {
    const ROOM: throng_core::room::RoomId = throng_core::room::RoomId(3);
    let server = Loops::start(1, 10, vec![narrow_rules()], echo);
    let mut members: Vec<_> = (0..5).map(|_| server.connect()).collect();
    let slow = Peer::connect_narrow(server.addresses[0], client_rules());
    members.push(slow);
    members[5].handshake();
    for _ in 0..6 {
        let id = server.next_opened();
        server.run(0, move |sessions| sessions.join(id, ROOM));
    }
    let mut slow = members.pop().unwrap();
    let mut rounds = 0;
    loop {
        server.run(0, |sessions| {
            for _ in 0..20 {
                sessions.rekey(ROOM, &chat_request(7));
            }
        });
        rounds += 1;
        assert!(rounds * 20 * 1000 < ENOUGH, "never closed");
        for peer in &mut members {
            for _ in 0..20 {
                assert_eq!(peer.receive(), Received::Packet(chat_request(7)));
            }
        }
        match server.seen.try_recv() {
            Err(_) => {}
            Ok(Seen::Closed(_, closed)) => break assert_eq!(closed.reason, CloseReason::TooSlow),
            Ok(other) => panic!("{other:?}"),
        }
    }
    assert_eq!(server.run(0, |sessions| sessions.members(ROOM)), 5);
    assert_eq!(slow.receive_all().1, Some(CloseReason::TooSlow));
}
