//! What to run: a command line that has been checked, and how scenarios are set.

use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::audiences::{Audiences, ScopeMix};
use super::bots::{Manner, Pauses};
use super::clock::nanos;
use super::identity::Seeded;
use super::limits::MESSAGES_MAX;
use super::target::{Entrance, TargetSource};
use super::threshold::Threshold;

/// How many times as many messages there are at most where the rate may change.
const FASTER_MAX: u32 = 8;
/// Messages drawn for that at most, beside those that are planned: each takes some 30 bytes a worker.
const FASTER_MESSAGES: u32 = 1_000_000;

/// Clients that keep their lists when not all do.
const SAMPLE: u32 = 32;

/// What to run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Scenario {
    /// Clients enter with tickets and stay.
    Connect(Connect),
    /// Players log in and enter.
    Login(Login),
    /// Everybody enters, then random clients talk to all.
    Broadcast(Broadcast),
    /// Everybody enters, then they talk like people.
    Bots(Bots),
}

/// A command line that has been checked: whatever is in it makes sense together.
///
/// Written down, for other processes of the harness, it is without what only the one that reports needs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
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
    /// Event-loop threads in each process, from 1; over all processes at most as many as clients.
    pub workers: u32,
    /// Processes that the clients are dealt to; with 1 they are in this one.
    pub processes: u32,
    /// Addresses of ours that clients connect from; none for as many as their number needs.
    pub sources: Option<u32>,
    /// Who keeps the user list.
    pub lists: Lists,
    /// What decides the traffic.
    pub seed: u64,
    /// Where the JSON report goes.
    #[serde(skip)]
    pub json: Option<PathBuf>,
    /// Where the report goes as a page; never where the JSON goes.
    #[serde(skip)]
    pub html: Option<PathBuf>,
    /// The directory for the distributions.
    #[serde(skip)]
    pub hgrm: Option<PathBuf>,
    /// What must hold, defaults included.
    #[serde(skip)]
    pub thresholds: Vec<Threshold>,
    /// Whether progress is shown as lines even in a terminal.
    pub plain: bool,
    /// Where the steps stand that it is one of, if there are several: for the picture of it.
    #[serde(skip)]
    pub standing: Option<Box<Standing>>,
    /// Whether a run that is not valid fails.
    pub require_valid: bool,
}

impl Scenario {
    /// The name on the command line.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Connect(_) => "connect",
            Self::Login(_) => "login",
            Self::Broadcast(_) => "broadcast",
            Self::Bots(_) => "bots",
        }
    }

    /// How its clients get in.
    pub fn entrance(&self) -> Entrance {
        match self {
            Self::Connect(_) | Self::Broadcast(_) => Entrance::Ticket,
            Self::Login(_) => Entrance::Login,
            Self::Bots(bots) => bots.entrance,
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

/// Where several runs stand, one of which is shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Standing {
    /// The name of the scenario that they are steps of.
    pub scenario: &'static str,
    /// Which one it is, as in `step 3 of 6, 50 clients`.
    pub step: String,
    /// What became of those before it, oldest first.
    pub before: Vec<String>,
}

/// The connect scenario's own settings.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Connect {
    /// How long everybody stays once all are in.
    pub hold: Duration,
    /// How long connecting takes to come to its rate.
    pub ramp: Duration,
    /// Clients that hang up and come again a second meanwhile.
    pub churn: Option<u32>,
    /// Whether everybody does in the end.
    pub storm: bool,
}

impl Connect {
    /// Whether anybody comes again.
    pub fn reconnects(&self) -> bool {
        self.churn.is_some() || self.storm
    }
}

/// The login scenario's own settings.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Login {
    /// Most players on their way in at a time, from 1.
    pub in_flight: u32,
    /// The accounts that exist; without them each player signs up and creates a character.
    pub seeded: Option<Seeded>,
    /// What they do in the chat.
    pub stay: Stay,
}

