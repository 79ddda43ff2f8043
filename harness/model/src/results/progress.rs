//! What is counted while a run is under way.

use serde::{Deserialize, Serialize};
use zerocopy::{FromBytes, Immutable, IntoBytes};

use crate::clock::Nanos;

/// One worker's running totals: numbers only, so that they can be published, read and summed as what they are.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, FromBytes, IntoBytes, Immutable,
)]
#[repr(C)]
pub struct Totals {
    /// Clients in the chat now.
    pub connected: u64,
    /// Of these, the ones that have the complete user list.
    pub listed: u64,
    /// Of these, the ones that the probe message has reached.
    pub probed: u64,
    /// Clients that the server will not let in.
    pub refused: u64,
    /// Clients that will not get in for another cause.
    pub failed: u64,
    /// Clients that were thrown out.
    pub disconnected: u64,
    /// Times that a client has left the chat in order.
    pub left: u64,
    /// Messages of the schedule that have had their turn, sent or not.
    pub scheduled: u64,
    /// Messages sent and counted.
    pub sent: u64,
    /// Messages received, first copies.
    pub received: u64,
    /// Of these, the ones received by clients that are in the chat now.
    pub received_by_present: u64,
    /// 1 once the connection outside the room that listens for leaks is there, or cannot be.
    pub outside: u64,
    /// 1 once the worker sends no more.
    pub hushed: u64,
    /// Times that a client has found its place, or will find none.
    pub gathered: u64,
    /// Impaired clients that have not read everything.
    pub asleep: u64,
    /// 1 once they have been told to.
    pub woken: u64,
    /// Clients in the chat that keep their user list.
    pub lists_kept: u64,
    /// Of these, the ones whose list has of the run's clients exactly those that are there.
    pub lists_exact: u64,
    /// Of these, the ones whose list has more of them: some have left.
    pub lists_larger: u64,
    /// For the how manieth time the three have been counted.
    pub lists_looked_at: u64,
    /// Clients that have hung up and are to come again.
    pub away: u64,
    /// 1 once everybody has hung up who was to.
    pub stormed: u64,
    /// Clients on their way in.
    pub on_the_way: u64,
    /// Times that one of them tried something again.
    pub retried: u64,
    /// Whole ways in: `done` is the times that somebody has come into the chat.
    pub way_in: Part,
    /// The parts of it, those of [`PARTS`].
    pub parts: [Part; PARTS.len()],
}

/// What clients do one after the other on their way in, as reports have it; those with tickets begin with `dial_chat`.
pub const PARTS: [&str; 6] = ["dial_login", "sign_up", "create_character", "log_in", "dial_chat", "enter"];

/// How often something on the way in was done, and how long that took.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, FromBytes, IntoBytes, Immutable,
)]
#[repr(C)]
pub struct Part {
    /// Times.
    pub done: u64,
    /// Nanoseconds, all of them together.
    pub took: Nanos,
}

impl Part {
    /// It was done once more, and took so long.
    pub fn add(&mut self, took: Nanos) {
        self.done += 1;
        self.took = self.took.saturating_add(took);
    }

    /// What was done since `before`.
    #[must_use]
    pub fn since(self, before: Self) -> Self {
        Self { done: self.done.saturating_sub(before.done), took: self.took.saturating_sub(before.took) }
    }

    /// The mean time, in nanoseconds; none if it was not done.
    pub fn mean(self) -> Option<f64> {
        (self.done > 0).then(|| self.took as f64 / self.done as f64)
    }
}

/// One row of the timeline: what happened since the row before.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "testing", derive(schemars::JsonSchema))]
#[serde(default)]
pub struct Second {
    /// Seconds since the run began.
    pub at_s: f64,
    /// Clients in the chat now.
    pub connected: u64,
    /// Clients thrown out so far.
    pub disconnected: u64,
    /// Times so far that a client has left in order.
    pub left: u64,
    /// Messages sent so far.
    pub sent: u64,
    /// Messages received so far.
    pub received: u64,
    /// Messages sent a second.
    pub sent_per_s: f64,
    /// Messages received a second.
    pub received_per_s: f64,
    /// Median latency of what was received since, in microseconds; 0 for nothing.
    pub p50_us: f64,
    /// 90th percentile likewise.
    pub p90_us: f64,
    /// 99th percentile likewise.
    pub p99_us: f64,
    /// Longest likewise.
    pub max_us: f64,
    /// The server's share of one core.
    pub server_cpu: Option<f64>,
    /// The server's resident memory.
    pub server_rss_bytes: Option<u64>,
    /// The server's CPU microseconds for each message received; null if none was.
    pub server_cpu_us_per_delivery: Option<f64>,
    /// The share of one core of all the harness's processes together; above 1 if they use more than one.
    pub harness_cpu: Option<f64>,
    /// The resident memory of all the harness's processes together.
    pub harness_rss_bytes: Option<u64>,
    /// Median time to the last recipient of the messages that were due since, in microseconds; 0 for none.
    pub last_recipient_p50_us: f64,
    /// 99th percentile likewise.
    pub last_recipient_p99_us: f64,
}

/// A change of the rate by a key, as reports have it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "testing", derive(schemars::JsonSchema))]
#[serde(default)]
pub struct RateChange {
    /// When the first message of the new rate was due, in seconds since the run began.
    pub at_s: f64,
    /// The time between two messages from then on, in microseconds.
    pub interval_us: f64,
    /// The same in nanoseconds.
    #[serde(skip)]
    pub interval: Nanos,
}

impl RateChange {
    /// From `at` on there are `interval` nanoseconds between two messages.
    pub fn new(at: Nanos, interval: Nanos) -> Self {
        Self { at_s: at as f64 / 1e9, interval_us: interval as f64 / 1e3, interval }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mean_may_be_that_of_what_is_new() {
        let mut part = Part::default();
        part.add(5_000);
        let before = part;
        assert_eq!((before.mean(), part.since(before).mean()), (Some(5_000.0), None));
        part.add(1_000);
        part.add(2_000);
        assert_eq!(part.since(before).mean(), Some(1_500.0));
    }
}
