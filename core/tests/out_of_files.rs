//! The acceptor without file descriptors. A test binary of its own, with one test: the limit
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

const PATIENCE: Duration = Duration::from_secs(20);

struct Nothing;

impl App for Nothing {
    type Command = ();
    fn opened(&mut self, _net: &mut Sessions, _id: SessionId, _opened: Opened) {}
    fn packet(&mut self, _net: &mut Sessions, _id: SessionId, _packet: Packet) -> Result<(), Packet> {
        Ok(())
    }
    fn closed(&mut self, _net: &mut Sessions, _id: SessionId, _closed: Closed) {}
    fn command(&mut self, _net: &mut Sessions, _command: ()) {}
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
        assert!(Instant::now() < deadline, "waited in vain: {what}");
        std::thread::sleep(Duration::from_millis(1));
    }
}

#[test]
fn running_out_of_files_refuses_at_once_and_is_survived() {
    const WAITING: usize = 8;
    let listener = Listener::bind(([127, 0, 0, 1], 0).into(), "test", 128, Arc::new(rules())).unwrap();
    let address = listener.address();
    let shard = Shard::<()>::new(0, ShardSize::new(100, 1000)).unwrap();
    let mailbox = shard.mailbox();
    let acceptor = Acceptor::new(vec![listener], std::slice::from_ref(&shard)).unwrap();
    let acceptor = acceptor.spawn("accept".into()).unwrap();
    let shard = std::thread::spawn(move || shard.run(Nothing));

    // The clients have their descriptors before there are none left; the server then needs some.
    let connect =
        || socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).expect("a file is left");
    let sockets: Vec<_> = (0..WAITING).map(|_| connect()).collect();
    let before = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: Some(128), ..before }).unwrap();
    let mut hoard = Vec::new();
    while let Ok(file) = File::open("/dev/null") {
        hoard.push(file);
    }

    let (errors, accepted) = (metrics::ACCEPT_ERRORS.get(), metrics::ACCEPTED.get());
    let refused_after = Instant::now();
    for socket in &sockets {
        socket.connect(&address.into()).unwrap();
    }
    // None is left hanging: each is closed, without a word, for that would take more than we have.
    // They stay open on this side: a descriptor that became free would be the acceptor's.
    let mut closed = Vec::new();
    for socket in sockets {
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        let (mut stream, mut bytes) = (TcpStream::from(socket), Vec::new());
        let outcome = stream.read_to_end(&mut bytes);
        assert!(outcome.is_ok_and(|count| count == 0), "closed, not served");
        closed.push(stream);
    }
    assert!(refused_after.elapsed() < PATIENCE / 2);
    assert!(metrics::ACCEPT_ERRORS.get() > errors);
    assert_eq!(metrics::ACCEPTED.get(), accepted);

    drop((hoard, closed));
    setrlimit(Resource::Nofile, before).unwrap();
    // The acceptor comes back by itself. Whoever connects while it still rests is served too or refused,
    // so ask until somebody is in.
    wait_until("somebody gets in", || {
        let _stream = TcpStream::connect(address).unwrap();
        metrics::ACCEPTED.get() > accepted
    });
    let mut stream = TcpStream::connect(address).unwrap();
    std::io::Write::write_all(&mut stream, b"GET /").unwrap();
    let mut bytes = Vec::new();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.read_to_end(&mut bytes).unwrap();
    assert_eq!(bytes, refusal(CloseReason::UnexpectedFrame), "served as ever");

    acceptor.stop();
    assert!(mailbox.push(Mail::Stop(CloseReason::Goodbye, Duration::ZERO)).is_ok());
    mailbox.ring();
    shard.join().unwrap().unwrap();
}
