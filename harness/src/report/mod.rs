//! What a run found, as JSON, as a page and for people, and whether that was good enough.

mod bots;
mod fairness;
mod html;
mod machine;
mod steps;
mod summary;
mod verdict;

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};
use thiserror::Error;

pub use bots::BotsReport;
pub use fairness::{Fairness, Group, Recipient, ShardGroup, Slowest};
pub use machine::Machine;
pub use steps::{Limit, Step, Stepped};
pub use summary::{format_bytes, format_count, format_rate};
pub use verdict::{EXIT_BROKEN, EXIT_INTERRUPTED, EXIT_NOT_RUN, EXIT_OK, EXIT_USAGE, Verdict};
pub(crate) use verdict::{doubts, harness_load};

use crate::breakdown::{Breakdown, BreakdownUs, ServerClockUs};
use crate::cli::Job;
use crate::clock::Nanos;
use crate::live::{RateChange, Second};
use crate::procstat::Usage;
use crate::record::{Latencies, LatencyUs, Recorder, Spread};
use crate::threshold::Checked;
use crate::verify::{Deliveries, Gaps};

/// The version of the report's form; a reader that knows another one should say so.
const FORMAT: u32 = 1;

/// What became of the clients.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
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
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
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
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub struct ListReport {
    /// Clients that kept their list by pages and notices.
    pub kept: u64,
    /// Of these, the ones whose list became exactly who was there.
    pub exact: u64,
    /// From the beginning of the first way in to the last entry, in seconds.
    pub entered_s: f64,
    /// From there until the last client had the last page of its list.
    pub complete_s: f64,
    /// From there until all lists that were kept were exact; null if they were not.
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

/// How much was to be done in a second, and how much was. Messages for `broadcast`, else clients.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
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

/// Everything a scenario found out, before it is judged.
#[derive(Debug, Default)]
pub struct Findings {
    /// Whether the user stopped the run.
    pub interrupted: bool,
    /// What the run waited for in vain; with any of it the run fails.
    pub incomplete_because: Vec<String>,
    /// What became of the clients.
    pub clients: Clients,
    /// Messages that were sent and counted.
    pub sent: u64,
    /// What became of them; none for scenarios that send nothing.
    pub deliveries: Option<Deliveries>,
    /// Their memory.
    pub harness_memory: HarnessMemory,
    /// Who hung up and came again.
    pub reconnects: Reconnected,
    /// The clients' user lists.
    pub lists: ListReport,
    /// Who came to channels and left them meanwhile.
    pub churn: Churned,
    /// Who moved meanwhile.
    pub moves: Moved,
    /// Who did not read as it should.
    pub impaired: ImpairedClients,
    /// What bots said; none without bots.
    pub bots: Option<BotsReport>,
    /// How alike the others were served.
    pub fairness: Option<Fairness>,
    /// All workers' latencies, merged.
    pub recorder: Recorder,
    /// Where the time of some deliveries went.
    pub breakdown: Breakdown,
    /// How the server's clock stood to ours, if that is known.
    pub server_clock: Option<ServerClockUs>,
    /// First and last recipients.
    pub spread: Spread,
    /// How long something that arrived could wait until the event loop had read it.
    pub read_lag: Latencies,
    /// Other times by name: parts of connecting and logging in.
    pub phases: BTreeMap<&'static str, Latencies>,
    /// Rates; deliveries are added from the other fields.
    pub rates: Rates,
    /// How long the measured part took.
    pub measured: Duration,
    /// The server's process in the measured part, if it could be seen.
    pub server: Option<Usage>,
    /// The harness's processes in the measured part, all together.
    pub harness: Option<Usage>,
    /// Event-loop threads, over all processes.
    pub workers: u32,
    /// One row a second.
    pub timeline: Vec<Second>,
    /// What keys have made of the rate.
    pub rate_changes: Vec<RateChange>,
}

/// How the run was started.
#[derive(Debug, Clone)]
pub struct Origin {
    /// The command line, program included and passwords left out.
    pub command: Vec<String>,
    /// When.
    pub started: SystemTime,
    /// Where.
    pub machine: Machine,
}

/// The report, as it is written to `--json`. Times are in microseconds where the name says `us`.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Report {
    /// The version of this form: 1.
    pub format: u32,
    /// The scenario's name.
    pub scenario: String,
    /// Whether all thresholds held.
    pub verdict: Verdict,
    /// Each threshold and how the run did.
    pub thresholds: Vec<Checked>,
    /// Whether the latencies are evidence about the server, and not about an overloaded harness.
    /// Deliveries are counted exactly in any case.
    pub valid: bool,
    /// Why not.
    pub invalid_because: Vec<String>,
    /// What the run waited for in vain; empty for a run that went to its end.
    pub incomplete_because: Vec<String>,
    /// What became of the clients.
    pub clients: Clients,
    /// How often each of them was to come in.
    pub rounds: u32,
    /// Messages that were sent and counted.
    pub sent: u64,
    /// Who hung up and came again.
    pub reconnects: Reconnected,
    /// The clients' user lists.
    pub lists: ListReport,
    /// What clients missed because they were too slow, and were told.
    pub gaps: Gaps,
    /// Who came to channels and left them while others talked.
    pub churn: Churned,
    /// Who moved while others talked.
    pub moves: Moved,
    /// Who did not read as it should.
    pub impaired: ImpairedClients,
    /// What bots said; null for the other scenarios.
    pub bots: Option<BotsReport>,
    /// Whether all recipients were served alike; null if nobody received anything.
    pub fairness: Option<Fairness>,
    /// What became of all (message, recipient) pairs.
    pub deliveries: Deliveries,
    /// From the intended send time to arrival, of every delivery.
    pub latency_us: LatencyUs,
    /// From the actual send time to arrival.
    pub latency_uncorrected_us: LatencyUs,
    /// Where the time of one delivery in 16, chosen at random, went; from the actual send time.
    pub breakdown_us: BreakdownUs,
    /// How the server's clock stood to the run's, which the first and the last part of the breakdown rest on; null if it is not known.
    pub server_clock: Option<ServerClockUs>,
    /// From the intended send time to the first recipient of each message.
    pub first_recipient_us: LatencyUs,
    /// From the intended send time to the last recipient of each message.
    pub last_recipient_us: LatencyUs,
    /// From the first recipient to the last.
    pub recipient_skew_us: LatencyUs,
    /// From the intended send time to the actual one.
    pub sender_delay_us: LatencyUs,
    /// How long something that arrived here could wait until the harness had read it, looked at
    /// at random times of the measured part.
    pub read_lag_us: LatencyUs,
    /// Parts of connecting and logging in.
    pub phases_us: BTreeMap<String, LatencyUs>,
    /// Rates.
    pub rates: Rates,
    /// The server's process; null if it is unknown or elsewhere.
    pub server: Option<Usage>,
    /// The server's CPU microseconds for each delivery.
    pub server_cpu_us_per_delivery: Option<f64>,
    /// The harness's processes, all together; `pid` is the one that was started.
    pub harness: Option<Usage>,
    /// Their memory, and what of it each client takes.
    pub harness_memory: HarnessMemory,
    /// Their CPU time as a share of what the event-loop threads could have used.
    pub harness_load: f64,
    /// One row a second.
    pub timeline: Vec<Second>,
    /// Changes of the rate by somebody at the keyboard; with any, the run was not what its command line says.
    pub rate_changes: Vec<RateChange>,
    /// How long the measured part took, in seconds.
    pub measured_s: f64,
    /// The command line, without passwords.
    pub command: Vec<String>,
    /// The file whose flags are in the command line; null without one.
    pub scenario_file: Option<String>,
    /// What decided the traffic.
    pub seed: u64,
    /// The harness's version.
    pub version: &'static str,
    /// When the run began, in seconds since 1970.
    pub started_unix_s: u64,
    /// Where it ran.
    pub machine: Machine,
    /// Of a run of several steps: `steps`, `limit` and `forecast`. Everything else is that of one of them.
    #[serde(flatten)]
    pub stepped: Option<Box<Stepped>>,
    #[serde(skip)]
    require_valid: bool,
}

