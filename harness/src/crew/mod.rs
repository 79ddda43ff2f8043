//! Workers at work: as threads of one process, and as several processes with some of the threads each.
//!
//! ```text
//!                  the process that was started: Run, Fleet, report
//!                    |  panels of all workers     ^
//!   orders: begin,   |                            | news: totals, latencies, who is there,
//!   commands, who    v                            | at the end results
//!   is there       stdin                        stdout
//!          process 0: workers 0 .. W-1        process 1: workers W .. 2W-1       ...
//!          each with a pacer of its own
//! ```
//! Client c belongs to worker `c % (P * W)` wherever that is, so the schedule needs no word between them. What
//! one process must know of another is who is there (whispers, user lists), and at the end when each message was sent
//! and received (see `verify::shared`).
//!
//! The processes share the system's monotonic clock. Each ends when its pipe does, so none outlives the one that started it. One
//! that is at work says something every second; whoever does not for a while (`patience`) is killed, and nobody waits for it:
//! what it is told is written by a thread of its own (`inlet`).

mod child_writer;
mod error;
mod fleet;
mod frame;
mod member;
mod message;
mod processes;
mod reporter;
mod stall_timer;
mod threads;

pub use error::FleetError;
pub use fleet::Fleet;
pub use frame::FrameError;
pub use member::serve;
pub use stall_timer::Awaited;

/// The hidden subcommand with which the harness starts itself.
pub const SUBCOMMAND: &str = "crew-member";

#[cfg(test)]
mod tests {
    use clap::Parser;
    use throng_core::crypto::ClusterKey;

    use super::message::{Beginning, ChildCommand};
    use crate::cli::Cli;
    use crate::command::Command;
    use crate::model::clock::RunClock;
    use crate::model::plan::{Given, Plan, plan};
    use crate::model::spec::{Job, Login, Scenario};
    use crate::model::target::{Endpoint, Target};

    fn job(line: &str) -> Job {
        let line = format!("throng-harness {line} --data d --seed 7");
        let cli = Cli::try_parse_from(line.split_whitespace()).expect("valid");
        cli.check().expect("valid").into_job().expect("a scenario")
    }

    /// The plan of a command line, for a server that is not there.
    pub(super) fn plan_of(line: &str) -> Plan {
        let server = Endpoint { address: ([127, 0, 0, 1], 9).into(), key: [1; 32] };
        let cluster_key = Some(ClusterKey::from_bytes([2; 32]));
        let target = Target { server, cluster_key, pid: None };
        plan(&job(line), &target, Given { clock: RunClock::start(), run: 3, sources: 1 })
    }

    /// What a process is told, the command line above all, is what it hears.
    #[test]
    fn a_job_travels_whole() {
        let check = |line: &str| {
            let job = Job { thresholds: Vec::new(), ..job(line) };
            let beginning = Beginning {
                process: 1,
                job: job.clone(),
                address: "[::1]:9200".parse().expect("an address"),
                run: 3,
                raw_epoch: u64::MAX,
                sources: 4,
            };
            let order = ChildCommand::Begin(Box::new(beginning));
            let bytes = postcard::to_stdvec(&order).expect("it can be written");
            let Ok(ChildCommand::Begin(heard)) = postcard::from_bytes(&bytes) else { panic!("{line}") };
            assert_eq!((heard.job, heard.raw_epoch, heard.sources), (job, u64::MAX, 4), "{line}");
        };
        check("broadcast --scope mixed --churn 50/s --deaf 3 --deaf-for 2s --processes 3 --workers 2");
        check("connect --rate 50/s --ramp 1s --storm --lists all --sources 9");
        check("bots --pauses 1s..9s --language en --login --processes 2");
        check("login --seeded bot --password secret-secret --leave --rounds 3");
        let Scenario::Login(Login { seeded, .. }) =
            job("login --seeded bot --password secret-secret").scenario
        else {
            panic!("no login")
        };
        assert_eq!(seeded.expect("it was given").password.expose(), "secret-secret");
    }

    /// Commands that stay in a process do not shift the others.
    #[test]
    fn a_command_arrives_as_the_one_that_was_given() {
        let commands = [
            Command::GiveUp("too late".into()),
            Command::Watch,
            Command::Reconnect(Some(7)),
            Command::Lag(5),
            Command::Hush,
            Command::Freeze,
            Command::Wake,
            Command::Leave,
        ];
        for command in commands {
            let said = format!("{command:?}");
            let bytes = postcard::to_stdvec(&ChildCommand::Tell(None, command)).expect("it can be written");
            let Ok(ChildCommand::Tell(None, heard)) = postcard::from_bytes(&bytes) else { panic!("{said}") };
            assert_eq!(format!("{heard:?}"), said);
        }
    }

    /// Every process draws the same traffic and audiences for itself.
    #[test]
    fn a_plan_is_the_same_everywhere() {
        let line = "broadcast --scope mixed --clients 50 --processes 5 --workers 2";
        let (one, other) = (plan_of(line), plan_of(line));
        assert_eq!((one.workers, &one.traffic, &one.crowd), (10, &other.traffic, &other.crowd));
        let shares: u32 = (0..10).map(|worker| one.share(one.clients, worker)).sum();
        assert_eq!(shares, 50);
        let near = ([127, 0, 0, 1], 9).into();
        assert_eq!(one.source(7, near), None);
        let spread = Plan { sources: 3, ..one };
        for far in ["10.0.0.1:9", "[::1]:9"] {
            assert_eq!(spread.source(1, far.parse().expect("an address")), None, "{far}");
        }
        let sources =
            [0, 1, 2, 3].map(|client| spread.source(client, near).expect("one of three").to_string());
        assert_eq!(sources, ["127.0.0.1", "127.0.0.2", "127.0.0.3", "127.0.0.1"]);
    }
}
