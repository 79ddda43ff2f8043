//! Connections that we make: the ways in which they fail, each reported once and soon.

use std::io::Write;
use std::net::{Shutdown, SocketAddr, TcpListener};
use std::sync::Arc;

use throng_core::wire::CloseReason;
use throng_core::wire::frame::refusal;

use crate::support::*;

fn free_address() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

fn check_closed(dialler: &Loops, token: u64, wanted: CloseReason) {
    let (_, closed) = dialler.next_closed();
    assert_eq!((closed.dialled, closed.reason), (Some(token), wanted));
    wait_until("the session is gone", || dialler.sessions() == 0);
    assert!(dialler.seen.try_recv().is_err(), "reported once");
}

#[test]
fn a_port_where_nobody_listens_fails_at_once() {
    let dialler = Loops::dialler(ignore);
    for token in 0..5 {
        dialler.dial(free_address(), client_rules(), token);
        check_closed(&dialler, token, CloseReason::ConnectFailed);
    }
}

#[test]
fn both_ends_of_a_link_know_each_other_by_the_cluster_key() {
    let server = Loops::start(1, 0, vec![link_rules()], echo);
    let dialler = Loops::dialler(ignore);
    let id = dialler.dial(server.addresses[0], link_rules(), 7);
    assert!(matches!(dialler.next(), Seen::Opened(opened, by) if opened == id && by.dialled == Some(7)));
    dialler.run(0, move |sessions| sessions.send(id, &ping(1)));
    assert!(matches!(dialler.next(), Seen::Packet(from, packet) if from == id && packet == ping(1)));
    // A client's handshake at the links' port is refused, and the refusal is understood.
    let id = dialler.dial(server.addresses[0], client_rules(), 8);
    let (closed, by) = dialler.next_closed();
    assert_eq!((closed, by.dialled, by.reason), (id, Some(8), CloseReason::HandshakeFailed));
}

/// Everything that a server does before the dialler's poller looks arrives as one event: the
/// connection is made, there is something to read, and the input ends.
#[test]
fn what_comes_with_the_end_of_connecting_is_heeded() {
    let dialler = Loops::dialler(ignore);
    let check = |said: &[u8], wanted: CloseReason| {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let said = said.to_vec();
        // The server's socket stays open: no later event, no reset, makes up for one not heeded.
        let _stream = dialler.run(0, move |sessions| {
            sessions.dial(address, &Arc::new(client_rules()), 5).unwrap();
            let (mut stream, _) = listener.accept().unwrap();
            stream.write_all(&said).unwrap();
            stream.shutdown(Shutdown::Write).unwrap();
            stream
        });
        check_closed(&dialler, 5, wanted);
    };
    check(b"", CloseReason::PeerClosed);
    check(&[1], CloseReason::PeerClosed);
    check(&refusal(CloseReason::ServerFull), CloseReason::ServerFull);
    check(b"SSH-2.0-OpenSSH_9\r\n", CloseReason::UnexpectedFrame);
}

#[test]
fn a_dial_given_up_while_it_is_under_way_ends_once() {
    let dialler = Loops::dialler(ignore);
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    dialler.run(0, move |sessions| {
        let id = sessions.dial(address, &Arc::new(client_rules()), 5).unwrap();
        sessions.close(id, CloseReason::Goodbye, "");
    });
    let (mut stream, _) = listener.accept().unwrap();
    assert!(read_out(&mut stream).is_empty(), "nothing was said");
    drop(stream);
    check_closed(&dialler, 5, CloseReason::Goodbye);
}

#[test]
fn a_server_that_never_answers_is_given_up() {
    let rules = || throng_core::net::Endpoint {
        handshake_timeout: std::time::Duration::from_millis(60),
        linger: std::time::Duration::from_millis(20),
        ..client_rules()
    };
    let dialler = Loops::dialler(ignore);
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    dialler.dial(listener.local_addr().unwrap(), rules(), 5);
    check_closed(&dialler, 5, CloseReason::HandshakeTimeout);
}
