//! Event loops and content threads together: full lanes, full mailboxes, rooms.

use std::collections::HashMap;
use std::io::ErrorKind;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use throng_core::SessionId;
use throng_core::content::{
    Caused, ContentApp, ContentPool, Dispatcher, Effects, Job, Lane, Role, RoomPolicy,
};
use throng_core::limits::WINDOW_UNITS;
use throng_core::links::{self, Backoff, Links};
use throng_core::net::{Acceptor, AcceptorHandle, Endpoint, Mail, Mailbox, Shard, ShardSize};
use throng_core::room::{Class, RoomId};
use throng_core::wire::packets::{
    self, ChatMessage, ChatRequest, ExitRequest, LinkHello, Packet, Scope, ServerTimes, User,
};
use throng_core::wire::{CloseReason, Text};

use crate::support::*;

const ROOM: RoomId = RoomId(1);

/// Gives every room of two members a key and logs.
const POLICY: RoomPolicy = RoomPolicy { log_from: 2, key_lifetime: Duration::MAX };

/// Role that echoes pings and broadcasts ChatRequests to the room, numbered. A ping with token 0
/// also makes its session a member, and an ExitRequest ends the membership. Handles jobs only while
/// the gate is open.
struct Talk {
    gate: Arc<AtomicBool>,
    is_at_gate: Arc<AtomicBool>,
    handled: Arc<Mutex<Vec<SessionId>>>,
    sequence: u64,
    numbers: HashMap<SessionId, u32>,
}

impl Role for Talk {
    type Record = ();

    fn job(&mut self, job: Job<()>, _now: Instant, effects: &mut Effects) {
        while !self.gate.load(Ordering::Acquire) {
            self.is_at_gate.store(true, Ordering::Release);
            std::thread::sleep(Duration::from_millis(1));
        }
        match job {
            Job::Opened(id, _) => {
                let next = self.numbers.len() as u32;
                assert!(self.numbers.insert(id, next).is_none(), "opened twice");
            }
            Job::Closed(id, _) => {
                self.numbers.remove(&id).expect("a session that was opened and not closed");
            }
            Job::Packet(id, packet, _) => {
                self.handled.lock().unwrap().push(id);
                self.packet(id, packet, effects);
            }
            Job::Record(()) => {}
        }
    }

    fn tick(&mut self, _now: Instant, _effects: &mut Effects) -> Option<Instant> {
        None
    }
}

impl Talk {
    fn packet(&mut self, id: SessionId, packet: Packet, effects: &mut Effects) {
        match packet {
            Packet::ChatRequest(ChatRequest { text, .. }) => {
                self.sequence += 1;
                let sender = User { id: self.numbers[&id], name: Text::default() };
                let times = ServerTimes { received_us: 0, queued_us: 0, handled_us: 0 };
                let message = ChatMessage {
                    scope: Scope::Channel,
                    target: ROOM.0,
                    sequence: self.sequence,
                    sender,
                    stamp: 0,
                    times,
                    text,
                };
                effects.broadcast(ROOM, Class::Chat, message);
            }
            Packet::ExitRequest(_) => {
                effects.leave(id, ROOM);
                effects.send(id, packet);
            }
            packet => {
                if packet == ping(0) {
                    effects.join(id, ROOM);
                }
                effects.send(id, packet);
            }
        }
    }
}

/// A role with its event loops and content threads, with queues of chosen sizes.
struct Node {
    address: std::net::SocketAddr,
    gate: Arc<AtomicBool>,
    /// True once a content thread has a job that waits for the gate.
    is_at_gate: Arc<AtomicBool>,
    /// Sessions of the packets that the role has handled, in order.
    handled: Arc<Mutex<Vec<SessionId>>>,
    lanes: Vec<Arc<Lane<()>>>,
    mailboxes: Vec<Arc<Mailbox<Caused>>>,
    shards: Vec<JoinHandle<std::io::Result<()>>>,
    running: Option<(AcceptorHandle, ContentPool<()>)>,
}

