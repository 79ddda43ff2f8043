//! The state that users share, as a fold over facts.
//!
//! The same facts in the same order give the same state anywhere: [`World::apply`] reads no clock
//! and no randomness, and depends on the order of no hash table.

use throng_core::room::RoomId;
use throng_core::wire::packets::{ChatMessage, Scope, User};

use super::channels::{Channel, Channels};
use super::fact::{Change, Fact};
use super::list_state::ListState;
use super::users::{Membership, Presence, Users};

/// The users, the channels, and the numbers of lists and messages.
#[derive(Debug)]
pub struct World {
    /// The users in the chat.
    pub users: Users,
    /// The channels.
    pub channels: Channels,
    /// Number of the world's latest message.
    sequence: u64,
}

impl World {
    /// Creates an empty world with at most `channels` channels.
    pub fn new(channels: usize) -> Self {
        Self { users: Users::default(), channels: Channels::new(channels), sequence: 0 }
    }

    /// Applies a fact. Returns `None` if the state has overtaken it: its user is gone, or its
    /// channel has ended. Such a fact changes nothing.
    pub fn apply(&mut self, fact: Fact) -> Option<Change> {
        Some(match fact {
            Fact::Entered { user, name, claim } => {
                let user = User { id: user, name };
                self.users.enter(user.clone(), claim, self.sequence)?;
                Change::Entered { user, list_state: self.users.list_state() }
            }
            Fact::Left { user, departure } => {
                let presence = self.users.leave(user)?;
                let channels = &mut self.channels;
                let left = presence.channels.iter();
                let left = left.filter_map(|Membership { channel, .. }| {
                    Some((*channel, channels.leave(*channel, user)?))
                });
                let channels = left.collect();
                Change::Left { presence, departure, channels, list_state: self.users.list_state() }
            }
            Fact::Away { user } => self.set_away(user, true)?,
            Fact::Back { user } => self.set_away(user, false)?,
            Fact::ChannelMade { channel, name, owner } => {
                let presence = self.users.get_mut(owner)?;
                self.channels.create(channel, name, owner)?;
                presence.channels.push(Membership { channel, since: 0 });
                Change::None
            }
            Fact::Joined { channel, user } => {
                let presence = self.users.get_mut(user)?;
                let list_state = self.channels.join(channel, user)?;
                let since = self.channels.get(channel)?.sequence();
                presence.channels.push(Membership { channel, since });
                Change::Joined { channel, user: presence.user.clone(), list_state }
            }
            Fact::Parted { channel, user, departure } => {
                let presence = self.users.get_mut(user)?;
                let list_state = self.channels.leave(channel, user)?;
                presence.channels.retain(|membership| membership.channel != channel);
                Change::Parted { channel, user, departure, list_state }
            }
            Fact::Said(message) => Change::Said(ChatMessage { sequence: self.number(&message)?, ..message }),
            Fact::Whispered(message) => {
                let (from, to) = (message.sender.id, message.target);
                if self.users.get(from).is_none() || self.users.get(to).is_none() {
                    return None;
                }
                let copy = if to == from { None } else { Some(self.whisper(from)?) };
                Change::Whispered { number: self.whisper(to)?, copy, message }
            }
        })
    }

    /// Returns the state of the list of the world (0) or of a channel.
    pub fn list_state(&self, room: u32) -> Option<ListState> {
        if room == RoomId::WORLD.0 {
            return Some(self.users.list_state());
        }
        self.channels.get(room).map(Channel::list_state)
    }

    /// Returns the number of the latest message of the world (0) or of a channel.
    pub fn sequence(&self, room: u32) -> Option<u64> {
        if room == RoomId::WORLD.0 {
            return Some(self.sequence);
        }
        self.channels.get(room).map(Channel::sequence)
    }

    /// Returns the number of the latest message that was said in the world (0) or in a channel
    /// before this user was there. Returns `None` if it is not there now.
    pub fn since(&self, user: u32, room: u32) -> Option<u64> {
        let presence: &Presence = self.users.get(user)?;
        if room == RoomId::WORLD.0 {
            return Some(presence.since);
        }
        presence.membership(room).map(|membership| membership.since)
    }

