//! A thread that runs a [`Client`] on sockets.

use std::collections::VecDeque;
use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpStream, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, mpsc};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use throng_core::limits::READ_CHUNK;
use throng_core::wire::CloseReason;

use crate::dial::{Dial, Progress, resolve};
use crate::{Client, Event, Io, LineId, Settings};

/// Longest time for which the last bytes of a session may wait when a driver is dropped.
const FAREWELL: Duration = Duration::from_millis(500);

/// Events that wait for the program at which the sockets are not read any more.
const EVENTS_MAX: usize = 16 * 1_024;

/// Reads of one socket before others have their turn.
const READS_PER_TURN: usize = 4;

/// A client on a thread of its own.
///
/// Commands are those of [`Client`], through [`command`](Self::command); they never wait for the
/// network. Dropping a driver leaves the chat, and takes half a second at most.
///
/// ```no_run
/// use std::time::Duration;
/// use throng_client::{Audience, Driver, Event, Settings};
///
/// let key = "3b6a27bcceb6a42d62a3a8d02a6f0d73653215771de243a63ac048a18b59da29";
/// let settings = Settings::with_key_text("127.0.0.1:9000", key).ok_or("not a public key")?;
/// let driver = Driver::start(settings)?;
/// driver.command(|client, now| client.log_in("bee", "a long password", now))?;
/// loop {
///     match driver.wait_event(Duration::from_secs(1)) {
///         Some(Event::Entered { .. }) => {
///             driver.command(|client, now| client.say(Audience::World, "hello", now))?;
///         }
///         Some(Event::Message(message)) => println!("{}: {}", message.sender.name, message.text),
///         Some(Event::Left { returns: false, reason }) => break println!("{}", reason.name()),
///         _ => {}
///     }
/// }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Driver {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

struct Shared {
    client: Mutex<Client>,
    events: Mutex<VecDeque<Event>>,
    has_events: Condvar,
    /// Connected to itself; a datagram ends the wait of the thread.
    waker: UdpSocket,
    is_woken: AtomicBool,
    is_stopping: AtomicBool,
}

impl Shared {
    fn client(&self) -> MutexGuard<'_, Client> {
        self.client.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn events(&self) -> MutexGuard<'_, VecDeque<Event>> {
        self.events.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wake(&self) {
        if !self.is_woken.swap(true, Ordering::AcqRel) {
            // A full buffer holds a datagram already.
            let _ = self.waker.send(&[0]);
        }
    }
}

impl Driver {
    /// Starts a client. Fails if the system gives no socket or no thread.
    pub fn start(settings: Settings) -> io::Result<Self> {
        let waker = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
        waker.connect(waker.local_addr()?)?;
        waker.set_nonblocking(true)?;
        let seed = rand::random();
        let shared = Arc::new(Shared {
            client: Mutex::new(Client::new(settings, seed, Instant::now())),
            events: Mutex::default(),
            has_events: Condvar::new(),
            waker,
            is_woken: AtomicBool::new(false),
            is_stopping: AtomicBool::new(false),
        });
        let worker = Worker::new(shared.clone());
        let thread = std::thread::Builder::new().name("throng-client".into()).spawn(|| worker.run())?;
        Ok(Self { shared, thread: Some(thread) })
    }

    /// Gives the client a command, or reads its state. `command` should be quick: the network waits
    /// meanwhile.
    pub fn command<T>(&self, command: impl FnOnce(&mut Client, Instant) -> T) -> T {
        let result = command(&mut self.shared.client(), Instant::now());
        self.shared.wake();
        result
    }

    /// Returns the next event, if there is one.
    pub fn poll_event(&self) -> Option<Event> {
        let mut events = self.shared.events();
        let event = events.pop_front();
        if events.len() == EVENTS_MAX / 2 {
            self.shared.wake();
        }
        event
    }

    /// Waits for the next event, at most for `patience`.
    pub fn wait_event(&self, patience: Duration) -> Option<Event> {
        let events = self.shared.events();
        let waited = self.shared.has_events.wait_timeout_while(events, patience, |events| events.is_empty());
        drop(waited.unwrap_or_else(PoisonError::into_inner));
        self.poll_event()
    }
}

