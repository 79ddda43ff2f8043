//! The sessions of one shard with their sockets, and what an application may do with
//! them, but for what concerns rooms (`rooms`). What the loop does for them is in `turn`.

mod fanout;
mod turn;

use std::collections::{HashSet, VecDeque};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use mio::net::TcpStream;
use mio::{Interest, Registry, Token};

use super::dialer;
use super::endpoint::{Endpoint, PeerKind};
use super::membership::Rooms;
use super::outbox::BufferPool;
use super::session::{Due, Session};
use super::shard::ShardSize;
use super::table::Table;
use crate::SessionId;
use crate::crypto::RoomCipher;
use crate::limits::{LINKS_MAX, READ_CHUNK, REFUSAL_SLOTS};
use crate::metrics;
use crate::room::Class;
use crate::timer::Wheel;
use crate::wire::{CloseReason, Packet, SecretBytes};

/// How coarse sessions' timers are. Heartbeats of ten thousand idle sessions are some tens in each of these: their answers
/// come while the last ones are being written, so the loop wakes up once for them and not for each.
const TIMER_RESOLUTION: Duration = Duration::from_millis(200);

/// A session, its socket, and where it stands in the shard's lists.
#[expect(clippy::struct_excessive_bools, reason = "each is independent of the others")]
struct Conn {
    socket: TcpStream,
    session: Session,
    peer: SocketAddr,
    /// The token given to [`Sessions::dial`]; none for an accepted socket.
    dialled: Option<u64>,
    /// Received bytes that wait: the beginning of a frame, or what a stall holds back.
    inbox: Vec<u8>,
    /// A packet that the application had no room for. While there is one, nothing is read.
    stalled: Option<Box<Packet>>,
    /// Counts the timers armed for this session; only the latest is heeded.
    timer: u32,
    /// Whether the application knows the session and must hear of its end.
    announced: bool,
    /// What its place in the table counts as.
    seat: Seat,
    /// Whether it stands in [`Sessions::ready`] or [`Sessions::arriving`].
    in_ready: bool,
    /// Whether it stands in [`Sessions::dirty`].
    in_dirty: bool,
    /// Whether it stands in [`Sessions::blocked`].
    in_blocked: bool,
    /// Whether the socket took less than it was offered; writable again by an event.
    write_blocked: bool,
    /// When the socket last took something; of use only while it is blocked.
    took: Instant,
    /// Messages from nearby and whispers that it did not get, and has not been told of.
    missed: u32,
    /// Whether the poller has announced the end of input.
    read_closed: bool,
    /// Whether our side of the socket is shut down.
    fin_sent: bool,
}

/// What was written, until the counters are told.
#[derive(Default)]
struct Written {
    calls: u64,
    bytes: u64,
}

/// Room keys, expanded, for all dialled sessions of this loop: ten thousand members of a room need one.
#[derive(Default)]
struct Ciphers(Vec<(SecretBytes<32>, RoomCipher)>);

impl Ciphers {
    /// Expanded keys kept. Further ones push out the oldest; who uses those keeps them.
    const KEPT: usize = 64;

    fn expand(&mut self, secret: &SecretBytes<32>) -> RoomCipher {
        if let Some((_, cipher)) = self.0.iter().rev().find(|(known, _)| known == secret) {
            return cipher.clone();
        }
        if self.0.len() == Self::KEPT {
            self.0.remove(0);
        }
        let cipher = RoomCipher::new(secret);
        self.0.push((secret.clone(), cipher.clone()));
        cipher
    }
}

/// What a session's place in the table counts as. Each kind has its own limit, so that none
/// can crowd out another: not strangers at the door the links, nor strangers at the links' port
/// the clients.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Seat {
    /// An accepted client.
    Client,
    /// A link, accepted or dialled.
    Link,
    /// Accepted only to be told that there is no seat.
    Refused,
    /// Dialled as a client, by a load harness. The table alone limits these.
    Dialled,
}

impl Seat {
    const KINDS: usize = 4;

    fn of(peer: PeerKind, is_dialled: bool) -> Self {
        match (peer, is_dialled) {
            (PeerKind::Link, _) => Self::Link,
            (PeerKind::Client, false) => Self::Client,
            (PeerKind::Client, true) => Self::Dialled,
        }
    }
}

