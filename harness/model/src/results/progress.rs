//! Progress of a run while it is under way.

use serde::{Deserialize, Serialize};
use zerocopy::{FromBytes, Immutable, IntoBytes};

use crate::clock::Nanos;

/// Running totals of one worker. They consist of numbers only, so that they can be published, read
/// and added up as plain memory.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, FromBytes, IntoBytes, Immutable,
)]
#[repr(C)]
pub struct Totals {
    /// Clients in the chat now.
    pub connected: u64,
    /// Clients in the chat that have the complete user list.
    pub listed: u64,
    /// Clients in the chat that have received the probe message.
    pub probed: u64,
    /// Clients that the server turned away for good.
    pub refused: u64,
    /// Clients that failed to enter for another cause.
    pub failed: u64,
    /// Clients that lost their session.
    pub disconnected: u64,
    /// Orderly departures from the chat.
    pub left: u64,
    /// Messages of the schedule whose turn has come, sent or not.
    pub scheduled: u64,
    /// Messages sent and counted.
    pub sent: u64,
    /// Messages received, first copies.
    pub received: u64,
    /// Messages received, first copies, by clients that are in the chat now.
    pub received_by_present: u64,
    /// 1 once the leak probe, a connection outside of the room, is open or has failed.
    pub leak_probe_placed: u64,
    /// 1 once the worker sends no more.
    pub stopped_sending: u64,
    /// Times that a client has joined its channel and taken its position, or turned out unable to.
    pub placed: u64,
    /// Impaired clients that are reading their backlog at the end of the run.
    pub catching_up: u64,
    /// 1 once the worker's impaired clients read at full speed again.
    pub resumed: u64,
    /// Clients in the chat that keep their user list.
    pub lists_kept: u64,
    /// Kept lists that contain exactly those of the run's clients that are in the chat.
    pub lists_exact: u64,
    /// Kept lists that contain more of the run's clients than are in the chat.
    pub lists_with_ghosts: u64,
    /// The number of the latest list check.
    pub list_check: u64,
    /// Clients that have disconnected on purpose and not entered again.
    pub reconnecting: u64,
    /// Connections that were cut.
    pub cuts: u64,
    /// Clients whose connection was cut and that have not resumed.
    pub away: u64,
    /// 1 once all clients of a storm have disconnected.
    pub storm_begun: u64,
    /// Clients that are entering.
    pub entering: u64,
    /// Attempts that entering clients repeated.
    pub retries: u64,
    /// Whole entries: `done` is the number of entries into the chat.
    pub entry: Part,
    /// The steps of entering, in the order of [`PARTS`].
    pub parts: [Part; PARTS.len()],
}

impl Totals {
    /// Answers of login servers to requests that have succeeded. In a long queue they are all the
    /// progress that there is, for a while.
    pub fn login_steps(&self) -> u64 {
        let is_answer = |name: &str| matches!(name, "sign_up" | "create_character" | "log_in");
        PARTS.iter().zip(&self.parts).filter(|(name, _)| is_answer(name)).map(|(_, part)| part.done).sum()
    }
}

/// The steps of entering in their order, with their names in reports. Clients with tickets start at
/// `dial_chat`.
pub const PARTS: [&str; 6] = ["dial_login", "sign_up", "create_character", "log_in", "dial_chat", "enter"];

/// Count and total duration of a step of entering.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, FromBytes, IntoBytes, Immutable,
)]
#[repr(C)]
pub struct Part {
    /// Times that the step was completed.
    pub done: u64,
    /// The total duration, in nanoseconds.
    pub took: Nanos,
}

impl Part {
    /// Adds one completion that took `took` nanoseconds.
    pub fn add(&mut self, took: Nanos) {
        self.done += 1;
        self.took = self.took.saturating_add(took);
    }

    /// The completions since `before`.
    #[must_use]
    pub fn since(self, before: Self) -> Self {
        Self { done: self.done.saturating_sub(before.done), took: self.took.saturating_sub(before.took) }
    }

    /// The mean duration in nanoseconds; none without a completion.
    pub fn mean(self) -> Option<f64> {
        (self.done > 0).then(|| self.took as f64 / self.done as f64)
    }
}

/// A row of the timeline.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "testing", derive(schemars::JsonSchema))]
#[serde(default)]
pub struct Second {
    /// Seconds since the start of the run.
    pub at_s: f64,
    /// Clients in the chat now.
    pub connected: u64,
    /// Clients that have lost their session since the start of the run.
    pub disconnected: u64,
    /// Orderly departures since the start of the run.
    pub left: u64,
    /// Clients whose connection was cut and that have not resumed.
    pub away: u64,
    /// Messages sent since the start of the run.
    pub sent: u64,
    /// Messages received since the start of the run.
    pub received: u64,
    /// Messages sent a second, since the row before.
    pub sent_per_s: f64,
    /// Messages received a second, since the row before.
    pub received_per_s: f64,
    /// Median latency of messages received since the row before, in microseconds; 0 without any.
    pub p50_us: f64,
    /// 90th percentile of these latencies.
    pub p90_us: f64,
    /// 99th percentile of these latencies.
    pub p99_us: f64,
    /// Maximum of these latencies.
    pub max_us: f64,
    /// CPU time of the server's process, as a share of one core.
    pub server_cpu: Option<f64>,
    /// Resident memory of the server's process.
    pub server_rss_bytes: Option<u64>,
    /// CPU microseconds of the server's process for each message received; null if none was.
    pub server_cpu_us_per_delivery: Option<f64>,
    /// CPU time of the harness's processes together, as a share of one core; above 1 with several.
    pub harness_cpu: Option<f64>,
    /// Resident memory of the harness's processes together.
    pub harness_rss_bytes: Option<u64>,
    /// CPU time of all processes that do not belong to the run, as a share of one core; null if the
    /// kernel does not tell, as with the following four.
    pub others_cpu: Option<f64>,
    /// Time that the hypervisor gave to other machines, as a share of one core.
    pub steal: Option<f64>,
    /// Share of the time in which at least one thread of the machine waited for a core.
    pub cpu_pressure: Option<f64>,
    /// Share of the time that others withheld a core from the harness's thread that waited the
    /// most.
    pub harness_withheld: Option<f64>,
    /// Share of the time that others withheld a core from the server's thread that waited the most.
    pub server_withheld: Option<f64>,
    /// Median time to the last recipient of messages due since the row before, in microseconds; 0
    /// without any.
    pub last_recipient_p50_us: f64,
    /// 99th percentile of these times.
    pub last_recipient_p99_us: f64,
}

/// A change of the rate by a key.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "testing", derive(schemars::JsonSchema))]
#[serde(default)]
pub struct RateChange {
    /// The time at which the first message of the new rate was due, in seconds since the start of
    /// the run.
    pub at_s: f64,
    /// The new interval between two messages, in microseconds.
    pub interval_us: f64,
    /// The new interval in nanoseconds.
    #[serde(skip)]
    pub interval: Nanos,
}

impl RateChange {
    /// A change to `interval` nanoseconds between two messages from `at` on.
    pub fn new(at: Nanos, interval: Nanos) -> Self {
        Self { at_s: at as f64 / 1e9, interval_us: interval as f64 / 1e3, interval }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_difference_has_a_mean_of_its_own() {
        let mut part = Part::default();
        part.add(5_000);
        let before = part;
        assert_eq!((before.mean(), part.since(before).mean()), (Some(5_000.0), None));
        part.add(1_000);
        part.add(2_000);
        assert_eq!(part.since(before).mean(), Some(1_500.0));
    }
}
