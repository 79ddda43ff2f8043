//! Steps of a turn of the event loop: handle events, read, run timers, write, report ends, remove.

use std::io::{ErrorKind, IoSlice, Read, Write};
use std::net::Shutdown;
use std::time::Instant;

use mio::event::Event as Readiness;

use super::Sessions;
use super::app::App;
use crate::SessionId;
use crate::limits::{
    CLIENT_READ_CHUNK, FLUSHES_PER_TURN, HANDSHAKE_BUDGET, READ_BUDGET, READ_CHUNK, READS_PER_TURN,
    SWEEP_SLICE, WRITE_PIECES,
};
use crate::metrics;
use crate::net::lifecycle::{Closed, Opened};
use crate::net::membership::Rooms;
use crate::net::seats::Seat;
use crate::session::{Event, Session, room_packet};
use crate::wire::{CloseReason, Packet};

/// Checks of a blocked socket within `slow_timeout`.
const BLOCKED_CHECKS: u32 = 8;

impl Sessions {
    pub(in crate::net) fn begin_turn(&mut self, now: Instant) {
        self.now = now;
        self.turn_began = now;
        self.sends = 0;
    }

    /// Returns the number of frames sealed since the turn began.
    pub(in crate::net) fn sends(&self) -> usize {
        self.sends
    }

    /// Returns true if there are sessions to read from.
    pub(in crate::net) fn has_ready(&self) -> bool {
        !self.ready.is_empty() || !self.handshaking.is_empty()
    }

    /// Returns the number of sessions with frames of their own to write.
    pub(in crate::net) fn unflushed(&self) -> usize {
        self.dirty.len()
    }

    /// Returns true while the sweep has members to visit, which may have frames pending.
    pub fn is_sweeping(&self) -> bool {
        self.rooms.is_sweeping()
    }

    /// Returns the latest time for [`Self::run_timers`].
    pub(in crate::net) fn next_timer(&self) -> Option<Instant> {
        self.timers.next_expiry()
    }

    /// Returns the time for [`Self::close_slow`].
    pub(in crate::net) fn next_slow_check(&self) -> Option<Instant> {
        self.blocked.front().map(|(at, _)| *at)
    }

    pub(in crate::net) fn handle_event(&mut self, event: &Readiness) {
        let id = SessionId::from_bits(event.token().0 as u64);
        let Some(conn) = self.table.get_mut(id) else { return };
        // Reported once, and possibly together with the end of connecting: so before anything else.
        conn.read_closed |= event.is_read_closed() || event.is_error();
        if conn.session.is_connecting() {
            self.finish_connect(id, event);
            return;
        }
        let may_write = event.is_writable() && std::mem::take(&mut conn.write_blocked);
        let may_read = event.is_readable() || conn.read_closed;
        if may_write {
            self.mark_dirty(id);
        }
        if may_read {
            self.mark_ready(id);
        }
    }

    fn finish_connect(&mut self, id: SessionId, event: &Readiness) {
        let Some(conn) = self.table.get_mut(id) else { return };
        match conn.socket.take_error() {
            Ok(None) if conn.socket.peer_addr().is_ok() => {
                // With Nagle's algorithm a small packet would wait for the acknowledgment of the
                // one before. If the system refuses, packets are only late.
                let _ = conn.socket.set_nodelay(true);
                conn.session.handle_connected(&mut self.pool);
                let may_read = event.is_readable() || conn.read_closed;
                self.mark_dirty(id);
                if may_read {
                    self.mark_ready(id);
                }
            }
            Ok(None) if !event.is_error() && !event.is_write_closed() => {} // Still connecting.
            Ok(_) | Err(_) => self.close(id, CloseReason::ConnectFailed, ""),
        }
    }

    /// Reads from open sessions, then from handshaking and closing ones, each a bounded number of
    /// times. The two get [`READ_BUDGET`] and [`HANDSHAKE_BUDGET`]; sessions that are left over
    /// come first in the next turn.
    pub(in crate::net) fn read_ready<A: App>(&mut self, app: &mut A) {
        let mut scratch = std::mem::take(&mut self.scratch);
        let until = Instant::now() + READ_BUDGET;
        for _ in 0..self.ready.len() {
            let Some(id) = self.ready.pop_front() else { break };
            self.read_one(app, id, &mut scratch, until);
            if self.now >= until {
                break;
            }
        }
        let until = self.now + HANDSHAKE_BUDGET;
        for _ in 0..self.handshaking.len() {
            let Some(id) = self.handshaking.pop_front() else { break };
            self.read_one(app, id, &mut scratch, until);
            if self.now >= until {
                break;
            }
        }
        self.scratch = scratch;
    }

