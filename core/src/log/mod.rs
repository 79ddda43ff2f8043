//! The log: one line for each event, to stderr and to a rotating file, written by a thread of
//! its own.
//!
//! A thread that logs never waits for a disk or a terminal: when the queue to the log thread
//! is full, the line is dropped and counted. The most recent lines also stay in memory, for
//! crash reports. A file that another process has rotated or removed is noticed within a second.

mod filter;
#[cfg(test)]
pub(crate) mod fixture;
mod limit;
mod recent;
mod rolling;
mod writer;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::time::Duration;

use parking_lot::{Mutex, RwLock};
use thiserror::Error;
use tracing_subscriber::filter::EnvFilter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{Registry, fmt, reload};

use crate::limits::LOG_QUEUE;
use crate::text::escaped_line;
use filter::directives_of;
pub use filter::{Filter, FilterError};
pub use limit::{Lasting, LineBudget, OUTAGE_BURST, Outage, Trouble};
use recent::Recent;
use rolling::RollingFile;
use writer::{Output, Sink};

/// Time that the last lines may take to reach the disk.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(if cfg!(test) { 60 } else { 1 });

/// Settings of the log, as [`init`] takes them.
#[derive(Debug, Clone)]
pub struct Options {
    /// The events that are logged.
    pub filter: Filter,
    /// True to log to stderr.
    pub console: bool,
    /// The file to log to as well; a relative path is relative to the directory given to [`init`].
    pub file: Option<PathBuf>,
    /// Bytes at which the file is rotated.
    pub file_size: u64,
    /// Files kept, the current one included; at least 1.
    pub files: usize,
}

/// Reasons for which the log cannot be opened or changed.
#[derive(Debug, Error)]
pub enum LogError {
    /// A text is not a filter.
    #[error(transparent)]
    Filter(#[from] FilterError),
    /// The log file cannot be written.
    #[error(
        "cannot write the log file {path:?}: {source}; set log.file to another path, or to \"\" for none"
    )]
    File {
        /// The file.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// The log thread cannot be started.
    #[error("cannot start the log thread: {0}")]
    Thread(io::Error),
    /// Other code in this process has installed a subscriber for log events.
    #[error("the log of this process is already taken by another subscriber")]
    Taken,
}

type FilterHandle = reload::Handle<EnvFilter, Registry>;

/// The installed filter. Tracing takes one subscriber for each process, for ever; later calls of
/// [`init`] replace its filter and its output.
static FILTER: OnceLock<FilterHandle> = OnceLock::new();
/// Held while [`FILTER`] is installed, so that two threads do not both try.
static INSTALLING: Mutex<()> = Mutex::new(());
/// The present destination of lines.
static OUTPUT: RwLock<Option<Output>> = RwLock::new(None);
static RECENT: Mutex<Recent> = Mutex::new(Recent::new());

/// Changes the level of a running log.
#[derive(Debug, Clone)]
pub struct LogHandle {
    filter: FilterHandle,
}

impl LogHandle {
    /// Replaces the filter by `directives`, written as `log.level` in the configuration.
    pub fn set_level(&self, directives: &str) -> Result<(), LogError> {
        let filter: Filter = directives.parse()?;
        // The only failure is that the subscriber is gone, and it lives as long as the process.
        self.filter.reload(filter.build()).map_err(|_| LogError::Taken)
    }

    /// The directives in force.
    pub fn level(&self) -> String {
        self.filter.with_current(directives_of).unwrap_or_default()
    }
}

/// Keeps the log open. Dropping it flushes and closes the log, unless a later [`init`] has
/// replaced it.
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

/// Opens the log; a relative `options.file` is relative to `dir`. A second call in the same
/// process replaces the first one's filter and output.
pub fn init(options: impl Into<Options>, dir: &Path) -> Result<LogGuard, LogError> {
    let options = options.into();
    let file = match &options.file {
        Some(name) => {
            let path = dir.join(name);
            let opened = RollingFile::open(path.clone(), options.file_size, options.files);
            Some(opened.map_err(|source| LogError::File { path, source })?)
        }
        None => None,
    };
    let sink = Sink::new(options.console, file);
    let output = Output::start(sink, LOG_QUEUE).map_err(LogError::Thread)?;
    let generation = output.generation();
    let handle = LogHandle { filter: install(options.filter.build())? };
    let previous = OUTPUT.write().replace(output);
    if let Some(previous) = previous {
        previous.flush(FLUSH_TIMEOUT);
    }
    Ok(LogGuard { handle, generation })
}

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

/// Receives each formatted event in one `write_all`.
struct Lines;

