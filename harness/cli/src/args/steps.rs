//! Flags shared by `ramp` and `bench`: broadcasts of several sizes.

use std::time::Duration;

use clap::{Args, ValueEnum};
use throng_core::config::{format_duration, parse_duration};
use throng_harness_driver::steps::{Axis, StepFactory};
use throng_harness_model::audiences::ScopeMix;
use throng_harness_model::limits::{CLIENTS_MAX, STEPS_MAX};
use throng_harness_model::spec::{Job, Scenario};
use throng_harness_model::threshold::Threshold;

use super::broadcast::RawTraffic;
use super::common::Common;
use super::job;

/// Most messages of a closed loop, which ends early if they run out.
const CLOSED_MAX: u32 = 400_000;
/// Time between two warm-up messages of a closed loop.
const CLOSED_WARMUP: Duration = Duration::from_millis(10);
/// Greatest size of a step over the rate: a message every microsecond.
const RATE_MAX: u32 = 1_000_000;

#[derive(Debug, Args)]
#[command(next_help_heading = "Steps")]
pub(super) struct RawStepping {
    /// Time between two messages of all clients together, whatever their number
    #[arg(long, value_name = "TIME", conflicts_with = "each", value_parser = parse_duration)]
    pub(super) interval: Option<Duration>,
    /// Time between two messages of each client, so that more clients send more messages
    #[arg(long, value_name = "TIME", value_parser = parse_duration)]
    pub(super) each: Option<Duration>,
    /// Time between two steps, for the server to recover
    #[arg(long, value_name = "TIME", default_value = "1s", value_parser = parse_duration)]
    pub(super) pause: Duration,
    /// Write each step's whole report into the JSON report
    #[arg(long)]
    pub(super) keep_reports: bool,
}

/// Unit of the steps.
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

/// Sending rate of a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Pacing {
    /// Interval of each client.
    PerClient(Duration),
    /// Interval of all clients together.
    Total(Duration),
    /// The step's size is the rate, of this many clients.
    Stepped { clients: u32 },
}

/// Makes a broadcast of each size.
#[derive(Debug)]
pub(super) struct Broadcasts {
    /// Job of the largest size, from which the others are derived.
    base: Job,
    traffic: RawTraffic,
    pacing: Pacing,
    duration: Duration,
}

impl Broadcasts {
    /// Checks that every one of `sizes`, at least one, makes a possible broadcast.
    pub(super) fn new(
        mut common: Common,
        traffic: RawTraffic,
        pacing: Pacing,
        duration: Duration,
        sizes: &[u32],
    ) -> Result<Self, String> {
        match pacing {
            Pacing::Stepped { .. } => check_sizes(sizes, Axis::Rate, RATE_MAX)?,
            Pacing::PerClient(_) | Pacing::Total(_) => take_largest(&mut common, sizes)?,
        }
        let largest = sizes.iter().copied().max().unwrap_or(1);
        let scenario = Scenario::Broadcast(broadcast(&traffic, pacing, duration, largest)?);
        let broadcasts = Self { base: job(common, scenario)?, traffic, pacing, duration };
        sizes.iter().try_for_each(|size| broadcasts.job(*size).map(drop))?;
        Ok(broadcasts)
    }
}

/// Fails if there are too many sizes, or one is out of range.
fn check_sizes(sizes: &[u32], axis: Axis, most: u32) -> Result<(), String> {
    if sizes.len() > STEPS_MAX {
        return Err(format!("--steps names {} sizes: use at most {STEPS_MAX}", sizes.len()));
    }
    match sizes.iter().find(|size| !(1..=most).contains(*size)) {
        Some(size) => Err(format!("a step of {}: use from 1 to {most}", axis.show(*size))),
        None => Ok(()),
    }
}

/// Gives the run as many clients as its largest step, and refuses `--clients`.
pub(super) fn take_largest(common: &mut Common, sizes: &[u32]) -> Result<(), String> {
    if let Some(clients) = common.clients {
        return Err(format!(
            "--clients {clients} conflicts with steps that are numbers of clients: leave it out"
        ));
    }
    check_sizes(sizes, Axis::Clients, CLIENTS_MAX)?;
    common.clients = sizes.iter().copied().max();
    Ok(())
}

/// Derives a step with `clients` from `base`, the largest. A small step gets fewer processes and
/// workers, at least one client each.
pub(super) fn with_clients(base: &Job, clients: u32) -> Job {
    let processes = base.processes.min(clients);
    let workers = base.workers.min(clients / processes);
    Job { clients, workers, processes, ..base.clone() }
}

/// Returns the clients of a step, and the interval of all of them together.
fn load(pacing: Pacing, size: u32) -> (u32, Duration) {
    // Rounded up, so that no further message fits in.
    let share = |time: Duration| {
        Duration::from_nanos(u64::try_from(time.as_nanos().div_ceil(size.max(1).into())).unwrap_or(u64::MAX))
    };
    match pacing {
        Pacing::PerClient(time) => (size, share(time)),
        Pacing::Total(time) => (size, time),
        Pacing::Stepped { clients } => (clients, share(Duration::from_secs(1))),
    }
}

fn broadcast(
    traffic: &RawTraffic,
    pacing: Pacing,
    duration: Duration,
    size: u32,
) -> Result<throng_harness_model::spec::Broadcast, String> {
    let (clients, interval) = load(pacing, size);
    traffic.check(clients, interval, duration).map_err(|error| {
        let interval = format_duration(interval);
        format!("a step of {clients} clients with a message every {interval}: {error}")
    })
}

impl StepFactory for Broadcasts {
    fn job(&self, size: u32) -> Result<Job, String> {
        let broadcast = broadcast(&self.traffic, self.pacing, self.duration, size)?;
        let (clients, _) = load(self.pacing, size);
        Ok(Job { scenario: Scenario::Broadcast(broadcast), ..with_clients(&self.base, clients) })
    }

    fn closed(&self, size: u32, ahead: u32) -> Option<Job> {
        let mut job = self.job(size).ok()?;
        let Scenario::Broadcast(broadcast) = &mut job.scenario else { return None };
        let setting = &broadcast.setting;
        if setting.speech != ScopeMix::World || setting.deaf + setting.slow > 0 || setting.cut.is_some() {
            return None;
        }
        broadcast.ahead = Some(ahead);
        broadcast.interval = CLOSED_WARMUP;
        broadcast.messages = CLOSED_MAX;
        // The window belongs to one event loop.
        (job.workers, job.processes) = (1, 1);
        // A closed loop keeps its queues full, so its latencies are no measure.
        job.thresholds.retain(|threshold| !threshold.is_about_time());
        Some(job)
    }
}

/// Puts the latency objective before the thresholds of the command line, of which one on the same
/// measure overrides it.
pub(super) fn with_slo(slo: Option<Duration>, given: &[Threshold]) -> Result<Vec<Threshold>, String> {
    let slo = slo.map(|slo| format!("last_recipient.p99={}", format_duration(slo)).parse()).transpose()?;
    Ok(slo.into_iter().chain(given.iter().copied()).collect())
}
