//! What handlers want done, in order.

use std::net::SocketAddr;
use std::sync::Arc;

use super::app::Command;
use crate::SessionId;
use crate::net::Endpoint;
use crate::room::{Class, RoomId};
use crate::wire::{CloseReason, Packet};

/// What handlers want done, in order.
#[derive(Default)]
pub struct Effects(Vec<Effect>);

/// One thing that a handler wants done.
pub enum Effect {
    /// For the shard that owns a session.
    ToSession(SessionId, Command),
    /// The session becomes a member of the room.
    Join(SessionId, RoomId),
    /// The session is a member no more.
    Leave(SessionId, RoomId),
    /// The same, against its will: it must not be able to read what follows.
    Expel(SessionId, RoomId),
    /// A packet for the members of a room, wherever they are.
    Broadcast(RoomId, Class, Packet),
    /// A chat packet for a few sessions.
    Multicast(Vec<SessionId>, Packet),
    /// For the shard that keeps the links.
    Dial(SocketAddr, Arc<Endpoint>, u64),
}

impl Effects {
    /// Sends a packet to one session.
    pub fn send(&mut self, to: SessionId, packet: impl Into<Packet>) {
        self.0.push(Effect::ToSession(to, Command::Send(to, Box::new(packet.into()))));
    }

    /// Sends a packet that has been encoded before: its beginning, and the rest, which others may be sent too.
    pub fn send_encoded(&mut self, to: SessionId, begin: Box<[u8]>, rest: Arc<[u8]>) {
        self.0.push(Effect::ToSession(to, Command::SendEncoded(to, begin, rest)));
    }

    /// Ends a session with a reason that it is told.
    pub fn close(&mut self, id: SessionId, reason: CloseReason) {
        self.0.push(Effect::ToSession(id, Command::Close(id, reason)));
    }

    /// Makes a session a member of a room. It must not be one, and must be made to leave when it ends.
    pub fn join(&mut self, id: SessionId, room: RoomId) {
        self.0.push(Effect::Join(id, room));
    }

    /// Ends a session's membership, which there must be. What was said before still reaches it.
    pub fn leave(&mut self, id: SessionId, room: RoomId) {
        self.0.push(Effect::Leave(id, room));
    }

    /// As [`Self::leave`], against the member's will: what is said in the room from now on it
    /// could not read even if it got hold of it.
    pub fn expel(&mut self, id: SessionId, room: RoomId) {
        self.0.push(Effect::Expel(id, room));
    }

    /// Sends a packet to all members of a room.
    pub fn broadcast(&mut self, room: RoomId, class: Class, packet: impl Into<Packet>) {
        self.0.push(Effect::Broadcast(room, class, packet.into()));
    }

    /// Sends a chat packet to each of a few sessions.
    pub fn multicast(&mut self, to: Vec<SessionId>, packet: impl Into<Packet>) {
        self.0.push(Effect::Multicast(to, packet.into()));
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
                Effect::ToSession(_, Command::Send(to, packet)) => format!("{to} <- {packet:?}"),
                Effect::ToSession(_, Command::SendEncoded(to, begin, rest)) => {
                    match Packet::decode(&[&**begin, rest].concat()) {
                        Ok(packet) => format!("{to} <- {packet:?}"),
                        Err(error) => format!("{to} <- {error}"),
                    }
                }
                Effect::ToSession(_, Command::Close(id, reason)) => format!("{id} closed: {}", reason.name()),
                Effect::ToSession(..) => String::new(),
                Effect::Join(id, room) => format!("{id} joins {}", room.0),
                Effect::Leave(id, room) => format!("{id} leaves {}", room.0),
                Effect::Expel(id, room) => format!("{id} is put out of {}", room.0),
                Effect::Broadcast(room, _, packet) => format!("room {} <- {packet:?}", room.0),
                Effect::Multicast(to, packet) => {
                    let to: Vec<_> = to.iter().map(ToString::to_string).collect();
                    format!("{} <- {packet:?}", to.join(" "))
                }
                Effect::Dial(address, _, token) => format!("dial {address} as {token}"),
            })
            .collect()
    }
}
