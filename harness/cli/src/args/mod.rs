//! The command line: its flags, and the checks that turn them into a task. Flags shared by the
//! scenarios are in `common`; each scenario's own flags are in a file of its own.

mod abuse;
mod bench;
mod bots;
mod broadcast;
mod common;
mod connect;
mod examples;
mod file;
mod login;
mod monitor;
mod pattern;
mod peers;
mod ramp;
mod report;
mod setting;
mod steps;
#[cfg(test)]
mod tests;

use std::ffi::OsString;

use clap::error::ErrorKind;
use clap::{CommandFactory, FromArgMatches, Parser, Subcommand};
use throng_harness_abuse::AbuseJob;
use throng_harness_driver::crew;
use throng_harness_driver::steps::StepsJob;
use throng_harness_model::spec::{Job, Scenario};
use throng_harness_model::threshold::Threshold;
use throng_harness_monitor::MonitorJob;
use throng_harness_peers::{PeersJob, bare};

pub use file::{Expanded, FileError, expand};
pub use report::ReportJob;

use abuse::RawAbuse;
use bench::RawBench;
use bots::RawBots;
use broadcast::RawBroadcast;
use common::Common;
use connect::RawConnect;
use file::RawRun;
use login::RawLogin;
use monitor::RawMonitor;
use peers::{RawPeers, RawWriter};
use ramp::RawRamp;
use report::RawReport;

/// Drives thousands of real clients at Throng's servers and accounts for every delivery.
#[derive(Debug, Parser)]
#[command(name = "throng-harness", version, propagate_version = true, after_help = AFTER_HELP)]
pub struct Cli {
    #[command(subcommand)]
    scenario: RawScenario,
    /// Print all figures before the answer
    #[arg(long, global = true)]
    verbose: bool,
}

/// A checked command line, and the form of its report.
#[derive(Debug)]
pub struct Parsed {
    /// The task.
    pub task: Task,
    /// True if the report as text has all figures.
    pub is_verbose: bool,
}

const AFTER_HELP: &str = "\
Durations have a unit and may have a fraction: 11.25ms, 500us, 1.5s.
Exit codes: 0 all thresholds held, 1 could not run, 2 usage, 3 a threshold was broken, 4 the harness or
the machine was not good enough to judge the server's times, 130 interrupted.";

#[derive(Debug, Subcommand)]
enum RawScenario {
    /// Clients enter the chat with minted tickets, stay, and leave
    Connect(RawConnect),
    /// Players sign up, create a character, log in and enter the chat, or log in to existing
    /// accounts
    Login(RawLogin),
    /// All clients enter, then random clients send to all; every delivery is verified
    Broadcast(RawBroadcast),
    /// Bots chat as people do, in Korean and English, and answer each other; every delivery is
    /// verified
    Bots(RawBots),
    /// Repeats a broadcast with more and more clients, or messages, until the limit is found
    Ramp(RawRamp),
    /// Repeats a broadcast with several numbers of clients, compares them, and forecasts larger
    /// ones
    Bench(RawBench),
    /// Compares other chat and pub/sub systems with Throng, in the same room, on one core each
    Peers(RawPeers),
    /// Attacks running servers as one member can, beside honest clients and newcomers, and compares
    /// their latencies with and without
    Abuse(RawAbuse),
    /// Watches running servers (CPU, memory, sockets, queues, links) without any load of its own
    Monitor(RawMonitor),
    /// Runs a scenario from a TOML file, whose keys are the scenario's flags
    Run(RawRun),
    /// Shows a saved report, or compares saved reports
    Report(RawReport),
    /// Only writes to sockets; started by `peers`
    #[command(name = bare::SUBCOMMAND, hide = true)]
    BareWriter(RawWriter),
    /// Runs a share of the clients; started by a run with `--processes`
    #[command(name = crew::SUBCOMMAND, hide = true)]
    Crew,
}

/// A checked command line.
#[derive(Debug)]
pub enum Task {
    /// One scenario with Throng's clients.
    Run(Job),
    /// A scenario in several steps.
    Steps(StepsJob),
    /// A comparison with other systems.
    Peers(PeersJob),
    /// Attacks beside honest clients.
    Abuse(AbuseJob),
    /// Watching of servers.
    Monitor(MonitorJob),
    /// Showing or comparing reports written before.
    Report(ReportJob),
    /// The writer process of `peers`.
    BareWriter(bare::Writer),
    /// A share of a scenario's clients, for another process of the harness.
    Crew,
}

