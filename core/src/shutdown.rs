//! The end of a process: one part requests it, every part observes it, and the exit code tells the
//! cause.
//!
//! SIGTERM, SIGINT, SIGQUIT and SIGXCPU request an orderly end. A second signal ends the process at
//! once: the log is flushed, and the exit code is 128 plus the signal's number. SIGHUP opens the
//! log file anew, as log rotation wants it; a server outlives the terminal it was started from. All
//! other signals that a process can be sent, and that would end it without a word, are ignored and
//! logged once. SIGPIPE is ignored by the standard library.

use std::fmt;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use parking_lot::{Condvar, Mutex};
use signal_hook::consts::{
    SIGALRM, SIGHUP, SIGINT, SIGIO, SIGPROF, SIGQUIT, SIGTERM, SIGUSR1, SIGUSR2, SIGVTALRM, SIGXCPU, SIGXFSZ,
};
use signal_hook::iterator::Signals;

/// Signals that request the end.
const ENDING: [i32; 4] = [SIGTERM, SIGINT, SIGQUIT, SIGXCPU];

/// Signals without a use, whose usual effect is a sudden end. After SIGXFSZ, a write beyond the
/// limit on the size of files fails like any other.
const IGNORED: [i32; 7] = [SIGUSR1, SIGUSR2, SIGALRM, SIGVTALRM, SIGPROF, SIGIO, SIGXFSZ];

/// Exit code after an orderly end.
pub const EXIT_CLEAN: u8 = 0;
/// Exit code after a part of the process failed.
pub const EXIT_FAILED: u8 = 1;
/// Exit code after a panic (`EX_SOFTWARE` of sysexits.h).
pub const EXIT_CRASH: u8 = 70;

/// Cause of the end of a process, in order of severity.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Cause {
    /// The program is done.
    Done,
    /// SIGTERM.
    Terminated,
    /// SIGQUIT (Ctrl+\\).
    Quit,
    /// SIGXCPU: the process has used up its limit on processor time.
    OutOfTime,
    /// SIGINT (Ctrl+C).
    Interrupted,
    /// A part of the process failed, and logged the reason.
    Failed,
    /// A thread panicked; there is a crash report.
    Crash,
}

impl Cause {
    /// Returns the exit code of the process.
    pub fn exit_code(self) -> u8 {
        match self {
            Self::Done | Self::Terminated | Self::Quit | Self::OutOfTime | Self::Interrupted => EXIT_CLEAN,
            Self::Failed => EXIT_FAILED,
            Self::Crash => EXIT_CRASH,
        }
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Done => "done",
            Self::Terminated => "SIGTERM",
            Self::Quit => "SIGQUIT",
            Self::OutOfTime => "SIGXCPU",
            Self::Interrupted => "SIGINT",
            Self::Failed => "a failure",
            Self::Crash => "a crash",
        })
    }
}

type Callback = Box<dyn FnOnce(Cause) + Send>;

/// Cleanup that even a forced end performs.
type Cleanup = Box<dyn FnOnce() + Send>;

/// The end of the process, shared by all its parts; clones share one state.
#[derive(Clone, Default)]
pub struct Shutdown {
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    /// Mirrors `state.cause.is_some()` for loops that check often.
    requested: AtomicBool,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    /// The most severe cause so far.
    cause: Option<Cause>,
    /// Called at the first request; empty after it.
    callbacks: Vec<Callback>,
    /// Called before a second signal ends the process.
    cleanup: Option<Cleanup>,
}

impl Shutdown {
    /// Returns the state of a process whose end has not been requested.
    pub fn new() -> Self {
        Self::default()
    }

    /// Requests the end. A repeated request only counts if its cause is more severe.
    pub fn request(&self, cause: Cause) {
        let callbacks = {
            let mut state = self.shared.state.lock();
            state.cause = state.cause.max(Some(cause));
            self.shared.requested.store(true, Ordering::Release);
            self.shared.changed.notify_all();
            std::mem::take(&mut state.callbacks)
        };
        // Outside of the lock: a callback may request the end, too.
        for callback in callbacks {
            callback(cause);
        }
    }

    /// Returns true if the end has been requested.
    pub fn is_requested(&self) -> bool {
        self.shared.requested.load(Ordering::Acquire)
    }

    /// Returns the most severe cause so far.
    pub fn cause(&self) -> Option<Cause> {
        self.shared.state.lock().cause
    }

