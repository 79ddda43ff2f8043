//! One step after the other, and one report on all of them.

use std::fmt::Display;
use std::time::{Duration, Instant, SystemTime};

use throng_core::config::format_duration;
use throng_core::shutdown::Shutdown;
use throng_harness_model::results::Findings;
use throng_harness_model::spec::{Job, Scenario, Standing};
use throng_harness_model::target::Target;
use throng_harness_model::text::{format_count, format_nanos, format_rate};
use throng_harness_report::{Origin, Report, Verdict};

use super::{Axis, Capacity, Forecast, Found, LimitedBy, Phase, Retries, StepsJob, Trial, judge};
use crate::steps::{Limit, Step, SteppedReport};

/// What clients do in a closed loop.
const AS_FAST: &str = " as fast as they are served";

/// Runs the steps of `steps` against `target` by `drive`, and tells how it goes by `say`. An error of the first step is
/// one of the run; if a later one cannot be run, the report says so, and fails.
pub fn run<E: Display>(
    steps: StepsJob,
    origin: &Origin,
    target: &Target,
    shutdown: &Shutdown,
    say: &mut dyn FnMut(&str),
    mut drive: impl FnMut(&Job, &Target) -> Result<Findings, E>,
) -> Result<SteppedReport, String> {
    let mut tries = Retries::new(steps.strategy.clone());
    let mut made = Made { began: Instant::now(), steps: Vec::new(), reports: Vec::new(), ended: Ended::Done };
    let standing = |step: String, before: &[Step]| {
        Some(Box::new(Standing {
            scenario: steps.name,
            step,
            before: before.iter().map(|step| line(step, steps.axis)).collect(),
        }))
    };
    let mut measure = |job: &Job| -> Result<Report, String> {
        let findings = drive(job, target).map_err(|error| error.to_string())?;
        let origin = Origin { started: SystemTime::now(), ..origin.clone() };
        Ok(Report::new(job, origin, findings))
    };
    while let Some(trial) = tries.next() {
        if !made.steps.is_empty() && is_over(shutdown, steps.pause) {
            made.ended = Ended::Interrupted;
            break;
        }
        let number = made.steps.len() + 1;
        let started_s = made.began.elapsed().as_secs_f64();
        let place = place(number, trial, tries.planned());
        let size = steps.axis.show(trial.size);
        let report = steps.factory.job(trial.size).and_then(|mut job| {
            say(&announcement(&place, trial, &job));
            job.standing = standing(format!("{place}, {size}{}", again(trial)), &made.steps);
            measure(&job)
        });
        let report = match report {
            Ok(report) => report,
            Err(error) if made.steps.is_empty() => return Err(error),
            Err(error) => {
                made.ended = Ended::Broken(format!("step {number} could not be made: {error}"));
                break;
            }
        };
        let judged = judge(&report);
        let is_cut = report.verdict == Verdict::Interrupted;
        let mut is_repeated = false;
        if is_cut {
            made.ended = Ended::Interrupted;
        } else {
            say(&outcome(number, &judged.because, judged.limited_by));
            is_repeated = tries.judged(judged.outcome());
        }
        let mut step = Step::new(number as u32, trial, &report, judged);
        step.started_s = started_s;
        step.report = steps.keep_reports.then(|| Box::new(report.clone()));
        made.steps.push(step);
        made.reports.push(report);
        if !is_cut
            && !is_repeated
            && let Some(ahead) = steps.ahead
            && let Some(mut job) = steps.factory.closed(trial.size, ahead)
        {
            job.standing = standing(format!("{place}, {size}{AS_FAST}"), &made.steps);
            match closed_loop(&job, ahead, &size, steps.pause, shutdown, say, &mut measure) {
                Ok(capacity) => made.steps[number - 1].capacity = Some(capacity),
                Err(ended) => made.ended = ended,
            }
        }
        if made.ended != Ended::Done {
            break;
        }
    }
    Ok(made.into_report(steps, tries.found()))
}

/// How the steps ended.
#[derive(Debug, PartialEq)]
enum Ended {
    Done,
    Interrupted,
    Broken(String),
}

/// Waits between two runs; true if the user wants no more.
fn is_over(shutdown: &Shutdown, pause: Duration) -> bool {
    shutdown.wait_timeout(pause).is_some()
}

