//! Reports held against each other: what got better, what worse, and what only looks like it.
//!
//! A figure is called different only if two things are so. The difference is certain: the interval that follows from the runs' seconds
//! (see `bootstrap`) has no zero in it. And it is larger than the noise: two runs of the same server on a machine that others use
//! too differ by some percent in a way that no second of either run tells of, so that a difference can be certain and mean nothing.

mod bootstrap;
mod differences;
mod metrics;
mod series;
pub(super) mod show;

use std::path::{Path, PathBuf};

use serde::Serialize;
use thiserror::Error;

use self::bootstrap::{difference, middle};
use self::metrics::{Better, EXACT, Exact, HARNESS_COST, METRICS, Metric};
use self::series::{Series, counted};
use super::{Report, Verdict};

pub use self::differences::Differing;

/// Fewest runs of a side whose figures of whole runs are compared: with fewer, all of one side lie above all of the other by chance
/// more often than once in a hundred times.
const RUNS_MIN: usize = 5;

/// Fewest full seconds of a side, and of each of its runs, whose figures are compared: fewer blocks than that say little of each other.
const ROWS_MIN: usize = 20;
const ROWS_OF_RUN_MIN: usize = 5;

/// A report and the file that it came from.
#[derive(Debug, Clone)]
pub struct Named {
    /// The file.
    pub path: PathBuf,
    /// What is in it.
    pub report: Report,
}

/// Why reports cannot be compared.
#[derive(Debug, Error)]
#[error(
    "{} is of the scenario `{other}` and {} of `{first}`: compare reports of one scenario",
    other_path.display(),
    first_path.display()
)]
pub struct CompareError {
    first: String,
    first_path: PathBuf,
    other: String,
    other_path: PathBuf,
}

/// What a figure's comparison came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Finding {
    /// No difference that is both certain and larger than the noise.
    Same,
    /// Better.
    Better,
    /// Worse.
    Worse,
    /// Different, and neither better nor worse.
    Different,
    /// There are too few seconds, or too few runs, to tell.
    Untested,
}

/// What a figure is measured in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub enum Unit {
    /// A time.
    #[serde(rename = "us")]
    Micros,
    /// So many a second.
    #[serde(rename = "1/s")]
    PerSecond,
    /// A share: 1 is 100 %.
    #[serde(rename = "share")]
    Share,
    /// A size.
    #[serde(rename = "bytes")]
    Bytes,
    /// A number of things.
    #[serde(rename = "count")]
    Count,
}

/// One figure of both sides.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Compared {
    /// What it is.
    pub name: String,
    /// What it is measured in.
    pub unit: Unit,
    /// What stands for the baseline.
    pub baseline: f64,
    /// What stands for the new side.
    pub new: f64,
    /// How much more the new side has: 0.1 is 10 %; null if the baseline has none.
    pub change: Option<f64>,
    /// Between which changes the true one lies with 99 % certainty; null if that cannot be told.
    pub interval: Option<[f64; 2]>,
    /// What that comes to.
    pub finding: Finding,
}

/// What a comparison came to as a whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    /// Nothing is significantly different.
    Same,
    /// Something got better and nothing worse.
    Better,
    /// Something got worse.
    Worse,
    /// There was nothing that could be tested.
    Untested,
}

/// Two sides held against each other, as it is written to `--json`.
#[derive(Debug, Clone, Serialize)]
pub struct Comparison {
    /// The version of this form: 1.
    pub format: u32,
    /// `report`.
    pub scenario: &'static str,
    /// The scenario that the reports are of.
    pub of: String,
    /// What the comparison came to.
    pub outcome: Outcome,
    /// The baseline's files.
    pub baseline: Vec<PathBuf>,
    /// The new side's files.
    pub new: Vec<PathBuf>,
    /// The share up to which a change is noise.
    pub noise: f64,
    /// How certain the intervals are: 0.99.
    pub confidence: f64,
    /// Whether both sides were to send the same messages to the same clients at the same times; null if the reports do not say.
    pub same_traffic: Option<bool>,
    /// In what else the sides differ that may matter.
    pub differing: Vec<Differing>,
    /// What makes the comparison weaker than it looks.
    pub doubts: Vec<String>,
    /// Every figure that both sides have.
    pub figures: Vec<Compared>,
    /// This program's version.
    pub version: &'static str,
}

