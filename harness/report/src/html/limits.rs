//! Thresholds of times as limits in charts.

use throng_harness_model::text::format_nanos;
use throng_harness_model::threshold::{Figure, Rule, Series, Threshold};

use crate::Checked;

/// A threshold of a time.
#[derive(Debug, Clone, PartialEq)]
pub struct TimeLimit {
    /// The latency.
    pub series: Series,
    /// The figure of the latency.
    pub figure: Figure,
    /// The longest time that holds, in microseconds.
    pub micros: f64,
    /// Figure and limit in words.
    pub name: String,
}

/// The thresholds of times. A text from a file that is no threshold is none.
pub fn time_limits(thresholds: &[Checked]) -> impl Iterator<Item = TimeLimit> {
    thresholds.iter().filter_map(|checked| {
        let Rule::Time(series, figure, limit) = checked.threshold.parse::<Threshold>().ok()?.rule() else {
            return None;
        };
        let micros = limit.as_secs_f64() * 1e6;
        let words = checked.threshold.split('=').next()?.replace(['_', '.'], " ");
        let name = format!("{} at most {}", words.trim(), format_nanos(micros * 1e3));
        Some(TimeLimit { series, figure, micros, name })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thresholds_of_times_have_names() {
        let checked =
            |threshold: &str| Checked { threshold: threshold.into(), found: String::new(), held: true };
        let all =
            ["missing=0", "p99=20ms", "last_recipient.p999=1.5s", "p99=off", "p99", "<b>=1ms"].map(checked);
        let found: Vec<_> = time_limits(&all).collect();
        let names: Vec<_> = found.iter().map(|limit| limit.name.as_str()).collect();
        assert_eq!(names, ["p99 at most 20 ms", "last recipient p999 at most 1.50 s"]);
        assert_eq!(
            (found[0].series, found[0].figure, found[0].micros),
            (Series::Latency, Figure::P99, 20_000.0)
        );
    }
}
