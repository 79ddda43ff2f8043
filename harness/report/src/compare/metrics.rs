//! The figures that are compared.

use throng_harness_model::results::Second;

use super::Unit;
use super::series::{Series, entered, ratios, received, seconds, values};
use crate::Report;

/// Which way is better.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Better {
    Lower,
    Higher,
    Neither,
}

/// A figure of a run's seconds.
pub(super) struct Metric {
    pub(super) name: &'static str,
    pub(super) unit: Unit,
    pub(super) better: Better,
    /// Whether it is a latency: a run that is not valid is no evidence of those.
    pub(super) needs_valid: bool,
    pub(super) series: fn(&[Second]) -> Series,
    /// The same in units of what a delivery cost the harness, for times that the machine makes longer and shorter.
    pub(super) controlled: Option<fn(&[Second]) -> Series>,
}

impl Metric {
    /// A latency.
    const fn latency(
        name: &'static str,
        series: fn(&[Second]) -> Series,
        controlled: fn(&[Second]) -> Series,
    ) -> Self {
        Self {
            name,
            unit: Unit::Micros,
            better: Better::Lower,
            needs_valid: true,
            series,
            controlled: Some(controlled),
        }
    }
}

/// What the server's, or this process's, share of a core was spent on.
fn cpu_per_delivery(rows: &[Second], cpu: fn(&Second) -> Option<f64>) -> Series {
    ratios(rows, |before, row| {
        let received = received(before, row);
        let micros = cpu(row)? * seconds(before, row) * 1e6;
        // A second in which it works and delivers nothing counts too.
        (row.received > 0).then_some((micros, received))
    })
}

/// What a delivery of a second cost the harness, in microseconds.
fn harness_cost(before: &Second, row: &Second) -> Option<f64> {
    let cost = row.harness_cpu? * seconds(before, row) * 1e6 / received(before, row);
    (cost.is_finite() && cost > 0.0).then_some(cost)
}

/// A time of each second in units of what a delivery cost the harness in it.
fn in_harness_costs(rows: &[Second], micros: fn(&Second) -> f64) -> Series {
    values(rows, |before, row| harness_cost(before, row).map_or(0.0, |cost| micros(row) / cost))
}

/// What tells whether the machine was another.
pub(super) const HARNESS_COST: &str = "harness CPU per delivery";

/// All of them; a side that has not got one is not compared by it.
pub(super) const METRICS: [Metric; 10] = [
    Metric::latency(
        "latency p50",
        |rows| values(rows, |_, row| row.p50_us),
        |rows| in_harness_costs(rows, |row| row.p50_us),
    ),
    Metric::latency(
        "latency p99",
        |rows| values(rows, |_, row| row.p99_us),
        |rows| in_harness_costs(rows, |row| row.p99_us),
    ),
    Metric::latency(
        "last recipient p50",
        |rows| values(rows, |_, row| row.last_recipient_p50_us),
        |rows| in_harness_costs(rows, |row| row.last_recipient_p50_us),
    ),
    Metric::latency(
        "last recipient p99",
        |rows| values(rows, |_, row| row.last_recipient_p99_us),
        |rows| in_harness_costs(rows, |row| row.last_recipient_p99_us),
    ),
    Metric {
        name: "deliveries",
        unit: Unit::PerSecond,
        better: Better::Higher,
        needs_valid: false,
        series: |rows| {
            let rate = |before: &_, row: &_| Some((received(before, row), seconds(before, row)));
            ratios(rows, |before, row| rate(before, row).filter(|_| row.received > 0))
        },
        controlled: None,
    },
    Metric {
        name: "server CPU per delivery",
        unit: Unit::Micros,
        better: Better::Lower,
        needs_valid: false,
        series: |rows| cpu_per_delivery(rows, |row| row.server_cpu),
        controlled: Some(|rows| {
            ratios(rows, |before, row| {
                let received = received(before, row);
                let server = row.server_cpu? * seconds(before, row) * 1e6;
                (row.received > 0).then_some((server, harness_cost(before, row)? * received))
            })
        }),
    },
    Metric {
        name: HARNESS_COST,
        unit: Unit::Micros,
        better: Better::Neither,
        needs_valid: false,
        series: |rows| cpu_per_delivery(rows, |row| row.harness_cpu),
        controlled: None,
    },
    Metric {
        name: "server CPU",
        unit: Unit::Share,
        better: Better::Lower,
        needs_valid: false,
        series: |rows| {
            ratios(rows, |before, row| {
                let seconds = seconds(before, row);
                // With deliveries it is told for each of them.
                (row.received == 0).then_some((row.server_cpu? * seconds, seconds))
            })
        },
        controlled: None,
    },
    Metric {
        name: "logins",
        unit: Unit::PerSecond,
        better: Better::Higher,
        needs_valid: false,
        series: |rows| {
            ratios(rows, |before, row| {
                (row.received == 0).then_some((entered(before, row), seconds(before, row)))
            })
        },
        controlled: None,
    },
    Metric {
        name: "sent",
        unit: Unit::PerSecond,
        better: Better::Higher,
        needs_valid: false,
        series: |rows| {
            ratios(rows, |before, row| {
                let sent = row.sent.saturating_sub(before.sent) as f64;
                (row.sent > 0).then_some((sent, seconds(before, row)))
            })
        },
        controlled: None,
    },
];

/// A count that needs no statistics: one is one.
pub(super) type Exact = (&'static str, Better, fn(&Report) -> u64);

/// All of them.
pub(super) const EXACT: [Exact; 5] = [
    ("clients not let in", Better::Lower, |report| {
        report.entries_requested().saturating_sub(report.clients.connected)
    }),
    ("clients disconnected", Better::Lower, |report| report.clients.disconnected),
    ("faulty deliveries", Better::Lower, |report| report.deliveries.faults()),
    ("deliveries left out by the server, and told of", Better::Lower, |report| {
        // Earlier versions did not tell whose they are. Who reads slowly on purpose is expected to miss something.
        let all = if report.impaired.deaf + report.impaired.slow == 0 { report.gaps.messages } else { 0 };
        report.gaps.of_readers.max(all)
    }),
    ("messages numbered inconsistently", Better::Lower, |report| report.deliveries.inconsistent),
];
