//! Failures of a run's workers.

use std::io;
use std::time::Duration;

use thiserror::Error;

use super::frame::FrameError;
use super::stall_timer::{Awaited, RESULTS_TIMEOUT};

/// A failure of the workers.
#[derive(Debug, Error)]
pub enum FleetError {
    /// The system refused an event loop or a thread.
    #[error("cannot start worker {index}: {source}")]
    Start {
        /// The worker.
        index: u32,
        /// The system's error.
        source: io::Error,
    },
    /// An event loop failed.
    #[error("worker {index} cannot continue: {source}")]
    Failed {
        /// The worker.
        index: u32,
        /// The system's error.
        source: io::Error,
    },
    /// A worker ended before it was stopped.
    #[error("worker {index} has crashed; this is a fault of the harness")]
    Crashed {
        /// The worker.
        index: u32,
    },
    /// A worker did not hand over its results in time.
    #[error("worker {index} has not answered for {RESULTS_TIMEOUT:?}; this is a fault of the harness")]
    Silent {
        /// The worker.
        index: u32,
    },
    /// The system refused a thread for the pacer.
    #[error("cannot start the pacer: {0}")]
    Pacer(io::Error),
    /// The system refused a process.
    #[error("cannot start process {process} of --processes: {source}")]
    Spawn {
        /// The number of the process, from 0.
        process: u32,
        /// The system's error.
        source: io::Error,
    },
    /// A command could not be sent to a process.
    #[error("cannot send a command to a process of --processes: {0}")]
    Tell(#[from] FrameError),
    /// A process ended before it was stopped, or cannot do its work.
    #[error("process {process} of --processes (pid {pid}) {what}; without it the run has no results")]
    Process {
        /// The number of the process, from 0.
        process: u32,
        /// The process id.
        pid: u32,
        /// The failure, as a predicate of the process.
        what: String,
    },
    /// A process did not respond in time, and was killed.
    #[error(
        "process {process} of --processes (pid {pid}) was killed after {waited:?} without {awaited}; if it \
         was not stopped on purpose, check if the machine swaps; without it the run has no results"
    )]
    GivenUp {
        /// The number of the process, from 0.
        process: u32,
        /// The process id.
        pid: u32,
        /// The expected response.
        awaited: Awaited,
        /// The time waited, without time in which this process was itself stopped.
        waited: Duration,
    },
}
