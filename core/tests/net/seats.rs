//! Session tables of fixed size: seats, refusals, and reuse of slots.

use std::io::Write;
use std::net::TcpStream;
use std::time::Duration;

use throng_core::limits::{LINKS_MAX, REFUSAL_SLOTS};
use throng_core::metrics;
use throng_core::net::{Endpoint, Mail, Sessions};
use throng_core::room::{Class, RoomId};
use throng_core::wire::CloseReason;
use throng_core::wire::frame::refusal;

use crate::support::*;

#[test]
fn a_full_server_refuses_clients_until_a_seat_is_free() {
    for (shards, clients) in [(1, 2), (3, 1)] {
        let server = Loops::start(shards, clients, vec![server_rules()], echo);
        let mut inside: Vec<_> = (0..shards * clients).map(|_| server.connect()).collect();
        for _ in 0..3 {
            let mut stream = TcpStream::connect(server.addresses[0]).unwrap();
            assert_eq!(read_out(&mut stream), refusal(CloseReason::ServerFull));
            let mut peer = Peer::connect(server.addresses[0], client_rules());
            peer.flush();
            assert_eq!(peer.receive(), Received::Closes(CloseReason::ServerFull));
        }
        drop(inside.remove(0));
        wait_until("the seat is free", || server.sessions() == shards * clients - 1);
        inside.push(server.connect());
        for peer in &mut inside {
            peer.send(&ping(1));
            assert_eq!(peer.receive(), Received::Packet(ping(1)));
        }
    }
}

/// The acceptor refuses no client while a seat is free, even if all shards are busy.
#[test]
fn a_burst_fills_every_seat_of_every_shard() {
    let server = Loops::start(3, 20, vec![server_rules()], echo);
    // Holds the loops while the acceptor deals sockets.
    let (gates, held): (Vec<_>, Vec<_>) = (0..3).map(|_| std::sync::mpsc::channel::<()>()).unzip();
    for (shard, gate) in held.into_iter().enumerate() {
        let wait = move |_: &mut Sessions| {
            // Returns when the gates are dropped.
            let _ = gate.recv_timeout(PATIENCE);
        };
        server.mail(shard, Mail::App(Box::new(wait)));
    }
    let accepted = metrics::ACCEPTED.get();
    let mut peers: Vec<_> = (0..60).map(|_| Peer::connect(server.addresses[0], client_rules())).collect();
    wait_until("all connections are accepted", || metrics::ACCEPTED.get() >= accepted + 60);
    drop(gates);
    for peer in &mut peers {
        peer.handshake();
    }
}

/// Newcomers do not compete with the members' work for places in the mailbox.
#[test]
fn newcomers_are_adopted_while_the_mailbox_is_full() {
    let server = Loops::start(1, 20, vec![server_rules()], echo);
    let (gate, held) = std::sync::mpsc::channel::<()>();
    let wait = move |_: &mut Sessions| {
        // Returns when the gate is dropped.
        let _ = held.recv_timeout(PATIENCE);
    };
    server.mail(0, Mail::App(Box::new(wait)));
    wait_until("the loop is held", || server.mailboxes[0].is_empty());
    while server.mailboxes[0].try_push(Mail::App(Box::new(|_: &mut Sessions| {}))).is_ok() {}
    let accepted = metrics::ACCEPTED.get();
    let mut peers: Vec<_> = (0..20).map(|_| Peer::connect(server.addresses[0], client_rules())).collect();
    wait_until("all connections are accepted", || metrics::ACCEPTED.get() >= accepted + 20);
    drop(gate);
    for peer in &mut peers {
        peer.handshake();
    }
}

