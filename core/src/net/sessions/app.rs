//! The application of an event loop.

use std::time::Instant;

use super::Sessions;
use crate::SessionId;
use crate::net::lifecycle::{Closed, Opened};
use crate::wire::Packet;

/// Application of an event loop: the callbacks with which a [`Shard`](crate::net::Shard) reports
/// what happens to its sessions.
///
/// All callbacks run on the loop's thread, one at a time, and must not block: while one runs, no
/// session of the shard is served.
///
/// # Order of callbacks
///
/// A turn of the loop calls, in this order:
///
/// 1. [`command`](Self::command) for mail from other threads,
/// 2. [`packet`](Self::packet) again for packets that the application gave back,
/// 3. [`opened`](Self::opened), [`room_packet`](Self::room_packet) and [`packet`](Self::packet) for
///    what is read from the sockets,
/// 4. [`turn`](Self::turn), once,
/// 5. after the loop has written to the sockets, [`closed`](Self::closed) for the sessions that
///    ended,
/// 6. [`end_turn`](Self::end_turn), once.
///
/// # Guarantees
///
/// * `opened` comes once for a session, before any of its packets. A connection that fails its
///   handshake is never reported, unless this side dialed it.
/// * Packets of a session come in the order in which the peer sent them, each once. One that was
///   given back is offered again before any later packet of the session.
/// * `closed` comes once for each session that was opened, and for each that was dialed, whether it
///   opened or not. It is the last callback for the session. By then the session has left its
///   rooms.
/// * After [`Sessions::close`] no packet of the session is passed on, even if it was received
///   before.
/// * The id of an ended session never becomes valid again. All methods of [`Sessions`] ignore it.
/// * Commands come in the order of the mailbox.
///
/// # Only so today
///
/// * The order of sessions within a turn, for `packet` as well as for `closed`, is the loop's own
///   affair.
/// * A turn may come without any cause, and `turn` may be called earlier than it asked for.
/// * `is_behind` may be called in any turn. Its answer counts only while the loop is stopping.
///
/// # Example
///
/// An application that accepts one packet a turn for each of its sessions, and applies backpressure
/// to the rest:
///
/// ```
/// use std::collections::HashSet;
/// use std::time::{Duration, Instant};
///
/// use throng_core::SessionId;
/// use throng_core::net::{App, Closed, Mail, Opened, Sessions, Shard, ShardSize};
/// use throng_core::wire::{CloseReason, Packet};
///
/// #[derive(Default)]
/// struct Paced {
///     served: HashSet<SessionId>,
/// }
///
/// impl App for Paced {
///     type Command = ();
///
///     fn opened(&mut self, _: &mut Sessions, id: SessionId, opened: Opened) {
///         println!("{id} opened from {}", opened.address);
///     }
///
///     fn packet(
///         &mut self,
///         sessions: &mut Sessions,
///         id: SessionId,
///         packet: Packet,
///     ) -> Result<(), Packet> {
///         if !self.served.insert(id) {
///             // Offered again in the next turn; until then the session is not read.
///             return Err(packet);
///         }
///         sessions.send(id, &packet);
///         Ok(())
///     }
///
///     fn closed(&mut self, _: &mut Sessions, id: SessionId, closed: Closed) {
///         println!("{id} closed: {}", closed.reason.name());
///     }
///
///     fn command(&mut self, _: &mut Sessions, _: ()) {}
///
///     fn turn(&mut self, sessions: &mut Sessions) -> Option<Instant> {
///         let was_busy = !self.served.is_empty();
///         self.served.clear();
///         // Packets that were given back do not keep the loop awake; a deadline does.
///         was_busy.then(|| sessions.now() + Duration::from_millis(1))
///     }
/// }
///
/// let shard = Shard::new(0, ShardSize::new(100, 64))?;
/// let mailbox = shard.mailbox();
/// let thread = std::thread::spawn(move || shard.run(Paced::default()));
///
/// assert!(mailbox.push(Mail::Stop(CloseReason::ServerShutdown, Duration::ZERO)).is_ok());
/// mailbox.ring();
/// thread.join().unwrap()?;
/// # Ok::<(), std::io::Error>(())
/// ```
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

    /// Reports a packet that a dialed session received under a room's key, still encoded. An
    /// application that handles it in this form returns true. Otherwise the packet is decoded,
    /// checked to be one of that room, and passed to [`Self::packet`].
    fn room_packet(&mut self, sessions: &mut Sessions, id: SessionId, room: u32, encoded: &[u8]) -> bool {
        let _ = (sessions, id, room, encoded);
        false
    }

    /// Reports the end of a session that was opened or dialed, once, at the end of the turn.
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

    /// Ends a turn. An application that passes its work on to other threads wakes them here and in
    /// [`Self::turn`], once for all of the turn.
    fn end_turn(&mut self) {}
}
