//! Latencies: a chart by percentile, the breakdown of the mean delivery, and a table.

use std::borrow::Cow;
use std::f64::consts::LOG10_2;

use maud::{Markup, html};
use throng_harness_model::record::{Latencies, LatencyUs};
use throng_harness_model::threshold::{Figure, Series};

use super::chart::{Chart, Limit, Line, Unit, XAxis};
use super::histogram::histogram_chart;
use super::limits::{TimeLimit, time_limits};
use super::{micros, table};
use crate::Report;
use crate::histograms::by_nines;
use crate::sections::LATENCY_HEADS;

/// Positions of the figures on an axis on which each nine has the same room. The maximum has no
/// position of its own and takes that of 99.99 %.
const PERCENTILES: [(f64, &str); 5] =
    [(LOG10_2, "p50"), (1.0, "p90"), (2.0, "p99"), (3.0, "p99.9"), (4.0, "max")];

/// Distributions of messages in one chart: their names in the report and in the chart.
const MESSAGES: [(&str, &str); 4] = [
    ("latency", "corrected"),
    ("latency_uncorrected", "uncorrected"),
    ("last_recipient", "last recipient"),
    ("first_recipient", "first recipient"),
];

/// Prefix of the distributions of phases of the entry.
const PHASES: &str = "phases.";

const TITLE: &str = "Latency by percentile";
const HEIGHT: f64 = 300.0;
/// The longest latency as a multiple of the median from which on latencies are skewed.
const SKEWED: f64 = 20.0;
const HISTOGRAM_HEIGHT: f64 = 200.0;
/// Index of the line that may coincide with the one before it.
const DASHED: usize = 1;

impl Report {
    pub(super) fn html_latencies(&self) -> Markup {
        let rows = self.latency_rows();
        if rows.is_empty() {
            return Markup::default();
        }
        html! {
            section {
                h2 { "Latency" }
                (self.percentile_chart().limited(self.percentile_limits()))
                @if let Some(chart) = self.histogram_chart() { (chart.wide(HISTOGRAM_HEIGHT)) }
                (self.html_breakdown())
                (table(&LATENCY_HEADS, rows))
                @for note in self.latency_notes() { p.note { (note) } }
            }
        }
    }

    /// Latencies of messages, or those of the phases of the entry if no message was sent.
    fn percentile_chart(&self) -> Chart<'_> {
        let of = |name: &str| self.histograms.get(name);
        let messages = MESSAGES.iter().filter_map(|(key, name)| Some((Cow::Borrowed(*name), of(key)?)));
        // A phase that was skipped took no time, which has no place among logarithms.
        let phases = self.histograms.iter().filter(|(_, latencies)| latencies.summary().max >= 1.0);
        let phases =
            phases.filter_map(|(name, latencies)| Some((spaced(name.strip_prefix(PHASES)?), latencies)));
        let shown: Vec<_> = if self.latency_us.count > 0 { messages.collect() } else { phases.collect() };
        let chart = if shown.is_empty() { self.figures_chart() } else { by_percentile(TITLE, shown) };
        // Phases differ by more than one of them varies.
        if self.latency_us.count == 0 || is_skewed(&self.latency_us) { chart.log_if_wide() } else { chart }
    }

    /// The thresholds of latencies, each up to its percentile: where the line is above the limit's
    /// end, the threshold is broken.
    fn percentile_limits(&self) -> impl Iterator<Item = Limit> {
        time_limits(&self.thresholds).filter_map(|TimeLimit { series, figure, micros, name }| {
            let until = match figure {
                Figure::Mean => return None,
                Figure::P50 => Some(LOG10_2),
                Figure::P90 => Some(1.0),
                Figure::P99 => Some(2.0),
                Figure::P999 => Some(3.0),
                Figure::Max => None,
            };
            let is_drawn = matches!(
                series,
                Series::Latency | Series::Uncorrected | Series::FirstRecipient | Series::LastRecipient
            );
            is_drawn.then_some(Limit { name, value: micros, until })
        })
    }

    /// The distribution of the latencies, or that of the way in if no message was sent.
    fn histogram_chart(&self) -> Option<Chart<'_>> {
        let (name, title) = match self.latency_us.count {
            0 => ("phases.way_in", "Histogram of the way in"),
            _ => ("latency", "Histogram of latencies"),
        };
        histogram_chart(title, self.histograms.get(name)?)
    }

    /// The chart for reports of versions that kept the figures and no distributions.
    fn figures_chart(&self) -> Chart<'_> {
        let messages = [
            ("corrected".into(), &self.latency_us),
            ("uncorrected".into(), &self.latency_uncorrected_us),
            ("last recipient".into(), &self.last_recipient_us),
            ("first recipient".into(), &self.first_recipient_us),
        ];
        let phases = self.phases_us.iter().map(|(name, latency)| (spaced(name), latency));
        let shown: Vec<_> = if self.latency_us.count > 0 { messages.into() } else { phases.collect() };
        let line = |(number, (name, l)): (_, (Cow<'static, str>, &LatencyUs))| {
            let figures = [l.p50, l.p90, l.p99, l.p999, l.max];
            let points = PERCENTILES.iter().zip(figures).map(|((at, _), figure)| (*at, Some(figure)));
            Line::new(name, points).dashed_if(number == DASHED)
        };
        let axis = XAxis {
            ticks: PERCENTILES.map(|(at, label)| (at, label.to_owned())).into(),
            start: 0.0,
            end: 4.1,
            name: |at| {
                let known = PERCENTILES.iter().find(|(known, _)| known.total_cmp(&at).is_eq());
                known.map_or(String::new(), |(_, label)| (*label).to_owned())
            },
        };
        let lines = shown.into_iter().filter(|(_, latency)| latency.count > 0).enumerate().map(line);
        Chart::small(TITLE, Unit::Micros, axis, lines).wide(HEIGHT)
    }

    /// The parts of the mean delivery's time as one bar.
    fn html_breakdown(&self) -> Markup {
        let parts = self.breakdown_us.parts();
        // The number of a part, and so its color, does not depend on which others were measured.
        let parts = parts.iter().enumerate();
        let parts: Vec<_> = parts.filter(|(_, (_, part))| part.count > 0 && part.mean > 0.0).collect();
        let whole: f64 = parts.iter().map(|(_, (_, part))| part.mean).sum();
        if parts.is_empty() || !whole.is_finite() {
            return Markup::default();
        }
        let parts = parts.iter().map(|(number, (name, part))| {
            (number, name.trim_start(), micros(part.mean), part.mean / whole * 100.0)
        });
        html! {
            figure.breakdown {
                figcaption {
                    strong { "Breakdown of the mean delivery" }
                    span { (micros(whole)) " from sending to arrival" }
                }
                .bar role="img" {
                    @for (number, name, mean, share) in parts.clone() {
                        @let title = format!("{name}: {mean}, {share:.1}%");
                        span class={ "part c" (number) } style=(format!("flex-grow:{share:.3}")) title=(title) {}
                    }
                }
                figcaption {
                    @for (number, name, mean, share) in parts {
                        span class={ "key c" (number) } { (name) " " (mean) " (" (format!("{share:.1}")) "%)" }
                    }
                }
            }
        }
    }
}

