//! Commands of the content threads to the shards.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use crate::SessionId;
use crate::net::Endpoint;
use crate::room::{Class, RoomId};
use crate::window::Charge;
use crate::wire::{CloseReason, Packet};

/// A command with the window's part of the packet that caused it.
pub struct Caused {
    /// The command.
    pub command: Command,
    /// Held until the command's last write.
    pub charge: Option<Charge>,
}

impl From<Command> for Caused {
    fn from(command: Command) -> Self {
        Self { command, charge: None }
    }
}

/// A command to one shard.
pub enum Command {
    /// A command for one session.
    ToSession(SessionId, SessionCommand),
    /// Send an encoded packet of the sender with this number to each of the sessions, as chat.
    Multicast(u32, Box<[SessionId]>, Arc<[u8]>),
    /// Send a room's new key to each member that this shard has: after all frames sealed with the
    /// older key, and before all frames sealed with the new one.
    Rekey(RoomId, Arc<Packet>),
    /// Queue the pending frames of a room for its members, before anything that they get from now
    /// on.
    Settle(RoomId),
    /// Send an encoded packet to each member of a room that this shard has.
    Copies(RoomId, Class, Arc<[u8]>),
    /// Append a frame, sealed with the room's key at the given time, to the room's log.
    Append(RoomId, Class, Arc<[u8]>, Instant),
    /// Make a session a member of a room.
    Join(SessionId, RoomId),
    /// End a session's membership of a room.
    Leave(SessionId, RoomId),
    /// Connect to another server. The outcome is reported with the token.
    Dial(SocketAddr, Arc<Endpoint>, u64),
}

/// A command for one session. A handler's effect of this kind reaches the shard as it is.
pub enum SessionCommand {
    /// Send a packet.
    Send(Box<Packet>),
    /// Send an encoded packet from two pieces, of which other sessions may share the second.
    SendEncoded(Box<[u8]>, Arc<[u8]>),
    /// Close the session.
    Close(CloseReason),
}