    fn read_one<A: App>(&mut self, app: &mut A, id: SessionId, scratch: &mut [u8], until: Instant) {
        let Some(conn) = self.table.get_mut(id) else { return };
        conn.in_ready = false;
        if !self.read(app, id, scratch, until) {
            self.mark_ready(id);
        }
    }

    /// Reads from one session, at least once. Returns true if the socket is empty or gone, or must
    /// not be read.
    fn read<A: App>(&mut self, app: &mut A, id: SessionId, scratch: &mut [u8], until: Instant) -> bool {
        for read in 0..READS_PER_TURN {
            let Some(conn) = self.table.get_mut(id) else { return true };
            if read > 0 && (conn.seat == Seat::Client || Instant::now() >= until) {
                return false;
            }
            if conn.stalled.is_some() || self.dial_side.is_paused(id) {
                return true;
            }
            let held = conn.inbox.len();
            let end = if conn.seat == Seat::Client { CLIENT_READ_CHUNK } else { READ_CHUNK };
            let space = end - held;
            match conn.socket.read(&mut scratch[held..end]) {
                Ok(0) => {
                    self.handle_socket_lost(id, CloseReason::PeerClosed);
                    return true;
                }
                Ok(count) => {
                    metrics::BYTES_IN.add(count as u64);
                    // A read that leaves space has emptied the socket (epoll(7), question 9),
                    // unless the end of input was reported and is still to be read.
                    let is_empty = count < space && !conn.read_closed;
                    scratch[..held].copy_from_slice(&conn.inbox);
                    conn.inbox = Vec::new();
                    self.now = Instant::now();
                    self.handle_received(app, id, &mut scratch[..held + count]);
                    if is_empty {
                        return true;
                    }
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => return true,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(_) => {
                    self.handle_socket_lost(id, CloseReason::ConnectionLost);
                    return true;
                }
            }
        }
        false
    }

    /// Passes received bytes to the session, frame by frame, and its packets to the application.
    fn handle_received<A: App>(&mut self, app: &mut A, id: SessionId, bytes: &mut [u8]) {
        let mut at = 0;
        loop {
            let Some(conn) = self.table.get_mut(id) else { return };
            let frame = at;
            let event = match conn.session.handle_frame(&mut bytes[at..], self.now, &mut self.pool) {
                Ok(Some((used, event))) => {
                    at += used;
                    event
                }
                Ok(None) => {
                    conn.inbox = bytes[at..].to_vec();
                    return;
                }
                Err(reason) => return self.close(id, reason, ""),
            };
            match event {
                Event::Consumed => {
                    if !conn.session.poll_transmit().is_empty() {
                        self.schedule_write(id);
                    }
                    if at == bytes.len() {
                        return;
                    }
                }
                Event::Opened => self.report_opened(app, id),
                Event::Packet(packet) => {
                    self.dial_side.describe(&conn.session);
                    if !self.offer(app, id, packet, &bytes[at..]) {
                        return;
                    }
                }
                Event::RoomPacket { room, packet } => {
                    self.dial_side.describe(&conn.session);
                    let encoded = &bytes[frame..][packet];
                    if app.room_packet(self, id, room, encoded) {
                        continue;
                    }
                    let packet = match room_packet(room, encoded) {
                        Ok(packet) => packet,
                        Err(reason) => return self.close(id, reason, ""),
                    };
                    if !self.offer(app, id, packet, &bytes[at..]) {
                        return;
                    }
                }
                Event::RoomKey(key) => {
                    let cipher = self.dial_side.ciphers.expand(&key.secret);
                    if !conn.session.add_room_key(&key, cipher) {
                        return self.close(id, CloseReason::PacketNotAllowed, "");
                    }
                }
                Event::PeerClosed(reason, detail) => {
                    self.end_by_peer(id, reason);
                    tracing::debug!(session = %id, reason = reason.name(), %detail, "the peer closes");
                    return;
                }
            }
        }
    }

    /// Offers a packet to the application. Returns false if the application gave it back; then the
    /// session is stalled and keeps `rest`.
    fn offer<A: App>(&mut self, app: &mut A, id: SessionId, packet: Packet, rest: &[u8]) -> bool {
        let Err(packet) = app.packet(self, id, packet) else { return true };
        // The application may have closed the session and given the packet back, which is then
        // dropped.
        let conn = self.table.get_mut(id).filter(|conn| conn.session.close_reason().is_none());
        if let Some(conn) = conn {
            metrics::STALLS.inc();
            conn.stalled = Some(Box::new(packet));
            conn.inbox = rest.to_vec();
            self.stalled.push(id);
        }
        false
    }

    fn report_opened<A: App>(&mut self, app: &mut A, id: SessionId) {
        let Some(conn) = self.table.get_mut(id) else { return };
        conn.is_announced = true;
        let opened = Opened { kind: conn.session.endpoint().peer, address: conn.peer, dialed: conn.dialed };
        self.mark_dirty(id);
        self.drive_timer(id);
        app.opened(self, id, opened);
    }

    /// Offers stalled packets to the application again.
    pub(in crate::net) fn retry_stalled<A: App>(&mut self, app: &mut A) {
        let mut waiting = Vec::new();
        for id in std::mem::take(&mut self.stalled) {
            let Some(conn) = self.table.get_mut(id) else { continue };
            let Some(packet) = conn.stalled.take() else { continue };
            let refused = app.packet(self, id, *packet).err();
            let conn = self.table.get_mut(id).filter(|conn| conn.session.close_reason().is_none());
            let Some(conn) = conn else { continue };
            if refused.is_some() {
                conn.stalled = refused.map(Box::new);
                waiting.push(id);
                continue;
            }
            conn.session.restart_idle_timeout(self.now);
            let mut held = std::mem::take(&mut conn.inbox);
            if !held.is_empty() {
                self.handle_received(app, id, &mut held);
            }
            self.mark_ready(id);
        }
        // A session that passed a packet and stalled again goes behind those that passed none.
        // Otherwise the first one could keep the others out.
        waiting.append(&mut self.stalled);
        self.stalled = waiting;
    }

    /// Ends a session whose socket failed or was closed by the peer, and has it removed.
    pub(super) fn handle_socket_lost(&mut self, id: SessionId, reason: CloseReason) {
        self.end_by_peer(id, reason);
        self.doomed.push(id);
    }

    fn end_by_peer(&mut self, id: SessionId, reason: CloseReason) {
        let Some(conn) = self.table.get_mut(id) else { return };
        if conn.session.close_reason().is_none() {
            conn.session.handle_disconnect(reason, self.now, &mut self.pool);
            self.ended.push(id);
            self.doomed.push(id);
        }
    }

    pub(in crate::net) fn run_timers(&mut self) {
        let mut expired = Vec::new();
        self.timers.expire(self.now, &mut expired);
        for (id, timer) in expired {
            if self.table.get(id).is_some_and(|conn| conn.timer == timer) {
                self.drive_timer(id);
            }
        }
    }

    /// Writes to sessions with frames of their own, and then to a slice of the sweep.
    pub(in crate::net) fn flush(&mut self) {
        if self.rooms.has_unstamped() {
            self.rooms.stamp_unstamped(Instant::now(), |micros| {
                metrics::FAN_OUT_US.add(micros);
                metrics::FAN_OUTS.inc();
            });
        }
        for _ in 0..self.dirty.len().min(FLUSHES_PER_TURN) {
            let Some(id) = self.dirty.pop_front() else { break };
            self.dirty_taken += 1;
            let Some(conn) = self.table.get_mut(id) else { continue };
            conn.in_dirty = false;
            self.write_or_lose(id);
        }
        while self.flushing.front().is_some_and(|(after, _)| *after <= self.dirty_taken) {
            self.flushing.pop_front();
        }
        self.write_sweep_slice();
        let written = std::mem::take(&mut self.written);
        metrics::WRITES.add(written.calls);
        metrics::BYTES_OUT.add(written.bytes);
        metrics::PACKETS_OUT.add(self.rooms.take_frames_delivered());
    }

    /// Writes to members of rooms, for as long as the rest of the turn took and at least for one
    /// slice. So rooms get half of a busy loop's time.
    fn write_sweep_slice(&mut self) {
        let now = Instant::now();
        let until = now + now.saturating_duration_since(self.turn_began);
        while self.rooms.is_sweeping() {
            for _ in 0..SWEEP_SLICE {
                let Some(id) = self.rooms.next_visit() else { break };
                self.write_or_lose(id);
            }
            if Instant::now() >= until {
                break;
            }
        }
    }

    fn write_or_lose(&mut self, id: SessionId) {
        if let Err(reason) = self.write(id) {
            self.handle_socket_lost(id, reason);
        }
    }

    /// Writes what waits for a session until its socket accepts no more: first the outbox, then the
    /// frames of its rooms.
    pub(super) fn write(&mut self, id: SessionId) -> Result<(), CloseReason> {
        let Some(conn) = self.table.get_mut(id) else { return Ok(()) };
        while !conn.write_blocked {
            if conn.session.is_open() {
                conn.queue_gaps(id, &mut self.rooms, &mut self.pool);
            }
            let mut pieces = [IoSlice::new(&[]); WRITE_PIECES];
            let count = gather(&conn.session, &self.rooms, id, &mut pieces);
            let pieces = &pieces[..count];
            let accepted = match pieces {
                [] => break,
                [piece] => conn.socket.write(piece),
                pieces => conn.socket.write_vectored(pieces),
            };
            match accepted {
                Ok(0) => return Err(CloseReason::ConnectionLost),
                Ok(accepted) => {
                    // After a partial write the socket is full until its next writable event.
                    conn.write_blocked = accepted < pieces.iter().map(|piece| piece.len()).sum();
                    conn.last_written = self.now;
                    self.written.calls += 1;
                    self.written.bytes += accepted as u64;
                    let own = accepted.min(conn.session.poll_transmit().len());
                    conn.session.handle_transmitted(own, &mut self.pool);
                    self.shares.consume(id, own);
                    if accepted > own {
                        self.rooms.advance(id, accepted - own, |torn| {
                            conn.session.queue_sealed(torn, &mut self.pool);
                        });
                    }
                    // A session that has caught up is told at once of the messages that it missed.
                    let has_gap = conn.missed > 0 && conn.session.poll_transmit().is_empty();
                    if count < WRITE_PIECES && !has_gap {
                        break;
                    }
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    conn.last_written = self.now;
                    conn.write_blocked = true;
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(_) => return Err(CloseReason::ConnectionLost),
            }
        }
        if conn.write_blocked && !std::mem::replace(&mut conn.in_blocked, true) {
            self.blocked.push_back((self.now + self.slow_timeout / BLOCKED_CHECKS, id));
        }
        // Sends FIN and waits for the peer's close. Closing at once would reset the connection if
        // input is unread, and the peer's system might then drop the reason.
        let is_drained = conn.session.close_reason().is_some() && conn.session.poll_transmit().is_empty();
        if is_drained && !std::mem::replace(&mut conn.fin_sent, true) {
            conn.socket.shutdown(Shutdown::Write).map_err(|_| CloseReason::ConnectionLost)?;
        }
        Ok(())
    }

    /// Closes the sessions whose sockets have accepted nothing for `slow_timeout`.
    pub(in crate::net) fn close_slow(&mut self) {
        while self.blocked.front().is_some_and(|(at, _)| *at <= self.now) {
            let Some((_, id)) = self.blocked.pop_front() else { break };
            let Some(conn) = self.table.get_mut(id) else { continue };
            conn.in_blocked = conn.write_blocked && conn.last_written + self.slow_timeout > self.now;
            if conn.in_blocked {
                self.blocked.push_back((self.now + self.slow_timeout / BLOCKED_CHECKS, id));
            } else if conn.write_blocked {
                self.close(id, CloseReason::TooSlow, "");
            }
        }
    }

    /// Reports the sessions that ended this turn to the application.
    pub(in crate::net) fn report_ended<A: App>(&mut self, app: &mut A) {
        while let Some(id) = self.ended.pop() {
            self.rooms.leave_all(id);
            let Some(conn) = self.table.get(id).filter(|conn| conn.is_announced) else { continue };
            let closed = Closed {
                kind: conn.session.endpoint().peer,
                dialed: conn.dialed,
                reason: conn.session.close_reason().unwrap_or(CloseReason::ConnectionLost),
            };
            app.closed(self, id, closed);
        }
    }

    /// Removes doomed sessions. The last step of a turn, when no queue of sessions is iterated.
    pub(in crate::net) fn remove_doomed(&mut self) {
        while let Some(id) = self.doomed.pop() {
            let Some(mut conn) = self.table.remove(id) else { continue };
            self.dial_side.resume(id);
            // mio asks for it. A failure has no effect, because the descriptor is closed next.
            let _ = self.registry.deregister(&mut conn.socket);
            conn.session.clear_outbox(&mut self.pool);
            self.shares.forget(id);
            self.places.remove(&id);
            self.seats.vacate(conn.seat);
            metrics::SESSIONS.add(-1);
        }
    }
}

/// Collects the next bytes to write to a session. Returns the number of pieces.
fn gather<'a>(session: &'a Session, rooms: &'a Rooms, id: SessionId, pieces: &mut [IoSlice<'a>]) -> usize {
    let own = std::iter::once(session.poll_transmit());
    let shared = session.is_open().then(|| rooms.pending(id)).into_iter().flatten();
    let mut count = 0;
    let waiting = own.chain(shared).filter(|piece| !piece.is_empty());
    for (piece, slot) in waiting.zip(pieces) {
        *slot = IoSlice::new(piece);
        count += 1;
    }
    count
}
