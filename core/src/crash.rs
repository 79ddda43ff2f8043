//! Crash reports: a panic of any thread writes a report and ends the whole process in order, so
//! that no thread is lost silently.
//!
//! A report contains no environment and no memory, and secret values are removed from its command
//! line. Its log lines are as discreet as the log.

use std::backtrace::Backtrace;
use std::fmt;
use std::fs::{self, DirBuilder, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::panic::{self, PanicHookInfo};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::sync_channel;
use std::thread;
use std::time::Duration;

use thiserror::Error;

use crate::limits::{CRASH_REPORTS_KEPT, CRASH_REPORTS_MAX};
use crate::metrics;
use crate::shutdown::{Cause, Shutdown};
use crate::{clock, log};

/// Time that the report may take before the process is asked to end without it.
const REPORT_TIMEOUT: Duration = Duration::from_secs(2);

/// Time that the process may take to end in order before it is aborted.
const END_TIMEOUT: Duration = Duration::from_secs(5);

/// The directory for reports, inside the data directory.
pub const DIRECTORY: &str = "crash";

struct State {
    dir: PathBuf,
    command_line: String,
    shutdown: Shutdown,
    /// Panics so far.
    count: AtomicUsize,
}

/// Installs the panic hook. From now on a panic of any thread writes a report to `data_dir/crash`
/// and requests the end of the process with [`Cause::Crash`]. `command_line` is copied to the
/// report as it is: see [`crate::config::Config::redact`]. The oldest reports beyond
/// [`CRASH_REPORTS_KEPT`] are removed.
pub fn install(shutdown: &Shutdown, data_dir: &Path, command_line: String) {
    let dir = data_dir.join(DIRECTORY);
    if let Err(error) = prune(&dir) {
        tracing::warn!("cannot remove old crash reports in {}: {error}", dir.display());
    }
    let state = State { dir, command_line, shutdown: shutdown.clone(), count: AtomicUsize::new(0) };
    panic::set_hook(Box::new(move |info| state.handle(info)));
}

impl State {
    /// Handles a panic. Must not panic itself: that aborts the process.
    fn handle(&self, info: &PanicHookInfo<'_>) {
        let number = self.count.fetch_add(1, Ordering::Relaxed);
        metrics::PANICS.inc();
        let (done, wait_for_report) = sync_channel(1);
        if number == 0 {
            // The panicking thread may be in no state to run the shutdown; a healthy thread
            // requests it.
            let shutdown = self.shutdown.clone();
            let watchdog = thread::Builder::new().name("watchdog".into()).spawn(move || {
                let _ = wait_for_report.recv_timeout(REPORT_TIMEOUT);
                shutdown.request(Cause::Crash);
                thread::sleep(END_TIMEOUT);
                let _ =
                    writeln!(io::stderr(), "throng: the process did not end in time after a crash: aborting");
                log::flush();
                std::process::abort();
            });
            if watchdog.is_err() {
                self.shutdown.request(Cause::Crash);
            }
        }
        let thread = thread::current();
        let report = Report {
            unix_ms: clock::unix_ms(),
            thread: thread.name().unwrap_or("(no name)"),
            message: info.payload_as_str().unwrap_or("(no text)"),
            location: info.location().map(ToString::to_string).unwrap_or_default(),
            command_line: &self.command_line,
        };
        let outcome = match report.store(&self.dir, number) {
            Ok(path) => format!("report in {}", path.display()),
            Err(error) => format!("no report in {}: {error}", self.dir.display()),
        };
        let _ = writeln!(io::stderr(), "throng: {report}; {outcome}");
        tracing::error!("{report}; {outcome}");
        let _ = done.try_send(());
    }
}

/// Reasons for which there is no report.
#[derive(Debug, Error)]
enum StoreError {
    #[error("this process has written enough reports")]
    Enough,
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// Facts about a panic. `Display` is a summary of one line.
struct Report<'a> {
    unix_ms: u64,
    thread: &'a str,
    message: &'a str,
    location: String,
    command_line: &'a str,
}

impl fmt::Display for Report<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "thread {:?} crashed at {}: {}", self.thread, self.location, self.message)
    }
}

