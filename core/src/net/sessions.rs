//! Sessions of one shard with their sockets: the methods that an application may call.
//!
//! Methods for rooms are in `fanout`, the loop's own steps in `turn`, and its callbacks in `app`.

pub(in crate::net) mod app;
mod fanout;
mod turn;

use std::collections::{HashMap, VecDeque};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::time::{Duration, Instant};

use mio::net::TcpStream;
use mio::{Interest, Registry, Token};

use super::addresses::Place;
use super::conn::Conn;
use super::dial_side::DialSide;
use super::dialer::{self, DialError};
use super::mail::Accepted;
use super::membership::Rooms;
use super::seats::{Seat, Seats};
use super::shard_size::ShardSize;
use super::shares::Shares;
use super::table::Table;
use crate::SessionId;
use crate::limits::{READ_CHUNK, UNSENT_MAX};
use crate::metrics;
use crate::room::Class;
use crate::session::endpoint::{Endpoint, PeerKind};
use crate::session::outbox::BufferPool;
use crate::session::{Session, TimerAction};
use crate::timer::Wheel;
use crate::window::Charge;
use crate::wire::{CloseReason, Packet};

/// Resolution of the sessions' timers. Some tens of ten thousand idle sessions need a heartbeat in
/// each interval. Their answers arrive while the last ones are being written, so that the loop
/// wakes up once for all and not once for each.
const TIMER_RESOLUTION: Duration = Duration::from_millis(200);

/// Bytes and calls of writes, until the end of the turn.
#[derive(Default)]
struct Written {
    calls: u64,
    bytes: u64,
}

