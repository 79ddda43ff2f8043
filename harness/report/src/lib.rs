//! What a run found, as JSON, as a page and for people, and whether that was good enough.

mod check;
pub mod compare;
mod document;
mod file;
#[cfg(any(test, feature = "testing"))]
pub mod fixture;
mod hgrm;
mod histograms;
pub mod html;
mod machine;
mod sections;
mod summary;
mod verdict;

use std::collections::BTreeMap;
use std::time::SystemTime;

use serde::{Deserialize, Serialize};
use throng_harness_model::breakdown::{BreakdownUs, ServerClockUs};
use throng_harness_model::procstat::Usage;
use throng_harness_model::record::{Latencies, LatencyUs};
use throng_harness_model::results::{
    BotsReport, Churned, Clients, Deliveries, Fairness, Findings, Gaps, HarnessMemory, ImpairedClients,
    ListReport, Moved, RateChange, Rates, Reconnected, Second,
};
use throng_harness_model::spec::Job;

pub use check::Checked;
pub use document::{Document, json_text};
pub use file::{ReadError, ReportError, ReportFile, check_directory, check_writable, write_hgrm};
pub use histograms::merged;
pub use machine::Machine;
pub use verdict::{LOAD_MAX, Verdict, doubts, harness_load};

/// The version of the report's form; a reader that knows another one should say so.
const FORMAT: u32 = 1;

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
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "testing", derive(schemars::JsonSchema))]
#[serde(default)]
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
    #[serde(default = "once")]
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
    /// The whole distributions behind the figures, by the names of these without `_us`, and with `breakdown.` or `phases.` before
    /// their parts. What was not measured is left out.
    pub histograms: BTreeMap<String, Latencies>,
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
    /// When the measured part began, on the timeline.
    pub measured_from_s: f64,
    /// How long the measured part took, in seconds.
    pub measured_s: f64,
    /// The command line, without passwords.
    pub command: Vec<String>,
    /// The file whose flags are in the command line; null without one.
    pub scenario_file: Option<String>,
    /// What decided the traffic.
    pub seed: u64,
    /// Stands for who was to send what to whom and when, and who was to come, go and move meanwhile: the same for runs with the same
    /// traffic. Null for scenarios that send nothing.
    pub traffic: Option<String>,
    /// Stands in the same way for what was sent: the same as `traffic` if all was sent that was to be, and nothing else. Null for
    /// scenarios that send nothing.
    pub traffic_sent: Option<String>,
    /// The harness's version.
    pub version: String,
    /// When the run began, in seconds since 1970.
    pub started_unix_s: u64,
    /// Where it ran.
    pub machine: Machine,
    /// Whether a run that is not valid was to fail.
    pub require_valid: bool,
}

fn once() -> u32 {
    1
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
        let phases_us = phases.map(|(name, latencies)| (name.to_string(), latencies.summary())).collect();
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
            phases_us,
            histograms: histograms::all(
                findings.recorder,
                findings.spread,
                findings.read_lag,
                findings.breakdown,
                findings.phases,
            ),
            rates: Rates { deliveries_per_s, ..findings.rates },
            server_cpu_us_per_delivery: findings.server.as_ref().and_then(per_delivery),
            server: findings.server,
            harness: findings.harness,
            harness_memory: findings.harness_memory,
            harness_load,
            timeline: findings.timeline,
            rate_changes: findings.rate_changes,
            measured_from_s: findings.measured_from as f64 / 1e9,
            measured_s,
            command: origin.command,
            seed: job.seed,
            traffic: findings.traffic,
            traffic_sent: findings.traffic_sent,
            version: env!("CARGO_PKG_VERSION").into(),
            started_unix_s: origin
                .started
                .duration_since(SystemTime::UNIX_EPOCH)
                .map_or(0, |since| since.as_secs()),
            machine: origin.machine,
            require_valid: job.require_valid,
            ..Self::default()
        };
        report.thresholds =
            job.thresholds.iter().filter_map(|threshold| Checked::new(threshold, &report)).collect();
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
}

impl Document for Report {
    fn to_json(&self) -> serde_json::Result<String> {
        json_text(self)
    }

    fn to_html(&self) -> String {
        Self::to_html(self)
    }

    fn exit_code(&self) -> u8 {
        Self::exit_code(self)
    }
}

#[cfg(test)]
mod tests;
