//! The workers of a run as threads.

use std::io;
use std::sync::{Arc, mpsc};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use thiserror::Error;
use throng_core::net::{Mail, Mailbox, Shard, ShardSize};
use throng_core::wire::CloseReason;

use crate::live::{Panel, Totals, sum};
use crate::verify::Tally;
use crate::worker::{Command, Harvest, Plan, Way, Worker};

/// Commands that may wait for a worker.
const MAILBOX: usize = 1024;

/// How long a worker may take to give its results away.
const HARVEST_TIMEOUT: Duration = Duration::from_secs(30);

/// How long closing connections are waited for at the end.
const STOP_PATIENCE: Duration = Duration::from_secs(1);

/// The workers could not do their work.
#[derive(Debug, Error)]
pub enum FleetError {
    /// The system has no event loop or thread to give.
    #[error("cannot start worker {index}: {source}")]
    Start {
        /// The worker.
        index: u32,
        /// What the system says.
        source: io::Error,
    },
    /// An event loop gave out.
    #[error("worker {index} cannot go on: {source}")]
    Failed {
        /// The worker.
        index: usize,
        /// What the system says.
        source: io::Error,
    },
    /// A worker ended though nobody asked it to.
    #[error("worker {index} has crashed; this is a fault of the harness")]
    Crashed {
        /// The worker.
        index: usize,
    },
    /// A worker did not give its results.
    #[error("worker {index} has not answered for {HARVEST_TIMEOUT:?}; this is a fault of the harness")]
    Silent {
        /// The worker.
        index: usize,
    },
}

/// The workers of a run.
pub struct Fleet {
    panels: Arc<[Panel]>,
    mailboxes: Vec<Arc<Mailbox<Command>>>,
    threads: Vec<JoinHandle<io::Result<()>>>,
}

impl Fleet {
    /// Builds all workers, then starts them.
    pub fn start(plan: &Arc<Plan>) -> Result<Self, FleetError> {
        let panels: Arc<[Panel]> = (0..plan.workers).map(|_| Panel::default()).collect();
        let mut built = Vec::new();
        for index in 0..plan.workers {
            let clients = plan.share(plan.clients, index) as usize;
            let sessions = match plan.way {
                // Who comes again may have an older connection that is not quite closed.
                Way::Ticket(..) if plan.reconnects => 2 * clients,
                Way::Ticket(..) => clients,
                Way::Login(_) => 2 * clients,
            };
            let shard = Shard::new(index as usize, ShardSize::new(sessions, MAILBOX));
            built.push(shard.map_err(|source| FleetError::Start { index, source })?);
        }
        let mailboxes: Vec<_> = built.iter().map(Shard::mailbox).collect();
        let mut threads = Vec::new();
        for (shard, index) in built.into_iter().zip(0..) {
            let mailbox = mailboxes[index as usize].clone();
            let worker = Worker::new(plan.clone(), index, panels.clone(), mailbox);
            let thread = thread::Builder::new().name(format!("worker-{index}"));
            let thread = thread.spawn(move || shard.run(worker));
            threads.push(thread.map_err(|source| FleetError::Start { index, source })?);
        }
        Ok(Self { panels, mailboxes, threads })
    }

    /// What the workers show.
    pub fn panels(&self) -> &[Panel] {
        &self.panels
    }

    /// All workers' totals.
    pub fn totals(&self) -> Totals {
        sum(&*self.panels)
    }

    /// Where the workers are reached, in order.
    pub fn mailboxes(&self) -> &[Arc<Mailbox<Command>>] {
        &self.mailboxes
    }

    /// Tells every worker the same.
    pub fn tell(&self, command: impl Fn() -> Command) {
        (0..self.mailboxes.len()).for_each(|index| self.tell_one(index, command()));
    }

    /// Tells one worker.
    pub fn tell_one(&self, index: usize, command: Command) {
        // Refused only by a worker that has ended; `check` says so.
        let _ = self.mailboxes[index].push(Mail::App(command));
        self.mailboxes[index].ring();
    }

    /// Fails if a worker has ended by itself.
    pub fn check(&mut self) -> Result<(), FleetError> {
        let Some(index) = self.threads.iter().position(JoinHandle::is_finished) else { return Ok(()) };
        match self.threads.swap_remove(index).join() {
            Ok(Err(source)) => Err(FleetError::Failed { index, source }),
            _ => Err(FleetError::Crashed { index }),
        }
    }

    /// What all workers found out: everything merged but their tallies.
    pub fn harvest(&mut self) -> Result<(Harvest, Vec<Tally>), FleetError> {
        let mut merged: Option<Harvest> = None;
        let mut tallies = Vec::new();
        for index in 0..self.mailboxes.len() {
            let (sender, receiver) = mpsc::channel();
            self.tell_one(index, Command::Harvest(sender));
            let Ok(harvest) = receiver.recv_timeout(HARVEST_TIMEOUT) else {
                self.check()?;
                return Err(FleetError::Silent { index });
            };
            match &mut merged {
                None => merged = Some(harvest),
                Some(merged) => tallies.push(merged.merge(harvest)),
            }
        }
        merged.map(|merged| (merged, tallies)).ok_or(FleetError::Silent { index: 0 })
    }

    /// Closes all connections and ends the threads.
    pub fn stop(self) {
        for mailbox in &self.mailboxes {
            let _ = mailbox.push(Mail::Stop(CloseReason::Goodbye, STOP_PATIENCE));
            mailbox.ring();
        }
        for thread in self.threads {
            // What a worker has to say has been said before.
            let _ = thread.join();
        }
    }
}
