//! Reports of runs as JSON, as a page and as text, and their verdicts.

mod check;
pub mod compare;
mod document;
mod file;
#[cfg(any(test, feature = "testing"))]
pub mod fixture;
pub mod form;
mod hgrm;
mod histograms;
pub mod html;
mod machine;
mod sections;
mod summary;
mod verdict;

use std::collections::BTreeMap;
use std::fmt;
use std::time::SystemTime;

use serde::{Deserialize, Serialize};
use throng_harness_model::breakdown::{BreakdownUs, ServerClockUs};
use throng_harness_model::procstat::Usage;
use throng_harness_model::record::{Latencies, LatencyUs};
use throng_harness_model::results::{
    BotsReport, Churned, Clients, Deliveries, Fairness, Findings, Gaps, HarnessMemory, ImpairedClients,
    ListReport, Moved, RateChange, Rates, Reconnected, Resumed, Second,
};
use throng_harness_model::scheduling::Scheduling;
use throng_harness_model::spec::Job;

pub use check::Checked;
pub use document::{Document, Text, file_name, json_text};
pub use file::{ReadError, ReportError, ReportFile, check_directory, check_writable, read_text, write_hgrm};
pub use form::Form;
pub use histograms::merged;
pub use machine::Machine;
pub use verdict::{LOAD_MAX, Verdict, doubts, harness_load};

/// Version of the report's format; a reader must reject versions it does not know.
const FORMAT: u32 = 1;

/// The origin of a report.
#[derive(Debug, Clone)]
pub struct Origin {
    /// The command line, including the program and without passwords.
    pub command: Vec<String>,
    /// The time at which the run started.
    pub started: SystemTime,
    /// The machine that the harness ran on.
    pub machine: Machine,
}

/// The report as written by `--json`. Times are in microseconds where the name says `us`.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "testing", derive(schemars::JsonSchema))]
#[serde(default)]
pub struct Report {
    /// Version of this format: 1.
    pub format: u32,
    /// The scenario's name.
    pub scenario: String,
    /// `pass` if all thresholds held.
    pub verdict: Verdict,
    /// The thresholds and their outcomes.
    pub thresholds: Vec<Checked>,
    /// True if the latencies are evidence about the server, and not about an overloaded harness.
    /// Deliveries are counted exactly in any case.
    pub valid: bool,
    /// The reasons why the run is not valid.
    pub invalid_because: Vec<String>,
    /// The conditions that were not met in time; empty for a run that was completed.
    pub incomplete_because: Vec<String>,
    /// Outcome of the clients.
    pub clients: Clients,
    /// The number of times that each client was to enter.
    #[serde(default = "one_round")]
    pub rounds: u32,
    /// Counted messages that were sent.
    pub sent: u64,
    /// Clients that disconnected and entered again.
    pub reconnects: Reconnected,
    /// Clients whose connections were cut, and that resumed over new ones.
    pub resume: Resumed,
    /// User lists of the clients.
    pub lists: ListReport,
    /// Messages that slow clients missed and that the server announced to them.
    pub gaps: Gaps,
    /// Clients that joined and left channels while others sent.
    pub churn: Churned,
    /// Clients that moved while others sent.
    pub moves: Moved,
    /// Clients that did not read as fast as they could.
    pub impaired: ImpairedClients,
    /// Conversation of bots; null for other scenarios.
    pub bots: Option<BotsReport>,
    /// Differences in latency between recipients; null if there were no deliveries.
    pub fairness: Option<Fairness>,
    /// Outcome of all (message, recipient) pairs.
    pub deliveries: Deliveries,
    /// From the intended send time to arrival, for every delivery.
    pub latency_us: LatencyUs,
    /// From the actual send time to arrival.
    pub latency_uncorrected_us: LatencyUs,
    /// Parts of the latency, from the actual send time, of one delivery in 16, chosen at random.
    pub breakdown_us: BreakdownUs,
    /// The offset of the server's clock, on which the first and the last part of the breakdown
    /// depend; null if it is unknown.
    pub server_clock: Option<ServerClockUs>,
    /// From the intended send time to the first recipient of each message.
    pub first_recipient_us: LatencyUs,
    /// From the intended send time to the last recipient of each message.
    pub last_recipient_us: LatencyUs,
    /// From the first recipient of a message to the last.
    pub recipient_skew_us: LatencyUs,
    /// From the intended send time to the actual one.
    pub sender_delay_us: LatencyUs,
    /// The longest time that arrived data could wait for the harness to read it, sampled at random
    /// moments of the measured part.
    pub read_lag_us: LatencyUs,
    /// Phases of connecting and logging in.
    pub phases_us: BTreeMap<String, LatencyUs>,
    /// The distributions behind the figures. Each has the name of its figures without `_us`; parts
    /// are prefixed with `breakdown.`, `phases.` or `resume.`. Empty distributions are left out.
    pub histograms: BTreeMap<String, Latencies>,
    /// Rates.
    pub rates: Rates,
    /// The server's process; null if it is unknown or on another machine.
    pub server: Option<Usage>,
    /// CPU microseconds of the server's process for each delivery.
    pub server_cpu_us_per_delivery: Option<f64>,
    /// The harness's processes, added up; `pid` is the one that was started.
    pub harness: Option<Usage>,
    /// CPU time that others had in the measured part, and that the run's threads waited for; null
    /// if the kernel does not tell.
    pub scheduling: Option<Scheduling>,
    /// Memory of the harness's processes, and the share of each client.
    pub harness_memory: HarnessMemory,
    /// CPU time of the harness's processes, as a share of what the event-loop threads could have
    /// used.
    pub harness_load: f64,
    /// The timeline, a row a second.
    pub timeline: Vec<Second>,
    /// Changes of the rate at the keyboard; with any, the run differs from its command line.
    pub rate_changes: Vec<RateChange>,
    /// The beginning of the measured part on the timeline, in seconds.
    pub measured_from_s: f64,
    /// The length of the measured part in seconds.
    pub measured_s: f64,
    /// The command line, without passwords.
    pub command: Vec<String>,
    /// The scenario file whose flags are part of the command line; null without one.
    pub scenario_file: Option<String>,
    /// Seed of the traffic.
    pub seed: u64,
    /// Fingerprint of the planned traffic: senders, recipients and times of the messages, and the
    /// joins, leaves and moves meanwhile. Equal for runs with equal traffic. Null for scenarios
    /// without messages.
    pub traffic: Option<String>,
    /// Fingerprint of the traffic that was sent; equal to `traffic` if exactly the planned messages
    /// were sent. Null for scenarios without messages.
    pub traffic_sent: Option<String>,
    /// Version of the harness.
    pub version: String,
    /// The start of the run, in seconds since 1970.
    pub started_unix_s: u64,
    /// The machine that the harness ran on.
    pub machine: Machine,
    /// True if a run that is not valid was to fail.
    pub require_valid: bool,
}