    /// Returns the exit code for the causes so far.
    pub fn exit_code(&self) -> u8 {
        self.cause().map_or(EXIT_CLEAN, Cause::exit_code)
    }

    /// Waits until the end is requested.
    pub fn wait(&self) -> Cause {
        let mut state = self.shared.state.lock();
        loop {
            match state.cause {
                Some(cause) => return cause,
                None => self.shared.changed.wait(&mut state),
            }
        }
    }

    /// Waits until the end is requested, at most `timeout`.
    pub fn wait_timeout(&self, timeout: Duration) -> Option<Cause> {
        let mut state = self.shared.state.lock();
        self.shared.changed.wait_while_for(&mut state, |state| state.cause.is_none(), timeout);
        state.cause
    }

    /// Calls `callback` once when the end is requested, or at once if it already was: to wake a
    /// loop that waits for something else. It runs on the requesting thread, and must neither wait
    /// nor panic.
    pub fn on_request(&self, callback: impl FnOnce(Cause) + Send + 'static) {
        let mut state = self.shared.state.lock();
        match state.cause {
            None => state.callbacks.push(Box::new(callback)),
            Some(cause) => {
                drop(state);
                callback(cause);
            }
        }
    }

    /// Sets the cleanup that a forced end performs, for example to restore a terminal. It replaces
    /// an earlier one, runs on the signal thread, and must neither wait nor panic.
    pub fn before_forced_end(&self, cleanup: impl FnOnce() + Send + 'static) {
        self.shared.state.lock().cleanup = Some(Box::new(cleanup));
    }

    /// Ends the process at once with exit code `code`, as a second signal does.
    pub fn force(&self, code: i32) -> ! {
        let cleanup = self.shared.state.lock().cleanup.take();
        if let Some(cleanup) = cleanup {
            cleanup();
        }
        crate::log::flush();
        signal_hook::low_level::exit(code);
    }

    /// Starts to handle signals, as the module describes.
    pub fn install_signals(&self) -> io::Result<()> {
        let mut signals = Signals::new(ENDING.iter().chain(&IGNORED).chain(&[SIGHUP]))?;
        let shutdown = self.clone();
        thread::Builder::new().name("signals".into()).spawn(move || {
            // Signals that were ignored and logged.
            let mut told = Vec::new();
            for signal in signals.forever() {
                shutdown.handle_signal(signal, &mut told);
            }
        })?;
        Ok(())
    }

    fn handle_signal(&self, signal: i32, told: &mut Vec<i32>) {
        let cause = match signal {
            SIGTERM => Cause::Terminated,
            SIGQUIT => Cause::Quit,
            SIGXCPU => Cause::OutOfTime,
            SIGINT => Cause::Interrupted,
            SIGHUP => {
                crate::log::reopen();
                tracing::info!("SIGHUP: the log file is opened anew");
                return;
            }
            _ => {
                if !told.contains(&signal) {
                    told.push(signal);
                    let name = signal_hook::low_level::signal_name(signal).unwrap_or("a signal");
                    tracing::info!("{name} has no use here and is ignored");
                }
                return;
            }
        };
        if self.is_requested() {
            tracing::warn!("{cause} while the process is ending: ending at once");
            self.force(128 + signal);
        }
        tracing::info!("{cause}: ending in order; send it again to end at once");
        self.request(cause);
    }
}

/// Ignores the signals that [`Shutdown::install_signals`] handles from now on. For a child process
/// whose parent tells it when to end: a terminal sends its signals to both.
pub fn ignore_signals() -> io::Result<()> {
    for signal in ENDING.iter().chain(&IGNORED).chain(&[SIGHUP]) {
        // The handler sets a flag that no code reads.
        signal_hook::flag::register(*signal, Arc::default())?;
    }
    Ok(())
}

