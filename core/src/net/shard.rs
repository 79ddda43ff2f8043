//! One event loop: the thread that owns a table of sessions and their sockets.

use std::io;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::time::Instant;

use mio::{Events, Poll, Token, Waker};

use super::mail::{Accepts, Mail, Mailbox};
use super::sessions::Sessions;
use super::sessions::app::App;
use super::shard_size::ShardSize;
use crate::limits::{
    ADOPT_QUEUE, ADOPTS_PER_TURN, EVENTS_PER_POLL, LINKS_MAX, MAIL_PER_FULL_TURN, MAIL_PER_TURN,
    REFUSAL_SLOTS, SENDS_PER_TURN, SESSIONS_PER_SHARD_MAX, SHARDS_MAX, UNFLUSHED_MAX,
};

/// Differs from the tokens of all sessions, because a session's shard is below [`SHARDS_MAX`].
const WAKER: Token = Token(usize::MAX);

/// An event loop, built and ready to run.
///
/// A shard owns a poller, a fixed table of sessions with their sockets, their timers and the room
/// logs of its members. Other threads reach it through its mailbox alone. It never blocks except in
/// the poller.
///
/// # Life
///
/// Build all shards, take their mailboxes, and give them to the [`Acceptor`](super::Acceptor) and
/// to other producers. Then call [`run`](Self::run) on a thread of its own for each. It returns
/// after [`Mail::Stop`], which closes all sessions with a reason: once all of them are gone and the
/// application is not [behind](App::is_behind), or at the latest after the given time. A further
/// stop may shorten the wait, never prolong it.
///
/// # A turn
///
/// The loop sleeps until a socket is ready, the mailbox is rung, or a deadline is over. Then it
///
/// 1. notes the readiness of sockets,
/// 2. adopts accepted sockets, at most [`ADOPTS_PER_TURN`], and takes mail, at most
///    [`MAIL_PER_TURN`] items,
/// 3. offers stalled packets to the application again,
/// 4. reads, for at most [`READ_BUDGET`](crate::limits::READ_BUDGET) from open sessions and
///    [`HANDSHAKE_BUDGET`](crate::limits::HANDSHAKE_BUDGET) from handshaking ones,
/// 5. runs timers, and closes sessions whose sockets have accepted nothing for
///    [`slow_timeout`](ShardSize::slow_timeout),
/// 6. calls [`App::turn`],
/// 7. writes to sessions with frames of their own, and then to a slice of the members of rooms,
/// 8. reports ended sessions to the application, and removes them.
///
/// # Guarantees
///
/// * Work in a turn is bounded, so that neither mail, nor small frames, nor a login burst can
///   starve the other steps.
/// * A session is removed in step 8 only, so that no step meets a session that another one has
///   removed.
/// * Frames of a session go out in the order in which they were queued.
/// * A session stays on its shard for life.
/// * When the shard is dropped, also by a panic, its mailbox is closed: producers that wait for
///   room in it get their items back.
///
/// # Only so today
///
/// The order of the steps, as far as [`App`] does not promise it, and all figures.
///
/// # Example
///
/// A shard that dials itself. The accepted session echoes, the dialed one waits for the echo:
///
/// ```
/// use std::net::SocketAddr;
/// use std::sync::Arc;
/// use std::sync::mpsc::{Sender, channel};
/// use std::time::Duration;
///
/// use throng_core::SessionId;
/// use throng_core::crypto::{Credentials, StaticKey};
/// use throng_core::net::{
///     Acceptor, App, Closed, Endpoint, Listener, Mail, Opened, PeerKind, Sessions, Shard,
///     ShardSize,
/// };
/// use throng_core::wire::packets::PingRequest;
/// use throng_core::wire::{CloseReason, Packet};
///
/// struct Echo {
///     client: Arc<Endpoint>,
///     dialed: Option<SessionId>,
///     echoed: Sender<Packet>,
/// }
///
/// impl App for Echo {
///     /// The address to dial.
///     type Command = SocketAddr;
///
///     fn command(&mut self, sessions: &mut Sessions, address: SocketAddr) {
///         self.dialed = sessions.dial(address, &self.client, 1).ok();
///     }
///
///     fn opened(&mut self, sessions: &mut Sessions, id: SessionId, opened: Opened) {
///         if opened.dialed == Some(1) {
///             sessions.send(id, &PingRequest { token: 7 }.into());
///         }
///     }
///
///     fn packet(
///         &mut self,
///         sessions: &mut Sessions,
///         id: SessionId,
///         packet: Packet,
///     ) -> Result<(), Packet> {
///         if self.dialed == Some(id) {
///             let _ = self.echoed.send(packet);
///         } else {
///             sessions.send(id, &packet);
///         }
///         Ok(())
///     }
///
///     fn closed(&mut self, _: &mut Sessions, _: SessionId, _: Closed) {}
/// }
///
/// fn endpoint(credentials: Credentials) -> Arc<Endpoint> {
///     Arc::new(Endpoint {
///         peer: PeerKind::Client,
///         credentials,
///         body_max: 4096,
///         outbox_max: 64 * 1024,
///         handshake_timeout: Duration::from_secs(5),
///         first_packet_timeout: None,
///         heartbeat: None,
///         idle_timeout: None,
///         linger: Duration::from_secs(1),
///     })
/// }
///
/// let key = Arc::new(StaticKey::from_private([7; 32]));
/// let client = endpoint(Credentials::Client(*key.public()));
/// let server = endpoint(Credentials::Server(key));
/// let listener = Listener::bind(([127, 0, 0, 1], 0).into(), "clients", 128, server)?;
/// let address = listener.address();
///
/// let shard = Shard::new(0, ShardSize::new(100, 64))?;
/// let mailbox = shard.mailbox();
/// let acceptor = Acceptor::new(vec![listener], std::slice::from_ref(&shard))?;
/// let acceptor = acceptor.spawn("acceptor".into())?;
/// let (echoed, echo) = channel();
/// let app = Echo { client, dialed: None, echoed };
/// let thread = std::thread::spawn(move || shard.run(app));
///
/// let send = |mail| {
///     assert!(mailbox.push(mail).is_ok());
///     mailbox.ring();
/// };
/// send(Mail::App(address));
/// assert_eq!(echo.recv_timeout(Duration::from_mins(1)), Ok(PingRequest { token: 7 }.into()));
///
/// acceptor.stop();
/// send(Mail::Stop(CloseReason::ServerShutdown, Duration::from_secs(1)));
/// thread.join().unwrap()?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Shard<C> {
    poll: Poll,
    sessions: Sessions,
    mailbox: Arc<Mailbox<C>>,
    accepts: Arc<Accepts>,
    load: Arc<AtomicUsize>,
}

