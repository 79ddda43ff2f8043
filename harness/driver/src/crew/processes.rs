//! Child processes that run the workers, from the side of the process that started them.

use std::io::BufReader;
use std::process::{Child, ChildStdout, Command as Program, Stdio};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use throng_harness_model::clock::Nanos;
use throng_harness_model::plan::{Given, Plan};
use throng_harness_model::send_schedule::SendSchedule;
use throng_harness_model::spec::Job;
use throng_harness_model::target::Target;

use super::SUBCOMMAND;
use super::child_writer::ChildWriter;
use super::error::FleetError;
use super::frame::{self, FrameError};
use super::message::{Beginning, ChildCommand, ChildEvent};
use super::stall_timer::{Awaited, SILENCE_MAX, StallTimer};
use crate::command::Command;
use crate::live::Panel;
use crate::own_exe::own_exe;
use crate::results::WorkerResults;
use crate::verify::{DeliveryLedger, Settlement};

/// The time that children have to exit: they close their connections in order.
const STOP_TIMEOUT: Duration = Duration::from_secs(5);

/// The time to wait for the exit of a child that is about to exit, or was killed.
const EXIT_TIMEOUT: Duration = Duration::from_secs(1);

/// From the decision to begin until the first entry: time for the children to build their workers.
const LEAD: Nanos = 50_000_000;

/// Events queued for the run's thread: there are some at the start and at the end.
const EVENTS_QUEUED: usize = 8;

/// The interval at which a blocking wait checks its timeouts.
const POLL_EVERY: Duration = Duration::from_millis(100);

/// Most bytes queued for a child before more pages are sent.
const BACKLOG: usize = 8 * 1024 * 1024;

/// The child processes that run the workers.
pub(crate) struct Processes {
    members: Vec<Member>,
    shared: Arc<Shared>,
    /// The merged accounts of all messages, without any client of its own.
    ledger: DeliveryLedger,
}

/// A child process.
struct Member {
    process: u32,
    child: Child,
    events: Receiver<ChildEvent>,
    /// The threads that read its stdout and write its stdin.
    threads: Vec<JoinHandle<()>>,
    /// Time without an event from it, and time without progress of its input.
    silence: StallTimer,
    backlog: StallTimer,
    /// [`ChildWriter::begun`] at the latest request for results.
    begun_before: u64,
}

/// State shared with the threads that read the children's stdout.
struct Shared {
    panels: Arc<[Panel]>,
    /// Workers in each process.
    workers: u32,
    writers: Vec<ChildWriter>,
}

impl Processes {
    /// Starts the children of `job`. Once all are ready, puts the time of the first entry into
    /// `plan` and starts the workers.
    pub(crate) fn start(
        plan: &mut Plan,
        job: &Job,
        target: &Target,
        given: Given,
        panels: Arc<[Panel]>,
    ) -> Result<Self, FleetError> {
        let mut processes = Self::spawn(job, panels)?;
        processes.ledger = DeliveryLedger::new(plan.traffic.clone(), []);
        for process in 0..job.processes {
            let beginning = Beginning {
                process,
                job: job.clone(),
                address: target.server.address,
                run: given.run,
                raw_epoch: given.clock.raw_epoch(),
                sources: given.sources,
            };
            let command = encode(&ChildCommand::Begin(Box::new(beginning)))?;
            processes.shared.writers[process as usize].push(&command);
        }
        processes.collect(Awaited::Readiness, |event| matches!(event, ChildEvent::Ready).then_some(()))?;
        plan.begin = plan.begin.starting_at(plan.clock.now() + LEAD);
        processes.send(&ChildCommand::BeginEntries(plan.begin));
        processes.collect(Awaited::Start, |event| matches!(event, ChildEvent::Started).then_some(()))?;
        Ok(processes)
    }

