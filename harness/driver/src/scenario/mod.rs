//! The scenarios: each is a list of phases, and every phase has an end. A phase that does not
//! get to its own ends with a sentence that says what was being waited for.

mod bots;
mod broadcast;
mod connect;
mod hint;
mod login;
mod said;
mod shown;

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
use throng_harness_model::send_schedule::SendSchedule;
use throng_harness_model::spec::{Job, Lists, Scenario};
use throng_harness_model::target::Target;
use throng_harness_model::text::format_count;

use crate::command::Command;
use crate::crew::{Fleet, FleetError};
use crate::live::{Display, Phase, Timeline};
use crate::preflight::{self, PreflightError};
use crate::results::WorkerResults;
use said::Said;

/// How often the run looks at what its workers show.
const LOOK: Duration = Duration::from_millis(10);

/// Time between two rows of the timeline, in nanoseconds.
const ROW: Nanos = 1_000_000_000;

/// How long those who did not read get for reading.
const WAKE_PATIENCE: Duration = Duration::from_secs(5);

/// How long the lists may be none of them nearer to who is there, if clients may take as long to connect.
const LISTS_PATIENCE: Duration = Duration::from_secs(15);

/// How long leaving may go on without anybody having left.
const LEAVE_PATIENCE: Duration = Duration::from_secs(10);

/// Why a run has no results.
#[derive(Debug, Error)]
pub enum RunError {
    /// It makes no sense to begin.
    #[error(transparent)]
    Preflight(#[from] PreflightError),
    /// The harness itself broke.
    #[error(transparent)]
    Fleet(#[from] FleetError),
    /// A process cannot be observed.
    #[error(transparent)]
    Meter(#[from] ProcError),
}

/// Why a run ends before its time.
enum Halt {
    /// The user wants it.
    Interrupted,
    /// What was waited for did not come: a sentence that says what.
    Incomplete(String),
    /// There can be no results.
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
    let adjustable = Display::has_keys(job.plain).then(|| shown::adjustable(job)).flatten();
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

/// A run under way.
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
    /// When the measured part began, and how long it took; zero until it is over.
    measured_from: Nanos,
    measured: Duration,
    /// What the server and the harness used in the measured part.
    usage: (Option<Usage>, Option<Usage>),
    /// The user lists at the end of the entering, and what was wrong with them first.
    lists: ListReport,
    lists_incomplete: Option<String>,
    /// How often they have been looked at.
    lookings: u64,
    /// What the harness had of it at several times.
    memory: HarnessMemory,
    /// How long it took until all were back after a storm, in seconds.
    storm_s: Option<f64>,
    /// When counted messages are due, once that is known.
    counted: Option<Arc<SendSchedule>>,
    /// What keys have made of that.
    rate_changes: Vec<RateChange>,
}

impl<'a> Run<'a> {
    /// Starts the workers; from now on clients get in.
    fn start(job: &'a Job, target: &Target, given: Given, shutdown: &'a Shutdown) -> Result<Self, RunError> {
        let server = target.pid.map(Meter::start).transpose()?;
        let mut harness = Meters::start_own()?;
        let (plan, fleet) = Fleet::start(plan(job, target, given), job, target, given)?;
        fleet.pids().into_iter().try_for_each(|pid| harness.add(pid))?;
        // Not before: while it is open nobody hears signals of the keyboard's, and until here nobody looks at keys.
        let mut display = Display::open(job.plain, shown::facts(job, target), shutdown);
        display.phase(Phase::Connecting, 0, None);
        if let Some(interval) = shown::interval(job) {
            display.rate(0, interval, interval);
        }
        let memory = HarnessMemory { start_bytes: harness.look().rss_bytes, ..HarnessMemory::default() };
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
            measured_from: 0,
            measured: Duration::ZERO,
            usage: (None, None),
            lists: ListReport::default(),
            lists_incomplete: None,
            lookings: 0,
            memory,
            storm_s: None,
            counted: None,
            rate_changes: Vec::new(),
        })
    }

    fn now(&self) -> Nanos {
        self.plan.clock.now()
    }

    /// Waits until `done`. Ends in vain with the sentence `what` when `progress` has stayed the
    /// same for `patience`; a progress that never changes makes that a deadline.
    fn wait(
        &mut self,
        patience: Duration,
        progress: impl Fn(&Totals) -> u64,
        done: impl Fn(&Totals, Nanos) -> bool,
        what: impl Fn(&Totals) -> String,
    ) -> Result<(), Halt> {
        let mut last = (progress(&self.fleet.totals()), self.now());
        loop {
            let (totals, now) = self.look()?;
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
                return Err(Halt::Incomplete(what(&totals)));
            }
            self.shutdown.wait_timeout(LOOK);
        }
    }

