//! Latencies: by percentile, in figures, and where the time went.

use std::borrow::Cow;

use throng_harness_model::record::{Latencies, LatencyUs};
use throng_harness_model::text::format_count;

use super::chart::{Chart, Line, Unit};
use super::markup::Markup;
use super::{micros, table};
use crate::Report;
use crate::histograms::by_nines;

/// Where the figures stand on an axis that has as much room for 90 % to 99 % as for 99 % to
/// 99.9 %. The longest has no place on it: it stands where 99.99 % would.
const PERCENTILES: [(f64, &str); 5] =
    [(std::f64::consts::LOG10_2, "p50"), (1.0, "p90"), (2.0, "p99"), (3.0, "p99.9"), (4.0, "max")];

/// The distributions of messages that are drawn over each other, as they are called in the report and in the chart.
const MESSAGES: [(&str, &str); 4] = [
    ("latency", "corrected"),
    ("latency_uncorrected", "uncorrected"),
    ("last_recipient", "last recipient"),
    ("first_recipient", "first recipient"),
];

/// Before the names of parts of the way in.
const PHASES: &str = "phases.";

impl Report {
    pub(super) fn html_latencies(&self, html: &mut Markup) {
        let measured = self.measured_latencies();
        if measured.is_empty() {
            return;
        }
        html.element("section", &[], |html| {
            html.leaf("h2", &[], "Latency");
            self.percentile_chart().draw(html);
            self.html_breakdown(html);
            let rows = measured.into_iter().map(|(name, l)| {
                let times = [l.mean, l.p50, l.p90, l.p99, l.p999, l.max].map(micros);
                let name = name.trim_start().replace('_', " ");
                [name, format_count(l.count)].into_iter().chain(times).collect()
            });
            table(html, &["", "count", "mean", "p50", "p90", "p99", "p99.9", "max"], rows);
            if self.latency_us.count > 0 {
                html.leaf(
                    "p",
                    &[("class", &"note")],
                    "Latency: from the time a message should have been sent to its arrival. Uncorrected: from \
                     the time it was sent. First, last recipient and skew: one value for each message.",
                );
            }
            self.html_clock(html);
        });
    }

    /// Messages' latencies, or the parts of the way in when there were no messages.
    fn percentile_chart(&self) -> Chart<'_> {
        let of = |name: &str| self.histograms.get(name);
        let messages = MESSAGES.iter().filter_map(|(key, name)| Some((Cow::Borrowed(*name), of(key)?)));
        let phases = self.histograms.iter();
        let phases =
            phases.filter_map(|(name, latencies)| Some((spaced(name.strip_prefix(PHASES)?), latencies)));
        let shown: Vec<_> = if self.latency_us.count > 0 { messages.collect() } else { phases.collect() };
        if shown.is_empty() { self.figures_chart() } else { by_percentile("Latency by percentile", shown) }
    }

    /// The same from the figures alone, for reports of versions that did not keep more.
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
            Line::new(name, points.collect()).dashed_if(number == DASHED)
        };
        Chart {
            title: "Latency by percentile",
            size: SIZE,
            unit: Unit::Micros,
            x_ticks: PERCENTILES.map(|(at, label)| (at, label.to_owned())).into(),
            x_end: 4.1,
            x_name: |at| {
                let known = PERCENTILES.iter().find(|(known, _)| known.total_cmp(&at).is_eq());
                known.map_or(String::new(), |(_, label)| (*label).to_owned())
            },
            shade: None,
            lines: shown.into_iter().filter(|(_, latency)| latency.count > 0).enumerate().map(line).collect(),
        }
    }

    /// Where the mean delivery's time went, as one bar.
    fn html_breakdown(&self, html: &mut Markup) {
        let parts = self.breakdown_us.parts();
        // Each has its number, and so its colour, whichever others were measured.
        let parts = parts.iter().enumerate();
        let parts: Vec<_> = parts.filter(|(_, (_, part))| part.count > 0 && part.mean > 0.0).collect();
        let whole: f64 = parts.iter().map(|(_, (_, part))| part.mean).sum();
        if parts.is_empty() || !whole.is_finite() {
            return;
        }
        html.element("figure", &[("class", &"breakdown")], |html| {
            html.element("figcaption", &[], |html| {
                html.leaf("strong", &[], "Where the mean delivery's time went");
                html.leaf("span", &[], format_args!("{} from its sending to its arrival", micros(whole)));
            });
            html.element("div", &[("class", &"bar"), ("role", &"img")], |html| {
                for (number, (name, part)) in &parts {
                    let share = part.mean / whole * 100.0;
                    let title = format_args!("{}: {}, {share:.1}%", name.trim_start(), micros(part.mean));
                    let class = format_args!("part c{number}");
                    let style = format_args!("flex-grow:{share:.3}");
                    html.leaf("span", &[("class", &class), ("style", &style), ("title", &title)], "");
                }
            });
            html.element("figcaption", &[], |html| {
                for (number, (name, part)) in &parts {
                    let share = part.mean / whole * 100.0;
                    let class = format_args!("key c{number}");
                    let text = format_args!("{} {} ({share:.1}%)", name.trim_start(), micros(part.mean));
                    html.leaf("span", &[("class", &class)], text);
                }
            });
        });
    }
}

const SIZE: (f64, f64) = (860.0, 300.0);

/// The line of a distribution that may lie on the one before it.
const DASHED: usize = 1;

/// A name of the report's, in words.
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
            Line::new(name, points.collect()).dashed_if(number == DASHED)
        })
        .collect();
    let ends = lines.iter().filter_map(|line| line.points.last()).map(|(at, _)| *at);
    let x_end = ends.fold(1.0, f64::max);
    let half = (std::f64::consts::LOG10_2, "50%".to_owned());
    let nines = (0_u32..).map(f64::from).take_while(|nines| *nines <= x_end + 1e-9);
    let x_ticks = std::iter::once(half).chain(nines.map(|nines| (nines, percentile(nines)))).collect();
    Chart { title, size: SIZE, unit: Unit::Micros, x_ticks, x_end, x_name: percentile, shade: None, lines }
}

/// A share by its nines: 2 is 99 %.
fn percentile(nines: f64) -> String {
    let left = 100.0 * 10_f64.powf(-nines);
    let share = 100.0 - left;
    // One digit more than there are nines after the point, unless they are all.
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
