//! Workers in other processes, from the side of the one that started them.

use std::io::{BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command as Program, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::sync::{Arc, OnceLock};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use super::SUBCOMMAND;
use super::frame;
use super::message::{Beginning, News, Order};
use crate::cli::Job;
use crate::clock::Nanos;
use crate::fleet::{FleetError, HARVEST_TIMEOUT};
use crate::live::Panel;
use crate::peers::bare::own_program;
use crate::rhythm::Rhythm;
use crate::scenario::Given;
use crate::target::Target;
use crate::verify::{Settlement, Tally};
use crate::worker::{Command, Harvest, Plan};

/// How long a process may take to prepare: drawing the traffic of millions of messages takes a second.
const READY_TIMEOUT: Duration = Duration::from_mins(1);

/// How long one may take for its results, or a part of them: as long as its workers, and some more.
const RESULT_TIMEOUT: Duration = HARVEST_TIMEOUT.saturating_mul(2);

/// How long one may take to end: its connections are closed in order.
const STOP_TIMEOUT: Duration = Duration::from_secs(5);

/// How long the end of one that is going to end is waited for.
const DEATH_TIMEOUT: Duration = Duration::from_secs(1);

/// From the decision to begin to the first way in: time for the processes to make their workers.
const LEAD: Nanos = 50_000_000;

/// News that may wait for the run's thread: there are some at the beginning and at the end.
const NEWS: usize = 8;

/// The processes of a run that have its workers.
pub(crate) struct Processes {
    members: Vec<Member>,
    shared: Arc<Shared>,
    /// All that is known of messages, without any client.
    ledger: Tally,
}

/// One of them.
struct Member {
    process: u32,
    child: Child,
    news: Receiver<News>,
    reader: Option<JoinHandle<()>>,
}

/// What the threads that listen to the processes share.
struct Shared {
    panels: Arc<[Panel]>,
    /// Workers in each process.
    workers: u32,
    inlets: Vec<Inlet>,
}

/// The way to one process.
struct Inlet {
    /// None once nothing more is to be said.
    pipe: Mutex<Option<ChildStdin>>,
    /// Whether it says nothing any more.
    has_ended: AtomicBool,
    /// Why it cannot go on, if it said so.
    failure: OnceLock<String>,
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
        processes.ledger = Tally::new(plan.traffic.clone(), []);
        for process in 0..job.processes {
            let beginning = Beginning {
                process,
                job: job.clone(),
                address: target.server.address,
                run: given.run,
                raw_epoch: given.clock.raw_epoch(),
                sources: given.sources,
            };
            let order = frame::encode(&Order::Begin(Box::new(beginning)))?;
            processes.shared.inlets[process as usize].say(&order);
        }
        processes.expect(READY_TIMEOUT, |news| matches!(news, News::Ready).then_some(()))?;
        plan.begin = plan.begin.starting_at(plan.clock.now() + LEAD);
        processes.say(&Order::Go(plan.begin));
        processes.expect(READY_TIMEOUT, |news| matches!(news, News::Started).then_some(()))?;
        Ok(processes)
    }

    fn spawn(job: &Job, panels: Arc<[Panel]>) -> Result<Self, FleetError> {
        let mut started = Vec::new();
        for process in 0..job.processes {
            let failed = |source| FleetError::Spawn { process, source };
            // What it says on stderr, a panic for example, is for whoever reads ours.
            let child = Program::new(own_program().map_err(failed)?)
                .arg(SUBCOMMAND)
                .stdin(Stdio::piped())
                .stdout(Stdio::piped())
                .spawn();
            // Those before it end when their pipes do, which is when this fails.
            started.push(child.map_err(failed)?);
        }
        let inlets = started.iter_mut().map(|child| Inlet {
            pipe: Mutex::new(child.stdin.take()),
            has_ended: AtomicBool::new(false),
            failure: OnceLock::new(),
        });
        let shared = Arc::new(Shared { panels, workers: job.workers, inlets: inlets.collect() });
        let mut processes = Self { members: Vec::new(), shared, ledger: Tally::default() };
        for (mut child, process) in started.into_iter().zip(0..) {
            let outlet = child.stdout.take();
            let (sender, news) = sync_channel(NEWS);
            processes.members.push(Member { process, child, news, reader: None });
            let shared = processes.shared.clone();
            let thread = thread::Builder::new().name(format!("process-{process}"));
            let reader = thread.spawn(move || shared.listen(process, outlet, &sender));
            let reader = reader.map_err(|source| FleetError::Spawn { process, source })?;
            processes.members.last_mut().expect("pushed above").reader = Some(reader);
        }
        Ok(processes)
    }

    /// The system's numbers of the processes.
    pub(crate) fn pids(&self) -> Vec<u32> {
        self.members.iter().map(|member| member.child.id()).collect()
    }

    /// Tells one worker, by its number in the run, or all of them.
    pub(crate) fn tell(&self, worker: Option<u32>, command: Command) {
        self.say(&Order::Tell(worker, command));
    }

    /// Has the workers send by the schedule.
    pub(crate) fn talk(&self, warmup: &Rhythm, counted: &Rhythm) {
        self.say(&Order::Talk(warmup.score(), counted.score()));
    }

    /// Has counted messages from `at` on be `interval` apart.
    pub(crate) fn change_rate(&self, at: Nanos, interval: Duration) {
        self.say(&Order::ChangeRate(at, interval));
    }

    fn say(&self, order: &Order) {
        match frame::encode(order) {
            Ok(order) => self.shared.inlets.iter().for_each(|inlet| inlet.say(&order)),
            // An order that is too long; `check` says so.
            Err(error) => self.shared.inlets.iter().for_each(|inlet| inlet.fail(&error.to_string())),
        }
    }

    /// Fails if a process has ended, or cannot go on.
    pub(crate) fn check(&mut self) -> Result<(), FleetError> {
        match self.shared.inlets.iter().position(|inlet| inlet.has_ended.load(Ordering::Acquire)) {
            None => Ok(()),
            Some(process) => Err(self.death(process)),
        }
    }

    /// What all workers found out, merged, without their tallies.
    pub(crate) fn harvest(&mut self) -> Result<Harvest, FleetError> {
        self.say(&Order::Harvest);
        let harvests = self.expect(RESULT_TIMEOUT, |news| match news {
            News::Harvest(harvest) => Some(*harvest),
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
        self.say(&Order::Share);
        for process in 0..self.members.len() {
            loop {
                match self.next(process, RESULT_TIMEOUT)? {
                    News::Page(page) => self.ledger.learn(&page),
                    News::Shared => break,
                    _ => {}
                }
            }
        }
        for page in self.ledger.pages() {
            self.say(&Order::Learn(page));
        }
        self.say(&Order::Settle);
        let parts = self.expect(RESULT_TIMEOUT, |news| match news {
            News::Settled(part) => Some(part),
            _ => None,
        })?;
        Ok(std::mem::take(&mut self.ledger).close(parts))
    }

    /// Closes all connections and ends the processes.
    pub(crate) fn stop(mut self) {
        self.say(&Order::Stop);
        self.end(STOP_TIMEOUT);
    }

    /// One of the news of every process, in their order: what `wanted` takes.
    fn expect<T>(
        &mut self,
        timeout: Duration,
        wanted: impl Fn(News) -> Option<T>,
    ) -> Result<Vec<T>, FleetError> {
        let mut all = Vec::new();
        for process in 0..self.members.len() {
            loop {
                if let Some(found) = wanted(self.next(process, timeout)?) {
                    all.push(found);
                    break;
                }
            }
        }
        Ok(all)
    }

    fn next(&mut self, process: usize, timeout: Duration) -> Result<News, FleetError> {
        match self.members[process].news.recv_timeout(timeout) {
            Ok(news) => Ok(news),
            Err(RecvTimeoutError::Disconnected) => Err(self.death(process)),
            Err(RecvTimeoutError::Timeout) => {
                let what = format!("has not answered for {timeout:?}");
                Err(self.members[process].error(what))
            }
        }
    }

    /// Why a process that says nothing any more does not.
    fn death(&mut self, process: usize) -> FleetError {
        let what = match self.shared.inlets[process].failure.get() {
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
        for (inlet, member) in self.shared.inlets.iter().zip(&mut self.members) {
            match inlet.pipe.try_lock() {
                Some(mut pipe) => _ = pipe.take(),
                // Somebody waits for it to read, which it does not: without it nobody waits.
                None => _ = member.child.kill(),
            }
        }
        let until = Instant::now() + patience;
        for member in &mut self.members {
            if member.ended_within(until.saturating_duration_since(Instant::now())).is_none() {
                // One that cannot be killed has ended meanwhile.
                let _ = member.child.kill();
                let _ = member.child.wait();
            }
        }
        for mut member in self.members.drain(..) {
            // One that waits to tell something finds nobody.
            drop(member.news);
            if let Some(reader) = member.reader.take() {
                let _ = reader.join();
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

impl Inlet {
    /// Nothing more can come of the process, and why.
    fn fail(&self, why: &str) {
        let _ = self.failure.set(why.to_owned());
        self.has_ended.store(true, Ordering::Release);
    }

    /// Says something to the process. One that has ended does not hear it, which `check` finds out.
    fn say(&self, order: &[u8]) {
        if let Some(pipe) = &mut *self.pipe.lock() {
            let _ = pipe.write_all(order);
        }
    }
}

impl Shared {
    /// Takes what a process says until it says nothing any more.
    fn listen(&self, process: u32, outlet: Option<ChildStdout>, run: &SyncSender<News>) {
        let inlet = &self.inlets[process as usize];
        let mut outlet = outlet.map(BufReader::new);
        while let Some(outlet) = &mut outlet {
            match frame::read(outlet) {
                Ok(Some(News::Failed(why))) => _ = inlet.failure.set(why),
                Ok(Some(news)) => {
                    if !self.take(process, news, run) {
                        break;
                    }
                }
                Ok(None) => break,
                Err(error) => {
                    inlet.fail(&error.to_string());
                    break;
                }
            }
        }
        inlet.has_ended.store(true, Ordering::Release);
    }

    /// False if nobody waits for news any more.
    fn take(&self, process: u32, news: News, run: &SyncSender<News>) -> bool {
        let panel = |worker: u32| {
            let at = process.checked_mul(self.workers)?.checked_add(worker)?;
            self.panels.get(at as usize).filter(|_| worker < self.workers)
        };
        match news {
            News::Totals(totals) => {
                for ((totals, read_lag), worker) in totals.into_iter().zip(0..) {
                    if let Some(panel) = panel(worker) {
                        panel.publish(totals);
                        panel.publish_read_lag(read_lag);
                    }
                }
            }
            News::Latencies(worker, latencies) => {
                if let Some(panel) = panel(worker) {
                    panel.publish_latencies(&latencies);
                }
            }
            // Before what comes after it: who hears that all are in, and then that talking begins, has heard who is in.
            News::Present(changes) => {
                let Ok(order) = frame::encode(&Order::Present(changes)) else { return true };
                let others = self.inlets.iter().zip(0..).filter(|(_, other)| *other != process);
                others.for_each(|(inlet, _)| inlet.say(&order));
            }
            news => return run.send(news).is_ok(),
        }
        true
    }
}
