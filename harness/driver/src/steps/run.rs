//! Makes one step after the other, and one report of all of them.

use std::fmt::Display;
use std::time::{Duration, Instant, SystemTime};

use throng_core::config::format_duration;
use throng_core::shutdown::Shutdown;
use throng_harness_model::results::Findings;
use throng_harness_model::spec::{Job, Scenario, Standing};
use throng_harness_model::target::Target;
use throng_harness_model::text::format_count;
use throng_harness_report::{Origin, Report, Verdict};

use super::answer::answer;
use super::{Capacity, Forecast, Found, LimitedBy, Phase, Retries, StepsJob, Trial, judge};
use crate::steps::{Limit, Step, SteppedReport};

/// Suffix of a step's title in its closed loop.
const CLOSED_LOOP: &str = " in a closed loop";

/// Runs `steps` against `target`, each by `drive`, and reports progress by `announce`. An error of
/// the first step is returned. If a later step cannot be run, the report says so, and fails.
pub fn run<E: Display>(
    steps: &StepsJob,
    origin: &Origin,
    target: &Target,
    shutdown: &Shutdown,
    announce: &mut dyn FnMut(&str),
    mut drive: impl FnMut(&Job, &Target) -> Result<Findings, E>,
) -> Result<SteppedReport, String> {
    let mut retries = Retries::new(steps.strategy.clone());
    let drive = |job: &Job| drive(job, target).map_err(|error| error.to_string());
    let progress =
        Progress { began: Instant::now(), steps: Vec::new(), reports: Vec::new(), ended: Ended::Done };
    let mut runner = Runner { steps, origin, shutdown, announce, drive, progress };
    while runner.progress.ended == Ended::Done
        && let Some(trial) = retries.next()
    {
        let number = runner.progress.steps.len() + 1;
        if number > 1 && runner.is_stopped() {
            runner.progress.ended = Ended::Interrupted;
            break;
        }
        if !runner.progress.has_time_for(trial.size, steps.within) {
            runner.progress.ended = Ended::TimeIsUp;
            break;
        }
        match runner.step(trial, &mut retries) {
            Err(error) if number == 1 => return Err(error),
            Err(error) => {
                runner.progress.ended = Ended::Broken(format!("step {number} could not be run: {error}"));
            }
            Ok(()) => {}
        }
    }
    Ok(runner.progress.into_report(steps, retries.found()))
}

/// Makes the runs of the steps.
struct Runner<'a, D> {
    steps: &'a StepsJob,
    origin: &'a Origin,
    shutdown: &'a Shutdown,
    announce: &'a mut dyn FnMut(&str),
    drive: D,
    progress: Progress,
}

impl<D: FnMut(&Job) -> Result<Findings, String>> Runner<'_, D> {
    /// Waits between two runs. Returns true if the user stops the steps.
    fn is_stopped(&self) -> bool {
        self.shutdown.wait_timeout(self.steps.pause).is_some()
    }

    /// Makes one run. The live view shows `title`, and the steps so far.
    fn measure(&mut self, mut job: Job, title: String) -> Result<Report, String> {
        let before = self.progress.steps.iter().map(|step| step.line(self.steps.axis)).collect();
        job.standing = Some(Box::new(Standing { scenario: self.steps.name, step: title, before }));
        let findings = (self.drive)(&job)?;
        let origin = Origin { started: SystemTime::now(), ..self.origin.clone() };
        Ok(Report::new(&job, origin, findings))
    }

    /// Makes a step and, unless it is to be repeated, measures its capacity.
    fn step(&mut self, trial: Trial, retries: &mut Retries) -> Result<(), String> {
        let number = self.progress.steps.len() + 1;
        let started_s = self.progress.began.elapsed().as_secs_f64();
        let label = step_number(number, trial, retries.planned());
        let job = self.steps.factory.job(trial.size)?;
        (self.announce)(&announcement(&label, trial, &job));
        let title = format!("{label}{}, {}", retries.progress(number), self.steps.axis.show(trial.size));
        let report = self.measure(job, format!("{title}{}", purpose(trial)))?;
        let judged = judge(&report);
        let is_cut = report.verdict == Verdict::Interrupted;
        let is_repeated = !is_cut && {
            (self.announce)(&outcome(number, &judged.because, judged.limited_by));
            retries.judged(judged.outcome())
        };
        let mut step = Step::new(number as u32, trial, &report, judged);
        step.started_s = started_s;
        step.report = self.steps.keep_reports.then(|| Box::new(report.clone()));
        self.progress.steps.push(step);
        self.progress.reports.push(report);
        if is_cut {
            self.progress.ended = Ended::Interrupted;
        } else if !is_repeated {
            match self.measure_capacity(trial.size, &title) {
                Ok(capacity) => self.progress.steps[number - 1].capacity = capacity,
                Err(ended) => self.progress.ended = ended,
            }
        }
        Ok(())
    }

    /// Measures the capacity with a step's clients; none if the steps have no closed loop.
    fn measure_capacity(&mut self, size: u32, title: &str) -> Result<Option<Capacity>, Ended> {
        let Some(ahead) = self.steps.ahead else { return Ok(None) };
        let Some(job) = self.steps.factory.closed(size, ahead) else { return Ok(None) };
        if self.is_stopped() {
            return Err(Ended::Interrupted);
        }
        let shown = self.steps.axis.show(size);
        (self.announce)(&format!("  {shown}{CLOSED_LOOP}"));
        match self.measure(job, format!("{title}{CLOSED_LOOP}")) {
            Ok(report) if report.verdict == Verdict::Interrupted => Err(Ended::Interrupted),
            Ok(report) => Ok(Some(Capacity::of(&report, ahead))),
            Err(error) => {
                Err(Ended::Broken(format!("the capacity of {shown} could not be measured: {error}")))
            }
        }
    }
}

