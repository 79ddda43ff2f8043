//! Effects of handlers, in order.

use std::net::SocketAddr;
use std::sync::Arc;

use super::command::SessionCommand;
use crate::SessionId;
use crate::net::Endpoint;
use crate::room::{Class, RoomId};
use crate::window::Charge;
use crate::wire::{CloseReason, Packet};

/// Effects that handlers ask for, in order. A handler does no I/O of its own.
#[derive(Default)]
pub struct Effects {
    list: Vec<Effect>,
    charge: Option<Charge>,
}

/// One effect of a handler.
pub enum Effect {
    /// A command for one session; the shard that owns the session carries it out.
    ToSession(SessionId, SessionCommand),
    /// The session becomes a member of the room.
    Join(SessionId, RoomId),
    /// The session's membership of the room ends.
    Leave(SessionId, RoomId),
    /// As `Leave`, against the member's will: it must not be able to read what follows.
    Expel(SessionId, RoomId),
    /// The room's next message has a new key, because a former member must not be able to read it.
    Revoke(RoomId),
    /// Earlier messages of the room reach its members before anything that follows.
    Settle(RoomId),
    /// A packet for the members of a room on all shards.
    Broadcast(RoomId, Class, Packet),
    /// A chat packet of the sender with this number for a few sessions.
    Multicast(u32, Vec<SessionId>, Packet),
    /// A connection to another server, from the shard that keeps the links.
    Dial(SocketAddr, Arc<Endpoint>, u64),
}

impl Effects {
    /// Sets the charge of the packet that is handled from now on.
    pub(super) fn set_charge(&mut self, charge: Option<Charge>) {
        self.charge = charge;
    }

    /// Returns the charge of the packet that is being handled. A role that carries a request on
    /// later holds it until then.
    pub fn charge(&self) -> Option<Charge> {
        self.charge.clone()
    }

    /// Sends a packet to one session.
    pub fn send(&mut self, to: SessionId, packet: impl Into<Packet>) {
        self.list.push(Effect::ToSession(to, SessionCommand::Send(Box::new(packet.into()))));
    }

    /// Sends a packet that is encoded already, from two pieces. Other sessions may share `rest`.
    pub fn send_encoded(&mut self, to: SessionId, begin: Box<[u8]>, rest: Arc<[u8]>) {
        self.list.push(Effect::ToSession(to, SessionCommand::SendEncoded(begin, rest)));
    }

    /// Closes a session with a reason that is sent to its peer.
    pub fn close(&mut self, id: SessionId, reason: CloseReason) {
        self.list.push(Effect::ToSession(id, SessionCommand::Close(reason)));
    }

    /// Makes a session a member of a room. It must not be one already, and the caller must end the
    /// membership when the session ends.
    pub fn join(&mut self, id: SessionId, room: RoomId) {
        self.list.push(Effect::Join(id, room));
    }

    /// Ends a membership, which must exist. Messages that were sent to the room before still reach
    /// the session.
    pub fn leave(&mut self, id: SessionId, room: RoomId) {
        self.list.push(Effect::Leave(id, room));
    }

    /// As [`Self::leave`], against the member's will: the session's keys cannot open later messages
    /// to the room.
    pub fn expel(&mut self, id: SessionId, room: RoomId) {
        self.list.push(Effect::Expel(id, room));
    }

    /// Revokes the room's key, for a user that is put out while it has no session.
    pub fn revoke(&mut self, room: RoomId) {
        self.list.push(Effect::Revoke(room));
    }

    /// Has what was sent to the room before reach each member before whatever it gets from now on,
    /// in other rooms too.
    pub fn settle(&mut self, room: RoomId) {
        self.list.push(Effect::Settle(room));
    }

    /// Sends a packet to all members of a room.
    pub fn broadcast(&mut self, room: RoomId, class: Class, packet: impl Into<Packet>) {
        self.list.push(Effect::Broadcast(room, class, packet.into()));
    }

    /// Sends a chat packet to each of a few sessions. What waits for a slow one is divided among
    /// senders, by the numbers that the role gives them.
    pub fn multicast(&mut self, sender: u32, to: Vec<SessionId>, packet: impl Into<Packet>) {
        self.list.push(Effect::Multicast(sender, to, packet.into()));
    }

    /// Connects to another server. `Job::Opened` or `Job::Closed` reports the outcome, with
    /// `token`.
    pub fn dial(&mut self, address: SocketAddr, endpoint: Arc<Endpoint>, token: u64) {
        self.list.push(Effect::Dial(address, endpoint, token));
    }

    /// Removes all effects, in order. For the dispatcher, and for simulations that carry them out
    /// themselves.
    pub fn drain(&mut self) -> impl Iterator<Item = Effect> {
        self.list.drain(..)
    }

    /// Returns all effects as text, a line each. For tests of handlers.
    pub fn describe(&self) -> Vec<String> {
        self.list
            .iter()
            .map(|effect| match effect {
                Effect::ToSession(to, SessionCommand::Send(packet)) => format!("{to} <- {packet:?}"),
                Effect::ToSession(to, SessionCommand::SendEncoded(begin, rest)) => {
                    match Packet::decode(&[&**begin, rest].concat()) {
                        Ok(packet) => format!("{to} <- {packet:?}"),
                        Err(error) => format!("{to} <- {error}"),
                    }
                }
                Effect::ToSession(id, SessionCommand::Close(reason)) => {
                    format!("{id} closed: {}", reason.name())
                }
                Effect::Join(id, room) => format!("{id} joins {}", room.0),
                Effect::Leave(id, room) => format!("{id} leaves {}", room.0),
                Effect::Expel(id, room) => format!("{id} is expelled from {}", room.0),
                Effect::Revoke(room) => format!("the key of room {} is revoked", room.0),
                Effect::Settle(room) => format!("room {} settles", room.0),
                Effect::Broadcast(room, _, packet) => format!("room {} <- {packet:?}", room.0),
                Effect::Multicast(_, to, packet) => {
                    let to: Vec<_> = to.iter().map(ToString::to_string).collect();
                    format!("{} <- {packet:?}", to.join(" "))
                }
                Effect::Dial(address, _, token) => format!("dial {address} as {token}"),
            })
            .collect()
    }
}
