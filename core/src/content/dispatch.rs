//! How effects reach the shards.

use std::sync::Arc;
use std::time::Instant;

use super::app::Command;
use super::effects::{Effect, Effects};
use super::room_keys::RoomRegistry;
use crate::SessionId;
use crate::clock::micros;
use crate::limits::{MULTICAST_SLICE, SHARDS_MAX};
use crate::net::{Mail, Mailbox};
use crate::wire::Packet;

/// The shard from which links to other servers are dialled.
const LINK_SHARD: usize = 0;

/// The shards' mailboxes, as content threads see them.
#[derive(Clone)]
pub struct Dispatcher {
    mailboxes: Vec<Arc<Mailbox<Command>>>,
}

impl Dispatcher {
    /// For the shards with these mailboxes, in the order of their numbers.
    pub fn new(mailboxes: Vec<Arc<Mailbox<Command>>>) -> Self {
        assert!((1..=SHARDS_MAX).contains(&mailboxes.len()));
        Self { mailboxes }
    }

    /// How many shards there are.
    pub fn shards(&self) -> usize {
        self.mailboxes.len()
    }

    /// Carries out the effects in order, and leaves none. Waits while a shard's mailbox is
    /// full: content threads may, and it is how a busy shard slows them down. Call it under the
    /// lock of the state that the effects come from, which is also that of `rooms`, so that every shard
    /// sees them in one order. The handler they come from began at `began`. Shards are woken by [`Self::ring`].
    pub fn dispatch(&self, effects: &mut Effects, rooms: &mut RoomRegistry, began: Instant) {
        let send = &mut |shard, command| self.push(shard, command);
        for effect in effects.drain() {
            match effect {
                Effect::ToSession(id, command) => self.push(id.shard(), command),
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
            // A crowd in one place is told in slices, between which the shard can do something else.
            for slice in here.chunks(MULTICAST_SLICE) {
                self.push(shard, Command::Multicast(slice.into(), encoded.clone()));
            }
        }
    }

    fn push(&self, shard: usize, command: Command) {
        if let Some(mailbox) = self.mailboxes.get(shard) {
            // Refused only when the shard has ended: nobody is left to whom it could matter.
            let _ = mailbox.push(Mail::App(command));
        }
    }

    /// Wakes the shards.
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

/// Writes into a message how long its handler took.
fn stamp(packet: &mut Packet, began: Instant, now: Instant) {
    if let Packet::ChatMessage(message) = packet {
        let handled = micros(now.saturating_duration_since(began));
        message.times.handled_us = u32::try_from(handled).unwrap_or(u32::MAX);
    }
}