    fn set_away(&mut self, user: u32, is_away: bool) -> Option<Change> {
        let presence = self.users.get_mut(user)?;
        presence.is_away = is_away;
        Some(Change::Away { claim: presence.claim, is_away })
    }

    fn whisper(&mut self, user: u32) -> Option<u64> {
        let presence = self.users.get_mut(user)?;
        presence.whispers += 1;
        Some(presence.whispers)
    }

    /// Returns the number of a new message of the world or of a channel.
    fn number(&mut self, message: &ChatMessage) -> Option<u64> {
        match message.scope {
            Scope::World => {
                self.users.get(message.sender.id)?;
                self.sequence += 1;
                Some(self.sequence)
            }
            Scope::Channel => {
                Some(self.channels.get_for_member(message.target, message.sender.id)?.next_sequence())
            }
            Scope::Nearby | Scope::Whisper => None,
        }
    }
}

#[cfg(test)]
impl World {
    /// Returns a hash of all state, which depends on no table's order.
    pub(super) fn digest(&self) -> u64 {
        use std::hash::{DefaultHasher, Hash, Hasher};
        let mut hasher = DefaultHasher::new();
        let (users, numbers) = (self.users.sorted(), self.users.numbers());
        format!("{users:?} {numbers:?} {:?} {}", self.channels.sorted(), self.sequence).hash(&mut hasher);
        hasher.finish()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use throng_core::wire::Text;
    use throng_core::wire::packets::{ChannelName, Claim, Name, ServerTimes};

    use super::*;
    use crate::chat::Departure;

    const USERS: u32 = 6;

    fn message(scope: Scope, target: u32, sender: u32) -> ChatMessage {
        let sender = User { id: sender, name: Name::truncated("n") };
        let times = ServerTimes { received_us: 1, queued_us: 2, handled_us: 3 };
        ChatMessage { scope, target, sequence: 0, sender, stamp: 7, times, text: Text::truncated("hi") }
    }

    fn fact() -> impl Strategy<Value = Fact> {
        let user = 1..=USERS;
        let channel = 1..4u32;
        let departure = prop_oneof![Just(Departure::Voluntary), Just(Departure::Kicked)];
        prop_oneof![
            6 => (user.clone(), 1..=u64::from(USERS)).prop_map(|(user, account)| Fact::Entered {
                user,
                name: Name::truncated(&format!("user {user}")),
                claim: Claim { account, id: 9 },
            }),
            1 => (user.clone(), departure.clone()).prop_map(|(user, departure)| Fact::Left { user, departure }),
            1 => user.clone().prop_map(|user| Fact::Away { user }),
            1 => user.clone().prop_map(|user| Fact::Back { user }),
            2 => (channel.clone(), user.clone()).prop_map(|(channel, owner)| Fact::ChannelMade {
                channel,
                name: ChannelName::truncated(&format!("channel {}", channel % 3)),
                owner,
            }),
            3 => (channel.clone(), user.clone()).prop_map(|(channel, user)| Fact::Joined { channel, user }),
            1 => (channel.clone(), user.clone(), departure)
                .prop_map(|(channel, user, departure)| Fact::Parted { channel, user, departure }),
            3 => user.clone().prop_map(|user| Fact::Said(message(Scope::World, 0, user))),
            3 => (channel, user.clone()).prop_map(|(to, user)| Fact::Said(message(Scope::Channel, to, user))),
            2 => (user.clone(), user).prop_map(|(to, user)| Fact::Whispered(message(Scope::Whisper, to, user))),
        ]
    }

    proptest! {
        #[test]
        fn the_same_facts_give_the_same_state_and_an_overtaken_one_changes_nothing(
            facts in prop::collection::vec(fact(), 0..200),
        ) {
            let [mut one, mut other] = [World::new(2), World::new(2)];
            for fact in facts {
                let before = one.digest();
                let change = one.apply(fact.clone());
                if change.is_none() {
                    prop_assert_eq!(one.digest(), before, "{:?}", fact);
                }
                prop_assert_eq!(change, other.apply(fact));
                prop_assert_eq!(one.digest(), other.digest());
            }
            let members: usize = one.channels.sorted().iter().map(|(_, channel)| channel.members_after(0).count()).sum();
            let memberships: usize = one.users.sorted().iter().map(|user| user.channels.len()).sum();
            prop_assert_eq!(members, memberships);
        }
    }
}
