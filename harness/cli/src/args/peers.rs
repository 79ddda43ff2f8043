//! Flags of `peers`.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use throng_core::config::{format_duration, parse_duration};
use throng_harness_driver::own_exe::own_exe;
use throng_harness_model::payload::{PAYLOAD_MAX, PAYLOAD_MIN};
use throng_harness_model::schedule::points_in;
use throng_harness_peers::{CASES, Case, PeersJob, System, Times, bare};

use super::examples;

/// Most repetitions.
const REPEAT_MAX: i64 = 100;
/// Longest measurement of a case.
const DURATION_MAX: Duration = Duration::from_mins(10);

#[derive(Debug, Args)]
#[command(next_help_heading = "Systems and cases", after_help = examples::PEERS)]
pub(super) struct RawPeers {
    /// Systems to measure, of throng, redis, nats, inspircd, mosquitto, uwebsockets
    #[arg(
        long,
        value_name = "NAMES",
        value_delimiter = ',',
        default_value = "throng,redis,nats,inspircd,mosquitto,uwebsockets"
    )]
    systems: Vec<String>,
    /// Cases to measure, by their letters
    #[arg(long, value_name = "LETTERS", value_delimiter = ',', default_value = "A,B,C,D,E,F,G,H")]
    cases: Vec<String>,
    /// Time that messages are measured in each case
    #[arg(long, value_name = "TIME", default_value = "6s", value_parser = parse_duration)]
    duration: Duration,
    /// Time that messages are sent before the measurement
    #[arg(long, value_name = "TIME", default_value = "500ms", value_parser = parse_duration)]
    warmup: Duration,
    /// Silence between warm-up and measurement, in which a server catches up
    #[arg(long, value_name = "TIME", default_value = "1s", value_parser = parse_duration)]
    pause: Duration,
    /// Longest wait for outstanding deliveries after the last message
    #[arg(long, value_name = "TIME", default_value = "3s", value_parser = parse_duration)]
    drain: Duration,
    /// Repetitions of everything; the report has medians
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=REPEAT_MAX))]
    repeat: u32,
    /// Bytes of each message
    #[arg(long, value_name = "BYTES", default_value_t = 128)]
    payload: usize,
    /// Core for the servers
    #[arg(long, value_name = "CORE", default_value_t = 0)]
    server_core: usize,
    /// Core for the harness
    #[arg(long, value_name = "CORE", default_value_t = 1)]
    client_core: usize,
    /// Seed of every random choice; drawn, and reported, unless given
    #[arg(long, value_name = "N")]
    seed: Option<u64>,
    /// Time after which no case may end; a case that could is not started
    #[arg(long, value_name = "TIME", default_value = "35m", value_parser = parse_duration)]
    limit: Duration,
    /// Write the report to this file as JSON
    #[arg(long, value_name = "FILE", help_heading = "Result")]
    json: Option<PathBuf>,
    /// Write the report to this file as a self-contained web page
    #[arg(long, value_name = "FILE", help_heading = "Result")]
    html: Option<PathBuf>,
    /// Path of the program `throng` [default: beside this program]
    #[arg(long, value_name = "PATH")]
    throng: Option<PathBuf>,
}

impl RawPeers {
    pub(super) fn check(self) -> Result<PeersJob, String> {
        let systems = self.systems.iter().map(|name| {
            System::named(name.trim()).ok_or_else(|| {
                let all: Vec<_> = System::all().map(System::name).collect();
                format!("--systems: there is no `{name}`; choose from {}", all.join(", "))
            })
        });
        let systems = distinct("--systems", systems.collect::<Result<Vec<_>, _>>()?)?;
        let cases = self.cases.iter().map(|letter| {
            Case::named(letter).ok_or_else(|| format!("--cases: there is no `{letter}`; choose from A to H"))
        });
        let mut cases = distinct("--cases", cases.collect::<Result<Vec<_>, _>>()?)?;
        cases.sort_by_key(|case| CASES.iter().position(|other| other == case));
        if self.duration.is_zero() || self.duration > DURATION_MAX {
            return Err(format!("--duration must be above 0s and at most {}", format_duration(DURATION_MAX)));
        }
        if cases.iter().filter_map(Case::interval).any(|interval| points_in(self.warmup, interval).is_none())
        {
            return Err("--warmup is too long: one second is enough".into());
        }
        if !(PAYLOAD_MIN..=PAYLOAD_MAX).contains(&self.payload) {
            return Err(format!("--payload {} is not from {PAYLOAD_MIN} to {PAYLOAD_MAX}", self.payload));
        }
        if self.json.is_some() && self.json == self.html {
            return Err("--json and --html name the same file: one would replace the other".into());
        }
        for system in &systems {
            if let System::Peer(peer) = system
                && self.payload > peer.payload_max()
            {
                return Err(format!(
                    "--payload {} is too large for {}, whose messages have at most {} bytes: use less, or leave the system out with --systems",
                    self.payload,
                    peer.name(),
                    peer.payload_max()
                ));
            }
        }
        Ok(PeersJob {
            systems,
            cases,
            times: Times {
                warmup: self.warmup,
                pause: self.pause,
                duration: self.duration,
                drain: self.drain,
            },
            repeat: self.repeat,
            payload: self.payload,
            server_core: self.server_core,
            client_core: self.client_core,
            seed: self.seed.unwrap_or_else(rand::random),
            limit: self.limit,
            json: self.json,
            html: self.html,
            throng: self.throng,
            bare: own_exe().ok(),
        })
    }
}

fn distinct<T: PartialEq + std::fmt::Debug>(flag: &str, values: Vec<T>) -> Result<Vec<T>, String> {
    for (place, value) in values.iter().enumerate() {
        if values[..place].contains(value) {
            return Err(format!("{flag} names {value:?} twice"));
        }
    }
    Ok(values)
}

/// The hidden subcommand of the bare writer.
#[derive(Debug, Args)]
pub(super) struct RawWriter {
    /// Sockets to accept, and to write to in turn
    #[arg(long)]
    sockets: u32,
    /// Bytes of each write, or of each message if there is an interval
    #[arg(long)]
    bytes: usize,
    /// Milliseconds of writing
    #[arg(long)]
    millis: u64,
    /// Microseconds between two messages to all sockets; 0 to write as fast as possible
    #[arg(long, default_value_t = 0)]
    interval_us: u64,
}

impl From<RawWriter> for bare::Writer {
    fn from(raw: RawWriter) -> Self {
        let RawWriter { sockets, bytes, millis, interval_us } = raw;
        Self { sockets, bytes, millis, interval_us }
    }
}
