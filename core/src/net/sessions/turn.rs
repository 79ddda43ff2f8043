//! What the shard's loop does for its sessions, phase by phase of a turn: take note of
//! events, read, run timers, write, report ends, remove.

use std::io::{ErrorKind, IoSlice, Read, Write};
use std::net::Shutdown;
use std::time::Instant;

use mio::event::Event;

use super::{BufferPool, Conn, Rooms, Sessions};
use crate::SessionId;
use crate::limits::{
    FLUSHES_PER_TURN, HANDSHAKES_PER_TURN, READING, READS_PER_TURN, SWEEP_SLICE, WRITE_PIECES,
};
use crate::metrics;
use crate::net::session::{Step, room_packet};
use crate::net::shard::{App, Closed, Opened};
use crate::room::Class;
use crate::wire::packets::{ChatGap, Scope};
use crate::wire::{CloseReason, Packet};

/// Looks at a blocked socket before it is given up: so many fit the time that it has.
const SLOW_LOOKS: u32 = 8;

/// Queues the word about what a session has lost.
pub(super) fn tell_gaps(conn: &mut Conn, rooms: &mut Rooms, pool: &mut BufferPool, id: SessionId) {
    while let Some(gap) = rooms.take_gap(id) {
        match gap.class {
            Class::Notice => metrics::NOTICES_SHED.add(gap.count),
            Class::Chat => {
                send_gap(conn, pool, gap.room.scope(), gap.room.0, gap.count);
            }
        }
    }
    if conn.missed > 0 && conn.session.room_for(Class::Chat) > 0 {
        let missed = std::mem::take(&mut conn.missed);
        send_gap(conn, pool, Scope::Nearby, 0, missed.into());
    }
}

fn send_gap(conn: &mut Conn, pool: &mut BufferPool, scope: Scope, channel: u32, missed: u64) {
    metrics::GAPS.inc();
    metrics::MISSED.add(missed);
    conn.session.send(&ChatGap { scope, channel, missed }.into(), pool);
}

impl Sessions {
    pub(in crate::net) fn begin_turn(&mut self, now: Instant) {
        (self.now, self.turn_began) = (now, now);
        self.sends = 0;
    }

    /// Frames sealed since the turn began.
    pub(in crate::net) fn sends(&self) -> usize {
        self.sends
    }

    /// Whether the loop has to come back at once.
    pub(in crate::net) fn has_ready(&self) -> bool {
        !self.ready.is_empty() || !self.arriving.is_empty()
    }

    /// Sessions with something of their own to be written.
    pub(in crate::net) fn unflushed(&self) -> usize {
        self.dirty.len()
    }

    /// Whether something was queued after the flush.
    pub(in crate::net) fn has_dirty(&self) -> bool {
        !self.dirty.is_empty()
    }

    /// When the timers want to be looked at.
    pub(in crate::net) fn next_timer(&self) -> Option<Instant> {
        self.timers.next_expiry()
    }