    fn spawn(job: &Job, panels: Arc<[Panel]>) -> Result<Self, FleetError> {
        let mut started = Vec::new();
        for process in 0..job.processes {
            let failed = |source| FleetError::Spawn { process, source };
            // stderr is inherited, so that a child's panic reaches the user.
            let child = Program::new(own_exe().map_err(failed)?)
                .arg(SUBCOMMAND)
                .stdin(Stdio::piped())
                .stdout(Stdio::piped())
                .spawn();
            // On failure, the children before this one exit because their pipes close.
            started.push(child.map_err(failed)?);
        }
        let writers = started.iter().map(|_| ChildWriter::default()).collect();
        let shared = Arc::new(Shared { panels, workers: job.workers, writers });
        let mut processes = Self { members: Vec::new(), shared, ledger: DeliveryLedger::default() };
        for (mut child, process) in started.into_iter().zip(0..) {
            let (pipe, stdout) = (child.stdin.take(), child.stdout.take());
            let (sender, events) = sync_channel(EVENTS_QUEUED);
            let now = Instant::now();
            let (silence, backlog) = (StallTimer::new(now), StallTimer::new(now));
            let threads = Vec::new();
            processes.members.push(Member {
                process,
                child,
                events,
                threads,
                silence,
                backlog,
                begun_before: 0,
            });
            let member = processes.members.last_mut().expect("pushed above");
            let shared = processes.shared.clone();
            member.spawn(&format!("from-{process}"), move || shared.listen(process, stdout, &sender))?;
            let shared = processes.shared.clone();
            if let Some(pipe) = pipe {
                member
                    .spawn(&format!("to-{process}"), move || shared.writers[process as usize].write(pipe))?;
            }
        }
        Ok(processes)
    }

    /// The process ids.
    pub(crate) fn pids(&self) -> Vec<u32> {
        self.members.iter().map(|member| member.child.id()).collect()
    }

    /// Sends a command to one worker, by its number in the run, or to all.
    pub(crate) fn send_all(&self, worker: Option<u32>, command: Command) {
        self.send(&ChildCommand::Forward(worker, command));
    }

    /// Starts sending by the schedules.
    pub(crate) fn start_sending(&self, warmup: &SendSchedule, counted: &SendSchedule) {
        self.send(&ChildCommand::StartSending(warmup.snapshot(), counted.snapshot()));
    }

    /// Changes the interval of counted messages from `at` on.
    pub(crate) fn change_rate(&self, at: Nanos, interval: Duration) {
        self.send(&ChildCommand::ChangeRate(at, interval));
    }

    fn send(&self, command: &ChildCommand) {
        match encode(command) {
            Ok(command) => self.shared.writers.iter().for_each(|writer| writer.push(&command)),
            // The command is too long; `check` reports it.
            Err(error) => self.shared.writers.iter().for_each(|writer| {
                writer.set_failure(error.to_string());
                writer.set_ended();
            }),
        }
    }

    /// Requests results, or a part of them, from all children.
    fn request(&mut self, command: &ChildCommand) {
        for (member, writer) in self.members.iter_mut().zip(&self.shared.writers) {
            member.begun_before = writer.begun();
        }
        self.send(command);
    }

    /// Fails if a child has ended, cannot continue, or has not responded for a while. The run's
    /// thread calls this often.
    pub(crate) fn check(&mut self) -> Result<(), FleetError> {
        if let Some(process) = self.shared.writers.iter().position(ChildWriter::has_ended) {
            return Err(self.exit_error(process));
        }
        let now = Instant::now();
        let mut stalled = None;
        for ((member, writer), process) in self.members.iter_mut().zip(&self.shared.writers).zip(0..) {
            let silence = (member.silence.observe(now, Some(writer.events())), Awaited::Figures);
            let backlog = (member.backlog.observe(now, writer.written()), Awaited::Reading);
            for (waited, awaited) in [silence, backlog] {
                if waited >= SILENCE_MAX && stalled.is_none() {
                    stalled = Some((process, awaited, waited));
                }
            }
        }
        match stalled {
            None => Ok(()),
            Some((process, awaited, waited)) => Err(self.kill_stalled(process, awaited, waited)),
        }
    }

    /// The merged results of all workers, without their ledgers.
    pub(crate) fn collect_results(&mut self) -> Result<WorkerResults, FleetError> {
        self.request(&ChildCommand::HandOverResults);
        let results = self.collect(Awaited::Results, |event| match event {
            ChildEvent::Results(results) => Some(*results),
            _ => None,
        })?;
        let merged = results.into_iter().reduce(|mut merged, other| {
            merged.merge(other);
            merged
        });
        Ok(merged.expect("at least two processes"))
    }