/// Sessions of one shard, as the callbacks of its application see them.
///
/// Only the callbacks of [`App`](super::App) get a reference to it, on the loop's thread.
///
/// # Guarantees
///
/// * A [`SessionId`] that belongs to no session any more is ignored by every method, and so is a
///   session that is not open where a method needs an open one. Callers need not keep track.
/// * Packets of a session go out in the order of the calls, and frames of a room in the order of
///   the room. After [`leave`](Self::leave) or [`rekey`](Self::rekey), packets go out behind the
///   frames that were appended to the room before.
/// * [`close`](Self::close) with a reason that is sent lets queued packets go out first. The
///   session stays in the table until its peer closes, or [`linger`](Endpoint::linger) is over.
///   While the loop ends, data that waits has the time of the stop.
/// * Memory of a session is bounded: beyond [`outbox_max`](Endpoint::outbox_max) it is closed as
///   too slow, and messages to many stop before that and become gaps
///   ([`OUTBOX_CHAT_MAX`](crate::limits::OUTBOX_CHAT_MAX)).
/// * No method blocks.
///
/// # Only so today
///
/// * Packets are written at the end of the turn, all of a session in one system call. A session
///   with more queued than its outbox may hold is written to at once.
/// * Packets of a session overtake frames that are pending in its rooms.
/// * [`now`](Self::now) is as old as the latest read or wake-up: some milliseconds in a busy loop.
///
/// # Example
///
/// An application whose commands are closures shows what methods do with a stale id and with a
/// server that does not listen:
///
/// ```
/// use std::net::TcpListener;
/// use std::sync::Arc;
/// use std::sync::mpsc::{Sender, channel};
/// use std::time::Duration;
///
/// use throng_core::SessionId;
/// use throng_core::crypto::{ClusterKey, Credentials};
/// use throng_core::net::{
///     App, Closed, Endpoint, Mail, Opened, PeerKind, Sessions, Shard, ShardSize,
/// };
/// use throng_core::room::RoomId;
/// use throng_core::wire::packets::PingRequest;
/// use throng_core::wire::{CloseReason, Packet};
///
/// struct Commands(Sender<Closed>);
///
/// impl App for Commands {
///     type Command = Box<dyn FnOnce(&mut Sessions) + Send>;
///
///     fn opened(&mut self, _: &mut Sessions, _: SessionId, _: Opened) {}
///
///     fn packet(&mut self, _: &mut Sessions, _: SessionId, _: Packet) -> Result<(), Packet> {
///         Ok(())
///     }
///
///     fn closed(&mut self, _: &mut Sessions, _: SessionId, closed: Closed) {
///         let _ = self.0.send(closed);
///     }
///
///     fn command(&mut self, sessions: &mut Sessions, command: Self::Command) {
///         command(sessions);
///     }
/// }
///
/// let shard = Shard::new(0, ShardSize::new(100, 64))?;
/// let mailbox = shard.mailbox();
/// let (closed, ends) = channel();
/// let thread = std::thread::spawn(move || shard.run(Commands(closed)));
///
/// // Nothing listens here once the listener is dropped.
/// let address = TcpListener::bind("127.0.0.1:0")?.local_addr()?;
///
/// let command = move |sessions: &mut Sessions| {
///     let stale = SessionId::new(0, 3, 1);
///     sessions.join(stale, RoomId::WORLD);
///     sessions.send(stale, &PingRequest { token: 1 }.into());
///     assert_eq!(sessions.members(RoomId::WORLD), 0);
///
///     let link = Endpoint {
///         peer: PeerKind::Link,
///         credentials: Credentials::Link(ClusterKey::from_bytes([9; 32])),
///         body_max: 16 * 1024,
///         outbox_max: 1 << 20,
///         handshake_timeout: Duration::from_secs(5),
///         first_packet_timeout: None,
///         heartbeat: None,
///         idle_timeout: None,
///         linger: Duration::ZERO,
///     };
///     sessions.dial(address, &Arc::new(link), 42).expect("a free seat");
/// };
/// assert!(mailbox.push(Mail::App(Box::new(command))).is_ok());
/// mailbox.ring();
///
/// let end = ends.recv_timeout(Duration::from_mins(1)).unwrap();
/// assert_eq!((end.dialed, end.reason), (Some(42), CloseReason::ConnectFailed));
///
/// assert!(mailbox.push(Mail::Stop(CloseReason::ServerShutdown, Duration::ZERO)).is_ok());
/// mailbox.ring();
/// thread.join().unwrap()?;
/// # Ok::<(), std::io::Error>(())
/// ```
pub struct Sessions {
    table: Table<Conn>,
    registry: Registry,
    rooms: Rooms,
    pool: BufferPool,
    timers: Wheel<(SessionId, u32)>,
    /// Open sessions to read from.
    ready: VecDeque<SessionId>,
    /// Handshaking and closing sessions to read from.
    handshaking: VecDeque<SessionId>,
    /// Sessions with frames of their own to write, or to shut down.
    dirty: VecDeque<SessionId>,
    /// Sessions ever queued in `dirty`, and ever taken from it.
    dirty_queued: u64,
    dirty_taken: u64,
    /// Charges to drop once as many sessions have been taken from `dirty`.
    flushing: VecDeque<(u64, Charge)>,
    /// Sessions with blocked sockets, each once, with the time of their next check. Soonest first.
    blocked: VecDeque<(Instant, SessionId)>,
    /// Sessions with a packet that the application gave back.
    stalled: Vec<SessionId>,
    /// Sessions that ended this turn and are to be reported.
    ended: Vec<SessionId>,
    /// Sessions to remove at the end of the turn.
    doomed: Vec<SessionId>,
    seats: Seats,
    /// Places of clients among the connections of their addresses; none of addresses that are
    /// exempt.
    places: HashMap<SessionId, Place>,
    shares: Shares,
    dial_side: DialSide,
    /// Longest time for which a socket may accept nothing while bytes wait for it.
    slow_timeout: Duration,
    /// Send buffer of a client's socket, in bytes.
    send_buffer: usize,
    /// Read buffer, shared by all sessions.
    scratch: Vec<u8>,
    written: Written,
    /// Frames sealed this turn.
    sends: usize,
    now: Instant,
    turn_began: Instant,
    /// True once the loop is ending and makes no new sessions.
    is_stopping: bool,
    /// True once clients are told to go. Those with queued data may then linger for longer, up to
    /// the time of the stop.
    is_draining: bool,
}

