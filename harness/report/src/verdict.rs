//! Whether a run was good enough, and whether it shows anything at all.

use serde::{Deserialize, Serialize};
use throng_harness_model::exit::{EXIT_BROKEN, EXIT_INTERRUPTED, EXIT_OK};
use throng_harness_model::record::LatencyUs;
use throng_harness_model::results::Findings;
use throng_harness_model::text::format_nanos;

use super::Report;

/// Share of its threads' CPU time above which the harness measures itself.
pub const LOAD_MAX: f64 = 0.9;
/// Share of the offered messages that must have been sent.
const ACHIEVED_MIN: f64 = 0.99;
/// Share of the latency that the sender's delay, or the reader's lag, may be at the same percentile.
const DELAY_SHARE_MAX: f64 = 0.5;
/// A delay of the sender or the reader, in microseconds, that is never held against it.
const DELAY_FREE_US: f64 = 1_000.0;
/// Delays of the sender or the reader that must lie above the percentile by which they are judged. With fewer a single late
/// wake-up would decide, and every machine has one now and then.
const DELAYS_ABOVE_MIN: u64 = 10;

/// How a run ended.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "testing", derive(schemars::JsonSchema))]
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
pub fn harness_load(findings: &Findings, cores: usize) -> f64 {
    let threads = f64::from(findings.workers).min(cores as f64).max(1.0);
    let capacity = findings.measured.as_secs_f64() * threads;
    match findings.harness {
        Some(usage) if capacity > 0.0 => usage.cpu_s / capacity,
        _ => 0.0,
    }
}

/// Why the latencies may say more about the harness than about the server.
pub fn doubts(findings: &Findings, load: f64) -> Vec<String> {
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
    let latency = findings.recorder.corrected.summary();
    let own = [("sent late", &findings.recorder.sender_delay), ("read late", &findings.read_lag)];
    for (what, delays) in own {
        if let Some(late) = Late::of(&delays.summary(), &latency) {
            let Late { percentile, delay_us, latency_us } = late;
            doubts.push(format!(
                "the harness itself {what}: {percentile} {} of a latency {percentile} of {}",
                format_nanos(delay_us * 1e3),
                format_nanos(latency_us * 1e3)
            ));
        }
    }
    doubts
}

/// A delay of the sender or the reader that is long beside the latency.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Late {
    /// By which percentile: the highest that has [`DELAYS_ABOVE_MIN`] delays above it, or else the median.
    percentile: &'static str,
    /// The delay there, in microseconds.
    delay_us: f64,
    /// The latency there, in microseconds.
    latency_us: f64,
}

impl Late {
    /// None if `delay` is short, or short beside `latency`.
    pub(super) fn of(delay: &LatencyUs, latency: &LatencyUs) -> Option<Self> {
        let (percentile, delay_us, latency_us) = if delay.count >= 100 * DELAYS_ABOVE_MIN {
            ("p99", delay.p99, latency.p99)
        } else if delay.count >= 10 * DELAYS_ABOVE_MIN {
            ("p90", delay.p90, latency.p90)
        } else {
            ("p50", delay.p50, latency.p50)
        };
        let is_late = delay_us > DELAY_FREE_US && delay_us > DELAY_SHARE_MAX * latency_us;
        is_late.then_some(Self { percentile, delay_us, latency_us })
    }
}

impl Report {
    /// Whether the harness had no time left.
    pub fn harness_was_busy(&self) -> bool {
        self.harness_load > LOAD_MAX
    }

    /// Whether the harness had no time left, or did something so late that it shows in the latencies.
    pub fn harness_at_its_limit(&self) -> bool {
        let late = [&self.sender_delay_us, &self.read_lag_us];
        self.harness_was_busy() || late.iter().any(|own| Late::of(own, &self.latency_us).is_some())
    }
}

#[cfg(test)]
mod tests {

    use throng_harness_model::record::Latencies;

    use super::*;

    /// Delays of `count` turns, of which `late` took 5 ms, beside a latency of 2 ms.
    #[track_caller]
    fn check(count: u64, late: u64, percentile: Option<&str>) {
        let (mut delays, mut latency) = (Latencies::new(), Latencies::new());
        (0..count).for_each(|at| delays.record(if at < late { 5_000_000 } else { 20_000 }));
        latency.record(2_000_000);
        let found = Late::of(&delays.summary(), &latency.summary());
        assert_eq!(found.map(|late| late.percentile), percentile, "{late} of {count}");
    }

    #[test]
    fn a_single_late_wake_up_decides_nothing_and_many_do() {
        check(100, 1, None);
        check(100, 9, None);
        check(100, 11, Some("p90"));
        check(999, 99, None);
        check(999, 101, Some("p90"));
        check(1_000, 10, None);
        check(1_000, 11, Some("p99"));
        check(1_000_000, 9_000, None);
        check(1_000_000, 11_000, Some("p99"));
        // Of a few the half.
        check(99, 49, None);
        check(99, 50, Some("p50"));
        check(1, 1, Some("p50"));
        check(0, 0, None);
    }

    #[test]
    fn a_delay_is_long_beside_the_latency_only() {
        let times = |p99: f64| LatencyUs { count: 1_000, p99, ..LatencyUs::default() };
        for (delay, latency, is_late) in [
            (1_001.0, 2_001.0, true),
            (1_001.0, 2_003.0, false),
            // Below a millisecond it is never held against the harness.
            (1_000.0, 10.0, false),
            (1_001.0, 10.0, true),
        ] {
            assert_eq!(Late::of(&times(delay), &times(latency)).is_some(), is_late, "{delay} of {latency}");
        }
    }
}
