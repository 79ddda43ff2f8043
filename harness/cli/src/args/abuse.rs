//! Flags of `abuse`.

use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use throng_core::config::{format_duration, parse_duration};
use throng_core::crypto::PublicKey;
use throng_harness_abuse::{AbuseJob, Attack, Limits, PAIRS_MAX, full_line};
use throng_harness_model::payload::{PAYLOAD_MAX, PAYLOAD_MIN};
use throng_harness_model::target::TargetSource;

use super::common::{default_data, parse_key};
use super::examples;

/// The fewest honest clients: a sender and a recipient in each room.
const CLIENTS_MIN: i64 = 4;
/// The most honest clients, all on one thread.
const CLIENTS_MAX: i64 = 10_000;
/// Most attack phases.
const ROUNDS_MAX: i64 = 100;
/// Most connections of an attack.
const SOCKETS_MAX: i64 = 10_000;
/// Most messages, and most newcomers, a second.
const RATE_MAX: f64 = 10_000.0;
/// Longest phase.
const DURATION_MAX: Duration = Duration::from_mins(10);

#[derive(Debug, Args)]
#[command(next_help_heading = "Attacks", after_help = examples::ABUSE)]
pub(super) struct RawAbuse {
    /// Data directory of a running `throng up`, for its addresses and keys [default: throng-data]
    #[arg(long, value_name = "DIR", conflicts_with_all = ["server", "server_key", "cluster_key", "login_server", "login_key"], help_heading = "Server")]
    data: Option<PathBuf>,
    /// Chat server
    #[arg(long, value_name = "HOST:PORT", requires_all = ["server_key", "cluster_key"], help_heading = "Server")]
    server: Option<String>,
    /// Public key of the chat server, 64 hexadecimal digits
    #[arg(long, value_name = "HEX", requires = "server", value_parser = parse_key, help_heading = "Server")]
    server_key: Option<PublicKey>,
    /// File with the cluster's key, for making tickets
    #[arg(long, value_name = "FILE", requires = "server", help_heading = "Server")]
    cluster_key: Option<PathBuf>,
    /// Login server, for the attacks on it; without it they are left out
    #[arg(long, value_name = "HOST:PORT", requires = "login_key", help_heading = "Server")]
    login_server: Option<String>,
    /// Public key of the login server, 64 hexadecimal digits
    #[arg(long, value_name = "HEX", requires = "login_server", value_parser = parse_key, help_heading = "Server")]
    login_key: Option<PublicKey>,
    /// Process of the chat server, whose CPU time is recorded; found by itself with --data
    #[arg(long, value_name = "PID", help_heading = "Server")]
    server_pid: Option<u32>,
    #[arg(long, value_name = "NAMES", value_delimiter = ',', help = format!("Attacks to run, of {} [default: all]", names()))]
    attacks: Vec<String>,
    /// Honest clients, half of them in the attacker's room
    #[arg(long, value_name = "N", default_value_t = 200, value_parser = clap::value_parser!(u32).range(CLIENTS_MIN..=CLIENTS_MAX))]
    clients: u32,
    /// Messages a second of all honest clients together
    #[arg(long, value_name = "N", default_value_t = 100.0)]
    rate: f64,
    /// Newcomers a second that enter, ask, are answered and leave
    #[arg(long, value_name = "N", default_value_t = 5.0)]
    newcomers: f64,
    /// Bytes of each message
    #[arg(long, value_name = "BYTES", default_value_t = 128)]
    payload: usize,
    /// Counted time of each phase
    #[arg(long, value_name = "TIME", default_value = "5s", value_parser = parse_duration)]
    duration: Duration,
    /// Counted time of each quiet phase, if it is not that of the others
    #[arg(long, value_name = "TIME", value_parser = parse_duration)]
    quiet_duration: Option<Duration>,
    /// Time of each phase before the counted one, and pause after each phase
    #[arg(long, value_name = "TIME", default_value = "500ms", value_parser = parse_duration)]
    lead: Duration,
    /// Longest time after a phase without another of its messages
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = parse_duration)]
    drain: Duration,
    /// Longest way in of a newcomer; later ones count as not admitted
    #[arg(long, value_name = "TIME", default_value = "5s", value_parser = parse_duration)]
    enter_timeout: Duration,
    /// Phases with the attack; a quiet phase comes before each, and one after the last
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=ROUNDS_MAX))]
    rounds: u32,
    /// Connections of the attacks slowloris, guess and seats
    #[arg(long, value_name = "N", default_value_t = 300, value_parser = clap::value_parser!(u32).range(1..=SOCKETS_MAX))]
    sockets: u32,
    /// Bytes a second that the victim of whisper-slow reads
    #[arg(long, value_name = "BYTES", default_value_t = 40_000, value_parser = clap::value_parser!(u32).range(1_000..))]
    slow_rate: u32,
    /// Side of the server's sectors, its `chat.sector_size`
    #[arg(long, value_name = "UNITS", default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    sector_size: u32,
    /// Address of this machine that attackers connect from, as in 127.0.0.2, for a server that
    /// exempts only others from its limits
    #[arg(long, value_name = "ADDRESS")]
    attack_from: Option<IpAddr>,
    /// Most by which the p99 of clients in the other room may grow, as a factor
    #[arg(long, value_name = "FACTOR", default_value_t = Limits::default().other, help_heading = "Result")]
    max_other: f64,
    /// Most by which the p99 of clients in the attacker's room may grow, as a factor
    #[arg(long, value_name = "FACTOR", default_value_t = Limits::default().same, help_heading = "Result")]
    max_same: f64,
    /// Most by which newcomers' p99 may grow
    #[arg(long, value_name = "TIME", default_value = "50ms", value_parser = parse_duration, help_heading = "Result")]
    max_enter: Duration,
    /// Least share of newcomers that must get in in time, in percent
    #[arg(long, value_name = "PERCENT", default_value_t = 100.0 * Limits::default().entered, help_heading = "Result")]
    min_entered: f64,
    /// Most messages that may be missing and not announced, in all phases of an attack
    #[arg(long, value_name = "N", default_value_t = Limits::default().missing, help_heading = "Result")]
    max_missing: u64,
    /// Exit with 4 if the latencies are not valid evidence (harness overloaded or late)
    #[arg(long, help_heading = "Result")]
    require_valid: bool,
    /// Seed of every random choice; drawn, and reported, unless given
    #[arg(long, value_name = "N")]
    seed: Option<u64>,
    /// Write the report to this file as JSON
    #[arg(long, value_name = "FILE", help_heading = "Result")]
    json: Option<PathBuf>,
    /// Write the report to this file as a self-contained web page
    #[arg(long, value_name = "FILE", help_heading = "Result")]
    html: Option<PathBuf>,
}

