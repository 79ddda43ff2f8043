//! Jobs: checked command lines, and the settings of scenarios.

use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::audiences::{Audiences, ScopeMix};
use super::bots::{Manner, Pauses};
use super::clock::nanos;
use super::cuts::CutPattern;
use super::identity::Seeded;
use super::limits::MESSAGES_MAX;
use super::target::{Entrance, TargetSource};
use super::threshold::Threshold;

/// The most messages drawn with an adjustable rate, as a multiple of the planned ones.
const ADJUSTABLE_FACTOR_MAX: u32 = 8;
/// The most messages drawn beside the planned ones; each takes some 30 bytes a worker.
const ADJUSTABLE_EXTRA_MAX: u32 = 1_000_000;

/// The number of clients that keep their lists in a sample.
const SAMPLE: u32 = 32;

/// A scenario with its settings.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Scenario {
    /// Clients enter with tickets and stay.
    Connect(Connect),
    /// Players log in and enter.
    Login(Login),
    /// All clients enter, then random clients send messages to all.
    Broadcast(Broadcast),
    /// All clients enter, then they talk like people.
    Bots(Bots),
}

/// A checked command line: its values are consistent with each other.
///
/// Serialized for other processes of the harness, a job lacks the fields that only the reporting
/// process needs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Job {
    /// The scenario.
    pub scenario: Scenario,
    /// The servers to run against.
    pub target: TargetSource,
    /// The server's process, if it is named.
    pub server_pid: Option<u32>,
    /// Clients, at least 1.
    pub clients: u32,
    /// The time between the starts of two connections.
    pub connect_interval: Duration,
    /// The longest time to enter.
    pub connect_timeout: Duration,
    /// Event-loop threads of each process, from 1. All processes together have at most one for each
    /// client.
    pub workers: u32,
    /// Processes that the clients are dealt to; with 1 they run in this one.
    pub processes: u32,
    /// Local addresses that clients connect from; none for as many as the clients need.
    pub sources: Option<u32>,
    /// The clients that keep the user list.
    pub lists: Lists,
    /// Seed of the traffic.
    pub seed: u64,
    /// The file for the JSON report.
    #[serde(skip)]
    pub json: Option<PathBuf>,
    /// The file for the HTML page; never the JSON file.
    #[serde(skip)]
    pub html: Option<PathBuf>,
    /// The directory for the distributions.
    #[serde(skip)]
    pub hgrm: Option<PathBuf>,
    /// The thresholds, defaults included.
    #[serde(skip)]
    pub thresholds: Vec<Threshold>,
    /// True if progress is printed as lines even in a terminal.
    pub plain: bool,
    /// The position among the steps of a stepped run, for the live view; none for a single run.
    #[serde(skip)]
    pub standing: Option<Box<Standing>>,
    /// True if a run that is not valid fails.
    pub require_valid: bool,
}

impl Scenario {
    /// The scenario's name on the command line.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Connect(_) => "connect",
            Self::Login(_) => "login",
            Self::Broadcast(_) => "broadcast",
            Self::Bots(_) => "bots",
        }
    }

    /// The entrance of the clients.
    pub fn entrance(&self) -> Entrance {
        match self {
            Self::Connect(_) | Self::Broadcast(_) => Entrance::Ticket,
            Self::Login(_) => Entrance::Login,
            Self::Bots(bots) => bots.entrance,
        }
    }

    /// The number of times that each client enters.
    pub fn rounds(&self) -> u32 {
        match self {
            Self::Login(Login { stay: Stay::Leave { rounds }, .. }) => *rounds,
            _ => 1,
        }
    }
}

/// The position of a run among the steps of a stepped run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Standing {
    /// The name of the stepped scenario.
    pub scenario: &'static str,
    /// The current step, as in `step 3 of 6, 50 clients`.
    pub step: String,
    /// The outcomes of the steps before, oldest first.
    pub before: Vec<String>,
}

/// Settings of the connect scenario.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Connect {
    /// The time that clients stay after all have entered.
    pub hold: Duration,
    /// The time in which the rate of connecting grows to its full value.
    pub ramp: Duration,
    /// Clients a second that disconnect and enter again meanwhile.
    pub churn: Option<u32>,
    /// True if all clients disconnect and enter again at the end.
    pub storm: bool,
}

impl Connect {
    /// True if any client disconnects and enters again.
    pub fn reconnects(&self) -> bool {
        self.churn.is_some() || self.storm
    }
}

/// Settings of the login scenario.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Login {
    /// The most players entering at a time, from 1.
    pub in_flight: u32,
    /// The accounts to use; without them each player signs up and creates a character.
    pub seeded: Option<Seeded>,
    /// The stay of the players in the chat.
    pub stay: Stay,
}

/// The stay of players in the chat.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Stay {
    /// Until all have entered, and then for this long.
    Hold(Duration),
    /// Until the player has the user list.
    Leave {
        /// The number of times that each player enters, from 1.
        rounds: u32,
    },
}