fn one_round() -> u32 {
    1
}

impl Report {
    /// Judges the findings of `job`.
    pub fn new(job: &Job, origin: Origin, findings: Findings) -> Self {
        let interrupted = findings.interrupted;
        let started = origin.started.duration_since(SystemTime::UNIX_EPOCH);
        let mut report = Self {
            format: FORMAT,
            scenario: job.scenario.name().into(),
            rounds: job.scenario.rounds(),
            seed: job.seed,
            require_valid: job.require_valid,
            command: origin.command,
            version: env!("CARGO_PKG_VERSION").into(),
            started_unix_s: started.map_or(0, |since| since.as_secs()),
            ..Self::found(findings, &origin.machine)
        };
        report.machine = origin.machine;
        report.thresholds =
            job.thresholds.iter().filter_map(|threshold| Checked::new(threshold, &report)).collect();
        report.verdict = verdict::judge(&report, interrupted);
        report
    }

    /// The figures of `findings`, and their doubts about the harness on its `machine`.
    fn found(findings: Findings, machine: &Machine) -> Self {
        let harness_load = verdict::harness_load(&findings, machine.cores);
        let invalid_because = verdict::doubts(&findings, harness_load);
        let received = findings.recorder.corrected.count();
        let per_delivery = |usage: &Usage| (received > 0).then(|| usage.cpu_s * 1e6 / received as f64);
        let measured_s = findings.measured.as_secs_f64();
        let deliveries_per_s = if measured_s > 0.0 { received as f64 / measured_s } else { 0.0 };
        let phases = findings.phases.iter();
        Self {
            valid: invalid_because.is_empty(),
            invalid_because,
            incomplete_because: findings.incomplete_because,
            clients: findings.clients,
            sent: findings.sent,
            gaps: findings.deliveries.as_ref().map_or_else(Gaps::default, |deliveries| deliveries.gaps),
            reconnects: findings.reconnects,
            resume: findings.resume.summary(),
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
            phases_us: phases.map(|(name, latencies)| (name.to_string(), latencies.summary())).collect(),
            histograms: histograms::all(
                findings.recorder,
                findings.spread,
                findings.read_lag,
                findings.breakdown,
                findings.phases,
                findings.resume.back,
            ),
            rates: Rates { deliveries_per_s, ..findings.rates },
            server_cpu_us_per_delivery: findings.server.as_ref().and_then(per_delivery),
            server: findings.server,
            harness: findings.harness,
            scheduling: findings.scheduling,
            harness_memory: findings.harness_memory,
            harness_load,
            timeline: findings.timeline,
            rate_changes: findings.rate_changes,
            measured_from_s: findings.measured_from as f64 / 1e9,
            measured_s,
            traffic: findings.traffic,
            traffic_sent: findings.traffic_sent,
            ..Self::default()
        }
    }

    /// The number of entries requested, over all clients and rounds.
    pub fn entries_requested(&self) -> u64 {
        self.clients.requested * u64::from(self.rounds)
    }

    /// The process's exit code.
    pub fn exit_code(&self) -> u8 {
        self.verdict.exit_code()
    }
}

impl Document for Report {
    fn write_text(&self, f: &mut fmt::Formatter<'_>, form: Form) -> fmt::Result {
        self.write_with(f, form, |_| Ok(()), &[], &self.outcome_text())
    }

    fn to_json(&self) -> serde_json::Result<String> {
        json_text(self)
    }

    fn to_html(&self, file: &str) -> String {
        Self::to_html(self, file)
    }

    fn exit_code(&self) -> u8 {
        Self::exit_code(self)
    }
}

#[cfg(test)]
mod tests;