impl Drop for Driver {
    fn drop(&mut self) {
        self.shared.is_stopping.store(true, Ordering::Release);
        self.shared.wake();
        if let Some(thread) = self.thread.take() {
            // A panic of the thread has been reported on its own.
            let _ = thread.join();
        }
    }
}

/// Sockets of a line.
enum Link {
    Resolving,
    Dialing(Dial),
    Open(TcpStream),
    /// The last bytes are on their way, and then the peer's own close is awaited until this time.
    Closing(TcpStream, Instant),
}

struct Worker {
    shared: Arc<Shared>,
    links: Vec<(LineId, Link)>,
    resolved: mpsc::Receiver<(LineId, Vec<SocketAddr>)>,
    resolver: mpsc::Sender<(LineId, Vec<SocketAddr>)>,
    buffer: Vec<u8>,
}

impl Worker {
    fn new(shared: Arc<Shared>) -> Self {
        let (resolver, resolved) = mpsc::channel();
        Self { shared, links: Vec::new(), resolved, resolver, buffer: vec![0; READ_CHUNK] }
    }

    fn run(mut self) {
        let mut end = None;
        loop {
            let now = Instant::now();
            if end.is_none() && self.shared.is_stopping.load(Ordering::Acquire) {
                end = Some(now + FAREWELL);
                self.shared.client().log_out(now);
            }
            let timeout = self.turn(now).into_iter().chain(end).min();
            if end.is_some_and(|end| self.links.is_empty() || end <= now) {
                return;
            }
            self.wait(timeout);
        }
    }

    /// Does what needs no waiting. Returns the time of the next deadline.
    fn turn(&mut self, now: Instant) -> Option<Instant> {
        let shared = self.shared.clone();
        let mut client = shared.client();
        client.handle_timeout(now);
        while let Ok((id, addresses)) = self.resolved.try_recv() {
            if let Some((_, link)) = self.links.iter_mut().find(|(of, _)| *of == id) {
                *link = Link::Dialing(Dial::new(addresses, now));
            }
        }
        loop {
            self.links.retain_mut(|(id, link)| keep(*id, link, &mut client, now));
            let mut is_idle = true;
            while let Some(io) = client.poll_io() {
                self.take(io, now);
                is_idle = false;
            }
            if !self.publish(&mut client) && is_idle {
                break;
            }
        }
        let links = self.links.iter().filter_map(|(_, link)| match link {
            Link::Dialing(dial) => dial.next_timeout(),
            Link::Closing(_, until) => Some(*until),
            Link::Resolving | Link::Open(_) => None,
        });
        links.chain(client.next_timeout(now)).min()
    }

    fn take(&mut self, io: Io, now: Instant) {
        match io {
            Io::Connect(id, address) => {
                let link = match address.parse() {
                    Ok(address) => Link::Dialing(Dial::new(vec![address], now)),
                    Err(_) => self.resolve(id, address, now),
                };
                self.links.push((id, link));
            }
            Io::Disconnect(id) => {
                let Some(at) = self.links.iter().position(|(of, _)| *of == id) else { return };
                if let (_, Link::Open(stream)) = self.links.swap_remove(at) {
                    self.links.push((id, Link::Closing(stream, now + FAREWELL)));
                }
            }
        }
    }

    /// Resolves a name on a thread of its own: the system's resolver may take its time.
    fn resolve(&self, id: LineId, address: String, now: Instant) -> Link {
        let (shared, resolver) = (self.shared.clone(), self.resolver.clone());
        let thread = std::thread::Builder::new().name("throng-resolver".into()).spawn(move || {
            // The worker may have ended.
            let _ = resolver.send((id, resolve(&address)));
            shared.wake();
        });
        // Without a thread there is no address either.
        thread.map_or_else(|_| Link::Dialing(Dial::new(Vec::new(), now)), |_| Link::Resolving)
    }

    /// Passes events on. Returns true if there were any.
    fn publish(&self, client: &mut Client) -> bool {
        let Some(first) = client.poll_event() else { return false };
        let mut events = self.shared.events();
        events.push_back(first);
        events.extend(std::iter::from_fn(|| client.poll_event()));
        drop(events);
        self.shared.has_events.notify_all();
        true
    }

