//! The messages between the processes of a run.

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

/// A client and its user number on the server; 0 once it is gone.
pub(super) type Present = (u32, u32);

/// A message to a process with workers.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum ChildCommand {
    /// Always the first: the description of the run.
    Begin(Box<Beginning>),
    /// All processes are ready: entries begin at this pace.
    BeginEntries(Pace),
    /// A command for one worker, by its number in the run, or for all workers of the process.
    Forward(Option<u32>, Command),
    /// Send by these schedules: the warm-up, and the counted messages.
    StartSending(ScheduleSnapshot, ScheduleSnapshot),
    /// From this time on, counted messages are due at this interval.
    ChangeRate(Nanos, Duration),
    /// Clients of other processes have entered or left.
    Present(Vec<Present>),
    /// Send the results.
    HandOverResults,
    /// Send the pages of the ledger.
    SendLedger,
    /// A page of the merged ledger.
    LearnPage(Page),
    /// All pages are sent: settle.
    Settle,
    /// Always the last: close all connections and exit.
    Stop,
}

/// The description of a run, for a process that has some of its workers.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Beginning {
    /// The number of the process, from 0.
    pub(super) process: u32,
    /// The job. The process reads the keys from the files that the job names.
    pub(super) job: Job,
    /// The server's address, already resolved.
    pub(super) address: SocketAddr,
    /// The number of the run.
    pub(super) run: u32,
    /// The start of the run's clock, on the system's monotonic clock.
    pub(super) raw_epoch: u64,
    /// Number of local addresses that clients connect from.
    pub(super) sources: u32,
}

/// A message from a process with workers.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum ChildEvent {
    /// The plan is prepared.
    Ready,
    /// The workers are running.
    Started,
    /// For each of its workers the totals, the latest read lag, and the counted message received
    /// last.
    Totals(Vec<(Totals, Nanos, Option<u32>)>),
    /// All latencies so far of one of its workers, numbered from 0.
    Latencies(u32, Latencies),
    /// Clients of this process have entered or left.
    Present(Vec<Present>),
    /// The merged results of its workers.
    Results(Box<WorkerResults>),
    /// A page of its ledger.
    Page(Page),
    /// All pages are sent.
    LedgerSent,
    /// The settlement of its own clients' deliveries.
    Settled(Part),
    /// A heartbeat, sent after a while without other events.
    Alive,
    /// It has begun to serve a request for results, which may take some time.
    Begun,
    /// It cannot continue, for this reason.
    Failed(String),
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::Joiners;

    /// Commands that are not serialized do not shift the numbers of the others.
    #[test]
    fn every_command_survives_its_encoding() {
        let commands = [
            Command::GiveUpEntries("no more clients got in".into()),
            Command::StartProbing,
            Command::SendProbe,
            Command::CheckLists(Some(2)),
            Command::Reconnect(Some(30)),
            Command::ReconnectAll,
            Command::JoinRooms(Joiners::All),
            Command::MeasureReadLag(5),
            Command::StopSending,
            Command::StopCounting,
            Command::ResumeReading,
            Command::Leave,
        ];
        for command in commands {
            let message = ChildCommand::Forward(Some(7), command);
            let bytes = postcard::to_stdvec(&message).expect("it can be written");
            let decoded: ChildCommand = postcard::from_bytes(&bytes).expect("it can be read");
            assert_eq!(format!("{decoded:?}"), format!("{message:?}"));
        }
    }
}
