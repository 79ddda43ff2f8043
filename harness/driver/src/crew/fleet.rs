//! The workers of a run: threads of this process, or of child processes.

use std::sync::Arc;
use std::time::Duration;

use throng_harness_model::clock::Nanos;
use throng_harness_model::plan::{Given, Plan};
use throng_harness_model::results::Totals;
use throng_harness_model::send_schedule::SendSchedule;
use throng_harness_model::spec::Job;
use throng_harness_model::target::Target;

use super::error::FleetError;
use super::processes::Processes;
use super::threads::Threads;
use crate::command::Command;
use crate::live::{Panel, sum};
use crate::results::WorkerResults;
use crate::verify::{Settlement, settle};

/// The workers of a run.
pub struct Fleet {
    panels: Arc<[Panel]>,
    backend: Backend,
    /// The schedule of counted messages, once it is known.
    counted: Option<Arc<SendSchedule>>,
}

enum Backend {
    Threads(Threads),
    Processes(Processes),
}

impl Fleet {
    /// Starts all workers of `plan`, which was made from `job`, `target` and `given`. Entries begin
    /// once all workers are running; the returned plan has the time.
    pub(crate) fn start(
        mut plan: Plan,
        job: &Job,
        target: &Target,
        given: Given,
    ) -> Result<(Arc<Plan>, Self), FleetError> {
        let panels: Arc<[Panel]> = (0..plan.workers).map(|_| Panel::default()).collect();
        let (plan, backend) = if job.processes > 1 {
            let processes = Processes::start(&mut plan, job, target, given, panels.clone())?;
            (Arc::new(plan), Backend::Processes(processes))
        } else {
            let plan = Arc::new(plan);
            let threads = Threads::start(&plan, 0..plan.workers, &panels)?;
            (plan, Backend::Threads(threads))
        };
        Ok((plan, Self { panels, backend, counted: None }))
    }

    /// The ids of the child processes that run the workers.
    pub fn pids(&self) -> Vec<u32> {
        match &self.backend {
            Backend::Threads(_) => Vec::new(),
            Backend::Processes(processes) => processes.pids(),
        }
    }

    /// The workers' panels, by worker number.
    pub fn panels(&self) -> &[Panel] {
        &self.panels
    }

    /// The sum of all workers' totals.
    pub fn totals(&self) -> Totals {
        sum(&*self.panels)
    }

    /// Sends a command to every worker.
    pub fn send_all(&self, command: impl Fn() -> Command) {
        match &self.backend {
            Backend::Threads(threads) => threads.send_all(&command()),
            Backend::Processes(processes) => processes.send_all(None, command()),
        }
    }

    /// Sends a command to one worker.
    pub fn send_to(&self, index: usize, command: Command) {
        match &self.backend {
            Backend::Threads(threads) => threads.send_to(index as u32, command),
            Backend::Processes(processes) => processes.send_all(Some(index as u32), command),
        }
    }

    /// Starts sending by the schedules, and the pacer that wakes the workers.
    pub fn start_sending(
        &mut self,
        warmup: &Arc<SendSchedule>,
        counted: &Arc<SendSchedule>,
    ) -> Result<(), FleetError> {
        self.counted = Some(counted.clone());
        match &mut self.backend {
            Backend::Threads(threads) => threads.start_sending(warmup, counted),
            Backend::Processes(processes) => {
                processes.start_sending(warmup, counted);
                Ok(())
            }
        }
    }

    /// Changes the interval of counted messages from `at` on, in every copy of the schedule that
    /// [`Self::start_sending`] was given; see [`SendSchedule::change`]. `at` must lie some time
    /// ahead. False if the schedule cannot change, or sending has not started.
    pub fn change_rate(&self, at: Nanos, interval: Duration) -> bool {
        let is_changed = self.counted.as_ref().is_some_and(|counted| counted.change(at, interval));
        if let (true, Backend::Processes(processes)) = (is_changed, &self.backend) {
            processes.change_rate(at, interval);
        }
        is_changed
    }

    /// Stops sending.
    pub fn stop_sending(&mut self) {
        match &mut self.backend {
            Backend::Threads(threads) => threads.stop_sending(),
            Backend::Processes(processes) => processes.send_all(None, Command::StopSending),
        }
    }

    /// Fails if a worker has ended by itself.
    pub fn check(&mut self) -> Result<(), FleetError> {
        match &mut self.backend {
            Backend::Threads(threads) => threads.check(),
            Backend::Processes(processes) => processes.check(),
        }
    }

    /// The merged results of all workers, without their ledgers, which [`Self::settle`] merges.
    pub fn collect_results(&mut self) -> Result<WorkerResults, FleetError> {
        match &mut self.backend {
            Backend::Threads(threads) => threads.collect_results(),
            Backend::Processes(processes) => processes.collect_results(),
        }
    }

    /// The settlement of all messages; none before [`Self::collect_results`].
    pub fn settle(&mut self) -> Result<Option<Settlement>, FleetError> {
        match &mut self.backend {
            Backend::Threads(threads) => Ok(settle(threads.take_ledgers())),
            Backend::Processes(processes) => processes.settle().map(Some),
        }
    }

    /// Closes all connections and ends the workers.
    pub fn stop(self) {
        match self.backend {
            Backend::Threads(threads) => threads.stop(),
            Backend::Processes(processes) => processes.stop(),
        }
    }
}
