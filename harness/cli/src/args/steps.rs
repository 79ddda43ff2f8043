//! What `ramp` and `bench` have in common: broadcasts of several sizes.

use std::time::Duration;

use clap::{Args, ValueEnum};
use throng_core::config::{format_duration, parse_duration};
use throng_harness_driver::steps::{Axis, StepFactory};
use throng_harness_model::audiences::ScopeMix;
use throng_harness_model::limits::{CLIENTS_MAX, STEPS_MAX};
use throng_harness_model::spec::{Job, Scenario};
use throng_harness_model::threshold::Threshold;

use super::broadcast::RawTalk;
use super::common::Common;
use super::job;

/// Most messages of a closed loop; it ends before its time if they run out.
const CLOSED_MAX: u32 = 400_000;
/// Time between two warm-up messages of a closed loop.
const CLOSED_WARMUP: Duration = Duration::from_millis(10);
/// Greatest size of a step over the rate: a message every microsecond.
const RATE_MAX: u32 = 1_000_000;

#[derive(Debug, Args)]
pub(super) struct RawStepping {
    /// Time between two messages of all clients together, which stays the same when they become more
    #[arg(long, value_name = "TIME", conflicts_with = "each", value_parser = parse_duration)]
    pub(super) interval: Option<Duration>,
    /// Time between two messages of each client, so that with more clients there are more messages
    #[arg(long, value_name = "TIME", value_parser = parse_duration)]
    pub(super) each: Option<Duration>,
    /// Time between two steps, in which the server gets over the older one
    #[arg(long, value_name = "TIME", default_value = "1s", value_parser = parse_duration)]
    pub(super) pause: Duration,
    /// Write each step's whole report into the JSON report
    #[arg(long)]
    pub(super) keep_reports: bool,
}

/// What the steps are numbers of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum RawAxis {
    /// Clients
    Clients,
    /// Messages a second, of all clients together
    Rate,
}

impl From<RawAxis> for Axis {
    fn from(axis: RawAxis) -> Self {
        match axis {
            RawAxis::Clients => Self::Clients,
            RawAxis::Rate => Self::Rate,
        }
    }
}

/// How often clients speak.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Talking {
    /// Each of them.
    Each(Duration),
    /// All of them together.
    Together(Duration),
    /// As often as the step says, so many of them.
    Stepped { clients: u32 },
}

/// Makes a broadcast of each size.
#[derive(Debug)]
pub(super) struct Broadcasts {
    /// The largest, of which the others are made.
    base: Job,
    talk: RawTalk,
    talking: Talking,
    duration: Duration,
}

impl Broadcasts {
    /// Broadcasts of `sizes`, of which there is at least one; all must be possible.
    pub(super) fn new(
        mut common: Common,
        talk: RawTalk,
        talking: Talking,
        duration: Duration,
        sizes: &[u32],
    ) -> Result<Self, String> {
        match talking {
            Talking::Stepped { .. } => check_sizes(sizes, Axis::Rate, RATE_MAX)?,
            Talking::Each(_) | Talking::Together(_) => take_largest(&mut common, sizes)?,
        }
        let largest = sizes.iter().copied().max().unwrap_or(1);
        let scenario = Scenario::Broadcast(broadcast(&talk, talking, duration, largest)?);
        let broadcasts = Self { base: job(common, scenario)?, talk, talking, duration };
        sizes.iter().try_for_each(|size| broadcasts.job(*size).map(drop))?;
        Ok(broadcasts)
    }
}

/// Fails unless all sizes of steps are possible, and there are not too many of them.
fn check_sizes(sizes: &[u32], axis: Axis, most: u32) -> Result<(), String> {
    if sizes.len() > STEPS_MAX {
        return Err(format!("--steps names {} of them: use at most {STEPS_MAX}", sizes.len()));
    }
    match sizes.iter().find(|size| !(1..=most).contains(*size)) {
        Some(size) => Err(format!("a step of {}: use from 1 to {most}", axis.show(*size))),
        None => Ok(()),
    }
}

/// Gives the run as many clients as its largest step has; `--clients` would say something else.
pub(super) fn take_largest(common: &mut Common, sizes: &[u32]) -> Result<(), String> {
    if let Some(clients) = common.clients {
        return Err(format!(
            "--clients {clients} is of no use where the steps are of so many clients each: leave it out"
        ));
    }
    check_sizes(sizes, Axis::Clients, CLIENTS_MAX)?;
    common.clients = sizes.iter().copied().max();
    Ok(())
}

/// The step of `base`, which has the most of them, with so many clients. Small steps have fewer than large ones have workers.
pub(super) fn with_clients(base: &Job, clients: u32) -> Job {
    let processes = base.processes.min(clients);
    let workers = base.workers.min(clients / processes);
    Job { clients, workers, processes, ..base.clone() }
}

/// Clients, and the time between two messages of all of them.
fn load(talking: Talking, size: u32) -> (u32, Duration) {
    // Rounded up: otherwise there would be room for one message more.
    let share = |time: Duration| {
        Duration::from_nanos(u64::try_from(time.as_nanos().div_ceil(size.max(1).into())).unwrap_or(u64::MAX))
    };
    match talking {
        Talking::Each(time) => (size, share(time)),
        Talking::Together(time) => (size, time),
        Talking::Stepped { clients } => (clients, share(Duration::from_secs(1))),
    }
}

fn broadcast(
    talk: &RawTalk,
    talking: Talking,
    duration: Duration,
    size: u32,
) -> Result<throng_harness_model::spec::Broadcast, String> {
    let (clients, interval) = load(talking, size);
    talk.check(clients, interval, duration).map_err(|error| {
        let interval = format_duration(interval);
        format!("a step of {clients} clients with a message every {interval}: {error}")
    })
}

impl StepFactory for Broadcasts {
    fn job(&self, size: u32) -> Result<Job, String> {
        let broadcast = broadcast(&self.talk, self.talking, self.duration, size)?;
        let (clients, _) = load(self.talking, size);
        Ok(Job { scenario: Scenario::Broadcast(broadcast), ..with_clients(&self.base, clients) })
    }

    fn closed(&self, size: u32, ahead: u32) -> Option<Job> {
        let mut job = self.job(size).ok()?;
        let Scenario::Broadcast(broadcast) = &mut job.scenario else { return None };
        let setting = &broadcast.setting;
        if setting.speech != ScopeMix::World || setting.deaf + setting.slow > 0 {
            return None;
        }
        broadcast.ahead = Some(ahead);
        broadcast.interval = CLOSED_WARMUP;
        broadcast.messages = CLOSED_MAX;
        // The window is that of one event loop.
        (job.workers, job.processes) = (1, 1);
        // Everything waits in a closed loop, so its times say nothing.
        job.thresholds.retain(|threshold| !threshold.is_about_time());
        Some(job)
    }
}

/// The thresholds that a command line names, with the service level objective before them: one of them about the same replaces it.
pub(super) fn with_slo(slo: Option<Duration>, given: &[Threshold]) -> Result<Vec<Threshold>, String> {
    let slo = slo.map(|slo| format!("last_recipient.p99={}", format_duration(slo)).parse()).transpose()?;
    Ok(slo.into_iter().chain(given.iter().copied()).collect())
}
