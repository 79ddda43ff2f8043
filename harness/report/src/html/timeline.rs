//! What happened when.

use throng_harness_model::results::Second;

use super::chart::{Chart, Line, Unit, time_name, time_ticks};
use super::markup::Markup;
use crate::Report;
use crate::summary::CPU_MIN_S;

/// One of a row's figures, if the row has it.
pub(super) type Figure = fn(&Second) -> Option<f64>;

/// A chart of the timeline: title, unit, and lines.
type Plan = (&'static str, Unit, &'static [(&'static str, Figure)]);

/// All charts of the timeline. Those with nothing above zero are left out.
const TIMELINE: &[Plan] = &[
    (
        "Clients",
        Unit::Count,
        &[
            ("in the chat", |row| Some(row.connected as f64)),
            ("lost so far", |row| Some(row.disconnected as f64)),
        ],
    ),
    ("Deliveries a second", Unit::Count, &[("received", |row| Some(row.received_per_s))]),
    ("Messages sent a second", Unit::Count, &[("sent", |row| Some(row.sent_per_s))]),
    (
        "Latency of what was received",
        Unit::Micros,
        // Zero means that nothing was received.
        &[("p50", |row| above_zero(row.p50_us)), ("p99", |row| above_zero(row.p99_us))],
    ),
    (
        "Last recipient of what was due",
        Unit::Micros,
        &[
            ("p50", |row| above_zero(row.last_recipient_p50_us)),
            ("p99", |row| above_zero(row.last_recipient_p99_us)),
        ],
    ),
    ("Server's CPU time per delivery", Unit::Micros, &[("server", cpu_per_delivery)]),
    (
        "CPU, of one core",
        Unit::Share,
        &[("server", |row| row.server_cpu), ("harness", |row| row.harness_cpu)],
    ),
    (
        "Memory",
        Unit::Bytes,
        &[
            ("server", |row| row.server_rss_bytes.map(|bytes| bytes as f64)),
            ("harness", |row| row.harness_rss_bytes.map(|bytes| bytes as f64)),
        ],
    ),
];

/// The server's CPU time for each delivery, if the row's second had enough of it: the kernel counts in 10 ms.
fn cpu_per_delivery(row: &Second) -> Option<f64> {
    let cpu = row.server_cpu.filter(|cpu| *cpu >= CPU_MIN_S && row.received_per_s > 0.0)?;
    // Versions before did not tell it by itself.
    row.server_cpu_us_per_delivery.or(Some(cpu * 1e6 / row.received_per_s))
}

fn above_zero(value: f64) -> Option<f64> {
    (value > 0.0).then_some(value)
}

impl Report {
    pub(super) fn html_timeline(&self, html: &mut Markup) {
        // One point makes no line.
        let [_, .., last] = &self.timeline[..] else { return };
        let end = last.at_s;
        // A file may say anything.
        if !end.is_finite() || end <= 0.0 {
            return;
        }
        let measured = (self.measured_from_s, (self.measured_from_s + self.measured_s).min(end));
        let shade = (measured.0 > 0.0 && measured.0 < measured.1).then_some(measured);
        html.element("section", &[], |html| {
            html.leaf("h2", &[], "Second by second");
            html.element("div", &[("class", &"charts")], |html| {
                for (title, unit, series) in TIMELINE {
                    let line = |(name, value): &(&'static str, Figure)| {
                        Line::new(*name, self.timeline.iter().map(|row| (row.at_s, value(row))).collect())
                    };
                    let lines = series.iter().map(line).collect();
                    let (size, x_ticks) = ((430.0, 190.0), time_ticks(end));
                    let x_name = time_name;
                    Chart { title, size, unit: *unit, x_ticks, x_end: end, x_name, shade, lines }.draw(html);
                }
            });
            if shade.is_some() {
                html.leaf("p", &[("class", &"note")], "Shaded: the part that was measured.");
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_with_hardly_any_cpu_time_has_none_for_a_delivery() {
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
