//! The application of an event loop.

use std::time::Instant;

use super::Sessions;
use crate::SessionId;
use crate::net::lifecycle::{Closed, Opened};
use crate::wire::Packet;

/// Application of an event loop: the callbacks with which a [`Shard`](crate::net::Shard) reports
/// what happens to its sessions.
///
/// PLACEHOLDER
pub trait App: Send + 'static {
    /// Commands that other threads send to this application.
    type Command: Send + 'static;

    /// Reports a session that has completed its handshake.
    fn opened(&mut self, sessions: &mut Sessions, id: SessionId, opened: Opened);

    /// Reports a packet of an open session.
    ///
    /// Return the packet to apply backpressure: the session is not read, and the packet is offered
    /// again every turn until it is accepted. The thread that frees capacity must ring the mailbox,
    /// because a stalled packet alone does not keep the loop awake.
    fn packet(&mut self, sessions: &mut Sessions, id: SessionId, packet: Packet) -> Result<(), Packet>;

    /// Reports a packet that a dialled session received under a room's key, still encoded. An
    /// application that handles it in this form returns true. Otherwise the packet is decoded,
    /// checked to be one of that room, and passed to [`Self::packet`].
    fn room_packet(&mut self, sessions: &mut Sessions, id: SessionId, room: u32, encoded: &[u8]) -> bool {
        let _ = (sessions, id, room, encoded);
        false
    }

    /// Reports the end of a session that was opened or dialled, once, at the end of the turn.
    fn closed(&mut self, sessions: &mut Sessions, id: SessionId, closed: Closed);

    /// Passes a command from another thread.
    fn command(&mut self, sessions: &mut Sessions, command: Self::Command);

    /// Returns true while the application has still to pass on what was reported to it. A loop that
    /// stops waits for it as long as it waits for its sessions.
    fn is_behind(&self) -> bool {
        false
    }

    /// Ends the work of the application in a turn, before the loop writes. Returns the latest time
    /// of the next turn, if the application needs one.
    fn turn(&mut self, sessions: &mut Sessions) -> Option<Instant> {
        let _ = sessions;
        None
    }
}
