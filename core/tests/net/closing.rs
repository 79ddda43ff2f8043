//! Closing of sessions, and stopping of event loops.

use std::io::Write;
use std::time::{Duration, Instant};

use throng_core::SessionId;
use throng_core::net::{Endpoint, Mail, Sessions};
use throng_core::wire::packets::{ChatRequest, Packet, Scope};
use throng_core::wire::{CloseReason, Text};

use crate::support::*;

#[expect(clippy::unnecessary_wraps, clippy::needless_pass_by_value, reason = "the shape of OnPacket")]
fn close_at_once(sessions: &mut Sessions, id: SessionId, packet: Packet) -> Result<(), Packet> {
    sessions.send(id, &packet);
    sessions.close(id, CloseReason::PacketNotAllowed, "not today");
    Ok(())
}

/// Closes the session and gives the packet back, which is then dropped.
fn close_and_give_back(sessions: &mut Sessions, id: SessionId, packet: Packet) -> Result<(), Packet> {
    sessions.close(id, CloseReason::PacketNotAllowed, "");
    Err(packet)
}

/// Unread input must not make the system reset the connection, because the peer would lose the
/// reason.
#[test]
fn the_reason_arrives_although_input_is_unread() {
    for on_packet in [close_at_once, close_and_give_back] {
        let server = Loops::start(1, 10, vec![server_rules()], on_packet);
        let mut peer = server.connect();
        for _ in 0..400 {
            peer.queue(
                &ChatRequest {
                    scope: Scope::World,
                    target: 0,
                    stamp: 0,
                    text: Text::truncated(&"x".repeat(1000)),
                }
                .into(),
            );
        }
        let bytes = peer.take_queued();
        peer.stream.write_all(&bytes).unwrap();
        assert_eq!(peer.receive_all().1, Some(CloseReason::PacketNotAllowed));
        server.next_opened();
        assert!(matches!(server.next(), Seen::Packet(..)));
        assert_eq!(server.next_closed().1.reason, CloseReason::PacketNotAllowed);
        drop(peer);
        wait_until("the session is gone", || server.sessions() == 0);
        assert!(server.seen.try_recv().is_err(), "one packet, one end");
    }
}

#[test]
fn a_peer_that_does_not_close_is_removed_after_the_linger() {
    const LINGER: Duration = Duration::from_millis(60);
    let rules = Endpoint { linger: LINGER, ..server_rules() };
    let server = Loops::start(1, 10, vec![rules], echo);
    let peer = server.connect();
    let id = server.next_opened();
    let closed_at = server.run(0, move |sessions| {
        sessions.close(id, CloseReason::Goodbye, "");
        sessions.now()
    });
    assert_eq!(server.next_closed().0, id);
    wait_until("the linger is over", || server.sessions() == 0);
    assert!(closed_at.elapsed() >= LINGER, "the session waits for the peer");
    drop(peer);
}

#[test]
fn a_reset_loses_what_is_under_way() {
    let server = Loops::start(1, 10, vec![server_rules()], echo);
    let dialer = Loops::dialer(ignore);
    let id = dialer.dial(server.addresses[0], client_rules(), 1);
    dialer.next_opened();
    server.next_opened();
    dialer.run(0, move |sessions| {
        sessions.send(id, &ping(1));
        sessions.reset(id);
        sessions.reset(id);
    });
    // The server reads no packet, and no reason.
    assert_eq!(server.next_closed().1.reason, CloseReason::ConnectionLost);
    assert_eq!(dialer.next_closed().1.reason, CloseReason::ConnectionLost);
    wait_until("both are gone", || server.sessions() + dialer.sessions() == 0);
}

#[test]
fn a_session_closed_by_both_sides_ends_once() {
    let server = Loops::start(1, 10, vec![server_rules()], echo);
    for _ in 0..20 {
        let peer = server.connect();
        let id = server.next_opened();
        // The peer's close and ours race.
        drop(peer);
        server.run(0, move |sessions| {
            sessions.close(id, CloseReason::Goodbye, "");
            sessions.close(id, CloseReason::InternalError, "");
        });
        assert_eq!(server.next_closed().0, id);
        wait_until("the session is gone", || server.sessions() == 0);
    }
    assert!(server.seen.try_recv().is_err());
}

#[test]
fn stopping_closes_all_sessions_and_ends_when_they_are_gone() {
    let server = Loops::start(2, 10, vec![server_rules(), link_rules()], echo);
    let mut peers: Vec<_> = (0..4).map(|_| server.connect()).collect();
    let mut link = Peer::connect(server.addresses[1], link_rules());
    link.handshake();
    let mut handshaking = std::net::TcpStream::connect(server.addresses[0]).unwrap();
    wait_until("all sessions exist", || server.sessions() == 6);
    for shard in 0..2 {
        server.mail(shard, Mail::Stop(CloseReason::ServerShutdown, 10 * PATIENCE));
    }
    for peer in peers.iter_mut().chain([&mut link]) {
        assert_eq!(peer.receive_all().1, Some(CloseReason::ServerShutdown));
    }
    let refusal = throng_core::wire::frame::refusal(CloseReason::ServerShutdown);
    assert_eq!(read_out(&mut handshaking), refusal);
    assert!(!(server.has_ended(0) && server.has_ended(1)), "the loops wait for their peers");
    drop((peers, link, handshaking));
    wait_until("the loops end before the given time", || server.has_ended(0) && server.has_ended(1));
}