fn names() -> String {
    Attack::all().map(Attack::name).collect::<Vec<_>>().join(", ")
}

impl RawAbuse {
    pub(super) fn check(self) -> Result<AbuseJob, String> {
        let (target, login) = self.targets();
        let attacks = self.chosen(login.is_some())?;
        for (flag, rate, least) in [("--rate", self.rate, 0.1), ("--newcomers", self.newcomers, 0.0)] {
            if !(least..=RATE_MAX).contains(&rate) {
                return Err(format!("{flag} {rate} is not from {least} to {RATE_MAX}"));
            }
        }
        if !(PAYLOAD_MIN..=PAYLOAD_MAX).contains(&self.payload) {
            return Err(format!("--payload {} is not from {PAYLOAD_MIN} to {PAYLOAD_MAX}", self.payload));
        }
        let quiet_duration = self.quiet_duration.unwrap_or(self.duration);
        for (flag, time) in [("--duration", self.duration), ("--quiet-duration", quiet_duration)] {
            if time.is_zero() || time + self.lead > DURATION_MAX {
                let longest = format_duration(DURATION_MAX);
                return Err(format!("{flag} must be above 0s, and with --lead at most {longest}"));
            }
        }
        let longer = self.duration.max(quiet_duration);
        let messages = self.rate * (longer + self.lead).as_secs_f64();
        if messages * f64::from(self.clients) > PAIRS_MAX as f64 {
            return Err(format!(
                "--clients, --rate and --duration make more than {PAIRS_MAX} deliveries in a phase: use less of one"
            ));
        }
        if self.enter_timeout.is_zero() {
            return Err("--enter-timeout 0s lets no newcomer in: use some seconds".into());
        }
        for (flag, factor) in [("--max-other", self.max_other), ("--max-same", self.max_same)] {
            if !(factor > 0.0 && factor.is_finite()) {
                return Err(format!("{flag} {factor} is no factor: write 1.10 for 10 % more"));
            }
        }
        if !(0.0..=100.0).contains(&self.min_entered) {
            return Err(format!("--min-entered {} is no share: write 0 to 100", self.min_entered));
        }
        if self.json.is_some() && self.json == self.html {
            return Err("--json and --html name the same file: one would replace the other".into());
        }
        Ok(AbuseJob {
            attacks,
            target,
            login,
            server_pid: self.server_pid,
            clients: self.clients,
            rate: self.rate,
            newcomers: self.newcomers,
            payload: self.payload,
            duration: self.duration,
            quiet_duration,
            lead: self.lead,
            drain: self.drain,
            enter_timeout: self.enter_timeout,
            rounds: self.rounds,
            sockets: self.sockets,
            slow_rate: self.slow_rate,
            sector_size: self.sector_size,
            attack_from: self.attack_from,
            limits: Limits {
                other: self.max_other,
                same: self.max_same,
                full_line: full_line(self.slow_rate),
                enter: self.max_enter,
                entered: self.min_entered / 100.0,
                missing: self.max_missing,
            },
            require_valid: self.require_valid,
            seed: self.seed.unwrap_or_else(rand::random),
            json: self.json,
            html: self.html,
        })
    }

