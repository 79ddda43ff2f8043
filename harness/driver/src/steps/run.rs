//! Makes one step after the other, and one report of all of them.

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

/// Suffix of a step's title in its closed loop.
const CLOSED_LOOP: &str = " as fast as they are served";

/// Runs `steps` against `target`, each by `drive`, and reports progress by `announce`. An error of
/// the first step is returned. If a later step cannot be run, the report says so, and fails.
pub fn run<E: Display>(
    steps: StepsJob,
    origin: &Origin,
    target: &Target,
    shutdown: &Shutdown,
    announce: &mut dyn FnMut(&str),
    mut drive: impl FnMut(&Job, &Target) -> Result<Findings, E>,
) -> Result<SteppedReport, String> {
    let mut retries = Retries::new(steps.strategy.clone());
    let mut progress =
        Progress { began: Instant::now(), steps: Vec::new(), reports: Vec::new(), ended: Ended::Done };
    let standing = |step: String, before: &[Step]| {
        Some(Box::new(Standing {
            scenario: steps.name,
            step,
            before: before.iter().map(|step| step_line(step, steps.axis)).collect(),
        }))
    };
    let mut measure = |job: &Job| -> Result<Report, String> {
        let findings = drive(job, target).map_err(|error| error.to_string())?;
        let origin = Origin { started: SystemTime::now(), ..origin.clone() };
        Ok(Report::new(job, origin, findings))
    };
    while let Some(trial) = retries.next() {
        if !progress.steps.is_empty() && stopped_during(shutdown, steps.pause) {
            progress.ended = Ended::Interrupted;
            break;
        }
        let number = progress.steps.len() + 1;
        let started_s = progress.began.elapsed().as_secs_f64();
        let label = step_number(number, trial, retries.planned());
        let size = steps.axis.show(trial.size);
        let report = steps.factory.job(trial.size).and_then(|mut job| {
            announce(&announcement(&label, trial, &job));
            job.standing = standing(format!("{label}, {size}{}", purpose(trial)), &progress.steps);
            measure(&job)
        });
        let report = match report {
            Ok(report) => report,
            Err(error) if progress.steps.is_empty() => return Err(error),
            Err(error) => {
                progress.ended = Ended::Broken(format!("step {number} could not be made: {error}"));
                break;
            }
        };
        let judged = judge(&report);
        let is_cut = report.verdict == Verdict::Interrupted;
        let mut is_repeated = false;
        if is_cut {
            progress.ended = Ended::Interrupted;
        } else {
            announce(&outcome(number, &judged.because, judged.limited_by));
            is_repeated = retries.judged(judged.outcome());
        }
        let mut step = Step::new(number as u32, trial, &report, judged);
        step.started_s = started_s;
        step.report = steps.keep_reports.then(|| Box::new(report.clone()));
        progress.steps.push(step);
        progress.reports.push(report);
        if !is_cut
            && !is_repeated
            && let Some(ahead) = steps.ahead
            && let Some(mut job) = steps.factory.closed(trial.size, ahead)
        {
            job.standing = standing(format!("{label}, {size}{CLOSED_LOOP}"), &progress.steps);
            match closed_loop(&job, ahead, &size, steps.pause, shutdown, announce, &mut measure) {
                Ok(capacity) => progress.steps[number - 1].capacity = Some(capacity),
                Err(ended) => progress.ended = ended,
            }
        }
        if progress.ended != Ended::Done {
            break;
        }
    }
    Ok(progress.into_report(steps, retries.found()))
}

#[derive(Debug, PartialEq)]
enum Ended {
    Done,
    Interrupted,
    Broken(String),
}

/// Waits between two runs. Returns true if the user stops the run.
fn stopped_during(shutdown: &Shutdown, pause: Duration) -> bool {
    shutdown.wait_timeout(pause).is_some()
}

fn closed_loop(
    job: &Job,
    ahead: u32,
    size: &str,
    pause: Duration,
    shutdown: &Shutdown,
    announce: &mut dyn FnMut(&str),
    measure: &mut impl FnMut(&Job) -> Result<Report, String>,
) -> Result<Capacity, Ended> {
    if stopped_during(shutdown, pause) {
        return Err(Ended::Interrupted);
    }
    announce(&format!("  {size}{CLOSED_LOOP}"));
    match measure(job) {
        Ok(report) if report.verdict == Verdict::Interrupted => Err(Ended::Interrupted),
        Ok(report) => Ok(Capacity::of(&report, ahead)),
        Err(error) => Err(Ended::Broken(format!("the capacity of {size} could not be measured: {error}"))),
    }
}

fn step_number(number: usize, trial: Trial, planned: Option<usize>) -> String {
    match (trial.phase, planned) {
        (Phase::Climb | Phase::Repeat, Some(all)) if number <= all => format!("step {number} of {all}"),
        _ => format!("step {number}"),
    }
}

/// Formats the purpose of a step, unless it is simply the next.
fn purpose(trial: Trial) -> &'static str {
    match trial.phase {
        Phase::Climb => "",
        Phase::Narrow => ", between what was good and what was not",
        Phase::Confirm => " again, to confirm them",
        Phase::Repeat => " once more, since the harness was not up to it",
    }
}

fn announcement(label: &str, trial: Trial, job: &Job) -> String {
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
    format!("{label}: {clients} clients{pace}{}", purpose(trial))
}

/// Formats the outcome of a step for the live view.
fn step_line(step: &Step, axis: Axis) -> String {
    let mut text = format!("{}  {}  {}", step.number, axis.show(step.size), step.outcome());
    let mut add = |part: String| text.push_str(&part);
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
    text
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

struct Progress {
    began: Instant,
    steps: Vec<Step>,
    reports: Vec<Report>,
    ended: Ended,
}

impl Progress {
    /// Returns the report of the step that stands for the run, with all steps in it.
    fn into_report(mut self, job: StepsJob, found: Found) -> SteppedReport {
        // The last good step of the size found stands for the run: the confirmation, if there was
        // one. Without a good step it is the first.
        let representative = self.steps.iter().rposition(|step| step.good && Some(step.size) == found.good);
        let mut report = self.reports.swap_remove(representative.unwrap_or(0));
        let interrupted = self.ended == Ended::Interrupted;
        if let Ended::Broken(error) = self.ended {
            report.incomplete_because.push(error);
        }
        let forecast = job.forecast.map(|sizes| {
            let measured: Vec<_> =
                self.steps.iter().filter_map(|step| Some((step.size, step.capacity.as_ref()?))).collect();
            let forecast = Forecast::new(&measured, &sizes);
            if interrupted { forecast.cut() } else { forecast }
        });
        let reported = representative.map(|at| self.steps[at].number);
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