    /// The settlement of all messages; valid after [`Self::collect_results`].
    pub(crate) fn settle(&mut self) -> Result<Settlement, FleetError> {
        self.request(&ChildCommand::SendLedger);
        let mut ledger = std::mem::take(&mut self.ledger);
        for process in 0..self.members.len() {
            loop {
                match self.next_event(process, Awaited::Accounts)? {
                    ChildEvent::Page(page) => ledger.learn(&page),
                    ChildEvent::LedgerSent => break,
                    _ => {}
                }
            }
        }
        for page in ledger.pages() {
            self.send(&ChildCommand::LearnPage(page));
            self.wait_for_readers()?;
        }
        self.request(&ChildCommand::Settle);
        let parts = self.collect(Awaited::Settlement, |event| match event {
            ChildEvent::Settled(part) => Some(part),
            _ => None,
        })?;
        Ok(ledger.close(parts))
    }

    /// Waits until no child has more than [`BACKLOG`] bytes to read.
    fn wait_for_readers(&mut self) -> Result<(), FleetError> {
        for process in 0..self.members.len() {
            let mut backlog = StallTimer::new(Instant::now());
            while !self.shared.writers[process].drains_to(BACKLOG, POLL_EVERY) {
                let waited = backlog.observe(Instant::now(), self.shared.writers[process].written());
                if waited >= SILENCE_MAX {
                    return Err(self.kill_stalled(process, Awaited::Reading, waited));
                }
            }
        }
        Ok(())
    }

    /// Closes all connections and ends the children.
    pub(crate) fn stop(mut self) {
        self.send(&ChildCommand::Stop);
        self.end(STOP_TIMEOUT);
    }

    /// Waits for one event of each child for which `wanted` returns a value; in the children's
    /// order.
    fn collect<T>(
        &mut self,
        awaited: Awaited,
        select: impl Fn(ChildEvent) -> Option<T>,
    ) -> Result<Vec<T>, FleetError> {
        let mut all = Vec::new();
        for process in 0..self.members.len() {
            loop {
                if let Some(found) = select(self.next_event(process, awaited)?) {
                    all.push(found);
                    break;
                }
            }
        }
        Ok(all)
    }

    fn next_event(&mut self, process: usize, awaited: Awaited) -> Result<ChildEvent, FleetError> {
        let begun = Instant::now();
        let (mut answers, mut silence) = (StallTimer::new(begun), StallTimer::new(begun));
        loop {
            let member = &self.members[process];
            match member.events.recv_timeout(POLL_EVERY) {
                Ok(event) => return Ok(event),
                Err(RecvTimeoutError::Disconnected) => return Err(self.exit_error(process)),
                Err(RecvTimeoutError::Timeout) => {
                    let (writer, now) = (&self.shared.writers[process], Instant::now());
                    let waited = answers.observe(now, Some(0));
                    let stalled = silence.observe(now, Some(writer.events()));
                    let has_begun = writer.begun() != member.begun_before;
                    if waited >= awaited.patience() || stalled >= awaited.silence(has_begun) {
                        return Err(self.kill_stalled(process, awaited, waited));
                    }
                }
            }
        }
    }

    /// Kills a child that did not respond. SIGKILL also ends a stopped process.
    fn kill_stalled(&mut self, process: usize, awaited: Awaited, waited: Duration) -> FleetError {
        let member = &mut self.members[process];
        member.kill();
        // Rounded to the precision of the wait.
        let waited = Duration::from_millis(waited.as_millis() as u64 / 100 * 100);
        FleetError::GivenUp { process: member.process, pid: member.child.id(), awaited, waited }
    }

    /// The reason why a child's stdout has ended.
    fn exit_error(&mut self, process: usize) -> FleetError {
        let what = match self.shared.writers[process].failure() {
            Some(failure) => format!("cannot continue: {failure}"),
            None => match self.members[process].wait_for_exit(EXIT_TIMEOUT) {
                Some(status) => format!("has died ({status})"),
                None => "has closed its output".into(),
            },
        };
        self.members[process].error(what)
    }

