//! The figures of a run that are compared.

use super::Unit;
use crate::Report;

/// Direction in which a figure gets better.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum Better {
    #[default]
    Lower,
    Higher,
    Neither,
}

type Value = Box<dyn Fn(&Report) -> Option<f64>>;

/// A figure that each run has once.
pub(super) struct Metric {
    pub(super) name: String,
    pub(super) unit: Unit,
    pub(super) better: Better,
    /// True for a latency under load, of which a run that is not valid is no evidence.
    pub(super) needs_valid: bool,
    /// True for a time that grows with the harness's cost of a delivery when the machine slows
    /// down.
    pub(super) is_controlled: bool,
    value: Value,
}

impl Metric {
    fn new(
        name: impl Into<String>,
        unit: Unit,
        better: Better,
        value: impl Fn(&Report) -> Option<f64> + 'static,
    ) -> Self {
        let (name, value) = (name.into(), Box::new(value));
        Self { name, unit, better, needs_valid: false, is_controlled: false, value }
    }

    fn latency(name: &'static str, value: fn(&Report) -> f64) -> Self {
        let metric = Self::new(name, Unit::Micros, Better::Lower, move |report| Some(value(report)));
        Self { needs_valid: true, is_controlled: true, ..metric }
    }

    /// Returns the value of each run; none if a run has none, or there is no run.
    pub(super) fn values(&self, side: &[&Report]) -> Option<Vec<f64>> {
        let is_measured = |value: &f64| value.is_finite() && *value > 0.0;
        let values = side.iter().map(|report| (self.value)(report).filter(is_measured));
        values.collect::<Option<Vec<_>>>().filter(|values| !values.is_empty())
    }
}

/// Name of the control.
pub(super) const HARNESS_COST: &str = "harness CPU per delivery";

/// Phases that span others. Their 99th percentile is compared too; for each further one five runs
/// a side could show less.
const WHOLE_PHASES: [&str; 2] = ["way_in", "reconnect"];

/// Returns the control: the harness's CPU time of a delivery, in microseconds.
pub(super) fn harness_cost() -> Metric {
    Metric::new(HARNESS_COST, Unit::Micros, Better::Neither, |report| {
        Some(report.harness?.cpu_s * 1e6 / report.latency_us.count as f64)
    })
}

/// Returns the figures that these runs may have, at most twelve besides the control. Runs in which
/// nothing was sent are compared by their phases.
pub(super) fn metrics(reports: &[&Report]) -> Vec<Metric> {
    let cpu_per_delivery = Metric::new("server CPU per delivery", Unit::Micros, Better::Lower, |report| {
        report.server_cpu_us_per_delivery
    });
    let memory = Metric::new("server memory at the end", Unit::Bytes, Better::Lower, |report| {
        report.server.map(|server| server.rss_bytes as f64)
    });
    if reports.iter().any(|report| report.sent > 0) {
        return vec![
            Metric::latency("latency p50", |report| report.latency_us.p50),
            Metric::latency("latency p99", |report| report.latency_us.p99),
            Metric::latency("last recipient p50", |report| report.last_recipient_us.p50),
            Metric::latency("last recipient p99", |report| report.last_recipient_us.p99),
            Metric::new("deliveries", Unit::PerSecond, Better::Higher, |report| {
                Some(report.rates.deliveries_per_s)
            }),
            Metric { is_controlled: true, ..cpu_per_delivery },
            harness_cost(),
            Metric::new("sent", Unit::PerSecond, Better::Higher, |report| Some(report.rates.achieved_per_s)),
            memory,
        ];
    }
    let mut metrics = vec![
        Metric::new("server CPU", Unit::Share, Better::Lower, |report| {
            Some(report.server?.cpu_s / report.measured_s)
        }),
        Metric::new("logins", Unit::PerSecond, Better::Higher, |report| report.rates.logins_per_s),
        memory,
    ];
    for phase in reports.first().into_iter().flat_map(|report| report.phases_us.keys()) {
        let (phase, shown) = (phase.clone(), phase.replace('_', " "));
        if WHOLE_PHASES.contains(&&*phase) {
            let phase = phase.clone();
            metrics.push(Metric::new(format!("{shown} p99"), Unit::Micros, Better::Lower, move |report| {
                report.phases_us.get(&phase).map(|latency| latency.p99)
            }));
        }
        metrics.push(Metric::new(format!("{shown} p50"), Unit::Micros, Better::Lower, move |report| {
            report.phases_us.get(&phase).map(|latency| latency.p50)
        }));
    }
    metrics
}

/// A count of faults, of which less is better and one more is worse, without a test.
pub(super) type Count = (&'static str, fn(&Report) -> u64);

/// The counts of every run.
pub(super) const COUNTS: [Count; 5] = [
    ("clients not admitted", |report| report.entries_requested().saturating_sub(report.clients.connected)),
    ("clients disconnected", |report| report.clients.disconnected),
    ("faulty deliveries", |report| report.deliveries.faults()),
    ("deliveries skipped and announced", |report| {
        // Earlier versions do not count the gaps of normal readers apart. Clients that read slowly
        // on purpose are expected to have gaps.
        let all = if report.impaired.deaf + report.impaired.slow == 0 { report.gaps.messages } else { 0 };
        report.gaps.of_readers.max(all)
    }),
    ("messages numbered inconsistently", |report| report.deliveries.inconsistent),
];
