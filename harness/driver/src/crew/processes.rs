//! Workers in other processes, from the side of the one that started them.

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

/// How long a process may take to end: its connections are closed in order.
const STOP_TIMEOUT: Duration = Duration::from_secs(5);

/// How long the end of one that is going to end, or was killed, is waited for.
const DEATH_TIMEOUT: Duration = Duration::from_secs(1);

/// From the decision to begin to the first way in: time for the processes to make their workers.
const LEAD: Nanos = 50_000_000;

/// News that may wait for the run's thread: there are some at the beginning and at the end.
const NEWS: usize = 8;

/// How long the run's thread waits before it looks whether it has waited long enough.
const LOOK: Duration = Duration::from_millis(100);

/// Bytes that may wait for a process while there is more to tell it.
const BACKLOG: usize = 8 * 1024 * 1024;

/// The processes of a run that have its workers.
pub(crate) struct Processes {
    members: Vec<Member>,
    shared: Arc<Shared>,
    /// All that is known of messages, without any client.
    ledger: DeliveryLedger,
}

/// One of them.
struct Member {
    process: u32,
    child: Child,
    news: Receiver<ChildEvent>,
    /// What reads from it and writes to it.
    threads: Vec<JoinHandle<()>>,
    /// How long it has said nothing, and read nothing of what it was told.
    silence: StallTimer,
    backlog: StallTimer,
    /// The results that it had begun with when it was last asked for some.
    asked: u64,
}

/// What the threads that listen to the processes share.
struct Shared {
    panels: Arc<[Panel]>,
    /// Workers in each process.
    workers: u32,
    writers: Vec<ChildWriter>,
}

