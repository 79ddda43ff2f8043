//! Comparison of the reports of two sides, a baseline and a new one: what got better, what worse.
//!
//! Runs of one server differ by several percent for reasons that no run shows, so single runs prove
//! nothing. A comparison takes at least five runs a side, and one value of each run. A figure
//! differs if the permutation test says so (see `permutation`, also for the level), if the medians
//! differ by more than the noise, and if the control allows it (see `figure`). With fewer runs both
//! sides are shown and nothing is called different.

mod differences;
mod figure;
mod metrics;
mod permutation;
pub(crate) mod text;

use std::path::PathBuf;

use serde::Serialize;
use thiserror::Error;

use self::metrics::{COUNTS, HARNESS_COST};
use super::{Report, Verdict};

pub use self::differences::Differing;
pub use self::figure::{Compared, Controlled, Finding, Unit};
pub use self::permutation::p_larger;
pub use self::text::percent;

/// Fewest runs of a side that are tested.
const RUNS_MIN: usize = 5;

/// A report and the file that it came from.
#[derive(Debug, Clone)]
pub struct Named {
    /// The file.
    pub path: PathBuf,
    /// The report in it.
    pub report: Report,
}

/// Reports of different scenarios, which cannot be compared.
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

/// Outcome of a comparison as a whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    /// Nothing is significantly different.
    Same,
    /// Something got better and nothing worse.
    Better,
    /// Something got worse.
    Worse,
    /// Nothing was tested.
    Untested,
}

/// A comparison, as it is written to `--json`.
#[derive(Debug, Clone, Serialize)]
pub struct Comparison {
    /// The version of this form: 2.
    pub format: u32,
    /// `report`.
    pub scenario: &'static str,
    /// The scenario of the reports.
    pub of: String,
    /// The outcome.
    pub outcome: Outcome,
    /// Reason why nothing was tested; null if something was.
    pub untested_because: Option<String>,
    /// The baseline's files.
    pub baseline: Vec<PathBuf>,
    /// The new side's files.
    pub new: Vec<PathBuf>,
    /// Share up to which a change of the median is noise.
    pub noise: f64,
    /// Largest adjusted p-value of a difference: 0.1.
    pub level: f64,
    /// Figures that the p-values are adjusted for.
    pub tested: usize,
    /// True if both sides were to send the same messages to the same clients at the same times;
    /// null if the reports do not say.
    pub same_traffic: Option<bool>,
    /// Other differences between the sides that may matter.
    pub differing: Vec<Differing>,
    /// Facts that weaken the comparison.
    pub doubts: Vec<String>,
    /// Every figure that all runs have.
    pub figures: Vec<Compared>,
    /// This program's version.
    pub version: &'static str,
}

impl Comparison {
    /// Compares `new` with `baseline`. Changes up to the share `noise` are no difference.
    ///
    /// # Errors
    ///
    /// The reports are of more than one scenario.
    pub fn new(baseline: &[Named], new: &[Named], noise: f64) -> Result<Self, CompareError> {
        let of = one_scenario(baseline, new)?;
        let sides = [baseline, new].map(|side| side.iter().map(|named| &named.report).collect::<Vec<_>>());
        let sizes = sides.each_ref().map(Vec::len);
        let has_runs = sizes.iter().all(|size| *size >= RUNS_MIN);
        let same_traffic = differences::same_traffic(&sides);
        let mut figures = measured(&sides, same_traffic == Some(true), has_runs);
        let tested = figures.iter().filter(|figure| figure.is_tested()).count();
        let untested_because = untested_because(sizes, tested);
        if untested_because.is_some() {
            for figure in &mut figures {
                figure.p = None;
            }
        }
        figure::judge(&mut figures, noise);
        for (name, count) in COUNTS {
            let counts = sides.each_ref().map(|side| side.iter().map(|run| count(run) as f64).collect());
            figures.push(Compared::of_counts(name, &counts, has_runs));
        }
        Ok(Self {
            format: 2,
            scenario: "report",
            of,
            outcome: outcome(&figures, untested_because.is_some()),
            untested_because,
            baseline: paths(baseline),
            new: paths(new),
            noise,
            level: permutation::LEVEL,
            tested,
            same_traffic,
            differing: differences::differing(&sides),
            doubts: doubts(baseline, new, &figures),
            figures,
            version: env!("CARGO_PKG_VERSION"),
        })
    }

