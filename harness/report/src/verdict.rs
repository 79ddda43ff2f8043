//! The verdict on a run, and doubts about its validity.

use serde::{Deserialize, Serialize};
use throng_harness_model::exit::{EXIT_BROKEN, EXIT_INTERRUPTED, EXIT_INVALID, EXIT_OK};
use throng_harness_model::record::LatencyUs;
use throng_harness_model::results::{BotsReport, Findings, Rates};
use throng_harness_model::scheduling::Scheduling;
use throng_harness_model::text::format_nanos;

use super::{Checked, Report};

/// The share of its threads' CPU time above which the harness measures itself.
pub const LOAD_MAX: f64 = 0.9;
/// The least share of the offered messages that must be sent.
const ACHIEVED_MIN: f64 = 0.99;
/// The largest share of the latency that the sender's or the reader's delay may have at a
/// percentile.
const DELAY_SHARE_MAX: f64 = 0.5;
/// A delay of the sender or the reader, in microseconds, that is always tolerated.
const DELAY_FREE_US: f64 = 1_000.0;
/// The least number of delays above the percentile that is judged. With fewer a single late wake-up
/// would decide, and every machine has one now and then.
const DELAYS_ABOVE_MIN: u64 = 10;

/// The largest share of the time that others may withhold a core from a thread of the run. A thread
/// that is kept waiting for longer works off a queue that the machine made, and its latencies grow
/// without a bound.
const WITHHELD_MAX: f64 = 0.05;
/// The largest share of the mean latency that may be time withheld from the threads that a message
/// passes.
const WITHHELD_SHARE_MAX: f64 = 0.25;

/// The outcome of a run.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "testing", derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// All thresholds held.
    Pass,
    /// A threshold was broken.
    #[default]
    Fail,
    /// The harness or the machine was not good enough to judge the server. All counts held, but the
    /// run is not valid, and a threshold of a time or `--require-valid` asks for latencies that
    /// are.
    Invalid,
    /// The user stopped it.
    Interrupted,
}

impl Verdict {
    /// The process's exit code.
    pub fn exit_code(self) -> u8 {
        match self {
            Self::Pass => EXIT_OK,
            Self::Fail => EXIT_BROKEN,
            Self::Invalid => EXIT_INVALID,
            Self::Interrupted => EXIT_INTERRUPTED,
        }
    }
}

/// The verdict on a report. Counts are exact in any run, and times only in a valid one.
pub(super) fn judge(report: &Report, interrupted: bool) -> Verdict {
    let broken = || report.thresholds.iter().filter(|checked| !checked.held);
    let asks_for_times = report.require_valid || report.thresholds.iter().any(Checked::is_about_time);
    if interrupted {
        Verdict::Interrupted
    } else if broken().any(|checked| !checked.is_about_time()) || !report.incomplete_because.is_empty() {
        Verdict::Fail
    } else if asks_for_times && !report.valid {
        Verdict::Invalid
    } else if broken().next().is_some() {
        Verdict::Fail
    } else {
        Verdict::Pass
    }
}

/// The CPU time of the harness as a share of what its event-loop threads could have used on `cores`
/// cores; 0 if it is unknown.
pub fn harness_load(findings: &Findings, cores: usize) -> f64 {
    let threads = f64::from(findings.workers).min(cores as f64).max(1.0);
    let capacity = findings.measured.as_secs_f64() * threads;
    match findings.harness {
        Some(usage) if capacity > 0.0 => usage.cpu_s / capacity,
        _ => 0.0,
    }
}