/// A stop has a time for data that waits. Slow peers were cut off after the linger, untold.
#[test]
fn a_slow_peer_receives_all_and_the_reason_while_the_loop_ends() {
    const LINGER: Duration = Duration::from_millis(60);
    const MESSAGES: usize = 900;
    for closes_clients_before in [false, true] {
        let rules = Endpoint { linger: LINGER, ..server_rules() };
        let server = Loops::start(1, 10, vec![rules], echo);
        let mut peer = Peer::connect_narrow(server.addresses[0], client_rules());
        peer.handshake();
        let id = server.next_opened();
        server.run(0, move |sessions| {
            (0..MESSAGES as u64).for_each(|number| sessions.send(id, &message(Scope::World, number)));
        });
        let began = Instant::now();
        if closes_clients_before {
            server.mail(0, Mail::CloseClients(CloseReason::ServerShutdown));
            wait_until("the linger is over", || began.elapsed() > 3 * LINGER);
        }
        server.mail(0, Mail::Stop(CloseReason::ServerShutdown, PATIENCE));
        wait_until("the linger is over", || began.elapsed() > 6 * LINGER);
        let (packets, reason) = peer.receive_all();
        assert_eq!((packets.len(), reason), (MESSAGES, Some(CloseReason::ServerShutdown)));
        drop(peer);
        wait_until("the loop ends", || server.has_ended(0));
    }
}

#[test]
fn a_peer_that_reads_nothing_delays_the_end_up_to_the_time_of_the_stop() {
    let rules = Endpoint { linger: Duration::ZERO, ..server_rules() };
    let server = Loops::start(1, 10, vec![rules], echo);
    let mut peer = Peer::connect_narrow(server.addresses[0], client_rules());
    peer.handshake();
    let id = server.next_opened();
    server.run(0, move |sessions| {
        (0..900).for_each(|number| sessions.send(id, &message(Scope::World, number)));
    });
    let began = Instant::now();
    let patience = Duration::from_millis(200);
    server.mail(0, Mail::Stop(CloseReason::ServerShutdown, patience));
    wait_until("the loop ends", || server.has_ended(0));
    assert!(began.elapsed() >= patience, "it waits for the peer");
    drop(peer);
}

#[test]
fn stopping_ends_in_time_although_a_peer_stays_and_the_application_dials() {
    let server = Loops::start(1, 10, vec![server_rules()], echo);
    let started = Instant::now();
    let peer = server.connect();
    let address = server.addresses[0];
    server.mail(0, Mail::Stop(CloseReason::ServerShutdown, Duration::from_millis(80)));
    server.mail(
        0,
        Mail::App(Box::new(move |sessions: &mut Sessions| {
            let refused = sessions.dial(address, &std::sync::Arc::new(client_rules()), 1);
            assert!(refused.is_err(), "a loop that ends makes no new sessions");
        })),
    );
    // A second stop does not prolong the first.
    server.mail(0, Mail::Stop(CloseReason::ServerShutdown, 10 * PATIENCE));
    wait_until("the loop ends", || server.has_ended(0));
    assert!(started.elapsed() < PATIENCE / 2);
    drop(peer);
}

#[test]
fn close_clients_leaves_links_open() {
    let server = Loops::start(1, 10, vec![server_rules(), link_rules()], echo);
    let mut client = server.connect();
    let mut link = Peer::connect(server.addresses[1], link_rules());
    link.handshake();
    server.mail(0, Mail::CloseClients(CloseReason::ServerShutdown));
    assert_eq!(client.receive_all().1, Some(CloseReason::ServerShutdown));
    link.send(&ping(1));
    assert_eq!(link.receive(), Received::Packet(ping(1)));
}

/// A peer whose cable is pulled sends no end of input, and answers no heartbeat.
#[test]
fn a_peer_whose_cable_is_pulled_is_closed_and_gives_its_seat_back() {
    let rules = Endpoint {
        heartbeat: Some(Duration::from_millis(50)),
        idle_timeout: Some(Duration::from_millis(200)),
        linger: Duration::from_millis(50),
        ..server_rules()
    };
    let server = Loops::start(1, 1, vec![rules], ignore);
    let mut peer = server.connect();
    peer.send(&ping(1));
    let id = server.next_opened();
    assert!(matches!(server.next(), Seen::Packet(from, _) if from == id));
    let (closed, by) = server.next_closed();
    assert_eq!((closed, by.reason), (id, CloseReason::IdleTimeout));
    wait_until("the session is gone", || server.sessions() == 0);
    // Its socket is open on this side all the while.
    let _other = server.connect();
    assert_eq!(server.next_opened().slot(), id.slot());
    assert_eq!(peer.receive_all().1, Some(CloseReason::IdleTimeout));
}