    /// Returns true if something got significantly worse.
    pub fn is_worse(&self) -> bool {
        self.outcome == Outcome::Worse
    }
}

/// Returns the scenario that all reports are of.
fn one_scenario(baseline: &[Named], new: &[Named]) -> Result<String, CompareError> {
    let mut all = baseline.iter().chain(new);
    let Some(first) = all.next() else { return Ok(String::new()) };
    match all.find(|other| other.report.scenario != first.report.scenario) {
        None => Ok(first.report.scenario.clone()),
        Some(other) => Err(CompareError {
            first: first.report.scenario.clone(),
            first_path: first.path.clone(),
            other: other.report.scenario.clone(),
            other_path: other.path.clone(),
        }),
    }
}

fn paths(side: &[Named]) -> Vec<PathBuf> {
    side.iter().map(|named| named.path.clone()).collect()
}

/// Returns the figures that all runs have. Other traffic costs the harness something else, so it
/// has no control.
fn measured(sides: &[Vec<&Report>; 2], has_control: bool, has_runs: bool) -> Vec<Compared> {
    let all = sides.concat();
    let both = |[baseline, new]: [Option<Vec<f64>>; 2]| Some([baseline?, new?]);
    let costs = both(sides.each_ref().map(|side| metrics::harness_cost().values(side)));
    let costs = costs.filter(|_| has_control);
    let is_valid = all.iter().all(|report| report.valid);
    let compared = metrics::metrics(&all).into_iter().filter_map(|metric| {
        let values = both(sides.each_ref().map(|side| metric.values(side)))?;
        let is_tested = has_runs && (is_valid || !metric.needs_valid);
        Some(Compared::new(metric, &values, costs.as_ref(), is_tested))
    });
    compared.collect()
}

/// Returns the reason why no figure is tested, and the remedy.
fn untested_because([baseline, new]: [usize; 2], tested: usize) -> Option<String> {
    let least = permutation::smallest_p_value([baseline, new]);
    if baseline.min(new) < RUNS_MIN {
        Some(format!(
            "a comparison takes {RUNS_MIN} runs a side, but the baseline has {baseline} and the new side {new}: measure \
             several times, in turns (a, b, a, b)"
        ))
    } else if tested == 0 {
        Some("the reports have no measured figure in common that is evidence".into())
    } else if least * tested as f64 > permutation::LEVEL {
        Some(format!("{tested} figures take more than {baseline} and {new} runs: add a run to each side"))
    } else {
        None
    }
}

fn outcome(figures: &[Compared], is_untested: bool) -> Outcome {
    let has = |finding| figures.iter().any(|figure| figure.finding == finding);
    match (has(Finding::Worse), has(Finding::Better)) {
        (true, _) => Outcome::Worse,
        _ if is_untested => Outcome::Untested,
        (false, true) => Outcome::Better,
        (false, false) => Outcome::Same,
    }
}

/// Returns the facts that weaken a comparison.
fn doubts(baseline: &[Named], new: &[Named], figures: &[Compared]) -> Vec<String> {
    let mut doubts = Vec::new();
    for Named { path, report } in baseline.iter().chain(new) {
        let path = path.display();
        if !report.valid {
            let because = report.invalid_because.first().map_or("no reason given", String::as_str);
            doubts.push(format!("{path} is INVALID, so latencies are not tested: {because}"));
        }
        if !report.rate_changes.is_empty() {
            doubts.push(format!("{path}: {}", report.shown_rate_changes()));
        }
        if report.verdict == Verdict::Interrupted {
            doubts.push(format!("{path} was INTERRUPTED"));
        }
        if !report.incomplete_because.is_empty() {
            doubts.push(format!("{path} did not complete: {}", report.incomplete_because.join("; ")));
        }
    }
    let control = figures.iter().find(|figure| figure.name == HARNESS_COST);
    if let Some(figure) = control.filter(|figure| figure.finding == Finding::Different) {
        doubts.push(format!(
            "the harness's own cost of a delivery changed by {}, perhaps with the machine: a time that changed the same way by up to \
             twice as much only counts as different in units of this cost",
            figure.change_text()
        ));
    }
    doubts
}

#[cfg(test)]
mod tests;
