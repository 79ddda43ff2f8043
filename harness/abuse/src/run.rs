//! The order of a run: attacks one after the other, each in phases.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use thiserror::Error;
use throng_core::config::format_duration;
use throng_core::rlimit::{FileLimit, RaiseError};
use throng_core::shutdown::Shutdown;
use throng_harness_driver::target::{self, TargetError};
use throng_harness_model::clock::{Nanos, RunClock, nanos};
use throng_harness_model::identity::Identities;
use throng_harness_model::payload::Payload;
use throng_harness_model::plan::Server;
use throng_harness_model::procstat::{Meter, ProcError};
use throng_harness_model::target::{Endpoint, Entrance, Target};
use throng_harness_model::text::{format_count, format_nanos};

use crate::attack::Attack;
use crate::attacker::Attacker;
use crate::crowd::{Crowd, Progress, Settings, Talk};
use crate::line::Tally;
use crate::phase::{Measured, Phase, PhaseKind};
use crate::row::Row;
use crate::scene::Scene;
use crate::{AbuseJob, accounts};

/// Open files beside the sockets of honest clients and attackers.
const RESERVED_FILES: u64 = 1_024;

/// The longest time for a connection's handshake.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(5);

/// The longest time without another honest client that is ready.
const READY_PATIENCE: Duration = Duration::from_secs(30);

/// The time between two looks at the progress.
const POLL: Duration = Duration::from_millis(20);

/// The most times that `--drain` may pass after a phase while messages still arrive.
const DRAINS_MAX: u64 = 6;

/// The time from an order to the first message of a phase, in nanoseconds.
const HEAD_START: Nanos = 20_000_000;

/// Nanoseconds of a second.
const SECOND: f64 = 1e9;

/// The reason that nothing can be measured.
#[derive(Debug, Error)]
pub enum AbuseError {
    /// A server cannot be found.
    #[error(transparent)]
    Target(#[from] TargetError),
    /// A server's process cannot be observed.
    #[error(transparent)]
    Meter(#[from] ProcError),
    /// The limit on open files cannot be raised.
    #[error(transparent)]
    Raise(#[from] RaiseError),
    /// The limit on open files is too low.
    #[error(
        "the honest clients and an attack need {needed} open files, and this process may have {limit}: raise it with `ulimit -n`, or use fewer --clients or --sockets"
    )]
    Files {
        /// Files needed.
        needed: u64,
        /// The limit in force.
        limit: FileLimit,
    },
    /// The cluster's key is missing.
    #[error("tickets need the cluster's key: name its file with --cluster-key")]
    NoClusterKey,
    /// A thread or an event loop cannot be made.
    #[error("cannot start the clients: {0}")]
    Start(#[from] io::Error),
}

/// The results of a run.
#[derive(Debug, Default)]
pub struct Results {
    /// One row for each attack.
    pub rows: Vec<Row>,
    /// True if the user stopped the run; the last row may then be short.
    pub interrupted: bool,
}

/// The reason that an attack ends early.
enum Halt {
    Interrupted,
    Failed(String),
    Error(AbuseError),
}

impl<E: Into<AbuseError>> From<E> for Halt {
    fn from(error: E) -> Self {
        Self::Error(error.into())
    }
}

/// Runs the attacks of `job`, or until `shutdown` is requested. `progress` receives a line for each
/// phase.
pub fn run(
    job: &AbuseJob,
    shutdown: &Shutdown,
    progress: &mut dyn FnMut(&str),
) -> Result<Results, AbuseError> {
    let chat = target::resolve(&job.target, Entrance::Ticket, job.server_pid)?;
    let needs_login = job.attacks.iter().any(|attack| attack.is_on_login());
    let login = job.login.as_ref().filter(|_| needs_login);
    let login = login.map(|login| target::resolve(login, Entrance::Login, None)).transpose()?;
    let needed = RESERVED_FILES + u64::from(job.clients) + u64::from(job.sockets);
    let limit = FileLimit::raise()?;
    if limit.sessions_that_fit(0) < needed {
        return Err(AbuseError::Files { needed, limit });
    }
    let mut run = Run { job, shutdown, progress, clock: RunClock::start(), chat, login };
    let mut results = Results::default();
    for attack in &job.attacks {
        let mut phases = Vec::new();
        let failed = match run.attack(*attack, &mut phases) {
            Ok(()) => None,
            Err(Halt::Interrupted) => {
                results.interrupted = true;
                Some("interrupted".to_owned())
            }
            Err(Halt::Failed(why)) => Some(why),
            Err(Halt::Error(error)) if results.rows.is_empty() && phases.is_empty() => return Err(error),
            Err(Halt::Error(error)) => Some(error.to_string()),
        };
        if let Some(why) = &failed {
            (run.progress)(&format!("        NOT MEASURED: {why}"));
        }
        results.rows.push(Row::new(*attack, &job.limits, phases, failed));
        if results.interrupted {
            break;
        }
    }
    Ok(results)
}

struct Run<'a> {
    job: &'a AbuseJob,
    shutdown: &'a Shutdown,
    progress: &'a mut dyn FnMut(&str),
    clock: RunClock,
    chat: Target,
    login: Option<Target>,
}

impl Run<'_> {
    /// Runs one attack, and adds each phase to `phases` as it ends.
    fn attack(&mut self, attack: Attack, phases: &mut Vec<Phase>) -> Result<(), Halt> {
        let job = self.job;
        let run = Payload::draw_run();
        let scene = Arc::new(self.scene(run)?);
        let accounts = self.accounts(attack, &scene)?;
        let attacker = Attacker::start(attack, scene.clone())?;
        if attack.owns_channel() {
            self.wait(READY_PATIENCE, || attacker.is_ready())?.then_some(()).ok_or_else(|| {
                Halt::Failed(format!("the attacker did not get in{}", told(&attacker.tally())))
            })?;
        }
        let settings = Settings {
            clock: self.clock,
            scene: scene.clone(),
            payload: Payload::new(run, job.seed, job.payload),
            room: attack.room(),
            channel_exists: attack.owns_channel(),
            slow: attack.has_slow_victim().then_some(job.slow_rate),
            enter_timeout: nanos(job.enter_timeout),
            accounts,
            seed: job.seed,
        };
        let mut crowd = Crowd::start(settings)?;
        scene.set_victim(self.enter(&crowd)?);
        for round in 1..=job.rounds {
            for kind in [PhaseKind::Quiet, PhaseKind::Attack] {
                self.phase(attack, (kind, round), &attacker, &mut crowd, phases)?;
            }
        }
        self.phase(attack, (PhaseKind::Quiet, job.rounds + 1), &attacker, &mut crowd, phases)
    }