/// Settings of the broadcast scenario.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Broadcast {
    /// Messages to send, from 1 to [`MESSAGES_MAX`].
    pub messages: u32,
    /// The time in which they are sent.
    pub duration: Duration,
    /// The interval between two messages; never zero.
    pub interval: Duration,
    /// Bytes of text, from [`PAYLOAD_MIN`](crate::payload::PAYLOAD_MIN) to
    /// [`CHAT_TEXT_MAX`](throng_core::limits::CHAT_TEXT_MAX).
    pub payload: usize,
    /// Clients that may send, from 1 to all.
    pub senders: u32,
    /// The time of sending before counting starts.
    pub warmup: Duration,
    /// The pause after the warm-up, in which a server catches up; only `peers` sets it.
    pub pause: Duration,
    /// The longest wait after the last message.
    pub drain: Duration,
    /// The audiences, churn and impairments.
    pub setting: Setting,
    /// The closed loop of `peers`: the most messages that may be ahead of the slowest client.
    /// `interval` is then that of the warm-up, and `messages` is only an upper bound.
    pub ahead: Option<u32>,
    /// True if the rate may be changed, with
    /// [`SendSchedule::change`](crate::send_schedule::SendSchedule::change). The run then sends the
    /// messages that fall into `duration`; `messages` is their number without a change.
    pub is_adjustable: bool,
    /// True if clients leave in order at the end, and do not just disconnect.
    pub leave: bool,
}

impl Broadcast {
    /// The number of messages to draw: for an adjustable rate as many as it may come to. The
    /// planned messages are the first of them.
    pub fn messages_drawn(&self) -> u32 {
        if !self.is_adjustable {
            return self.messages;
        }
        let adjustable = self
            .messages
            .saturating_mul(ADJUSTABLE_FACTOR_MAX)
            .min(self.messages.saturating_add(ADJUSTABLE_EXTRA_MAX));
        adjustable.min(MESSAGES_MAX.max(self.messages))
    }
}

/// The audiences, churn and impairments of a broadcast.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Setting {
    /// The scopes of messages.
    pub speech: ScopeMix,
    /// Channels; 0 without any.
    pub channels: u32,
    /// The side of the square of sectors, in sectors; 0 without any.
    pub side: u32,
    /// The side of a sector, in the game's units.
    pub sector_size: u32,
    /// Joins and leaves of channels a second.
    pub churn: Option<u32>,
    /// Moves a second.
    pub moves: Option<u32>,
    /// Clients that stop reading.
    pub deaf: u32,
    /// The time for which they stop; none for the rest of the run.
    pub deaf_for: Option<Duration>,
    /// Clients that read slowly.
    pub slow: u32,
    /// Bytes that each of them reads a second.
    pub slow_rate: u32,
    /// Clients whose connections are cut, and that resume; none without any.
    pub cut: Option<CutPattern>,
    /// True if clients resume after they have lost their connections, for whatever reason.
    pub resume: bool,
}

impl Setting {
    /// The number of clients that may speak, out of `clients`: the first ones, which stay and read.
    pub fn speakers(&self, clients: u32) -> u32 {
        if self.is_restless() { clients / 2 } else { clients - self.deaf - self.slow }
    }

    /// True if half of the clients join and leave channels, or move.
    pub fn is_restless(&self) -> bool {
        self.churn.is_some() || self.moves.is_some()
    }

    /// The audiences of `clients` clients in this setting.
    pub fn audiences(&self, clients: u32, seed: u64) -> Audiences {
        Audiences::new(clients, self.speech, self.channels, self.side, self.sector_size, seed)
    }
}

/// Settings of the bots scenario.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bots {
    /// The length of the conversation: at least the longest pause, so that each bot says something.
    pub duration: Duration,
    /// The pauses and the languages.
    pub manner: Manner,
    /// The entrance of the bots.
    pub entrance: Entrance,
    /// The longest wait after the last message.
    pub drain: Duration,
}

impl Bots {
    /// The longest conversation in which `clients` bots cannot exceed [`MESSAGES_MAX`] messages.
    pub fn longest(clients: u32, pauses: Pauses) -> Duration {
        let turns = u64::from(MESSAGES_MAX / clients.max(1)).saturating_sub(1);
        Duration::from_nanos(nanos(pauses.min).saturating_mul(turns))
    }
}

/// The clients that keep the user list by pages and notices.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Lists {
    /// All of them.
    All,
    /// A sample; the other clients fetch the pages once.
    #[default]
    Sample,
    /// None; clients request no page after the first.
    None,
}

impl Lists {
    /// Returns true if a client out of `clients` keeps the list.
    pub fn keeps(self, client: u32, clients: u32) -> bool {
        match self {
            Self::All => true,
            Self::Sample => client.is_multiple_of(clients.div_ceil(SAMPLE)),
            Self::None => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sample_is_spread_over_all_clients() {
        let kept = |clients| (0..clients).filter(|client| Lists::Sample.keeps(*client, clients)).count();
        assert_eq!((kept(1), kept(32), kept(33), kept(10_000)), (1, 32, 17, 32));
        assert!(Lists::All.keeps(7, 8) && !Lists::None.keeps(0, 8));
    }
}