impl fmt::Debug for Shutdown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Shutdown({:?})", self.cause())
    }
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead, BufReader};
    use std::process::{Child, ChildStdout, Command, Stdio};
    use std::sync::mpsc;

    use rustix::process::{Pid, Signal, kill_process};

    use super::*;

    #[test]
    fn every_part_observes_a_request() {
        let shutdown = Shutdown::new();
        assert!(!shutdown.is_requested());
        assert_eq!(shutdown.wait_timeout(Duration::ZERO), None);
        let (sender, receiver) = mpsc::channel();
        let early = sender.clone();
        shutdown.on_request(move |cause| early.send(cause).unwrap());
        let waiter = thread::spawn({
            let shutdown = shutdown.clone();
            move || shutdown.wait()
        });
        shutdown.request(Cause::Terminated);
        assert_eq!(waiter.join().unwrap(), Cause::Terminated);
        assert_eq!(receiver.recv().unwrap(), Cause::Terminated);
        shutdown.on_request(move |cause| sender.send(cause).unwrap());
        assert_eq!(receiver.recv().unwrap(), Cause::Terminated);
        assert!(shutdown.is_requested() && receiver.recv().is_err(), "each callback is called once");
    }

    #[test]
    fn the_most_severe_cause_decides_the_exit_code() {
        let check = |causes: &[Cause], code: u8| {
            let shutdown = Shutdown::new();
            for cause in causes {
                shutdown.request(*cause);
            }
            assert_eq!(shutdown.exit_code(), code, "{causes:?}");
        };
        check(&[], 0);
        check(&[Cause::Interrupted], 0);
        check(&[Cause::Terminated, Cause::Crash], 70);
        check(&[Cause::Crash, Cause::Terminated], 70);
        check(&[Cause::Failed, Cause::Done], 1);
    }

    /// Not a test: the child process that the tests below send signals to.
    #[test]
    fn child_that_waits_for_signals() {
        if std::env::var_os("SHUTDOWN_CHILD").is_none() {
            return;
        }
        if std::env::var_os("SHUTDOWN_CHILD").is_some_and(|how| how == "ignoring") {
            ignore_signals().unwrap();
            println!("\nready");
            // Ends when the test closes the pipe.
            let _ = std::io::stdin().read_line(&mut String::new());
            std::process::exit(7);
        }
        let shutdown = Shutdown::new();
        shutdown.install_signals().unwrap();
        shutdown.before_forced_end(|| println!("cleanup"));
        println!("\nready");
        println!("{}", shutdown.wait());
        // The second signal ends this loop.
        loop {
            thread::park();
        }
    }

    fn read_until(lines: &mut BufReader<ChildStdout>, wanted: &str) {
        let mut line = String::new();
        while line.trim() != wanted {
            line.clear();
            assert_ne!(lines.read_line(&mut line).unwrap(), 0, "the child ended before {wanted:?}");
        }
    }

    fn spawn(how: &str) -> (Child, BufReader<ChildStdout>) {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "shutdown::tests::child_that_waits_for_signals", "--nocapture"])
            .env("SHUTDOWN_CHILD", how)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap());
        read_until(&mut lines, "ready");
        (child, lines)
    }

    #[test]
    fn the_first_signal_requests_the_end_and_the_second_forces_it() {
        let check = |first: Signal, name: &str, second: Signal, code: i32| {
            let (mut child, mut lines) = spawn("listening");
            let pid = Pid::from_child(&child);
            kill_process(pid, first).unwrap();
            read_until(&mut lines, name);
            kill_process(pid, second).unwrap();
            read_until(&mut lines, "cleanup");
            assert_eq!(child.wait().unwrap().code(), Some(code));
        };
        check(Signal::TERM, "SIGTERM", Signal::TERM, 143);
        check(Signal::INT, "SIGINT", Signal::INT, 130);
        check(Signal::QUIT, "SIGQUIT", Signal::QUIT, 131);
        check(Signal::XCPU, "SIGXCPU", Signal::TERM, 143);
    }

    #[test]
    fn signals_without_a_use_do_not_end_the_process() {
        let (mut child, mut lines) = spawn("listening");
        let pid = Pid::from_child(&child);
        for signal in [
            Signal::USR1,
            Signal::USR2,
            Signal::ALARM,
            Signal::VTALARM,
            Signal::PROF,
            Signal::IO,
            Signal::XFSZ,
            Signal::HUP,
            Signal::PIPE,
            Signal::USR1,
        ] {
            kill_process(pid, signal).unwrap();
        }
        kill_process(pid, Signal::TERM).unwrap();
        read_until(&mut lines, "SIGTERM");
        kill_process(pid, Signal::TERM).unwrap();
        read_until(&mut lines, "cleanup");
        assert_eq!(child.wait().unwrap().code(), Some(143));
    }

    #[test]
    fn a_process_that_ignores_signals_ends_when_it_is_told_to() {
        let (mut child, _lines) = spawn("ignoring");
        for signal in [Signal::INT, Signal::TERM, Signal::HUP, Signal::QUIT, Signal::USR1, Signal::INT] {
            kill_process(Pid::from_child(&child), signal).unwrap();
        }
        drop(child.stdin.take());
        assert_eq!(child.wait().unwrap().code(), Some(7));
    }
}
