//! Jobs of the content threads, and the lanes in which they wait.

use std::time::Instant;

use crate::SessionId;
use crate::net::{Closed, Opened};
use crate::queue::JobQueue;
use crate::window::Charge;
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

/// A job with its part of its session's window.
pub struct Task<R> {
    /// The job.
    pub job: Job<R>,
    /// Held until everything that the job causes is written. None for jobs that belong to no
    /// client.
    pub charge: Option<Charge>,
}

impl<R> From<Job<R>> for Task<R> {
    fn from(job: Job<R>) -> Self {
        Self { job, charge: None }
    }
}

/// Queue in front of one content thread.
pub type Lane<R> = JobQueue<Task<R>>;

/// Returns the index of the lane, out of `lanes`, that takes all jobs of a session.
pub fn lane_of(id: SessionId, lanes: usize) -> usize {
    (id.slot() ^ id.shard()) % lanes
}
