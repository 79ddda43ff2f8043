//! The attacks: their names, and the room that each is about.

use std::fmt;

/// The room of the honest clients whose messages share it with the attack.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Room {
    /// The whole chat, honest clients of other rooms included.
    World,
    /// A channel, of which the attacker is a member.
    Channel,
    /// Neighboring sectors, the attacker's among them.
    Nearby,
    /// Whispers to one client, the victim.
    Victim,
}

/// An attack by one connection, or by a few.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Attack {
    /// One-byte messages to all.
    World,
    /// Messages of 1,000 bytes to all.
    WorldLarge,
    /// One-byte nearby messages.
    Nearby,
    /// Whispers of 1,000 bytes to one client.
    Whisper,
    /// Whispers of 1,000 bytes to a client on a slow line.
    WhisperSlow,
    /// Requests for the user list.
    Lists,
    /// Requests for the channel list.
    ChannelLists,
    /// Channels made and left.
    Create,
    /// Joins and leaves of a channel.
    Join,
    /// An owner that kicks an accomplice, which comes back.
    Kick,
    /// Position updates, each in another sector.
    Positions,
    /// Pings.
    Ping,
    /// Unasked heartbeat answers.
    Heartbeat,
    /// Members that never read.
    Deaf,
    /// Connections that end after their handshake.
    Handshakes,
    /// Connections that never finish their handshake.
    Slowloris,
    /// Logins with wrong passwords.
    Guess,
    /// Connections to the login server that stay after one failed login.
    Seats,
}

/// The facts about each attack.
const ALL: [(Attack, &str, &str, Room); 18] = [
    (Attack::World, "world", "1-byte messages to all", Room::World),
    (Attack::WorldLarge, "world-1000", "messages of 1,000 bytes to all", Room::World),
    (Attack::Nearby, "nearby", "1-byte nearby messages", Room::Nearby),
    (Attack::Whisper, "whisper", "whispers of 1,000 bytes to one client", Room::Victim),
    (Attack::WhisperSlow, "whisper-slow", "the same, to a client on a slow line", Room::Victim),
    (Attack::Lists, "list", "requests for the user list", Room::Channel),
    (Attack::ChannelLists, "channel-list", "requests for the channel list", Room::Channel),
    (Attack::Create, "create", "channels made and left", Room::Channel),
    (Attack::Join, "join", "joins and leaves of a channel", Room::Channel),
    (Attack::Kick, "kick", "an owner kicks an accomplice, which comes back", Room::Channel),
    (Attack::Positions, "positions", "position updates across sectors", Room::Nearby),
    (Attack::Ping, "ping", "pings", Room::Channel),
    (Attack::Heartbeat, "heartbeat", "unasked heartbeat answers", Room::Channel),
    (Attack::Deaf, "deaf", "members that never read", Room::Channel),
    (Attack::Handshakes, "handshakes", "connections that end after their handshake", Room::Channel),
    (Attack::Slowloris, "slowloris", "connections that never finish their handshake", Room::Channel),
    (Attack::Guess, "guess", "logins with wrong passwords", Room::Channel),
    (Attack::Seats, "seats", "a failed login each, then heartbeats", Room::Channel),
];

impl Attack {
    /// All attacks, in the order of reports.
    pub fn all() -> impl Iterator<Item = Self> {
        ALL.iter().map(|fact| fact.0)
    }

    /// The attack with this name.
    pub fn named(name: &str) -> Option<Self> {
        ALL.iter().find(|fact| fact.1 == name).map(|fact| fact.0)
    }

    fn facts(self) -> (&'static str, &'static str, Room) {
        let fact = ALL.iter().find(|fact| fact.0 == self);
        fact.map_or(("", "", Room::Channel), |fact| (fact.1, fact.2, fact.3))
    }

    /// The name on the command line and in reports.
    pub fn name(self) -> &'static str {
        self.facts().0
    }

    /// A description in a few words.
    pub fn description(self) -> &'static str {
        self.facts().1
    }

    /// The room that the honest clients nearest to the attack talk in.
    pub fn room(self) -> Room {
        self.facts().2
    }

    /// True for an attack on the login server; its newcomers log in there.
    pub fn is_on_login(self) -> bool {
        matches!(self, Self::Guess | Self::Seats)
    }

    /// True if the attacker must own the channel, so that it comes first.
    pub fn owns_channel(self) -> bool {
        self == Self::Kick
    }

    /// True if the victim reads slowly.
    pub fn has_slow_victim(self) -> bool {
        self == Self::WhisperSlow
    }
}

impl fmt::Display for Attack {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_attack_has_a_name_of_its_own() {
        for attack in Attack::all() {
            assert_eq!(Attack::named(attack.name()), Some(attack));
            assert!(!attack.description().is_empty(), "{attack}");
        }
        assert_eq!(Attack::named("none"), None);
    }
}
