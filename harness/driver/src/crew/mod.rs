//! Running the workers: as threads of one process, or as threads of several processes.
//!
//! ```text
//!                the parent process: Run, Fleet, report
//!                    |  panels of all workers     ^
//!   commands,        |                            |  events: totals, latencies, presence,
//!   presence         v                            |  and results at the end
//!                  stdin                        stdout
//!          process 0: workers 0 .. W-1        process 1: workers W .. 2W-1       ...
//!          each with a pacer of its own
//! ```
//! Client c belongs to worker `c % (P * W)` in whichever process, so the processes need not
//! coordinate the schedule. They exchange the presence of clients (for whispers and user lists),
//! and at the end the times at which each message was sent and received (see [`crate::verify`]).
//!
//! The processes share the system's monotonic clock. A child exits when its pipe closes, so none
//! outlives its parent. A working child sends an event at least every second; one that is silent
//! for `SILENCE_MAX` is killed. Commands are written by a thread for each child (`child_writer`),
//! so a child that does not read blocks only its own thread.

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
    use std::time::Duration;

    use throng_core::crypto::ClusterKey;
    use throng_core::wire::SecretText;
    use throng_harness_model::bots::{Languages, Manner, Pauses};
    use throng_harness_model::clock::RunClock;
    use throng_harness_model::fixture;
    use throng_harness_model::identity::Seeded;
    use throng_harness_model::plan::{Given, Plan, plan};
    use throng_harness_model::spec::{Bots, Broadcast, Connect, Job, Lists, Login, Scenario, Setting, Stay};
    use throng_harness_model::target::{Endpoint, Entrance, Target};

    use super::message::{Beginning, ChildCommand};

    /// The plan of a job, for a server that is not there.
    pub(super) fn plan_of(job: &Job) -> Plan {
        let server = Endpoint { address: ([127, 0, 0, 1], 9).into(), key: [1; 32] };
        let cluster_key = Some(ClusterKey::from_bytes([2; 32]));
        let target = Target { server, nodes: Vec::new(), cluster_key, pid: None };
        plan(job, &target, Given { clock: RunClock::start(), run: 3, sources: 1 })
    }

    fn login(rounds: u32) -> Scenario {
        let password = SecretText::new("secret-secret").expect("short enough");
        let seeded = Some(Seeded { prefix: "bot".into(), password });
        Scenario::Login(Login { in_flight: 32, seeded, stay: Stay::Leave { rounds } })
    }

    /// A process receives every part of the job unchanged.
    #[test]
    fn a_job_survives_its_encoding() {
        let check = |job: Job| {
            let job = Job { thresholds: Vec::new(), ..job };
            let beginning = Beginning {
                process: 1,
                job: job.clone(),
                address: "[::1]:9200".parse().expect("an address"),
                run: 3,
                raw_epoch: u64::MAX,
                sources: 4,
            };
            let message = ChildCommand::Begin(Box::new(beginning));
            let bytes = postcard::to_stdvec(&message).expect("it can be written");
            let Ok(ChildCommand::Begin(decoded)) = postcard::from_bytes(&bytes) else { panic!("{job:?}") };
            assert_eq!((decoded.job, decoded.raw_epoch, decoded.sources), (job, u64::MAX, 4));
        };
        let second = Duration::from_secs(1);
        let (churn, deaf_for) = (Some(50), Some(2 * second));
        let setting = Setting { churn, deaf: 3, deaf_for, ..fixture::mixed() };
        let broadcast = Scenario::Broadcast(Broadcast { setting, ..fixture::broadcast() });
        check(Job { processes: 3, workers: 2, ..fixture::job(broadcast) });
        let connect = Connect { hold: 10 * second, ramp: second, churn: None, storm: true };
        let connect = fixture::job(Scenario::Connect(connect));
        let connect_interval = Duration::from_millis(20);
        check(Job { connect_interval, lists: Lists::All, sources: Some(9), ..connect });
        let pauses = Pauses { min: second, max: 9 * second };
        let manner = Manner { pauses, languages: Languages::English };
        let bots = Bots { duration: 300 * second, manner, entrance: Entrance::Login, drain: 10 * second };
        check(Job { processes: 2, ..fixture::job(Scenario::Bots(bots)) });
        check(fixture::job(login(3)));
        let bytes = postcard::to_stdvec(&fixture::job(login(1))).expect("it can be written");
        let job: Job = postcard::from_bytes(&bytes).expect("it can be read");
        let Scenario::Login(Login { seeded, .. }) = job.scenario else { panic!("no login") };
        assert_eq!(seeded.expect("it was given").password.expose(), "secret-secret");
    }

    /// Every process draws equal traffic and audiences.
    #[test]
    fn every_process_makes_the_same_plan() {
        let broadcast = Broadcast { setting: fixture::mixed(), ..fixture::broadcast() };
        let job = fixture::job(Scenario::Broadcast(broadcast));
        let job = Job { clients: 50, processes: 5, workers: 2, ..job };
        let (one, other) = (plan_of(&job), plan_of(&job));
        assert_eq!((one.workers, &one.traffic, &one.audiences), (10, &other.traffic, &other.audiences));
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
