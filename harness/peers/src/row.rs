//! What one case with one system came to, and the medians of its repetitions.

use serde::{Deserialize, Serialize};
use throng_harness_model::procstat::Usage;
use throng_harness_model::record::LatencyUs;
use throng_harness_model::results::{Deliveries, Findings};
use throng_harness_report::{doubts, harness_load};

use super::case::Case;

/// One case with one system, once.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Row {
    /// The system.
    pub system: String,
    /// The case's letter.
    pub case: char,
    /// Members of the room.
    pub members: u32,
    /// Milliseconds between two messages; null for a closed loop.
    pub interval_ms: Option<f64>,
    /// The repetition, from 1.
    pub repetition: u32,
    /// Members that got in.
    pub connected: u64,
    /// Of these, the ones that the server threw out.
    pub disconnected: u64,
    /// Messages sent.
    pub sent: u64,
    /// Messages a second that were to be sent, and that were.
    pub offered_per_s: f64,
    /// See `offered_per_s`.
    pub achieved_per_s: f64,
    /// Deliveries made in a second, from the first message to the last delivery or the end of the drain.
    pub deliveries_per_s: f64,
    /// What became of all (message, recipient) pairs; those that the server left out, and told of, are missing.
    pub deliveries: Deliveries,
    /// From the intended send time to the arrival, of every delivery.
    pub latency_us: LatencyUs,
    /// From the intended send time to the last recipient of each message; zero for a closed loop.
    pub last_recipient_us: LatencyUs,
    /// From the intended send time to the actual one.
    pub sender_delay_us: LatencyUs,
    /// How long something that had arrived waited until it was read.
    pub read_lag_us: LatencyUs,
    /// The server's process.
    pub server: Option<Usage>,
    /// Its CPU microseconds for each delivery.
    pub server_cpu_us_per_delivery: Option<f64>,
    /// The harness's CPU time as a share of its core's.
    pub harness_load: f64,
    /// How long it all took, in seconds.
    pub measured_s: f64,
    /// Whether the latencies are evidence about the server, and not about an overloaded harness.
    pub valid: bool,
    /// Why not.
    pub invalid_because: Vec<String>,
    /// What was waited for in vain.
    pub incomplete_because: Vec<String>,
}

impl Row {
    /// The row of what was found.
    pub fn new(system: &str, case: Case, repetition: u32, findings: Findings) -> Self {
        let harness_load = harness_load(&findings, 1);
        let invalid_because = doubts(&findings, harness_load);
        let received = findings.recorder.corrected.count();
        let measured_s = findings.measured.as_secs_f64();
        let each = |usage: &Usage| (received > 0).then(|| usage.cpu_s * 1e6 / received as f64);
        Self {
            system: system.into(),
            case: case.letter,
            members: case.members,
            interval_ms: case.interval().map(|interval| interval.as_secs_f64() * 1e3),
            repetition,
            connected: findings.clients.connected,
            disconnected: findings.clients.disconnected,
            sent: findings.sent,
            offered_per_s: findings.rates.offered_per_s,
            achieved_per_s: findings.rates.achieved_per_s,
            deliveries_per_s: if measured_s > 0.0 { received as f64 / measured_s } else { 0.0 },
            latency_us: findings.recorder.corrected.summary(),
            last_recipient_us: findings.spread.last.summary(),
            sender_delay_us: findings.recorder.sender_delay.summary(),
            read_lag_us: findings.read_lag.summary(),
            server_cpu_us_per_delivery: findings.server.as_ref().and_then(each),
            server: findings.server,
            harness_load,
            measured_s,
            valid: invalid_because.is_empty(),
            invalid_because,
            incomplete_because: findings.incomplete_because,
            deliveries: with_gaps(findings.deliveries.unwrap_or_default()),
        }
    }
}

/// What a server withheld counts as missing, whether it told of that, as Throng does, or not.
fn with_gaps(deliveries: Deliveries) -> Deliveries {
    Deliveries { missing: deliveries.missing + deliveries.gaps.messages, ..deliveries }
}

impl Row {
    /// Adds a reason why the latencies are no evidence.
    pub fn doubt(&mut self, why: String) {
        self.valid = false;
        self.invalid_because.push(why);
    }
}

/// One case with one system, over its repetitions. Figures are medians; of what must not happen the
/// worst repetition counts.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Summary {
    /// The system.
    pub system: String,
    /// The case's letter.
    pub case: char,
    /// Repetitions that there are.
    pub repetitions: usize,
    /// Of these, the ones whose latencies are no evidence.
    pub invalid: usize,
    /// Median.
    pub deliveries_per_s: f64,
    /// Median.
    pub p50_us: f64,
    /// Median.
    pub p99_us: f64,
    /// Median of the longest of each repetition.
    pub max_us: f64,
    /// Median; null if no process could be seen.
    pub server_cpu_us_per_delivery: Option<f64>,
    /// Median of the share of a core that the harness used.
    pub harness_load: f64,
    /// Worst.
    pub missing: u64,
    /// Worst.
    pub duplicated: u64,
    /// Worst.
    pub reordered: u64,
    /// Worst: deliveries that were not what was sent.
    pub corrupted: u64,
    /// Worst.
    pub disconnected: u64,
}

