//! Other systems beside Throng: the same room, messages and accounting, in one run.
//!
//! ```text
//!   for each repetition, for each number of members:
//!     bare                      the least cost of a write
//!     for each system in turn:  start on its core ─▶ members join ─▶ cases of the size ─▶ stop
//! ```
//! `system` is the interface to a system, text and bytes only, with a file for each (`redis`,
//! `nats`, `irc`, `mqtt`, `uwebsockets`). `process` and `pin` run servers, `clients` owns the
//! members' sockets, `traffic` sends and counts, and `room` combines the three for one case.
//! `throng` runs Throng's own clients, with the scenario `broadcast`.

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
pub mod registry;
mod report;
mod room;
mod row;
pub mod system;
mod throng;
mod traffic;
mod uwebsockets;

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
use registry::{PEERS, THRONG};
use room::Room;
use system::Peer;
use throng::Throng;

/// Open files that are not members' sockets.
const RESERVED_FILES: u64 = 64;
/// Milliseconds that an unpaced bare writer writes.
const BARE_MILLIS: u64 = 1_000;
/// Divisor of a case's duration for the paced bare writer. A run of one second varies by about 10
/// %, as much as the difference to be measured.
const BARE_SHARE: u64 = 2;
/// Messages in each write of an unpaced bare writer.
const BARE_BATCHES: [usize; 2] = [1, 10];

/// A system to measure.
#[derive(Clone, Copy)]
pub enum System {
    /// Throng.
    Throng,
    /// Another system.
    Peer(&'static dyn Peer),
}

impl System {
    /// All systems, in the order of reports.
    pub fn all() -> impl Iterator<Item = Self> {
        std::iter::once(Self::Throng).chain(PEERS.into_iter().map(Self::Peer))
    }

    /// The system with the given name.
    pub fn named(name: &str) -> Option<Self> {
        Self::all().find(|system| system.name() == name)
    }

    /// The name on the command line and in reports.
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

/// A comparison to run.
#[derive(Debug, Clone, PartialEq)]
pub struct PeersJob {
    /// The systems to measure.
    pub systems: Vec<System>,
    /// The cases to measure; cases with the same number of members are adjacent.
    pub cases: Vec<Case>,
    /// Durations of the parts of a case.
    pub times: Times,
    /// Repetitions of everything.
    pub repeat: u32,
    /// Bytes of each message.
    pub payload: usize,
    /// The core of servers.
    pub server_core: usize,
    /// The core of this process.
    pub client_core: usize,
    /// Seed of the traffic.
    pub seed: u64,
    /// Time after which no case may end; a case that could is not started.
    pub limit: Duration,
    /// File for the JSON report.
    pub json: Option<PathBuf>,
    /// File for the report as a page.
    pub html: Option<PathBuf>,
    /// Path of Throng's program, if not beside this one.
    pub throng: Option<PathBuf>,
    /// The program with the bare writer's subcommand; `None` leaves the bare writer out.
    pub bare: Option<PathBuf>,
}

/// The results of a comparison.
#[derive(Debug, Default)]
pub struct Results {
    /// The systems that took part.
    pub systems: Vec<Taken>,
    /// One row for each case, system and repetition.
    pub rows: Vec<Row>,
    /// Costs of a bare write.
    pub bare: Vec<Bare>,
    /// Cases that could not be measured.
    pub failures: Vec<Failure>,
    /// True if the user stopped the run.
    pub interrupted: bool,
}

/// The reason that nothing can be measured.
#[derive(Debug, Error)]
pub enum PeersError {
    /// A core does not exist.
    #[error(transparent)]
    Pin(#[from] PinError),
    /// A program is missing.
    #[error(transparent)]
    Server(#[from] ServerError),
    /// The limit on open files cannot be raised.
    #[error(transparent)]
    Raise(#[from] RaiseError),
    /// The limit on open files is too low.
    #[error("{members} members need {} open files, and this process may have {limit}: raise it with `ulimit -n`, or choose smaller --cases", members + RESERVED_FILES)]
    Files {
        /// Members of the largest case.
        members: u64,
        /// The limit in force.
        limit: FileLimit,
    },
}

/// Measures all of `job`, or until `shutdown` is requested. `progress` receives a line for each
/// case.
pub fn run(
    job: &PeersJob,
    shutdown: &Shutdown,
    progress: &mut dyn FnMut(&str),
) -> Result<Results, PeersError> {
    pin::check(job.server_core)?;
    let _pinned = Pinned::to(job.client_core)?;
    let members = job.cases.iter().map(|case| u64::from(case.members)).max().unwrap_or(0);
    let limit = FileLimit::raise()?;
    if limit.sessions_that_fit(RESERVED_FILES) < members {
        return Err(PeersError::Files { members, limit });
    }
    let started = Instant::now();
    let mut run = Run {
        job,
        shutdown,
        progress,
        started,
        case_started: started,
        durations: HashMap::new(),
        results: Results::default(),
    };
    run.results.systems =
        job.systems.iter().map(|system| took_part(*system, job)).collect::<Result<_, _>>()?;
    for repetition in 1..=job.repeat {
        for (place, group) in job.cases.chunk_by(|one, other| one.members == other.members).enumerate() {
            run.group(repetition, place, group);
        }
    }
    run.results.interrupted = shutdown.is_requested();
    Ok(run.results)
}

/// Finds the version of a system; fails if its program is missing.
fn took_part(system: System, job: &PeersJob) -> Result<Taken, ServerError> {
    let version = match system {
        System::Throng => process::version(&throng::program(job.throng.as_deref())?, &["--version"]),
        System::Peer(peer) => process::version(&process::program_of(peer)?, peer.version_arguments()),
    };
    Ok(Taken { system: system.name().into(), version })
}

struct Run<'a> {
    job: &'a PeersJob,
    shutdown: &'a Shutdown,
    progress: &'a mut dyn FnMut(&str),
    started: Instant,
    /// Start of the current case, including its server.
    case_started: Instant,
    /// Time that each case took with each system the last time.
    durations: HashMap<(&'static str, char), Duration>,
    results: Results,
}

impl Run<'_> {
    /// Runs the cases of one size with every system in turn, starting with another system each
    /// time.
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

    /// Measures the cost of a write, unpaced and at the pace of each case.
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
                Ok(None) => (self.progress)("the bare writer did not finish; its cost is unknown"),
                Err(error) => (self.progress)(&error.to_string()),
            }
        }
    }

