//! The scenarios: each is a list of phases, and every phase has a timeout. A phase that times out
//! ends with a sentence that names the missing condition.

mod bots;
mod broadcast;
mod connect;
mod display;
mod hint;
mod login;
mod messages;

use std::cell::Cell;
use std::sync::Arc;
use std::time::Duration;

use thiserror::Error;
use throng_core::config::format_duration;
use throng_core::shutdown::Shutdown;
use throng_harness_model::clock::{Nanos, RunClock, nanos};
use throng_harness_model::payload::Payload;
use throng_harness_model::plan::{Given, Plan, plan};
use throng_harness_model::procstat::{Meter, Meters, ProcError, Usage};
use throng_harness_model::results::{
    Clients, Fairness, Findings, HarnessMemory, ListReport, ListTimes, RateChange, Reconnected, Totals,
};
use throng_harness_model::scheduling::{Scheduling, SchedulingMeter};
use throng_harness_model::send_schedule::SendSchedule;
use throng_harness_model::spec::{Job, Lists, Scenario};
use throng_harness_model::target::Target;
use throng_harness_model::text::format_count;

use crate::command::Command;
use crate::crew::{Fleet, FleetError};
use crate::live::{Display, Phase, Timeline};
use crate::preflight::{self, PreflightError};
use crate::results::WorkerResults;
use crate::verify::Settlement;
use messages::MessageResults;

/// The interval at which the run reads its workers' panels.
const POLL_EVERY: Duration = Duration::from_millis(10);

/// The time between two rows of the timeline, in nanoseconds.
const ROW: Nanos = 1_000_000_000;

/// The time for impaired clients to read their backlog at the end.
const CATCH_UP_PATIENCE: Duration = Duration::from_secs(5);

/// The longest time without another exact list; `--connect-timeout` may shorten it.
const LISTS_PATIENCE: Duration = Duration::from_secs(15);

/// The longest time without an exit while clients leave.
const LEAVE_PATIENCE: Duration = Duration::from_secs(10);