    /// Closes the children's pipes, which ends them, and kills those that are left after
    /// `patience`.
    fn end(&mut self, patience: Duration) {
        self.shared.writers.iter().for_each(ChildWriter::close);
        let until = Instant::now() + patience;
        for mut member in self.members.drain(..) {
            let has_ended = member.wait_for_exit(until.saturating_duration_since(Instant::now())).is_some();
            if !has_ended && !member.kill() {
                // It cannot be killed: its pipes and the threads at their ends may stay open.
                continue;
            }
            // Unblocks a listener that waits for room in the queue.
            drop(member.events);
            for thread in member.threads {
                let _ = thread.join();
            }
        }
    }
}

impl Drop for Processes {
    fn drop(&mut self) {
        self.end(EXIT_TIMEOUT);
    }
}

impl Member {
    fn spawn(&mut self, name: &str, run: impl FnOnce() + Send + 'static) -> Result<(), FleetError> {
        let thread = thread::Builder::new().name(name.into()).spawn(run);
        let failed = |source| FleetError::Spawn { process: self.process, source };
        self.threads.push(thread.map_err(failed)?);
        Ok(())
    }

    /// Kills the child; false if it is still there.
    fn kill(&mut self) -> bool {
        // An error means that it has exited meanwhile.
        let _ = self.child.kill();
        self.wait_for_exit(EXIT_TIMEOUT).is_some()
    }

    fn error(&self, what: String) -> FleetError {
        FleetError::Process { process: self.process, pid: self.child.id(), what }
    }

    /// The child's exit status; none if it does not exit in time.
    fn wait_for_exit(&mut self, patience: Duration) -> Option<std::process::ExitStatus> {
        let until = Instant::now() + patience;
        loop {
            match self.child.try_wait() {
                Ok(Some(status)) => return Some(status),
                Ok(None) if Instant::now() < until => thread::sleep(Duration::from_millis(2)),
                _ => return None,
            }
        }
    }
}

/// Encodes a command once for all children.
fn encode(command: &ChildCommand) -> Result<Arc<[u8]>, FrameError> {
    frame::encode(command).map(Arc::from)
}

impl Shared {
    /// Handles a child's events until its stdout ends.
    fn listen(&self, process: u32, stdout: Option<ChildStdout>, run: &SyncSender<ChildEvent>) {
        let writer = &self.writers[process as usize];
        let mut stdout = stdout.map(BufReader::new);
        while let Some(stdout) = &mut stdout {
            match frame::read(stdout) {
                Ok(Some(ChildEvent::Failed(reason))) => writer.set_failure(reason),
                Ok(Some(event)) => {
                    writer.count_event();
                    if !self.handle_event(process, event, run) {
                        break;
                    }
                }
                Ok(None) => break,
                Err(error) => {
                    writer.set_failure(error.to_string());
                    break;
                }
            }
        }
        writer.set_ended();
    }

    /// Handles an event; false if the run's thread has dropped its receiver.
    fn handle_event(&self, process: u32, event: ChildEvent, run: &SyncSender<ChildEvent>) -> bool {
        let panel = |worker: u32| {
            let at = process.checked_mul(self.workers)?.checked_add(worker)?;
            self.panels.get(at as usize).filter(|_| worker < self.workers)
        };
        match event {
            ChildEvent::Totals(totals) => {
                for ((totals, read_lag, heard), worker) in totals.into_iter().zip(0..) {
                    if let Some(panel) = panel(worker) {
                        panel.publish(totals);
                        panel.publish_read_lag(read_lag);
                        if let Some(index) = heard {
                            panel.publish_heard(index);
                        }
                    }
                }
            }
            ChildEvent::Latencies(worker, latencies) => {
                if let Some(panel) = panel(worker) {
                    panel.publish_latencies(&latencies);
                }
            }
            // Forwarded before later events: a child that is told to send then knows who is
            // present.
            ChildEvent::Present(changes) => {
                let Ok(command) = encode(&ChildCommand::Present(changes)) else { return true };
                let others = self.writers.iter().zip(0..).filter(|(_, other)| *other != process);
                others.for_each(|(writer, _)| writer.push(&command));
            }
            ChildEvent::Alive => {}
            ChildEvent::Begun => self.writers[process as usize].count_begun(),
            event => return run.send(event).is_ok(),
        }
        true
    }
}