/// Why a report could not be written.
#[derive(Debug, Error)]
#[error("cannot write the report to {}: {source}", path.display())]
pub struct ReportError {
    path: PathBuf,
    source: io::Error,
}

impl ReportError {
    pub(crate) fn new(path: &Path, source: io::Error) -> Self {
        Self { path: path.into(), source }
    }
}

impl Report {
    /// Judges what `job` found.
    pub fn new(job: &Job, origin: Origin, findings: Findings) -> Self {
        let harness_load = verdict::harness_load(&findings, origin.machine.cores);
        let invalid_because = verdict::doubts(&findings, harness_load);
        let received = findings.recorder.corrected.count();
        let per_delivery = |usage: &Usage| (received > 0).then(|| usage.cpu_s * 1e6 / received as f64);
        let measured_s = findings.measured.as_secs_f64();
        let deliveries_per_s = if measured_s > 0.0 { received as f64 / measured_s } else { 0.0 };
        let phases = findings.phases.iter();
        let mut report = Self {
            format: FORMAT,
            scenario: job.scenario.name().into(),
            valid: invalid_because.is_empty(),
            invalid_because,
            incomplete_because: findings.incomplete_because,
            clients: findings.clients,
            rounds: job.scenario.rounds(),
            sent: findings.sent,
            gaps: findings.deliveries.as_ref().map_or_else(Gaps::default, |deliveries| deliveries.gaps),
            reconnects: findings.reconnects,
            lists: findings.lists,
            churn: findings.churn,
            moves: findings.moves,
            impaired: findings.impaired,
            bots: findings.bots,
            fairness: findings.fairness,
            deliveries: findings.deliveries.unwrap_or_default(),
            latency_us: findings.recorder.corrected.summary(),
            latency_uncorrected_us: findings.recorder.uncorrected.summary(),
            breakdown_us: findings.breakdown.summary(),
            server_clock: findings.server_clock,
            first_recipient_us: findings.spread.first.summary(),
            last_recipient_us: findings.spread.last.summary(),
            recipient_skew_us: findings.spread.skew.summary(),
            sender_delay_us: findings.recorder.sender_delay.summary(),
            read_lag_us: findings.read_lag.summary(),
            phases_us: phases.map(|(name, latencies)| ((*name).to_owned(), latencies.summary())).collect(),
            rates: Rates { deliveries_per_s, ..findings.rates },
            server_cpu_us_per_delivery: findings.server.as_ref().and_then(per_delivery),
            server: findings.server,
            harness: findings.harness,
            harness_memory: findings.harness_memory,
            harness_load,
            timeline: findings.timeline,
            rate_changes: findings.rate_changes,
            measured_s,
            command: origin.command,
            seed: job.seed,
            version: env!("CARGO_PKG_VERSION"),
            started_unix_s: origin
                .started
                .duration_since(SystemTime::UNIX_EPOCH)
                .map_or(0, |since| since.as_secs()),
            machine: origin.machine,
            require_valid: job.require_valid,
            ..Self::default()
        };
        report.thresholds = job.thresholds.iter().filter_map(|threshold| threshold.check(&report)).collect();
        report.verdict = verdict::judge(&report, findings.interrupted);
        report
    }

    /// How often somebody was to come in, over all clients and rounds.
    pub fn entries_requested(&self) -> u64 {
        self.clients.requested * u64::from(self.rounds)
    }

    /// The process's exit code.
    pub fn exit_code(&self) -> u8 {
        self.verdict.exit_code()
    }

    /// Writes the report as JSON.
    pub fn write_json(&self, path: &Path) -> Result<(), ReportError> {
        let failed = |source| ReportError { path: path.into(), source };
        let mut json = serde_json::to_string_pretty(self).map_err(|error| failed(error.into()))?;
        json.push('\n');
        fs::write(path, json).map_err(failed)
    }

    /// Writes the report as one page of HTML, see [`Report::to_html`].
    pub fn write_html(&self, path: &Path) -> Result<(), ReportError> {
        fs::write(path, self.to_html()).map_err(|source| ReportError { path: path.into(), source })
    }
}

/// Makes sure, before a run that may take hours, that its report can be written.
pub fn check_writable(path: &Path) -> Result<(), ReportError> {
    let opened = fs::OpenOptions::new().append(true).create(true).open(path);
    opened.map(drop).map_err(|source| ReportError { path: path.into(), source })
}

#[cfg(test)]
mod tests;
