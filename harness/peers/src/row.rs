//! Results of one case with one system, and medians over its repetitions.

use serde::{Deserialize, Serialize};
use throng_harness_model::procstat::Usage;
use throng_harness_model::record::LatencyUs;
use throng_harness_model::results::{Deliveries, Findings};
use throng_harness_report::{doubts, harness_load};

use super::case::Case;

/// One repetition of a case with one system.
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
    /// Members that entered.
    pub connected: u64,
    /// Entered members that the server disconnected.
    pub disconnected: u64,
    /// Messages sent.
    pub sent: u64,
    /// Messages a second to be sent.
    pub offered_per_s: f64,
    /// Messages a second sent.
    pub achieved_per_s: f64,
    /// Deliveries a second, from the first message to the last delivery or the end of the drain.
    pub deliveries_per_s: f64,
    /// Accounting of all (message, recipient) pairs; messages that the server skipped and announced
    /// as a gap are missing.
    pub deliveries: Deliveries,
    /// Latency of every delivery, from the intended send time.
    pub latency_us: LatencyUs,
    /// Latency of each message's last recipient, from the intended send time; zero for a closed
    /// loop.
    pub last_recipient_us: LatencyUs,
    /// Delay of the actual send time behind the intended one.
    pub sender_delay_us: LatencyUs,
    /// Time that arrived data waited to be read.
    pub read_lag_us: LatencyUs,
    /// Resources of the server's process.
    pub server: Option<Usage>,
    /// CPU microseconds of the server for each delivery.
    pub server_cpu_us_per_delivery: Option<f64>,
    /// CPU time of the harness as a share of one core.
    pub harness_load: f64,
    /// Seconds of measurement, with the drain.
    pub measured_s: f64,
    /// True if the latencies are evidence about the server, not about an overloaded harness.
    pub valid: bool,
    /// Reasons if they are not.
    pub invalid_because: Vec<String>,
    /// Waits that timed out.
    pub incomplete_because: Vec<String>,
}

impl Row {
    /// Makes a row of the findings.
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

/// Counts announced gaps as missing, so that Throng's are treated as other servers' silent losses.
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

/// One case with one system, over its repetitions. Figures are medians; counts of faults are those
/// of the worst repetition.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Summary {
    /// The system.
    pub system: String,
    /// The case's letter.
    pub case: char,
    /// Number of repetitions.
    pub repetitions: usize,
    /// Repetitions whose latencies are no evidence.
    pub invalid: usize,
    /// Median deliveries a second.
    pub deliveries_per_s: f64,
    /// Median of the 50th percentile of the latency, in microseconds.
    pub p50_us: f64,
    /// Median of the 99th percentile of the latency, in microseconds.
    pub p99_us: f64,
    /// Median of the longest latency, in microseconds.
    pub max_us: f64,
    /// Median; null if no server process could be observed.
    pub server_cpu_us_per_delivery: Option<f64>,
    /// Median share of a core used by the harness.
    pub harness_load: f64,
    /// Missing deliveries in the worst repetition.
    pub missing: u64,
    /// Duplicated deliveries in the worst repetition.
    pub duplicated: u64,
    /// Reordered deliveries in the worst repetition.
    pub reordered: u64,
    /// Corrupted deliveries in the worst repetition.
    pub corrupted: u64,
    /// Disconnected members in the worst repetition.
    pub disconnected: u64,
}

impl Summary {
    /// Summarizes the rows of one system and case; none of no rows.
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

/// The middle value, or the mean of the two in the middle; 0 of no values.
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
    fn a_summary_has_medians_and_the_worst_faults() {
        let rows = [row(1, 100, 1.0, 0), row(2, 200, 1.0, 7), row(3, 400, 1.0, 0)];
        let summary = Summary::of(&rows.iter().collect::<Vec<_>>()).expect("three");
        assert_eq!((summary.repetitions, summary.invalid, summary.missing), (3, 0, 7));
        assert!((summary.deliveries_per_s - 100.0).abs() < 1e-9, "{summary:?}");
        assert_eq!(summary.server_cpu_us_per_delivery, Some(5_000.0));
        assert!((summary.harness_load - 0.5).abs() < 1e-9 && (summary.p50_us - 5_000.0).abs() < 10.0);
        assert_eq!(Summary::of(&[]), None);
    }

    #[test]
    fn announced_gaps_count_as_missing() {
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
    fn medians() {
        let check = |figures: &[f64], middle: f64| assert!((median(figures.to_vec()) - middle).abs() < 1e-12);
        check(&[], 0.0);
        check(&[3.0], 3.0);
        check(&[9.0, 1.0], 5.0);
        check(&[9.0, 1.0, 2.0], 2.0);
    }
}