    /// Takes note of what the poller says about a socket.
    pub(in crate::net) fn on_event(&mut self, event: &Event) {
        let id = SessionId::from_bits(event.token().0 as u64);
        let Some(conn) = self.table.get_mut(id) else { return };
        // First of all: each is said once, and may come with the event that ends the connecting.
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

    fn finish_connect(&mut self, id: SessionId, event: &Event) {
        let Some(conn) = self.table.get_mut(id) else { return };
        match conn.socket.take_error() {
            Ok(None) if conn.socket.peer_addr().is_ok() => {
                // Without it a small packet would wait for the answer to the one before.
                let _ = conn.socket.set_nodelay(true);
                conn.session.connected(&mut self.pool);
                let may_read = event.is_readable() || conn.read_closed;
                self.mark_dirty(id);
                if may_read {
                    self.mark_ready(id);
                }
            }
            Ok(None) if !event.is_error() && !event.is_write_closed() => {} // not yet
            Ok(_) | Err(_) => self.close(id, CloseReason::ConnectFailed, ""),
        }
    }

    /// Reads from open sessions that have something, each a bounded number of times, and from some of the others, and
    /// both not for long: who is left over is first in the next turn.
    pub(in crate::net) fn read_ready<A: App>(&mut self, app: &mut A) {
        let mut scratch = std::mem::take(&mut self.scratch);
        let until = Instant::now() + READING;
        for _ in 0..self.ready.len() {
            let Some(id) = self.ready.pop_front() else { break };
            self.read_one(app, id, &mut scratch, until);
            if self.now >= until {
                break;
            }
        }
        // Whatever those who are in sent, some get in.
        let until = self.now + READING;
        for _ in 0..self.arriving.len().min(HANDSHAKES_PER_TURN) {
            let Some(id) = self.arriving.pop_front() else { break };
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

    /// Reads from one session, once at least; true when the socket is empty, gone, or must not be read.
    fn read<A: App>(&mut self, app: &mut A, id: SessionId, scratch: &mut [u8], until: Instant) -> bool {
        for read in 0..READS_PER_TURN {
            if read > 0 && Instant::now() >= until {
                return false;
            }
            let Some(conn) = self.table.get_mut(id) else { return true };
            if conn.stalled.is_some() || (!self.paused.is_empty() && self.paused.contains(&id)) {
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
                        self.queued(id);
                    }
                    if at == bytes.len() {
                        return;
                    }
                }
                Step::Opened(used) => {
                    at += used;
                    self.opened(app, id);
                }
                Step::Room(used, room, packet) => {
                    let encoded = &bytes[at..][packet];
                    at += used;
                    self.fan_out_us = conn.session.fan_out_us();
                    if app.room_packet(self, id, room, encoded) {
                        continue;
                    }
                    match room_packet(room, encoded) {
                        Err(reason) => return self.close(id, reason, ""),
                        Ok(packet) => {
                            if let Err(packet) = app.packet(self, id, packet) {
                                self.stall(id, packet, &bytes[at..]);
                                return;
                            }
                        }
                    }
                }
                Step::RoomKey(used, key) => {
                    at += used;
                    let cipher = self.ciphers.expand(&key.secret);
                    if !conn.session.add_room_key(&key, cipher) {
                        return self.close(id, CloseReason::PacketNotAllowed, "");
                    }
                }
                Step::Packet(used, packet) => {
                    at += used;
                    self.fan_out_us = conn.session.fan_out_us();
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
        // An application may close the session and give the packet back; then nobody wants it.
        if let Some(conn) = self.table.get_mut(id).filter(|conn| conn.session.ended().is_none()) {
            metrics::STALLS.inc();
            conn.stalled = Some(Box::new(packet));
            conn.inbox = rest.to_vec();
            self.stalled.push(id);
        }
    }

    /// Offers the application once more what it had no room for.
    pub(in crate::net) fn retry_stalled<A: App>(&mut self, app: &mut A) {
        let mut waiting = Vec::new();
        for id in std::mem::take(&mut self.stalled) {
            let Some(conn) = self.table.get_mut(id) else { continue };
            let Some(packet) = conn.stalled.take() else { continue };
            let refused = app.packet(self, id, *packet).err();
            let Some(conn) = self.table.get_mut(id).filter(|conn| conn.session.ended().is_none()) else {
                continue;
            };
            if refused.is_some() {
                conn.stalled = refused.map(Box::new);
                waiting.push(id);
                continue;
            }
            conn.session.not_listened_to(self.now);
            let mut held = std::mem::take(&mut conn.inbox);
            if !held.is_empty() {
                self.deliver(app, id, &mut held);
            }
            self.mark_ready(id);
        }
        // Who got something in, and was stalled again, goes behind those who did not: otherwise the
        // first in the list could keep the others out.
        waiting.append(&mut self.stalled);
        self.stalled = waiting;
    }

    /// The socket gave out: the session ends, unless it was closing anyway, and goes.
    pub(super) fn lost(&mut self, id: SessionId, reason: CloseReason) {
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
    pub(in crate::net) fn run_timers(&mut self) {
        let mut due = Vec::new();
        self.timers.expire(self.now, &mut due);
        for (id, timer) in due {
            if self.table.get(id).is_some_and(|conn| conn.timer == timer) {
                self.arm(id);
            }
        }
    }

    /// Writes to sessions that have something of their own to get, and then to a slice of the sweep; one write a session.
    pub(in crate::net) fn flush(&mut self) {
        if self.rooms.has_fresh() {
            self.rooms.stamp_fresh(Instant::now(), |micros| {
                metrics::FAN_OUT_US.add(micros);
                metrics::FAN_OUTS.inc();
            });
        }
        for _ in 0..self.dirty.len().min(FLUSHES_PER_TURN) {
            let Some(id) = self.dirty.pop_front() else { break };
            let Some(conn) = self.table.get_mut(id) else { continue };
            conn.in_dirty = false;
            self.serve(id);
        }
        self.sweep();
        let written = std::mem::take(&mut self.written);
        metrics::WRITES.add(written.calls);
        metrics::BYTES_OUT.add(written.bytes);
        metrics::PACKETS_OUT.add(self.rooms.take_given());
    }

    /// A slice of the sweep, which gets as much time as the rest of the turn took: whoever is in a room waits no longer for those who
    /// come in, or have much to say, than they for the room.
    fn sweep(&mut self) {
        let now = Instant::now();
        let until = now + now.saturating_duration_since(self.turn_began);
        while self.rooms.is_sweeping() {
            for _ in 0..SWEEP_SLICE {
                let Some(id) = self.rooms.next_visit() else { break };
                self.serve(id);
            }
            if Instant::now() >= until {
                break;
            }
        }
    }

    fn serve(&mut self, id: SessionId) {
        if let Err(reason) = self.write(id) {
            self.lost(id, reason);
        }
    }

    /// Writes what waits for a session: first what is its own, then what was said in its rooms.
    pub(super) fn write(&mut self, id: SessionId) -> Result<(), CloseReason> {
        let Some(conn) = self.table.get_mut(id) else { return Ok(()) };
        while !conn.write_blocked {
            let is_open = conn.session.is_open();
            if is_open {
                tell_gaps(conn, &mut self.rooms, &mut self.pool, id);
            }
            let own = conn.session.outbox.waiting();
            let mut pieces = [IoSlice::new(&[]); WRITE_PIECES];
            let mut count = 0;
            let mut offered = 0;
            let rooms = is_open.then(|| self.rooms.pending(id)).into_iter().flatten();
            for piece in std::iter::once(own).chain(rooms).filter(|piece| !piece.is_empty()) {
                if count == WRITE_PIECES {
                    break;
                }
                offered += piece.len();
                pieces[count] = IoSlice::new(piece);
                count += 1;
            }
            let taken = match &pieces[..count] {
                [] => break,
                [piece] => conn.socket.write(piece),
                pieces => conn.socket.write_vectored(pieces),
            };
            match taken {
                Ok(0) => return Err(CloseReason::ConnectionLost),
                Ok(taken) => {
                    self.written.calls += 1;
                    self.written.bytes += taken as u64;
                    conn.took = self.now;
                    // Taken in part: the socket is full, and an event says when it is not.
                    conn.write_blocked = taken < offered;
                    let of_own = taken.min(conn.session.outbox.len());
                    conn.session.outbox.consume(of_own, &mut self.pool);
                    if taken > of_own {
                        let (outbox, pool) = (&mut conn.session.outbox, &mut self.pool);
                        self.rooms
                            .advance(id, taken - of_own, |torn| outbox.tail(pool).extend_from_slice(torn));
                    }
                    // Who has caught up now is told what it missed meanwhile.
                    let is_behind = conn.missed > 0 && conn.session.outbox.is_empty();
                    if !conn.write_blocked && count < WRITE_PIECES && !is_behind {
                        break;
                    }
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    conn.took = self.now;
                    conn.write_blocked = true;
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(_) => return Err(CloseReason::ConnectionLost),
            }
        }
        if conn.write_blocked && !std::mem::replace(&mut conn.in_blocked, true) {
            self.blocked.push_back((self.now + self.slow_timeout / SLOW_LOOKS, id));
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

    /// Ends the sessions whose sockets have taken nothing for too long.
    pub(in crate::net) fn close_slow(&mut self) {
        while self.blocked.front().is_some_and(|(at, _)| *at <= self.now) {
            let Some((_, id)) = self.blocked.pop_front() else { break };
            let Some(conn) = self.table.get_mut(id) else { continue };
            conn.in_blocked = conn.write_blocked && conn.took + self.slow_timeout > self.now;
            if conn.in_blocked {
                self.blocked.push_back((self.now + self.slow_timeout / SLOW_LOOKS, id));
            } else if conn.write_blocked {
                self.close(id, CloseReason::TooSlow, "");
            }
        }
    }

    /// When [`Self::close_slow`] has something to look at.
    pub(in crate::net) fn next_slow(&self) -> Option<Instant> {
        self.blocked.front().map(|(at, _)| *at)
    }

    /// Whether the sweep has somebody to visit.
    pub(in crate::net) fn is_sweeping(&self) -> bool {
        self.rooms.is_sweeping()
    }

    /// Tells the application of the sessions that ended this turn.
    pub(in crate::net) fn report_ended<A: App>(&mut self, app: &mut A) {
        while let Some(id) = self.ended.pop() {
            let mut moved = Vec::new();
            self.rooms.leave_all(id, |id| moved.push(id));
            for id in moved {
                self.mark_dirty(id);
            }
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
    pub(in crate::net) fn remove_doomed(&mut self) {
        while let Some(id) = self.doomed.pop() {
            let Some(mut conn) = self.table.remove(id) else { continue };
            self.paused.remove(&id);
            // Closing the descriptor would do; mio asks for it, and a failure changes nothing.
            let _ = self.registry.deregister(&mut conn.socket);
            conn.session.outbox.clear(&mut self.pool);
            self.vacate(conn.seat);
            metrics::SESSIONS.add(-1);
        }
    }
}
