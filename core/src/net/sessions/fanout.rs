//! What an application may do with rooms: who is in them, and what goes to all of them.

use std::time::Instant;

use super::Sessions;
use super::turn::tell_gaps;
use crate::SessionId;
use crate::metrics;
use crate::room::{Class, RoomId};
use crate::wire::Packet;

impl Sessions {
    /// Makes the session a member of the room, if it is open.
    pub fn join(&mut self, id: SessionId, room: RoomId) {
        // One that has ended but still lingers has left its rooms for good, and nobody
        // would take it out again.
        if self.table.get(id).is_some_and(|conn| conn.session.is_open()) {
            self.rooms.join(id, room);
        }
    }

    /// Ends the session's membership of the room. What was said there before it still gets, and before
    /// whatever is sent to it from now on.
    pub fn leave(&mut self, id: SessionId, room: RoomId) {
        let Some(conn) = self.table.get_mut(id) else { return };
        tell_gaps(conn, &mut self.rooms, &mut self.pool, id);
        let (session, pool) = (&mut conn.session, &mut self.pool);
        let limit = session.room_for(Class::Chat);
        let moved = self.rooms.leave(id, room, limit, |bytes| session.queue_sealed(bytes, pool));
        if !conn.session.outbox.is_empty() {
            self.queued(id);
        }
        if let Some(moved) = moved {
            self.mark_dirty(moved);
        }
    }

    /// How many of this loop's sessions are members of the room.
    pub fn members(&self, room: RoomId) -> usize {
        self.rooms.members(room).len()
    }

    /// Queues a room's new key for every member. What a member has not had of what was sealed with the older one goes
    /// before it, so that keys and frames come in one order; if that is too much, the member misses it. The sweep takes it along.
    pub fn rekey(&mut self, room: RoomId, key: &Packet) {
        let members: Vec<_> = self.rooms.members(room).collect();
        for id in members {
            self.catch_up(id, room);
            let Some(conn) = self.table.get_mut(id).filter(|conn| conn.session.is_open()) else { continue };
            conn.session.send(key, &mut self.pool);
            self.sends += 1;
            if conn.session.is_too_slow() {
                self.queued(id);
            }
        }
        self.rooms.visit_all(room);
    }

    /// Queues an encoded message or notice for every member of the room, sealed once for each. Those who
    /// are behind do not get it.
    pub fn copies(&mut self, room: RoomId, class: Class, encoded: &[u8]) {
        let members: Vec<_> = self.rooms.members(room).collect();
        for id in members {
            let has_room = self.makes_room(id, class);
            // From the time when the room had a log something may still wait in it, which comes first.
            self.catch_up(id, room);
            let may_follow = class == Class::Notice || !self.rooms.has_missed(id, room);
            match (has_room && may_follow, class) {
                (true, _) => self.send_encoded(id, encoded),
                (false, Class::Chat) => self.rooms.miss(id, room),
                (false, Class::Notice) => metrics::NOTICES_SHED.inc(),
            }
        }
    }

    /// Queues what a member has not had of a room, so that something of its own may follow. What there is no room for it misses.
    fn catch_up(&mut self, id: SessionId, room: RoomId) {
        let Some(conn) = self.table.get_mut(id).filter(|conn| conn.session.is_open()) else { return };
        if conn.session.room_for(Class::Chat) > 0 {
            tell_gaps(conn, &mut self.rooms, &mut self.pool, id);
        }
        let (session, pool) = (&mut conn.session, &mut self.pool);
        let limit = session.room_for(Class::Chat);
        self.rooms.settle_room(id, room, limit, |bytes| session.queue_sealed(bytes, pool));
    }

    /// Queues an encoded message for each of the sessions. Those who are behind do not get it.
    pub fn multicast(&mut self, to: &[SessionId], encoded: &[u8]) {
        for id in to {
            let has_room = self.makes_room(*id, Class::Chat);
            let Some(conn) = self.table.get_mut(*id) else { continue };
            if has_room {
                tell_gaps(conn, &mut self.rooms, &mut self.pool, *id);
                self.send_encoded(*id, encoded);
            } else {
                conn.missed = conn.missed.saturating_add(1);
            }
        }
    }

    /// Whether a packet of this class may be queued for the session. Much that was queued in one turn says nothing about the
    /// peer: what counts is what its socket does not take, so that is tried first.
    fn makes_room(&mut self, id: SessionId, class: Class) -> bool {
        let Some(conn) = self.table.get(id) else { return false };
        if conn.session.room_for(class) > 0 || conn.write_blocked {
            return conn.session.room_for(class) > 0;
        }
        if let Err(reason) = self.write(id) {
            self.lost(id, reason);
        }
        self.table.get(id).is_some_and(|conn| conn.session.room_for(class) > 0)
    }

    /// Appends a frame, sealed at `sealed` with the room's key, to the room's log.
    pub fn append(&mut self, room: RoomId, class: Class, frame: &[u8], sealed: Instant) {
        self.rooms.append(room, class, frame, sealed);
    }
}
