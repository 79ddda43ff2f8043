//! Packets in both directions, and peers that break the protocol.

use std::collections::HashMap;
use std::io::Write;
use std::net::TcpStream;
use std::time::Duration;

use throng_core::wire::frame::refusal;
use throng_core::wire::packets::Packet;
use throng_core::wire::{CloseReason, frame};

use crate::support::*;

#[test]
fn dialed_clients_are_echoed_in_order_on_one_and_three_shards() {
    const CLIENTS: u64 = 60;
    const PACKETS: u64 = 50;
    for shards in [1, 3] {
        let server = Loops::start(shards, 100, vec![server_rules()], echo);
        let dialer = Loops::dialer(ignore);
        for token in 0..CLIENTS {
            dialer.dial(server.addresses[0], client_rules(), token);
        }
        let mut received: HashMap<_, Vec<Packet>> = HashMap::new();
        while received.values().map(Vec::len).sum::<usize>() < (CLIENTS * PACKETS) as usize {
            match dialer.next() {
                Seen::Opened(id, opened) => {
                    assert!(received.insert(id, Vec::new()).is_none());
                    assert!(opened.dialed.is_some_and(|token| token < CLIENTS));
                    dialer.run(0, move |sessions| {
                        for token in 0..PACKETS {
                            sessions.send(id, &ping(token));
                        }
                    });
                }
                Seen::Packet(id, packet) => received.get_mut(&id).unwrap().push(packet),
                Seen::Closed(id, closed) => panic!("{id} closed: {closed:?}"),
            }
        }
        let wanted: Vec<_> = (0..PACKETS).map(ping).collect();
        assert!(received.values().all(|packets| *packets == wanted));
        let loads: Vec<_> = (0..shards).map(|shard| server.run(shard, |sessions| sessions.len())).collect();
        assert!(
            loads.iter().all(|load| *load == CLIENTS as usize / shards),
            "sockets are dealt evenly: {loads:?}"
        );
    }
}

#[test]
fn hostile_bytes_end_their_connection_and_no_other() {
    let server = Loops::start(1, 100, vec![server_rules()], echo);
    let mut good = server.connect();
    let hello = Peer::connect(server.addresses[0], client_rules()).take_queued();
    let mut damaged = hello.clone();
    *damaged.last_mut().unwrap() ^= 1;
    let check = |bytes: &[u8], wanted| {
        let mut stream = TcpStream::connect(server.addresses[0]).unwrap();
        stream.write_all(bytes).unwrap();
        assert_eq!(read_out(&mut stream), refusal(wanted), "{bytes:02x?}");
    };
    check(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", CloseReason::UnexpectedFrame);
    check(&[0xff, 0xff, 1], CloseReason::FrameTooLong);
    check(&damaged, CloseReason::HandshakeFailed);
    check(&frame::header(frame::Kind::Sealed, 0), CloseReason::UnexpectedFrame);
    for token in 0..10 {
        good.send(&ping(token));
        assert_eq!(good.receive(), Received::Packet(ping(token)));
    }
}

#[test]
fn a_broken_seal_or_a_replay_closes_the_session_with_a_reason() {
    let server = Loops::start(1, 100, vec![server_rules()], echo);
    let check = |damage: fn(Vec<u8>) -> Vec<u8>, wanted| {
        let mut peer = server.connect();
        peer.queue(&ping(1));
        let bytes = damage(peer.take_queued());
        peer.stream.write_all(&bytes).unwrap();
        assert_eq!(peer.receive_all().1, Some(wanted));
    };
    check(|bytes| bytes.repeat(2), CloseReason::SealBroken);
    check(
        |mut bytes| {
            *bytes.last_mut().unwrap() ^= 0x80;
            bytes
        },
        CloseReason::SealBroken,
    );
    check(|_| vec![0xff, 0xff, 2], CloseReason::FrameTooLong);
}

#[test]
fn an_incomplete_handshake_times_out() {
    let rules = throng_core::net::Endpoint { handshake_timeout: Duration::from_millis(60), ..server_rules() };
    let server = Loops::start(1, 100, vec![rules], echo);
    let hello = Peer::connect(server.addresses[0], client_rules()).take_queued();
    for sent in [0, 1, hello.len() - 1] {
        let mut stream = TcpStream::connect(server.addresses[0]).unwrap();
        stream.write_all(&hello[..sent]).unwrap();
        assert_eq!(read_out(&mut stream), refusal(CloseReason::HandshakeTimeout));
    }
    wait_until("the table is empty", || server.sessions() == 0);
}

#[test]
fn single_bytes_are_as_good_as_whole_frames() {
    let server = Loops::start(1, 100, vec![server_rules()], echo);
    let mut peer = Peer::connect(server.addresses[0], client_rules());
    peer.stream.set_nodelay(true).unwrap();
    for byte in peer.take_queued() {
        peer.stream.write_all(&[byte]).unwrap();
    }
    peer.handshake();
    peer.queue(&ping(1));
    peer.queue(&ping(2));
    for byte in peer.take_queued() {
        peer.stream.write_all(&[byte]).unwrap();
    }
    assert_eq!((peer.receive(), peer.receive()), (Received::Packet(ping(1)), Received::Packet(ping(2))));
}

#[test]
fn peers_that_vanish_are_reported_once_and_leave_no_session() {
    let server = Loops::start(2, 100, vec![server_rules()], echo);
    for _ in 0..10 {
        drop(server.connect());
        server.connect().vanish();
        drop(Peer::connect(server.addresses[0], client_rules()));
        let mut half = Peer::connect(server.addresses[0], client_rules());
        let hello = half.take_queued();
        half.stream.write_all(&hello[..20]).unwrap();
        half.vanish();
    }
    wait_until("the tables are empty", || server.sessions() == 0);
    let mut opened = Vec::new();
    let mut closed = Vec::new();
    for seen in server.seen.try_iter() {
        match seen {
            Seen::Opened(id, _) => opened.push(id),
            Seen::Closed(id, by) => {
                let reasons = [CloseReason::PeerClosed, CloseReason::ConnectionLost];
                assert!(reasons.contains(&by.reason), "{by:?}");
                closed.push(id);
            }
            Seen::Packet(..) => panic!("{seen:?}"),
        }
    }
    opened.sort_unstable();
    closed.sort_unstable();
    assert_eq!(opened.len(), 20, "an unfinished handshake is not reported");
    assert_eq!(opened, closed);
}