    /// The chat server, and the login server if it is known.
    fn targets(&self) -> (TargetSource, Option<TargetSource>) {
        let (Some(server), Some(server_key)) = (&self.server, self.server_key) else {
            let both = TargetSource::Data(self.data.clone().unwrap_or_else(default_data));
            return (both.clone(), Some(both));
        };
        let flags = |server: &String, server_key, cluster_key| TargetSource::Flags {
            server: server.clone(),
            server_key,
            cluster_key,
        };
        let login = self.login_server.as_ref().zip(self.login_key);
        let login = login.map(|(server, key)| flags(server, key, None));
        (flags(server, server_key, self.cluster_key.clone()), login)
    }

    /// The attacks named, or all; without a login server those that need none.
    fn chosen(&self, has_login: bool) -> Result<Vec<Attack>, String> {
        if self.attacks.is_empty() {
            return Ok(Attack::all().filter(|attack| has_login || !attack.is_on_login()).collect());
        }
        let mut chosen = Vec::new();
        for name in &self.attacks {
            let Some(attack) = Attack::named(name.trim()) else {
                return Err(format!("--attacks: there is no `{name}`; choose from {}", names()));
            };
            if attack.is_on_login() && !has_login {
                return Err(format!("--attacks {name} needs --login-server and --login-key, or --data"));
            }
            if chosen.contains(&attack) {
                return Err(format!("--attacks names {name} twice"));
            }
            chosen.push(attack);
        }
        Ok(chosen)
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Parsed, Task, parse};
    use super::*;

    fn abuse(line: &str) -> Result<AbuseJob, String> {
        let words = ["throng-harness", "abuse"].into_iter().chain(line.split_whitespace());
        match parse(words.map(Into::into).collect()) {
            Ok(Parsed { task: Task::Abuse(job), .. }) => Ok(job),
            Ok(other) => panic!("{other:?}"),
            Err(error) => Err(error.to_string()),
        }
    }

    const KEY: &str = "0102030405060708090a0b0c0d0e0f100102030405060708090a0b0c0d0e0f10";

    #[test]
    fn all_attacks_with_a_data_directory() {
        let job = abuse("--data d").expect("complete");
        assert_eq!(job.attacks, Attack::all().collect::<Vec<_>>());
        assert_eq!((&job.target, &job.login), (&TargetSource::Data("d".into()), &Some(job.target.clone())));
        assert_eq!((job.clients, job.rounds, job.limits), (200, 3, Limits::default()));
        let seconds =
            |line| abuse(line).map(|job| [job.duration, job.quiet_duration].map(|time| time.as_secs()));
        assert_eq!(seconds("--data d --duration 7s"), Ok([7, 7]));
        assert_eq!(seconds("--data d --quiet-duration 1s"), Ok([5, 1]));
    }

    #[test]
    fn servers_by_hand() {
        let chat = format!("--server h:1 --server-key {KEY} --cluster-key k");
        let job = abuse(&chat).expect("complete");
        assert!(job.login.is_none() && job.attacks.iter().all(|attack| !attack.is_on_login()));
        let job = abuse(&format!("{chat} --login-server h:2 --login-key {KEY} --attacks seats,kick"));
        assert_eq!(job.expect("complete").attacks, [Attack::Seats, Attack::Kick], "in the given order");
        let error = abuse(&format!("{chat} --attacks guess")).expect_err("without a login server");
        assert!(error.contains("--attacks guess needs --login-server"), "{error}");
    }

    #[test]
    fn bad_values_are_refused() {
        for (more, part) in [
            ("--attacks wrld", "there is no `wrld`; choose from world, "),
            ("--attacks ping,ping", "names ping twice"),
            ("--rate 0", "--rate 0 is not from 0.1 to 10000"),
            ("--newcomers 10001", "--newcomers 10001 is not from 0 to 10000"),
            ("--payload 9", "--payload 9 is not from"),
            ("--duration 0s", "--duration must be above 0s"),
            ("--quiet-duration 0s", "--quiet-duration must be above 0s"),
            ("--clients 10000 --rate 10000", "--clients, --rate and --duration make more than"),
            ("--max-other 0", "--max-other 0 is no factor"),
            ("--max-same NaN", "--max-same NaN is no factor"),
            ("--min-entered 101", "--min-entered 101 is no share"),
            ("--enter-timeout 0s", "--enter-timeout 0s"),
            ("--json a --html a", "name the same file"),
            ("--clients 3", "--clients"),
        ] {
            let error = abuse(&format!("--data d {more}")).expect_err(more);
            assert!(error.contains(part), "{more}: {error}");
        }
    }
}
