//! `monitor`: watches the servers of a data directory, and says when something is not as it should be. It puts no load on them.
//!
//! ```text
//!   follow     which processes they are, now; each look is a Look
//!     |  procstat (/proc), admin (HTTP), metrics (what it answers)
//!   record     a bounded history of each server; how each limit was kept
//!     |
//!   view       the picture, and the lines       report   text, JSON, page, exit code
//! ```

pub mod admin;
pub mod follow;
pub mod limit;
pub mod metrics;
mod page;
pub mod record;
mod report;
pub mod view;

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use thiserror::Error;
use throng_core::endpoints::EndpointsError;
use throng_core::shutdown::{Cause, Shutdown};
use throng_harness_model::clock::nanos;
use throng_harness_model::exit::EXIT_INTERRUPTED;
use throng_harness_terminal::{Action, Screen};

pub use report::{MonitorReport, ServerReport, Warning};

use follow::Followed;
use limit::Limit;
use record::{History, Judge, LOOKS_KEPT};
use view::{Picture, line};

/// Warnings that are kept for the report.
const WARNINGS_KEPT: usize = 1_000;

/// How long the keyboard may wait.
const KEYS: Duration = Duration::from_millis(50);

/// What to watch.
#[derive(Debug, Clone, PartialEq)]
pub struct MonitorJob {
    /// The servers' data directory.
    pub data: PathBuf,
    /// How long; until somebody ends it if not given.
    pub duration: Option<Duration>,
    /// Time between two looks, above zero.
    pub interval: Duration,
    /// What must hold, `up` included.
    pub limits: Vec<Limit>,
    /// Looks in a row that break a limit, at least 1.
    pub patience: u32,
    /// Where the JSON report goes.
    pub json: Option<PathBuf>,
    /// Where the report goes as a page; never where the JSON goes.
    pub html: Option<PathBuf>,
    /// Whether lines are shown even in a terminal.
    pub plain: bool,
}

