//! The sessions of one shard with their sockets: what an application may do with them,
//! and the reading and writing that the shard's loop does for them.

use std::collections::VecDeque;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use mio::event::Event;
use mio::net::TcpStream;
use mio::{Interest, Registry, Token};

use super::endpoint::{Endpoint, PeerKind};
use super::outbox::BufferPool;
use super::rooms::{RoomId, Rooms};
use super::session::{Due, Session, Step};
use super::shard::{App, Closed, Opened};
use super::table::Table;
use crate::SessionId;
use crate::limits::{READ_CHUNK, READS_PER_TURN};
use crate::metrics;
use crate::timer::Wheel;
use crate::wire::{CloseReason, Packet};

/// How coarse sessions' timers are.
const TIMER_RESOLUTION: Duration = Duration::from_millis(50);

/// A session, its socket, and where it stands in the shard's lists.
#[expect(clippy::struct_excessive_bools, reason = "each is independent of the others")]
struct Conn {
    socket: TcpStream,
    session: Session,
    peer: SocketAddr,
    /// The token given to [`Net::dial`]; none for an accepted socket.
    dialled: Option<u64>,
    /// Received bytes that wait: the beginning of a frame, or what a stall holds back.
    inbox: Vec<u8>,
    /// A packet that the application had no room for. While there is one, nothing is read.
    stalled: Option<Packet>,
    /// Counts the timers armed for this session; only the latest is heeded.
    timer: u32,
    /// Whether the application knows the session and must hear of its end.
    announced: bool,
    /// Whether it counts against the client limit.
    counted: bool,
    /// Whether it stands in [`Net::ready`].
    in_ready: bool,
    /// Whether it stands in [`Net::dirty`].
    in_dirty: bool,
    /// Whether the socket took less than it was offered; writable again by an event.
    write_blocked: bool,
    /// Whether the poller has announced the end of input.
    read_closed: bool,
    /// Whether our side of the socket is shut down.
    fin_sent: bool,
}

/// The sessions of one shard, as its application sees them.
pub struct Net {
    table: Table<Conn>,
    registry: Registry,
    rooms: Rooms,
    pool: BufferPool,
    timers: Wheel<(SessionId, u32)>,
    /// Sessions to read from.
    ready: VecDeque<SessionId>,
    /// Sessions with something to write, or to shut down.
    dirty: Vec<SessionId>,
    /// Sessions whose packet the application had no room for.
    stalled: Vec<SessionId>,
    /// Sessions that ended this turn, for the application.
    ended: Vec<SessionId>,
    /// Sessions to remove at the end of the turn.
    doomed: Vec<SessionId>,
    clients: usize,
    clients_max: usize,
    /// Sessions in the table, for the acceptor's choice of shard.
    load: Arc<AtomicUsize>,
    scratch: Vec<u8>,
    /// Frames sealed this turn.
    sends: usize,
    now: Instant,
}