impl Processes {
    /// Starts the processes of `job`, and begins when all are prepared: when that is goes into `plan`.
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
            let order = encode(&ChildCommand::Begin(Box::new(beginning)))?;
            processes.shared.writers[process as usize].say(&order);
        }
        processes.expect(Awaited::Readiness, |news| matches!(news, ChildEvent::Ready).then_some(()))?;
        plan.begin = plan.begin.starting_at(plan.clock.now() + LEAD);
        processes.say(&ChildCommand::Go(plan.begin));
        processes.expect(Awaited::Start, |news| matches!(news, ChildEvent::Started).then_some(()))?;
        Ok(processes)
    }

    fn spawn(job: &Job, panels: Arc<[Panel]>) -> Result<Self, FleetError> {
        let mut started = Vec::new();
        for process in 0..job.processes {
            let failed = |source| FleetError::Spawn { process, source };
            // What it says on stderr, a panic for example, is for whoever reads ours.
            let child = Program::new(own_exe().map_err(failed)?)
                .arg(SUBCOMMAND)
                .stdin(Stdio::piped())
                .stdout(Stdio::piped())
                .spawn();
            // Those before it end when their pipes do, which is when this fails.
            started.push(child.map_err(failed)?);
        }
        let writers = started.iter().map(|_| ChildWriter::default()).collect();
        let shared = Arc::new(Shared { panels, workers: job.workers, writers });
        let mut processes = Self { members: Vec::new(), shared, ledger: DeliveryLedger::default() };
        for (mut child, process) in started.into_iter().zip(0..) {
            let (pipe, outlet) = (child.stdin.take(), child.stdout.take());
            let (sender, news) = sync_channel(NEWS);
            let now = Instant::now();
            let (silence, backlog) = (StallTimer::new(now), StallTimer::new(now));
            let threads = Vec::new();
            processes.members.push(Member { process, child, news, threads, silence, backlog, asked: 0 });
            let member = processes.members.last_mut().expect("pushed above");
            let shared = processes.shared.clone();
            member.spawn(&format!("from-{process}"), move || shared.listen(process, outlet, &sender))?;
            let shared = processes.shared.clone();
            if let Some(pipe) = pipe {
                member
                    .spawn(&format!("to-{process}"), move || shared.writers[process as usize].write(pipe))?;
            }
        }
        Ok(processes)
    }

    /// The system's numbers of the processes.
    pub(crate) fn pids(&self) -> Vec<u32> {
        self.members.iter().map(|member| member.child.id()).collect()
    }

    /// Tells one worker, by its number in the run, or all of them.
    pub(crate) fn tell(&self, worker: Option<u32>, command: Command) {
        self.say(&ChildCommand::Tell(worker, command));
    }

    /// Has the workers send by the schedule.
    pub(crate) fn talk(&self, warmup: &SendSchedule, counted: &SendSchedule) {
        self.say(&ChildCommand::Talk(warmup.snapshot(), counted.snapshot()));
    }

    /// Has counted messages from `at` on be `interval` apart.
    pub(crate) fn change_rate(&self, at: Nanos, interval: Duration) {
        self.say(&ChildCommand::ChangeRate(at, interval));
    }

    fn say(&self, order: &ChildCommand) {
        match encode(order) {
            Ok(order) => self.shared.writers.iter().for_each(|writer| writer.say(&order)),
            // An order that is too long; `check` says so.
            Err(error) => self.shared.writers.iter().for_each(|writer| {
                writer.explain(error.to_string());
                writer.end();
            }),
        }
    }

    /// Asks all for results, or a part of them.
    fn ask(&mut self, order: &ChildCommand) {
        for (member, writer) in self.members.iter_mut().zip(&self.shared.writers) {
            member.asked = writer.begun();
        }
        self.say(order);
    }

    /// Fails if a process has ended, or cannot go on, or has not shown for a while that it does. To be called often.
    pub(crate) fn check(&mut self) -> Result<(), FleetError> {
        if let Some(process) = self.shared.writers.iter().position(ChildWriter::has_ended) {
            return Err(self.death(process));
        }
        let now = Instant::now();
        let mut silent = None;
        for ((member, writer), process) in self.members.iter_mut().zip(&self.shared.writers).zip(0..) {
            let silence = (member.silence.look(now, Some(writer.heard())), Awaited::Figures);
            let backlog = (member.backlog.look(now, writer.taken()), Awaited::Reading);
            for (waited, awaited) in [silence, backlog] {
                if waited >= SILENCE_MAX && silent.is_none() {
                    silent = Some((process, awaited, waited));
                }
            }
        }
        match silent {
            None => Ok(()),
            Some((process, awaited, waited)) => Err(self.give_up(process, awaited, waited)),
        }
    }

    /// What all workers found out, merged, without their tallies.
    pub(crate) fn harvest(&mut self) -> Result<WorkerResults, FleetError> {
        self.ask(&ChildCommand::WorkerResults);
        let harvests = self.expect(Awaited::WorkerResults, |news| match news {
            ChildEvent::WorkerResults(harvest) => Some(*harvest),
            _ => None,
        })?;
        let merged = harvests.into_iter().reduce(|mut merged, harvest| {
            merged.merge(harvest);
            merged
        });
        Ok(merged.expect("there are two processes at least"))
    }

    /// What became of all messages, after the harvest.
    pub(crate) fn settle(&mut self) -> Result<Settlement, FleetError> {
        self.ask(&ChildCommand::Share);
        let mut ledger = std::mem::take(&mut self.ledger);
        for process in 0..self.members.len() {
            loop {
                match self.next(process, Awaited::Accounts)? {
                    ChildEvent::Page(page) => ledger.learn(&page),
                    ChildEvent::Shared => break,
                    _ => {}
                }
            }
        }
        for page in ledger.pages() {
            self.say(&ChildCommand::Learn(page));
            self.let_read()?;
        }
        self.ask(&ChildCommand::Settle);
        let parts = self.expect(Awaited::Settlement, |news| match news {
            ChildEvent::Settled(part) => Some(part),
            _ => None,
        })?;
        Ok(ledger.close(parts))
    }

    /// Waits until no process has too much to read.
    fn let_read(&mut self) -> Result<(), FleetError> {
        for process in 0..self.members.len() {
            let mut backlog = StallTimer::new(Instant::now());
            while !self.shared.writers[process].drains_to(BACKLOG, LOOK) {
                let waited = backlog.look(Instant::now(), self.shared.writers[process].taken());
                if waited >= SILENCE_MAX {
                    return Err(self.give_up(process, Awaited::Reading, waited));
                }
            }
        }
        Ok(())
    }

    /// Closes all connections and ends the processes.
    pub(crate) fn stop(mut self) {
        self.say(&ChildCommand::Stop);
        self.end(STOP_TIMEOUT);
    }

    /// One of the news of every process, in their order: what `wanted` takes.
    fn expect<T>(
        &mut self,
        awaited: Awaited,
        wanted: impl Fn(ChildEvent) -> Option<T>,
    ) -> Result<Vec<T>, FleetError> {
        let mut all = Vec::new();
        for process in 0..self.members.len() {
            loop {
                if let Some(found) = wanted(self.next(process, awaited)?) {
                    all.push(found);
                    break;
                }
            }
        }
        Ok(all)
    }

    fn next(&mut self, process: usize, awaited: Awaited) -> Result<ChildEvent, FleetError> {
        let begun = Instant::now();
        let (mut answers, mut silence) = (StallTimer::new(begun), StallTimer::new(begun));
        loop {
            let member = &self.members[process];
            match member.news.recv_timeout(LOOK) {
                Ok(news) => return Ok(news),
                Err(RecvTimeoutError::Disconnected) => return Err(self.death(process)),
                Err(RecvTimeoutError::Timeout) => {
                    let (writer, now) = (&self.shared.writers[process], Instant::now());
                    let waited = answers.look(now, Some(0));
                    let silent = silence.look(now, Some(writer.heard()));
                    let has_begun = writer.begun() != member.asked;
                    if waited >= awaited.patience() || silent >= awaited.silence(has_begun) {
                        return Err(self.give_up(process, awaited, waited));
                    }
                }
            }
        }
    }

    /// Kills a process that has let itself be waited for, which also one that is stopped cannot help.
    fn give_up(&mut self, process: usize, awaited: Awaited, waited: Duration) -> FleetError {
        let member = &mut self.members[process];
        member.kill();
        // In tenths: nobody needs to know when exactly that was looked at.
        let waited = Duration::from_millis(waited.as_millis() as u64 / 100 * 100);
        FleetError::GivenUp { process: member.process, pid: member.child.id(), awaited, waited }
    }

    /// Why a process that says nothing any more does not.
    fn death(&mut self, process: usize) -> FleetError {
        let what = match self.shared.writers[process].failure() {
            Some(failure) => format!("cannot go on: {failure}"),
            None => match self.members[process].ended_within(DEATH_TIMEOUT) {
                Some(status) => format!("has died ({status})"),
                None => "says nothing any more".into(),
            },
        };
        self.members[process].error(what)
    }

    /// Lets all processes end, which they do without their pipe, and ends those that do not.
    fn end(&mut self, patience: Duration) {
        self.shared.writers.iter().for_each(ChildWriter::close);
        let until = Instant::now() + patience;
        for mut member in self.members.drain(..) {
            let has_ended = member.ended_within(until.saturating_duration_since(Instant::now())).is_some();
            if !has_ended && !member.kill() {
                // Not even that: it may keep its pipes, and the threads at their ends.
                continue;
            }
            // One that waits to tell something finds nobody.
            drop(member.news);
            for thread in member.threads {
                let _ = thread.join();
            }
        }
    }
}