/// A name of the report as words.
fn spaced(name: &str) -> Cow<'static, str> {
    name.replace('_', " ").into()
}

/// Distributions over an axis on which each nine has the same room.
pub(super) fn by_percentile<'a>(
    title: &'a str,
    shown: impl IntoIterator<Item = (Cow<'a, str>, &'a Latencies)>,
) -> Chart<'a> {
    let shown = shown.into_iter().enumerate();
    let lines: Vec<Line<'a>> = shown
        .map(|(number, (name, latencies))| {
            let points = by_nines(latencies).into_iter().map(|(at, micros)| (at, Some(micros)));
            Line::new(name, points).dashed_if(number == DASHED)
        })
        .collect();
    let end = lines.iter().map(Line::end).fold(1.0, f64::max);
    let nines = (1_u32..).map(f64::from).take_while(|nines| *nines <= end + 1e-9);
    let ticks = [0.0, LOG10_2].into_iter().chain(nines).map(|nines| (nines, percentile(nines))).collect();
    let axis = XAxis { ticks, start: 0.0, end, name: percentile };
    Chart::small(title, Unit::Micros, axis, lines).wide(HEIGHT)
}

/// True if the longest latency is so far above the median that a linear axis would hide all others.
pub(super) fn is_skewed(latency: &LatencyUs) -> bool {
    latency.max >= SKEWED * latency.p50
}

/// A share by its nines: 2 is 99 %.
fn percentile(nines: f64) -> String {
    let left = 100.0 * 10_f64.powf(-nines);
    let share = 100.0 - left;
    // One digit more than there are nines after the point, which is cut off again where it is 0.
    #[allow(clippy::cast_sign_loss)] // it is not negative
    let digits = (nines - 1.0).max(0.0).ceil() as usize;
    let text = format!("{share:.digits$}");
    let text = if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.') } else { &text };
    format!("{text}%")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nines_are_percentages() {
        let check = |nines, text: &str| assert_eq!(percentile(nines), text);
        check(0.0, "0%");
        check(1.0, "90%");
        check(2.0, "99%");
        check(3.0, "99.9%");
        check(6.0, "99.9999%");
        check(1.5, "96.8%");
        check(std::f64::consts::LOG10_2, "50%");
    }
}
