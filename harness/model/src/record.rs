//! Latencies in HDR histograms. Each worker fills its own; they are merged, never averaged.

mod written;

use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};

pub use written::HistogramError;

use crate::clock::Nanos;
use crate::payload::Stamp;

/// The shortest time that is told apart from zero, in nanoseconds.
const LOWEST: u64 = 1_000;
/// The longest time that is recorded as it is, in nanoseconds: an hour.
const HIGHEST: u64 = 3_600_000_000_000;
/// Significant decimal digits, so a resolution of 0.1 %.
const DIGITS: u8 = 3;

/// A histogram of times in nanoseconds. About 200 kB, allocated at once; recording is O(1).
#[derive(Debug, Clone, PartialEq)]
pub struct Latencies(Histogram<u64>);

impl Latencies {
    /// An empty histogram.
    pub fn new() -> Self {
        Self(Histogram::new_with_bounds(LOWEST, HIGHEST, DIGITS).expect("the constants are valid bounds"))
    }

    /// Adds a time; one above an hour is recorded as an hour.
    pub fn record(&mut self, nanos: Nanos) {
        self.0.saturating_record(nanos);
    }

    /// Adds all times of `other`.
    pub fn merge(&mut self, other: &Self) {
        self.0.add(&other.0).expect("all histograms have the same bounds");
    }

    /// Overwrites this histogram with `other`, without allocating.
    pub fn copy_from(&mut self, other: &Self) {
        self.0.reset();
        self.merge(other);
    }

    /// The times recorded since `earlier`, an older copy of this histogram. Empty if `earlier` has
    /// times that this one lacks.
    #[must_use]
    pub fn since(&self, earlier: &Self) -> Self {
        let mut interval = self.clone();
        if interval.0.subtract(&earlier.0).is_err() {
            interval.0.reset();
        }
        interval
    }

    /// The number of times recorded.
    pub fn count(&self) -> u64 {
        self.0.len()
    }

    /// The histogram itself, in nanoseconds.
    pub fn histogram(&self) -> &Histogram<u64> {
        &self.0
    }

    /// Empties the histogram and keeps its memory.
    pub fn clear(&mut self) {
        self.0.reset();
    }

    /// The figures for a report.
    pub fn summary(&self) -> LatencyUs {
        // Subtracting a histogram leaves a maximum that may no longer be in it.
        if self.count() == 0 {
            return LatencyUs::default();
        }
        // A quantile is the upper end of its bucket, which may exceed the maximum.
        let max = self.0.max();
        let at = |quantile| micros(self.0.value_at_quantile(quantile).min(max) as f64);
        LatencyUs {
            count: self.count(),
            mean: micros(self.0.mean().min(max as f64)),
            p50: at(0.5),
            p90: at(0.9),
            p99: at(0.99),
            p999: at(0.999),
            max: micros(max as f64),
        }
    }
}

impl Default for Latencies {
    fn default() -> Self {
        Self::new()
    }
}

/// Converts nanoseconds to microseconds with one decimal.
fn micros(nanos: f64) -> f64 {
    (nanos / 100.0).round() / 10.0
}

/// The figures of a histogram in microseconds; all zero if nothing was recorded.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "testing", derive(schemars::JsonSchema))]
#[serde(default)]
pub struct LatencyUs {
    /// The number of times recorded.
    pub count: u64,
    /// Mean.
    pub mean: f64,
    /// Median.
    pub p50: f64,
    /// 90th percentile.
    pub p90: f64,
    /// 99th percentile.
    pub p99: f64,
    /// 99.9th percentile.
    pub p999: f64,
    /// Maximum.
    pub max: f64,
}

/// The latencies that one worker measures of counted messages.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Recorder {
    /// From the time at which a message should have been sent to its arrival. This is the latency:
    /// it includes the wait caused by a late sender.
    pub corrected: Latencies,
    /// From the time a message was sent to its arrival, to the microsecond.
    pub uncorrected: Latencies,
    /// From the time at which a message should have been sent to its actual send: the harness's
    /// part.
    pub sender_delay: Latencies,
}

impl Recorder {
    /// Adds the first copy of a message that a client received at `now`.
    pub fn delivered(&mut self, stamp: Stamp, now: Nanos) {
        self.corrected.record(now.saturating_sub(stamp.intended));
        self.uncorrected.record(now.saturating_sub(stamp.sent()));
    }

    /// Adds a message that should have been sent at `intended` and was sent at `now`.
    pub fn sent(&mut self, intended: Nanos, now: Nanos) {
        self.sender_delay.record(now.saturating_sub(intended));
    }

    /// Adds the latencies of another worker.
    pub fn merge(&mut self, other: &Self) {
        self.corrected.merge(&other.corrected);
        self.uncorrected.merge(&other.uncorrected);
        self.sender_delay.merge(&other.sender_delay);
    }
}

/// Times to the first and the last recipient, over all workers: one value for each message that was
/// received.
#[derive(Debug, Clone, Default)]
pub struct Spread {
    /// From the intended send time to the first recipient.
    pub first: Latencies,
    /// From the intended send time to the last recipient that received it.
    pub last: Latencies,
    /// From the first recipient to the last.
    pub skew: Latencies,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture::near;

    const MS: Nanos = 1_000_000;

    #[test]
    fn figures_are_in_microseconds() {
        let mut latencies = Latencies::new();
        (1..=1000).for_each(|ms| latencies.record(ms * MS));
        let summary = latencies.summary();
        near(summary.p50, 500_000.0);
        near(summary.p90, 900_000.0);
        near(summary.p99, 990_000.0);
        near(summary.p999, 999_000.0);
        near(summary.max, 1_000_000.0);
        near(summary.mean, 500_500.0);
        assert_eq!(summary.count, 1000);
        assert_eq!(Latencies::new().summary(), LatencyUs::default());
        let mut none = Latencies::new();
        none.record(0);
        assert_eq!(none.summary(), LatencyUs { count: 1, ..LatencyUs::default() });
    }

    #[test]
    fn extremes_are_recorded_at_the_bounds() {
        let mut latencies = Latencies::new();
        latencies.record(0);
        latencies.record(u64::MAX);
        near(latencies.summary().max, 3_600_000_000.0);
        assert_eq!(latencies.count(), 2);
    }

    #[test]
    fn an_interval_is_the_difference_of_two_copies() {
        let mut latencies = Latencies::new();
        latencies.record(MS);
        let earlier = latencies.clone();
        latencies.record(9 * MS);
        let interval = latencies.since(&earlier).summary();
        assert_eq!(interval.count, 1);
        near(interval.p50, 9_000.0);
        assert_eq!(earlier.since(&latencies).count(), 0);
        assert_eq!(latencies.since(&latencies.clone()).summary(), LatencyUs::default());
    }

    #[test]
    fn a_late_send_counts_for_the_corrected_latency_only() {
        let mut recorder = Recorder::default();
        recorder.sent(10 * MS, 14 * MS);
        recorder.delivered(Stamp::new(0, 10 * MS, 14 * MS), 15 * MS);
        let mut merged = Recorder::default();
        merged.merge(&recorder);
        near(merged.corrected.summary().p50, 5_000.0);
        near(merged.uncorrected.summary().p50, 1_000.0);
        near(merged.sender_delay.summary().p50, 4_000.0);
    }
}
