//! One event loop: the thread that owns a table of sessions and their sockets.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::time::{Duration, Instant};

use mio::net::TcpStream;
use mio::{Events, Poll, Token, Waker};

use super::endpoint::{Endpoint, PeerKind};
use super::membership::LogLimits;
pub use super::sessions::Sessions;
use crate::SessionId;
use crate::limits::{
    EVENTS_PER_POLL, LINKS_MAX, MAIL_PER_FULL_TURN, MAIL_PER_TURN, REFUSAL_SLOTS, SENDS_PER_TURN,
    SESSIONS_PER_SHARD_MAX, SHARDS_MAX, UNFLUSHED_MAX,
};
use crate::queue::JobQueue;
use crate::wire::{CloseReason, Packet};

/// No session has this token: a session's shard is below [`SHARDS_MAX`].
const WAKER: Token = Token(usize::MAX);

/// A session that has finished its handshake.
#[derive(Debug, Clone, Copy)]
pub struct Opened {
    /// What stands at the other end.
    pub kind: PeerKind,
    /// Its address.
    pub address: SocketAddr,
    /// The token given to [`Sessions::dial`], or none if the peer connected to us.
    pub dialled: Option<u64>,
}

/// A session that has ended, or a connection that could not be made.
#[derive(Debug, Clone, Copy)]
pub struct Closed {
    /// What stood at the other end.
    pub kind: PeerKind,
    /// The token given to [`Sessions::dial`], or none if the peer connected to us.
    pub dialled: Option<u64>,
    /// Why.
    pub reason: CloseReason,
}

/// What a loop does with what arrives. Called on the loop's thread: it must not block.
pub trait App: Send + 'static {
    /// What other threads send to this loop.
    type Command: Send + 'static;

    /// A session has finished its handshake.
    fn opened(&mut self, sessions: &mut Sessions, id: SessionId, opened: Opened);

    /// A packet has arrived. An application without room gives it back; it is then offered
    /// again every turn, in its order, and until it is taken the session is not read. Who makes
    /// the room has to see to it that a turn comes, by ringing the loop's mailbox.
    fn packet(&mut self, sessions: &mut Sessions, id: SessionId, packet: Packet) -> Result<(), Packet>;

    /// A packet has come from a room that a dialled session is in, still encoded. An application that can do with it as it is
    /// says true; otherwise it is decoded, found to be of that room, and given to [`Self::packet`].
    fn room_packet(&mut self, sessions: &mut Sessions, id: SessionId, room: u32, encoded: &[u8]) -> bool {
        let _ = (sessions, id, room, encoded);
        false
    }

    /// A session that was opened, or dialled, has ended. Told once, at the end of a turn.
    fn closed(&mut self, sessions: &mut Sessions, id: SessionId, closed: Closed);

    /// Another thread has sent something.
    fn command(&mut self, sessions: &mut Sessions, command: Self::Command);

    /// Whether the application still has to hand on what it was told. A loop that
    /// stops waits for it as long as it waits for its sessions.
    fn is_behind(&self) -> bool {
        false
    }

    /// A turn of the loop ends. The result is when the next one must come at the latest.
    fn turn(&mut self, sessions: &mut Sessions) -> Option<Instant> {
        let _ = sessions;
        None
    }
}

/// What a loop finds in its mailbox.
pub enum Mail<C> {
    /// A socket from the acceptor.
    Adopt(TcpStream, SocketAddr, Arc<Endpoint>),
    /// End all sessions with clients; links stay up.
    CloseClients(CloseReason),
    /// End all sessions, and the loop with the last of them or after the given time.
    Stop(CloseReason, Duration),
    /// Something for the application.
    App(C),
}

/// A loop's mailbox.
pub type Mailbox<C> = JobQueue<Mail<C>>;

/// How large a loop's tables are.
#[derive(Debug, Clone, Copy)]
pub struct ShardSize {
    /// Accepted sessions with clients, at most. Dialled ones share the whole table.
    pub clients: usize,
    /// Items of mail that may wait.
    pub mailbox: usize,
    /// How much of what is said in rooms is kept for those who are behind.
    pub logs: LogLimits,
    /// How long a client's socket may take nothing, while something waits for it, before the client is closed as too slow.
    pub slow_timeout: Duration,
    /// Bytes that the system may hold for one client's socket, about.
    pub send_buffer: usize,
}

impl ShardSize {
    /// For so many clients, with a mailbox of `mailbox` items; everything else as the configuration has it by default.
    pub fn new(clients: usize, mailbox: usize) -> Self {
        let logs = LogLimits { segments: [16, 2], pool: 1024 };
        Self { clients, mailbox, logs, slow_timeout: Duration::from_secs(30), send_buffer: 256 * 1024 }
    }
}

