//! Flags of `broadcast` about scopes, clients that move or read slowly, and cut connections.

use std::time::Duration;

use clap::{Args, ValueEnum};
use throng_core::config::parse_duration;
use throng_harness_model::audiences::{ScopeMix, side_for};
use throng_harness_model::cuts::CutPattern;
use throng_harness_model::spec::Setting;

/// Mean size of a nearby audience, unless `--audience` says otherwise.
const AUDIENCE: u32 = 50;
/// Channels, unless `--channels` says otherwise.
const CHANNELS: u32 = 10;
/// Most sectors.
const SECTORS_MAX: u32 = 1_000_000;

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum RawScope {
    /// All clients in the chat
    World,
    /// The members of the sender's channel
    Channel,
    /// The clients in the sender's sector and in the eight around it
    Nearby,
    /// One other client
    Whisper,
    /// Each message in one of the four
    Mixed,
}

#[derive(Debug, Args)]
#[command(next_help_heading = "Scope, moves, slow readers and cuts")]
pub(super) struct RawSetting {
    /// Scope of the messages
    #[arg(long, value_name = "SCOPE", default_value = "world")]
    scope: RawScope,
    /// Channels that clients are spread over (with --scope channel or mixed) [default: 10]
    #[arg(long, value_name = "K", value_parser = clap::value_parser!(u32).range(1..))]
    channels: Option<u32>,
    /// Mean recipients of a nearby message; sets the number of sectors (with --scope nearby or
    /// mixed) [default: 50]
    #[arg(long, value_name = "N", conflicts_with = "sectors", value_parser = clap::value_parser!(u32).range(1..))]
    audience: Option<u32>,
    /// Sectors, instead of as many as --audience needs; rounded up to a square
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=i64::from(SECTORS_MAX)))]
    sectors: Option<u32>,
    /// Side of a sector, equal to the server's chat.sector_size
    #[arg(long, value_name = "UNITS", default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    sector_size: u32,
    /// Channel joins and leaves a second, of all clients together, while messages flow; half of the
    /// clients stay and send, the others join and leave (with --scope channel or mixed)
    #[arg(long, value_name = "N/s", value_parser = parse_rate)]
    churn: Option<u32>,
    /// Moves to a neighboring sector a second, of all clients together, while messages flow; half
    /// of the clients stay and send, the others move (with --scope nearby or mixed)
    #[arg(long, value_name = "N/s", value_parser = parse_rate)]
    moves: Option<u32>,
    /// Clients that stop reading at the start of the measurement
    #[arg(long, value_name = "N", default_value_t = 0)]
    deaf: u32,
    /// Time until they read again [default: never]
    #[arg(long, value_name = "TIME", requires = "deaf", value_parser = parse_duration)]
    deaf_for: Option<Duration>,
    /// Clients that read slowly
    #[arg(long, value_name = "N", default_value_t = 0)]
    slow: u32,
    /// Bytes that each slow client reads a second
    #[arg(long, value_name = "BYTES", requires = "slow", default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(1..))]
    slow_rate: u32,
    /// Clients whose connection is cut each second while messages flow, as in 2%/s; or `all`, once
    #[arg(
        long, value_name = "RATE", requires = "resume",
        conflicts_with_all = ["churn", "moves", "deaf", "slow"]
    )]
    cut: Option<CutPattern>,
    /// Clients that lose their connections, by --cut or with their server, resume their places over
    /// new ones; in a fleet at another server
    #[arg(long, conflicts_with_all = ["churn", "moves", "deaf", "slow"])]
    resume: bool,
}

pub(super) fn parse_rate(text: &str) -> Result<u32, String> {
    let number = text.strip_suffix("/s").unwrap_or(text);
    match number.trim().parse() {
        Ok(rate) if (1..=100_000).contains(&rate) => Ok(rate),
        _ => Err(format!("`{text}` is not a rate: write a number from 1 to 100000, as in 1000/s")),
    }
}

impl RawSetting {
    pub(super) fn check(&self, clients: u32) -> Result<Setting, String> {
        let speech = match self.scope {
            RawScope::World => ScopeMix::World,
            RawScope::Channel => ScopeMix::Channel,
            RawScope::Nearby => ScopeMix::Nearby,
            RawScope::Whisper => ScopeMix::Whisper,
            RawScope::Mixed => ScopeMix::Mixed,
        };
        let (channels, places) = (speech.has_channels(), speech.has_places());
        for (is_given, is_of_use, flag, scope) in [
            (self.channels.is_some(), channels, "--channels", "channel"),
            (self.churn.is_some(), channels, "--churn", "channel"),
            (self.audience.is_some(), places, "--audience", "nearby"),
            (self.sectors.is_some(), places, "--sectors", "nearby"),
            (self.moves.is_some(), places, "--moves", "nearby"),
        ] {
            if is_given && !is_of_use {
                return Err(format!("{flag} needs --scope {scope} or --scope mixed"));
            }
        }
        if self.resume && places {
            return Err(
                "--resume needs --scope world, channel or whisper: nearby messages are not kept for \
                 clients that resume"
                    .into(),
            );
        }
        if self.deaf.saturating_add(self.slow) >= clients {
            return Err(format!(
                "--deaf {} and --slow {} leave none of --clients {clients} to send and receive",
                self.deaf, self.slow
            ));
        }
        let whole = |count: u32| count.max(1).isqrt() + u32::from(!is_square(count.max(1)));
        let setting = Setting {
            speech,
            channels: if channels { self.channels.unwrap_or(CHANNELS.min(clients)) } else { 0 },
            side: match self.sectors {
                _ if !places => 0,
                Some(sectors) => whole(sectors),
                None => side_for(clients, self.audience.unwrap_or(AUDIENCE)),
            },
            sector_size: self.sector_size,
            churn: self.churn,
            moves: self.moves,
            deaf: self.deaf,
            deaf_for: self.deaf_for,
            slow: self.slow,
            slow_rate: self.slow_rate,
            cut: self.cut.filter(|_| self.resume),
            resume: self.resume,
        };
        let speakers = setting.speakers(clients);
        if setting.is_restless() && speakers + setting.deaf + setting.slow >= clients {
            return Err("with --churn or --moves half of the clients do not send: --deaf and \
                 --slow must be fewer"
                .into());
        }
        if setting.moves.is_some() && setting.side < 2 {
            return Err("--moves needs more than one sector: use a smaller --audience, or --sectors".into());
        }
        if setting.channels > speakers {
            return Err(format!(
                "--channels {} for {speakers} clients that send: each channel needs one that stays in it",
                setting.channels
            ));
        }
        if speech == ScopeMix::Whisper && clients < 2 {
            return Err("--scope whisper needs two clients at least".into());
        }
        Ok(setting)
    }
}

fn is_square(count: u32) -> bool {
    count.isqrt().pow(2) == count
}