    fn peer(&mut self, peer: &'static dyn Peer, repetition: u32, cases: &[Case]) {
        let mut room: Option<Room<'_>> = None;
        for case in cases {
            if !self.try_start(peer.name(), *case, repetition) {
                continue;
            }
            let found = (|| {
                let open = || Room::open(peer, self.job.server_core, case.members, self.shutdown);
                let mut open = room.take().map_or_else(open, Ok)?;
                let seed = self.seed(*case, repetition);
                let findings = open.run(*case, self.job.times, self.job.payload, seed, self.shutdown)?;
                // A room that fell behind or lost a member is not used again.
                room = open.is_fresh().then_some(open);
                Ok(findings)
            })();
            match found {
                Err(RoomError::Interrupted) => return,
                found => self.record(peer.name(), *case, repetition, found),
            }
        }
    }

    fn throng(&mut self, repetition: u32, cases: &[Case]) {
        for case in cases {
            if !self.try_start(THRONG, *case, repetition) {
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
                found => self.record(THRONG, *case, repetition, found),
            }
        }
    }

    /// The traffic of a case is the same for all systems, and differs between repetitions.
    fn seed(&self, case: Case, repetition: u32) -> u64 {
        self.job
            .seed
            .wrapping_add(u64::from(repetition) << 32)
            .wrapping_add(u64::from(u32::from(case.letter)))
    }

    /// Returns true if a case fits into the limit, and announces it; otherwise notes the failure.
    fn try_start(&mut self, system: &'static str, case: Case, repetition: u32) -> bool {
        if self.shutdown.is_requested() {
            return false;
        }
        let Times { warmup, pause, duration, drain } = self.job.times;
        let elapsed = self.started.elapsed();
        // The time it took before includes the entry of all members.
        let last = self.durations.get(&(system, case.letter)).copied().unwrap_or_default();
        if elapsed + last.max(warmup + pause + duration + drain) > self.job.limit {
            let why = format!("the --limit of {:?} was near", self.job.limit);
            self.fail(system, case, repetition, why);
            return false;
        }
        self.case_started = Instant::now();
        let seconds = elapsed.as_secs();
        (self.progress)(&format!("{seconds:5}s  {repetition} of {}  {system:<11}  {case}", self.job.repeat));
        true
    }

    fn record<E: std::fmt::Display>(
        &mut self,
        system: &'static str,
        case: Case,
        repetition: u32,
        found: Result<Findings, E>,
    ) {
        self.durations.insert((system, case.letter), self.case_started.elapsed());
        match found {
            Err(error) => self.fail(system, case, repetition, error.to_string()),
            Ok(findings) => {
                let mut row = Row::new(system, case, repetition, findings);
                if self.job.server_core == self.job.client_core {
                    row.doubt("server and harness share a core, so each waited for the other".into());
                }
                let [p50, p99] = [row.latency_us.p50, row.latency_us.p99].map(|micros| micros / 1e3);
                let (missing, valid) = (row.deliveries.missing, if row.valid { "" } else { ", INVALID" });
                (self.progress)(&format!(
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
        (self.progress)(&format!("        NOT MEASURED: {why}"));
        self.results.failures.push(Failure { system: system.into(), case: case.letter, repetition, why });
    }
}