/// An event loop, built and ready to run.
pub struct Shard<C> {
    poll: Poll,
    sessions: Sessions,
    mailbox: Arc<Mailbox<C>>,
    load: Arc<AtomicUsize>,
}

impl<C: Send + 'static> Shard<C> {
    /// Builds loop number `index` of its role.
    pub fn new(index: usize, size: ShardSize) -> io::Result<Self> {
        assert!(index < SHARDS_MAX, "the configuration allows at most {SHARDS_MAX} shards");
        let capacity = (size.clients + LINKS_MAX + REFUSAL_SLOTS).min(SESSIONS_PER_SHARD_MAX);
        let poll = Poll::new()?;
        let waker = Waker::new(poll.registry(), WAKER)?;
        // The eventfd behind the waker fails only when its counter is full, and then the loop is awake.
        let mailbox = Arc::new(Mailbox::new(size.mailbox, move || drop(waker.wake())));
        let load = Arc::new(AtomicUsize::new(0));
        let registry = poll.registry().try_clone()?;
        let sessions = Sessions::new(index as u8, registry, size, capacity, load.clone());
        Ok(Self { poll, sessions, mailbox, load })
    }

    /// Where to send mail.
    pub fn mailbox(&self) -> Arc<Mailbox<C>> {
        self.mailbox.clone()
    }

    /// Clients that the loop has, or that are in its mailbox: the acceptor counts up as it deals,
    /// the loop down as seats become free.
    pub fn load(&self) -> Arc<AtomicUsize> {
        self.load.clone()
    }

    /// Runs until [`Mail::Stop`] has been carried out. Fails when the system's poller does.
    pub fn run<A: App<Command = C>>(mut self, mut app: A) -> io::Result<()> {
        self.turns(&mut app)
    }

    fn turns<A: App<Command = C>>(&mut self, app: &mut A) -> io::Result<()> {
        let mut events = Events::with_capacity(EVENTS_PER_POLL);
        let mut wake_at = Some(Instant::now());
        let mut stop_at: Option<Instant> = None;
        loop {
            let timeout = wake_at.map(|at| at.saturating_duration_since(Instant::now()));
            match self.poll.poll(&mut events, timeout) {
                Err(error) if error.kind() != io::ErrorKind::Interrupted => return Err(error),
                _ => {}
            }
            self.sessions.begin_turn(Instant::now());
            self.mailbox.clear_bell();
            for event in events.iter().filter(|event| event.token() != WAKER) {
                self.sessions.on_event(event);
            }
            self.read_mail(app, &mut stop_at);
            self.sessions.retry_stalled(app);
            self.sessions.read_ready(app);
            self.sessions.run_timers();
            self.sessions.close_slow();
            let app_wants = app.turn(&mut self.sessions);
            self.sessions.flush();
            self.sessions.report_ended(app);
            self.sessions.remove_doomed();
            let is_done = self.sessions.is_empty() && !app.is_behind();
            if stop_at.is_some_and(|at| is_done || at <= Instant::now()) {
                return Ok(());
            }
            let slow = self.sessions.next_slow();
            let is_busy = self.sessions.has_ready()
                || self.sessions.has_dirty()
                || self.sessions.is_sweeping()
                || !self.mailbox.is_empty();
            let now = is_busy.then(Instant::now);
            wake_at = [now, app_wants, self.sessions.next_timer(), slow, stop_at].into_iter().flatten().min();
        }
    }

    /// Takes a bounded amount of mail; what is left keeps the loop awake.
    fn read_mail<A: App<Command = C>>(&mut self, app: &mut A, stop_at: &mut Option<Instant>) {
        for taken in 0..MAIL_PER_TURN {
            // What is queued for sessions takes memory, and goes out a bounded number of sessions a turn. Some mail is taken all
            // the same: sessions that keep themselves busy must not hold up the others, or the end.
            let is_full = self.sessions.sends() > SENDS_PER_TURN || self.sessions.unflushed() > UNFLUSHED_MAX;
            if is_full && taken >= MAIL_PER_FULL_TURN {
                return;
            }
            match self.mailbox.pop() {
                None => return,
                Some(Mail::App(command)) => app.command(&mut self.sessions, command),
                Some(Mail::Adopt(socket, peer, endpoint)) => self.sessions.adopt(socket, peer, endpoint),
                Some(Mail::CloseClients(reason)) => self.sessions.close_all(PeerKind::Client, reason, ""),
                Some(Mail::Stop(reason, patience)) => {
                    self.sessions.stop(reason);
                    let at = Instant::now() + patience;
                    // Who asks twice does not want to wait longer.
                    *stop_at = Some(stop_at.map_or(at, |earlier| earlier.min(at)));
                }
            }
        }
    }
}

/// However the loop ends, and be it by a panic: nobody waits for room in its mailbox any more.
impl<C> Drop for Shard<C> {
    fn drop(&mut self) {
        self.mailbox.close();
    }
}