impl Node {
    fn start(shards: usize, mailbox: usize, threads: usize, lane: usize, rules: Endpoint) -> Self {
        let listener = listener(rules);
        let address = listener.address();
        let mut pool = ContentPool::new(threads, lane);
        let lanes = pool.lanes().to_vec();
        let size = ShardSize::new(100, mailbox);
        let shards: Vec<_> = (0..shards).map(|index| Shard::new(index, size).unwrap()).collect();
        let mailboxes: Vec<_> = shards.iter().map(Shard::mailbox).collect();
        let acceptor = Acceptor::new(vec![listener], &shards).unwrap();
        let gate = Arc::new(AtomicBool::new(true));
        let handled = Arc::default();
        let is_at_gate = Arc::new(AtomicBool::new(false));
        let role = Talk {
            gate: gate.clone(),
            is_at_gate: is_at_gate.clone(),
            handled: Arc::clone(&handled),
            sequence: 0,
            numbers: HashMap::new(),
        };
        pool.spawn("test", role, POLICY, &Dispatcher::new(mailboxes.clone())).unwrap();
        let shards = shards
            .into_iter()
            .enumerate()
            .map(|(index, shard)| {
                let app = ContentApp::new(index, lanes.clone(), shard.mailbox());
                std::thread::spawn(move || shard.run(app))
            })
            .collect();
        let acceptor = acceptor.spawn("accept".into()).unwrap();
        Self { address, gate, is_at_gate, handled, lanes, mailboxes, shards, running: Some((acceptor, pool)) }
    }

    fn connect(&self) -> Peer {
        let mut peer = Peer::connect(self.address, client_rules());
        peer.handshake();
        peer
    }

    fn hold(&self, is_held: bool) {
        self.gate.store(!is_held, Ordering::Release);
    }

    fn lanes_are_full(&self, capacity: usize) -> bool {
        self.lanes.iter().all(|lane| lane.len() == capacity)
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        self.hold(false);
        let Some((acceptor, pool)) = self.running.take() else { return };
        acceptor.stop();
        for mailbox in &self.mailboxes {
            let _ = mailbox.push(Mail::Stop(CloseReason::Goodbye, Duration::from_secs(1)));
            mailbox.ring();
        }
        for shard in self.shards.drain(..) {
            let outcome = shard.join();
            if !std::thread::panicking() {
                outcome.expect("a loop does not panic").expect("a loop does not fail");
            }
        }
        pool.stop();
    }
}

/// Lanes of two jobs and mailboxes of two commands carry thousands of packets, with each side
/// waiting for the other.
#[test]
fn full_lanes_and_mailboxes_lose_nothing_and_keep_the_order() {
    const PACKETS: u64 = 200;
    for (shards, threads) in [(1, 1), (2, 3)] {
        let node = Node::start(shards, 2, threads, 2, server_rules());
        let mut peers: Vec<_> = (0..8).map(|_| node.connect()).collect();
        node.hold(true);
        for peer in &mut peers {
            peer.send_pings(1..=PACKETS);
        }
        wait_until("the lanes are full", || node.lanes_are_full(2));
        node.hold(false);
        for peer in &mut peers {
            for token in 1..=PACKETS {
                assert_eq!(peer.receive(), Received::Packet(ping(token)));
            }
        }
    }
}

/// The session that is first in the list of stalled ones must not keep the others out.
#[test]
fn a_talkative_session_does_not_keep_others_out_of_a_full_lane() {
    const PACKETS: u64 = 2000;
    let node = Node::start(1, 64, 1, 1, server_rules());
    let mut loud = node.connect();
    let mut quiet = node.connect();
    node.hold(true);
    loud.send_pings(1..=PACKETS);
    wait_until("the lane is full", || node.lanes_are_full(1));
    quiet.send(&ping(1));
    node.hold(false);
    for token in 1..=PACKETS {
        assert_eq!(loud.receive(), Received::Packet(ping(token)));
    }
    assert_eq!(quiet.receive(), Received::Packet(ping(1)));
    let handled = node.handled.lock().unwrap();
    assert_eq!(handled.len() as u64, PACKETS + 1);
    // The first packet is the talkative session's.
    let place = handled.iter().position(|id| *id != handled[0]).unwrap();
    assert!(place < 1000, "{place} packets of the other session went first");
}

