//! What the processes of a run say to each other.

use std::net::SocketAddr;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use throng_harness_model::clock::Nanos;
use throng_harness_model::record::Latencies;
use throng_harness_model::results::Totals;
use throng_harness_model::schedule::Pace;
use throng_harness_model::send_schedule::ScheduleSnapshot;
use throng_harness_model::spec::Job;

use crate::command::Command;
use crate::results::WorkerResults;
use crate::verify::{Page, Part};

/// A client, and the server's number for it; 0 when it has gone.
pub(super) type Present = (u32, u32);

/// To a process with workers.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum ChildCommand {
    /// The first: what the run is.
    Begin(Box<Beginning>),
    /// All processes are there: clients' ways in begin at this pace.
    Go(Pace),
    /// For one worker, by its number in the run, or for all of this process.
    Tell(Option<u32>, Command),
    /// Send by the schedule: before counting, and counted.
    Talk(ScheduleSnapshot, ScheduleSnapshot),
    /// Counted messages from this time on are so far apart.
    ChangeRate(Nanos, Duration),
    /// Clients of other processes have come or gone.
    Present(Vec<Present>),
    /// Give away what was found out.
    WorkerResults,
    /// Say what is known of each message.
    Share,
    /// What all together know of some messages.
    Learn(Page),
    /// That was all of it: settle.
    Settle,
    /// The last: close all connections and end.
    Stop,
}

/// What a run is, for a process that has a part of it.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Beginning {
    /// The process, from 0.
    pub(super) process: u32,
    /// What to run. Keys are read from where it says.
    pub(super) job: Job,
    /// The server's address, which need not be looked up twice.
    pub(super) address: SocketAddr,
    /// The run's number.
    pub(super) run: u32,
    /// When its clock began, by the system's.
    pub(super) raw_epoch: u64,
    /// Addresses of ours that clients connect from.
    pub(super) sources: u32,
}

/// From a process with workers.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum ChildEvent {
    /// Everything is prepared.
    Ready,
    /// The workers are running.
    Started,
    /// What each of its workers shows, and how long something that had arrived waited there.
    Totals(Vec<(Totals, Nanos)>),
    /// All latencies so far of one of its workers, counted from 0.
    Latencies(u32, Latencies),
    /// Clients of its own have come or gone.
    Present(Vec<Present>),
    /// What all its workers found out.
    WorkerResults(Box<WorkerResults>),
    /// What they know of some messages.
    Page(Page),
    /// That was all of it.
    Shared,
    /// What became of its own clients' pairs.
    Settled(Part),
    /// It is there, and at what it was told to do, if it has said nothing else for a while.
    Alive,
    /// It is at what it was asked for, which may take some time.
    Begun,
    /// It cannot go on, and why.
    Failed(String),
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::Gather;

    #[test]
    fn every_command_arrives_as_it_was_given() {
        let commands = [
            Command::GiveUp("nobody got in any more".into()),
            Command::Watch,
            Command::Probe,
            Command::LookAtLists(Some(2)),
            Command::Reconnect(Some(30)),
            Command::Storm,
            Command::Gather(Gather::All),
            Command::Lag(5),
            Command::Hush,
            Command::Freeze,
            Command::Wake,
            Command::Leave,
        ];
        for command in commands {
            let order = ChildCommand::Tell(Some(7), command);
            let bytes = postcard::to_stdvec(&order).expect("it can be written");
            let heard: ChildCommand = postcard::from_bytes(&bytes).expect("it can be read");
            assert_eq!(format!("{heard:?}"), format!("{order:?}"));
        }
    }
}
