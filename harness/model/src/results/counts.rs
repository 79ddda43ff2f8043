//! Counters and rates of a report, in groups.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::clock::{NEVER, Nanos};
use crate::procstat::Usage;
use crate::record::{Latencies, LatencyUs};

/// Outcome of the clients. All counters but the first add up over all rounds.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "testing", derive(schemars::JsonSchema))]
#[serde(default)]
pub struct Clients {
    /// Clients requested on the command line.
    pub requested: u64,
    /// Entries into the chat.
    pub connected: u64,
    /// Clients that the server turned away with a reason.
    pub refused: u64,
    /// Clients that did not enter for another cause: no connection, or no answer in time.
    pub failed: u64,
    /// Clients that lost their session before they were to leave.
    pub disconnected: u64,
    /// The number of these ends, by reason.
    pub reasons: BTreeMap<String, u64>,
    /// Steps of entering that were tried again, by reason.
    pub retries: BTreeMap<String, u64>,
    /// Requests that waited in the login server's queue for so long that it told their position.
    pub queued: u64,
    /// The largest position that was told.
    pub queue_position_max: u64,
    /// Positions that were larger than the one told before, of the same request.
    pub queue_position_rises: u64,
}

/// Joins and leaves of channels while others sent messages.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "testing", derive(schemars::JsonSchema))]
#[serde(default)]
pub struct Churned {
    /// Requests to join a channel.
    pub joins: u64,
    /// Requests to leave a channel.
    pub leaves: u64,
    /// Turns skipped because the client was waiting for an answer.
    pub skipped: u64,
}

impl Churned {
    /// Adds the counters of another worker.
    pub fn add(&mut self, other: Self) {
        self.joins += other.joins;
        self.leaves += other.leaves;
        self.skipped += other.skipped;
    }
}

/// Moves of clients while others sent messages.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "testing", derive(schemars::JsonSchema))]
#[serde(default)]
pub struct Moved {
    /// Moves to a neighboring sector.
    pub made: u64,
    /// Turns skipped because the client was moving.
    pub skipped: u64,
}

impl Moved {
    /// Adds the counters of another worker.
    pub fn add(&mut self, other: Self) {
        self.made += other.made;
        self.skipped += other.skipped;
    }
}

/// Resident memory of the harness's processes, added up, at several moments.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "testing", derive(schemars::JsonSchema))]
#[serde(default)]
pub struct HarnessMemory {
    /// After the start of the workers, with room for all messages but without clients.
    pub start_bytes: u64,
    /// After all clients had entered; 0 if they never had.
    pub entered_bytes: u64,
    /// At the end of the measured part.
    pub end_bytes: u64,
    /// The growth from start to end, per client.
    pub per_client_bytes: f64,
}

impl HarnessMemory {
    /// Sets the memory at the end of the measured part.
    #[must_use]
    pub fn ended(self, usage: Option<&Usage>, clients: u32) -> Self {
        let end_bytes = usage.map_or(0, |usage| usage.rss_bytes);
        let more = end_bytes.max(self.entered_bytes).saturating_sub(self.start_bytes);
        Self { end_bytes, per_client_bytes: more as f64 / f64::from(clients.max(1)), ..self }
    }
}

/// Clients that disconnected and entered again.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "testing", derive(schemars::JsonSchema))]
#[serde(default)]
pub struct Reconnected {
    /// Disconnects of clients that were to enter again.
    pub asked: u64,
    /// Clients that entered again; `phases_us.reconnect` has the times.
    pub back: u64,
    /// Seconds from the disconnect of all clients until all had entered again with the whole user
    /// list; null without --storm.
    pub storm_s: Option<f64>,
}

/// Clients whose connections were cut, as a worker counts them.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CutCounts {
    /// Connections that were cut.
    pub cuts: u64,
    /// Cut clients that resumed.
    pub resumed: u64,
    /// Cut clients whose place was gone.
    pub refused: u64,
    /// Messages that clients missed because they were not kept.
    pub gaps: u64,
    /// Users named in notices though they had kept their places.
    pub false_notices: u64,
    /// From each cut to the client's return.
    pub back: Latencies,
    /// The time of the first cut, if all are cut at once; otherwise [`NEVER`].
    pub first_cut: Nanos,
    /// The time of the last return.
    pub last_back: Nanos,
}

impl Default for CutCounts {
    fn default() -> Self {
        Self {
            cuts: 0,
            resumed: 0,
            refused: 0,
            gaps: 0,
            false_notices: 0,
            back: Latencies::new(),
            first_cut: NEVER,
            last_back: 0,
        }
    }
}

impl CutCounts {
    /// Adds the counters of another worker.
    pub fn add(&mut self, other: &Self) {
        self.cuts += other.cuts;
        self.resumed += other.resumed;
        self.refused += other.refused;
        self.gaps += other.gaps;
        self.false_notices += other.false_notices;
        self.back.merge(&other.back);
        self.first_cut = self.first_cut.min(other.first_cut);
        self.last_back = self.last_back.max(other.last_back);
    }

