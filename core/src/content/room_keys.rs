//! The rooms of a role: how what is said in each reaches its members.
//!
//! A small room is told by a copy for each member, sealed with the member's own session key: that costs
//! 0.65 us beside a write of 6 us, and needs no other key. From [`RoomPolicy::log_from`] members on the room has a
//! key of its own: what is said is sealed once, and each shard keeps the frame once, in the room's log.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::app::Command;
use crate::SessionId;
use crate::crypto::RoomSealer;
use crate::limits::ROOM_KEY_FRAMES;
use crate::metrics;
use crate::room::{Class, RoomId};
use crate::wire::Packet;

/// When rooms get keys.
#[derive(Debug, Clone, Copy)]
pub struct RoomPolicy {
    /// Members from which a room has a key and a log. It gives them up at half as many.
    pub log_from: usize,
    /// How long a key is used. A new one is made with the first message after that.
    pub key_lifetime: Duration,
}

/// How a command reaches a shard, by its number.
pub(super) type Send<'a> = &'a mut dyn FnMut(usize, Command);

/// The rooms of a role, under the role's lock.
pub struct RoomRegistry {
    policy: RoomPolicy,
    shards: usize,
    rooms: HashMap<RoomId, Room>,
    /// The number of the last key.
    keys: u32,
    /// Where new keys come from: the system's randomness, but for tests.
    draw: fn() -> [u8; 32],
}

/// A room with at least one member.
struct Room {
    /// Members on each shard.
    members: Vec<u32>,
    total: usize,
    key: Option<Key>,
}

/// A key in use.
struct Key {
    sealer: RoomSealer,
    made: Instant,
    /// Whether somebody who has it must not read what follows.
    is_known_outside: bool,
}

impl RoomRegistry {
    /// No rooms yet, over so many shards.
    pub fn new(policy: RoomPolicy, shards: usize, draw: fn() -> [u8; 32]) -> Self {
        Self { policy, shards, rooms: HashMap::new(), keys: 0, draw }
    }

    /// A session becomes a member. If the room has a key, it gets it before anything sealed with it.
    pub(super) fn join(&mut self, id: SessionId, room: RoomId, send: Send<'_>) {
        let shards = self.shards;
        let entry =
            self.rooms.entry(room).or_insert_with(|| Room { members: vec![0; shards], total: 0, key: None });
        entry.members[id.shard()] += 1;
        entry.total += 1;
        if let Some(key) = &entry.key {
            send(id.shard(), Command::Send(id, Box::new(key.sealer.packet(room))));
        }
        send(id.shard(), Command::Join(id, room));
    }

    /// A session is a member no more.
    pub(super) fn leave(&mut self, id: SessionId, room: RoomId, send: Send<'_>) {
        let Some(entry) = self.rooms.get_mut(&room) else { return };
        entry.members[id.shard()] -= 1;
        entry.total -= 1;
        send(id.shard(), Command::Leave(id, room));
        if entry.total == 0 {
            self.rooms.remove(&room);
        } else if entry.total < self.policy.log_from / 2 {
            entry.key = None;
        }
    }

    /// As [`Self::leave`], and the room's key is of no use from now on.
    pub(super) fn expel(&mut self, id: SessionId, room: RoomId, send: Send<'_>) {
        self.leave(id, room, send);
        if let Some(key) = self.rooms.get_mut(&room).and_then(|entry| entry.key.as_mut()) {
            key.is_known_outside = true;
        }
    }

    /// Something is said in a room, or noticed.
    pub(super) fn broadcast(
        &mut self,
        room: RoomId,
        class: Class,
        packet: &Packet,
        now: Instant,
        send: Send<'_>,
    ) {
        let Some(entry) = self.rooms.get_mut(&room) else { return };
        let shards = |entry: &Room| {
            (0..entry.members.len()).filter(|shard| entry.members[*shard] > 0).collect::<Vec<_>>()
        };
        let wants_key = entry.total >= self.policy.log_from || entry.key.is_some();
        if !wants_key {
            let mut encoded = Vec::with_capacity(256);
            packet.encode(&mut encoded);
            let encoded: Arc<[u8]> = encoded.into();
            for shard in shards(entry) {
                send(shard, Command::Copies(room, class, encoded.clone()));
            }
            return;
        }
        let lifetime = self.policy.key_lifetime;
        let is_worn = |key: &Key| {
            key.is_known_outside
                || now.saturating_duration_since(key.made) >= lifetime
                || key.sealer.sealed() >= ROOM_KEY_FRAMES
        };
        if entry.key.as_ref().is_none_or(is_worn) {
            // Numbers start again after four thousand million keys; none of those lives that long.
            self.keys = self.keys.wrapping_add(1);
            let sealer = RoomSealer::new(self.keys, (self.draw)());
            metrics::ROOM_KEYS.inc();
            // As a packet, which wipes the secret when it is dropped, and not encoded.
            let packet = Arc::new(sealer.packet(room));
            for shard in shards(entry) {
                send(shard, Command::Rekey(room, packet.clone()));
            }
            entry.key = Some(Key { sealer, made: now, is_known_outside: false });
        }
        let Some(key) = &mut entry.key else { return };
        let mut frame = Vec::with_capacity(512);
        key.sealer.seal(class, &mut frame, |out| packet.encode(out));
        let frame: Arc<[u8]> = frame.into();
        for shard in shards(entry) {
            send(shard, Command::Append(room, class, frame.clone(), now));
        }
    }
}

#[cfg(test)]
mod tests;