/// How long players stay in the chat.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
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
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Broadcast {
    /// Messages to send, from 1 to [`MESSAGES_MAX`].
    pub messages: u32,
    /// Time for sending them.
    pub duration: Duration,
    /// Time between two of them; never zero.
    pub interval: Duration,
    /// Bytes of text, from [`PAYLOAD_MIN`](crate::payload::PAYLOAD_MIN) to [`CHAT_TEXT_MAX`](throng_core::limits::CHAT_TEXT_MAX).
    pub payload: usize,
    /// Clients that may send, from 1 to all.
    pub senders: u32,
    /// Time of sending before counting begins.
    pub warmup: Duration,
    /// Silence after that, in which a server catches up; only `peers` has any.
    pub pause: Duration,
    /// Longest wait after the last message.
    pub drain: Duration,
    /// Whom they are for, who comes and goes, and who does not read.
    pub setting: Setting,
    /// For a closed loop, which `peers` has: messages that may be ahead of the slowest client. Then
    /// `interval` is that of the warm-up, and `messages` is only a bound.
    pub ahead: Option<u32>,
    /// Whether somebody may change how often messages are sent, with [`SendSchedule::change`](crate::send_schedule::SendSchedule::change). Then there are
    /// as many as have their turn in `duration`, and `messages` is what there are if nobody does.
    pub is_adjustable: bool,
    /// Whether everybody leaves in order at the end, and not by just hanging up.
    pub leave: bool,
}

impl Broadcast {
    /// How many messages are drawn: with a rate that may change as many as it could come to. The first ones are the same.
    pub fn messages_drawn(&self) -> u32 {
        if !self.is_adjustable {
            return self.messages;
        }
        let faster =
            self.messages.saturating_mul(FASTER_MAX).min(self.messages.saturating_add(FASTER_MESSAGES));
        faster.min(MESSAGES_MAX.max(self.messages))
    }
}

/// Whom messages are for, who comes and goes meanwhile, and who does not read.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Setting {
    /// Whom messages are for.
    pub speech: ScopeMix,
    /// Channels, if there are any.
    pub channels: u32,
    /// The side of the square of sectors, in sectors, if there are any.
    pub side: u32,
    /// The side of a sector, in the game's units.
    pub sector_size: u32,
    /// Joinings and leavings a second.
    pub churn: Option<u32>,
    /// Moves a second.
    pub moves: Option<u32>,
    /// Clients that stop reading.
    pub deaf: u32,
    /// For how long; none for the rest of the run.
    pub deaf_for: Option<Duration>,
    /// Clients that read slowly.
    pub slow: u32,
    /// Bytes that each of them reads a second.
    pub slow_rate: u32,
}

impl Setting {
    /// Clients that may speak, of so many: the first ones, who stay and who hear.
    pub fn speakers(&self, clients: u32) -> u32 {
        if self.is_restless() { clients / 2 } else { clients - self.deaf - self.slow }
    }

    /// Whether half of the clients come and go, or move.
    pub fn is_restless(&self) -> bool {
        self.churn.is_some() || self.moves.is_some()
    }

    /// So many clients in this setting.
    pub fn audiences(&self, clients: u32, seed: u64) -> Audiences {
        Audiences::new(clients, self.speech, self.channels, self.side, self.sector_size, seed)
    }
}

/// The settings of the scenario with bots.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bots {
    /// How long they talk: at least as long as their longest pause, so that each says something.
    pub duration: Duration,
    /// How.
    pub manner: Manner,
    /// How they get in.
    pub entrance: Entrance,
    /// Longest wait after the last message.
    pub drain: Duration,
}

impl Bots {
    /// How long `clients` bots may talk until they might have said more than [`MESSAGES_MAX`] messages.
    pub fn longest(clients: u32, pauses: Pauses) -> Duration {
        let turns = u64::from(MESSAGES_MAX / clients.max(1)).saturating_sub(1);
        Duration::from_nanos(nanos(pauses.min).saturating_mul(turns))
    }
}

/// Which clients keep the user list, by pages and notices.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Lists {
    /// All of them.
    All,
    /// Some; the others fetch the pages once.
    #[default]
    Sample,
    /// None, and nobody asks for a page after the first.
    None,
}

impl Lists {
    /// Whether a client of so many keeps it.
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
    fn a_sample_is_spread_over_all() {
        let kept = |clients| (0..clients).filter(|client| Lists::Sample.keeps(*client, clients)).count();
        assert_eq!((kept(1), kept(32), kept(33), kept(10_000)), (1, 32, 17, 32));
        assert!(Lists::All.keeps(7, 8) && !Lists::None.keeps(0, 8));
    }
}
