//! The parts of a report that are groups of figures.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::clock::Nanos;
use crate::procstat::Usage;

/// What became of the clients.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "testing", derive(schemars::JsonSchema))]
#[serde(default)]
pub struct Clients {
    /// Asked for on the command line.
    pub requested: u64,
    /// Got into the chat. This and what follows counts over all rounds.
    pub connected: u64,
    /// Turned away by the server with a reason.
    pub refused: u64,
    /// Did not get in for another cause: no connection, no answer in time.
    pub failed: u64,
    /// Got in and lost the session before they wanted to leave.
    pub disconnected: u64,
    /// Of all these ends, how many for which reason.
    pub reasons: BTreeMap<String, u64>,
    /// Steps on the way in that were tried again, for which reason.
    pub retries: BTreeMap<String, u64>,
}

/// How clients came to channels and left them while others talked.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "testing", derive(schemars::JsonSchema))]
#[serde(default)]
pub struct Churned {
    /// Times that a client asked to join a channel.
    pub joins: u64,
    /// Times that a client asked to leave one.
    pub leaves: u64,
    /// Turns of clients that waited for an answer.
    pub skipped: u64,
}

impl Churned {
    /// Adds what another worker counted.
    pub fn add(&mut self, other: Self) {
        self.joins += other.joins;
        self.leaves += other.leaves;
        self.skipped += other.skipped;
    }
}

/// How clients moved while others talked.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "testing", derive(schemars::JsonSchema))]
#[serde(default)]
pub struct Moved {
    /// Times that a client went to a neighbouring sector.
    pub made: u64,
    /// Turns of clients that were on their way.
    pub skipped: u64,
}

impl Moved {
    /// Adds what another worker counted.
    pub fn add(&mut self, other: Self) {
        self.made += other.made;
        self.skipped += other.skipped;
    }
}

/// The resident memory of the harness's processes, all together, at several times.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "testing", derive(schemars::JsonSchema))]
#[serde(default)]
pub struct HarnessMemory {
    /// When the workers had started, with all messages' places but no client yet.
    pub start_bytes: u64,
    /// When everybody was in; 0 if that was never so.
    pub entered_bytes: u64,
    /// At the end of the measured part.
    pub end_bytes: u64,
    /// What had come by then, for each client.
    pub per_client_bytes: f64,
}

impl HarnessMemory {
    /// With the end of the measured part.
    #[must_use]
    pub fn ended(self, usage: Option<&Usage>, clients: u32) -> Self {
        let end_bytes = usage.map_or(0, |usage| usage.rss_bytes);
        let more = end_bytes.max(self.entered_bytes).saturating_sub(self.start_bytes);
        Self { end_bytes, per_client_bytes: more as f64 / f64::from(clients.max(1)), ..self }
    }
}

/// Who hung up and came again.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "testing", derive(schemars::JsonSchema))]
#[serde(default)]
pub struct Reconnected {
    /// Times that a client hung up to come again.
    pub asked: u64,
    /// Times that one was back in. How long that took is `phases_us.reconnect`.
    pub back: u64,
    /// Seconds from the moment when everybody hung up until everybody was in again with the whole user list; null without --storm.
    pub storm_s: Option<f64>,
}

/// How the lists fared that clients kept, as workers count.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ListTimes {
    /// Notices received.
    pub notices: u64,
    /// Of these, the ones that did not name everybody.
    pub incomplete: u64,
    /// Lists fetched anew because something was missing.
    pub resyncs: u64,
    /// Lists of another length than the server said.
    pub mismatches: u64,
    /// When the last client had the last page; 0 if none had.
    pub last_complete: Nanos,
    /// When the last list that is exact became so.
    pub last_exact: Nanos,
}

impl ListTimes {
    /// Adds what another worker counted.
    pub fn add(&mut self, other: Self) {
        self.notices += other.notices;
        self.incomplete += other.incomplete;
        self.resyncs += other.resyncs;
        self.mismatches += other.mismatches;
        self.last_complete = self.last_complete.max(other.last_complete);
        self.last_exact = self.last_exact.max(other.last_exact);
    }
}

/// The user lists of clients, at the end of the entering.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "testing", derive(schemars::JsonSchema))]
#[serde(default)]
pub struct ListReport {
    /// Clients that kept their list by pages and notices.
    pub kept: u64,
    /// Of these, the ones whose list became exactly who of the run was there.
    pub exact: u64,
    /// From the beginning of the first way in to the last entry, in seconds.
    pub entered_s: f64,
    /// From the same beginning until the last client had the last page of its list, in seconds.
    pub complete_s: f64,
    /// From the same beginning until all lists that were kept were exact the first time, in seconds; null if they were not.
    pub exact_s: Option<f64>,
    /// Notices received, by all clients, in the whole run.
    pub notices: u64,
    /// Of these, the ones that did not name everybody.
    pub incomplete: u64,
    /// Lists fetched anew because something was missing.
    pub resyncs: u64,
    /// Lists that had another number of users than the server said.
    pub head_count_mismatches: u64,
}

/// What became of clients that did not read as they should. They count for neither `clients.disconnected` nor latencies.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "testing", derive(schemars::JsonSchema))]
#[serde(default)]
pub struct ImpairedClients {
    /// Clients that stopped reading.
    pub deaf: u64,
    /// Clients that read slowly.
    pub slow: u64,
    /// Of both, how many lost their session.
    pub closed: u64,
    /// For which reason.
    pub reasons: BTreeMap<String, u64>,
}

impl ImpairedClients {
    /// Adds what another worker counted.
    pub fn add(&mut self, other: Self) {
        self.deaf += other.deaf;
        self.slow += other.slow;
        self.closed += other.closed;
        for (reason, count) in other.reasons {
            *self.reasons.entry(reason).or_default() += count;
        }
    }
}

/// How much was to be done in a second, and how much was: messages where any are sent, else clients on their way in.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "testing", derive(schemars::JsonSchema))]
#[serde(default)]
pub struct Rates {
    /// What the schedule asked for.
    pub offered_per_s: f64,
    /// What was done.
    pub achieved_per_s: f64,
    /// Deliveries made in a second of the measured time.
    pub deliveries_per_s: f64,
    /// Entries into the chat in a second from the first beginning to the last entry, over all
    /// rounds; null for scenarios without logins.
    pub logins_per_s: Option<f64>,
}

impl Rates {
    /// Rates for `planned` points in `plan` time, of which `done` took `took` time.
    pub fn new(planned: u64, plan: Duration, done: u64, took: Duration) -> Self {
        let rate =
            |count: u64, time: Duration| if time.is_zero() { 0.0 } else { count as f64 / time.as_secs_f64() };
        let (offered_per_s, achieved_per_s) = (rate(planned, plan), rate(done, took));
        Self { offered_per_s, achieved_per_s, deliveries_per_s: 0.0, logins_per_s: None }
    }
}
