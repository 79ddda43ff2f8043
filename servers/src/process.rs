//! What every server process has around its roles: the data directory, the log, crash
//! reports, signals, and room for its sockets.

use std::io;

use thiserror::Error;
use throng_core::config::Config;
use throng_core::crash;
use throng_core::log::{self, LogError, LogGuard, LogHandle};
use throng_core::rlimit::FileLimit;
use throng_core::shutdown::Shutdown;

use crate::datadir::{DataDir, DataDirError};
use crate::role::Role;

/// Open files that are not sessions: listeners, links, pollers, database, log, keys.
const FILES_RESERVED: u64 = 256;

/// Why a process cannot start.
#[derive(Debug, Error)]
pub enum StartError {
    /// The data directory cannot be used.
    #[error(transparent)]
    DataDir(#[from] DataDirError),
    /// There is no log.
    #[error(transparent)]
    Log(#[from] LogError),
    /// Signals cannot be taken.
    #[error("cannot take signals: {0}")]
    Signals(io::Error),
}

/// A process that is ready for its roles. Keep it until they have ended: dropping it
/// takes the process out of `endpoints.toml`, frees the data directory and closes the log.
#[derive(Debug)]
pub struct Process {
    /// The end of the process. A signal or a crash asks for it.
    pub shutdown: Shutdown,
    /// The data directory, locked.
    pub data: DataDir,
    /// The limit on open files, raised as far as it goes.
    pub files: FileLimit,
    // Last, so that what happens while the others are dropped is still logged.
    log: LogGuard,
}

impl Process {
    /// Prepares this process for `roles`.
    pub fn start(config: &Config, roles: &[Role]) -> Result<Self, StartError> {
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

    /// How many sessions of all roles together the limit on open files allows.
    pub fn sessions_that_fit(&self) -> u64 {
        self.files.sessions_that_fit(FILES_RESERVED)
    }

    /// The handle that changes the log level.
    pub fn log_handle(&self) -> LogHandle {
        self.log.handle()
    }
}

/// The sessions that the roles are configured for.
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
    fn a_process_has_what_its_roles_need() {
        let _turn = crate::LOG_TURN.lock();
        // The panic hook belongs to the process, and the other tests want the usual one back.
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