/// The reasons why the latencies may say more about the harness than about the server.
pub fn doubts(findings: &Findings, load: f64) -> Vec<String> {
    let mut doubts = Vec::new();
    if load > LOAD_MAX {
        doubts.push(format!(
            "the harness used {:.0}% of the CPU time available to its {} event-loop thread(s): use more --workers or cores, or less load",
            load * 100.0,
            findings.workers
        ));
    }
    let Some(deliveries) = &findings.deliveries else { return doubts };
    if deliveries.expected == 0 {
        doubts.push("no delivery was expected, so the run shows nothing".into());
    }
    let rates = &findings.rates;
    if is_short(rates) && !findings.interrupted {
        doubts.push(format!(
            "only {:.1} of {:.1} messages a second were sent: senders were not connected, or the harness was too slow",
            rates.achieved_per_s, rates.offered_per_s
        ));
    }
    if let Some(bots) = findings.bots.as_ref().filter(|bots| bots.are_lightened()) {
        doubts.push(format!(
            "{} answers of bots were not sent, because the message to answer had not arrived in time: the load was lighter than planned",
            bots.reactions.unprovoked
        ));
    }
    let latency = findings.recorder.corrected.summary();
    doubts.extend(findings.scheduling.as_ref().and_then(|found| withheld(found, latency.mean)));
    let own_delays = [("sent late", &findings.recorder.sender_delay), ("read late", &findings.read_lag)];
    for (event, delays) in own_delays {
        if let Some(late) = Late::of(&delays.summary(), &latency) {
            let Late { percentile, delay_us, latency_us } = late;
            doubts.push(format!(
                "the harness itself {event}: {percentile} {} of a latency {percentile} of {}",
                format_nanos(delay_us * 1e3),
                format_nanos(latency_us * 1e3)
            ));
        }
    }
    doubts
}

/// True if notably fewer messages were sent than offered.
fn is_short(rates: &Rates) -> bool {
    rates.achieved_per_s < ACHIEVED_MIN * rates.offered_per_s
}

/// The reason why the latencies, `mean_us` on average, may say more about the machine than about
/// the server.
fn withheld(found: &Scheduling, mean_us: f64) -> Option<String> {
    let Scheduling { harness, server, .. } = found;
    // A message waits for the thread that sends it, for the server's, and for the one that reads
    // it.
    let on_the_way = 2.0 * harness.withheld_us_per_turn
        + server.as_ref().map_or(0.0, |server| server.withheld_us_per_turn);
    let of_server = server.iter().map(|waited| ("server", waited));
    let (whose, most) = [("harness", harness)]
        .into_iter()
        .chain(of_server)
        .max_by(|(_, left), (_, right)| left.withheld.total_cmp(&right.withheld))?;
    if most.withheld <= WITHHELD_MAX && on_the_way <= WITHHELD_SHARE_MAX * mean_us {
        return None;
    }
    Some(format!(
        "the machine withheld a core from the {whose}'s thread {} for {:.0}% of the time, and {} from a \
         message on its way, of a mean latency of {}: other processes used {:.0}% of a core, other \
         machines {:.0}%; end them, or pin the run to cores that they do not use",
        most.thread,
        most.withheld * 100.0,
        format_nanos(on_the_way * 1e3),
        format_nanos(mean_us * 1e3),
        found.others_cpu * 100.0,
        found.steal * 100.0,
    ))
}

/// A delay of the sender or the reader that is long compared with the latency.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Late {
    /// The percentile that is judged: the highest with [`DELAYS_ABOVE_MIN`] delays above it, or
    /// else the median.
    percentile: &'static str,
    /// The delay at this percentile, in microseconds.
    delay_us: f64,
    /// The latency at this percentile, in microseconds.
    latency_us: f64,
}

impl Late {
    /// Returns none if `delay` is short, or short compared with `latency`.
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
    /// True if the harness used nearly all of its CPU time.
    pub fn harness_was_busy(&self) -> bool {
        self.harness_load > LOAD_MAX
    }

    /// True if others withheld so much CPU time that the latencies show it.
    pub fn was_starved(&self) -> bool {
        self.scheduling.as_ref().is_some_and(|found| withheld(found, self.latency_us.mean).is_some())
    }

