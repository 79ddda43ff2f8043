//! The log: one line for each event, to stderr and to a rotating file, by a
//! thread of its own. A thread that logs never waits for a disk or a terminal:
//! when the queue to the log thread is full the line is dropped and counted.
//!
//! The most recent lines also stay in memory, for crash reports.

mod recent;
mod rolling;
mod writer;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::time::Duration;

use parking_lot::{Mutex, RwLock};
use thiserror::Error;
use tracing_subscriber::filter::{EnvFilter, LevelFilter};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{Registry, fmt, reload};

use crate::config;
use crate::limits::LOG_QUEUE;
use recent::Recent;
use rolling::RollingFile;
use writer::{Output, Sink};

/// How long the end of the log may take to reach the disk.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(1);

/// Why there is no log, or not the wanted one.
#[derive(Debug, Error)]
pub enum LogError {
    /// A text is no filter.
    #[error(
        "{directives:?} is not a log level: {reason}; write error, warn, info, debug, trace or off, and TARGET=LEVEL after commas"
    )]
    Filter {
        /// The text.
        directives: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The log file cannot be written.
    #[error(
        "cannot write the log file {path:?}: {source}; set log.file to another path, or to \"\" for none"
    )]
    File {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// The log thread cannot be started.
    #[error("cannot start the log thread: {0}")]
    Thread(io::Error),
    /// Something else in this process has installed a subscriber for log events.
    #[error("the log of this process is already taken by another subscriber")]
    Taken,
}

type FilterHandle = reload::Handle<EnvFilter, Registry>;

/// Tracing takes one subscriber for each process, for ever: it is installed once, and
/// later calls of [`init`] change where it writes and what it lets through.
static FILTER: OnceLock<FilterHandle> = OnceLock::new();
/// Held while [`FILTER`] is installed, so that two threads do not both try.
static INSTALLING: Mutex<()> = Mutex::new(());
/// Where lines go at present.
static OUTPUT: RwLock<Option<Output>> = RwLock::new(None);
/// The most recent lines.
static RECENT: Mutex<Recent> = Mutex::new(Recent::new());

/// Changes the log of a running process.
#[derive(Debug, Clone)]
pub struct LogHandle {
    filter: FilterHandle,
}

impl LogHandle {
    /// Logs from now on what `directives` let through, as `log.level` in the configuration.
    pub fn set_level(&self, directives: &str) -> Result<(), LogError> {
        let filter = parse_filter(directives)?;
        // The only failure is that the subscriber is gone, and it lives as long as the process.
        self.filter.reload(filter).map_err(|_| LogError::Taken)
    }

    /// What is let through at present.
    pub fn level(&self) -> String {
        let filter = self.filter.with_current(ToString::to_string).unwrap_or_default();
        match filter.strip_prefix(QUIET).and_then(|rest| rest.strip_prefix(',')) {
            Some(asked_for) => asked_for.to_owned(),
            None => filter,
        }
    }
}

/// Keeps the log open. Dropping it writes what is still waiting and closes the log,
/// unless a later [`init`] has taken over.
#[derive(Debug)]
pub struct LogGuard {
    handle: LogHandle,
    generation: u64,
}

impl LogGuard {
    /// The handle that changes the level.
    pub fn handle(&self) -> LogHandle {
        self.handle.clone()
    }
}

impl Drop for LogGuard {
    fn drop(&mut self) {
        let output = OUTPUT.write().take_if(|output| output.generation() == self.generation);
        if let Some(output) = output {
            output.flush(FLUSH_TIMEOUT);
        }
    }
}

/// Opens the log; a relative `log.file` is put in `dir`. When it is called again in the same
/// process the newest configuration counts.
pub fn init(config: &config::Log, dir: &Path) -> Result<LogGuard, LogError> {
    let filter = parse_filter(&config.level)?;
    let file = match &config.file {
        Some(name) => {
            let path = dir.join(name);
            let opened = RollingFile::open(path.clone(), config.file_size.as_u64(), config.files);
            Some(opened.map_err(|source| LogError::File { path, source })?)
        }
        None => None,
    };
    let sink = Sink::new(config.console, file);
    let output = Output::start(sink, LOG_QUEUE).map_err(LogError::Thread)?;
    let generation = output.generation();
    let handle = LogHandle { filter: install(filter)? };
    let previous = OUTPUT.write().replace(output);
    if let Some(previous) = previous {
        previous.flush(FLUSH_TIMEOUT);
    }
    Ok(LogGuard { handle, generation })
}

/// The filter that `directives` (`log.level`) mean. Stricter than the parser of tracing,
/// which takes a mistyped level for the name of a target.
pub(crate) fn parse_filter(directives: &str) -> Result<EnvFilter, LogError> {
    let refused = |reason: String| LogError::Filter { directives: directives.into(), reason };
    // Span filters, `[span{field=value}]=level`, have commas of their own.
    if directives.contains('[') {
        return EnvFilter::builder().parse(directives).map_err(|error| refused(error.to_string()));
    }
    let parts: Vec<&str> = directives.split(',').map(str::trim).collect();
    for part in &parts {
        let level = part.rsplit_once('=').map_or(*part, |(_, level)| level);
        if level.is_empty() || level.parse::<LevelFilter>().is_err() {
            return Err(refused(format!("there is no level {level:?}")));
        }
    }
    EnvFilter::builder()
        .parse(format!("{QUIET},{}", parts.join(",")))
        .map_err(|error| refused(error.to_string()))
}

