//! Outgoing connections: each way to fail is reported once and soon.

use std::io::Write;
use std::net::{Shutdown, SocketAddr, TcpListener};
use std::sync::Arc;

use socket2::{Domain, Socket, Type};
use throng_core::wire::CloseReason;
use throng_core::wire::frame::refusal;

use crate::support::*;

/// Returns an address that refuses connections while the socket is bound to it: the socket does
/// not listen, and no other process can take the address.
fn refusing_address() -> (Socket, SocketAddr) {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    socket.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
    let address = socket.local_addr().unwrap().as_socket().unwrap();
    (socket, address)
}

fn check_closed(dialer: &Loops, token: u64, wanted: CloseReason) {
    let (_, closed) = dialer.next_closed();
    assert_eq!((closed.dialed, closed.reason), (Some(token), wanted));
    wait_until("the session is gone", || dialer.sessions() == 0);
    assert!(dialer.seen.try_recv().is_err(), "reported once");
}

#[test]
fn a_port_without_a_listener_fails_at_once() {
    let dialer = Loops::dialer(ignore);
    for token in 0..5 {
        let (_socket, address) = refusing_address();
        dialer.dial(address, client_rules(), token);
        check_closed(&dialer, token, CloseReason::ConnectFailed);
    }
}

#[test]
fn links_authenticate_each_other_with_the_cluster_key() {
    let server = Loops::start(1, 0, vec![link_rules()], echo);
    let dialer = Loops::dialer(ignore);
    let id = dialer.dial(server.addresses[0], link_rules(), 7);
    assert!(matches!(dialer.next(), Seen::Opened(opened, by) if opened == id && by.dialed == Some(7)));
    dialer.run(0, move |sessions| sessions.send(id, &ping(1)));
    assert!(matches!(dialer.next(), Seen::Packet(from, packet) if from == id && packet == ping(1)));
    // The links' port refuses a client's handshake, and the client gets the reason.
    let id = dialer.dial(server.addresses[0], client_rules(), 8);
    let (closed, by) = dialer.next_closed();
    assert_eq!((closed, by.dialed, by.reason), (id, Some(8), CloseReason::HandshakeFailed));
}

/// A server that acts before the dialer polls causes one event: the connection is established,
/// bytes can be read, and the input ends.
#[test]
fn events_that_come_with_the_end_of_connecting_are_handled() {
    let dialer = Loops::dialer(ignore);
    let check = |sent: &[u8], wanted: CloseReason| {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let sent = sent.to_vec();
        // The server's socket stays open, so that no later event makes up for a missed one.
        let _stream = dialer.run(0, move |sessions| {
            sessions.dial(address, &Arc::new(client_rules()), 5).unwrap();
            let (mut stream, _) = listener.accept().unwrap();
            stream.write_all(&sent).unwrap();
            stream.shutdown(Shutdown::Write).unwrap();
            stream
        });
        check_closed(&dialer, 5, wanted);
    };
    check(b"", CloseReason::PeerClosed);
    check(&[1], CloseReason::PeerClosed);
    check(&refusal(CloseReason::ServerFull), CloseReason::ServerFull);
    check(b"SSH-2.0-OpenSSH_9\r\n", CloseReason::UnexpectedFrame);
}

#[test]
fn a_dial_that_is_closed_while_connecting_ends_once() {
    let dialer = Loops::dialer(ignore);
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    dialer.run(0, move |sessions| {
        let id = sessions.dial(address, &Arc::new(client_rules()), 5).unwrap();
        sessions.close(id, CloseReason::Goodbye, "");
    });
    let (mut stream, _) = listener.accept().unwrap();
    assert!(read_out(&mut stream).is_empty(), "the dialer wrote nothing");
    drop(stream);
    check_closed(&dialer, 5, CloseReason::Goodbye);
}

#[test]
fn a_server_that_never_answers_times_out() {
    let rules = || throng_core::net::Endpoint {
        handshake_timeout: std::time::Duration::from_millis(60),
        linger: std::time::Duration::from_millis(20),
        ..client_rules()
    };
    let dialer = Loops::dialer(ignore);
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    dialer.dial(listener.local_addr().unwrap(), rules(), 5);
    check_closed(&dialer, 5, CloseReason::HandshakeTimeout);
}
