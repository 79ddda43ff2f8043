//! The distributions of a report.

use std::borrow::Cow;
use std::collections::BTreeMap;

use throng_harness_model::breakdown::Breakdown;
use throng_harness_model::record::{Latencies, Recorder, Spread};

use crate::compare::Named;

/// All distributions by name; empty ones are left out.
pub(super) fn all(
    recorder: Recorder,
    spread: Spread,
    read_lag: Latencies,
    breakdown: Breakdown,
    phases: BTreeMap<Cow<'static, str>, Latencies>,
    back: Latencies,
) -> BTreeMap<String, Latencies> {
    let whole = [
        ("latency", recorder.corrected),
        ("latency_uncorrected", recorder.uncorrected),
        ("first_recipient", spread.first),
        ("last_recipient", spread.last),
        ("recipient_skew", spread.skew),
        ("sender_delay", recorder.sender_delay),
        ("read_lag", read_lag),
        ("resume.back", back),
    ];
    let whole = whole.into_iter().map(|(name, latencies)| (name.to_owned(), latencies));
    let parts = breakdown.into_parts().into_iter();
    let parts = parts.map(|(name, latencies)| (format!("breakdown.{name}"), latencies));
    let phases = phases.into_iter().map(|(name, latencies)| (format!("phases.{name}"), latencies));
    whole.chain(parts).chain(phases).filter(|(_, latencies)| latencies.count() > 0).collect()
}

/// The points of a distribution for a plot: the number of nines of a share of the recorded times (1
/// for 90 %, 2 for 99 %, and so on) and the time, in microseconds, that this share did not exceed.
/// Some ten points for each nine; the longest time comes last.
pub(super) fn by_nines(latencies: &Latencies) -> Vec<(f64, f64)> {
    /// Points for each halving of the rest of the distribution.
    const TICKS: u32 = 4;
    let histogram = latencies.histogram();
    let longest = histogram.max();
    let count = histogram.len();
    // The number of values limits the number of nines.
    let end = (count.max(1) as f64).log10();
    let mut points: Vec<(f64, f64)> = Vec::new();
    for step in histogram.iter_quantiles(TICKS) {
        let rest = 1.0 - step.quantile_iterated_to();
        let nines = if rest > 0.0 { (-rest.log10()).min(end) } else { end };
        points.push((nines, step.value_iterated_to().min(longest) as f64 / 1e3));
    }
    points
}

/// Merges the distributions of several runs.
pub fn merged(side: &[Named]) -> BTreeMap<String, Latencies> {
    let mut all: BTreeMap<String, Latencies> = BTreeMap::new();
    for (name, latencies) in side.iter().flat_map(|named| &named.report.histograms) {
        all.entry(name.clone()).or_default().merge(latencies);
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plot_starts_at_the_shortest_time_and_ends_at_the_longest() {
        let mut latencies = Latencies::new();
        (1..=10_000_u64).for_each(|step| latencies.record(step * 1_000_000));
        let points = by_nines(&latencies);
        assert!(points.len() < 70, "{}", points.len());
        assert!(points.is_sorted_by(|a, b| a.0 <= b.0 && a.1 <= b.1), "{points:?}");
        let (first, last) = (points[0], points[points.len() - 1]);
        assert!(first.0.abs() < 1e-9 && (first.1 - 1_000.0).abs() < 2.0, "{first:?}");
        assert!((last.0 - 4.0).abs() < 1e-9 && (last.1 - 10_000_000.0).abs() < 10_000.0, "{last:?}");
        let at = |nines: f64| points.iter().find(|point| point.0 >= nines).expect("within").1;
        assert!((at(1.0) - 9_000_000.0).abs() < 200_000.0 && (at(2.0) - 9_900_000.0).abs() < 20_000.0);
        assert_eq!(by_nines(&Latencies::new()), []);
    }
}
