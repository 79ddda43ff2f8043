//! In the steady state a delivery allocates nothing. A counting allocator checks it on the event
//! loop's thread, with real sockets.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::mpsc::{Sender, channel};
use std::time::{Duration, Instant};

use throng_core::SessionId;
use throng_core::crypto::{Credentials, RoomSealer, StaticKey};
use throng_core::net::{
    Acceptor, App, Closed, Endpoint, Listener, Mail, Opened, PeerKind, Sessions, Shard, ShardSize,
};
use throng_core::room::{Class, RoomId};
use throng_core::session::outbox::BufferPool;
use throng_core::session::{Event, Session};
use throng_core::wire::{CloseReason, Packet};

thread_local!(static ALLOCATIONS: Cell<u64> = const { Cell::new(0) });

/// The system's allocator, with a count for each thread.
struct Counting;

// SAFETY: every call is the system allocator's, with the same arguments.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.with(|count| count.set(count.get() + 1));
        // SAFETY: the caller's promises are passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the caller's promises are passed on.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        ALLOCATIONS.with(|count| count.set(count.get() + 1));
        // SAFETY: the caller's promises are passed on.
        unsafe { System.realloc(pointer, layout, size) }
    }
}

#[global_allocator]
static COUNTING: Counting = Counting;

const ROOM: RoomId = RoomId(0);
const MEMBERS: usize = 50;
const PATIENCE: Duration = Duration::from_mins(1);

enum Errand {
    /// Append the frames to the room in order.
    Append(Vec<Vec<u8>>),
    /// Send the packet to each member as a copy.
    Copies(Vec<u8>),
    /// Report the number of allocations of this thread.
    Count(Sender<u64>),
}

struct Members(Sender<SessionId>);

impl App for Members {
    type Command = Errand;

    fn opened(&mut self, sessions: &mut Sessions, id: SessionId, _: Opened) {
        sessions.join(id, ROOM);
        let _ = self.0.send(id);
    }

    fn packet(&mut self, _: &mut Sessions, _: SessionId, _: Packet) -> Result<(), Packet> {
        Ok(())
    }

    fn closed(&mut self, _: &mut Sessions, _: SessionId, _: Closed) {}

    fn command(&mut self, sessions: &mut Sessions, errand: Errand) {
        match errand {
            Errand::Append(frames) => {
                let now = sessions.now();
                for frame in &frames {
                    sessions.append(ROOM, Class::Chat, frame, now);
                }
            }
            Errand::Copies(encoded) => sessions.copies(ROOM, Class::Chat, &encoded),
            Errand::Count(to) => {
                let _ = to.send(ALLOCATIONS.get());
            }
        }
    }
}

fn rules(credentials: Credentials) -> Arc<Endpoint> {
    Arc::new(Endpoint {
        peer: PeerKind::Client,
        credentials,
        body_max: 16 * 1024,
        outbox_max: 1 << 20,
        handshake_timeout: PATIENCE,
        first_packet_timeout: None,
        heartbeat: None,
        idle_timeout: None,
        linger: Duration::ZERO,
    })
}

fn connect(listener: std::net::SocketAddr, key: &StaticKey) -> TcpStream {
    let mut stream = TcpStream::connect(listener).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut pool = BufferPool::default();
    let endpoint = rules(Credentials::Client(*key.public()));
    let mut session = Session::dialed(endpoint, Instant::now()).unwrap();
    session.handle_connected(&mut pool);
    stream.write_all(session.poll_transmit()).unwrap();
    let mut inbox = Vec::new();
    while !session.is_open() {
        let mut byte = [0];
        stream.read_exact(&mut byte).unwrap();
        inbox.push(byte[0]);
        match session.handle_frame(&mut inbox, Instant::now(), &mut pool) {
            Ok(None | Some((_, Event::Opened))) => {}
            other => panic!("{other:?}"),
        }
    }
    stream
}

#[test]
fn nothing_is_allocated_for_a_delivery() {
    let key = Arc::new(StaticKey::from_private([7; 32]));
    let endpoint = rules(Credentials::Server(key.clone()));
    let listener = Listener::bind(([127, 0, 0, 1], 0).into(), "test", 64, endpoint).unwrap();
    let address = listener.address();
    let shard = Shard::new(0, ShardSize::new(MEMBERS, 64)).unwrap();
    let mailbox = shard.mailbox();
    let acceptor = Acceptor::new(vec![listener], std::slice::from_ref(&shard)).unwrap();
    let acceptor = acceptor.spawn("accept".into()).unwrap();
    let (sender, opened) = channel();
    let thread = std::thread::spawn(move || shard.run(Members(sender)));
    let mut members: Vec<_> = (0..MEMBERS).map(|_| connect(address, &key)).collect();
    for _ in &members {
        opened.recv_timeout(PATIENCE).expect("a member");
    }
    let tell = |errand| {
        assert!(mailbox.push(Mail::App(errand)).is_ok());
        mailbox.ring();
    };
    let count = || {
        let (sender, allocations) = channel();
        tell(Errand::Count(sender));
        allocations.recv_timeout(PATIENCE).unwrap()
    };
    let mut sealer = RoomSealer::new(1, [1; 32]);
    let mut round = |members: &mut [TcpStream], frames: usize| {
        let mut sealed = Vec::new();
        for _ in 0..frames {
            let mut frame = Vec::new();
            sealer.seal(Class::Chat, &mut frame, |out| out.extend_from_slice(&[7; 200]));
            sealed.push(frame);
        }
        let bytes = sealed.iter().map(Vec::len).sum::<usize>();
        tell(Errand::Append(sealed));
        read(members, bytes);
    };
    // The first rounds allocate the buffers that later ones reuse.
    for _ in 0..5 {
        round(&mut members, 40);
    }
    let rounds = 100;
    let frames = 40;
    let before = count();
    for _ in 0..rounds {
        round(&mut members, frames);
    }
    let allocated = count() - before;
    let deliveries = (rounds * frames * MEMBERS) as u64;
    // The remaining allocations belong to turns of the loop, not to deliveries.
    println!("{allocated} allocations for {deliveries} deliveries from the log");
    assert!(allocated < deliveries / 1000, "{allocated} allocations for {deliveries} deliveries");
    // Copies go through outboxes, whose buffers are reused once the pool has some.
    let copies = |members: &mut [TcpStream]| {
        tell(Errand::Copies(vec![7; 200]));
        read(members, 200 + 3 + 16);
    };
    for _ in 0..20 {
        copies(&mut members);
    }
    let rounds = 200;
    let before = count();
    for _ in 0..rounds {
        copies(&mut members);
    }
    let allocated = count() - before;
    let deliveries = (rounds * MEMBERS) as u64;
    println!("{allocated} allocations for {deliveries} deliveries as copies");
    assert!(allocated < deliveries / 10, "{allocated} allocations for {deliveries} deliveries");
    acceptor.stop();
    assert!(mailbox.push(Mail::Stop(CloseReason::Goodbye, Duration::ZERO)).is_ok());
    mailbox.ring();
    thread.join().unwrap().unwrap();
}

fn read(members: &mut [TcpStream], bytes: usize) {
    let mut buffer = vec![0; bytes];
    for member in members {
        member.read_exact(&mut buffer).unwrap();
    }
}
