//! The environment of every server process: data directory, log, crash reports, signals and the
//! limit on open files.

use std::io;

use thiserror::Error;
use throng_core::config::Config;
use throng_core::log::{self, LogError, LogGuard, LogHandle};
use throng_core::rlimit::FileLimit;
use throng_core::shutdown::Shutdown;
use throng_core::{clock, crash};

use crate::datadir::{DataDir, DataDirError};
use crate::role::Role;

/// Open files that are no sessions: listeners, links, pollers, database, log, keys.
const FILES_RESERVED: u64 = 256;

/// Errors at the start of a process.
#[derive(Debug, Error)]
pub enum StartError {
    /// The data directory cannot be used.
    #[error(transparent)]
    DataDir(#[from] DataDirError),
    /// The log cannot be opened.
    #[error(transparent)]
    Log(#[from] LogError),
    /// Signal handlers cannot be installed.
    #[error("cannot install signal handlers: {0}")]
    Signals(io::Error),
}

/// A process that is ready for its roles.
///
/// Keep it until they have ended: dropping it removes the process from `endpoints.toml`, unlocks
/// the data directory and closes the log.
#[derive(Debug)]
pub struct Process {
    /// The shutdown of the process, which a signal or a crash requests.
    pub shutdown: Shutdown,
    /// The locked data directory.
    pub data: DataDir,
    /// The limit on open files, raised as far as possible.
    pub files: FileLimit,
    // The last field, so that the log is open while the others are dropped.
    log: LogGuard,
}

impl Process {
    /// Prepares this process for `roles`.
    pub fn start(config: &Config, roles: &[Role]) -> Result<Self, StartError> {
        clock::set_zero();
        let data = DataDir::open(&config.data.dir, roles)?;
        let log = log::init(&config.log, data.path())?;
        let shutdown = Shutdown::new();
        crash::install(
            &shutdown,
            data.path(),
            Config::redact(std::env::args_os().map(|arg| arg.to_string_lossy().into_owned())),
        );
        shutdown.install_signals().map_err(StartError::Signals)?;
        let files = FileLimit::raise().unwrap_or_else(|error| {
            tracing::warn!("{error}");
            FileLimit::current()
        });
        let process = Self { shutdown, data, files, log };
        let wanted = sessions_wanted(config, roles);
        let fit = process.sessions_that_fit();
        tracing::info!("{files}: {fit} sessions fit");
        if fit < wanted {
            tracing::warn!(
                "only {fit} of the {wanted} configured sessions fit: raise the limit on open files (`ulimit -n`, LimitNOFILE)"
            );
        }
        Ok(process)
    }

    /// Returns the number of sessions that the limit on open files allows, over all roles.
    pub fn sessions_that_fit(&self) -> u64 {
        self.files.sessions_that_fit(FILES_RESERVED)
    }

    /// Returns the handle that changes the log level.
    pub fn log_handle(&self) -> LogHandle {
        self.log.handle()
    }
}

/// Returns the number of sessions for which the roles are configured.
fn sessions_wanted(config: &Config, roles: &[Role]) -> u64 {
    let of_role = |role: &Role| match role {
        Role::Login => config.login.max_sessions as u64,
        Role::Chat => config.chat.max_sessions as u64,
        Role::DbAgent => 0,
    };
    roles.iter().map(of_role).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_has_a_locked_directory_a_log_and_room_for_sessions() {
        let _log_lock = crate::LOG_LOCK.lock();
        // The panic hook belongs to the process, and the other tests need the default one.
        let usual = std::panic::take_hook();
        let dir = tempfile::tempdir().unwrap();
        let mut config = Config::default();
        config.data.dir = dir.path().join("data");
        config.log.console = false;
        let process = Process::start(&config, Role::ALL).unwrap();
        std::panic::set_hook(usual);
        assert!(!process.shutdown.is_requested());
        assert_eq!(process.files.now, process.files.hard);
        assert_eq!(sessions_wanted(&config, Role::ALL), 16_000);
        let error = Process::start(&config, &[Role::Login]).unwrap_err().to_string();
        assert!(error.contains("already runs the login server"), "{error}");
        drop(process);
        let text = std::fs::read_to_string(config.data.dir.join("throng.log")).unwrap();
        assert!(text.contains("sessions fit"), "{text}");
    }
}
