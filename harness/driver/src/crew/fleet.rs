//! The workers of a run, wherever they are: threads of this process, or other processes with threads of theirs.

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
    hands: Hands,
    /// When counted messages are due, once that is known.
    counted: Option<Arc<SendSchedule>>,
}

enum Hands {
    Here(Threads),
    Elsewhere(Processes),
}

impl Fleet {
    /// Starts all workers of `plan`, which is what `job`, `target` and `given` make of it. Ways in begin when all are there, which
    /// the plan that comes back says.
    pub(crate) fn start(
        mut plan: Plan,
        job: &Job,
        target: &Target,
        given: Given,
    ) -> Result<(Arc<Plan>, Self), FleetError> {
        let panels: Arc<[Panel]> = (0..plan.workers).map(|_| Panel::default()).collect();
        let (plan, hands) = if job.processes > 1 {
            let processes = Processes::start(&mut plan, job, target, given, panels.clone())?;
            (Arc::new(plan), Hands::Elsewhere(processes))
        } else {
            let plan = Arc::new(plan);
            let threads = Threads::start(&plan, 0..plan.workers, &panels)?;
            (plan, Hands::Here(threads))
        };
        Ok((plan, Self { panels, hands, counted: None }))
    }

    /// The processes in which the workers are, besides this one.
    pub fn pids(&self) -> Vec<u32> {
        match &self.hands {
            Hands::Here(_) => Vec::new(),
            Hands::Elsewhere(processes) => processes.pids(),
        }
    }

    /// What the workers show, by their numbers.
    pub fn panels(&self) -> &[Panel] {
        &self.panels
    }

    /// All workers' totals.
    pub fn totals(&self) -> Totals {
        sum(&*self.panels)
    }

    /// Tells every worker the same.
    pub fn tell(&self, command: impl Fn() -> Command) {
        match &self.hands {
            Hands::Here(threads) => threads.tell(&command()),
            Hands::Elsewhere(processes) => processes.tell(None, command()),
        }
    }

    /// Tells one worker.
    pub fn tell_one(&self, index: usize, command: Command) {
        match &self.hands {
            Hands::Here(threads) => threads.tell_one(index as u32, command),
            Hands::Elsewhere(processes) => processes.tell(Some(index as u32), command),
        }
    }

    /// Has the workers send by the schedule, and starts what wakes them in time.
    pub fn talk(
        &mut self,
        warmup: &Arc<SendSchedule>,
        counted: &Arc<SendSchedule>,
    ) -> Result<(), FleetError> {
        self.counted = Some(counted.clone());
        match &mut self.hands {
            Hands::Here(threads) => threads.talk(warmup, counted),
            Hands::Elsewhere(processes) => {
                processes.talk(warmup, counted);
                Ok(())
            }
        }
    }

    /// Has counted messages from `at` on, which must be some time ahead, be `interval` apart: [`SendSchedule::change`] of that which
    /// [`Self::talk`] was given, wherever there is a copy of it. False if it does not change, or nobody talks.
    pub fn change_rate(&self, at: Nanos, interval: Duration) -> bool {
        let is_changed = self.counted.as_ref().is_some_and(|counted| counted.change(at, interval));
        if let (true, Hands::Elsewhere(processes)) = (is_changed, &self.hands) {
            processes.change_rate(at, interval);
        }
        is_changed
    }

    /// Has the workers send no more.
    pub fn hush(&mut self) {
        match &mut self.hands {
            Hands::Here(threads) => threads.hush(),
            Hands::Elsewhere(processes) => processes.tell(None, Command::Hush),
        }
    }

    /// Fails if a worker has ended by itself.
    pub fn check(&mut self) -> Result<(), FleetError> {
        match &mut self.hands {
            Hands::Here(threads) => threads.check(),
            Hands::Elsewhere(processes) => processes.check(),
        }
    }

    /// What all workers found out, merged, without their tallies, which [`Self::settle`] puts together.
    pub fn harvest(&mut self) -> Result<WorkerResults, FleetError> {
        match &mut self.hands {
            Hands::Here(threads) => threads.harvest(),
            Hands::Elsewhere(processes) => processes.harvest(),
        }
    }

    /// What became of all messages, after the harvest; nothing before it.
    pub fn settle(&mut self) -> Result<Option<Settlement>, FleetError> {
        match &mut self.hands {
            Hands::Here(threads) => Ok(settle(threads.take_tallies())),
            Hands::Elsewhere(processes) => processes.settle().map(Some),
        }
    }

    /// Closes all connections and ends the workers.
    pub fn stop(self) {
        match self.hands {
            Hands::Here(threads) => threads.stop(),
            Hands::Elsewhere(processes) => processes.stop(),
        }
    }
}
