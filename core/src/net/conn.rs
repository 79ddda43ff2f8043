//! One session with its socket, and its state in the shard's queues.

use std::net::SocketAddr;
use std::time::Instant;

use mio::net::TcpStream;

use super::membership::Rooms;
use super::seats::Seat;
use crate::SessionId;
use crate::metrics;
use crate::room::Class;
use crate::session::Session;
use crate::session::outbox::BufferPool;
use crate::wire::Packet;
use crate::wire::packets::{ChatGap, Scope};

/// A session of a shard.
#[expect(clippy::struct_excessive_bools, reason = "each is independent of the others")]
pub(super) struct Conn {
    pub(super) socket: TcpStream,
    pub(super) session: Session,
    pub(super) peer: SocketAddr,
    /// Token of the dial; none for an accepted socket.
    pub(super) dialed: Option<u64>,
    /// Received bytes that wait: the beginning of a frame, or frames behind a stalled packet.
    pub(super) inbox: Vec<u8>,
    /// Packet that the application gave back. The session is not read while there is one.
    pub(super) stalled: Option<Box<Packet>>,
    /// Generation of the armed timer; timers of an earlier generation are ignored.
    pub(super) timer: u32,
    /// True once the application knows the session and must be told of its end.
    pub(super) is_announced: bool,
    pub(super) seat: Seat,
    /// True while the session is queued to be read.
    pub(super) in_ready: bool,
    /// True while the session is queued to be written to.
    pub(super) in_dirty: bool,
    /// True while the session is queued for a check of its blocked socket.
    pub(super) in_blocked: bool,
    /// True from a write that the socket accepted in part or not at all, until its next writable
    /// event.
    pub(super) write_blocked: bool,
    /// Time of the latest write.
    pub(super) last_written: Instant,
    /// Nearby messages and whispers that were dropped and that no gap has reported yet.
    pub(super) missed: u32,
    /// True once the poller has reported the end of input.
    pub(super) read_closed: bool,
    /// True once our side of the socket is shut down.
    pub(super) fin_sent: bool,
}

impl Conn {
    pub(super) fn new(
        socket: TcpStream,
        session: Session,
        peer: SocketAddr,
        dialed: Option<u64>,
        seat: Seat,
        now: Instant,
    ) -> Self {
        Self {
            socket,
            session,
            peer,
            dialed,
            inbox: Vec::new(),
            stalled: None,
            timer: 0,
            is_announced: dialed.is_some(),
            seat,
            in_ready: false,
            in_dirty: false,
            in_blocked: false,
            write_blocked: false,
            last_written: now,
            missed: 0,
            read_closed: false,
            fin_sent: false,
        }
    }

    /// Queues a ChatGap for each run of messages that the session has lost. Lost notices are only
    /// counted: the versions of a list show the client that it missed some.
    pub(super) fn queue_gaps(&mut self, id: SessionId, rooms: &mut Rooms, pool: &mut BufferPool) {
        while let Some(gap) = rooms.take_gap(id) {
            match gap.class {
                Class::Notice => metrics::NOTICES_SHED.add(gap.count),
                Class::Chat => {
                    let (scope, channel) = gap.room.address();
                    self.queue_gap(scope, channel, gap.count, pool);
                }
            }
        }
        if self.missed > 0 && self.session.room_for(Class::Chat) > 0 {
            let missed = std::mem::take(&mut self.missed);
            self.queue_gap(Scope::Nearby, 0, missed.into(), pool);
        }
    }

    fn queue_gap(&mut self, scope: Scope, channel: u32, missed: u64, pool: &mut BufferPool) {
        metrics::GAPS.inc();
        metrics::MISSED.add(missed);
        self.session.send(&ChatGap { scope, channel, missed }.into(), pool);
    }
}

#[cfg(test)]
mod tests {
    /// Most of the memory of ten thousand idle sessions. With its membership and its entries in the
    /// application's tables a session is to stay below a kilobyte.
    #[test]
    fn a_session_is_small() {
        let size = size_of::<super::Conn>();
        assert!(size <= 320, "{size} bytes");
    }
}
