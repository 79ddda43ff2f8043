//! Carrying out of effects: from the content threads to the shards' mailboxes.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Instant;

use super::command::{Caused, Command};
use super::effects::{Effect, Effects};
use super::room_keys::{RoomRegistry, SendCommand};
use crate::SessionId;
use crate::clock::micros;
use crate::limits::{MULTICAST_SLICE, SHARDS_MAX, SPILL_MAX};
use crate::metrics;
use crate::net::{Mail, Mailbox};
use crate::wire::Packet;

/// Shard that dials the links to other servers.
const LINK_SHARD: usize = 0;

/// Mailboxes of all shards of a role, for its content threads.
#[derive(Clone)]
pub struct Dispatcher {
    mailboxes: Vec<Arc<Mailbox<Caused>>>,
}

impl Dispatcher {
    /// Creates the dispatcher for the shards with these mailboxes, in the order of their numbers.
    pub fn new(mailboxes: Vec<Arc<Mailbox<Caused>>>) -> Self {
        assert!((1..=SHARDS_MAX).contains(&mailboxes.len()));
        Self { mailboxes }
    }

    /// Returns the number of shards.
    pub fn shards(&self) -> usize {
        self.mailboxes.len()
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

/// Commands on their way to the shards, in the order of the effects.
///
/// A shard whose mailbox is full does not hold up the content threads: its commands spill into a
/// queue of its own, and the threads go on with work for others. What spills is bounded by the
/// windows of the sessions that caused it; beyond [`SPILL_MAX`] the threads wait.
pub struct Outbound {
    mailboxes: Vec<Arc<Mailbox<Caused>>>,
    /// Commands behind a full mailbox, for each shard.
    spilled: Vec<VecDeque<Caused>>,
}

impl Outbound {
    /// Creates the queues for the shards of `dispatcher`. A role has one, guarded by its lock.
    pub fn new(dispatcher: &Dispatcher) -> Self {
        let spilled = dispatcher.mailboxes.iter().map(|_| VecDeque::new()).collect();
        Self { mailboxes: dispatcher.mailboxes.clone(), spilled }
    }

    /// Carries out the effects in order, and leaves none. They hold the charge of the packet that
    /// caused them.
    ///
    /// Must be called under the lock that guards `rooms` and the state of the effects' handler, so
    /// that every shard sees all effects in one order. `began` is the start of the handler. The
    /// shards are not woken before [`Dispatcher::ring`].
    pub fn dispatch(&mut self, effects: &mut Effects, rooms: &mut RoomRegistry, began: Instant) {
        let charge = effects.charge();
        let send = &mut |shard, command| self.push(shard, Caused { command, charge: charge.clone() });
        for effect in effects.drain() {
            match effect {
                Effect::ToSession(id, command) => send(id.shard(), Command::ToSession(id, command)),
                Effect::Join(id, room) => rooms.join(id, room, send),
                Effect::Leave(id, room) => rooms.leave(id, room, send),
                Effect::Expel(id, room) => rooms.expel(id, room, send),
                Effect::Revoke(room) => rooms.revoke(room),
                Effect::Settle(room) => rooms.settle(room, send),
                Effect::Broadcast(room, class, mut packet) => {
                    let now = Instant::now();
                    stamp(&mut packet, began, now);
                    rooms.broadcast(room, class, &packet, now, send);
                }
                Effect::Multicast(sender, to, mut packet) => {
                    stamp(&mut packet, began, Instant::now());
                    multicast(sender, &to, &packet, send);
                }
                Effect::Dial(address, endpoint, token) => {
                    send(LINK_SHARD, Command::Dial(address, endpoint, token));
                }
            }
        }
    }

    fn push(&mut self, shard: usize, command: Caused) {
        let Some(mailbox) = self.mailboxes.get(shard) else { return };
        let spilled = &mut self.spilled[shard];
        if spilled.is_empty() {
            let Err(refused) = mailbox.try_push(Mail::App(command)) else { return };
            metrics::MAILBOX_SPILLS.inc();
            spilled.extend(app_mail(refused));
            return;
        }
        spilled.push_back(command);
        if spilled.len() > SPILL_MAX
            && let Some(first) = spilled.pop_front()
        {
            // Refused only after the shard has ended, with all of its sessions.
            let _ = mailbox.push(Mail::App(first));
        }
    }

    /// Moves spilled commands to their mailboxes. Returns true if some are left.
    pub fn drain_spilled(&mut self) -> bool {
        let mut is_left = false;
        for (mailbox, spilled) in self.mailboxes.iter().zip(&mut self.spilled) {
            while let Some(command) = spilled.pop_front() {
                let Err(refused) = mailbox.try_push(Mail::App(command)) else { continue };
                if mailbox.is_closed() {
                    // The shard has ended, with all of its sessions.
                    spilled.clear();
                } else {
                    if let Some(command) = app_mail(refused) {
                        spilled.push_front(command);
                    }
                    is_left = true;
                }
                break;
            }
        }
        is_left
    }
}

fn app_mail(mail: Mail<Caused>) -> Option<Caused> {
    if let Mail::App(command) = mail { Some(command) } else { None }
}

fn multicast(sender: u32, to: &[SessionId], packet: &Packet, send: SendCommand<'_>) {
    let mut encoded = Vec::with_capacity(256);
    packet.encode(&mut encoded);
    let encoded: Arc<[u8]> = encoded.into();
    let mut shards = [(); SHARDS_MAX].map(|()| Vec::new());
    for id in to {
        if let Some(here) = shards.get_mut(id.shard()) {
            here.push(*id);
        }
    }
    for (shard, here) in shards.into_iter().enumerate() {
        // In slices, so that a shard can do other work between them.
        for slice in here.chunks(MULTICAST_SLICE) {
            send(shard, Command::Multicast(sender, slice.into(), encoded.clone()));
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
