//! Other systems beside Throng: the same room, the same messages, the same accounting, in the same run.
//!
//! ```text
//!   for each repetition, for each number of members:
//!     bare                      what a write costs at least
//!     for each system in turn:  start on the server's core ─▶ members join ─▶ the cases of that size ─▶ stop
//! ```
//! `system` says what a system is: text and bytes, in a file for each (`redis`, `nats`, `irc`, `mqtt`).
//! `process` and `pin` run servers, `swarm` has the members' sockets, `talk` says and counts, `room` puts the
//! three together for one case. `throng` runs Throng's own clients, by the scenario `broadcast`.

pub mod bare;
mod case;
mod clients;
#[cfg(any(test, feature = "testing"))]
pub mod fixture;
mod irc;
mod mqtt;
mod nats;
mod page;
pub mod pin;
mod process;
mod read;
mod redis;
mod report;
mod room;
mod row;
pub mod system;
mod throng;
mod traffic;

use std::collections::HashMap;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use thiserror::Error;
use throng_core::rlimit::{FileLimit, RaiseError};
use throng_core::shutdown::Shutdown;
use throng_harness_model::results::Findings;
use throng_harness_model::text::format_count;

pub use case::{AHEAD, CASES, Case, Load};
pub use process::ServerError;
pub use report::{BareSummary, Failure, PeersReport, SCENARIO, Taken};
pub use room::RoomError;
pub use row::{Row, Summary};
pub use throng::ThrongError;
pub use traffic::Times;

use bare::Bare;
use pin::{PinError, Pinned};
use room::Room;
use system::{PEERS, Peer, THRONG};
use throng::Throng;

/// Open files for everything but members.
const RESERVED_FILES: u64 = 64;
/// How long a bare writer writes as fast as it can.
const BARE_MILLIS: u64 = 1_000;
/// Of the time in which a case counts, what one at its pace writes for. In a second of it the machine's moods are a tenth of what
/// comes out, which is as much as this is to tell apart.
const BARE_SHARE: u64 = 2;
/// Messages in each of a bare writer's writes.
const BARE_BATCHES: [usize; 2] = [1, 10];

/// One of the systems.
#[derive(Clone, Copy)]
pub enum System {
    /// Throng.
    Throng,
    /// Somebody else's.
    Peer(&'static dyn Peer),
}

impl System {
    /// All of them, in the order of reports.
    pub fn all() -> impl Iterator<Item = Self> {
        std::iter::once(Self::Throng).chain(PEERS.into_iter().map(Self::Peer))
    }

    /// The system of a name.
    pub fn named(name: &str) -> Option<Self> {
        Self::all().find(|system| system.name() == name)
    }

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Throng => THRONG,
            Self::Peer(peer) => peer.name(),
        }
    }
}

