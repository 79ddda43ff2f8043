//! `monitor`: watches the servers of a data directory, and warns when one crosses a limit. It puts
//! no load on them.
//!
//! ```text
//!   follow     the current processes of the data directory; one sample of each at a time
//!     |  procstat (/proc), admin (HTTP), metrics (the answer of /metrics)
//!   record     a bounded history of each server, and the judgment of each limit
//!     |
//!   view       live view and lines       report   text, JSON, page, exit code
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
use record::{History, Judge, SAMPLES_KEPT};
use view::{Picture, line};

/// Most warnings kept for the report, and most process ids of a server.
const WARNINGS_KEPT: usize = 1_000;

/// Longest time between two checks of the keyboard.
const KEYS: Duration = Duration::from_millis(50);

/// A watch to run.
#[derive(Debug, Clone, PartialEq)]
pub struct MonitorJob {
    /// The servers' data directory.
    pub data: PathBuf,
    /// Duration of the watch; `None` until it is interrupted.
    pub duration: Option<Duration>,
    /// Time between two samples, above zero.
    pub interval: Duration,
    /// The limits that must hold, `up` included.
    pub limits: Vec<Limit>,
    /// Consecutive samples that break a limit, at least 1.
    pub patience: u32,
    /// File for the JSON report.
    pub json: Option<PathBuf>,
    /// File for the report as a page; differs from the JSON's.
    pub html: Option<PathBuf>,
    /// True if lines are shown even in a terminal.
    pub plain: bool,
}

/// The reason that nothing was watched.
#[derive(Debug, Error)]
pub enum MonitorError {
    /// The data directory does not name its servers.
    #[error(transparent)]
    Endpoints(#[from] EndpointsError),
}

/// The results of a watch.
#[derive(Debug)]
pub struct Watched {
    servers: Vec<ServerRecord>,
    judges: Vec<Judge>,
    warnings: Vec<Warning>,
    samples: u64,
    took: Duration,
    /// True if the user stopped it.
    pub interrupted: bool,
}

/// The results of one server.
#[derive(Debug)]
struct ServerRecord {
    name: String,
    history: History,
    /// Its processes, in order.
    pids: Vec<u32>,
    /// Samples while the server was down, and transitions from up to down.
    down: u64,
    went_down: u64,
    was_up: Option<bool>,
}

/// Watches until the duration is over or `shutdown` is requested. Without a live view `print` gets
/// a line for each sample of a server, and one for each message.
pub fn run(
    job: &MonitorJob,
    shutdown: &Shutdown,
    print: &mut impl FnMut(&str),
) -> Result<Watched, MonitorError> {
    let mut followed = Followed::find(&job.data)?;
    let mut picture = Picture::new(job);
    let mut screen = if job.plain { None } else { Screen::open(shutdown) };
    let mut watched = Watched {
        servers: Vec::new(),
        judges: job.limits.iter().cloned().map(Judge::new).collect(),
        warnings: Vec::new(),
        samples: 0,
        took: Duration::ZERO,
        interrupted: false,
    };
    let started = Instant::now();
    let mut next = Duration::ZERO;
    while !shutdown.is_requested() {
        let messages = watched.sample(&mut followed, started.elapsed(), &mut picture);
        if screen.is_none() {
            picture.samples().for_each(|(name, sample)| print(&line(name, sample)));
            for text in &messages {
                print(text);
            }
        }
        if job.duration.is_some_and(|duration| started.elapsed() >= duration) {
            break;
        }
        // A sample that took longer than the interval skips the times that have passed.
        while next <= started.elapsed() {
            next += job.interval;
        }
        let until = job.duration.map_or(next, |duration| next.min(duration));
        wait(&mut screen, &mut picture, started, until, shutdown);
    }
    drop(screen);
    watched.took = started.elapsed();
    watched.interrupted = shutdown.is_requested();
    Ok(watched)
}

/// Draws the live view and handles keys until the next sample is due.
fn wait(
    screen: &mut Option<Screen>,
    picture: &mut Picture,
    started: Instant,
    until: Duration,
    shutdown: &Shutdown,
) {
    loop {
        let now = started.elapsed();
        picture.set_now(nanos(now));
        if let Some(shown) = screen
            && show(shown, picture, shutdown).is_err()
        {
            // Without its terminal the watch goes on with lines.
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
            Action::Help => picture.toggle_help(),
            Action::Rate(_) => {}
        }
    }
    screen.draw(|frame| picture.draw(frame))
}

impl Watched {
    /// Samples all servers once; returns the new messages.
    fn sample(&mut self, followed: &mut Followed, now: Duration, picture: &mut Picture) -> Vec<String> {
        let at_s = now.as_secs_f64();
        let samples = followed.sample(at_s);
        let mut messages = Vec::new();
        for (place, (server, sample)) in followed.servers().iter().zip(&samples).enumerate() {
            if self.servers.len() <= place {
                self.servers.push(ServerRecord::new(&server.name));
            }
            let judges = self.judges.iter_mut();
            messages.extend(judges.filter_map(|judge| judge.observe(place, &server.name, sample)));
            messages.extend(self.servers[place].add(sample.clone()));
        }
        self.samples += 1;
        for text in &messages {
            if self.warnings.len() < WARNINGS_KEPT {
                self.warnings.push(Warning { at_s, text: text.clone() });
            }
        }
        let names = followed.servers().iter().map(|server| server.name.clone());
        picture.add(nanos(now), names.zip(samples).collect(), &self.judges, &messages);
        messages
    }
}

impl ServerRecord {
    fn new(name: &str) -> Self {
        let history = History::new(SAMPLES_KEPT);
        Self { name: name.into(), history, pids: Vec::new(), down: 0, went_down: 0, was_up: None }
    }

    /// Records a sample; returns a message if the process changed.
    fn add(&mut self, sample: follow::Sample) -> Option<String> {
        let was_up = self.was_up.replace(sample.is_up);
        self.down += u64::from(!sample.is_up);
        self.went_down += u64::from(was_up == Some(true) && !sample.is_up);
        let mut message = None;
        if let Some(pid) = sample.pid
            && self.pids.last() != Some(&pid)
        {
            if !self.pids.is_empty() {
                message = Some(format!("{}: now process {pid}", self.name));
            }
            // A server that restarts forever must not grow the list.
            if self.pids.len() >= WARNINGS_KEPT {
                self.pids.remove(0);
            }
            self.pids.push(pid);
        }
        // The metrics are many times as large as the rest of a sample, and the report lacks them.
        self.history.add(follow::Sample {
            metrics: metrics::Metrics::default(),
            growth: BTreeMap::new(),
            ..sample
        });
        message
    }
}