impl Sessions {
    pub(super) fn new(
        shard: u8,
        registry: Registry,
        size: ShardSize,
        capacity: usize,
        load: Arc<AtomicUsize>,
    ) -> Self {
        let now = Instant::now();
        Self {
            table: Table::new(shard, capacity),
            registry,
            rooms: Rooms::new(size.logs),
            pool: BufferPool::default(),
            timers: Wheel::new(now, TIMER_RESOLUTION),
            ready: VecDeque::new(),
            handshaking: VecDeque::new(),
            dirty: VecDeque::new(),
            dirty_queued: 0,
            dirty_taken: 0,
            flushing: VecDeque::new(),
            blocked: VecDeque::new(),
            stalled: Vec::new(),
            ended: Vec::new(),
            doomed: Vec::new(),
            seats: Seats::new(size.clients, load),
            places: HashMap::new(),
            shares: Shares::default(),
            dial_side: DialSide::default(),
            slow_timeout: size.slow_timeout,
            send_buffer: size.send_buffer,
            scratch: vec![0; READ_CHUNK],
            written: Written::default(),
            sends: 0,
            now,
            turn_began: now,
            is_stopping: false,
            is_draining: false,
        }
    }

    /// Returns the time at which the loop last woke up or read. Costs no call of the system's
    /// clock.
    pub fn now(&self) -> Instant {
        self.now
    }

    /// Returns the number of sessions, including those that are handshaking or closing.
    pub fn len(&self) -> usize {
        self.table.len()
    }

    /// Returns true if there are no sessions.
    pub fn is_empty(&self) -> bool {
        self.table.is_empty()
    }

    /// Queues a packet. Does nothing if the session is gone or not open.
    pub fn send(&mut self, id: SessionId, packet: &Packet) {
        self.queue(id, |session, pool| session.send(packet, pool));
    }

    /// Queues a packet that is encoded already. Does nothing if the session is gone or not open.
    pub fn send_encoded(&mut self, id: SessionId, encoded: &[u8]) {
        self.queue(id, |session, pool| session.send_encoded(encoded, pool));
    }

    /// Queues one packet, encoded already, from its pieces. Does nothing if the session is gone or
    /// not open.
    pub fn send_pieces(&mut self, id: SessionId, pieces: &[&[u8]]) {
        self.queue(id, |session, pool| session.send_pieces(pieces, pool));
    }

    /// Returns the fan-out time of the packet that [`App::packet`](super::App::packet) or
    /// [`App::room_packet`](super::App::room_packet) is being given: microseconds from the packet's
    /// sealing to the server's first write of it. None if the packet was sealed for this session
    /// alone.
    pub fn fan_out_us(&self) -> Option<u32> {
        self.dial_side.fan_out_us
    }

    /// Returns the serial number of the frame of the packet that the application is being given, if
    /// it came under a room's key. Copies of one frame that other sessions receive have the same
    /// number, so that an application can keep what it has read from the first.
    pub fn frame_serial(&self) -> Option<u64> {
        self.dial_side.frame_serial
    }

    /// Closes the session. What is queued and then the reason still go to the peer. The application
    /// is told at the end of the turn. Does nothing if the session has ended.
    pub fn close(&mut self, id: SessionId, reason: CloseReason, detail: &str) {
        let Some(conn) = self.table.get_mut(id) else { return };
        if conn.session.close_reason().is_some() {
            return;
        }
        // A session that is too slow would not take the frames of its rooms either.
        if reason.is_sent() && reason != CloseReason::TooSlow {
            conn.queue_gaps(id, &mut self.rooms, &mut self.pool);
            let limit = conn.session.room_for(Class::Chat);
            self.rooms.drain_pending(id, limit, |bytes| conn.session.queue_sealed(bytes, &mut self.pool));
        }
        conn.session.close(reason, detail, self.now, &mut self.pool);
        // Input is dropped from now on, but still read, up to the peer's close.
        conn.stalled = None;
        conn.inbox = Vec::new();
        self.dial_side.resume(id);
        if !reason.is_sent() {
            self.doomed.push(id);
        }
        self.ended.push(id);
        self.mark_ready(id);
        self.mark_dirty(id);
        self.drive_timer(id);
    }

    /// Pauses or resumes reading from the session, so that its socket fills up as that of a slow
    /// client. Packets that were read before are still delivered. The end of a paused session goes
    /// unnoticed until it is read again.
    pub fn pause_reading(&mut self, id: SessionId, is_paused: bool) {
        let conn = self.table.get_mut(id).filter(|conn| conn.session.close_reason().is_none());
        let Some(conn) = conn else { return };
        if is_paused {
            self.dial_side.pause(id);
        } else if self.dial_side.resume(id) {
            conn.session.restart_idle_timeout(self.now);
            self.mark_ready(id);
        }
    }