/// Measures by `job` what the server can make with so many clients.
fn closed_loop(
    job: &Job,
    ahead: u32,
    size: &str,
    pause: Duration,
    shutdown: &Shutdown,
    say: &mut dyn FnMut(&str),
    measure: &mut impl FnMut(&Job) -> Result<Report, String>,
) -> Result<Capacity, Ended> {
    if is_over(shutdown, pause) {
        return Err(Ended::Interrupted);
    }
    say(&format!("  {size}{AS_FAST}"));
    match measure(job) {
        Ok(report) if report.verdict == Verdict::Interrupted => Err(Ended::Interrupted),
        Ok(report) => Ok(Capacity::of(&report, ahead)),
        Err(error) => Err(Ended::Broken(format!("the capacity of {size} could not be measured: {error}"))),
    }
}

/// Which step it is.
fn place(number: usize, trial: Trial, planned: Option<usize>) -> String {
    match (trial.phase, planned) {
        (Phase::Climb | Phase::Repeat, Some(all)) if number <= all => format!("step {number} of {all}"),
        _ => format!("step {number}"),
    }
}

/// Why it is made, unless it is simply the next.
fn again(trial: Trial) -> &'static str {
    match trial.phase {
        Phase::Climb => "",
        Phase::Narrow => ", between what was good and what was not",
        Phase::Confirm => " again, to confirm them",
        Phase::Repeat => " once more, since the harness was not up to it",
    }
}

fn announcement(place: &str, trial: Trial, job: &Job) -> String {
    let pace = match &job.scenario {
        Scenario::Broadcast(broadcast) => format!(
            ", {:.1} messages/s for {}",
            1.0 / broadcast.interval.as_secs_f64(),
            format_duration(broadcast.duration)
        ),
        Scenario::Bots(bots) => format!(", talking for {}", format_duration(bots.duration)),
        Scenario::Connect(_) | Scenario::Login(_) => String::new(),
    };
    let clients = format_count(job.clients.into());
    format!("{place}: {clients} clients{pace}{}", again(trial))
}

/// How a step came out, in a line of a picture.
fn line(step: &Step, axis: Axis) -> String {
    let mut line = format!("{}  {}  {}", step.number, axis.show(step.size), step.outcome());
    let mut add = |text: String| line.push_str(&text);
    match step.because.first() {
        Some(because) => add(format!(": {because}")),
        None if step.last_recipient_us.count > 0 => {
            add(format!(", last p99 {}", format_nanos(step.last_recipient_us.p99 * 1e3)));
        }
        None => {}
    }
    if let Some(capacity) = &step.capacity {
        add(format!(", at most {}/s", format_rate(capacity.deliveries_per_s)));
    }
    line
}

fn outcome(number: usize, because: &[String], limited_by: Option<LimitedBy>) -> String {
    match limited_by {
        None => format!("step {number}: good"),
        Some(LimitedBy::Server) => format!("step {number}: not good: {}", because.join("; ")),
        Some(LimitedBy::Harness) => {
            format!(
                "step {number}: not good, by the harness's limit and not the server's: {}",
                because.join("; ")
            )
        }
    }
}

/// What has been done so far: steps and their reports.
struct Made {
    began: Instant,
    steps: Vec<Step>,
    reports: Vec<Report>,
    ended: Ended,
}

impl Made {
    /// The report of the step that all of them stand for, with all of them in it.
    fn into_report(mut self, job: StepsJob, found: Found) -> SteppedReport {
        // The last one of its size, which is the confirmation if there was one. Without a good one the first stands for all.
        let stands = self.steps.iter().rposition(|step| step.good && Some(step.size) == found.good);
        let mut report = self.reports.swap_remove(stands.unwrap_or(0));
        let interrupted = self.ended == Ended::Interrupted;
        if let Ended::Broken(what) = self.ended {
            report.incomplete_because.push(what);
        }
        let forecast = job.forecast.map(|sizes| {
            let measured: Vec<_> =
                self.steps.iter().filter_map(|step| Some((step.size, step.capacity.as_ref()?))).collect();
            let forecast = Forecast::new(&measured, &sizes);
            if interrupted { forecast.cut() } else { forecast }
        });
        let reported = stands.map(|at| self.steps[at].number);
        let limit = Limit::new(job.axis, found, &self.steps, reported, job.every_step_counts, interrupted);
        let mut stepped = SteppedReport { report, limit, forecast, steps: self.steps };
        let checked = stepped.check(job.every_step_counts, interrupted);
        let report = &mut stepped.report;
        report.verdict = match (interrupted, checked.held && report.incomplete_because.is_empty()) {
            (true, _) => Verdict::Interrupted,
            (false, true) => Verdict::Pass,
            (false, false) => Verdict::Fail,
        };
        report.thresholds.push(checked);
        job.name.clone_into(&mut report.scenario);
        stepped
    }
}