impl<C: Send + 'static> Shard<C> {
    /// Builds the loop with number `index` of its role, below [`SHARDS_MAX`]. Fails if the system
    /// has no poller or waker to give.
    pub fn new(index: usize, size: ShardSize) -> io::Result<Self> {
        assert!(index < SHARDS_MAX, "the configuration allows at most {SHARDS_MAX} shards");
        let capacity = (size.clients + LINKS_MAX + REFUSAL_SLOTS).min(SESSIONS_PER_SHARD_MAX);
        let poll = Poll::new()?;
        let waker = Waker::new(poll.registry(), WAKER)?;
        let mailbox = Arc::new(Mailbox::new(size.mailbox, move || {
            // Writing to the eventfd fails only when its counter is full, and then the loop is
            // awake.
            let _ = waker.wake();
        }));
        let load = Arc::new(AtomicUsize::new(0));
        let registry = poll.registry().try_clone()?;
        let sessions = Sessions::new(index as u8, registry, size, capacity, load.clone());
        Ok(Self { poll, sessions, mailbox, accepts: Arc::new(Accepts::new(ADOPT_QUEUE)), load })
    }

    /// Returns the mailbox, for other threads.
    pub fn mailbox(&self) -> Arc<Mailbox<C>> {
        self.mailbox.clone()
    }

    /// Returns the queue for accepted sockets. Its producer rings the mailbox.
    pub(super) fn accepts(&self) -> Arc<Accepts> {
        self.accepts.clone()
    }

    /// Returns the number of clients that the loop has or that wait to be adopted. The acceptor
    /// counts up as it deals sockets, the loop down as seats become free.
    pub fn load(&self) -> Arc<AtomicUsize> {
        self.load.clone()
    }

    /// Runs the loop on the calling thread until [`Mail::Stop`] is carried out. Fails if the
    /// system's poller does.
    pub fn run<A: App<Command = C>>(mut self, mut app: A) -> io::Result<()> {
        self.run_turns(&mut app)
    }

    fn run_turns<A: App<Command = C>>(&mut self, app: &mut A) -> io::Result<()> {
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
                self.sessions.handle_event(event);
            }
            self.adopt_accepted();
            self.read_mail(app, &mut stop_at);
            self.sessions.retry_stalled(app);
            self.sessions.read_ready(app);
            self.sessions.run_timers();
            self.sessions.close_slow();
            let app_deadline = app.turn(&mut self.sessions);
            self.sessions.flush();
            self.sessions.report_ended(app);
            app.end_turn();
            self.sessions.remove_doomed();
            let is_done = self.sessions.is_empty() && !app.is_behind();
            if stop_at.is_some_and(|at| is_done || at <= Instant::now()) {
                return Ok(());
            }
            let is_busy = self.sessions.has_ready()
                || self.sessions.unflushed() > 0
                || self.sessions.is_sweeping()
                || !self.mailbox.is_empty()
                || !self.accepts.is_empty();
            let now = is_busy.then(Instant::now);
            let timer = self.sessions.next_timer();
            let slow_check = self.sessions.next_slow_check();
            wake_at = [now, app_deadline, timer, slow_check, stop_at].into_iter().flatten().min();
        }
    }

    /// Makes sessions of a bounded number of accepted sockets.
    fn adopt_accepted(&mut self) {
        for _ in 0..ADOPTS_PER_TURN {
            let Some(accepted) = self.accepts.pop() else { return };
            self.sessions.adopt(accepted);
        }
    }

    /// Takes a bounded number of items from the mailbox. Items that are left keep the loop awake.
    fn read_mail<A: App<Command = C>>(&mut self, app: &mut A, stop_at: &mut Option<Instant>) {
        for taken in 0..MAIL_PER_TURN {
            // Queued frames take memory, and a turn writes to a bounded number of sessions. Some
            // mail is read all the same, so that busy sessions cannot hold up others, or the stop.
            let is_full = self.sessions.sends() > SENDS_PER_TURN || self.sessions.unflushed() > UNFLUSHED_MAX;
            if is_full && taken >= MAIL_PER_FULL_TURN {
                return;
            }
            match self.mailbox.pop() {
                None => return,
                Some(Mail::App(command)) => app.command(&mut self.sessions, command),
                Some(Mail::CloseClients(reason)) => self.sessions.drain(reason),
                Some(Mail::Stop(reason, patience)) => {
                    self.sessions.stop(reason);
                    let at = Instant::now() + patience;
                    // A further stop may shorten the wait, never prolong it.
                    *stop_at = Some(stop_at.map_or(at, |earlier| earlier.min(at)));
                }
            }
        }
    }
}

/// Closes the mailbox when the loop ends, also by a panic, so that producers stop waiting for room.
impl<C> Drop for Shard<C> {
    fn drop(&mut self) {
        self.mailbox.close();
    }
}