/// The reason why a run has no results.
#[derive(Debug, Error)]
pub enum RunError {
    /// The job cannot be run here.
    #[error(transparent)]
    Preflight(#[from] PreflightError),
    /// The harness itself failed.
    #[error(transparent)]
    Fleet(#[from] FleetError),
    /// A process cannot be observed.
    #[error(transparent)]
    Meter(#[from] ProcError),
}

/// The reason why a run ends early.
enum Halt {
    /// The user interrupted it.
    Interrupted,
    /// A wait timed out; the sentence names the missing condition.
    Incomplete(String),
    /// The run cannot have results.
    Failed(RunError),
}

impl<E: Into<RunError>> From<E> for Halt {
    fn from(error: E) -> Self {
        Self::Failed(error.into())
    }
}

/// Runs the scenario of `job` against `target` until it is done or `shutdown` is requested.
pub fn drive(job: &Job, target: &Target, shutdown: &Shutdown) -> Result<Findings, RunError> {
    let sources = preflight::check(job, target)?;
    let given = Given { clock: RunClock::start(), run: Payload::draw_run(), sources };
    let adjustable = Display::has_keys(job.plain).then(|| display::adjustable(job)).flatten();
    let job = adjustable.as_ref().unwrap_or(job);
    let mut run = Run::start(job, target, given, shutdown)?;
    let ended = match &job.scenario {
        Scenario::Connect(connect) => connect::run(&mut run, *connect),
        Scenario::Login(login) => login::run(&mut run, login),
        Scenario::Broadcast(broadcast) => broadcast::run(&mut run, broadcast),
        Scenario::Bots(bots) => bots::run(&mut run, bots),
    };
    run.finish(ended)
}

/// A run in progress.
struct Run<'a> {
    job: &'a Job,
    shutdown: &'a Shutdown,
    plan: Arc<Plan>,
    fleet: Fleet,
    timeline: Timeline,
    display: Display,
    next_row: Nanos,
    server: Option<Meter>,
    harness: Meters,
    threads: SchedulingMeter,
    /// The start of the measured part, and its length; zero until it has ended.
    measured_from: Nanos,
    measured: Duration,
    /// Resource usage of the server and the harness in the measured part.
    usage: (Option<Usage>, Option<Usage>),
    /// CPU time that others had in the measured part.
    scheduling: Option<Scheduling>,
    /// The user lists after the entries, and the first failed list check.
    lists: ListReport,
    lists_incomplete: Option<String>,
    /// Number of list checks begun.
    list_checks: u64,
    /// The harness's memory at several times.
    memory: HarnessMemory,
    /// The time until all clients were back after a storm, in seconds.
    storm_s: Option<f64>,
    /// The schedule of counted messages, once it is known.
    counted: Option<Arc<SendSchedule>>,
    /// The changes of the rate by keys.
    rate_changes: Vec<RateChange>,
    /// The bots' message shown last.
    said: Option<u32>,
}

impl<'a> Run<'a> {
    /// Starts the workers, which begin to enter their clients.
    fn start(job: &'a Job, target: &Target, given: Given, shutdown: &'a Shutdown) -> Result<Self, RunError> {
        let server = target.pid.map(Meter::start).transpose()?;
        let mut harness = Meters::start_own()?;
        let (plan, fleet) = Fleet::start(plan(job, target, given), job, target, given)?;
        fleet.pids().into_iter().try_for_each(|pid| harness.add(pid))?;
        let own = [std::process::id()].into_iter().chain(fleet.pids()).collect();
        let threads = SchedulingMeter::start(own, target.pid);
        // The display is opened last: while it is open the keyboard sends no signals, and its keys
        // are read only from here on.
        let mut display = Display::open(job.plain, display::facts(job, target), shutdown);
        display.phase(Phase::Connecting, 0, None);
        if let Some(interval) = display::interval(job) {
            display.rate(0, interval, interval);
        }
        let memory = HarnessMemory { start_bytes: harness.sample().rss_bytes, ..HarnessMemory::default() };
        Ok(Self {
            job,
            shutdown,
            plan,
            fleet,
            timeline: Timeline::default(),
            display,
            next_row: ROW,
            server,
            harness,
            threads,
            measured_from: 0,
            measured: Duration::ZERO,
            usage: (None, None),
            scheduling: None,
            lists: ListReport::default(),
            lists_incomplete: None,
            list_checks: 0,
            memory,
            storm_s: None,
            counted: None,
            rate_changes: Vec::new(),
            said: None,
        })
    }

    fn now(&self) -> Nanos {
        self.plan.clock.now()
    }

    /// Waits until `done`. Fails with the sentence `missing` once `progress` has not changed for
    /// `patience`, or at once if interrupted. With a constant progress `patience` is a deadline.
    fn wait(
        &mut self,
        patience: Duration,
        progress: impl Fn(&Totals) -> u64,
        done: impl Fn(&Totals, Nanos) -> bool,
        missing: impl Fn(&Totals) -> String,
    ) -> Result<(), Halt> {
        let mut last = (progress(&self.fleet.totals()), self.now());
        loop {
            let (totals, now) = self.poll()?;
            if done(&totals, now) {
                return Ok(());
            }
            if self.shutdown.is_requested() {
                return Err(Halt::Interrupted);
            }
            let reached = progress(&totals);
            if reached != last.0 {
                last = (reached, now);
            }
            if now.saturating_sub(last.1) > nanos(patience) {
                return Err(Halt::Incomplete(missing(&totals)));
            }
            self.shutdown.wait_timeout(POLL_EVERY);
        }
    }

    /// Reads the workers' totals, and adds a row to the timeline when one is due.
    fn poll(&mut self) -> Result<(Totals, Nanos), RunError> {
        self.fleet.check()?;
        let now = self.now();
        if now >= self.next_row {
            self.next_row = (now / ROW + 1) * ROW;
            self.row(now);
        }
        let totals = self.fleet.totals();
        self.display_totals(&totals, now);
        Ok((totals, now))
    }

    fn row(&mut self, now: Nanos) {
        let own = self.harness.sample();
        let sample = self.server.as_mut().map(|meter| *meter.sample());
        let scheduling = self.threads.sample();
        let panels = self.fleet.panels();
        let row = self.timeline.tick(now, panels, sample.as_ref(), Some(&own), scheduling.as_ref());
        self.display.show(now, row, &own);
    }

    /// Waits until every client has entered and has the user list, or has been given up.
    fn enter(&mut self) -> Result<(), Halt> {
        let requested = u64::from(self.job.clients);
        let patience = self.job.connect_timeout + self.job.connect_interval;
        let entered = self.wait(
            patience,
            |now| now.connected + now.listed + now.refused + now.login_steps(),
            |now, _| {
                now.listed + now.refused + now.failed + now.disconnected >= requested
                    && now.listed == now.connected
            },
            |now| {
                format!(
                    "{} of {} clients were in the chat, {} with the complete user list, and no others entered for {}",
                    format_count(now.connected),
                    format_count(requested),
                    format_count(now.listed),
                    format_duration(patience)
                )
            },
        );
        if let Err(Halt::Incomplete(_)) = entered {
            self.fleet.send_all(|| Command::GiveUpEntries("no more clients got in".into()));
        }
        entered?;
        match self.fleet.totals().connected {
            0 => Err(Halt::Incomplete("not one client is in the chat".into())),
            _ => Ok(()),
        }
    }

    /// Waits until every kept list has exactly the run's clients that are present; other users are
    /// ignored. If the lists do not get there the run continues, and fails at its end.
    fn check_lists(&mut self) -> Result<(), Halt> {
        if self.plan.lists == Lists::None || self.plan.leaves {
            self.memory.entered_bytes = self.harness.sample().rss_bytes;
            return Ok(());
        }
        self.phase(Phase::Lists, None);
        self.list_checks += 1;
        let check = self.list_checks;
        self.fleet.send_all(|| Command::CheckLists(Some(check)));
        let all = u64::from(self.plan.workers) * check;
        let patience = LISTS_PATIENCE.min(self.job.connect_timeout);
        // The maximum counts as progress, so lists that are exact in turns do not prolong the wait.
        let most = Cell::new(0);
        let waited = self.wait(
            patience,
            |now| {
                most.set(now.lists_exact.max(most.get()));
                most.get()
            },
            |now, _| now.list_check == all && now.lists_exact == now.lists_kept,
            |now| {
                let ghosts = match now.lists_with_ghosts {
                    0 => String::new(),
                    larger => format!("{} had more, ", format_count(larger)),
                };
                format!(
                    "{} of {} user lists matched the clients present, {ghosts}and no more did for {}",
                    format_count(now.lists_exact),
                    format_count(now.lists_kept),
                    format_duration(patience)
                )
            },
        );
        self.fleet.send_all(|| Command::CheckLists(None));
        let now = self.fleet.totals();
        if check == 1 {
            (self.lists.kept, self.lists.exact) = (now.lists_kept, now.lists_exact);
            self.memory.entered_bytes = self.harness.sample().rss_bytes;
        }
        match waited {
            Err(Halt::Incomplete(reason)) => {
                // Later failed checks may be a consequence of the first.
                self.lists_incomplete.get_or_insert(reason);
                Ok(())
            }
            ended => ended,
        }
    }

    /// Lets some time pass while all clients stay.
    fn hold(&mut self, time: Duration) -> Result<(), Halt> {
        let until = self.now().saturating_add(nanos(time));
        self.phase(Phase::Staying, Some(until));
        self.wait(Duration::MAX, |_| 0, |now, at| at >= until || now.connected == 0, |_| String::new())?;
        self.require_clients("while they were staying")
    }

    /// Fails if all clients have lost their sessions.
    fn require_clients(&self, when: &str) -> Result<(), Halt> {
        match self.fleet.totals().connected {
            0 => Err(Halt::Incomplete(format!("every client lost its session {when}"))),
            _ => Ok(()),
        }
    }

    /// Begins the measured part.
    fn begin_measuring(&mut self) {
        self.measured_from = self.now();
        self.harness.reset();
        self.threads.reset();
        if let Some(server) = &mut self.server {
            server.reset();
        }
    }

    /// Ends the measured part now; only the first call counts.
    fn end_measuring(&mut self) {
        self.end_measuring_at(self.now());
    }

    /// Ends the measured part at a time shortly before now; only the first call counts.
    fn end_measuring_at(&mut self, at: Nanos) {
        if self.measured.is_zero() {
            self.measured = Duration::from_nanos(at.saturating_sub(self.measured_from));
            self.harness.sample();
            let server = self.server.as_mut().map(|meter| {
                meter.sample();
                meter.usage()
            });
            self.usage = (server, Some(self.harness.usage()));
            self.scheduling = self.threads.since_first();
        }
    }

    /// Has impaired clients read their whole backlog, so that each learns if its session is alive.
    fn resume_reading(&mut self) {
        if self.plan.impairment.is_none() {
            return;
        }
        self.fleet.send_all(|| Command::ResumeReading);
        let workers = u64::from(self.plan.workers);
        let is_done = |now: &Totals, _| now.resumed == workers && now.catching_up == 0;
        // Clients that are still reading at the timeout count as present.
        let _ = self.wait(CATCH_UP_PATIENCE, |_| 0, is_done, |_| String::new());
    }

    /// Has all clients leave in order.
    fn leave(&mut self) -> Result<(), Halt> {
        self.phase(Phase::Leaving, None);
        self.fleet.send_all(|| Command::Leave);
        self.wait(
            LEAVE_PATIENCE,
            |now| now.connected,
            |now, _| now.connected == 0,
            |now| {
                let left = format_count(now.connected);
                format!(
                    "{left} clients waited to leave, and none left for {}",
                    format_duration(LEAVE_PATIENCE)
                )
            },
        )
    }

    /// Ends the run and assembles its findings.
    fn finish(mut self, ended: Result<(), Halt>) -> Result<Findings, RunError> {
        let left = self.wind_down(&ended);
        self.display.finish();
        let mut findings = Findings::default();
        for end in [ended, left] {
            match end {
                Ok(()) => {}
                Err(Halt::Interrupted) => findings.interrupted = true,
                Err(Halt::Incomplete(reason)) => findings.incomplete_because.push(reason),
                Err(Halt::Failed(error)) => return Err(error),
            }
        }
        findings.incomplete_because.extend(self.lists_incomplete.take());
        let results = self.fleet.collect_results()?;
        let settlement = match &self.job.scenario {
            Scenario::Broadcast(_) | Scenario::Bots(_) => self.fleet.settle()?,
            _ => None,
        };
        Ok(self.assemble(findings, results, settlement))
    }

    /// Ends measuring and counting, and has the clients leave if the run calls for it.
    fn wind_down(&mut self, ended: &Result<(), Halt>) -> Result<(), Halt> {
        self.end_measuring();
        self.fleet.send_all(|| Command::StopCounting);
        let last_row = self.now();
        self.row(last_row);
        if !matches!(ended, Err(Halt::Failed(_))) {
            self.resume_reading();
        }
        match (ended, &self.job.scenario) {
            (Err(Halt::Interrupted | Halt::Failed(_)), _) => Ok(()),
            (_, Scenario::Broadcast(broadcast)) if !broadcast.leave => Ok(()),
            _ => self.leave(),
        }
    }

    /// Completes the findings by the workers' results.
    fn assemble(
        mut self,
        mut findings: Findings,
        results: WorkerResults,
        settlement: Option<Settlement>,
    ) -> Findings {
        self.fleet.stop();
        let WorkerResults { clients, unprovoked, first_begin, last_entry, last_sent, .. } = results;
        findings.timeline = self.timeline.into_rows();
        findings.rates = connect::rates(&self.plan, clients.connected, last_entry);
        if let Scenario::Login(_) = &self.job.scenario {
            findings.rates.logins_per_s = Some(login::per_second(clients.connected, first_begin, last_entry));
        }
        if let Some(settlement) = settlement.filter(|_| self.plan.traffic.messages() > 0) {
            let counted = self.counted.take();
            let messages = MessageResults { settlement, counted, unprovoked, last_sent };
            messages.report(self.job, &self.plan, &mut findings);
        }
        let (requested, reasons) = (self.job.clients.into(), results.reasons.named());
        let mut findings = Findings {
            clients: Clients { requested, reasons, ..clients },
            fairness: Fairness::of(results.recipients),
            recorder: results.recorder,
            breakdown: results.breakdown,
            server_clock: results.server_clock.summary(),
            harness_memory: self.memory.ended(self.usage.1.as_ref(), self.job.clients),
            reconnects: Reconnected { storm_s: self.storm_s, ..results.reconnects },
            resume: results.resume,
            lists: list_report(self.lists, results.lists, first_begin, last_entry),
            churn: results.churn,
            moves: results.moves,
            impaired: results.impaired,
            read_lag: results.read_lag,
            phases: results.phases,
            measured: self.measured,
            measured_from: self.measured_from,
            server: self.usage.0,
            harness: self.usage.1,
            scheduling: self.scheduling,
            workers: self.plan.workers,
            rate_changes: self.rate_changes,
            ..findings
        };
        let entrance = self.job.scenario.entrance();
        let hint = hint::hint(&findings, &results.reasons, &self.job.target, entrance);
        findings.incomplete_because.extend(hint);
        findings
    }
}

/// The report on user lists, with times relative to the first entry's beginning.
fn list_report(found: ListReport, times: ListTimes, first_begin: Nanos, last_entry: Nanos) -> ListReport {
    let seconds = |at: Nanos| at.saturating_sub(first_begin) as f64 / 1e9;
    ListReport {
        entered_s: seconds(last_entry),
        complete_s: seconds(times.last_complete),
        exact_s: (found.kept > 0 && found.exact == found.kept)
            .then(|| seconds(times.last_exact.max(last_entry))),
        notices: times.notices,
        incomplete: times.incomplete,
        resyncs: times.resyncs,
        head_count_mismatches: times.mismatches,
        ..found
    }
}