/// Clients that send a handshake byte by byte, and never all of it, hold a seat for no longer than
/// the handshake may take.
#[test]
fn trickling_connections_give_their_seats_back() {
    const SEATS: usize = 64;
    let rules = Endpoint {
        handshake_timeout: Duration::from_secs(1),
        linger: Duration::from_millis(20),
        ..server_rules()
    };
    let server = Loops::start(2, SEATS / 2, vec![rules], echo);
    let timeouts = metrics::CLOSED.get(CloseReason::HandshakeTimeout);
    let whole = Peer::connect(server.addresses[0], client_rules()).take_queued();
    let mut trickling: Vec<_> =
        (0..4 * SEATS).map(|_| TcpStream::connect(server.addresses[0]).unwrap()).collect();
    let mut bytes = whole[..whole.len() - 1].iter();
    wait_until("the seats are free", || {
        if let Some(byte) = bytes.next() {
            for stream in &mut trickling {
                // The server may have closed it.
                let _ = stream.write(&[*byte]);
            }
        }
        metrics::CLOSED.get(CloseReason::HandshakeTimeout) >= timeouts + SEATS as u64
            && server.sessions() == 0
    });
    for _ in 0..SEATS / 8 {
        server.connect();
    }
    drop(trickling);
}

/// Refused clients that stay, and unidentified peers at the links' port, take no seats of another
/// kind.
#[test]
fn no_kind_of_session_takes_seats_of_another() {
    let server = Loops::start(1, 1, vec![server_rules(), link_rules()], echo);
    let clients = server.addresses[0];
    let links = server.addresses[1];
    let inside = server.connect();
    let held: Vec<_> =
        (0..REFUSAL_SLOTS + LINKS_MAX + 10).map(|_| TcpStream::connect(clients).unwrap()).collect();
    wait_until("the refused clients have seats", || server.sessions() == 1 + REFUSAL_SLOTS);
    let mut link = Peer::connect(links, link_rules());
    link.handshake();
    link.send(&ping(1));
    assert_eq!(link.receive(), Received::Packet(ping(1)));
    drop((held, inside, link));
    wait_until("all sessions are gone", || server.sessions() == 0);

    let unidentified: Vec<_> =
        (0..REFUSAL_SLOTS + LINKS_MAX + 10).map(|_| TcpStream::connect(links).unwrap()).collect();
    wait_until("the unidentified links have seats", || server.sessions() == LINKS_MAX + REFUSAL_SLOTS);
    let mut client = server.connect();
    client.send(&ping(2));
    assert_eq!(client.receive(), Received::Packet(ping(2)));
    drop(unidentified);
}

#[test]
fn a_stale_id_does_not_reach_the_next_session_in_its_slot() {
    const ROOM: RoomId = RoomId(1);
    let server = Loops::start(1, 1, vec![server_rules()], echo);
    let first = server.connect();
    let stale = server.next_opened();
    drop(first);
    assert_eq!(server.next_closed().0, stale);
    wait_until("the slot is free", || server.sessions() == 0);
    let mut second = server.connect();
    let fresh = server.next_opened();
    assert_eq!((stale.slot(), stale.shard()), (fresh.slot(), fresh.shard()));
    assert_ne!(stale, fresh);
    server.run(0, move |sessions| {
        sessions.send(stale, &ping(1));
        sessions.join(stale, ROOM);
        sessions.rekey(ROOM, &ping(1));
        sessions.append(ROOM, Class::Chat, &[0; 64], sessions.now());
        sessions.close(stale, CloseReason::Goodbye, "");
        sessions.send(fresh, &ping(2));
    });
    assert_eq!(second.receive(), Received::Packet(ping(2)));
    second.send(&ping(3));
    assert_eq!(second.receive(), Received::Packet(ping(3)));
}

/// A closed session lingers for its peer, and must not become a member of a room.
#[test]
fn a_lingering_session_joins_no_room() {
    const ROOM: RoomId = RoomId(1);
    let server = Loops::start(1, 10, vec![server_rules()], echo);
    let mut leaver = server.connect();
    let id = server.next_opened();
    server.run(0, move |sessions| {
        sessions.join(id, ROOM);
        sessions.close(id, CloseReason::Goodbye, "");
    });
    assert_eq!(server.next_closed().0, id);
    let members = |server: &Loops| server.run(0, |sessions| sessions.members(ROOM));
    assert_eq!(members(&server), 0);
    server.run(0, move |sessions| sessions.join(id, ROOM));
    assert_eq!(members(&server), 0);
    assert_eq!(leaver.receive(), Received::Closes(CloseReason::Goodbye));
}
