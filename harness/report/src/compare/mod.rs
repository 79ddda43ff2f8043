//! Reports held against each other: what got better, what worse, and what only looks like it.
//!
//! A figure is called different only if two things are so. The difference is certain: the interval that follows from the runs' seconds
//! (see `bootstrap`) has no zero in it. And it is larger than the noise: two runs of the same server on a machine that others use
//! too differ by some percent in a way that no second of either run tells of, so that a difference can be certain and mean nothing.

mod bootstrap;
mod differences;
mod figure;
mod metrics;
mod series;
pub(super) mod text;
mod untested;

use std::path::{Path, PathBuf};

use serde::Serialize;
use thiserror::Error;
use throng_harness_model::results::Second;

use self::figure::{Change, allow_for_the_machine, direction};
use self::metrics::{Better, EXACT, Exact, HARNESS_COST, METRICS, Metric};
use self::series::{Series, counted};
pub use text::percent;

use super::{Report, Verdict};

pub use self::differences::Differing;
pub use self::figure::{Compared, Controlled, Finding, Unit};

/// Fewest runs of a side whose figures of whole runs are compared: with fewer, all of one side lie above all of the other by chance
/// more often than once in a hundred times.
const RUNS_MIN: usize = 5;

/// Fewest runs of a side that say, roughly, what runs differ by.
const RUNS_TELLING: usize = 3;

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
        let same_traffic = differences::same_traffic(&sides);
        // Other messages are other work for the harness too.
        let has_control = same_traffic == Some(true);
        let by_rows = |(metric, seed)| by_rows(metric, &sides, has_control, noise, seed);
        let mut figures: Vec<_> = METRICS.iter().zip(0..).filter_map(by_rows).collect();
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
            same_traffic,
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
fn by_rows(
    metric: &Metric,
    sides: &[Vec<&Report>; 2],
    has_control: bool,
    noise: f64,
    seed: u64,
) -> Option<Compared> {
    let is_evidence = !metric.needs_valid || sides.iter().flatten().all(|report| report.valid);
    let change = |series: fn(&[Second]) -> Series| {
        let sides = sides
            .each_ref()
            .map(|side| -> Vec<Series> { side.iter().map(|report| series(counted(report))).collect() });
        let is_long = sides.iter().all(|side| {
            side.iter().all(|run| run.len() >= ROWS_OF_RUN_MIN)
                && side.iter().map(Series::len).sum::<usize>() >= ROWS_MIN
        });
        Change::of(&sides, (is_evidence && is_long).then_some(seed))
    };
    let controlled = metric.controlled.filter(|_| has_control).and_then(change);
    Some(Compared::new(
        metric.name.into(),
        metric.unit,
        metric.better,
        change(metric.series)?,
        controlled,
        noise,
    ))
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
        let change = Change::of(&sides.each_ref().map(series), is_enough.then_some(u64::MAX))?;
        Some(Compared::new(name, unit, Better::Lower, change, None, noise))
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
        controlled: None,
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
            "the harness's own cost of a delivery changed too, by {:+.1}%: it may have been the machine, so times that changed the same way by \
             up to twice that are not called different, unless they did in units of that cost",
            figure.change.unwrap_or(0.0) * 100.0
        ));
    }
    if figures.iter().any(|figure| figure.finding == Finding::Untested && figure.unit != Unit::Count) {
        doubts.push(format!(
            "what is not tested has fewer than {ROWS_MIN} full seconds on a side, is a latency of a run that is not valid, or is a figure of \
             whole runs and has fewer than {RUNS_MIN} of them on a side"
        ));
    }
    if baseline.len().min(new.len()) < RUNS_TELLING {
        doubts.push(format!(
            "a side has fewer than {RUNS_TELLING} runs, so the intervals do not know what runs of one server differ by, which on a shared machine is \
             often more than the noise: measure several times, in turns"
        ));
    }
    doubts
}

#[cfg(test)]
mod tests;