    fn scene(&self, run: u32) -> Result<Scene, AbuseError> {
        let server = |endpoint: Endpoint| Server::new(endpoint.address, endpoint.key, HANDSHAKE_TIMEOUT);
        let login = self.login.as_ref().map(|login| server(login.server));
        let cluster = self.chat.cluster_key.clone().ok_or(AbuseError::NoClusterKey)?;
        Ok(Scene::new(
            (server(self.chat.server), login),
            cluster,
            Identities::new(run, self.job.seed),
            self.job.clients,
            i32::try_from(self.job.sector_size).unwrap_or(i32::MAX),
            (self.job.sockets as usize, self.job.attack_from),
        ))
    }

    /// Makes the accounts that newcomers of an attack on the login server need: as many as may be
    /// on their way, and some that have just left.
    #[allow(clippy::cast_sign_loss)] // rates and times are not negative
    fn accounts(&mut self, attack: Attack, scene: &Scene) -> Result<Option<u32>, Halt> {
        let Some(login) = scene.login.as_ref().filter(|_| attack.is_on_login()) else { return Ok(None) };
        let each = self.job.enter_timeout.as_secs_f64() + 2.0;
        let count = (self.job.newcomers * each).ceil() as u32;
        (self.progress)(&format!("  {attack}: making {} accounts", format_count(count.into())));
        let made = accounts::make(scene, login, count, self.shutdown);
        match made {
            Ok(()) => Ok(Some(count)),
            Err(_) if self.shutdown.is_requested() => Err(Halt::Interrupted),
            Err(why) => Err(Halt::Failed(format!("accounts for newcomers: {why}"))),
        }
    }

    /// Waits until `done`; false if it was not within `patience`.
    fn wait(&self, patience: Duration, mut done: impl FnMut() -> bool) -> Result<bool, Halt> {
        let until = self.clock.now().saturating_add(nanos(patience));
        loop {
            if done() {
                return Ok(true);
            }
            if self.clock.now() >= until {
                return Ok(false);
            }
            if self.shutdown.wait_timeout(POLL).is_some() {
                return Err(Halt::Interrupted);
            }
        }
    }

    /// Waits until it is `at`.
    fn wait_until(&self, at: Nanos) -> Result<(), Halt> {
        let left = Duration::from_nanos(at.saturating_sub(self.clock.now()));
        match self.shutdown.wait_timeout(left) {
            Some(_) => Err(Halt::Interrupted),
            None => Ok(()),
        }
    }

    /// Waits until all honest clients are ready. Returns the victim's user id.
    fn enter(&self, crowd: &Crowd) -> Result<u32, Halt> {
        let mut last = Progress::default();
        loop {
            let before = last.ready;
            let all = self.job.clients;
            let more = self.wait(READY_PATIENCE, || {
                last = crowd.progress().unwrap_or_default();
                last.ready > before || last.lost > 0
            })?;
            if last.ready == all {
                return Ok(last.victim);
            }
            if !more || last.lost > 0 {
                let why =
                    last.trouble.as_ref().map_or(String::new(), |why| format!("; the last reason: {why}"));
                return Err(Halt::Failed(format!(
                    "{} of {} honest clients were ready, and no more were for {}{why}",
                    format_count(last.ready.into()),
                    format_count(all.into()),
                    format_duration(READY_PATIENCE)
                )));
            }
        }
    }

