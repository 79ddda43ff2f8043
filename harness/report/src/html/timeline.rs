//! The charts of a run second by second.

use maud::{Markup, html};

use throng_harness_model::results::Second;
use throng_harness_model::threshold::{Figure as Percentile, Series};

use super::chart::{Chart, Limit, Line, Unit, XAxis};
use super::limits::time_limits;
use crate::Report;
use crate::sections::CPU_MIN_S;

/// A figure of a row, if the row has it.
pub(super) type Figure = fn(&Second) -> Option<f64>;

/// A chart of the timeline.
struct Plan {
    title: &'static str,
    unit: Unit,
    lines: &'static [(&'static str, Figure)],
    /// The latency whose thresholds are limits, if it is a chart of one.
    series: Option<Series>,
}

impl Plan {
    const fn new(title: &'static str, unit: Unit, lines: &'static [(&'static str, Figure)]) -> Self {
        Self { title, unit, lines, series: None }
    }

    const fn latency(title: &'static str, series: Series, lines: &'static [(&'static str, Figure)]) -> Self {
        Self { title, unit: Unit::Micros, lines, series: Some(series) }
    }
}

/// All charts of the timeline. Those with nothing above zero are left out.
const TIMELINE: &[Plan] = &[
    Plan::new(
        "Clients",
        Unit::Count,
        &[
            ("connected", |row| Some(row.connected as f64)),
            ("disconnected", |row| Some(row.disconnected as f64)),
        ],
    ),
    Plan::new("Deliveries per second", Unit::Count, &[("received", |row| Some(row.received_per_s))]),
    Plan::new("Messages per second", Unit::Count, &[("sent", |row| Some(row.sent_per_s))]),
    Plan::latency(
        "Latency of each second's messages",
        Series::Latency,
        // 0 without any message.
        &[
            ("p50", |row| above_zero(row.p50_us)),
            ("p90", |row| above_zero(row.p90_us)),
            ("p99", |row| above_zero(row.p99_us)),
        ],
    ),
    Plan::latency(
        "Last recipient of the messages due in each second",
        Series::LastRecipient,
        &[
            ("p50", |row| above_zero(row.last_recipient_p50_us)),
            ("p99", |row| above_zero(row.last_recipient_p99_us)),
        ],
    ),
    Plan::new("Server CPU time per delivery", Unit::Micros, &[("server", cpu_per_delivery)]),
    Plan::new(
        "CPU, of one core",
        Unit::Share,
        &[("server", |row| row.server_cpu), ("harness", |row| row.harness_cpu)],
    ),
    Plan::new(
        "CPU that the run did not have, of one core",
        Unit::Share,
        &[("other processes", |row| row.others_cpu), ("other machines", |row| row.steal)],
    ),
    Plan::new(
        "Time that others withheld a core",
        Unit::Share,
        &[
            ("server", |row| row.server_withheld),
            ("harness", |row| row.harness_withheld),
            ("any thread waited", |row| row.cpu_pressure),
        ],
    ),
    Plan::new(
        "Memory",
        Unit::Bytes,
        &[
            ("server", |row| row.server_rss_bytes.map(|bytes| bytes as f64)),
            ("harness", |row| row.harness_rss_bytes.map(|bytes| bytes as f64)),
        ],
    ),
];

/// The server's CPU time per delivery, if it used at least [`CPU_MIN_S`] in the row's second.
fn cpu_per_delivery(row: &Second) -> Option<f64> {
    let cpu = row.server_cpu.filter(|cpu| *cpu >= CPU_MIN_S && row.received_per_s > 0.0)?;
    // Absent in reports of earlier versions.
    row.server_cpu_us_per_delivery.or(Some(cpu * 1e6 / row.received_per_s))
}

pub(super) fn above_zero(value: f64) -> Option<f64> {
    (value > 0.0).then_some(value)
}

impl Report {
    pub(super) fn html_timeline(&self) -> Markup {
        // One point makes no line.
        let [_, .., last] = &self.timeline[..] else { return Markup::default() };
        let end = last.at_s;
        // The file of a report may hold any number.
        if !end.is_finite() || end <= 0.0 {
            return Markup::default();
        }
        let measured = (self.measured_from_s, (self.measured_from_s + self.measured_s).min(end));
        let shade = (measured.0 > 0.0 && measured.0 < measured.1).then_some(measured);
        let chart = |Plan { title, unit, lines, series }: &Plan| {
            let lines = lines.iter().map(|(name, figure)| {
                Line::new(*name, self.timeline.iter().map(|row| (row.at_s, figure(row))))
            });
            let chart = Chart::small(*title, *unit, XAxis::seconds(end), lines).shaded(shade);
            match series {
                Some(series) => chart.banded().log_if_wide().limited(self.run_limits(*series)),
                None => chart,
            }
        };
        html! {
            section {
                h2 { "Second by second" }
                .charts { @for plan in TIMELINE { (chart(plan)) } }
                @if shade.is_some() { p.note { "Shaded: the measured part of the run." } }
            }
        }
    }

    /// The thresholds of a latency's percentiles. They are of the run, not of each second.
    fn run_limits(&self, series: Series) -> impl Iterator<Item = Limit> {
        let percentiles = [Percentile::P50, Percentile::P90, Percentile::P99];
        let limits = time_limits(&self.thresholds);
        let limits =
            limits.filter(move |limit| limit.series == series && percentiles.contains(&limit.figure));
        limits.map(|limit| Limit {
            name: format!("the run's {}", limit.name),
            value: limit.micros,
            until: None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_with_hardly_any_cpu_time_shows_none_per_delivery() {
        let row = |server_cpu, each| {
            let row = Second { received_per_s: 1_000.0, server_cpu, ..Second::default() };
            cpu_per_delivery(&Second { server_cpu_us_per_delivery: each, ..row })
        };
        assert_eq!(row(Some(0.25), None), Some(250.0));
        assert_eq!(row(Some(0.25), Some(251.0)), Some(251.0));
        assert_eq!(row(Some(0.09), Some(90.0)), None);
        assert_eq!(row(None, None), None);
        let silent = Second { server_cpu: Some(0.25), ..Second::default() };
        assert_eq!(cpu_per_delivery(&silent), None);
    }
}