    /// Looks at the workers, and adds a row to the timeline when it is time.
    fn look(&mut self) -> Result<(Totals, Nanos), RunError> {
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
        let own = self.harness.look();
        let sample = self.server.as_mut().map(|meter| *meter.look());
        let row = self.timeline.tick(now, self.fleet.panels(), sample.as_ref(), Some(&own));
        self.display.show(now, row, &own);
    }

    /// Waits until every client is in and has the user list, or is known not to get in.
    fn enter(&mut self) -> Result<(), Halt> {
        let requested = u64::from(self.job.clients);
        let patience = self.job.connect_timeout + self.job.connect_interval;
        let entered = self.wait(
            patience,
            |now| now.connected + now.listed + now.refused,
            |now, _| {
                now.listed + now.refused + now.failed + now.disconnected >= requested
                    && now.listed == now.connected
            },
            |now| {
                format!(
                    "{} of {} clients were in the chat, {} with the complete user list, and nobody else got in for {}",
                    format_count(now.connected),
                    format_count(requested),
                    format_count(now.listed),
                    format_duration(patience)
                )
            },
        );
        if let Err(Halt::Incomplete(_)) = entered {
            self.fleet.tell(|| Command::GiveUp("nobody got in any more".into()));
        }
        entered?;
        match self.fleet.totals().connected {
            0 => Err(Halt::Incomplete("not one client is in the chat".into())),
            _ => Ok(()),
        }
    }

    /// Waits until the lists that clients keep have of the run's clients exactly those who are there; others do not matter. If
    /// they do not come to it the run goes on, and fails in the end.
    fn look_at_lists(&mut self) -> Result<(), Halt> {
        if self.plan.lists == Lists::None || self.plan.leaves {
            self.memory.entered_bytes = self.harness.look().rss_bytes;
            return Ok(());
        }
        self.phase(Phase::Lists, None);
        self.lookings += 1;
        let looking = self.lookings;
        self.fleet.tell(|| Command::LookAtLists(Some(looking)));
        let all = u64::from(self.plan.workers) * looking;
        let patience = LISTS_PATIENCE.min(self.job.connect_timeout);
        // Lists that are exact by turns come no nearer to it.
        let most = Cell::new(0);
        let waited = self.wait(
            patience,
            |now| {
                most.set(now.lists_exact.max(most.get()));
                most.get()
            },
            |now, _| now.lists_looked_at == all && now.lists_exact == now.lists_kept,
            |now| {
                let ghosts = match now.lists_larger {
                    0 => String::new(),
                    larger => format!("{} had more, ", format_count(larger)),
                };
                format!(
                    "{} of {} user lists had of the run's clients exactly those who were there, {ghosts}and none came to it for {}",
                    format_count(now.lists_exact),
                    format_count(now.lists_kept),
                    format_duration(patience)
                )
            },
        );
        self.fleet.tell(|| Command::LookAtLists(None));
        let now = self.fleet.totals();
        if looking == 1 {
            (self.lists.kept, self.lists.exact) = (now.lists_kept, now.lists_exact);
            self.memory.entered_bytes = self.harness.look().rss_bytes;
        }
        match waited {
            Err(Halt::Incomplete(what)) => {
                // What comes later may follow from it.
                self.lists_incomplete.get_or_insert(what);
                Ok(())
            }
            ended => ended,
        }
    }

    /// Lets some time pass in which everybody is to stay.
    fn hold(&mut self, time: Duration) -> Result<(), Halt> {
        let until = self.now().saturating_add(nanos(time));
        self.phase(Phase::Staying, Some(until));
        // The time always passes, so this needs no sentence of its own.
        self.wait(Duration::MAX, |_| 0, |now, at| at >= until || now.connected == 0, |_| String::new())?;
        self.still_there("while they were to stay")
    }

    /// Fails if all clients have lost their sessions.
    fn still_there(&self, when: &str) -> Result<(), Halt> {
        match self.fleet.totals().connected {
            0 => Err(Halt::Incomplete(format!("every client lost its session {when}"))),
            _ => Ok(()),
        }
    }

    /// From now on time and CPU count.
    fn begin_measuring(&mut self) {
        self.measured_from = self.now();
        self.harness.reset();
        if let Some(server) = &mut self.server {
            server.reset();
        }
    }

    /// Until now they did. Only the first call counts.
    fn end_measuring(&mut self) {
        self.end_measuring_at(self.now());
    }

