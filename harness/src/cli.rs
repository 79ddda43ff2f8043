//! The command line: what is written, and what it means once it has been checked.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};
use throng_core::config::parse_duration;
use throng_core::crypto::PublicKey;
use throng_core::limits::{CHAT_TEXT_MAX, NAME_CHARS_MAX, SHARDS_MAX};
use throng_core::wire::SecretText;

use crate::identity::Seeded;
use crate::payload::PAYLOAD_MIN;
use crate::schedule::{MESSAGES_MAX, points_in};
use crate::target::{Entrance, TargetSource, parse_key};
use crate::threshold::Threshold;

/// Most clients of one run.
pub const CLIENTS_MAX: u32 = 1_000_000;

/// Most times, over all clients and rounds, that somebody comes in.
pub const ENTRIES_MAX: u32 = 100_000_000;

/// Drives thousands of real clients at Throng's servers and accounts for every delivery.
#[derive(Debug, Parser)]
#[command(name = "throng-harness", version, propagate_version = true, after_help = AFTER_HELP)]
pub struct Cli {
    #[command(subcommand)]
    scenario: RawScenario,
}

const AFTER_HELP: &str = "\
Durations have a unit and may have a fraction: 11.25ms, 500us, 1.5s.
Exit codes: 0 all thresholds held, 1 could not run, 2 usage, 3 a threshold was broken, 130 interrupted.";

#[derive(Debug, Subcommand)]
enum RawScenario {
    /// Clients enter the chat with minted tickets, stay, and leave
    Connect(RawConnect),
    /// Players sign up, create a character, log in and enter the chat; or log in with accounts that exist
    Login(RawLogin),
    /// Everybody enters, then random clients talk to all; every delivery is verified
    Broadcast(RawBroadcast),
}

#[derive(Debug, Args)]
struct Common {
    /// Data directory of a running `throng up`: addresses and keys are read from it
    #[arg(long, value_name = "DIR", required_unless_present = "server", conflicts_with_all = ["server", "server_key", "cluster_key"])]
    data: Option<PathBuf>,
    /// Server to connect to: the login server for `login`, else the chat server
    #[arg(long, value_name = "HOST:PORT", requires = "server_key")]
    server: Option<String>,
    /// That server's public key, 64 hexadecimal digits
    #[arg(long, value_name = "HEX", requires = "server", value_parser = parse_key_flag)]
    server_key: Option<PublicKey>,
    /// File with the cluster's key, to make tickets with (not for `login`)
    #[arg(long, value_name = "FILE", requires = "server")]
    cluster_key: Option<PathBuf>,
    /// Process whose CPU time and memory are recorded; known with --data
    #[arg(long, value_name = "PID")]
    server_pid: Option<u32>,
    /// Clients
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=i64::from(CLIENTS_MAX)))]
    clients: u32,
    /// Time between the beginnings of two connections
    #[arg(long, value_name = "TIME", default_value = "1ms", value_parser = parse_duration)]
    connect_interval: Duration,
    /// How long a client may take from connecting to being in the chat
    #[arg(long, value_name = "TIME", default_value = "30s", value_parser = parse_duration)]
    connect_timeout: Duration,
    /// Event-loop threads; clients are dealt to them evenly
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=SHARDS_MAX as i64))]
    workers: u32,
    /// What decides who sends what; drawn (and reported) unless given
    #[arg(long, value_name = "N")]
    seed: Option<u64>,
    /// Write the report to this file as JSON
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Write the report to this file as a page for a browser, which needs no other file
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
    /// Limit that makes the run fail, as in p99=20ms, last_recipient.p99=50ms, connected=95%, missing=off; repeatable
    #[arg(long, value_name = "NAME=LIMIT")]
    threshold: Vec<Threshold>,
    /// Exit 3 when the run's latencies are not valid evidence (harness overloaded or late)
    #[arg(long)]
    require_valid: bool,
}

#[derive(Debug, Args)]
struct RawConnect {
    #[command(flatten)]
    common: Common,
    /// How long everybody stays once all have entered
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = parse_duration)]
    duration: Duration,
}

