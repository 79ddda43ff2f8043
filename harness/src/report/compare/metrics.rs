//! The figures that are compared.

use super::Unit;
use super::series::{Series, entered, ratios, received, seconds, values};
use crate::live::Second;
use crate::report::Report;

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

/// What tells whether the machine was another.
pub(super) const HARNESS_COST: &str = "harness CPU per delivery";

/// All of them; a side that has not got one is not compared by it.
pub(super) const METRICS: [Metric; 10] = [
    Metric {
        name: "latency p50",
        unit: Unit::Micros,
        better: Better::Lower,
        needs_valid: true,
        series: |rows| values(rows, |row| row.p50_us),
    },
    Metric {
        name: "latency p99",
        unit: Unit::Micros,
        better: Better::Lower,
        needs_valid: true,
        series: |rows| values(rows, |row| row.p99_us),
    },
    Metric {
        name: "last recipient p50",
        unit: Unit::Micros,
        better: Better::Lower,
        needs_valid: true,
        series: |rows| values(rows, |row| row.last_recipient_p50_us),
    },
    Metric {
        name: "last recipient p99",
        unit: Unit::Micros,
        better: Better::Lower,
        needs_valid: true,
        series: |rows| values(rows, |row| row.last_recipient_p99_us),
    },
    Metric {
        name: "deliveries",
        unit: Unit::PerSecond,
        better: Better::Higher,
        needs_valid: false,
        series: |rows| {
            let rate = |before: &_, row: &_| Some((received(before, row), seconds(before, row)));
            ratios(rows, |before, row| rate(before, row).filter(|_| row.received > 0))
        },
    },
    Metric {
        name: "server CPU per delivery",
        unit: Unit::Micros,
        better: Better::Lower,
        needs_valid: false,
        series: |rows| cpu_per_delivery(rows, |row| row.server_cpu),
    },
    Metric {
        name: HARNESS_COST,
        unit: Unit::Micros,
        better: Better::Neither,
        needs_valid: false,
        series: |rows| cpu_per_delivery(rows, |row| row.harness_cpu),
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
        // Who reads slowly on purpose is expected to miss something.
        if report.impaired.deaf + report.impaired.slow == 0 { report.gaps.messages } else { 0 }
    }),
    ("messages numbered inconsistently", Better::Lower, |report| report.deliveries.inconsistent),
];
