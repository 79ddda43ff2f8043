//! One figure of both sides, and its finding.
//!
//! A shared machine changes speed from minute to minute, by more than many a difference of
//! interest. The harness opens and checks the same messages on both sides, so its CPU time of a
//! delivery serves as a control variate: a time in units of this cost no longer contains the speed
//! of the machine. The coefficient is fixed at 1, as runs are too few to fit one.
//!
//! Each time is therefore looked at as it is and in units of the control, and the one that varies
//! less over all runs of both sides decides. Where the machine explains the variation, the control
//! removes it; where it does not, as with the delays of a network, the control only adds its own.
//! The choice ignores which side a run belongs to, so the permutation test stays exact.
//!
//! The cost of a delivery also depends on how many arrive with one read, and thus on the server. A
//! change in units of the control therefore only counts if the time itself changed the same way.

use std::cmp::Ordering;

use serde::Serialize;

use super::metrics::{Better, HARNESS_COST, Metric};
use super::permutation::{LEVEL, adjust, p_value};

/// Result of comparing one figure.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Finding {
    /// No difference that is both significant and larger than the noise.
    Same,
    /// Better.
    Better,
    /// Worse.
    Worse,
    /// Different, in a figure that has no better or worse.
    Different,
    /// Shown only: there is too little evidence for a test.
    Untested,
}

/// Unit of a figure.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub enum Unit {
    /// Microseconds.
    #[serde(rename = "us")]
    Micros,
    /// Events a second.
    #[serde(rename = "1/s")]
    PerSecond,
    /// A share: 1 is 100 %.
    #[serde(rename = "share")]
    Share,
    /// Bytes.
    #[serde(rename = "bytes")]
    Bytes,
    /// A count.
    #[serde(rename = "count")]
    Count,
}

/// A change in units of the harness's CPU cost of a delivery in the same run.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Controlled {
    /// Relative change of the median: 0.1 is 10 % more on the new side.
    pub change: f64,
    /// True if these values decide the finding: they vary less than the figure itself.
    pub decides: bool,
}

/// One figure of both sides.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Compared {
    /// Name of the figure.
    pub name: String,
    /// Its unit.
    pub unit: Unit,
    /// Median of the baseline's runs; of a count, the largest.
    pub baseline: f64,
    /// Median of the new side's runs; of a count, the largest.
    pub new: f64,
    /// Smallest and largest value of the baseline's runs.
    pub baseline_range: [f64; 2],
    /// Smallest and largest value of the new side's runs.
    pub new_range: [f64; 2],
    /// Relative change: 0.1 is 10 % more on the new side. Null if the baseline is 0.
    pub change: Option<f64>,
    /// Two-sided p-value of the permutation test, adjusted for the number of figures but for that
    /// of the control, which is not among them. Null if not tested.
    pub p: Option<f64>,
    /// The change in units of the harness's cost. Null if that is no measure of the figure, or if
    /// the sides did not have the same traffic.
    pub controlled: Option<Controlled>,
    /// The finding.
    pub finding: Finding,
    #[serde(skip)]
    better: Better,
}

impl Compared {
    /// Compares the values of a metric, each above 0, and takes their p-value if they are tested.
    /// `costs` are the control's values. The finding is left to [`judge`].
    pub(super) fn new(
        metric: Metric,
        values: &[Vec<f64>; 2],
        costs: Option<&[Vec<f64>; 2]>,
        is_tested: bool,
    ) -> Self {
        let in_costs = |costs: &[Vec<f64>; 2]| {
            [0, 1]
                .map(|side| values[side].iter().zip(&costs[side]).map(|(value, cost)| value / cost).collect())
        };
        let in_costs = costs.filter(|_| metric.is_controlled).map(in_costs);
        let controlled = in_costs.as_ref().map(|in_costs| Controlled {
            change: change(in_costs),
            decides: is_tested && spread(in_costs) < spread(values),
        });
        let deciding =
            in_costs.as_ref().filter(|_| controlled.is_some_and(|it| it.decides)).unwrap_or(values);
        Self {
            name: metric.name,
            unit: metric.unit,
            baseline: median(&values[0]),
            new: median(&values[1]),
            baseline_range: range(&values[0]),
            new_range: range(&values[1]),
            change: Some(change(values)),
            p: is_tested.then(|| p_value([&deciding[0], &deciding[1]])),
            controlled,
            finding: Finding::Untested,
            better: metric.better,
        }
    }