    /// Waits for sockets, commands and the deadline, and reads what has come.
    fn wait(&mut self, deadline: Option<Instant>) {
        let has_room = self.shared.events().len() < EVENTS_MAX;
        let client = self.shared.client();
        let mut fds = vec![PollFd::new(&self.shared.waker, PollFlags::IN)];
        let mut begins = Vec::with_capacity(self.links.len());
        for (id, link) in &self.links {
            begins.push(fds.len());
            match link {
                Link::Resolving => {}
                Link::Dialing(dial) => dial.poll_fds(&mut fds),
                Link::Open(stream) | Link::Closing(stream, _) => {
                    let mut flags = PollFlags::empty();
                    flags.set(PollFlags::IN, has_room);
                    flags.set(PollFlags::OUT, !client.poll_transmit(*id).is_empty());
                    fds.push(PollFd::new(stream, flags));
                }
            }
        }
        drop(client);
        let left = deadline.map(|at| at.saturating_duration_since(Instant::now()));
        let left = left.map(|left| Timespec {
            tv_sec: left.as_secs().min(3_600).cast_signed(),
            tv_nsec: left.subsec_nanos().into(),
        });
        // An interrupted wait is a short one.
        let _ = poll(&mut fds, left.as_ref());
        let ready: Vec<bool> = fds.iter().map(|fd| !fd.revents().is_empty()).collect();
        drop(fds);
        if ready[0] {
            self.shared.is_woken.store(false, Ordering::Release);
            while self.shared.waker.recv(&mut [0; 8]).is_ok() {}
        }
        self.handle_ready(&begins, &ready);
    }

    fn handle_ready(&mut self, begins: &[usize], ready: &[bool]) {
        let now = Instant::now();
        let shared = self.shared.clone();
        let mut client = shared.client();
        let mut lost = Vec::new();
        for ((id, link), begin) in self.links.iter_mut().zip(begins) {
            match link {
                Link::Dialing(dial) => match dial.advance(|at| ready[begin + at], now) {
                    Progress::Pending => {}
                    Progress::Connected(stream) => {
                        *link = Link::Open(stream);
                        client.handle_connected(*id, now);
                    }
                    Progress::Failed => lost.push((*id, CloseReason::ConnectFailed)),
                },
                Link::Open(stream) | Link::Closing(stream, _) if ready[*begin] => {
                    if let Some(reason) = read(stream, *id, &mut self.buffer, &mut client, now) {
                        lost.push((*id, reason));
                    }
                }
                Link::Resolving | Link::Open(_) | Link::Closing(..) => {}
            }
        }
        for (id, reason) in lost {
            self.links.retain(|(of, _)| *of != id);
            client.handle_lost(id, reason, now);
        }
    }
}

/// Reads what has come. Returns a reason at the end of the connection.
fn read(
    stream: &mut TcpStream,
    id: LineId,
    buffer: &mut [u8],
    client: &mut Client,
    now: Instant,
) -> Option<CloseReason> {
    for _ in 0..READS_PER_TURN {
        match stream.read(buffer) {
            Ok(0) => return Some(CloseReason::PeerClosed),
            Ok(count) => client.handle_received(id, &buffer[..count], now),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return None,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(_) => return Some(CloseReason::ConnectionLost),
        }
        if !client.wants_bytes() {
            return None;
        }
    }
    None
}

/// Writes what waits for a link. Returns false at its end, which the client then knows.
fn keep(id: LineId, link: &mut Link, client: &mut Client, now: Instant) -> bool {
    let (stream, until) = match link {
        Link::Resolving | Link::Dialing(_) => return true,
        Link::Open(stream) => (stream, None),
        Link::Closing(stream, until) => (stream, Some(*until)),
    };
    loop {
        let bytes = client.poll_transmit(id);
        if bytes.is_empty() {
            break;
        }
        match stream.write(bytes) {
            Ok(count) => client.handle_transmitted(id, count),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                if until.is_none_or(|until| until > now) {
                    return true;
                }
                break;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(_) => {
                client.handle_lost(id, CloseReason::ConnectionLost, now);
                return false;
            }
        }
    }
    let Some(until) = until else { return true };
    // The peer answers with its own end. Closing now could reset the connection, and what was
    // written would be lost.
    if until > now && stream.shutdown(Shutdown::Write).is_ok() {
        return true;
    }
    client.handle_lost(id, CloseReason::Goodbye, now);
    false
}