    /// Asks the system for a receive buffer of `bytes`, so that a paused session is soon noticed to
    /// be slow.
    pub fn limit_receive_buffer(&mut self, id: SessionId, bytes: usize) {
        if let Some(conn) = self.table.get(id) {
            // If the system refuses, the buffer stays as large as it was.
            let _ = socket2::SockRef::from(&conn.socket).set_recv_buffer_size(bytes);
        }
    }

    /// Resets the session's connection. What waits for the peer, and what it has sent and was not
    /// read, is lost. The application is told at the end of the turn.
    pub fn reset(&mut self, id: SessionId) {
        let conn = self.table.get_mut(id).filter(|conn| conn.session.close_reason().is_none());
        let Some(conn) = conn else { return };
        // If the system refuses, the peer reads the end of the connection instead.
        let _ = socket2::SockRef::from(&conn.socket).set_linger(Some(Duration::ZERO));
        conn.fin_sent = true;
        self.handle_socket_lost(id, CloseReason::ConnectionLost);
    }

    /// Closes all sessions with peers of one kind.
    pub fn close_all(&mut self, kind: PeerKind, reason: CloseReason, detail: &str) {
        for id in self.table.ids().collect::<Vec<_>>() {
            if self.table.get(id).is_some_and(|conn| conn.session.endpoint().peer == kind) {
                self.close(id, reason, detail);
            }
        }
    }

    /// Connects to `address`. [`App::opened`](super::App::opened) or
    /// [`App::closed`](super::App::closed) reports the outcome, with `token`. An error is reported
    /// by this method alone.
    pub fn dial(
        &mut self,
        address: SocketAddr,
        endpoint: &Arc<Endpoint>,
        token: u64,
    ) -> Result<SessionId, DialError> {
        self.dial_from(None, address, endpoint, token)
    }

    /// As [`Self::dial`], from `source`, an address of this machine. Each source has ports of its
    /// own.
    pub fn dial_from(
        &mut self,
        source: Option<IpAddr>,
        address: SocketAddr,
        endpoint: &Arc<Endpoint>,
        token: u64,
    ) -> Result<SessionId, DialError> {
        let seat = Seat::of(endpoint.peer, true);
        if self.is_stopping {
            return Err(DialError::Stopping);
        }
        if !self.seats.has_room(seat) {
            return Err(DialError::SeatsTaken);
        }
        let session = Session::dialed(endpoint.clone(), self.now).map_err(DialError::Handshake)?;
        let socket = dialer::connect(address, source)?;
        self.insert(socket, session, address, Some(token), seat)
    }

    /// Closes all sessions with clients. They linger until they have what waits for them.
    pub(super) fn drain(&mut self, reason: CloseReason) {
        self.is_draining = true;
        self.close_all(PeerKind::Client, reason, "");
    }

    /// Closes all sessions and makes no new ones from now on.
    pub(super) fn stop(&mut self, reason: CloseReason) {
        self.is_stopping = true;
        self.drain(reason);
        self.close_all(PeerKind::Link, reason, "");
    }

    /// Makes a session of a socket from the acceptor. Without a free seat the peer is told that the
    /// server is full; without a seat for that either, the socket is closed.
    pub(super) fn adopt(&mut self, accepted: Accepted) {
        let Accepted { socket, peer, endpoint, place } = accepted;
        if self.is_stopping {
            return;
        }
        let wanted = Seat::of(endpoint.peer, false);
        let seat = [wanted, Seat::Refused].into_iter().find(|seat| self.seats.has_room(*seat));
        if wanted == Seat::Client && seat != Some(Seat::Client) {
            self.seats.refuse_client();
        }
        if seat != Some(wanted) {
            metrics::REFUSED_FULL.inc();
        }
        let Some(seat) = seat else { return };
        if wanted == Seat::Client {
            // By default a system holds megabytes for a client that does not read. If it refuses
            // the smaller buffer, the default stays.
            let options = socket2::SockRef::from(&socket);
            let _ = options.set_send_buffer_size(self.send_buffer);
            let _ = options.set_tcp_notsent_lowat(UNSENT_MAX);
        }
        let session = Session::accepted(endpoint, self.now);
        match self.insert(socket, session, peer, None, seat) {
            Ok(id) if seat == Seat::Refused => self.close(id, CloseReason::ServerFull, ""),
            Ok(id) => {
                if let Some(place) = place {
                    self.places.insert(id, place);
                }
            }
            Err(error) => tracing::warn!(%peer, %error, "cannot watch an accepted socket"),
        }
    }

