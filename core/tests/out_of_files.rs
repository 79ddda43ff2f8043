//! Acceptor without file descriptors. In a test binary of its own, with one test, because the limit
//! belongs to the process.

use std::fs::File;
use std::io::Read;
use std::net::TcpStream;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use throng_core::SessionId;
use throng_core::crypto::{Credentials, StaticKey};
use throng_core::metrics;
use throng_core::net::{
    Acceptor, App, Closed, Endpoint, Listener, Mail, Opened, PeerKind, Sessions, Shard, ShardSize,
};
use throng_core::wire::frame::refusal;
use throng_core::wire::{CloseReason, Packet};

const PATIENCE: Duration = Duration::from_mins(1);

struct Nothing;

impl App for Nothing {
    type Command = ();
    fn opened(&mut self, _sessions: &mut Sessions, _id: SessionId, _opened: Opened) {}
    fn packet(&mut self, _sessions: &mut Sessions, _id: SessionId, _packet: Packet) -> Result<(), Packet> {
        Ok(())
    }
    fn closed(&mut self, _sessions: &mut Sessions, _id: SessionId, _closed: Closed) {}
    fn command(&mut self, _sessions: &mut Sessions, _command: ()) {}
}

fn rules() -> Endpoint {
    Endpoint {
        peer: PeerKind::Client,
        credentials: Credentials::Server(Arc::new(StaticKey::from_private([7; 32]))),
        body_max: 4096,
        outbox_max: 65536,
        handshake_timeout: PATIENCE,
        first_packet_timeout: None,
        heartbeat: None,
        idle_timeout: None,
        linger: PATIENCE,
    }
}

fn wait_until(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !condition() {
        assert!(Instant::now() < deadline, "timed out waiting until {what}");
        std::thread::sleep(Duration::from_millis(1));
    }
}

#[test]
fn connections_are_closed_at_once_while_file_descriptors_are_missing() {
    const WAITING: usize = 8;
    let listener = Listener::bind(([127, 0, 0, 1], 0).into(), "test", 128, Arc::new(rules())).unwrap();
    let address = listener.address();
    let shard = Shard::<()>::new(0, ShardSize::new(100, 1000)).unwrap();
    let mailbox = shard.mailbox();
    let acceptor = Acceptor::new(vec![listener], std::slice::from_ref(&shard)).unwrap();
    let acceptor = acceptor.spawn("accept".into()).unwrap();
    let shard = std::thread::spawn(move || shard.run(Nothing));

    // The clients' descriptors are opened before there are none left, so that only the server lacks
    // some.
    let connect = || {
        socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None)
            .expect("a free file descriptor")
    };
    let sockets: Vec<_> = (0..WAITING).map(|_| connect()).collect();
    let before = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: Some(128), ..before }).unwrap();
    let mut hoard = Vec::new();
    while let Ok(file) = File::open("/dev/null") {
        hoard.push(file);
    }

    let errors = metrics::ACCEPT_ERRORS.get();
    let accepted = metrics::ACCEPTED.get();
    let refused_after = Instant::now();
    for socket in &sockets {
        socket.connect(&address.into()).unwrap();
    }
    // Each connection is closed without a refusal, for which the server lacks descriptors. This
    // side stays open, because a descriptor that became free would go to the acceptor.
    let mut closed = Vec::new();
    for socket in sockets {
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        let mut stream = TcpStream::from(socket);
        let mut bytes = Vec::new();
        let outcome = stream.read_to_end(&mut bytes);
        assert!(outcome.is_ok_and(|count| count == 0), "closed, not served");
        closed.push(stream);
    }
    assert!(refused_after.elapsed() < PATIENCE / 2);
    assert!(metrics::ACCEPT_ERRORS.get() > errors);
    assert_eq!(metrics::ACCEPTED.get(), accepted);

    drop((hoard, closed));
    setrlimit(Resource::Nofile, before).unwrap();
    // The acceptor recovers by itself. During its pause a connection may still be closed, so try
    // until one is accepted.
    wait_until("a connection is accepted", || {
        let _stream = TcpStream::connect(address).unwrap();
        metrics::ACCEPTED.get() > accepted
    });
    let mut stream = TcpStream::connect(address).unwrap();
    std::io::Write::write_all(&mut stream, b"GET /").unwrap();
    let mut bytes = Vec::new();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.read_to_end(&mut bytes).unwrap();
    assert_eq!(bytes, refusal(CloseReason::UnexpectedFrame), "served as before");

    acceptor.stop();
    assert!(mailbox.push(Mail::Stop(CloseReason::Goodbye, Duration::ZERO)).is_ok());
    mailbox.ring();
    shard.join().unwrap().unwrap();
}
