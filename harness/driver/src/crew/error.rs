//! Why the workers of a run cannot do their work.

use std::io;
use std::time::Duration;

use thiserror::Error;

use super::frame::FrameError;
use super::stall_timer::Awaited;

/// How long a worker may take to give its results away.
pub(crate) const HARVEST_TIMEOUT: Duration = Duration::from_secs(30);

/// The workers could not do their work.
#[derive(Debug, Error)]
pub enum FleetError {
    /// The system has no event loop or thread to give.
    #[error("cannot start worker {index}: {source}")]
    Start {
        /// The worker.
        index: u32,
        /// What the system says.
        source: io::Error,
    },
    /// An event loop gave out.
    #[error("worker {index} cannot go on: {source}")]
    Failed {
        /// The worker.
        index: u32,
        /// What the system says.
        source: io::Error,
    },
    /// A worker ended though nobody asked it to.
    #[error("worker {index} has crashed; this is a fault of the harness")]
    Crashed {
        /// The worker.
        index: u32,
    },
    /// A worker did not give its results.
    #[error("worker {index} has not answered for {HARVEST_TIMEOUT:?}; this is a fault of the harness")]
    Silent {
        /// The worker.
        index: u32,
    },
    /// The system has no thread to give.
    #[error("cannot start the pacer: {0}")]
    Pacer(io::Error),
    /// The system has no process to give.
    #[error("cannot start process {process} of --processes: {source}")]
    Spawn {
        /// The process, from 0.
        process: u32,
        /// What the system says.
        source: io::Error,
    },
    /// What a process is to do cannot be told to it.
    #[error("cannot tell a process of --processes what to do: {0}")]
    Tell(#[from] FrameError),
    /// A process ended though nobody asked it to, or cannot do its work.
    #[error("process {process} of --processes (pid {pid}) {what}; without it the run has no results")]
    Process {
        /// The process, from 0.
        process: u32,
        /// The system's number for it.
        pid: u32,
        /// What it did.
        what: String,
    },
    /// A process has let itself be waited for too long, and was killed.
    #[error(
        "process {process} of --processes (pid {pid}) was killed after {waited:?} of waiting in vain for {awaited}; if \
         nobody stopped it, see whether the machine swaps; without it the run has no results"
    )]
    GivenUp {
        /// The process, from 0.
        process: u32,
        /// The system's number for it.
        pid: u32,
        /// What it was to do.
        awaited: Awaited,
        /// How long that was waited for, as far as this process was running itself.
        waited: Duration,
    },
}