impl std::fmt::Debug for System {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

impl PartialEq for System {
    fn eq(&self, other: &Self) -> bool {
        self.name() == other.name()
    }
}

/// What to measure.
#[derive(Debug, Clone, PartialEq)]
pub struct PeersJob {
    /// Which systems.
    pub systems: Vec<System>,
    /// Which cases; those with as many members follow each other.
    pub cases: Vec<Case>,
    /// How long their parts take.
    pub times: Times,
    /// How often everything is done.
    pub repeat: u32,
    /// Bytes of each message.
    pub payload: usize,
    /// The core of servers.
    pub server_core: usize,
    /// The core of this process.
    pub client_core: usize,
    /// What decides who speaks.
    pub seed: u64,
    /// No case begins that could not end by then.
    pub limit: Duration,
    /// Where the JSON report goes.
    pub json: Option<PathBuf>,
    /// Where the report goes as a page.
    pub html: Option<PathBuf>,
    /// Throng's program, if it is not beside this one.
    pub throng: Option<PathBuf>,
    /// The program whose subcommand is the bare writer; without it that is not measured.
    pub bare: Option<PathBuf>,
}

/// What was found.
#[derive(Debug, Default)]
pub struct Results {
    /// Who took part.
    pub systems: Vec<Taken>,
    /// Each case with each system, each time.
    pub rows: Vec<Row>,
    /// What a write costs.
    pub bare: Vec<Bare>,
    /// What was not measured.
    pub failures: Vec<Failure>,
    /// Whether the user stopped the run.
    pub interrupted: bool,
}

/// Why nothing can be measured.
#[derive(Debug, Error)]
pub enum PeersError {
    /// A core is not there.
    #[error(transparent)]
    Pin(#[from] PinError),
    /// A program is not there.
    #[error(transparent)]
    Server(#[from] ServerError),
    /// The limit on open files stays low.
    #[error(transparent)]
    Raise(#[from] RaiseError),
    /// It is too low.
    #[error("{members} members need {} open files, and this process may have {limit}: raise it with `ulimit -n`, or choose smaller --cases", members + RESERVED_FILES)]
    Files {
        /// The most members of a case.
        members: u64,
        /// The limit in force.
        limit: FileLimit,
    },
}

/// Measures what `job` asks for, until it is done or `shutdown` is requested. `say` is told what comes next.
pub fn run(job: &PeersJob, shutdown: &Shutdown, say: &mut dyn FnMut(&str)) -> Result<Results, PeersError> {
    pin::check(job.server_core)?;
    let _pinned = Pinned::to(job.client_core)?;
    let members = job.cases.iter().map(|case| u64::from(case.members)).max().unwrap_or(0);
    let limit = FileLimit::raise()?;
    if limit.sessions_that_fit(RESERVED_FILES) < members {
        return Err(PeersError::Files { members, limit });
    }
    let begun = Instant::now();
    let mut run = Run {
        job,
        shutdown,
        say,
        begun,
        case_begun: begun,
        took: HashMap::new(),
        results: Results::default(),
    };
    run.results.systems = job.systems.iter().map(|system| taken(*system, job)).collect::<Result<_, _>>()?;
    for repetition in 1..=job.repeat {
        for (place, group) in job.cases.chunk_by(|one, other| one.members == other.members).enumerate() {
            run.group(repetition, place, group);
        }
    }
    run.results.interrupted = shutdown.is_requested();
    Ok(run.results)
}

/// Fails unless the system's program is there.
fn taken(system: System, job: &PeersJob) -> Result<Taken, ServerError> {
    let version = match system {
        System::Throng => process::version(&throng::program(job.throng.as_deref())?, "--version"),
        System::Peer(peer) => process::version(&process::program_of(peer)?, peer.version_argument()),
    };
    Ok(Taken { system: system.name().into(), version })
}

struct Run<'a> {
    job: &'a PeersJob,
    shutdown: &'a Shutdown,
    say: &'a mut dyn FnMut(&str),
    begun: Instant,
    /// When the case under way began, with its server.
    case_begun: Instant,
    /// How long each case took with each system the last time.
    took: HashMap<(&'static str, char), Duration>,
    results: Results,
}

impl Run<'_> {
    /// The cases of one size with every system in turn; who begins changes.
    fn group(&mut self, repetition: u32, place: usize, cases: &[Case]) {
        let Some(first) = cases.first() else { return };
        self.bare(repetition, first.members, cases);
        let mut systems = self.job.systems.clone();
        if !systems.is_empty() {
            let by = (repetition as usize - 1 + place) % systems.len();
            systems.rotate_left(by);
        }
        for system in systems {
            match system {
                System::Throng => self.throng(repetition, cases),
                System::Peer(peer) => self.peer(peer, repetition, cases),
            }
        }
    }

    /// What a write costs: as fast as it goes, and at the pace of each case.
    fn bare(&mut self, repetition: u32, sockets: u32, cases: &[Case]) {
        let Some(program) = &self.job.bare else { return };
        let payload = self.job.payload;
        let half = u64::try_from(self.job.times.duration.as_millis()).unwrap_or(u64::MAX) / BARE_SHARE;
        let fast = BARE_BATCHES.into_iter().map(|batch| (None, batch * payload, BARE_MILLIS));
        let paced = cases
            .iter()
            .filter_map(|case| Some((Some((case.letter, case.interval()?)), payload, half.max(1))));
        for (case, bytes, millis) in fast.chain(paced) {
            if self.shutdown.is_requested() {
                return;
            }
            let measure = bare::Measure { case, sockets, bytes, millis, repetition };
            match bare::measure(program, self.job.server_core, measure, self.shutdown) {
                Ok(Some(bare)) => self.results.bare.push(bare),
                Ok(None) => (self.say)("the bare writer has not come to an end; its cost is not known"),
                Err(error) => (self.say)(&error.to_string()),
            }
        }
    }

    fn peer(&mut self, peer: &'static dyn Peer, repetition: u32, cases: &[Case]) {
        let mut room: Option<Room<'_>> = None;
        for case in cases {
            if !self.may_begin(peer.name(), *case, repetition) {
                continue;
            }
            let found = (|| {
                let open = || Room::open(peer, self.job.server_core, case.members, self.shutdown);
                let mut open = room.take().map_or_else(open, Ok)?;
                let seed = self.seed(*case, repetition);
                let findings = open.run(*case, self.job.times, self.job.payload, seed, self.shutdown)?;
                // One that did not follow, or that lost somebody, is not asked again.
                room = open.is_fresh().then_some(open);
                Ok(findings)
            })();
            match found {
                Err(RoomError::Interrupted) => return,
                found => self.found(peer.name(), *case, repetition, found),
            }
        }
    }

    fn throng(&mut self, repetition: u32, cases: &[Case]) {
        for case in cases {
            if !self.may_begin(THRONG, *case, repetition) {
                continue;
            }
            let found = (|| {
                let program = throng::program(self.job.throng.as_deref())?;
                let throng = Throng::start(&program, self.job.server_core)?;
                let seed = self.seed(*case, repetition);
                throng.run(*case, self.job.times, self.job.payload, seed, self.shutdown)
            })();
            match found {
                Err(ThrongError::Interrupted) => return,
                found => self.found(THRONG, *case, repetition, found),
            }
        }
    }

    /// Every system hears the same in one repetition of a case, and something else in the next.
    fn seed(&self, case: Case, repetition: u32) -> u64 {
        self.job
            .seed
            .wrapping_add(u64::from(repetition) << 32)
            .wrapping_add(u64::from(u32::from(case.letter)))
    }

    /// Whether there is time for a case; says what comes if there is, and notes it if there is not.
    fn may_begin(&mut self, system: &'static str, case: Case, repetition: u32) -> bool {
        if self.shutdown.is_requested() {
            return false;
        }
        let Times { warmup, pause, duration, drain } = self.job.times;
        let elapsed = self.begun.elapsed();
        // As long as the last time, with everybody's coming in.
        let last = self.took.get(&(system, case.letter)).copied().unwrap_or_default();
        if elapsed + last.max(warmup + pause + duration + drain) > self.job.limit {
            let why = format!("the --limit of {:?} was near", self.job.limit);
            self.fail(system, case, repetition, why);
            return false;
        }
        self.case_begun = Instant::now();
        let seconds = elapsed.as_secs();
        (self.say)(&format!("{seconds:5}s  {repetition} of {}  {system:<10}  {case}", self.job.repeat));
        true
    }

    fn found<E: std::fmt::Display>(
        &mut self,
        system: &'static str,
        case: Case,
        repetition: u32,
        found: Result<Findings, E>,
    ) {
        self.took.insert((system, case.letter), self.case_begun.elapsed());
        match found {
            Err(error) => self.fail(system, case, repetition, error.to_string()),
            Ok(findings) => {
                let mut row = Row::new(system, case, repetition, findings);
                if self.job.server_core == self.job.client_core {
                    row.doubt("server and harness share a core, so each has waited for the other".into());
                }
                let [p50, p99] = [row.latency_us.p50, row.latency_us.p99].map(|micros| micros / 1e3);
                let (missing, valid) = (row.deliveries.missing, if row.valid { "" } else { ", INVALID" });
                (self.say)(&format!(
                    "        {:.0} deliveries/s, p50 {p50:.2} ms, p99 {p99:.1} ms, {:.2} us/delivery, {} missing, harness {:.0}%{valid}",
                    row.deliveries_per_s,
                    row.server_cpu_us_per_delivery.unwrap_or(0.0),
                    format_count(missing),
                    row.harness_load * 100.0,
                ));
                self.results.rows.push(row);
            }
        }
    }

    fn fail(&mut self, system: &'static str, case: Case, repetition: u32, why: String) {
        (self.say)(&format!("        NOT MEASURED: {why}"));
        self.results.failures.push(Failure { system: system.into(), case: case.letter, repetition, why });
    }
}