impl Drop for Processes {
    fn drop(&mut self) {
        self.end(DEATH_TIMEOUT);
    }
}

impl Member {
    fn spawn(&mut self, name: &str, run: impl FnOnce() + Send + 'static) -> Result<(), FleetError> {
        let thread = thread::Builder::new().name(name.into()).spawn(run);
        let failed = |source| FleetError::Spawn { process: self.process, source };
        self.threads.push(thread.map_err(failed)?);
        Ok(())
    }

    /// Ends the process at once. False if it is still there.
    fn kill(&mut self) -> bool {
        // One that cannot be killed has ended meanwhile.
        let _ = self.child.kill();
        self.ended_within(DEATH_TIMEOUT).is_some()
    }

    fn error(&self, what: String) -> FleetError {
        FleetError::Process { process: self.process, pid: self.child.id(), what }
    }

    /// How the process ended, if it does in time.
    fn ended_within(&mut self, patience: Duration) -> Option<std::process::ExitStatus> {
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

/// The bytes of an order, which all share.
fn encode(order: &ChildCommand) -> Result<Arc<[u8]>, FrameError> {
    frame::encode(order).map(Arc::from)
}

impl Shared {
    /// Takes what a process says until it says nothing any more.
    fn listen(&self, process: u32, outlet: Option<ChildStdout>, run: &SyncSender<ChildEvent>) {
        let writer = &self.writers[process as usize];
        let mut outlet = outlet.map(BufReader::new);
        while let Some(outlet) = &mut outlet {
            match frame::read(outlet) {
                Ok(Some(ChildEvent::Failed(why))) => writer.explain(why),
                Ok(Some(news)) => {
                    writer.hear();
                    if !self.take(process, news, run) {
                        break;
                    }
                }
                Ok(None) => break,
                Err(error) => {
                    writer.explain(error.to_string());
                    break;
                }
            }
        }
        writer.end();
    }

    /// False if nobody waits for news any more.
    fn take(&self, process: u32, news: ChildEvent, run: &SyncSender<ChildEvent>) -> bool {
        let panel = |worker: u32| {
            let at = process.checked_mul(self.workers)?.checked_add(worker)?;
            self.panels.get(at as usize).filter(|_| worker < self.workers)
        };
        match news {
            ChildEvent::Totals(totals) => {
                for ((totals, read_lag), worker) in totals.into_iter().zip(0..) {
                    if let Some(panel) = panel(worker) {
                        panel.publish(totals);
                        panel.publish_read_lag(read_lag);
                    }
                }
            }
            ChildEvent::Latencies(worker, latencies) => {
                if let Some(panel) = panel(worker) {
                    panel.publish_latencies(&latencies);
                }
            }
            // Before what comes after it: who hears that all are in, and then that talking begins, has heard who is in.
            ChildEvent::Present(changes) => {
                let Ok(order) = encode(&ChildCommand::Present(changes)) else { return true };
                let others = self.writers.iter().zip(0..).filter(|(_, other)| *other != process);
                others.for_each(|(writer, _)| writer.say(&order));
            }
            ChildEvent::Alive => {}
            ChildEvent::Begun => self.writers[process as usize].begin(),
            news => return run.send(news).is_ok(),
        }
        true
    }
}