    /// Compares the largest count of each side.
    pub(super) fn of_counts(name: &str, counts: &[Vec<f64>; 2], is_tested: bool) -> Self {
        let ranges @ [[_, baseline], [_, new]] = counts.each_ref().map(|side| range(side));
        let finding = match new.total_cmp(&baseline) {
            _ if !is_tested => Finding::Untested,
            Ordering::Less => Finding::Better,
            Ordering::Equal => Finding::Same,
            Ordering::Greater => Finding::Worse,
        };
        Self {
            name: name.into(),
            unit: Unit::Count,
            baseline,
            new,
            baseline_range: ranges[0],
            new_range: ranges[1],
            change: (baseline > 0.0).then(|| new / baseline - 1.0),
            p: None,
            controlled: None,
            finding,
            better: Better::Lower,
        }
    }

    /// True for a figure that counts among those that p-values are adjusted for.
    pub(super) fn is_tested(&self) -> bool {
        self.p.is_some() && self.better != Better::Neither
    }

    /// Returns the finding that follows from the adjusted p-value. Changes up to the share `noise`
    /// are no difference.
    fn judged(&self, noise: f64) -> Finding {
        let (Some(p), Some(change)) = (self.p, self.change) else { return self.finding };
        let decides = self.controlled.filter(|controlled| controlled.decides);
        let changes = [change, decides.map_or(change, |controlled| controlled.change)].map(f64::ln_1p);
        let is_large = changes.iter().all(|change| change.abs() > noise.ln_1p());
        let is_one_way = changes[0].signum() == changes[1].signum();
        if p <= LEVEL && is_large && is_one_way { direction(self.better, change) } else { Finding::Same }
    }
}

/// Adjusts the p-values for their number and states the findings.
pub(super) fn judge(figures: &mut [Compared], noise: f64) {
    adjust(figures.iter_mut().filter(|figure| figure.is_tested()).filter_map(|it| it.p.as_mut()).collect());
    for figure in &mut *figures {
        figure.finding = figure.judged(noise);
    }
    allow_for_the_machine(figures);
}

/// Takes back findings that a slower or faster machine explains. If the control itself changed, a
/// time may have changed by as much on the server's side and once more on the harness's. A time
/// that changed the same way by no more than twice as much, and was not judged in units of the
/// control, says nothing of the server.
fn allow_for_the_machine(figures: &mut [Compared]) {
    let control = figures.iter().find(|figure| figure.name == HARNESS_COST);
    let Some(shift) = control.filter(|it| it.finding == Finding::Different).and_then(|it| it.change) else {
        return;
    };
    let allowed = 2.0 * shift.ln_1p();
    for figure in figures {
        let is_decided = matches!(figure.finding, Finding::Worse | Finding::Better);
        let is_controlled = figure.controlled.is_some_and(|controlled| controlled.decides);
        let is_within = figure.change.is_some_and(|change| (0.0..=1.0).contains(&(change.ln_1p() / allowed)));
        if is_decided && !is_controlled && is_within && figure.unit == Unit::Micros {
            figure.finding = Finding::Same;
        }
    }
}

/// Returns the finding for a change that is a difference.
fn direction(better: Better, change: f64) -> Finding {
    match better {
        Better::Neither => Finding::Different,
        Better::Lower if change > 0.0 => Finding::Worse,
        Better::Higher if change < 0.0 => Finding::Worse,
        _ => Finding::Better,
    }
}

fn sorted(values: impl IntoIterator<Item = f64>) -> Vec<f64> {
    let mut values: Vec<f64> = values.into_iter().collect();
    values.sort_by(f64::total_cmp);
    values
}

fn median(values: &[f64]) -> f64 {
    let values = sorted(values.iter().copied());
    f64::midpoint(values[(values.len() - 1) / 2], values[values.len() / 2])
}

fn range(values: &[f64]) -> [f64; 2] {
    [values.iter().copied().fold(f64::INFINITY, f64::min), values.iter().copied().fold(0.0, f64::max)]
}

/// Returns the relative change of the median.
fn change([baseline, new]: &[Vec<f64>; 2]) -> f64 {
    median(new) / median(baseline) - 1.0
}

/// Returns the variance of the logarithms of all runs, whichever side they belong to. They are
/// sorted, so that the order of the runs does not change a single bit.
fn spread(values: &[Vec<f64>; 2]) -> f64 {
    let logs = sorted(values.iter().flatten().map(|value| value.ln()));
    let mean = logs.iter().sum::<f64>() / logs.len() as f64;
    logs.iter().map(|log| (log - mean).powi(2)).sum::<f64>() / logs.len() as f64
}
