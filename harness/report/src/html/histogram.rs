//! The histogram of a distribution, over the logarithm of time.

use throng_harness_model::record::Latencies;

use super::chart::{Chart, Line, Point, Unit, XAxis};

/// Bars of a decade: each is 12 % longer than the one before.
const BARS: f64 = 20.0;
/// Percentiles that are marked.
const MARKED: [(f64, &str); 3] = [(0.5, "p50"), (0.99, "p99"), (0.999, "p99.9")];

/// The share of the times in each bar; none of an empty distribution.
pub(super) fn histogram_chart<'a>(title: &'a str, latencies: &Latencies) -> Option<Chart<'a>> {
    let histogram = latencies.histogram();
    let (first, last) = (bar(histogram.min()), bar(histogram.max()));
    let mut counts = vec![0_u64; usize::try_from(last - first).ok()? + 1];
    for step in histogram.iter_recorded() {
        let place = usize::try_from(bar(step.value_iterated_to()).min(last) - first).ok()?;
        counts[place] += step.count_at_value();
    }
    let edge = |bar: i32| f64::from(bar) / BARS;
    let share = |count: u64| Some(count as f64 / histogram.len() as f64);
    let bars = (first..)
        .zip(counts)
        .flat_map(|(bar, count)| [edge(bar), edge(bar + 1)].map(|edge| -> Point { (edge, share(count)) }));
    let (start, end) = ((edge(first), Some(0.0)), (edge(last + 1), Some(0.0)));
    let line = Line::new("share", [start].into_iter().chain(bars).chain([end])).filled();
    let axis = XAxis::decades(10_f64.powf(start.0), 10_f64.powf(end.0));
    let marks = MARKED.map(|(quantile, name)| {
        let nanos = histogram.value_at_quantile(quantile).min(histogram.max());
        (logarithm(nanos), name.to_owned())
    });
    (!histogram.is_empty())
        .then(|| Chart::small(title, Unit::Share, axis, [line]).with_verticals(marks.into()))
}

/// The logarithm of a time, which is given in nanoseconds, in microseconds. Times below one count
/// as one.
fn logarithm(nanos: u64) -> f64 {
    (nanos as f64 / 1e3).max(1.0).log10()
}

/// Number of the bar of a time.
fn bar(nanos: u64) -> i32 {
    // An hour is the longest time of a distribution, so the number is small.
    #[allow(clippy::cast_possible_truncation)]
    let bar = (logarithm(nanos) * BARS).floor() as i32;
    bar
}

#[cfg(test)]
mod tests {
    use maud::Render;

    use super::*;

    #[test]
    fn bars_hold_the_shares_of_their_times() {
        let mut latencies = Latencies::new();
        (0..75).for_each(|_| latencies.record(1_050_000));
        (0..25).for_each(|_| latencies.record(99_000_000));
        let chart = histogram_chart("t", &latencies).expect("not empty").render().0;
        for part in ["1 ms", "10 ms", "100 ms", ">p50</text>", ">p99</text>", ": 75%", ": 25%"] {
            assert!(chart.contains(part), "no `{part}` in {chart}");
        }
        assert!(histogram_chart("t", &Latencies::new()).is_none());
        latencies.record(0);
        latencies.record(u64::MAX);
        assert!(histogram_chart("t", &latencies).is_some());
    }
}