/// A flooder's packets wait in its own socket, not in the lane in front of the others.
#[test]
fn a_flooder_has_at_most_a_window_of_packets_in_the_lane() {
    let node = Node::start(1, 64, 1, 4096, server_rules());
    let mut loud = node.connect();
    let mut quiet = node.connect();
    // Otherwise the job at the gate may be the opening of a session.
    for peer in [&mut loud, &mut quiet] {
        peer.send(&ping(1));
        assert_eq!(peer.receive(), Received::Packet(ping(1)));
    }
    node.handled.lock().unwrap().clear();
    node.hold(true);
    loud.send_pings(1..=2000);
    let window = WINDOW_UNITS as usize;
    wait_until("a packet is being handled", || node.is_at_gate.load(Ordering::Acquire));
    wait_until("the window is full", || node.lanes[0].len() == window - 1);
    quiet.send(&ping(1));
    wait_until("the other packet is queued", || node.lanes[0].len() == window);
    node.hold(false);
    assert_eq!(quiet.receive(), Received::Packet(ping(1)));
    for token in 1..=2000 {
        assert_eq!(loud.receive(), Received::Packet(ping(token)));
    }
    let handled = node.handled.lock().unwrap();
    let place = handled.iter().position(|id| *id != handled[0]).unwrap();
    assert!(place <= window, "{place} packets of the other session went first");
}

/// While the session is not read, the silence is not the peer's.
#[test]
fn a_stalled_session_is_not_closed_as_idle() {
    // A busy machine may let the peer itself be silent for longer than a short timeout.
    let mut idle = Duration::from_millis(150);
    while !stalls_longer_than_idle(idle) {
        idle *= 4;
        assert!(idle < PATIENCE, "this machine is too busy");
    }
}

/// Stalls a session for longer than `idle`. Returns false if the test's own threads were so slow
/// that the session may have been idle before the stall or after it.
fn stalls_longer_than_idle(idle: Duration) -> bool {
    let rules = Endpoint { idle_timeout: Some(idle), ..server_rules() };
    let node = Node::start(1, 64, 1, 1, rules);
    let begun = Instant::now();
    let mut peer = node.connect();
    node.hold(true);
    peer.send_pings(1..=10);
    wait_until("the lane is full", || node.lanes_are_full(1) || begun.elapsed() > idle);
    if begun.elapsed() > idle {
        return false;
    }
    let stalled = Instant::now();
    wait_until("the idle timeout has passed", || stalled.elapsed() > 3 * idle);
    peer.stream.set_nonblocking(true).unwrap();
    let nothing = peer.stream.peek(&mut [0]).expect_err("the server is silent during the stall");
    assert_eq!(nothing.kind(), ErrorKind::WouldBlock);
    peer.stream.set_nonblocking(false).unwrap();
    let resumed = Instant::now();
    node.hold(false);
    for token in 1..=10 {
        let received = peer.receive();
        if received == Received::Closes(CloseReason::IdleTimeout) && resumed.elapsed() > idle {
            return false;
        }
        assert_eq!(received, Received::Packet(ping(token)));
    }
    assert_eq!(peer.receive(), Received::Closes(CloseReason::IdleTimeout), "from now on the peer is silent");
    true
}

/// A session that comes and goes while a lane is full is reported as opened and closed, or not at
/// all.
#[test]
fn closed_jobs_outlast_a_full_lane() {
    let node = Node::start(1, 64, 1, 1, server_rules());
    let mut first = node.connect();
    first.send(&ping(1));
    assert_eq!(first.receive(), Received::Packet(ping(1)));
    node.hold(true);
    first.send_pings(1..=3);
    wait_until("the lane is full", || node.lanes_are_full(1));
    for _ in 0..20 {
        drop(node.connect());
    }
    let mut last = node.connect();
    node.hold(false);
    last.send(&ping(2));
    // The role checks that each session is opened once and closed once.
    assert_eq!(last.receive(), Received::Packet(ping(2)));
    for token in 1..=3 {
        assert_eq!(first.receive(), Received::Packet(ping(token)));
    }
}