impl Summary {
    /// Of rows of one system and case, at least one.
    pub fn of(rows: &[&Row]) -> Option<Self> {
        let first = rows.first()?;
        let median_of = |figure: fn(&Row) -> f64| median(rows.iter().map(|row| figure(row)).collect());
        let worst = |count: fn(&Row) -> u64| rows.iter().map(|row| count(row)).max().unwrap_or(0);
        let cpu: Vec<f64> = rows.iter().filter_map(|row| row.server_cpu_us_per_delivery).collect();
        Some(Self {
            system: first.system.clone(),
            case: first.case,
            repetitions: rows.len(),
            invalid: rows.iter().filter(|row| !row.valid).count(),
            deliveries_per_s: median_of(|row| row.deliveries_per_s),
            p50_us: median_of(|row| row.latency_us.p50),
            p99_us: median_of(|row| row.latency_us.p99),
            max_us: median_of(|row| row.latency_us.max),
            server_cpu_us_per_delivery: (!cpu.is_empty()).then(|| median(cpu)),
            harness_load: median_of(|row| row.harness_load),
            missing: worst(|row| row.deliveries.missing),
            duplicated: worst(|row| row.deliveries.duplicated),
            reordered: worst(|row| row.deliveries.reordered),
            corrupted: worst(|row| row.deliveries.corrupted),
            disconnected: worst(|row| row.disconnected),
        })
    }
}

/// The middle one, or the mean of the two in the middle; 0 of none.
pub(super) fn median(mut figures: Vec<f64>) -> f64 {
    figures.sort_by(f64::total_cmp);
    match figures.len() {
        0 => 0.0,
        count if count % 2 == 1 => figures[count / 2],
        count => f64::midpoint(figures[count / 2 - 1], figures[count / 2]),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use throng_harness_model::results::Gaps;

    use super::*;

    fn row(repetition: u32, received: u64, cpu_s: f64, missing: u64) -> Row {
        let mut findings = Findings { measured: Duration::from_secs(2), workers: 1, ..Findings::default() };
        (0..received).for_each(|_| findings.recorder.corrected.record(5_000_000));
        let usage = Usage { pid: 1, cpu_s, rss_bytes: 0, rss_start_bytes: 0, rss_peak_bytes: 0, alive: true };
        findings.server = Some(usage);
        findings.harness = Some(usage);
        findings.deliveries =
            Some(Deliveries { expected: received + missing, missing, ..Deliveries::default() });
        Row::new("some", Case::named("A").expect("it is one"), repetition, findings)
    }

    #[test]
    fn medians_but_the_worst_of_what_must_not_happen() {
        let rows = [row(1, 100, 1.0, 0), row(2, 200, 1.0, 7), row(3, 400, 1.0, 0)];
        let summary = Summary::of(&rows.iter().collect::<Vec<_>>()).expect("three");
        assert_eq!((summary.repetitions, summary.invalid, summary.missing), (3, 0, 7));
        assert!((summary.deliveries_per_s - 100.0).abs() < 1e-9, "{summary:?}");
        assert_eq!(summary.server_cpu_us_per_delivery, Some(5_000.0));
        assert!((summary.harness_load - 0.5).abs() < 1e-9 && (summary.p50_us - 5_000.0).abs() < 10.0);
        assert_eq!(Summary::of(&[]), None);
    }

    #[test]
    fn what_a_server_withholds_is_missing_though_it_tells_of_it() {
        let gaps = Gaps { told: 1, messages: 30, of_readers: 30 };
        let deliveries =
            Deliveries { expected: 100, received: 63, missing: 7, gaps, ..Deliveries::default() };
        let findings = Findings { deliveries: Some(deliveries), ..Findings::default() };
        let row = Row::new("throng", Case::named("A").expect("it is one"), 1, findings);
        assert_eq!((row.deliveries.missing, row.deliveries.received), (37, 63));
        assert_eq!(Summary::of(&[&row]).expect("one").missing, 37);
    }

    #[test]
    fn a_harness_at_its_limit_makes_a_row_invalid() {
        let row = row(1, 10, 1.95, 0);
        assert!(!row.valid && row.invalid_because[0].contains("98%"), "{:?}", row.invalid_because);
    }

    #[test]
    fn the_middle() {
        let check = |figures: &[f64], middle: f64| assert!((median(figures.to_vec()) - middle).abs() < 1e-12);
        check(&[], 0.0);
        check(&[3.0], 3.0);
        check(&[9.0, 1.0], 5.0);
        check(&[9.0, 1.0, 2.0], 2.0);
    }
}