impl Comparison {
    /// Compares `new` with `baseline`; changes up to the share `noise` count as none.
    pub fn new(baseline: &[Named], new: &[Named], noise: f64) -> Result<Self, CompareError> {
        let mut all = baseline.iter().chain(new);
        let first = all.next();
        for other in all {
            if let Some(first) = first
                && other.report.scenario != first.report.scenario
            {
                return Err(CompareError {
                    first: first.report.scenario.clone(),
                    first_path: first.path.clone(),
                    other: other.report.scenario.clone(),
                    other_path: other.path.clone(),
                });
            }
        }
        let sides = [baseline, new].map(reports);
        let mut figures: Vec<_> =
            METRICS.iter().zip(0..).filter_map(|(m, seed)| by_rows(m, &sides, noise, seed)).collect();
        allow_for_the_machine(&mut figures);
        figures.extend(by_runs(&sides, noise));
        figures.extend(EXACT.iter().map(|exact| counts(exact, &sides)));
        let doubts = doubts(baseline, new, &figures);
        Ok(Self {
            format: 1,
            scenario: "report",
            of: first.map_or_else(String::new, |first| first.report.scenario.clone()),
            outcome: outcome(&figures),
            baseline: paths(baseline),
            new: paths(new),
            noise,
            confidence: bootstrap::CONFIDENCE,
            same_traffic: differences::same_traffic(&sides),
            differing: differences::differing(&sides),
            doubts,
            figures,
            version: env!("CARGO_PKG_VERSION"),
        })
    }

    /// Whether something got significantly worse.
    pub fn is_worse(&self) -> bool {
        self.outcome == Outcome::Worse
    }
}

fn reports(side: &[Named]) -> Vec<&Report> {
    side.iter().map(|named| &named.report).collect()
}

fn paths(side: &[Named]) -> Vec<PathBuf> {
    side.iter().map(|named| named.path.clone()).collect()
}

/// Compares what each second of the runs had; none if a side has not had it.
fn by_rows(metric: &Metric, sides: &[Vec<&Report>; 2], noise: f64, seed: u64) -> Option<Compared> {
    let series = |side: &Vec<&Report>| -> Vec<Series> {
        side.iter().map(|report| (metric.series)(counted(report))).collect()
    };
    let [baseline, new] = sides.each_ref().map(series);
    let is_evidence = !metric.needs_valid || sides.iter().flatten().all(|report| report.valid);
    let is_long = [&baseline, &new].iter().all(|side| {
        side.iter().all(|run| run.len() >= ROWS_OF_RUN_MIN)
            && side.iter().map(Series::len).sum::<usize>() >= ROWS_MIN
    });
    compared(
        metric.name.into(),
        metric.unit,
        metric.better,
        &baseline,
        &new,
        noise,
        (is_evidence && is_long).then_some(seed),
    )
}

/// The harness does the same work for the same messages. If that came to cost more, or less, then so may everything else, once on the
/// server's side and once on the harness's: what changed by no more than twice as much says nothing of the server.
fn allow_for_the_machine(figures: &mut [Compared]) {
    let control = figures.iter().find(|figure| figure.name == HARNESS_COST);
    let Some(shift) = control.filter(|figure| figure.finding == Finding::Different).and_then(|it| it.change)
    else {
        return;
    };
    let allowed = 2.0 * shift.ln_1p().abs();
    for figure in figures {
        let is_decided = matches!(figure.finding, Finding::Worse | Finding::Better);
        let is_within = figure.change.is_some_and(|change| change.ln_1p().abs() <= allowed);
        if is_decided && is_within && figure.unit == Unit::Micros {
            figure.finding = Finding::Same;
        }
    }
}

/// Compares what a run has as a whole, for which the only evidence is how runs differ.
fn by_runs(sides: &[Vec<&Report>; 2], noise: f64) -> Vec<Compared> {
    let is_enough = sides.iter().all(|side| side.len() >= RUNS_MIN);
    let compare = |name: String, unit, value: &dyn Fn(&Report) -> Option<f64>| {
        let series = |side: &Vec<&Report>| -> Vec<Series> {
            side.iter()
                .map(|report| {
                    Series::Values(value(report).filter(|value| *value > 0.0).into_iter().collect())
                })
                .collect()
        };
        let [baseline, new] = sides.each_ref().map(series);
        compared(name, unit, Better::Lower, &baseline, &new, noise, is_enough.then_some(u64::MAX))
    };
    let mut figures = Vec::new();
    let is_silent = sides.iter().flatten().all(|report| report.sent == 0);
    let phases = sides[0].first().filter(|_| is_silent).map(|report| report.phases_us.keys());
    for phase in phases.into_iter().flatten() {
        let shown = phase.replace('_', " ");
        figures.extend(compare(format!("{shown} p50"), Unit::Micros, &|report| {
            report.phases_us.get(phase).map(|latency| latency.p50)
        }));
        figures.extend(compare(format!("{shown} p99"), Unit::Micros, &|report| {
            report.phases_us.get(phase).map(|latency| latency.p99)
        }));
    }
    figures.extend(compare("server memory at the end".into(), Unit::Bytes, &|report| {
        report.server.map(|server| server.rss_bytes as f64)
    }));
    figures
}