    /// Until then, not long ago, they did. Only the first call counts.
    fn end_measuring_at(&mut self, at: Nanos) {
        if self.measured.is_zero() {
            self.measured = Duration::from_nanos(at.saturating_sub(self.measured_from));
            self.harness.look();
            let server = self.server.as_mut().map(|meter| {
                meter.look();
                meter.usage()
            });
            self.usage = (server, Some(self.harness.usage()));
        }
    }

    /// Has those who did not read read everything, so that they know whether they are still there.
    fn wake(&mut self) {
        if self.plan.impairment.is_none() {
            return;
        }
        self.fleet.tell(|| Command::Wake);
        let workers = u64::from(self.plan.workers);
        let is_done = |now: &Totals, _| now.woken == workers && now.asleep == 0;
        // Those who have not come to the end by then are there.
        let _ = self.wait(WAKE_PATIENCE, |_| 0, is_done, |_| String::new());
    }

    /// Has everybody leave in order.
    fn leave(&mut self) -> Result<(), Halt> {
        self.phase(Phase::Leaving, None);
        self.fleet.tell(|| Command::Leave);
        self.wait(
            LEAVE_PATIENCE,
            |now| now.connected,
            |now, _| now.connected == 0,
            |now| {
                let left = format_count(now.connected);
                format!(
                    "{left} clients wanted to leave, and nobody was let go for {}",
                    format_duration(LEAVE_PATIENCE)
                )
            },
        )
    }

    /// Ends the run, however it went, and puts its results together.
    fn finish(mut self, ended: Result<(), Halt>) -> Result<Findings, RunError> {
        self.end_measuring();
        self.fleet.tell(|| Command::Freeze);
        let last_row = self.now();
        self.row(last_row);
        if !matches!(ended, Err(Halt::Failed(_))) {
            self.wake();
        }
        let left = match &ended {
            Err(Halt::Interrupted | Halt::Failed(_)) => Ok(()),
            _ if matches!(&self.job.scenario, Scenario::Broadcast(broadcast) if !broadcast.leave) => Ok(()),
            _ => self.leave(),
        };
        self.display.finish();
        let mut findings = Findings { timeline: self.timeline.into_rows(), ..Findings::default() };
        for end in [ended, left] {
            match end {
                Ok(()) => {}
                Err(Halt::Interrupted) => findings.interrupted = true,
                Err(Halt::Incomplete(what)) => findings.incomplete_because.push(what),
                Err(Halt::Failed(error)) => return Err(error),
            }
        }
        findings.incomplete_because.extend(self.lists_incomplete.take());
        let harvest = self.fleet.harvest()?;
        let settlement = match &self.job.scenario {
            Scenario::Broadcast(_) | Scenario::Bots(_) => self.fleet.settle()?,
            _ => None,
        };
        self.fleet.stop();
        let WorkerResults { recorder, breakdown, server_clock, read_lag, phases, .. } = harvest;
        let WorkerResults {
            unprovoked,
            clients,
            reconnects,
            lists,
            churn,
            moves,
            impaired,
            first_begin,
            last_entry,
            last_sent,
            ..
        } = harvest;
        findings.fairness = Fairness::of(harvest.recipients);
        findings.rates = connect::rates(&self.plan, clients.connected, last_entry);
        if let Scenario::Login(_) = &self.job.scenario {
            findings.rates.logins_per_s = Some(login::per_second(clients.connected, first_begin, last_entry));
        }
        if let Some(settlement) = settlement.filter(|_| self.plan.traffic.messages() > 0) {
            let counted = self.counted.take();
            let said = Said { settlement, counted, unprovoked, last_sent };
            said.report(self.job, &self.plan, &mut findings);
        }
        let mut findings = Findings {
            clients: Clients { requested: self.job.clients.into(), ..clients },
            recorder,
            breakdown,
            server_clock: server_clock.summary(),
            harness_memory: self.memory.ended(self.usage.1.as_ref(), self.job.clients),
            reconnects: Reconnected { storm_s: self.storm_s, ..reconnects },
            lists: list_report(self.lists, lists, first_begin, last_entry),
            churn,
            moves,
            impaired,
            read_lag,
            phases,
            measured: self.measured,
            measured_from: self.measured_from,
            server: self.usage.0,
            harness: self.usage.1,
            workers: self.plan.workers,
            rate_changes: self.rate_changes,
            ..findings
        };
        let hint = hint::hint(&findings, &self.job.target, self.job.scenario.entrance());
        findings.incomplete_because.extend(hint);
        Ok(findings)
    }
}

/// What became of the lists, in times since the first way in began.
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