    /// The figures for a report.
    pub fn summary(&self) -> Resumed {
        // With one decimal, as the figures of distributions.
        let micros = |time: Nanos| (time as f64 / 100.0).round() / 10.0;
        let last_back_us = self.last_back.checked_sub(self.first_cut).map(micros);
        Resumed {
            cuts: self.cuts,
            resumed: self.resumed,
            refused: self.refused,
            gaps: self.gaps,
            false_notices: self.false_notices,
            back_us: self.back.summary(),
            last_back_us,
        }
    }
}

/// Clients whose connections were cut, and that resumed over new ones. Their stay in the chat goes
/// on, and so do their accounts.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "testing", derive(schemars::JsonSchema))]
#[serde(default)]
pub struct Resumed {
    /// Connections that were cut.
    pub cuts: u64,
    /// Cut clients that were back in their places.
    pub resumed: u64,
    /// Cut clients whose place was gone (PlaceLost). They count as disconnected too.
    pub refused: u64,
    /// Messages that resumed clients missed because the server did not keep them. They are among
    /// those of `gaps`.
    pub gaps: u64,
    /// Cut clients that a notice named as entered or left, once for each client that keeps its list
    /// and was told so.
    pub false_notices: u64,
    /// From the cut to the ResumeAnswer.
    pub back_us: LatencyUs,
    /// From the cut of all clients to the last ResumeAnswer; null unless all were cut at once.
    pub last_back_us: Option<f64>,
}

/// User lists that clients keep, as a worker counts them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ListTimes {
    /// Notices received.
    pub notices: u64,
    /// Notices that did not name all users concerned.
    pub incomplete: u64,
    /// Lists that were fetched again because entries were missing.
    pub resyncs: u64,
    /// Lists whose length differed from the server's count.
    pub mismatches: u64,
    /// The time at which the last client had its last page; 0 if none had.
    pub last_complete: Nanos,
    /// The time at which the last exact list became exact.
    pub last_exact: Nanos,
}

impl ListTimes {
    /// Adds the counters of another worker.
    pub fn add(&mut self, other: Self) {
        self.notices += other.notices;
        self.incomplete += other.incomplete;
        self.resyncs += other.resyncs;
        self.mismatches += other.mismatches;
        self.last_complete = self.last_complete.max(other.last_complete);
        self.last_exact = self.last_exact.max(other.last_exact);
    }
}

/// User lists of the clients when all have entered.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "testing", derive(schemars::JsonSchema))]
#[serde(default)]
pub struct ListReport {
    /// Clients that kept their list by pages and notices.
    pub kept: u64,
    /// Kept lists that became exact: equal to the set of the run's clients that were present.
    pub exact: u64,
    /// Seconds from the first attempt to enter to the last entry.
    pub entered_s: f64,
    /// Seconds from the first attempt to enter until the last client had the last page of its list.
    pub complete_s: f64,
    /// Seconds from the first attempt to enter until all kept lists were exact for the first time;
    /// null if they were not.
    pub exact_s: Option<f64>,
    /// Notices received by all clients in the whole run.
    pub notices: u64,
    /// Notices that did not name all users concerned.
    pub incomplete: u64,
    /// Lists that were fetched again because entries were missing.
    pub resyncs: u64,
    /// Lists whose length differed from the server's count.
    pub head_count_mismatches: u64,
}

/// Outcome of the clients that did not read as fast as they could. They count neither for
/// `clients.disconnected` nor for latencies.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "testing", derive(schemars::JsonSchema))]
#[serde(default)]
pub struct ImpairedClients {
    /// Clients that stopped reading.
    pub deaf: u64,
    /// Clients that read slowly.
    pub slow: u64,
    /// Impaired clients that lost their session.
    pub closed: u64,
    /// Lost sessions of impaired clients, by reason.
    pub reasons: BTreeMap<String, u64>,
}

impl ImpairedClients {
    /// Adds the counters of another worker.
    pub fn add(&mut self, other: Self) {
        self.deaf += other.deaf;
        self.slow += other.slow;
        self.closed += other.closed;
        for (reason, count) in other.reasons {
            *self.reasons.entry(reason).or_default() += count;
        }
    }
}

/// Planned and actual rates: of messages, or of clients entering if no messages are sent.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "testing", derive(schemars::JsonSchema))]
#[serde(default)]
pub struct Rates {
    /// The rate of the schedule.
    pub offered_per_s: f64,
    /// The rate achieved.
    pub achieved_per_s: f64,
    /// Deliveries a second of the measured part.
    pub deliveries_per_s: f64,
    /// Entries into the chat a second, from the first attempt to the last entry over all rounds;
    /// null for scenarios without logins.
    pub logins_per_s: Option<f64>,
}

impl Rates {
    /// The rates of `planned` events in `plan` time, of which `done` happened in `took` time.
    pub fn new(planned: u64, plan: Duration, done: u64, took: Duration) -> Self {
        let rate =
            |count: u64, time: Duration| if time.is_zero() { 0.0 } else { count as f64 / time.as_secs_f64() };
        let (offered_per_s, achieved_per_s) = (rate(planned, plan), rate(done, took));
        Self { offered_per_s, achieved_per_s, deliveries_per_s: 0.0, logins_per_s: None }
    }
}
