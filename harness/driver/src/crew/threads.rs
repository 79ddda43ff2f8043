//! Workers as threads of this process.

use std::io;
use std::ops::Range;
use std::sync::{Arc, mpsc};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use throng_core::net::{Mail, Mailbox, Shard, ShardSize};
use throng_core::wire::CloseReason;
use throng_harness_model::plan::{EntryPath, Plan};
use throng_harness_model::send_schedule::SendSchedule;

use super::error::FleetError;
use super::stall_timer::RESULTS_TIMEOUT;
use crate::command::Command;
use crate::live::Panel;
use crate::pacer::Pacer;
use crate::results::WorkerResults;
use crate::verify::DeliveryLedger;
use crate::worker::Worker;

/// Commands that may wait in a worker's mailbox.
const MAILBOX: usize = 1024;

/// The time for closing connections in order at the end.
const STOP_PATIENCE: Duration = Duration::from_secs(1);

/// The workers of this process: all workers of a run, or some.
pub(crate) struct Threads {
    plan: Arc<Plan>,
    /// The number in the run of the first worker here.
    first: u32,
    mailboxes: Vec<Arc<Mailbox<Command>>>,
    handles: Vec<JoinHandle<io::Result<()>>>,
    pacer: Option<Pacer>,
    /// Ledgers of the workers, from the collection of results until they are settled.
    ledgers: Vec<DeliveryLedger>,
}

impl Threads {
    /// Builds the workers numbered `indices`, then starts them. `panels` has one for each worker of
    /// the run.
    pub(crate) fn start(
        plan: &Arc<Plan>,
        indices: Range<u32>,
        panels: &Arc<[Panel]>,
    ) -> Result<Self, FleetError> {
        let mut built = Vec::new();
        for index in indices.clone() {
            let clients = plan.share(plan.clients, index) as usize;
            let sessions = match plan.entry_path {
                // A client that reconnects or resumes may have an older connection that is still
                // closing, or silent.
                EntryPath::Ticket(..) if plan.reconnects || plan.resumes => 2 * clients,
                EntryPath::Ticket(..) => clients,
                EntryPath::Login(_) => 2 * clients,
            };
            let shard = Shard::new((index - indices.start) as usize, ShardSize::new(sessions, MAILBOX));
            built.push(shard.map_err(|source| FleetError::Start { index, source })?);
        }
        let mailboxes: Vec<_> = built.iter().map(Shard::mailbox).collect();
        let mut handles = Vec::new();
        for ((shard, mailbox), index) in built.into_iter().zip(&mailboxes).zip(indices.clone()) {
            let worker = Worker::new(plan.clone(), index, panels.clone(), mailbox.clone());
            let thread = thread::Builder::new().name(format!("worker-{index}"));
            let thread = thread.spawn(move || shard.run(worker));
            handles.push(thread.map_err(|source| FleetError::Start { index, source })?);
        }
        let plan = plan.clone();
        Ok(Self { plan, first: indices.start, mailboxes, handles, pacer: None, ledgers: Vec::new() })
    }

    /// Sends a command to every worker.
    pub(crate) fn send_all(&self, command: &Command) {
        (self.first..).zip(&self.mailboxes).for_each(|(index, _)| self.send_to(index, command.clone()));
    }

    /// Sends a command to one worker, by its number in the run; ignored for a worker of another
    /// process.
    pub(crate) fn send_to(&self, index: u32, command: Command) {
        let at = index.checked_sub(self.first);
        let Some(mailbox) = at.and_then(|at| self.mailboxes.get(at as usize)) else { return };
        // A worker that has ended refuses it; `check` reports that.
        let _ = mailbox.push(Mail::App(command));
        mailbox.ring();
    }

    /// Starts sending by the schedules, and the pacer that wakes the workers.
    pub(crate) fn start_sending(
        &mut self,
        warmup: &Arc<SendSchedule>,
        counted: &Arc<SendSchedule>,
    ) -> Result<(), FleetError> {
        self.send_all(&Command::StartSending { warmup: warmup.clone(), counted: counted.clone() });
        let pacer = Pacer::start(&self.plan, warmup, counted, self.mailboxes.clone(), self.first);
        self.pacer = Some(pacer.map_err(FleetError::Pacer)?);
        Ok(())
    }

    /// Stops sending.
    pub(crate) fn stop_sending(&mut self) {
        if let Some(pacer) = self.pacer.take() {
            pacer.stop();
        }
        self.send_all(&Command::StopSending);
    }

    /// Fails if a worker has ended by itself.
    pub(crate) fn check(&mut self) -> Result<(), FleetError> {
        let Some(at) = self.handles.iter().position(JoinHandle::is_finished) else { return Ok(()) };
        let index = self.first + at as u32;
        match self.handles.swap_remove(at).join() {
            Ok(Err(source)) => Err(FleetError::Failed { index, source }),
            _ => Err(FleetError::Crashed { index }),
        }
    }

    /// The merged results of all workers, without their ledgers.
    pub(crate) fn collect_results(&mut self) -> Result<WorkerResults, FleetError> {
        let mut merged: Option<WorkerResults> = None;
        let last = self.first + self.mailboxes.len() as u32;
        for index in self.first..last {
            let (sender, receiver) = mpsc::channel();
            self.send_to(index, Command::HandOverResults(sender));
            let Ok(mut results) = receiver.recv_timeout(RESULTS_TIMEOUT) else {
                self.check()?;
                return Err(FleetError::Silent { index });
            };
            self.ledgers.push(std::mem::take(&mut results.ledger));
            match &mut merged {
                None => merged = Some(results),
                Some(merged) => merged.merge(results),
            }
        }
        merged.ok_or(FleetError::Silent { index: self.first })
    }

    /// The workers' ledgers; empty before [`Self::collect_results`].
    pub(crate) fn take_ledgers(&mut self) -> Vec<DeliveryLedger> {
        std::mem::take(&mut self.ledgers)
    }

    /// Closes all connections and ends the threads.
    pub(crate) fn stop(mut self) {
        if let Some(pacer) = self.pacer.take() {
            pacer.stop();
        }
        for mailbox in &self.mailboxes {
            let _ = mailbox.push(Mail::Stop(CloseReason::Goodbye, STOP_PATIENCE));
            mailbox.ring();
        }
        for thread in self.handles {
            // An error of the worker has been reported by `check`, or comes too late to matter.
            let _ = thread.join();
        }
    }
}
