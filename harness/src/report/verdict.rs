//! Whether a run was good enough, and whether it shows anything at all.

use serde::{Deserialize, Serialize};

use super::{Findings, Report};
use crate::duration::format_nanos;

/// All thresholds held.
pub const EXIT_OK: u8 = 0;
/// The run could not begin.
pub const EXIT_NOT_RUN: u8 = 1;
/// The command line makes no sense.
pub const EXIT_USAGE: u8 = 2;
/// A threshold was broken.
pub const EXIT_BROKEN: u8 = 3;
/// The user stopped the run; its results are written.
pub const EXIT_INTERRUPTED: u8 = 130;

/// Share of its threads' CPU time above which the harness measures itself.
pub(super) const LOAD_MAX: f64 = 0.9;
/// Share of the offered messages that must have been sent.
const ACHIEVED_MIN: f64 = 0.99;
/// Share of the latency's 99th percentile that the sender's delay, or the reader's lag, may be.
const DELAY_SHARE_MAX: f64 = 0.5;
/// A delay of the sender or the reader, in microseconds, that is never held against it.
const DELAY_FREE_US: f64 = 1_000.0;

/// How a run ended.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// All thresholds held.
    Pass,
    /// A threshold was broken.
    #[default]
    Fail,
    /// The user stopped it.
    Interrupted,
}

impl Verdict {
    /// The process's exit code.
    pub fn exit_code(self) -> u8 {
        match self {
            Self::Pass => EXIT_OK,
            Self::Fail => EXIT_BROKEN,
            Self::Interrupted => EXIT_INTERRUPTED,
        }
    }
}

/// The verdict that a report's thresholds lead to.
pub(super) fn judge(report: &Report, interrupted: bool) -> Verdict {
    let held = report.thresholds.iter().all(|checked| checked.held)
        && report.incomplete_because.is_empty()
        && (report.valid || !report.require_valid);
    match (interrupted, held) {
        (true, _) => Verdict::Interrupted,
        (false, true) => Verdict::Pass,
        (false, false) => Verdict::Fail,
    }
}

/// The harness's CPU time as a share of what its event-loop threads could have used on
/// `cores` cores; 0 if it is not known.
pub(crate) fn harness_load(findings: &Findings, cores: usize) -> f64 {
    let threads = f64::from(findings.workers).min(cores as f64).max(1.0);
    let capacity = findings.measured.as_secs_f64() * threads;
    match findings.harness {
        Some(usage) if capacity > 0.0 => usage.cpu_s / capacity,
        _ => 0.0,
    }
}

/// Why the latencies may say more about the harness than about the server.
pub(crate) fn doubts(findings: &Findings, load: f64) -> Vec<String> {
    let mut doubts = Vec::new();
    if load > LOAD_MAX {
        doubts.push(format!(
            "the harness used {:.0}% of the CPU time its {} event-loop thread(s) can have: use more --workers or cores, or less load",
            load * 100.0,
            findings.workers
        ));
    }
    let Some(deliveries) = &findings.deliveries else { return doubts };
    if deliveries.expected == 0 {
        doubts.push("not one delivery was expected, so nothing has been shown".into());
    }
    let rates = &findings.rates;
    if rates.achieved_per_s < ACHIEVED_MIN * rates.offered_per_s && !findings.interrupted {
        doubts.push(format!(
            "only {:.1} of {:.1} messages a second were sent: senders were not connected, or the harness was too slow",
            rates.achieved_per_s, rates.offered_per_s
        ));
    }
    if let Some(bots) = findings.bots.as_ref().filter(|bots| bots.are_lightened()) {
        doubts.push(format!(
            "{} answers of bots were not given, because what they answer had not come in time: the load was lighter than planned",
            bots.reactions.unprovoked
        ));
    }
    let latency = findings.recorder.corrected.summary().p99;
    let own = [("sent late", &findings.recorder.sender_delay), ("read late", &findings.read_lag)];
    for (what, delays) in own {
        let delay = delays.summary().p99;
        if is_late(delay, latency) {
            doubts.push(format!(
                "the harness itself {what}: p99 {} of a latency p99 of {}",
                format_nanos(delay * 1e3),
                format_nanos(latency * 1e3)
            ));
        }
    }
    doubts
}

/// Whether a delay of the sender or the reader is long beside the latency; both are 99th percentiles in microseconds.
pub(super) fn is_late(delay_us: f64, latency_us: f64) -> bool {
    delay_us > DELAY_FREE_US && delay_us > DELAY_SHARE_MAX * latency_us
}