/// Compares two sides' series. Without a seed there is too little to tell a difference by.
fn compared(
    name: String,
    unit: Unit,
    better: Better,
    baseline: &[Series],
    new: &[Series],
    noise: f64,
    seed: Option<u64>,
) -> Option<Compared> {
    let sides = [middle(baseline)?, middle(new)?];
    let found = seed.and_then(|seed| difference(baseline, new, seed));
    let log = sides[1] - sides[0];
    let finding = match found {
        None => Finding::Untested,
        Some(found) => {
            let is_certain = found.interval[0] > 0.0 || found.interval[1] < 0.0;
            if is_certain && log.abs() > noise.ln_1p() { direction(better, log) } else { Finding::Same }
        }
    };
    Some(Compared {
        name,
        unit,
        baseline: sides[0].exp(),
        new: sides[1].exp(),
        change: Some(log.exp_m1()),
        interval: found.map(|found| found.interval.map(f64::exp_m1)),
        finding,
    })
}

fn direction(better: Better, change: f64) -> Finding {
    match better {
        Better::Neither => Finding::Different,
        Better::Lower if change > 0.0 => Finding::Worse,
        Better::Higher if change < 0.0 => Finding::Worse,
        _ => Finding::Better,
    }
}

/// Compares the worst run of each side.
fn counts((name, better, count): &Exact, sides: &[Vec<&Report>; 2]) -> Compared {
    let [baseline, new] =
        sides.each_ref().map(|side| side.iter().map(|report| count(report)).max().unwrap_or(0));
    let finding =
        if baseline == new { Finding::Same } else { direction(*better, new as f64 - baseline as f64) };
    Compared {
        name: (*name).into(),
        unit: Unit::Count,
        baseline: baseline as f64,
        new: new as f64,
        change: (baseline > 0).then(|| new as f64 / baseline as f64 - 1.0),
        interval: None,
        finding,
    }
}

fn outcome(figures: &[Compared]) -> Outcome {
    let has = |finding| figures.iter().any(|figure| figure.finding == finding);
    let is_tested = figures.iter().any(|figure| figure.interval.is_some());
    match (has(Finding::Worse), has(Finding::Better)) {
        (true, _) => Outcome::Worse,
        (false, true) => Outcome::Better,
        (false, false) if is_tested => Outcome::Same,
        (false, false) => Outcome::Untested,
    }
}

/// What makes the comparison weaker than it looks.
fn doubts(baseline: &[Named], new: &[Named], figures: &[Compared]) -> Vec<String> {
    let shown = |path: &Path| path.display().to_string();
    let mut doubts = Vec::new();
    for Named { path, report } in baseline.iter().chain(new) {
        if !report.valid {
            let because = report.invalid_because.first().map_or("it says so", String::as_str);
            doubts.push(format!("{} is INVALID, so its latencies are no evidence: {because}", shown(path)));
        }
        if !report.rate_changes.is_empty() {
            doubts.push(format!("{}: {}", shown(path), report.shown_rate_changes()));
        }
        if report.verdict == Verdict::Interrupted {
            doubts.push(format!("{} was INTERRUPTED", shown(path)));
        }
        if !report.incomplete_because.is_empty() {
            doubts.push(format!(
                "{} did not go to its end: {}",
                shown(path),
                report.incomplete_because.join("; ")
            ));
        }
    }
    let harness = figures.iter().find(|figure| figure.name == HARNESS_COST);
    if let Some(figure) = harness.filter(|figure| figure.finding == Finding::Different) {
        doubts.push(format!(
            "the harness's own cost of a delivery changed too, by {:+.1}%: it may have been the machine, so times that changed by up to \
             twice that are not called different",
            figure.change.unwrap_or(0.0) * 100.0
        ));
    }
    if figures.iter().any(|figure| figure.finding == Finding::Untested && figure.unit != Unit::Count) {
        doubts.push(format!(
            "what is not tested has fewer than {ROWS_MIN} full seconds on a side, is a latency of a run that is not valid, or is a figure of \
             whole runs and has fewer than {RUNS_MIN} of them on a side"
        ));
    }
    doubts
}

#[cfg(test)]
mod tests;