impl Task {
    /// Returns the job if the task is one scenario with Throng's clients.
    pub fn into_job(self) -> Option<Job> {
        match self {
            Self::Run(job) => Some(job),
            Self::Steps(_)
            | Self::Peers(_)
            | Self::Abuse(_)
            | Self::Monitor(_)
            | Self::Report(_)
            | Self::BareWriter(_)
            | Self::Crew => None,
        }
    }
}

/// Parses and checks a command line, the program's name first. The error is printable text: help or
/// version if the command line asked for it, otherwise the fault with the usage of its scenario.
pub fn parse(args: Vec<OsString>) -> Result<Parsed, clap::Error> {
    let mut command = Cli::command();
    let mut matches = command.try_get_matches_from_mut(args)?;
    let scenario = matches.subcommand_name().map(str::to_owned);
    let cli = Cli::from_arg_matches_mut(&mut matches).map_err(|error| error.format(&mut command))?;
    let is_verbose = cli.verbose;
    let task = cli.check().map_err(|error| {
        let of_scenario = scenario.and_then(|name| command.find_subcommand_mut(name));
        of_scenario.unwrap_or(&mut Cli::command()).error(ErrorKind::ValueValidation, error)
    })?;
    Ok(Parsed { task, is_verbose })
}

impl Cli {
    /// Checks the values against each other, which the parser cannot. The error says what to
    /// change.
    pub fn check(self) -> Result<Task, String> {
        let (scenario, common) = match self.scenario {
            RawScenario::Connect(raw) => {
                let (connect, interval) = (raw.check(), raw.interval());
                let common = Common { connect_interval: interval, ..raw.common };
                (Scenario::Connect(connect), common)
            }
            RawScenario::Login(raw) => (Scenario::Login(raw.check()?), raw.common),
            RawScenario::Broadcast(raw) => (Scenario::Broadcast(raw.check()?), raw.common),
            RawScenario::Bots(raw) => return raw.task(),
            RawScenario::Ramp(raw) => return raw.check().map(Task::Steps),
            RawScenario::Bench(raw) => return raw.check().map(Task::Steps),
            RawScenario::Peers(raw) => return raw.check().map(Task::Peers),
            RawScenario::Abuse(raw) => return raw.check().map(Task::Abuse),
            RawScenario::Monitor(raw) => return raw.check().map(Task::Monitor),
            RawScenario::Run(raw) => return Err(raw.check()),
            RawScenario::Report(raw) => return raw.check().map(Task::Report),
            RawScenario::BareWriter(raw) => return Ok(Task::BareWriter(raw.into())),
            RawScenario::Crew => return Ok(Task::Crew),
        };
        job(common, scenario).map(Task::Run)
    }
}

/// Makes a job of `scenario` and the common flags, or says which of them conflict.
fn job(common: Common, scenario: Scenario) -> Result<Job, String> {
    let workers = match common.processes {
        1 => format!("--workers {}", common.workers),
        processes => format!("--workers {} in each of --processes {processes}", common.workers),
    };
    let (clients, total) = (common.clients(), common.workers * common.processes);
    if total > clients {
        return Err(format!(
            "{workers} for --clients {clients}: a worker without a client is idle; use at most one worker a client"
        ));
    }
    if let Scenario::Login(login) = &scenario
        && total > login.in_flight
    {
        return Err(format!(
            "{workers} for --in-flight {}: every worker needs a login of its own in flight",
            login.in_flight
        ));
    }
    if common.connect_timeout.is_zero() {
        return Err("--connect-timeout 0s lets no client in: use some seconds".into());
    }
    if common.json.is_some() && common.json == common.html {
        return Err("--json and --html name the same file: one would replace the other".into());
    }
    let target = common.target(scenario.entrance())?;
    Ok(Job {
        scenario,
        target,
        server_pid: common.server_pid,
        clients,
        connect_interval: common.connect_interval,
        connect_timeout: common.connect_timeout,
        workers: common.workers,
        processes: common.processes,
        sources: common.sources,
        lists: common.lists.into(),
        seed: common.seed.unwrap_or_else(rand::random),
        json: common.json,
        html: common.html,
        hgrm: common.hgrm,
        thresholds: Threshold::with_defaults(&common.threshold),
        plain: common.plain,
        standing: None,
        require_valid: common.require_valid,
    })
}
