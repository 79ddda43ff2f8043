//! Shared parts of the tests: servers and clients on event loops, and peers on plain sockets.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use throng_core::SessionId;
use throng_core::crypto::{ClusterKey, Credentials, RoomCipher, StaticKey};
use throng_core::net::{
    Acceptor, AcceptorHandle, App, Closed, Endpoint, Listener, Mail, Mailbox, Opened, PeerKind, Sessions,
    Shard, ShardSize,
};
use throng_core::session::outbox::BufferPool;
use throng_core::session::{Event, Session, room_packet};
use throng_core::wire::packets::{ChatMessage, PingRequest, Scope, ServerTimes, User};
use throng_core::wire::{CloseReason, Packet, Text};

/// Far longer than any wait of these tests, on a busy machine too. A test that waits so long has
/// failed.
pub(crate) const PATIENCE: Duration = Duration::from_mins(1);

/// Waits until `condition` holds.
pub(crate) fn wait_until(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !condition() {
        assert!(Instant::now() < deadline, "timed out waiting until {what}");
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// Rules with long timeouts. Tests shorten the one that they are about.
pub(crate) fn rules(peer: PeerKind, credentials: Credentials) -> Endpoint {
    Endpoint {
        peer,
        credentials,
        body_max: 16 * 1024,
        outbox_max: 1 << 20,
        handshake_timeout: PATIENCE,
        first_packet_timeout: None,
        heartbeat: None,
        idle_timeout: None,
        linger: PATIENCE,
    }
}

fn server_key() -> Arc<StaticKey> {
    Arc::new(StaticKey::from_private([7; 32]))
}

/// Returns a server's rules for clients.
pub(crate) fn server_rules() -> Endpoint {
    rules(PeerKind::Client, Credentials::Server(server_key()))
}

/// Returns a client's rules for servers.
pub(crate) fn client_rules() -> Endpoint {
    rules(PeerKind::Client, Credentials::Client(*server_key().public()))
}

/// Returns the rules of both ends of a link.
pub(crate) fn link_rules() -> Endpoint {
    rules(PeerKind::Link, Credentials::Link(ClusterKey::from_bytes([9; 32])))
}

pub(crate) fn ping(token: u64) -> Packet {
    PingRequest { token }.into()
}

/// Returns a message of about a thousand bytes whose text is its number.
pub(crate) fn message(scope: Scope, sequence: u64) -> Packet {
    let times = ServerTimes { received_us: 0, queued_us: 0, handled_us: 0 };
    let sender = User { id: 1, name: Text::truncated("Bee") };
    let text = Text::truncated(&format!("{sequence:0>900}"));
    ChatMessage { scope, target: 0, sequence, sender, stamp: 0, times, text }.into()
}

pub(crate) fn encoded(packet: &Packet) -> Vec<u8> {
    let mut bytes = Vec::new();
    packet.encode(&mut bytes);
    bytes
}

/// A report to a [`Probe`].
#[derive(Debug)]
pub(crate) enum Seen {
    Opened(SessionId, Opened),
    Packet(SessionId, Packet),
    Closed(SessionId, Closed),
}

/// A closure to run on a loop's thread.
pub(crate) type Errand = Box<dyn FnOnce(&mut Sessions) + Send>;

/// Handling of a packet by a [`Probe`], after the probe has passed the packet to the test.
pub(crate) type OnPacket = fn(&mut Sessions, SessionId, Packet) -> Result<(), Packet>;

/// Work of a [`Probe`] in [`App::turn`]. Returns the latest time of the next turn.
pub(crate) type OnTurn = fn(&mut Sessions) -> Option<Instant>;

/// An application that passes all reports to the test and runs errands.
pub(crate) struct Probe {
    seen: Sender<Seen>,
    on_packet: OnPacket,
    on_turn: OnTurn,
}

impl App for Probe {
    type Command = Errand;

    fn opened(&mut self, _sessions: &mut Sessions, id: SessionId, opened: Opened) {
        // Refused, here and below, once the test is over.
        let _ = self.seen.send(Seen::Opened(id, opened));
    }

    fn packet(&mut self, sessions: &mut Sessions, id: SessionId, packet: Packet) -> Result<(), Packet> {
        let _ = self.seen.send(Seen::Packet(id, packet.clone()));
        (self.on_packet)(sessions, id, packet)
    }

    fn closed(&mut self, _sessions: &mut Sessions, id: SessionId, closed: Closed) {
        let _ = self.seen.send(Seen::Closed(id, closed));
    }

    fn command(&mut self, sessions: &mut Sessions, command: Errand) {
        command(sessions);
    }

    fn turn(&mut self, sessions: &mut Sessions) -> Option<Instant> {
        (self.on_turn)(sessions)
    }
}

/// Sends the packet back.
#[expect(clippy::unnecessary_wraps, clippy::needless_pass_by_value, reason = "the shape of OnPacket")]
pub(crate) fn echo(sessions: &mut Sessions, id: SessionId, packet: Packet) -> Result<(), Packet> {
    sessions.send(id, &packet);
    Ok(())
}

/// Drops the packet.
#[expect(clippy::unnecessary_wraps, reason = "the shape of OnPacket")]
pub(crate) fn ignore(_sessions: &mut Sessions, _id: SessionId, _packet: Packet) -> Result<(), Packet> {
    Ok(())
}

/// Event loops with [`Probe`]s on them, a server if they have listeners.
pub(crate) struct Loops {
    pub(crate) addresses: Vec<SocketAddr>,
    pub(crate) seen: Receiver<Seen>,
    pub(crate) mailboxes: Vec<Arc<Mailbox<Errand>>>,
    threads: Vec<JoinHandle<io::Result<()>>>,
    acceptor: Option<AcceptorHandle>,
}

impl Loops {
    /// Starts `shards` loops for `clients` clients each, with a listener for each of `endpoints`.
    pub(crate) fn start(
        shards: usize,
        clients: usize,
        endpoints: Vec<Endpoint>,
        on_packet: OnPacket,
    ) -> Self {
        Self::start_all(shards, ShardSize::new(clients, 1024), endpoints, on_packet, |_| None)
    }

    /// Starts one loop of the given size.
    pub(crate) fn start_sized(size: ShardSize, endpoints: Vec<Endpoint>, on_packet: OnPacket) -> Self {
        Self::start_all(1, size, endpoints, on_packet, |_| None)
    }

    /// Starts one loop for `clients` clients that calls `on_turn` in every turn.
    pub(crate) fn start_with_turns(
        clients: usize,
        endpoints: Vec<Endpoint>,
        on_packet: OnPacket,
        on_turn: OnTurn,
    ) -> Self {
        Self::start_all(1, ShardSize::new(clients, 1024), endpoints, on_packet, on_turn)
    }

    fn start_all(
        shards: usize,
        size: ShardSize,
        endpoints: Vec<Endpoint>,
        on_packet: OnPacket,
        on_turn: OnTurn,
    ) -> Self {
        let listeners: Vec<_> = endpoints.into_iter().map(listener).collect();
        let addresses = listeners.iter().map(Listener::address).collect();
        let shards: Vec<_> = (0..shards).map(|index| Shard::new(index, size).unwrap()).collect();
        let mailboxes = shards.iter().map(Shard::mailbox).collect();
        let acceptor = Acceptor::new(listeners, &shards).unwrap().spawn("accept".into()).unwrap();
        let (sender, seen) = channel();
        let threads = shards
            .into_iter()
            .map(|shard| {
                let probe = Probe { seen: sender.clone(), on_packet, on_turn };
                std::thread::spawn(move || shard.run(probe))
            })
            .collect();
        Self { addresses, seen, mailboxes, threads, acceptor: Some(acceptor) }
    }

    /// Starts one loop without listeners.
    pub(crate) fn dialer(on_packet: OnPacket) -> Self {
        Self::start(1, 0, Vec::new(), on_packet)
    }

    /// Runs `errand` on a loop and returns its result.
    pub(crate) fn run<T: Send + 'static>(
        &self,
        shard: usize,
        errand: impl FnOnce(&mut Sessions) -> T + Send + 'static,
    ) -> T {
        let (sender, result) = channel();
        self.mail(
            shard,
            Mail::App(Box::new(move |sessions: &mut Sessions| {
                let _ = sender.send(errand(sessions));
            })),
        );
        result.recv_timeout(PATIENCE).expect("the loop runs errands")
    }

    /// Waits until a loop has finished a turn that began after this call. By then it has written
    /// all packets that it had queued before.
    pub(crate) fn finish_turn(&self, shard: usize) {
        let start_of_turn_after = |time| {
            loop {
                // An errand runs before its turn reads, so the time is that of the turn's start.
                let started = self.run(shard, |sessions| sessions.now());
                if started > time {
                    return started;
                }
            }
        };
        let whole_turn = start_of_turn_after(Instant::now());
        start_of_turn_after(whole_turn);
    }

    pub(crate) fn mail(&self, shard: usize, mail: Mail<Errand>) {
        assert!(self.mailboxes[shard].push(mail).is_ok(), "the loop is alive");
        self.mailboxes[shard].ring();
    }

    pub(crate) fn dial(&self, address: SocketAddr, rules: Endpoint, token: u64) -> SessionId {
        self.run(0, move |sessions| sessions.dial(address, &Arc::new(rules), token)).unwrap()
    }

    /// Returns the next report to a probe.
    pub(crate) fn next(&self) -> Seen {
        self.seen.recv_timeout(PATIENCE).expect("a report")
    }

    pub(crate) fn next_opened(&self) -> SessionId {
        match self.next() {
            Seen::Opened(id, _) => id,
            other => panic!("{other:?}"),
        }
    }

    pub(crate) fn next_closed(&self) -> (SessionId, Closed) {
        match self.next() {
            Seen::Closed(id, closed) => (id, closed),
            other => panic!("{other:?}"),
        }
    }

    /// Returns the number of sessions in the tables of all loops.
    pub(crate) fn sessions(&self) -> usize {
        (0..self.mailboxes.len()).map(|shard| self.run(shard, |sessions| sessions.len())).sum()
    }

    /// Returns true if a loop's thread has ended.
    pub(crate) fn has_ended(&self, shard: usize) -> bool {
        self.threads[shard].is_finished()
    }

    /// Connects and finishes the handshake.
    pub(crate) fn connect(&self) -> Peer {
        let mut peer = Peer::connect(self.addresses[0], client_rules());
        peer.handshake();
        peer
    }
}

impl Drop for Loops {
    fn drop(&mut self) {
        if let Some(acceptor) = self.acceptor.take() {
            acceptor.stop();
        }
        for mailbox in &self.mailboxes {
            // Refused by a loop that the test has stopped.
            let _ = mailbox.push(Mail::Stop(CloseReason::Goodbye, Duration::ZERO));
            mailbox.ring();
        }
        for thread in self.threads.drain(..) {
            let outcome = thread.join();
            if !std::thread::panicking() {
                outcome.expect("a loop does not panic").expect("a loop does not fail");
            }
        }
    }
}

pub(crate) fn listener(endpoint: Endpoint) -> Listener {
    Listener::bind(([127, 0, 0, 1], 0).into(), "test", 1024, Arc::new(endpoint)).unwrap()
}

/// Input of a [`Peer`].
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Received {
    Packet(Packet),
    Closes(CloseReason),
    /// End of input.
    End,
}

/// A client on a blocking socket, which reads and writes only when the test calls it.
pub(crate) struct Peer {
    pub(crate) stream: TcpStream,
    pub(crate) session: Session,
    pub(crate) pool: BufferPool,
    inbox: Vec<u8>,
}

impl Peer {
    pub(crate) fn connect(address: SocketAddr, rules: Endpoint) -> Self {
        Self::on(TcpStream::connect(address).unwrap(), rules)
    }

    /// Connects with a small receive buffer and small segments. With the loopback's usual segments
    /// of 64 KiB the sender's system would buffer megabytes, and would fill our buffer by slow
    /// probes only.
    pub(crate) fn connect_narrow(address: SocketAddr, rules: Endpoint) -> Self {
        let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
        socket.set_tcp_mss(1400).unwrap();
        socket.set_recv_buffer_size(16 * 1024).unwrap();
        socket.connect(&address.into()).unwrap();
        Self::on(socket.into(), rules)
    }

    fn on(stream: TcpStream, rules: Endpoint) -> Self {
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_write_timeout(Some(PATIENCE)).unwrap();
        let mut session = Session::dialed(Arc::new(rules), Instant::now()).unwrap();
        let mut pool = BufferPool::default();
        session.handle_connected(&mut pool);
        Self { stream, session, pool, inbox: Vec::new() }
    }

    /// Removes the queued bytes and returns them.
    pub(crate) fn take_queued(&mut self) -> Vec<u8> {
        let bytes = self.session.poll_transmit().to_vec();
        self.session.handle_transmitted(bytes.len(), &mut self.pool);
        bytes
    }

    pub(crate) fn queue(&mut self, packet: &Packet) {
        self.session.send(packet, &mut self.pool);
    }

    pub(crate) fn flush(&mut self) {
        let bytes = self.take_queued();
        self.stream.write_all(&bytes).unwrap();
    }

    pub(crate) fn send(&mut self, packet: &Packet) {
        self.queue(packet);
        self.flush();
    }

    /// Sends pings with these tokens in one write.
    pub(crate) fn send_pings(&mut self, tokens: impl IntoIterator<Item = u64>) {
        for token in tokens {
            self.queue(&ping(token));
        }
        self.flush();
    }

    pub(crate) fn handshake(&mut self) {
        self.flush();
        while !self.session.is_open() {
            assert_eq!(self.step(), None, "nothing but the handshake");
        }
    }

    /// Reads the next packet, or the end.
    pub(crate) fn receive(&mut self) -> Received {
        loop {
            if let Some(received) = self.step() {
                return received;
            }
        }
    }

    /// Reads all packets up to the end. Returns them with the server's reason, if it sent one.
    pub(crate) fn receive_all(&mut self) -> (Vec<Packet>, Option<CloseReason>) {
        let mut packets = Vec::new();
        loop {
            match self.receive() {
                Received::Packet(packet) => packets.push(packet),
                Received::Closes(reason) => return (packets, Some(reason)),
                Received::End => return (packets, None),
            }
        }
    }

    /// Handles one frame, or reads once.
    fn step(&mut self) -> Option<Received> {
        let handled = self.session.handle_frame(&mut self.inbox, Instant::now(), &mut self.pool);
        let Some((used, event)) = handled.expect("frames that a server may send") else {
            let mut chunk = [0; 16 * 1024];
            match self.stream.read(&mut chunk) {
                Ok(0) => return Some(Received::End),
                Ok(count) => self.inbox.extend_from_slice(&chunk[..count]),
                Err(error) => panic!("nothing to read: {error}"),
            }
            return None;
        };
        let frame: Vec<u8> = self.inbox.drain(..used).collect();
        match event {
            Event::Consumed | Event::Opened => None,
            Event::Packet(packet) => Some(Received::Packet(packet)),
            Event::RoomPacket { room, packet } => {
                Some(Received::Packet(room_packet(room, &frame[packet]).expect("a packet of that room")))
            }
            Event::RoomKey(key) => {
                assert!(self.session.add_room_key(&key, RoomCipher::new(&key.secret)));
                None
            }
            Event::PeerClosed(reason, _) => Some(Received::Closes(reason)),
        }
    }

    /// Closes the socket so that the server gets a reset, not an end of input.
    pub(crate) fn vanish(self) {
        socket2::SockRef::from(&self.stream).set_linger(Some(Duration::ZERO)).unwrap();
    }
}

/// Reads all bytes up to the end of input.
pub(crate) fn read_out(stream: &mut TcpStream) -> Vec<u8> {
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).unwrap();
    bytes
}