#[derive(Debug, Args)]
struct RawLogin {
    #[command(flatten)]
    common: Common,
    /// How long everybody stays once all have entered
    #[arg(long, value_name = "TIME", default_value = "0s", value_parser = parse_duration)]
    duration: Duration,
    /// Most clients on their way in at any time; the others wait for their turn
    #[arg(long, value_name = "N", default_value_t = 32, value_parser = clap::value_parser!(u32).range(1..))]
    in_flight: u32,
    /// Use the accounts that `throng db seed --prefix PREFIX` has made, from PREFIX-000001: no sign-up
    #[arg(long, value_name = "PREFIX")]
    seeded: Option<String>,
    /// The password of those accounts; the report has `[secret]` in its place
    #[arg(long, value_name = "TEXT", default_value = "seed-password", requires = "seeded")]
    password: String,
    /// Each client leaves as soon as it is in and has the user list
    #[arg(long)]
    leave: bool,
    /// How often each client comes in, one time after the other (with --leave)
    #[arg(long, value_name = "R", default_value_t = 1, requires = "leave", value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
}

#[derive(Debug, Args)]
struct RawBroadcast {
    #[command(flatten)]
    common: Common,
    /// How long messages are sent
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = parse_duration)]
    duration: Duration,
    /// Time between two messages of the whole run
    #[arg(long, value_name = "TIME", default_value = "10ms", value_parser = parse_duration)]
    interval: Duration,
    /// Bytes of text in each message
    #[arg(long, value_name = "BYTES", default_value_t = 128)]
    payload: usize,
    /// How many clients may send [default: all]
    #[arg(long, value_name = "N")]
    senders: Option<u32>,
    /// How long messages are sent before counting begins
    #[arg(long, value_name = "TIME", default_value = "1s", value_parser = parse_duration)]
    warmup: Duration,
    /// How long to wait for outstanding deliveries after the last message
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = parse_duration)]
    drain: Duration,
}

fn parse_key_flag(text: &str) -> Result<PublicKey, String> {
    parse_key(text)
}

/// What to run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Scenario {
    /// Clients enter with tickets and stay.
    Connect {
        /// How long they stay once all are in.
        hold: Duration,
    },
    /// Players log in and enter.
    Login(Login),
    /// Everybody enters, then random clients talk to all.
    Broadcast(Broadcast),
}

/// The login scenario's own settings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Login {
    /// Most players on their way in at a time, from 1.
    pub in_flight: u32,
    /// The accounts that exist; without them each player signs up and creates a character.
    pub seeded: Option<Seeded>,
    /// What they do in the chat.
    pub stay: Stay,
}

/// How long players stay in the chat.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stay {
    /// Until all are in, and then for this long.
    Hold(Duration),
    /// Each leaves as soon as it has the user list.
    Leave {
        /// How often each comes in, from 1.
        rounds: u32,
    },
}

/// The broadcast scenario's own settings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Broadcast {
    /// Messages to send, from 1 to [`MESSAGES_MAX`].
    pub messages: u32,
    /// Time for sending them.
    pub duration: Duration,
    /// Time between two of them; never zero.
    pub interval: Duration,
    /// Bytes of text, from [`PAYLOAD_MIN`] to [`CHAT_TEXT_MAX`].
    pub payload: usize,
    /// Clients that may send, from 1 to all.
    pub senders: u32,
    /// Time of sending before counting begins.
    pub warmup: Duration,
    /// Longest wait after the last message.
    pub drain: Duration,
}

/// A command line that has been checked: whatever is in it makes sense together.
#[derive(Debug, Clone, PartialEq)]
pub struct Job {
    /// What to run.
    pub scenario: Scenario,
    /// Where.
    pub target: TargetSource,
    /// The server's process, if it was given.
    pub server_pid: Option<u32>,
    /// Clients, at least 1.
    pub clients: u32,
    /// Time between the beginnings of two connections.
    pub connect_interval: Duration,
    /// Longest way in.
    pub connect_timeout: Duration,
    /// Event-loop threads, from 1 to the number of clients.
    pub workers: u32,
    /// What decides the traffic.
    pub seed: u64,
    /// Where the JSON report goes.
    pub json: Option<PathBuf>,
    /// Where the report goes as a page; never where the JSON goes.
    pub html: Option<PathBuf>,
    /// What must hold, defaults included.
    pub thresholds: Vec<Threshold>,
    /// Whether a run that is not valid fails.
    pub require_valid: bool,
}

