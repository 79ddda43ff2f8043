//! Carrying out of effects: from the content threads to the shards' mailboxes.

use std::sync::Arc;
use std::time::Instant;

use super::command::Command;
use super::effects::{Effect, Effects};
use super::room_keys::RoomRegistry;
use crate::SessionId;
use crate::clock::micros;
use crate::limits::{MULTICAST_SLICE, SHARDS_MAX};
use crate::net::{Mail, Mailbox};
use crate::wire::Packet;

/// Shard that dials the links to other servers.
const LINK_SHARD: usize = 0;

/// Mailboxes of all shards of a role, for its content threads.
#[derive(Clone)]
pub struct Dispatcher {
    mailboxes: Vec<Arc<Mailbox<Command>>>,
}

impl Dispatcher {
    /// Creates the dispatcher for the shards with these mailboxes, in the order of their numbers.
    pub fn new(mailboxes: Vec<Arc<Mailbox<Command>>>) -> Self {
        assert!((1..=SHARDS_MAX).contains(&mailboxes.len()));
        Self { mailboxes }
    }

    /// Returns the number of shards.
    pub fn shards(&self) -> usize {
        self.mailboxes.len()
    }

    /// Carries out the effects in order, and leaves none. Waits while a shard's mailbox is full,
    /// which is how a busy shard slows down the content threads.
    ///
    /// Must be called under the lock that guards `rooms` and the state of the effects' handler, so
    /// that every shard sees all effects in one order. `began` is the start of the handler. The
    /// shards are not woken before [`Self::ring`].
    pub fn dispatch(&self, effects: &mut Effects, rooms: &mut RoomRegistry, began: Instant) {
        let send = &mut |shard, command| self.push(shard, command);
        for effect in effects.drain() {
            match effect {
                Effect::ToSession(id, command) => self.push(id.shard(), Command::ToSession(id, command)),
                Effect::Join(id, room) => rooms.join(id, room, send),
                Effect::Leave(id, room) => rooms.leave(id, room, send),
                Effect::Expel(id, room) => rooms.expel(id, room, send),
                Effect::Broadcast(room, class, mut packet) => {
                    let now = Instant::now();
                    stamp(&mut packet, began, now);
                    rooms.broadcast(room, class, &packet, now, send);
                }
                Effect::Multicast(to, mut packet) => {
                    stamp(&mut packet, began, Instant::now());
                    self.multicast(&to, &packet);
                }
                Effect::Dial(address, endpoint, token) => {
                    self.push(LINK_SHARD, Command::Dial(address, endpoint, token));
                }
            }
        }
    }

    fn multicast(&self, to: &[SessionId], packet: &Packet) {
        let mut encoded = Vec::with_capacity(256);
        packet.encode(&mut encoded);
        let encoded: Arc<[u8]> = encoded.into();
        for shard in 0..self.mailboxes.len() {
            let here: Vec<SessionId> = to.iter().copied().filter(|id| id.shard() == shard).collect();
            // In slices, so that a shard can do other work between them.
            for slice in here.chunks(MULTICAST_SLICE) {
                self.push(shard, Command::Multicast(slice.into(), encoded.clone()));
            }
        }
    }

    fn push(&self, shard: usize, command: Command) {
        if let Some(mailbox) = self.mailboxes.get(shard) {
            // Refused only after the shard has ended, with all of its sessions.
            let _ = mailbox.push(Mail::App(command));
        }
    }

    /// Wakes all shards.
    pub fn ring(&self) {
        for mailbox in &self.mailboxes {
            mailbox.ring();
        }
    }

    /// Wakes the shards whose bits are set.
    pub fn ring_some(&self, shards: u64) {
        for (number, mailbox) in self.mailboxes.iter().enumerate() {
            if shards & (1 << number) != 0 {
                mailbox.ring();
            }
        }
    }
}

/// Writes the running time of its handler into a message.
fn stamp(packet: &mut Packet, began: Instant, now: Instant) {
    if let Packet::ChatMessage(message) = packet {
        let handled = micros(now.saturating_duration_since(began));
        message.times.handled_us = u32::try_from(handled).unwrap_or(u32::MAX);
    }
}
