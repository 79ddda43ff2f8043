//! Jobs of the content threads, and the lanes in which they wait.

use std::time::Instant;

use crate::SessionId;
use crate::net::{Closed, Opened};
use crate::queue::JobQueue;
use crate::wire::Packet;

/// A job for a content thread. `R` is the result type of the role's helper threads (DB threads).
pub enum Job<R> {
    /// A session has completed its handshake.
    Opened(SessionId, Opened),
    /// A session has sent a packet, which was read at the given time.
    Packet(SessionId, Packet, Instant),
    /// A session has ended.
    Closed(SessionId, Closed),
    /// A helper thread has finished a request.
    Record(R),
}

/// Queue in front of one content thread.
pub type Lane<R> = JobQueue<Job<R>>;

/// Returns the index of the lane, out of `lanes`, that takes all jobs of a session.
pub fn lane_of(id: SessionId, lanes: usize) -> usize {
    (id.slot() ^ id.shard()) % lanes
}
