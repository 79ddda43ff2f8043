//! Commands from the run's thread to its workers.

use std::borrow::Cow;
use std::sync::{Arc, mpsc};

use serde::{Deserialize, Serialize};
use throng_harness_model::clock::Nanos;
use throng_harness_model::send_schedule::SendSchedule;

use crate::results::WorkerResults;

/// A command to a worker. Workers of a child process receive it through that process.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub enum Command {
    /// Stop admitting clients: clients that are still entering fail for this reason.
    GiveUpEntries(Why),
    /// Open the connection that listens for leaks, and start pinging.
    StartProbing,
    /// Have one client send the probe.
    SendProbe,
    /// Compare the lists that clients keep with the clients present. `Some` carries the number of
    /// the check, from 1; `None` ends the checks.
    CheckLists(Option<u64>),
    /// Have this many clients a second, over all workers, disconnect and reconnect; `None` stops.
    Reconnect(Option<u32>),
    /// Have all clients disconnect and reconnect at once.
    ReconnectAll,
    /// Have clients join their channels and take their positions.
    JoinRooms(Joiners),
    /// Measure how long data that arrived at this time waits until it is read.
    MeasureReadLag(Nanos),
    /// Stop sending.
    StopSending,
    /// Stop counting: messages that arrive from now on are ignored.
    StopCounting,
    /// Have impaired clients read all that has arrived for them.
    ResumeReading,
    /// Have all clients leave in order.
    Leave,
    // Skipped variants come last: the serializer counts them when numbering variants, the
    // deserializer does not.
    /// Send by the schedules. Never leaves the process: other processes get snapshots of them.
    #[serde(skip)]
    StartSending {
        /// Due times of the warm-up messages.
        warmup: Arc<SendSchedule>,
        /// Due times of the counted messages.
        counted: Arc<SendSchedule>,
    },
    /// Hand over the results. Never leaves the process.
    #[serde(skip)]
    HandOverResults(mpsc::Sender<WorkerResults>),
}

/// The clients that join their rooms.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Joiners {
    /// Those that create the channels.
    Founders,
    /// All clients.
    All,
}

/// Reason of a failed step, as text for the report.
pub type Why = Cow<'static, str>;