    fn insert(
        &mut self,
        mut socket: TcpStream,
        session: Session,
        peer: SocketAddr,
        dialed: Option<u64>,
        seat: Seat,
    ) -> Result<SessionId, DialError> {
        let mut registered = Ok(());
        let id = self.table.insert_with(|id| {
            let interest = Interest::READABLE | Interest::WRITABLE;
            registered = self.registry.register(&mut socket, Token(id.to_bits() as usize), interest);
            Conn::new(socket, session, peer, dialed, seat, self.now)
        });
        let inserted = match (id, registered) {
            (Some(id), Ok(())) => Ok(id),
            (Some(id), Err(error)) => {
                self.table.remove(id);
                Err(DialError::Socket(error))
            }
            (None, _) => Err(DialError::TableFull),
        };
        self.seats.take(seat);
        match inserted {
            Ok(id) => {
                metrics::SESSIONS.add(1);
                self.drive_timer(id);
            }
            Err(_) => self.seats.vacate(seat),
        }
        inserted
    }

    /// Holds a charge until what is queued for sessions now has been written, as far as their
    /// sockets accept it.
    pub fn hold_until_flushed(&mut self, charge: Option<Charge>) {
        if let Some(charge) = charge.filter(|_| !self.dirty.is_empty()) {
            self.flushing.push_back((self.dirty_queued, charge));
        }
    }

    fn queue(&mut self, id: SessionId, send: impl FnOnce(&mut Session, &mut BufferPool)) {
        let Some(conn) = self.table.get_mut(id).filter(|conn| conn.session.is_open()) else { return };
        send(&mut conn.session, &mut self.pool);
        self.sends += 1;
        self.schedule_write(id);
    }

    /// Has a session with queued bytes written to: at the end of the turn, or at once if more is
    /// queued than may wait. Closes the session if its socket does not accept enough.
    fn schedule_write(&mut self, id: SessionId) {
        let Some(conn) = self.table.get_mut(id) else { return };
        if !conn.session.is_too_slow() {
            self.mark_dirty(id);
            return;
        }
        // A turn can queue any amount for a fast peer; only bytes that the socket refuses show a
        // slow one.
        match self.write(id) {
            Err(reason) => self.handle_socket_lost(id, reason),
            Ok(()) if self.table.get(id).is_some_and(|conn| conn.session.is_too_slow()) => {
                self.close(id, CloseReason::TooSlow, "");
            }
            Ok(()) => {}
        }
    }

    fn mark_dirty(&mut self, id: SessionId) {
        if let Some(conn) = self.table.get_mut(id)
            && !std::mem::replace(&mut conn.in_dirty, true)
        {
            self.dirty.push_back(id);
            self.dirty_queued += 1;
        }
    }

    fn mark_ready(&mut self, id: SessionId) {
        if let Some(conn) = self.table.get_mut(id)
            && !std::mem::replace(&mut conn.in_ready, true)
        {
            let queue = if conn.session.is_open() { &mut self.ready } else { &mut self.handshaking };
            queue.push_back(id);
        }
    }

    /// Lets the session check its deadlines, and arms its one timer for the next of them.
    fn drive_timer(&mut self, id: SessionId) {
        let Some(conn) = self.table.get_mut(id) else { return };
        if conn.stalled.is_some() || self.dial_side.is_paused(id) {
            conn.session.restart_idle_timeout(self.now);
        }
        let mut action = conn.session.handle_timeout(self.now, &mut self.pool);
        if self.is_draining && action == TimerAction::Remove {
            let linger = conn.session.endpoint().linger;
            let is_told = conn.session.poll_transmit().is_empty();
            let until =
                if is_told { conn.last_written + linger } else { self.now + linger.max(TIMER_RESOLUTION) };
            if until > self.now {
                action = TimerAction::ArmAt(until);
            }
        }
        match action {
            TimerAction::ArmAt(at) => {
                conn.timer = conn.timer.wrapping_add(1);
                self.timers.arm(at, (id, conn.timer));
                if !conn.session.poll_transmit().is_empty() {
                    self.schedule_write(id);
                }
            }
            TimerAction::Disarm => {}
            TimerAction::Close(reason) => self.close(id, reason, ""),
            TimerAction::Remove => self.doomed.push(id),
        }
    }
}