    /// True if less was sent or expected than planned, so that the server carried a lighter load.
    pub fn was_lighter(&self) -> bool {
        is_short(&self.rates)
            || self.deliveries.expected == 0
            || self.bots.as_ref().is_some_and(BotsReport::are_lightened)
    }

    /// True if the harness used nearly all of its CPU time, or was so late that the latencies show
    /// it.
    pub fn harness_at_its_limit(&self) -> bool {
        let delays = [&self.sender_delay_us, &self.read_lag_us];
        self.harness_was_busy() || delays.iter().any(|delay| Late::of(delay, &self.latency_us).is_some())
    }
}

#[cfg(test)]
mod tests {

    use throng_harness_model::record::Latencies;
    use throng_harness_model::scheduling::Waited;

    use super::*;

    /// Checks `count` delays, `late` of which are 5 ms, against a latency of 2 ms.
    #[track_caller]
    fn check(count: u64, late: u64, percentile: Option<&str>) {
        let (mut delays, mut latency) = (Latencies::new(), Latencies::new());
        (0..count).for_each(|at| delays.record(if at < late { 5_000_000 } else { 20_000 }));
        latency.record(2_000_000);
        let found = Late::of(&delays.summary(), &latency.summary());
        assert_eq!(found.map(|late| late.percentile), percentile, "{late} of {count}");
    }

    #[test]
    fn a_few_late_wake_ups_are_tolerated_and_many_are_not() {
        check(100, 1, None);
        check(100, 9, None);
        check(100, 11, Some("p90"));
        check(999, 99, None);
        check(999, 101, Some("p90"));
        check(1_000, 10, None);
        check(1_000, 11, Some("p99"));
        check(1_000_000, 9_000, None);
        check(1_000_000, 11_000, Some("p99"));
        // A few delays are judged by the median.
        check(99, 49, None);
        check(99, 50, Some("p50"));
        check(1, 1, Some("p50"));
        check(0, 0, None);
    }

    #[test]
    fn a_starved_run_is_no_evidence() {
        let waited = |withheld: f64, withheld_us_per_turn: f64| Waited {
            thread: "worker-0".into(),
            on_core: 0.16,
            waiting: 0.5,
            withheld,
            withheld_us_per_turn,
        };
        for (harness, server, mean_us, doubt) in [
            // Both starve, and the delays of sender and reader are short beside the latency.
            (
                waited(0.5, 3_000.0),
                Some(waited(0.4, 2_000.0)),
                1.7e6,
                Some("harness's thread worker-0 for 50%"),
            ),
            (waited(0.0, 0.0), Some(waited(0.4, 2_000.0)), 1.7e6, Some("server's thread worker-0 for 40%")),
            // Few and long waits: a twentieth of the time, and a quarter of the latency.
            (waited(0.05, 20.0), None, 160.0, None),
            (waited(0.05, 20.0), None, 159.0, Some("40 us from a message")),
            (waited(0.051, 20.0), None, 160.0, Some("5%")),
            (waited(0.01, 5.0), Some(waited(0.01, 5.0)), 300.0, None),
        ] {
            let found = withheld(&Scheduling { harness, server, ..Scheduling::default() }, mean_us);
            let text = found.as_deref().unwrap_or_default();
            assert_eq!(found.is_some(), doubt.is_some(), "{text}");
            assert!(text.contains(doubt.unwrap_or_default()), "{text}");
        }
    }

    #[test]
    fn a_delay_is_judged_relative_to_the_latency() {
        let times = |p99: f64| LatencyUs { count: 1_000, p99, ..LatencyUs::default() };
        for (delay, latency, is_late) in [
            (1_001.0, 2_001.0, true),
            (1_001.0, 2_003.0, false),
            // Delays up to a millisecond are tolerated.
            (1_000.0, 10.0, false),
            (1_001.0, 10.0, true),
        ] {
            assert_eq!(Late::of(&times(delay), &times(latency)).is_some(), is_late, "{delay} of {latency}");
        }
    }
}
