//! What handlers want done, and how it reaches the shards.

use std::net::SocketAddr;
use std::sync::Arc;

use super::app::Command;
use crate::SessionId;
use crate::limits::SHARDS_MAX;
use crate::net::{Endpoint, Mail, Mailbox, RoomId};
use crate::wire::{CloseReason, Packet};

/// What handlers want done, in order.
#[derive(Default)]
pub struct Effects(Vec<Effect>);

/// One thing that a handler wants done.
pub enum Effect {
    /// For the shard that owns a session.
    One(SessionId, Command),
    /// A packet for a room, wherever its members are.
    Broadcast(RoomId, Packet),
    /// For the shard that keeps the links.
    Dial(SocketAddr, Arc<Endpoint>, u64),
}

/// The shard from which links to other servers are dialled.
const LINK_SHARD: usize = 0;

impl Effects {
    /// Sends a packet to one session.
    pub fn send(&mut self, to: SessionId, packet: impl Into<Packet>) {
        self.0.push(Effect::One(to, Command::Send(to, Box::new(packet.into()))));
    }

    /// Ends a session with a reason that it is told.
    pub fn close(&mut self, id: SessionId, reason: CloseReason) {
        self.0.push(Effect::One(id, Command::Close(id, reason)));
    }

    /// Makes a session a member of a room.
    pub fn join(&mut self, id: SessionId, room: RoomId) {
        self.0.push(Effect::One(id, Command::Join(id, room)));
    }

    /// Ends a session's membership.
    pub fn leave(&mut self, id: SessionId, room: RoomId) {
        self.0.push(Effect::One(id, Command::Leave(id, room)));
    }

    /// Sends a packet to all members of a room.
    pub fn broadcast(&mut self, room: RoomId, packet: impl Into<Packet>) {
        self.0.push(Effect::Broadcast(room, packet.into()));
    }

    /// Connects to another server; the answer comes as an event with `token`.
    pub fn dial(&mut self, address: SocketAddr, endpoint: Arc<Endpoint>, token: u64) {
        self.0.push(Effect::Dial(address, endpoint, token));
    }

    /// What has been asked so far, in order, for those who carry it out themselves: simulations.
    pub fn drain(&mut self) -> impl Iterator<Item = Effect> {
        self.0.drain(..)
    }

    /// What has been asked so far, for tests of handlers: each as a line.
    pub fn describe(&self) -> Vec<String> {
        self.0
            .iter()
            .map(|effect| match effect {
                Effect::One(_, Command::Send(to, packet)) => format!("{to} <- {packet:?}"),
                Effect::One(_, Command::Close(id, reason)) => format!("{id} closed: {}", reason.name()),
                Effect::One(_, Command::Join(id, room)) => format!("{id} joins {}", room.0),
                Effect::One(_, Command::Leave(id, room)) => format!("{id} leaves {}", room.0),
                Effect::One(..) => String::new(),
                Effect::Broadcast(room, packet) => format!("room {} <- {packet:?}", room.0),
                Effect::Dial(address, _, token) => format!("dial {address} as {token}"),
            })
            .collect()
    }
}

/// Takes effects to the shards.
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

    /// Carries out the effects in order, and leaves none. Waits while a shard's mailbox is
    /// full: content threads may, and it is how a busy shard slows them down. Call it under the
    /// lock of the state that the effects come from, so that every shard sees them in one order.
    /// Shards are woken by [`Self::ring`].
    pub fn dispatch(&self, effects: &mut Effects) {
        for effect in effects.0.drain(..) {
            match effect {
                Effect::One(id, command) => self.push(id.shard(), command),
                Effect::Broadcast(room, packet) => {
                    let mut encoded = Vec::with_capacity(256);
                    packet.encode(&mut encoded);
                    let encoded: Arc<[u8]> = encoded.into();
                    for shard in 0..self.mailboxes.len() {
                        self.push(shard, Command::Broadcast(room, encoded.clone()));
                    }
                }
                Effect::Dial(address, endpoint, token) => {
                    self.push(LINK_SHARD, Command::Dial(address, endpoint, token));
                }
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