impl Report<'_> {
    /// Writes the report to a new file that only its owner can read. `number` counts the panics
    /// of this process from 0.
    fn store(&self, dir: &Path, number: usize) -> Result<PathBuf, StoreError> {
        if number >= CRASH_REPORTS_MAX {
            return Err(StoreError::Enough);
        }
        DirBuilder::new().recursive(true).mode(0o700).create(dir)?;
        let time = clock::utc_text(self.unix_ms).replace(['-', ':'], "");
        let path = dir.join(format!("crash-{time}-{}-{number}.txt", std::process::id()));
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path)?;
        // The backtrace comes last: it takes longest and is the part to lose if the time is up.
        writeln!(file, "Throng {} crashed\n", env!("CARGO_PKG_VERSION"))?;
        writeln!(file, "time:     {}", clock::utc_text(self.unix_ms))?;
        writeln!(file, "process:  {}", std::process::id())?;
        writeln!(file, "command:  {}", self.command_line)?;
        writeln!(file, "thread:   {}", self.thread)?;
        writeln!(file, "location: {}", self.location)?;
        writeln!(file, "message:  {}", self.message)?;
        writeln!(file, "\nRecent log lines:")?;
        for line in log::recent_lines() {
            writeln!(file, "{line}")?;
        }
        writeln!(file, "\nBacktrace:\n{}", Backtrace::force_capture())?;
        file.sync_all()?;
        Ok(path)
    }
}

/// Removes all but the youngest reports. Report names begin with the time.
fn prune(dir: &Path) -> io::Result<()> {
    let mut reports: Vec<PathBuf> = match fs::read_dir(dir) {
        Ok(entries) => entries.flatten().map(|entry| entry.path()).collect(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    };
    reports
        .retain(|path| path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"crash-")));
    reports.sort_unstable();
    let old = reports.len().saturating_sub(CRASH_REPORTS_KEPT);
    reports[..old].iter().try_for_each(fs::remove_file)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;
    use std::process::Command;

    use super::*;

    /// Not a test: the process that crashes for the tests below.
    #[test]
    fn child_that_crashes() {
        let Some(dir) = std::env::var_os("CRASH_CHILD") else { return };
        let dir = PathBuf::from(dir);
        let options = log::Options {
            filter: log::Filter::default(),
            console: false,
            file: None,
            file_size: 0,
            files: 1,
        };
        let _log = log::init(options, &dir).unwrap();
        let shutdown = Shutdown::new();
        install(&shutdown, &dir, "throng up --set net.shards=2".into());
        tracing::info!("the last words");
        let crasher = thread::Builder::new().name("content 0".into()).spawn(|| panic!("on purpose")).unwrap();
        assert_eq!(shutdown.wait(), Cause::Crash);
        assert!(crasher.join().is_err());
        std::process::exit(shutdown.exit_code().into());
    }

    fn crash(dir: &Path) -> (Option<i32>, String) {
        let output = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "crash::tests::child_that_crashes", "--nocapture"])
            .env("CRASH_CHILD", dir)
            .output()
            .unwrap();
        (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
    }

    #[test]
    fn a_panic_leaves_a_report_and_ends_the_process() {
        let dir = tempfile::tempdir().unwrap();
        let (code, stderr) = crash(dir.path());
        assert_eq!(code, Some(70), "{stderr}");
        let reports: Vec<_> =
            fs::read_dir(dir.path().join("crash")).unwrap().map(|entry| entry.unwrap().path()).collect();
        assert_eq!(reports.len(), 1);
        assert_eq!(fs::metadata(&reports[0]).unwrap().permissions().mode() & 0o777, 0o600);
        assert!(stderr.contains(reports[0].to_str().unwrap()), "{stderr}");
        let text = fs::read_to_string(&reports[0]).unwrap();
        for wanted in [
            "thread:   content 0",
            "message:  on purpose",
            "location: core/src/crash.rs",
            "command:  throng up --set net.shards=2",
            "the last words",
            env!("CARGO_PKG_VERSION"),
            "child_that_crashes",
        ] {
            assert!(text.contains(wanted), "{wanted:?} is not in:\n{text}");
        }
    }

    #[test]
    fn a_crash_without_a_report_is_shown_and_ends_the_process() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("crash"), "a file in the way").unwrap();
        let (code, stderr) = crash(dir.path());
        assert_eq!(code, Some(70), "{stderr}");
        assert!(
            stderr.contains("thread \"content 0\" crashed at") && stderr.contains("no report in"),
            "{stderr}"
        );
    }

    #[test]
    fn old_reports_are_removed() {
        let dir = tempfile::tempdir().unwrap();
        for n in 0..CRASH_REPORTS_KEPT + 3 {
            fs::write(dir.path().join(format!("crash-2026{n:04}-1-0.txt")), "").unwrap();
        }
        fs::write(dir.path().join("a-note-of-mine"), "").unwrap();
        prune(dir.path()).unwrap();
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), CRASH_REPORTS_KEPT + 1);
        assert!(!dir.path().join("crash-20260002-1-0.txt").exists());
        prune(&dir.path().join("absent")).unwrap();
    }
}