/// What is not let through unless it is named: the library for databases tells of whatever a driver says, and of that
/// the DB threads log what matters, with its place.
const QUIET: &str = "odbc_api=off";

fn install(filter: EnvFilter) -> Result<FilterHandle, LogError> {
    let _installing = INSTALLING.lock();
    if let Some(handle) = FILTER.get() {
        handle.reload(filter).map_err(|_| LogError::Taken)?;
        return Ok(handle.clone());
    }
    let (filter, handle) = reload::Layer::new(filter);
    let lines = fmt::layer()
        .with_ansi(false)
        .with_thread_names(true)
        .log_internal_errors(false)
        .with_writer(|| Lines);
    tracing_subscriber::registry().with(filter).with(lines).try_init().map_err(|_| LogError::Taken)?;
    Ok(FILTER.get_or_init(|| handle).clone())
}

/// What the formatter writes to: it hands over each event with one `write_all`.
struct Lines;

impl io::Write for Lines {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        RECENT.lock().push(line);
        if let Some(output) = &*OUTPUT.read() {
            output.push(line);
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Waits, but not for long, until everything logged so far is written. For the ways
/// out of the process that run no destructors.
pub fn flush() {
    // A thread that crashed while it held the lock must not hold up the end.
    if let Some(output) = OUTPUT.try_read_for(FLUSH_TIMEOUT)
        && let Some(output) = &*output
    {
        output.flush(FLUSH_TIMEOUT);
    }
}

/// The most recent lines, the oldest first.
pub fn recent_lines() -> Vec<String> {
    RECENT.try_lock_for(Duration::from_millis(100)).map(|recent| recent.lines()).unwrap_or_default()
}

/// Lines that were dropped since [`init`] because the log thread could not keep up.
pub fn dropped_lines() -> u64 {
    OUTPUT.read().as_ref().map_or(0, Output::dropped)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    /// The log belongs to the process: tests that open it take turns.
    static TURN: Mutex<()> = Mutex::new(());

    fn config(level: &str) -> config::Log {
        config::Log { level: level.into(), console: false, ..config::Log::default() }
    }

    #[test]
    fn filters_are_checked_strictly() {
        let check = |directives: &str, good: bool| {
            assert_eq!(parse_filter(directives).is_ok(), good, "{directives:?}");
        };
        check("info", true);
        check("WARN", true);
        check("off", true);
        check("info,throng_core::net=debug", true);
        check("warn, throng_servers=trace", true);
        check("info,[session{id=5}]=debug", true);
        check("", false);
        check("inof", false);
        check("info,", false);
        check("info,throng_core=", false);
        check("info,throng_core=loud", false);
        check("info,throng core=[", false);
    }

    #[test]
    fn lines_reach_the_file_and_the_level_can_change() {
        let _turn = TURN.lock();
        let dir = tempfile::tempdir().unwrap();
        let guard = init(&config("info,throng_core=info"), dir.path()).unwrap();
        tracing::debug!("too quiet at first");
        tracing::info!(shard = 3, "heard at once");
        guard.handle().set_level("debug").unwrap();
        assert_eq!(guard.handle().level(), "debug");
        tracing::debug!("heard later");
        assert!(guard.handle().set_level("nonsense").is_err());
        flush();
        let text = fs::read_to_string(dir.path().join("throng.log")).unwrap();
        assert!(text.contains("heard at once shard=3") && text.contains("heard later"), "{text}");
        assert!(!text.contains("too quiet"), "{text}");
        assert!(recent_lines().iter().any(|line| line.contains("heard later")));
        assert_eq!(dropped_lines(), 0);
    }

    #[test]
    fn the_newest_configuration_counts_and_an_old_guard_does_not_close_it() {
        let _turn = TURN.lock();
        let dirs = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
        let first = init(&config("info"), dirs[0].path()).unwrap();
        tracing::info!("to the first");
        let second = init(&config("info"), dirs[1].path()).unwrap();
        drop(first);
        tracing::info!("to the second");
        drop(second);
        tracing::info!("to nobody");
        let read = |at: usize| fs::read_to_string(dirs[at].path().join("throng.log")).unwrap();
        assert!(read(0).contains("to the first") && !read(0).contains("to the second"));
        assert!(read(1).contains("to the second") && !read(1).contains("to nobody"));
    }

    #[test]
    fn a_file_that_cannot_be_written_is_refused() {
        let error = init(&config("info"), Path::new("/nonexistent")).unwrap_err().to_string();
        assert!(error.contains("/nonexistent/throng.log") && error.contains("log.file"), "{error}");
    }
}