/// Why nothing was watched.
#[derive(Debug, Error)]
pub enum MonitorError {
    /// The data directory does not say where its servers are.
    #[error(transparent)]
    Endpoints(#[from] EndpointsError),
}

/// What was found.
#[derive(Debug)]
pub struct Watched {
    servers: Vec<ServerRecord>,
    judges: Vec<Judge>,
    warnings: Vec<Warning>,
    looks: u64,
    took: Duration,
    /// Whether somebody ended it.
    pub interrupted: bool,
}

/// What was found of one server.
#[derive(Debug)]
struct ServerRecord {
    name: String,
    history: History,
    /// Its processes, one after the other.
    pids: Vec<u32>,
    /// Looks at which it was not there, and how often it went away.
    down: u64,
    went_down: u64,
    was_up: Option<bool>,
}

/// Watches until the time is over or `shutdown` is requested. Where there is no terminal to have, `tell` gets a line for each look at
/// a server, and one for whatever else there is to tell.
pub fn run(
    job: &MonitorJob,
    shutdown: &Shutdown,
    tell: &mut impl FnMut(&str),
) -> Result<Watched, MonitorError> {
    let mut followed = Followed::find(&job.data)?;
    let mut picture = Picture::new(job);
    let mut screen = if job.plain { None } else { Screen::open(shutdown) };
    let mut watched = Watched {
        servers: Vec::new(),
        judges: job.limits.iter().cloned().map(Judge::new).collect(),
        warnings: Vec::new(),
        looks: 0,
        took: Duration::ZERO,
        interrupted: false,
    };
    let begun = Instant::now();
    let mut next = Duration::ZERO;
    while !shutdown.is_requested() {
        let told = watched.look(&mut followed, begun.elapsed(), &mut picture);
        if screen.is_none() {
            picture.looks().for_each(|(name, look)| tell(&line(name, look)));
            for text in &told {
                tell(text);
            }
        }
        if job.duration.is_some_and(|duration| begun.elapsed() >= duration) {
            break;
        }
        // A look that took longer than its interval makes the next one come at its own time, and not at once.
        while next <= begun.elapsed() {
            next += job.interval;
        }
        let until = job.duration.map_or(next, |duration| next.min(duration));
        wait(&mut screen, &mut picture, begun, until, shutdown);
    }
    drop(screen);
    watched.took = begun.elapsed();
    watched.interrupted = shutdown.is_requested();
    Ok(watched)
}

/// Shows the picture and looks at the keyboard until it is time for the next look.
fn wait(
    screen: &mut Option<Screen>,
    picture: &mut Picture,
    begun: Instant,
    until: Duration,
    shutdown: &Shutdown,
) {
    loop {
        let now = begun.elapsed();
        picture.set_now(nanos(now));
        if let Some(shown) = screen
            && show(shown, picture, shutdown).is_err()
        {
            // The terminal is gone; what it showed goes on as lines.
            *screen = None;
        }
        let left = until.saturating_sub(now);
        if left.is_zero() || shutdown.is_requested() {
            return;
        }
        shutdown.wait_timeout(if screen.is_some() { left.min(KEYS) } else { left });
    }
}

fn show(screen: &mut Screen, picture: &mut Picture, shutdown: &Shutdown) -> io::Result<()> {
    for action in screen.actions()? {
        screen.hurry();
        match action {
            Action::Quit if shutdown.is_requested() => shutdown.force(EXIT_INTERRUPTED.into()),
            Action::Quit => shutdown.request(Cause::Interrupted),
            Action::Pause => picture.pause(),
            Action::Rate(_) => {}
        }
    }
    screen.draw(|frame| picture.draw(frame))
}

impl Watched {
    /// Looks at all servers once; the result is what is new to tell.
    fn look(&mut self, followed: &mut Followed, now: Duration, picture: &mut Picture) -> Vec<String> {
        let at_s = now.as_secs_f64();
        let looks = followed.look(at_s);
        let mut told = Vec::new();
        for (place, (server, look)) in followed.servers().iter().zip(&looks).enumerate() {
            if self.servers.len() <= place {
                self.servers.push(ServerRecord::new(&server.name));
            }
            let judges = self.judges.iter_mut();
            told.extend(judges.filter_map(|judge| judge.see(place, &server.name, look)));
            told.extend(self.servers[place].add(look.clone()));
        }
        self.looks += 1;
        for text in &told {
            if self.warnings.len() < WARNINGS_KEPT {
                self.warnings.push(Warning { at_s, text: text.clone() });
            }
        }
        let names = followed.servers().iter().map(|server| server.name.clone());
        picture.add(nanos(now), names.zip(looks).collect(), &self.judges, &told);
        told
    }
}

impl ServerRecord {
    fn new(name: &str) -> Self {
        let history = History::new(LOOKS_KEPT);
        Self { name: name.into(), history, pids: Vec::new(), down: 0, went_down: 0, was_up: None }
    }

    /// Keeps a look. The result is what is new to tell.
    fn add(&mut self, look: follow::Look) -> Option<String> {
        let was_up = self.was_up.replace(look.is_up);
        self.down += u64::from(!look.is_up);
        self.went_down += u64::from(was_up == Some(true) && !look.is_up);
        let mut told = None;
        if let Some(pid) = look.pid
            && self.pids.last() != Some(&pid)
        {
            if !self.pids.is_empty() {
                told = Some(format!("{}: process {pid} from now on", self.name));
            }
            // Of a server that restarts for ever, the last processes are enough.
            if self.pids.len() >= WARNINGS_KEPT {
                self.pids.remove(0);
            }
            self.pids.push(pid);
        }
        // What the report does not have is not kept: it is many times as large.
        self.history.add(follow::Look {
            metrics: metrics::Metrics::default(),
            growth: BTreeMap::new(),
            ..look
        });
        told
    }
}