impl Scenario {
    /// The name on the command line.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Connect { .. } => "connect",
            Self::Login(_) => "login",
            Self::Broadcast(_) => "broadcast",
        }
    }

    /// How its clients get in.
    pub fn entrance(&self) -> Entrance {
        match self {
            Self::Connect { .. } | Self::Broadcast(_) => Entrance::Ticket,
            Self::Login(_) => Entrance::Login,
        }
    }

    /// How often each client is to come in.
    pub fn rounds(&self) -> u32 {
        match self {
            Self::Login(Login { stay: Stay::Leave { rounds }, .. }) => *rounds,
            _ => 1,
        }
    }
}

impl Cli {
    /// Checks what the parser cannot: how the values go together. The error says what to change.
    pub fn check(self) -> Result<Job, String> {
        let (scenario, common) = match self.scenario {
            RawScenario::Connect(raw) => (Scenario::Connect { hold: raw.duration }, raw.common),
            RawScenario::Login(raw) => (Scenario::Login(raw.check()?), raw.common),
            RawScenario::Broadcast(raw) => (Scenario::Broadcast(raw.check()?), raw.common),
        };
        if common.workers > common.clients {
            return Err(format!(
                "--workers {} for --clients {}: a worker without a client has nothing to do; use at most one each",
                common.workers, common.clients
            ));
        }
        if let Scenario::Login(login) = &scenario
            && common.workers > login.in_flight
        {
            return Err(format!(
                "--workers {} for --in-flight {}: every worker needs one that may be on its way",
                common.workers, login.in_flight
            ));
        }
        if common.connect_timeout.is_zero() {
            return Err("--connect-timeout 0s lets nobody in: use some seconds".into());
        }
        if common.json.is_some() && common.json == common.html {
            return Err("--json and --html name the same file: one would replace the other".into());
        }
        let target = common.target(scenario.entrance())?;
        Ok(Job {
            scenario,
            target,
            server_pid: common.server_pid,
            clients: common.clients,
            connect_interval: common.connect_interval,
            connect_timeout: common.connect_timeout,
            workers: common.workers,
            seed: common.seed.unwrap_or_else(rand::random),
            json: common.json,
            html: common.html,
            thresholds: Threshold::with_defaults(&common.threshold),
            require_valid: common.require_valid,
        })
    }
}

impl Common {
    fn target(&self, entrance: Entrance) -> Result<TargetSource, String> {
        let (server, server_key) = match (&self.data, &self.server, self.server_key) {
            (Some(data), _, _) => return Ok(TargetSource::Data(data.clone())),
            (None, Some(server), Some(server_key)) => (server.clone(), server_key),
            _ => return Err("where to? Give --data DIR, or --server HOST:PORT and --server-key HEX".into()),
        };
        match (entrance, &self.cluster_key) {
            (Entrance::Ticket, None) => {
                Err("this scenario makes its own tickets and needs the cluster's key: \
                 add --cluster-key FILE (or use --data DIR, or the scenario `login`)"
                    .into())
            }
            (Entrance::Login, Some(_)) => {
                Err("`login` gets its tickets from the login server: leave --cluster-key out".into())
            }
            (_, cluster_key) => {
                Ok(TargetSource::Flags { server, server_key, cluster_key: cluster_key.clone() })
            }
        }
    }
}

impl RawLogin {
    fn check(&self) -> Result<Login, String> {
        let clients = self.common.clients;
        let seeded = self.seeded.as_ref().map(|prefix| self.accounts(prefix)).transpose()?;
        if self.leave && !self.duration.is_zero() {
            return Err(
                "--duration is how long everybody stays, and with --leave nobody does: leave one of them out"
                    .into(),
            );
        }
        if clients.checked_mul(self.rounds).is_none_or(|entries| entries > ENTRIES_MAX) {
            return Err(format!(
                "--clients {clients} and --rounds {} make more than {ENTRIES_MAX} logins: use fewer of either",
                self.rounds
            ));
        }
        let stay = if self.leave { Stay::Leave { rounds: self.rounds } } else { Stay::Hold(self.duration) };
        Ok(Login { in_flight: self.in_flight, seeded, stay })
    }

