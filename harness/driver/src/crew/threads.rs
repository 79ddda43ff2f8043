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

use super::error::{FleetError, HARVEST_TIMEOUT};
use crate::command::Command;
use crate::live::Panel;
use crate::pacer::Pacer;
use crate::results::WorkerResults;
use crate::verify::DeliveryLedger;
use crate::worker::Worker;

/// Commands that may wait for a worker.
const MAILBOX: usize = 1024;

/// How long closing connections are waited for at the end.
const STOP_PATIENCE: Duration = Duration::from_secs(1);

/// The workers of this process: all of a run's, or some.
pub(crate) struct Threads {
    plan: Arc<Plan>,
    /// The number in the run of the first of them.
    first: u32,
    mailboxes: Vec<Arc<Mailbox<Command>>>,
    handles: Vec<JoinHandle<io::Result<()>>>,
    pacer: Option<Pacer>,
    /// What the workers gave away, until it is settled.
    tallies: Vec<DeliveryLedger>,
}

impl Threads {
    /// Builds the workers with the numbers `indices`, then starts them. `panels` are those of all workers of the run.
    pub(crate) fn start(
        plan: &Arc<Plan>,
        indices: Range<u32>,
        panels: &Arc<[Panel]>,
    ) -> Result<Self, FleetError> {
        let mut built = Vec::new();
        for index in indices.clone() {
            let clients = plan.share(plan.clients, index) as usize;
            let sessions = match plan.way {
                // Who comes again may have an older connection that is not quite closed.
                EntryPath::Ticket(..) if plan.reconnects => 2 * clients,
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
        Ok(Self { plan, first: indices.start, mailboxes, handles, pacer: None, tallies: Vec::new() })
    }

    /// Tells every worker the same.
    pub(crate) fn tell(&self, command: &Command) {
        (self.first..).zip(&self.mailboxes).for_each(|(index, _)| self.tell_one(index, command.clone()));
    }

    /// Tells one worker, by its number in the run; one of another process is not told.
    pub(crate) fn tell_one(&self, index: u32, command: Command) {
        let at = index.checked_sub(self.first);
        let Some(mailbox) = at.and_then(|at| self.mailboxes.get(at as usize)) else { return };
        // Refused only by a worker that has ended; `check` says so.
        let _ = mailbox.push(Mail::App(command));
        mailbox.ring();
    }

    /// Has the workers send by the schedule, and starts what wakes them in time.
    pub(crate) fn talk(
        &mut self,
        warmup: &Arc<SendSchedule>,
        counted: &Arc<SendSchedule>,
    ) -> Result<(), FleetError> {
        self.tell(&Command::Talk { warmup: warmup.clone(), counted: counted.clone() });
        let pacer = Pacer::start(&self.plan, warmup, counted, self.mailboxes.clone(), self.first);
        self.pacer = Some(pacer.map_err(FleetError::Pacer)?);
        Ok(())
    }

    /// Has the workers send no more.
    pub(crate) fn hush(&mut self) {
        if let Some(pacer) = self.pacer.take() {
            pacer.stop();
        }
        self.tell(&Command::Hush);
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

    /// What all workers found out, merged, without their tallies.
    pub(crate) fn harvest(&mut self) -> Result<WorkerResults, FleetError> {
        let mut merged: Option<WorkerResults> = None;
        let last = self.first + self.mailboxes.len() as u32;
        for index in self.first..last {
            let (sender, receiver) = mpsc::channel();
            self.tell_one(index, Command::WorkerResults(sender));
            let Ok(mut harvest) = receiver.recv_timeout(HARVEST_TIMEOUT) else {
                self.check()?;
                return Err(FleetError::Silent { index });
            };
            self.tallies.push(std::mem::take(&mut harvest.tally));
            match &mut merged {
                None => merged = Some(harvest),
                Some(merged) => merged.merge(harvest),
            }
        }
        merged.ok_or(FleetError::Silent { index: self.first })
    }

    /// The workers' tallies, after the harvest; none before it.
    pub(crate) fn take_tallies(&mut self) -> Vec<DeliveryLedger> {
        std::mem::take(&mut self.tallies)
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
            // What a worker has to say has been said before.
            let _ = thread.join();
        }
    }
}