impl Net {
    pub(super) fn new(
        shard: u8,
        registry: Registry,
        clients_max: usize,
        capacity: usize,
        load: Arc<AtomicUsize>,
    ) -> Self {
        let now = Instant::now();
        Self {
            table: Table::new(shard, capacity),
            registry,
            rooms: Rooms::default(),
            pool: BufferPool::default(),
            timers: Wheel::new(now, TIMER_RESOLUTION),
            ready: VecDeque::new(),
            dirty: Vec::new(),
            stalled: Vec::new(),
            ended: Vec::new(),
            doomed: Vec::new(),
            clients: 0,
            clients_max,
            load,
            scratch: vec![0; READ_CHUNK],
            sends: 0,
            now,
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

    /// Makes the session a member of the room.
    pub fn join(&mut self, id: SessionId, room: RoomId) {
        if self.table.get(id).is_some() {
            self.rooms.join(id, room);
        }
    }

    /// Ends the session's membership of the room.
    pub fn leave(&mut self, id: SessionId, room: RoomId) {
        self.rooms.leave(id, room);
    }

    /// Queues an encoded packet for every member of the room, sealed once for each.
    pub fn broadcast(&mut self, room: RoomId, encoded: &[u8]) {
        // Sending never changes a membership: whoever is too slow is taken out at the end of the turn.
        for place in 0..self.rooms.members(room).len() {
            let id = self.rooms.members(room)[place];
            self.send_encoded(id, encoded);
        }
    }

    /// Ends the session. What is queued, and then the reason, still goes to the peer; the
    /// application is told at the end of the turn.
    pub fn close(&mut self, id: SessionId, reason: CloseReason, detail: &str) {
        let Some(conn) = self.table.get_mut(id) else { return };
        if conn.session.ended().is_some() {
            return;
        }
        conn.session.end(reason, detail, self.now, &mut self.pool);
        if !reason.is_sent() {
            self.doomed.push(id);
        }
        self.ended.push(id);
        self.mark_dirty(id);
        self.arm(id);
    }

    /// Ends all sessions with peers of one kind.
    pub fn close_all(&mut self, kind: PeerKind, reason: CloseReason, detail: &str) {
        for id in self.table.ids().collect::<Vec<_>>() {
            if self.table.get(id).is_some_and(|conn| conn.session.endpoint().peer == kind) {
                self.close(id, reason, detail);
            }
        }
    }

    /// Connects to `address`. How it went, [`App::opened`] or [`App::closed`] tells, with `token`.
    /// Fails at once when the table is full or the system has no socket to give.
    pub fn dial(
        &mut self,
        address: SocketAddr,
        endpoint: &Arc<Endpoint>,
        token: u64,
    ) -> io::Result<SessionId> {
        let session = Session::dialled(endpoint.clone(), self.now)
            .map_err(|reason| io::Error::other(format!("cannot start the handshake: {}", reason.name())))?;
        let socket = TcpStream::connect(address)?;
        self.insert(socket, session, address, Some(token))
            .ok_or_else(|| io::Error::other("the session table is full"))?
    }

    /// Takes over a socket that the acceptor made. When every slot is taken the peer is told so.
    pub(super) fn adopt(&mut self, socket: TcpStream, peer: SocketAddr, endpoint: Arc<Endpoint>) {
        let is_client = endpoint.peer == PeerKind::Client;
        let is_full = is_client && self.clients >= self.clients_max;
        let session = Session::accepted(endpoint, self.now);
        match self.insert(socket, session, peer, None) {
            Some(Ok(id)) if is_full => {
                metrics::REFUSED_FULL.inc();
                self.close(id, CloseReason::ServerFull, "");
            }
            Some(Ok(id)) => {
                if let Some(conn) = self.table.get_mut(id).filter(|_| is_client) {
                    conn.counted = true;
                    self.clients += 1;
                }
            }
            Some(Err(error)) => tracing::warn!(%peer, %error, "cannot watch an accepted socket"),
            // Even the slots for saying so are taken: the socket is closed without a word.
            None => metrics::REFUSED_FULL.inc(),
        }
    }

    fn insert(
        &mut self,
        socket: TcpStream,
        session: Session,
        peer: SocketAddr,
        dialled: Option<u64>,
    ) -> Option<io::Result<SessionId>> {
        let id = self.table.insert_with(|_| Conn {
            socket,
            session,
            peer,
            dialled,
            inbox: Vec::new(),
            stalled: None,
            timer: 0,
            announced: dialled.is_some(),
            counted: false,
            in_ready: false,
            in_dirty: false,
            write_blocked: false,
            read_closed: false,
            fin_sent: false,
        })?;
        let conn = self.table.get_mut(id)?;
        let interest = Interest::READABLE | Interest::WRITABLE;
        if let Err(error) = self.registry.register(&mut conn.socket, Token(id.to_bits() as usize), interest) {
            self.table.remove(id);
            return Some(Err(error));
        }
        metrics::SESSIONS.add(1);
        self.load.store(self.table.len(), Ordering::Relaxed);
        self.arm(id);
        Some(Ok(id))
    }

    fn queue(&mut self, id: SessionId, send: impl FnOnce(&mut Session, &mut BufferPool)) {
        let Some(conn) = self.table.get_mut(id).filter(|conn| conn.session.is_open()) else { return };
        send(&mut conn.session, &mut self.pool);
        self.sends += 1;
        if conn.session.is_too_slow() {
            self.close(id, CloseReason::TooSlow, "");
        } else {
            self.mark_dirty(id);
        }
    }

    fn mark_dirty(&mut self, id: SessionId) {
        if let Some(conn) = self.table.get_mut(id)
            && !std::mem::replace(&mut conn.in_dirty, true)
        {
            self.dirty.push(id);
        }
    }

    fn mark_ready(&mut self, id: SessionId) {
        if let Some(conn) = self.table.get_mut(id)
            && !std::mem::replace(&mut conn.in_ready, true)
        {
            self.ready.push_back(id);
        }
    }

    /// Arms the session's one timer for what is due next.
    fn arm(&mut self, id: SessionId) {
        let Some(conn) = self.table.get_mut(id) else { return };
        match conn.session.due(self.now, &mut self.pool) {
            Due::Later(at) => {
                conn.timer = conn.timer.wrapping_add(1);
                self.timers.arm(at, (id, conn.timer));
                if !conn.session.outbox.is_empty() {
                    self.mark_dirty(id);
                }
            }
            Due::End(reason) => self.close(id, reason, ""),
            Due::Drop => self.doomed.push(id),
        }
    }

    // What follows is the loop's.

    pub(super) fn set_now(&mut self, now: Instant) {
        self.now = now;
        self.sends = 0;
    }

    /// Frames sealed since the turn began.
    pub(super) fn sends(&self) -> usize {
        self.sends
    }

    /// Whether the loop has to come back at once.
    pub(super) fn has_ready(&self) -> bool {
        !self.ready.is_empty()
    }

    /// Whether something was queued after the flush.
    pub(super) fn has_dirty(&self) -> bool {
        !self.dirty.is_empty()
    }

    /// When the timers want to be looked at.
    pub(super) fn next_timer(&self) -> Option<Instant> {
        self.timers.next_expiry()
    }

    /// Takes note of what the poller says about a socket.
    pub(super) fn on_event(&mut self, event: &Event) {
        let id = SessionId::from_bits(event.token().0 as u64);
        let Some(conn) = self.table.get_mut(id) else { return };
        if conn.session.is_connecting() {
            self.finish_connect(id, event);
            return;
        }
        let may_write = event.is_writable() && std::mem::take(&mut conn.write_blocked);
        conn.read_closed |= event.is_read_closed() || event.is_error();
        let may_read = event.is_readable() || conn.read_closed;
        if may_write {
            self.mark_dirty(id);
        }
        if may_read {
            self.mark_ready(id);
        }
    }

    fn finish_connect(&mut self, id: SessionId, event: &Event) {
        let Some(conn) = self.table.get_mut(id) else { return };
        match conn.socket.take_error() {
            Ok(None) if conn.socket.peer_addr().is_ok() => {
                // Without it a small packet would wait for the answer to the one before.
                let _ = conn.socket.set_nodelay(true);
                conn.session.connected(&mut self.pool);
                self.mark_dirty(id);
                if event.is_readable() {
                    self.mark_ready(id);
                }
            }
            Ok(None) if !event.is_error() && !event.is_write_closed() => {} // not yet
            Ok(_) | Err(_) => self.close(id, CloseReason::ConnectFailed, ""),
        }
    }

    /// Reads from every session that has something, each a bounded number of times.
    pub(super) fn read_ready<A: App>(&mut self, app: &mut A) {
        let mut scratch = std::mem::take(&mut self.scratch);
        for _ in 0..self.ready.len() {
            let Some(id) = self.ready.pop_front() else { break };
            let Some(conn) = self.table.get_mut(id) else { continue };
            conn.in_ready = false;
            if !self.read(app, id, &mut scratch) {
                self.mark_ready(id);
            }
        }
        self.scratch = scratch;
    }

    /// Reads from one session; true when the socket is empty, gone, or must not be read.
    fn read<A: App>(&mut self, app: &mut A, id: SessionId, scratch: &mut [u8]) -> bool {
        for _ in 0..READS_PER_TURN {
            let Some(conn) = self.table.get_mut(id) else { return true };
            if conn.stalled.is_some() {
                return true;
            }
            let held = conn.inbox.len();
            let space = scratch.len() - held;
            match conn.socket.read(&mut scratch[held..]) {
                Ok(0) => {
                    self.lost(id, CloseReason::PeerClosed);
                    return true;
                }
                Ok(count) => {
                    metrics::BYTES_IN.add(count as u64);
                    // A read that leaves room has emptied the socket (epoll(7), question 9), unless
                    // the end of input, announced before, is still to be read.
                    let is_empty = count < space && !conn.read_closed;
                    scratch[..held].copy_from_slice(&conn.inbox);
                    conn.inbox = Vec::new();
                    self.now = Instant::now();
                    self.deliver(app, id, &mut scratch[..held + count]);
                    if is_empty {
                        return true;
                    }
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => return true,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(_) => {
                    self.lost(id, CloseReason::ConnectionLost);
                    return true;
                }
            }
        }
        false
    }

    /// Hands received bytes to the session, frame by frame, and packets to the application.
    fn deliver<A: App>(&mut self, app: &mut A, id: SessionId, bytes: &mut [u8]) {
        let mut at = 0;
        loop {
            let Some(conn) = self.table.get_mut(id) else { return };
            match conn.session.step(&mut bytes[at..], self.now, &mut self.pool) {
                Step::Handled(used) => {
                    at += used;
                    if !conn.session.outbox.is_empty() {
                        self.mark_dirty(id);
                    }
                    if at == bytes.len() {
                        return;
                    }
                }
                Step::Opened(used) => {
                    at += used;
                    self.opened(app, id);
                }
                Step::Packet(used, packet) => {
                    at += used;
                    if let Err(packet) = app.packet(self, id, packet) {
                        self.stall(id, packet, &bytes[at..]);
                        return;
                    }
                }
                Step::NeedMore => {
                    conn.inbox = bytes[at..].to_vec();
                    return;
                }
                Step::PeerCloses(reason, detail) => {
                    self.ended_by_peer(id, reason);
                    tracing::debug!(session = %id, reason = reason.name(), %detail, "the peer closes");
                    return;
                }
                Step::Bad(reason) => {
                    self.close(id, reason, "");
                    return;
                }
            }
        }
    }

    fn opened<A: App>(&mut self, app: &mut A, id: SessionId) {
        let Some(conn) = self.table.get_mut(id) else { return };
        conn.announced = true;
        let opened = Opened { kind: conn.session.endpoint().peer, address: conn.peer, dialled: conn.dialled };
        self.mark_dirty(id);
        self.arm(id);
        app.opened(self, id, opened);
    }

    fn stall(&mut self, id: SessionId, packet: Packet, rest: &[u8]) {
        if let Some(conn) = self.table.get_mut(id) {
            metrics::STALLS.inc();
            conn.stalled = Some(packet);
            conn.inbox = rest.to_vec();
            self.stalled.push(id);
        }
    }

    /// Offers the application once more what it had no room for.
    pub(super) fn retry_stalled<A: App>(&mut self, app: &mut A) {
        for id in std::mem::take(&mut self.stalled) {
            let Some(conn) = self.table.get_mut(id) else { continue };
            let Some(packet) = conn.stalled.take() else { continue };
            if conn.session.ended().is_some() {
                continue;
            }
            if let Err(packet) = app.packet(self, id, packet) {
                if let Some(conn) = self.table.get_mut(id) {
                    conn.stalled = Some(packet);
                    self.stalled.push(id);
                }
                continue;
            }
            let Some(conn) = self.table.get_mut(id) else { continue };
            let mut held = std::mem::take(&mut conn.inbox);
            if !held.is_empty() {
                self.deliver(app, id, &mut held);
            }
            self.mark_ready(id);
        }
    }

    /// The socket gave out: the session ends, unless it was closing anyway, and goes.
    fn lost(&mut self, id: SessionId, reason: CloseReason) {
        self.ended_by_peer(id, reason);
        self.doomed.push(id);
    }

    fn ended_by_peer(&mut self, id: SessionId, reason: CloseReason) {
        let Some(conn) = self.table.get_mut(id) else { return };
        if conn.session.ended().is_none() {
            conn.session.end_by_peer(reason, self.now, &mut self.pool);
            self.ended.push(id);
            self.doomed.push(id);
        }
    }

    /// Runs the timers that are due.
    pub(super) fn run_timers(&mut self) {
        let mut due = Vec::new();
        self.timers.expire(self.now, &mut due);
        for (id, timer) in due {
            if self.table.get(id).is_some_and(|conn| conn.timer == timer) {
                self.arm(id);
            }
        }
    }

    /// Writes what is queued, one write a session.
    pub(super) fn flush(&mut self) {
        let mut dirty = std::mem::take(&mut self.dirty);
        for id in dirty.drain(..) {
            let Some(conn) = self.table.get_mut(id) else { continue };
            conn.in_dirty = false;
            if let Err(reason) = Self::flush_one(conn, &mut self.pool) {
                self.lost(id, reason);
            }
        }
        // Losses mark nothing dirty, so the vector can be used again.
        self.dirty = dirty;
    }

    fn flush_one(conn: &mut Conn, pool: &mut BufferPool) -> Result<(), CloseReason> {
        while !conn.write_blocked && !conn.session.outbox.is_empty() {
            let waiting = conn.session.outbox.waiting();
            match conn.socket.write(waiting) {
                Ok(0) => return Err(CloseReason::ConnectionLost),
                Ok(count) => {
                    metrics::WRITES.inc();
                    metrics::BYTES_OUT.add(count as u64);
                    // Taken in part: the socket is full, and an event says when it is not.
                    conn.write_blocked = count < waiting.len();
                    conn.session.outbox.consume(count, pool);
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => conn.write_blocked = true,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(_) => return Err(CloseReason::ConnectionLost),
            }
        }
        // The word that the session closes is out: say that nothing follows, and wait for the
        // peer's close. Closing at once would reset the connection if input is unread, and the
        // peer's system might then throw away our last words.
        if conn.session.ended().is_some() && conn.session.outbox.is_empty() && !conn.fin_sent {
            conn.fin_sent = true;
            conn.socket.shutdown(Shutdown::Write).map_err(|_| CloseReason::ConnectionLost)?;
        }
        Ok(())
    }

    /// Tells the application of the sessions that ended this turn.
    pub(super) fn report_ended<A: App>(&mut self, app: &mut A) {
        while let Some(id) = self.ended.pop() {
            self.rooms.leave_all(id);
            let Some(conn) = self.table.get(id).filter(|conn| conn.announced) else { continue };
            let closed = Closed {
                kind: conn.session.endpoint().peer,
                dialled: conn.dialled,
                reason: conn.session.ended().unwrap_or(CloseReason::ConnectionLost),
            };
            app.closed(self, id, closed);
        }
    }

    /// Removes the sessions that are done with. The turn's last step: nothing iterates now.
    pub(super) fn remove_doomed(&mut self) {
        while let Some(id) = self.doomed.pop() {
            let Some(mut conn) = self.table.remove(id) else { continue };
            // Closing the descriptor would do; mio asks for it, and a failure changes nothing.
            let _ = self.registry.deregister(&mut conn.socket);
            self.clients -= usize::from(conn.counted);
            metrics::SESSIONS.add(-1);
        }
        self.load.store(self.table.len(), Ordering::Relaxed);
    }
}