    fn accounts(&self, prefix: &str) -> Result<Seeded, String> {
        let Ok(password) = SecretText::new(self.password.as_str()) else {
            return Err("--password is longer than any password may be".into());
        };
        let seeded = Seeded { prefix: prefix.into(), password };
        // The longest, and a name has fewer characters than an id may have.
        let last = seeded.id(self.common.clients - 1);
        if last.chars().count() > NAME_CHARS_MAX {
            return Err(format!(
                "--seeded {prefix}: `{last}` has more than the {NAME_CHARS_MAX} characters of a name, so there is no such account"
            ));
        }
        Ok(seeded)
    }
}

impl RawBroadcast {
    fn check(&self) -> Result<Broadcast, String> {
        if self.interval.is_zero() {
            return Err("--interval 0s is no interval: the smallest is 1ns".into());
        }
        if self.duration.is_zero() {
            return Err("--duration 0s sends nothing: use at least one --interval".into());
        }
        let Some(messages) = points_in(self.duration, self.interval) else {
            return Err(format!(
                "--duration and --interval make more than {MESSAGES_MAX} messages, each of which is accounted for: \
                 shorten --duration or lengthen --interval"
            ));
        };
        if self.payload < PAYLOAD_MIN {
            return Err(format!(
                "--payload {} is too small: a message carries its number and times in {PAYLOAD_MIN} bytes",
                self.payload
            ));
        }
        if self.payload > CHAT_TEXT_MAX {
            return Err(format!(
                "--payload {} is too large: a chat text has at most {CHAT_TEXT_MAX} bytes",
                self.payload
            ));
        }
        let clients = self.common.clients;
        let senders = self.senders.unwrap_or(clients);
        if !(1..=clients).contains(&senders) {
            return Err(format!("--senders {senders} of --clients {clients}: from 1 to {clients} can send"));
        }
        Ok(Broadcast {
            messages,
            duration: self.duration,
            interval: self.interval,
            payload: self.payload,
            senders,
            warmup: self.warmup,
            drain: self.drain,
        })
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    const KEY: &str = "0102030405060708090a0b0c0d0e0f100102030405060708090a0b0c0d0e0f10";

    fn parse(line: &str) -> Result<Job, String> {
        let line = line.replace("KEY", KEY);
        let cli = Cli::try_parse_from(std::iter::once("throng-harness").chain(line.split_whitespace()));
        cli.map_err(|error| error.to_string())?.check()
    }

    #[test]
    fn the_parser_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn a_broadcast_with_defaults() {
        let job = parse("broadcast --data throng-data").expect("complete");
        let Scenario::Broadcast(broadcast) = &job.scenario else { panic!("{job:?}") };
        assert_eq!(
            (broadcast.messages, broadcast.interval, broadcast.payload, broadcast.senders),
            (1000, Duration::from_millis(10), 128, 100)
        );
        assert_eq!((job.clients, job.workers), (100, 1));
        assert_eq!(job.target, TargetSource::Data("throng-data".into()));
        assert_eq!(job.thresholds, Threshold::defaults());
    }

    #[test]
    fn a_broadcast_by_hand() {
        let job = parse(
            "broadcast --server 10.0.0.1:9200 --server-key KEY --cluster-key c.key --clients 9000 --workers 2 \
             --interval 11.25ms --duration 10s --payload 512 --senders 7 --seed 5 --json out.json --html out.html --drain 1.5s \
             --threshold p99=20ms --threshold missing=off --server-pid 77 --require-valid",
        )
        .expect("complete");
        let Scenario::Broadcast(broadcast) = &job.scenario else { panic!("{job:?}") };
        assert_eq!((broadcast.messages, broadcast.senders, broadcast.payload), (889, 7, 512));
        assert_eq!((job.clients, job.workers, job.seed, job.server_pid), (9000, 2, 5, Some(77)));
        assert_eq!((job.json, job.html), (Some("out.json".into()), Some("out.html".into())));
        assert_eq!(job.thresholds.len(), Threshold::defaults().len() + 1);
        assert!(matches!(job.target, TargetSource::Flags { cluster_key: Some(_), .. }) && job.require_valid);
    }

    #[test]
    fn a_login_needs_no_cluster_key() {
        let job = parse("login --server localhost:9000 --server-key KEY --clients 500").expect("complete");
        let login = Login { in_flight: 32, seeded: None, stay: Stay::Hold(Duration::ZERO) };
        assert_eq!(job.scenario, Scenario::Login(login));
        assert_eq!((job.scenario.entrance(), job.scenario.rounds()), (Entrance::Login, 1));
    }

    #[test]
    fn a_login_with_accounts_that_exist() {
        let check = |more: &str, seeded: Option<(&str, &str)>, stay| {
            let job = parse(&format!("login --data d --clients 500 {more}")).expect("complete");
            let seeded = seeded.map(|(prefix, password)| Seeded {
                prefix: prefix.into(),
                password: SecretText::new(password).expect("short"),
            });
            assert_eq!(job.scenario, Scenario::Login(Login { in_flight: 32, seeded, stay }), "{more}");
            assert!(!format!("{job:?}").contains("password: \""), "{job:?}");
        };
        let hold = Stay::Hold(Duration::ZERO);
        check("--seeded seed", Some(("seed", "seed-password")), hold);
        check("--seeded bot --password=secret-secret", Some(("bot", "secret-secret")), hold);
        check("--seeded 12345678901234567", Some(("12345678901234567", "seed-password")), hold);
        check("--leave", None, Stay::Leave { rounds: 1 });
        check("--leave --duration 0s --rounds 20", None, Stay::Leave { rounds: 20 });
        let rounds = |line| parse(line).expect("complete").scenario.rounds();
        assert_eq!(rounds("login --data d --clients 1000000 --leave --rounds 100"), 100);
        assert_eq!(rounds("broadcast --data d"), 1);
    }

    #[test]
    fn the_seed_is_drawn_unless_given() {
        let seed = || parse("connect --data d").expect("complete").seed;
        assert_ne!(seed(), seed());
    }

    #[test]
    fn what_is_wrong_is_said() {
        let check = |line: &str, part: &str| match parse(line) {
            Ok(job) => panic!("{line}: {job:?}"),
            Err(error) => assert!(error.contains(part), "{line}: {error}"),
        };
        check("", "Usage");
        check("fly --data d", "unrecognized subcommand");
        check("connect", "--data <DIR>");
        check("connect --server a:1", "--server-key");
        check("connect --data d --server a:1 --server-key KEY", "cannot be used with");
        check("connect --server a:1 --server-key KEY", "add --cluster-key FILE");
        check("connect --server a:1 --server-key 12 --cluster-key f", "64 hexadecimal digits");
        check("login --server a:1 --server-key KEY --cluster-key f", "leave --cluster-key out");
        check("connect --data d --clients 0", "0 is not in 1..=1000000");
        check("connect --data d --clients 2 --workers 3", "at most one each");
        check("connect --data d --connect-timeout 0s", "lets nobody in");
        check("connect --data d --json out --html out", "one would replace the other");
        check("login --data d --workers 3 --in-flight 2", "every worker needs one");
        check("login --data d --password secret-secret", "--seeded <PREFIX>");
        check("login --data d --rounds 2", "--leave");
        check("login --data d --leave --rounds 0", "0 is not in 1..");
        check("login --data d --leave --duration 1s", "with --leave nobody does");
        check("login --data d --clients 1000000 --leave --rounds 101", "more than 100000000 logins");
        check("login --data d --leave --rounds 4294967295", "more than 100000000 logins");
        check(
            "login --data d --seeded 123456789012345678",
            "`123456789012345678-000100` has more than the 24",
        );
        check("login --data d --clients 1000000 --seeded 12345678901234567", "`12345678901234567-1000000`");
        check(&format!("login --data d --seeded s --password {}", "x".repeat(513)), "--password is longer");
        check("connect --data d --leave", "unexpected argument");
        check("connect --data d --interval 1ms", "unexpected argument");
        check("broadcast --data d --interval 10", "is not a unit");
        check("broadcast --data d --interval 0s", "no interval");
        check("broadcast --data d --duration 0s", "sends nothing");
        check("broadcast --data d --duration 10h --interval 1ms", "lengthen --interval");
        check("broadcast --data d --payload 10", "too small: a message carries");
        check("broadcast --data d --payload 9999", "at most 1024 bytes");
        check("broadcast --data d --clients 5 --senders 6", "from 1 to 5 can send");
        check("broadcast --data d --senders 0", "from 1 to 100 can send");
        check("broadcast --data d --threshold p98=1s", "cannot have a threshold");
    }
}
