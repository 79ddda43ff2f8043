//! Methods of [`Sessions`] for rooms: membership, and packets for many sessions.

use std::time::Instant;

use super::Sessions;
use crate::SessionId;
use crate::limits::SENDER_SHARE;
use crate::metrics;
use crate::room::{Class, RoomId};
use crate::window::Charge;
use crate::wire::Packet;

impl Sessions {
    /// Makes the session a member of the room. Does nothing unless the session is open.
    pub fn join(&mut self, id: SessionId, room: RoomId) {
        // A closing session has left its rooms for good, and nothing would remove it again.
        if self.table.get(id).is_some_and(|conn| conn.session.is_open()) {
            self.rooms.join(id, room);
        }
    }

    /// Ends the session's membership of the room. Pending frames of the room are queued, so that
    /// they go out before anything that is sent to the session from now on. Frames for which its
    /// outbox has no room are dropped.
    pub fn leave(&mut self, id: SessionId, room: RoomId) {
        let Some(conn) = self.table.get_mut(id) else { return };
        conn.queue_gaps(id, &mut self.rooms, &mut self.pool);
        let limit = conn.session.room_for(Class::Chat);
        self.rooms.leave(id, room, limit, |bytes| conn.session.queue_sealed(bytes, &mut self.pool));
        if !conn.session.poll_transmit().is_empty() {
            self.schedule_write(id);
        }
    }

    /// Returns the number of this loop's sessions that are members of the room.
    pub fn members(&self, room: RoomId) -> usize {
        self.rooms.members(room).len()
    }

    /// Queues a room's new key for every member, behind the pending frames that the older key
    /// sealed. A member whose outbox has no room for those frames misses them. The next round of
    /// the sweep writes the keys.
    pub fn rekey(&mut self, room: RoomId, key: &Packet) {
        let members: Vec<_> = self.rooms.members(room).collect();
        for id in members {
            self.queue_pending_of(id, room);
            let Some(conn) = self.table.get_mut(id).filter(|conn| conn.session.is_open()) else { continue };
            conn.session.send(key, &mut self.pool);
            self.sends += 1;
            if conn.session.is_too_slow() {
                self.schedule_write(id);
            }
        }
        self.rooms.visit_all(room);
    }

    /// Queues the pending frames of the room for every member, so that they go out before anything
    /// that is sent to the member from now on. Frames for which an outbox has no room are dropped.
    pub fn settle(&mut self, room: RoomId) {
        let members: Vec<_> = self.rooms.members(room).collect();
        for id in members {
            self.queue_pending_of(id, room);
            if self.table.get(id).is_some_and(|conn| !conn.session.poll_transmit().is_empty()) {
                self.schedule_write(id);
            }
        }
    }

    /// Queues an encoded message or notice for every member of the room, sealed once for each. A
    /// member whose outbox has no room misses it.
    pub fn copies(&mut self, room: RoomId, class: Class, encoded: &[u8]) {
        let members: Vec<_> = self.rooms.members(room).collect();
        for id in members {
            let has_room = self.make_room(id, class);
            // Frames can be pending from a time when the room was large and had a log.
            self.queue_pending_of(id, room);
            let may_follow = class == Class::Notice || !self.rooms.has_missed(id, room);
            match (has_room && may_follow, class) {
                (true, _) => self.send_encoded(id, encoded),
                (false, Class::Chat) => self.rooms.count_missed(id, room),
                (false, Class::Notice) => metrics::NOTICES_SHED.inc(),
            }
        }
    }

    /// Queues the pending frames of one room in the session's outbox, so that a frame of its own
    /// may follow. Frames for which there is no room count as missed.
    fn queue_pending_of(&mut self, id: SessionId, room: RoomId) {
        let Some(conn) = self.table.get_mut(id).filter(|conn| conn.session.is_open()) else { return };
        if conn.session.room_for(Class::Chat) > 0 {
            conn.queue_gaps(id, &mut self.rooms, &mut self.pool);
        }
        let limit = conn.session.room_for(Class::Chat);
        self.rooms.drain_pending_of(id, room, limit, |bytes| {
            conn.session.queue_sealed(bytes, &mut self.pool);
        });
    }

    /// Queues an encoded message of a sender for each of the sessions, sealed once for each. A
    /// session whose outbox has no room misses it, and so does one for which too much of this
    /// sender waits already ([`SENDER_SHARE`]).
    pub fn multicast(&mut self, sender: u32, to: &[SessionId], encoded: &[u8]) {
        for id in to {
            let has_room = self.make_room(*id, Class::Chat) && self.has_share(*id, sender);
            let Some(conn) = self.table.get_mut(*id).filter(|conn| conn.session.is_open()) else { continue };
            if has_room {
                conn.queue_gaps(*id, &mut self.rooms, &mut self.pool);
                let before = conn.session.queued();
                conn.session.send_encoded(encoded, &mut self.pool);
                let after = conn.session.queued();
                // An outbox with less is written at the end of the turn.
                if after > SENDER_SHARE {
                    self.shares.queued(*id, sender, after - before, after);
                }
                self.sends += 1;
                self.schedule_write(*id);
            } else {
                conn.missed = conn.missed.saturating_add(1);
            }
        }
    }

    /// Returns true if a message of the sender may be queued for the session. Writes first if its
    /// share is used up.
    fn has_share(&mut self, id: SessionId, sender: u32) -> bool {
        let has_room = self.shares.has_room(id, sender);
        if has_room || self.table.get(id).is_none_or(|conn| conn.write_blocked) {
            return has_room;
        }
        if let Err(reason) = self.write(id) {
            self.handle_socket_lost(id, reason);
        }
        self.shares.has_room(id, sender)
    }

    /// Returns true if a packet of this class may be queued for the session. Writes first if the
    /// outbox is full: a turn can fill it for a fast peer, too.
    fn make_room(&mut self, id: SessionId, class: Class) -> bool {
        let Some(conn) = self.table.get(id) else { return false };
        let has_room = conn.session.room_for(class) > 0;
        if has_room || conn.write_blocked {
            return has_room;
        }
        if let Err(reason) = self.write(id) {
            self.handle_socket_lost(id, reason);
        }
        self.table.get(id).is_some_and(|conn| conn.session.room_for(class) > 0)
    }

    /// Holds a charge until the sweep has passed every member that the room has now.
    pub fn hold_until_swept(&mut self, room: RoomId, charge: Option<Charge>) {
        if let Some(charge) = charge {
            self.rooms.hold(room, charge);
        }
    }

    /// Appends a frame, sealed with the room's key, to the room's log. `sealed_at` is the start of
    /// its fan-out time.
    pub fn append(&mut self, room: RoomId, class: Class, frame: &[u8], sealed_at: Instant) {
        self.rooms.append(room, class, frame, sealed_at);
    }
}