#[test]
fn members_receive_all_messages_in_one_order_and_others_none() {
    const MESSAGES: usize = 20;
    let node = Node::start(3, 8, 2, 8, server_rules());
    let mut members: Vec<_> = (0..9).map(|_| node.connect()).collect();
    let mut others: Vec<_> = (0..3).map(|_| node.connect()).collect();
    for peer in &mut members {
        peer.send(&ping(0));
        assert_eq!(peer.receive(), Received::Packet(ping(0)));
    }
    for number in 0..MESSAGES {
        for peer in members.iter_mut().chain(&mut others) {
            peer.send(
                &ChatRequest {
                    scope: Scope::World,
                    target: 0,
                    stamp: 0,
                    text: Text::truncated(&format!("{number}")),
                }
                .into(),
            );
        }
    }
    let everything = MESSAGES * (members.len() + others.len());
    let received: Vec<Vec<_>> =
        members.iter_mut().map(|peer| (0..everything).map(|_| peer.receive()).collect()).collect();
    let mut by_sender: HashMap<u32, usize> = HashMap::new();
    for (number, received) in received[0].iter().enumerate() {
        let Received::Packet(Packet::ChatMessage(message)) = received else { panic!("{received:?}") };
        assert_eq!(message.sequence, number as u64 + 1);
        let sent = by_sender.entry(message.sender.id).or_default();
        assert_eq!(*message.text, *sent.to_string(), "each sender's messages keep their order");
        *sent += 1;
    }
    assert!(received.iter().all(|other| *other == received[0]), "all members receive the same");
    for peer in &mut others {
        peer.send(&ping(9));
        assert_eq!(peer.receive(), Received::Packet(ping(9)), "no message came before it");
    }
    // A session that left receives no further messages.
    let exit: Packet = ExitRequest {}.into();
    members[0].send(&exit);
    assert_eq!(members[0].receive(), Received::Packet(exit));
    members[1].send(
        &ChatRequest { scope: Scope::World, target: 0, stamp: 0, text: Text::truncated("after") }.into(),
    );
    assert!(matches!(members[2].receive(), Received::Packet(Packet::ChatMessage(_))));
    members[0].send(&ping(5));
    assert_eq!(members[0].receive(), Received::Packet(ping(5)));
}

/// A role that keeps a link to a server.
struct Dials {
    links: Links,
    failed: Arc<AtomicU64>,
}

impl Role for Dials {
    type Record = ();

    fn job(&mut self, job: Job<()>, now: Instant, effects: &mut Effects) {
        match job {
            Job::Opened(id, opened) => self.links.opened(id, &opened, effects),
            Job::Closed(id, closed) => {
                assert_eq!((closed.dialed, closed.reason), (Some(0), CloseReason::ConnectFailed));
                self.failed.fetch_add(1, Ordering::Relaxed);
                self.links.closed(id, &closed, now);
            }
            Job::Packet(..) | Job::Record(()) => {}
        }
    }

    fn tick(&mut self, now: Instant, effects: &mut Effects) -> Option<Instant> {
        self.links.tick(now, effects)
    }
}

/// A system without local ports, or without descriptors, refuses to connect at once. So does one
/// that is to connect to the broadcast address.
#[test]
fn a_link_that_the_system_refuses_to_dial_is_dialed_again() {
    let failed = Arc::new(AtomicU64::new(0));
    let address: std::net::SocketAddr = ([255, 255, 255, 255], 9).into();
    assert!(mio::net::TcpStream::connect(address).is_err(), "the system refuses at once");
    let peer = links::Peer { role: packets::Role::Chat, address: address.into() };
    let hello = LinkHello {
        role: packets::Role::Login,
        name: Text::truncated("login"),
        instance: 1,
        client_address: Text::default(),
        client_key: [0; 32],
    };
    let backoff = Backoff { min: Duration::from_millis(1), max: Duration::from_millis(4) };
    let links =
        Links::new(hello, Arc::new(link_rules()), backoff, vec![peer], Instant::now(), Arc::default());
    let mut pool = ContentPool::new(1, 16);
    let shard = Shard::new(0, ShardSize::new(1, 16)).unwrap();
    let mailbox = shard.mailbox();
    let app = ContentApp::new(0, pool.lanes().to_vec(), mailbox.clone());
    let role = Dials { links, failed: failed.clone() };
    pool.spawn("test", role, POLICY, &Dispatcher::new(vec![mailbox.clone()])).unwrap();
    let shard = std::thread::spawn(move || shard.run(app));
    wait_until("it was dialed again and again", || failed.load(Ordering::Relaxed) >= 10);
    assert!(mailbox.push(Mail::Stop(CloseReason::Goodbye, Duration::ZERO)).is_ok());
    mailbox.ring();
    shard.join().unwrap().unwrap();
    pool.stop();
}
