//! What the thread of a run tells its workers.

use std::borrow::Cow;
use std::sync::{Arc, mpsc};

use serde::{Deserialize, Serialize};
use throng_harness_model::clock::Nanos;
use throng_harness_model::send_schedule::SendSchedule;

use crate::results::WorkerResults;

/// What the run's thread tells a worker. Those of another process are told by way of it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub enum Command {
    /// Nobody else gets in: who is on the way has failed, for this reason.
    GiveUp(Why),
    /// Open the connection that listens for leaks, and ping from now on.
    Watch,
    /// Have a client say the probe.
    Probe,
    /// Hold the lists that clients keep against who is there, for the time with this number from 1; or no more.
    LookAtLists(Option<u64>),
    /// Have so many clients a second, of all workers together, hang up and come again; or no more.
    Reconnect(Option<u32>),
    /// Have everybody do that at once.
    Storm,
    /// Have clients find their channels and places.
    Gather(Gather),
    /// Measure how long something that arrived at this time has to wait until it is read.
    Lag(Nanos),
    /// Send no more.
    Hush,
    /// What comes from now on does not count.
    Freeze,
    /// Clients that did not read read everything.
    Wake,
    /// All clients leave in order.
    Leave,
    // What is not written down comes last: in what is written variants have numbers, which count these, and in what is
    // read they do not.
    /// Send by the schedule; only within a process, which others are told of in other words.
    #[serde(skip)]
    Talk {
        /// When the messages before counting are due.
        warmup: Arc<SendSchedule>,
        /// When the counted ones are.
        counted: Arc<SendSchedule>,
    },
    /// Give away all that was found out; only within a process.
    #[serde(skip)]
    WorkerResults(mpsc::Sender<WorkerResults>),
}

/// Which clients find their places.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Gather {
    /// Those who make the channels.
    Founders,
    /// Everybody.
    All,
}

/// Why a step failed: text for the report.
pub type Why = Cow<'static, str>;