#[derive(Debug, PartialEq)]
enum Ended {
    Done,
    Interrupted,
    /// The next step would not have ended in time.
    TimeIsUp,
    Broken(String),
}

fn step_number(number: usize, trial: Trial, planned: Option<usize>) -> String {
    match (trial.phase, planned) {
        (Phase::Climb | Phase::Repeat, Some(all)) if number <= all => format!("step {number} of {all}"),
        _ => format!("step {number}"),
    }
}

/// Formats the purpose of a step, unless it is the next one as planned.
fn purpose(trial: Trial) -> &'static str {
    match trial.phase {
        Phase::Climb => "",
        Phase::Narrow => ", between the good and the bad sizes",
        Phase::Confirm => ", to confirm the result",
        Phase::Repeat => ", repeated because it was not good",
    }
}

fn announcement(label: &str, trial: Trial, job: &Job) -> String {
    let pace = match &job.scenario {
        Scenario::Broadcast(broadcast) => format!(
            ", {:.1} messages/s for {}",
            1.0 / broadcast.interval.as_secs_f64(),
            format_duration(broadcast.duration)
        ),
        Scenario::Bots(bots) => format!(" for {}", format_duration(bots.duration)),
        Scenario::Connect(_) | Scenario::Login(_) => String::new(),
    };
    let clients = format_count(job.clients.into());
    format!("{label}: {clients} clients{pace}{}", purpose(trial))
}

fn outcome(number: usize, because: &[String], limited_by: Option<LimitedBy>) -> String {
    match limited_by {
        None => format!("step {number}: good"),
        Some(limit) => {
            let whose = match limit {
                LimitedBy::Server => "",
                LimitedBy::Unexplained => ", and nothing shows the cause",
                LimitedBy::Harness => ", because of the harness's limit and not the server's",
                LimitedBy::Machine => ", because the machine was busy otherwise",
            };
            format!("step {number}: not good{whose}: {}", because.join("; "))
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
    /// Returns true if a step of this size will probably end within the time. Clients enter one
    /// after the other, so a larger step takes longer.
    fn has_time_for(&self, size: u32, within: Option<Duration>) -> bool {
        let (Some(within), Some(last)) = (within, self.steps.last()) else { return true };
        let elapsed = self.began.elapsed().as_secs_f64();
        let growth = f64::from(size) / f64::from(last.size.max(1));
        elapsed + (elapsed - last.started_s) * growth.max(1.0) <= within.as_secs_f64()
    }

    /// Returns the report of the step that stands for the run, with all steps in it.
    fn into_report(mut self, job: &StepsJob, found: Found) -> SteppedReport {
        // The last good step of the size found stands for the run: the confirmation, if there was
        // one. Without a good step it is the first.
        let representative = self.steps.iter().rposition(|step| step.good && Some(step.size) == found.good);
        let mut report = self.reports.swap_remove(representative.unwrap_or(0));
        let interrupted = self.ended == Ended::Interrupted;
        let is_early = interrupted || self.ended == Ended::TimeIsUp;
        if let Ended::Broken(error) = self.ended {
            report.incomplete_because.push(error);
        }
        let forecast = job.forecast.as_ref().map(|sizes| {
            let measured: Vec<_> =
                self.steps.iter().filter_map(|step| Some((step.size, step.capacity.as_ref()?))).collect();
            let forecast = Forecast::new(&measured, sizes);
            if interrupted { forecast.cut() } else { forecast }
        });
        let reported = representative.map(|at| self.steps[at].number);
        let mut limit =
            Limit::new(job.axis, found, &self.steps, reported, job.every_step_counts, interrupted);
        if !job.every_step_counts {
            limit.answer = Some(answer(job.axis, found, &self.steps, &report, is_early));
        }
        let mut stepped = SteppedReport { report, limit, forecast, steps: self.steps };
        let checked = stepped.check(job.every_step_counts, interrupted);
        let verdict = stepped.judge(job.every_step_counts, interrupted);
        let report = &mut stepped.report;
        report.verdict = verdict;
        report.thresholds.push(checked);
        job.name.clone_into(&mut report.scenario);
        stepped
    }
}