/// The sessions of one shard, as its application sees them.
pub struct Sessions {
    table: Table<Conn>,
    registry: Registry,
    rooms: Rooms,
    pool: BufferPool,
    timers: Wheel<(SessionId, u32)>,
    /// Open sessions to read from.
    ready: VecDeque<SessionId>,
    /// Other sessions to read from, a few each turn.
    arriving: VecDeque<SessionId>,
    /// Sessions with something to write, or to shut down.
    dirty: VecDeque<SessionId>,
    /// Sessions whose socket took less than it was offered, each once, and when to look whether it has taken anything since: soonest
    /// first.
    blocked: VecDeque<(Instant, SessionId)>,
    /// How long a socket may take nothing while something waits.
    slow_timeout: Duration,
    /// What the system may hold for a client's socket, in bytes.
    send_buffer: usize,
    /// What was written since the last turn's end, for the counters.
    written: Written,
    /// Expanded room keys of dialled sessions, which share them.
    ciphers: Ciphers,
    /// Of the packet that is being delivered: how long its frame waited to be sent, if the server said so.
    fan_out_us: Option<u32>,
    /// Sessions that the application does not want read now. Few, if any: each has no room for a flag of its own.
    paused: HashSet<SessionId>,
    /// Sessions whose packet the application had no room for.
    stalled: Vec<SessionId>,
    /// Sessions that ended this turn, for the application.
    ended: Vec<SessionId>,
    /// Sessions to remove at the end of the turn.
    doomed: Vec<SessionId>,
    /// Seats taken, by kind.
    seats: [usize; Seat::KINDS],
    clients_max: usize,
    /// Clients here and on their way here, for the acceptor's choice of shard.
    load: Arc<AtomicUsize>,
    scratch: Vec<u8>,
    /// Frames sealed this turn.
    sends: usize,
    now: Instant,
    /// When the turn of the loop began.
    turn_began: Instant,
    /// Whether the loop ends: no new sessions.
    is_stopping: bool,
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
            arriving: VecDeque::new(),
            dirty: VecDeque::new(),
            blocked: VecDeque::new(),
            slow_timeout: size.slow_timeout,
            send_buffer: size.send_buffer,
            written: Written::default(),
            ciphers: Ciphers::default(),
            fan_out_us: None,
            paused: HashSet::new(),
            stalled: Vec::new(),
            ended: Vec::new(),
            doomed: Vec::new(),
            seats: [0; Seat::KINDS],
            clients_max: size.clients,
            load,
            scratch: vec![0; READ_CHUNK],
            sends: 0,
            now,
            turn_began: now,
            is_stopping: false,
        }
    }

    /// The loop's idea of the time: when it last woke up or read.
    pub fn now(&self) -> Instant {
        self.now
    }

    /// Sessions in the table, those that are closing included.
    pub fn len(&self) -> usize {
        self.table.len()
    }

    /// Whether there are no sessions.
    pub fn is_empty(&self) -> bool {
        self.table.is_empty()
    }

    /// Queues a packet. A session that is gone or not open takes nothing.
    pub fn send(&mut self, id: SessionId, packet: &Packet) {
        self.queue(id, |session, pool| session.send(packet, pool));
    }

    /// Queues a packet that has been encoded before.
    pub fn send_encoded(&mut self, id: SessionId, encoded: &[u8]) {
        self.queue(id, |session, pool| session.send_encoded(encoded, pool));
    }

    /// Queues a packet that has been encoded before, in pieces.
    pub fn send_pieces(&mut self, id: SessionId, pieces: &[&[u8]]) {
        self.queue(id, |session, pool| session.send_pieces(pieces, pool));
    }

    /// Of the packet that [`App::packet`](super::App::packet) is being given: microseconds from its sealing to
    /// the moment when the server began to send it to the room. None if it came for this session alone.
    pub fn fan_out_us(&self) -> Option<u32> {
        self.fan_out_us
    }

    /// Ends the session. What is queued, and then the reason, still goes to the peer; the
    /// application is told at the end of the turn.
    pub fn close(&mut self, id: SessionId, reason: CloseReason, detail: &str) {
        let Some(conn) = self.table.get_mut(id) else { return };
        if conn.session.ended().is_some() {
            return;
        }
        // What was said before still goes out, but not to who reads too slowly for it.
        if reason.is_sent() && reason != CloseReason::TooSlow {
            turn::tell_gaps(conn, &mut self.rooms, &mut self.pool, id);
            let (session, pool) = (&mut conn.session, &mut self.pool);
            let limit = session.room_for(Class::Chat);
            self.rooms.settle(id, limit, |bytes| session.queue_sealed(bytes, pool));
        }
        conn.session.end(reason, detail, self.now, &mut self.pool);
        // Its input matters no more, but is read on, for the peer's end of it.
        conn.stalled = None;
        self.paused.remove(&id);
        conn.inbox = Vec::new();
        if !reason.is_sent() {
            self.doomed.push(id);
        }
        self.ended.push(id);
        self.mark_ready(id);
        self.mark_dirty(id);
        self.arm(id);
    }

    /// Leaves what comes for the session where it is, or reads it again: its socket fills up, as that of a peer that is too slow. What
    /// has been read already is still delivered, and its end is not noticed before it is read again.
    pub fn pause_reading(&mut self, id: SessionId, is_paused: bool) {
        let Some(conn) = self.table.get_mut(id).filter(|conn| conn.session.ended().is_none()) else { return };
        if is_paused {
            self.paused.insert(id);
        } else if self.paused.remove(&id) {
            conn.session.not_listened_to(self.now);
            self.mark_ready(id);
        }
    }

    /// Has the system hold no more than about so many bytes that come for the session, so that who is not read is soon felt to be slow.
    pub fn limit_receive_buffer(&mut self, id: SessionId, bytes: usize) {
        if let Some(conn) = self.table.get(id) {
            // A system that does not do it holds more, and nothing else changes.
            let _ = socket2::SockRef::from(&conn.socket).set_recv_buffer_size(bytes);
        }
    }

    /// Ends all sessions with peers of one kind.
    pub fn close_all(&mut self, kind: PeerKind, reason: CloseReason, detail: &str) {
        for id in self.table.ids().collect::<Vec<_>>() {
            if self.table.get(id).is_some_and(|conn| conn.session.endpoint().peer == kind) {
                self.close(id, reason, detail);
            }
        }
    }

    /// Connects to `address`. How it went, [`App::opened`](super::App::opened) or
    /// [`App::closed`](super::App::closed) tells, with `token`.
    /// Fails at once when the table is full, the loop is ending or the system has no socket to give.
    pub fn dial(
        &mut self,
        address: SocketAddr,
        endpoint: &Arc<Endpoint>,
        token: u64,
    ) -> io::Result<SessionId> {
        self.dial_from(None, address, endpoint, token)
    }

    /// As [`Self::dial`], from `source`, an address of this machine: each has ports of its own.
    pub fn dial_from(
        &mut self,
        source: Option<IpAddr>,
        address: SocketAddr,
        endpoint: &Arc<Endpoint>,
        token: u64,
    ) -> io::Result<SessionId> {
        let seat = Seat::of(endpoint.peer, true);
        if self.is_stopping {
            return Err(io::Error::other("this event loop is ending"));
        }
        if !self.has_room_for(seat) {
            return Err(io::Error::other("every session of this kind is taken"));
        }
        let session = Session::dialled(endpoint.clone(), self.now)
            .map_err(|reason| io::Error::other(format!("cannot start the handshake: {}", reason.name())))?;
        let socket = dialer::connect(address, source)?;
        self.insert(socket, session, address, Some(token), seat)
    }

    /// Ends all sessions, and takes no new ones from now on.
    pub(super) fn stop(&mut self, reason: CloseReason) {
        self.is_stopping = true;
        self.close_all(PeerKind::Client, reason, "");
        self.close_all(PeerKind::Link, reason, "");
    }

    /// Takes over a socket that the acceptor made. When every seat is taken the peer is told so.
    pub(super) fn adopt(&mut self, socket: TcpStream, peer: SocketAddr, endpoint: Arc<Endpoint>) {
        if self.is_stopping {
            return;
        }
        let wanted = Seat::of(endpoint.peer, false);
        let seat = [wanted, Seat::Refused].into_iter().find(|seat| self.has_room_for(*seat));
        if wanted == Seat::Client && seat != Some(Seat::Client) {
            self.load.fetch_sub(1, Ordering::Relaxed);
        }
        if seat != Some(wanted) {
            metrics::REFUSED_FULL.inc();
        }
        // Without even a seat for saying so, the socket is closed without a word.
        let Some(seat) = seat else { return };
        if wanted == Seat::Client {
            // Left to itself a system holds megabytes for a client that does not read. One that refuses holds more, and
            // nothing else changes.
            let _ = socket2::SockRef::from(&socket).set_send_buffer_size(self.send_buffer);
        }
        let session = Session::accepted(endpoint, self.now);
        match self.insert(socket, session, peer, None, seat) {
            Ok(id) if seat == Seat::Refused => self.close(id, CloseReason::ServerFull, ""),
            Ok(_) => {}
            Err(error) => tracing::warn!(%peer, %error, "cannot watch an accepted socket"),
        }
    }

    fn has_room_for(&self, seat: Seat) -> bool {
        let limit = match seat {
            Seat::Client => self.clients_max,
            Seat::Link => LINKS_MAX,
            Seat::Refused => REFUSAL_SLOTS,
            Seat::Dialled => usize::MAX,
        };
        self.seats[seat as usize] < limit
    }

    fn vacate(&mut self, seat: Seat) {
        self.seats[seat as usize] -= 1;
        if seat == Seat::Client {
            self.load.fetch_sub(1, Ordering::Relaxed);
        }
    }

    fn insert(
        &mut self,
        mut socket: TcpStream,
        session: Session,
        peer: SocketAddr,
        dialled: Option<u64>,
        seat: Seat,
    ) -> io::Result<SessionId> {
        let registry = &self.registry;
        let mut watched = Ok(());
        let id = self.table.insert_with(|id| {
            let interest = Interest::READABLE | Interest::WRITABLE;
            watched = registry.register(&mut socket, Token(id.to_bits() as usize), interest);
            Conn {
                socket,
                session,
                peer,
                dialled,
                inbox: Vec::new(),
                stalled: None,
                timer: 0,
                announced: dialled.is_some(),
                seat,
                in_ready: false,
                in_dirty: false,
                in_blocked: false,
                took: self.now,
                missed: 0,
                write_blocked: false,
                read_closed: false,
                fin_sent: false,
            }
        });
        let outcome = match (id, watched) {
            (Some(id), Ok(())) => Ok(id),
            (Some(id), Err(error)) => {
                self.table.remove(id);
                Err(error)
            }
            (None, _) => Err(io::Error::other("the session table is full")),
        };
        self.seats[seat as usize] += 1;
        match outcome {
            Ok(id) => {
                metrics::SESSIONS.add(1);
                self.arm(id);
            }
            Err(_) => self.vacate(seat),
        }
        outcome
    }

    fn queue(&mut self, id: SessionId, send: impl FnOnce(&mut Session, &mut BufferPool)) {
        let Some(conn) = self.table.get_mut(id).filter(|conn| conn.session.is_open()) else { return };
        send(&mut conn.session, &mut self.pool);
        self.sends += 1;
        self.queued(id);
    }

    /// Something was queued: sees to it that it goes out, and that no more waits than may.
    fn queued(&mut self, id: SessionId) {
        let Some(conn) = self.table.get_mut(id) else { return };
        if !conn.session.is_too_slow() {
            self.mark_dirty(id);
            return;
        }
        // Much that was queued in one turn says nothing about the peer: what counts is what its
        // socket does not take.
        match self.write(id) {
            Err(reason) => self.lost(id, reason),
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
        }
    }

    fn mark_ready(&mut self, id: SessionId) {
        if let Some(conn) = self.table.get_mut(id)
            && !std::mem::replace(&mut conn.in_ready, true)
        {
            let queue = if conn.session.is_open() { &mut self.ready } else { &mut self.arriving };
            queue.push_back(id);
        }
    }

    /// Arms the session's one timer for what is due next.
    fn arm(&mut self, id: SessionId) {
        let Some(conn) = self.table.get_mut(id) else { return };
        if conn.stalled.is_some() || self.paused.contains(&id) {
            conn.session.not_listened_to(self.now);
        }
        match conn.session.due(self.now, &mut self.pool) {
            Due::Later(at) => {
                conn.timer = conn.timer.wrapping_add(1);
                self.timers.arm(at, (id, conn.timer));
                if !conn.session.outbox.is_empty() {
                    self.queued(id);
                }
            }
            Due::Never => {}
            Due::End(reason) => self.close(id, reason, ""),
            Due::Drop => self.doomed.push(id),
        }
    }
}

#[cfg(test)]
mod tests {
    /// Ten thousand idle sessions are mostly this; with its place in the room and in the application's tables a session
    /// is to stay below a kilobyte.
    #[test]
    fn a_session_is_small() {
        let size = size_of::<super::Conn>();
        assert!(size <= 320, "{size} bytes");
    }
}