    fn meters(&self) -> Result<Vec<Meter>, ProcError> {
        let login = self.login.as_ref().and_then(|login| login.pid);
        let mut pids: Vec<u32> = self.chat.pid.into_iter().chain(login).collect();
        pids.dedup();
        pids.into_iter().map(Meter::start).collect()
    }

    /// Runs one phase.
    #[allow(clippy::cast_sign_loss)] // rates are positive
    fn phase(
        &mut self,
        attack: Attack,
        (kind, round): (PhaseKind, u32),
        attacker: &Attacker,
        crowd: &mut Crowd,
        phases: &mut Vec<Phase>,
    ) -> Result<(), Halt> {
        let job = self.job;
        let every = |rate: f64| if rate > 0.0 { ((SECOND / rate) as Nanos).max(1) } else { Nanos::MAX >> 2 };
        let from = self.clock.now() + HEAD_START;
        let count_from = from + nanos(job.lead);
        let attacks = kind == PhaseKind::Attack;
        let counted_time = if attacks { job.duration } else { job.quiet_duration };
        let until = count_from + nanos(counted_time);
        let talk = Talk {
            from,
            count_from,
            until,
            interval: every(job.rate),
            newcomer_interval: every(job.newcomers),
        };
        let before = attacker.tally();
        if attacks {
            attacker.attack();
        }
        let counted = self.counted(talk, attacker, crowd);
        attacker.rest();
        let (server_cpu, counted) = counted?;
        crowd.wake();
        self.drain(crowd)?;
        let Some(progress) = crowd.progress() else {
            return Err(Halt::Failed("the honest clients' event loop has ended".into()));
        };
        let Some(heard) = crowd.finish() else {
            return Err(Halt::Failed("the honest clients' event loop has ended".into()));
        };
        let whole = attacker.tally().since(&before);
        let measured = Measured {
            kind,
            time: counted_time,
            offered: (until - from).div_ceil(talk.interval),
            server_cpu,
            traffic: attacks.then_some((counted, whole)),
        };
        let phase = Phase::new(measured, heard);
        (self.progress)(&line_of(attack, round, &phase));
        phases.push(phase);
        if progress.lost == job.clients {
            return Err(Halt::Failed("every honest client lost its session".into()));
        }
        self.wait_until(self.clock.now() + nanos(job.lead))
    }

    /// Waits for the end of the counted part. Returns the servers' CPU time in it, and the
    /// attacker's traffic.
    fn counted(
        &self,
        talk: Talk,
        attacker: &Attacker,
        crowd: &mut Crowd,
    ) -> Result<(Option<Duration>, Tally), Halt> {
        crowd.talk(talk)?;
        self.wait_until(talk.count_from)?;
        let mut meters = self.meters().unwrap_or_default();
        let before = attacker.tally();
        self.wait_until(talk.until)?;
        let traffic = attacker.tally().since(&before);
        for meter in &mut meters {
            meter.sample();
        }
        let cpu = (!meters.is_empty()).then(|| meters.iter().map(Meter::cpu).sum());
        Ok((cpu, traffic))
    }

    /// Waits until all messages have arrived or were announced as missed, and no newcomer is on its
    /// way. Gives up once nothing has arrived for the time of `--drain`.
    fn drain(&self, crowd: &Crowd) -> Result<(), Halt> {
        let until = self.clock.now().saturating_add(nanos(self.job.drain) * DRAINS_MAX);
        let mut least = u64::MAX;
        loop {
            let mut left = 0;
            let is_less = self.wait(self.job.drain, || {
                left = crowd.progress().map_or(0, |progress| {
                    progress.waiting + progress.entering as u64 + u64::from(progress.is_talking)
                });
                left < least
            })?;
            // Messages that have not arrived are missing, and newcomers on their way are late.
            if left == 0 || !is_less || self.clock.now() >= until {
                return Ok(());
            }
            least = left;
        }
    }
}

fn told(tally: &Tally) -> String {
    let told: Vec<&str> = tally.told.keys().map(String::as_str).collect();
    if told.is_empty() { String::new() } else { format!(" ({})", told.join(", ")) }
}

/// A phase as a line of progress.
fn line_of(attack: Attack, round: u32, phase: &Phase) -> String {
    let kind = if phase.kind == PhaseKind::Quiet { "quiet" } else { "ATTACK" };
    let time = |micros: f64| format_nanos(micros * 1e3);
    let invalid = if phase.valid { "" } else { "  INVALID" };
    format!(
        "  {:<13}{round} {kind:<7} other p99 {:>8}  same p99 {:>8}  newcomers {}/{} p99 {:>8}  missing {}{invalid}",
        attack.name(),
        time(phase.other_us.p99),
        time(phase.same_us.p99),
        phase.entered,
        phase.newcomers,
        time(phase.enter_us.p99),
        format_count(phase.missing),
    )
}