impl io::Write for Lines {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        // An event may quote a peer, a file or a database.
        let escaped = escaped_line(line);
        RECENT.lock().push(&escaped);
        if let Some(output) = &*OUTPUT.read() {
            output.push(&escaped);
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Flushes the lines logged so far, waiting at most 2 s. Serves the exits of the process that
/// run no destructors.
pub fn flush() {
    // A thread that crashed while it held the lock must not block the exit.
    if let Some(output) = OUTPUT.try_read_for(FLUSH_TIMEOUT)
        && let Some(output) = &*output
    {
        output.flush(FLUSH_TIMEOUT);
    }
}

/// Opens the log file anew after the lines logged so far, in case another program has moved it.
/// Waits at most 1 s.
pub fn reopen() {
    if let Some(output) = OUTPUT.try_read_for(FLUSH_TIMEOUT)
        && let Some(output) = &*output
    {
        output.reopen(FLUSH_TIMEOUT);
    }
}

/// The most recent lines, the oldest first.
pub fn recent_lines() -> Vec<String> {
    RECENT.try_lock_for(Duration::from_millis(100)).map(|recent| recent.lines()).unwrap_or_default()
}

/// Lines dropped since [`init`] because the queue to the log thread was full.
pub fn dropped_lines() -> u64 {
    OUTPUT.read().as_ref().map_or(0, Output::dropped)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    /// Serializes the tests that open the log: there is one for each process.
    static TURN: Mutex<()> = Mutex::new(());

    fn options(level: &str) -> Options {
        Options {
            filter: level.parse().unwrap(),
            console: false,
            file: Some("throng.log".into()),
            file_size: 16 << 20,
            files: 5,
        }
    }

    #[test]
    fn lines_reach_the_file_and_the_level_can_change() {
        let _turn = TURN.lock();
        let dir = tempfile::tempdir().unwrap();
        let guard = init(options("info,throng_core=info"), dir.path()).unwrap();
        tracing::debug!("filtered at first");
        tracing::info!(shard = 3, "logged at once");
        guard.handle().set_level("debug").unwrap();
        assert_eq!(guard.handle().level(), "debug");
        tracing::debug!("logged later");
        assert!(guard.handle().set_level("nonsense").is_err());
        flush();
        let text = fs::read_to_string(dir.path().join("throng.log")).unwrap();
        assert!(text.contains("logged at once shard=3") && text.contains("logged later"), "{text}");
        assert!(!text.contains("filtered"), "{text}");
        // No lines are returned while another thread holds the lock for long.
        let mut attempts = std::iter::repeat_with(recent_lines).take(600);
        assert!(attempts.any(|lines| lines.iter().any(|line| line.contains("logged later"))));
        assert_eq!(dropped_lines(), 0);
    }

    #[test]
    fn a_file_that_logrotate_has_renamed_gets_no_line_after_the_signal() {
        let _turn = TURN.lock();
        let dir = tempfile::tempdir().unwrap();
        let _guard = init(options("info"), dir.path()).unwrap();
        let [log, old] = ["throng.log", "old.log"].map(|name| dir.path().join(name));
        tracing::info!("before the rotation");
        flush();
        fs::rename(&log, &old).unwrap();
        reopen();
        assert!(log.exists(), "the file is made anew even if no line follows");
        tracing::info!("after the rotation");
        flush();
        let [log, old] = [log, old].map(|path| fs::read_to_string(path).unwrap());
        assert!(old.contains("before the rotation") && !old.contains("after the rotation"), "{old}");
        assert!(log.contains("after the rotation") && !log.contains("before the rotation"), "{log}");
    }

    #[test]
    fn the_latest_init_wins_and_an_old_guard_does_not_close_the_log() {
        let _turn = TURN.lock();
        let dirs = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
        let first = init(options("info"), dirs[0].path()).unwrap();
        tracing::info!("to the first");
        let second = init(options("info"), dirs[1].path()).unwrap();
        drop(first);
        tracing::info!("to the second");
        drop(second);
        tracing::info!("to no log");
        let read = |at: usize| fs::read_to_string(dirs[at].path().join("throng.log")).unwrap();
        assert!(read(0).contains("to the first") && !read(0).contains("to the second"));
        assert!(read(1).contains("to the second") && !read(1).contains("to no log"));
    }

    #[test]
    fn an_event_is_one_line_without_escape_sequences_whatever_a_peer_says() {
        let _turn = TURN.lock();
        let dir = tempfile::tempdir().unwrap();
        let guard = init(options("info"), dir.path()).unwrap();
        let detail = "bye\nERROR forged\u{1b}]52;c;AAAA\u{7}\u{202E}";
        tracing::info!(%detail, "the peer closes: {detail}");
        drop(guard);
        let text = fs::read_to_string(dir.path().join("throng.log")).unwrap();
        let line = text.lines().find(|line| line.contains("the peer closes")).unwrap();
        assert_eq!(line.matches("ERROR forged").count(), 2, "{line:?}");
        assert!(line.contains("\\n") && line.contains("52;c;AAAA") && line.contains("\\u{202e}"), "{line:?}");
        assert!(!crate::text::has_control(line), "{line:?}");
    }

    #[test]
    fn a_file_that_cannot_be_written_is_refused() {
        let error = init(options("info"), Path::new("/nonexistent")).unwrap_err().to_string();
        assert!(error.contains("/nonexistent/throng.log") && error.contains("log.file"), "{error}");
    }
}
