//! The state that users share, as a fold over facts.
//!
//! The same facts in the same order give the same state anywhere: [`World::apply`] reads no clock
//! and no randomness, and depends on the order of no hash table.

use throng_core::room::RoomId;
use throng_core::wire::packets::{Outcome, Scope, User};

use super::channels::{Channel, Channels};
use super::fact::{Change, Deed, Departure, Fact, Words};
use super::list_state::ListState;
use super::users::{Membership, Presence, Users};
use crate::rules;

/// Bounds of what users share.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WorldLimits {
    /// Most channels.
    pub channels: usize,
    /// Most channels of one user.
    pub channels_per_user: usize,
}

/// The users, the channels, and the numbers of lists and messages.
#[derive(Debug)]
pub struct World {
    /// The users in the chat.
    pub users: Users,
    /// The channels.
    pub channels: Channels,
    /// Number of the world's latest message.
    sequence: u64,
    limits: WorldLimits,
}

impl World {
    /// Creates an empty world.
    pub fn new(limits: WorldLimits) -> Self {
        Self { users: Users::default(), channels: Channels::new(limits.channels), sequence: 0, limits }
    }

    /// Applies a fact that comes from a server, or refuses it: others have overtaken it, or it asks
    /// for what may not be. A refused fact changes nothing, but that the packet counts as handled.
    pub fn apply(&mut self, node: u32, fact: Fact) -> Result<Change, Outcome> {
        match fact {
            Fact::Entered { name, claim } => {
                let user = User { id: self.users.next_id(), name };
                self.users.enter(user.clone(), claim, node, self.sequence).ok_or(Outcome::AlreadyOnline)?;
                Ok(Change::Entered { user, list_state: self.users.list_state() })
            }
            Fact::Left { user, turn, departure } => {
                let turn = if departure == Departure::Kicked { None } else { Some(turn) };
                self.leave(user, turn, departure).ok_or(Outcome::NoSuchUser)
            }
            Fact::Away { user, turn, counts } => {
                let presence = self.users.in_turn(user, turn).ok_or(Outcome::NoSuchUser)?;
                presence.is_away = true;
                presence.counts.advance(counts);
                Ok(Change::Away { user, claim: presence.claim })
            }
            Fact::Back { user, token, counts } => {
                let presence = self.users.get_mut(user).filter(|presence| presence.accepts(token));
                let presence = presence.ok_or(Outcome::NoSuchUser)?;
                presence.turn = presence.turn.wrapping_add(1);
                presence.token = token.saturating_add(1);
                presence.counts.advance(counts.unwrap_or(presence.counts));
                presence.is_away = false;
                presence.node = node;
                let Presence { claim, turn, counts, .. } = *presence;
                Ok(Change::Back { user, claim, turn, counts })
            }
            Fact::Did { user, turn, counts, deed } => {
                let presence = self.users.in_turn(user, turn).ok_or(Outcome::NoSuchUser)?;
                presence.counts.advance(counts);
                let is_message = matches!(deed, Deed::Say(_) | Deed::SayNearby { .. });
                let done = self.act(user, deed);
                if !is_message || done.is_err() {
                    self.answer(user);
                }
                if let Ok(Change::Parted { user: kicked, departure: Departure::Kicked, .. }) = done {
                    self.answer(kicked);
                }
                done
            }
        }
    }

    /// Returns facts by which the users of a server go away that has ended without a word.
    pub fn strand(&self, node: u32) -> Vec<Fact> {
        let here = self.users.iter().filter(|presence| presence.node == node && !presence.is_away);
        let mut users: Vec<_> =
            here.map(|Presence { user, turn, counts, .. }| (user.id, *turn, *counts)).collect();
        users.sort_unstable_by_key(|(user, ..)| *user);
        users.into_iter().map(|(user, turn, counts)| Fact::Away { user, turn, counts }).collect()
    }

    fn leave(&mut self, user: u32, turn: Option<u32>, departure: Departure) -> Option<Change> {
        let presence = self.users.get(user)?;
        if turn.is_some_and(|turn| turn != presence.turn) {
            return None;
        }
        let presence = self.users.leave(user)?;
        let channels = &mut self.channels;
        let left = presence.channels.iter();
        let left =
            left.filter_map(|Membership { channel, .. }| Some((*channel, channels.leave(*channel, user)?)));
        let channels = left.collect();
        Some(Change::Left { presence, departure, channels, list_state: self.users.list_state() })
    }

    fn answer(&mut self, user: u32) {
        if let Some(presence) = self.users.get_mut(user) {
            presence.counts.answers = presence.counts.answers.wrapping_add(1);
        }
    }

    fn act(&mut self, user: u32, deed: Deed) -> Result<Change, Outcome> {
        match deed {
            Deed::MakeChannel(name) => {
                if self.channels.find(&rules::key(&name)).is_some() {
                    return Err(Outcome::NameTaken);
                }
                let has_room = self.has_room_for_channel(user)?;
                if !has_room || !self.channels.has_room() {
                    return Err(Outcome::TooManyChannels);
                }
                let channel = self.channels.create(name, user).ok_or(Outcome::NameTaken)?;
                self.add_membership(user, channel, 0)?;
                Ok(Change::ChannelMade { channel })
            }
            Deed::Join { channel } => {
                let found = self.channels.get(channel).ok_or(Outcome::NoSuchChannel)?;
                if found.contains(user) {
                    return Ok(Change::WasMember { channel });
                }
                let since = found.sequence();
                if !self.has_room_for_channel(user)? {
                    return Err(Outcome::TooManyChannels);
                }
                let list_state = self.channels.join(channel, user).ok_or(Outcome::NoSuchChannel)?;
                let user = self.add_membership(user, channel, since)?;
                Ok(Change::Joined { channel, user, list_state })
            }
            Deed::Part { channel } => self.part(channel, user, Departure::Voluntary),
            Deed::Kick { channel, member } => {
                match self.channels.get(channel).filter(|found| found.contains(user)) {
                    None => Err(Outcome::NotAMember),
                    Some(found) if found.owner() != user => Err(Outcome::NotTheOwner),
                    Some(_) => self.part(channel, member, Departure::Kicked),
                }
            }
            Deed::Say(words) => self.say(user, words),
            Deed::SayNearby { sector, words } => {
                let sender = self.users.get(user).ok_or(Outcome::NoSuchUser)?.user.clone();
                Ok(Change::SaidNearby { sector, message: words.said_by(sender, 0) })
            }
        }
    }

    fn has_room_for_channel(&self, user: u32) -> Result<bool, Outcome> {
        let presence = self.users.get(user).ok_or(Outcome::NoSuchUser)?;
        Ok(presence.channels.len() < self.limits.channels_per_user)
    }

    fn add_membership(&mut self, user: u32, channel: u32, since: u64) -> Result<User, Outcome> {
        let presence = self.users.get_mut(user).ok_or(Outcome::NoSuchUser)?;
        presence.channels.push(Membership { channel, since });
        Ok(presence.user.clone())
    }

    fn part(&mut self, channel: u32, user: u32, departure: Departure) -> Result<Change, Outcome> {
        let list_state = self.channels.leave(channel, user).ok_or(Outcome::NotAMember)?;
        if let Some(presence) = self.users.get_mut(user) {
            presence.channels.retain(|membership| membership.channel != channel);
        }
        Ok(Change::Parted { channel, user, departure, list_state })
    }

    /// Numbers a message.
    fn say(&mut self, user: u32, words: Words) -> Result<Change, Outcome> {
        let sender = self.users.get(user).ok_or(Outcome::NoSuchUser)?.user.clone();
        let sequence = match words.scope {
            Scope::World => {
                self.sequence += 1;
                self.sequence
            }
            Scope::Channel => {
                let channel = self.channels.get_for_member(words.target, user);
                channel.ok_or(Outcome::NotAMember)?.next_sequence()
            }
            Scope::Nearby => return Err(Outcome::NoPosition),
            Scope::Whisper => {
                let to = words.target;
                if self.users.get(to).is_none() {
                    return Err(Outcome::NoSuchUser);
                }
                let copy = if to == user { None } else { self.whisper(user) };
                let sequence = self.whisper(to).ok_or(Outcome::NoSuchUser)?;
                return Ok(Change::Whispered { message: words.said_by(sender, sequence), copy });
            }
        };
        Ok(Change::Said(words.said_by(sender, sequence)))
    }

    /// Returns the state of the list of the world (0) or of a channel.
    pub fn list_state(&self, room: u32) -> Option<ListState> {
        if room == RoomId::WORLD.0 {
            return Some(self.users.list_state());
        }
        self.channels.get(room).map(Channel::list_state)
    }

    /// Returns the bounds.
    pub(super) fn limits(&self) -> WorldLimits {
        self.limits
    }

    /// Returns the number of the world's latest message.
    pub(super) fn sequence(&self) -> u64 {
        self.sequence
    }

    /// Goes on from a number of the world's latest message.
    pub(super) fn set_sequence(&mut self, sequence: u64) {
        self.sequence = sequence;
    }

    /// Returns the number of the latest message of the world (0) or of a channel.
    pub fn latest(&self, room: u32) -> Option<u64> {
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

    fn whisper(&mut self, user: u32) -> Option<u64> {
        let presence = self.users.get_mut(user)?;
        presence.whispers += 1;
        Some(presence.whispers)
    }
}

#[cfg(test)]
impl World {
    /// Returns a hash of all state, which depends on no table's order.
    pub(super) fn digest(&self) -> u64 {
        use std::hash::{DefaultHasher, Hash, Hasher};
        let mut hasher = DefaultHasher::new();
        let (users, numbers) = (self.users.sorted(), self.users.counters());
        format!("{users:?} {numbers:?} {:?} {}", self.channels.sorted(), self.sequence).hash(&mut hasher);
        hasher.finish()
    }
}

#[cfg(test)]
pub(super) mod tests {
    use proptest::prelude::*;
    use throng_core::wire::Text;
    use throng_core::wire::packets::{ChannelName, Claim, Name, ServerTimes};

    use super::*;
    use crate::chat::Counts;

    const USERS: u32 = 6;

    fn words(scope: Scope, target: u32) -> Deed {
        let times = ServerTimes { received_us: 1, queued_us: 2, handled_us: 3 };
        Deed::Say(Words { scope, target, stamp: 7, times, text: Text::truncated("hi") })
    }

    fn nearby() -> Words {
        let Deed::Say(words) = words(Scope::Nearby, 0) else { unreachable!("it says something") };
        words
    }

    fn deed() -> impl Strategy<Value = Deed> {
        let channel = 1..4u32;
        prop_oneof![
            2 => (0..3).prop_map(|name| Deed::MakeChannel(ChannelName::truncated(&format!("channel {name}")))),
            3 => channel.clone().prop_map(|channel| Deed::Join { channel }),
            1 => channel.clone().prop_map(|channel| Deed::Part { channel }),
            1 => (channel.clone(), 1..=USERS).prop_map(|(channel, member)| Deed::Kick { channel, member }),
            3 => Just(words(Scope::World, 0)),
            3 => channel.prop_map(|channel| words(Scope::Channel, channel)),
            1 => (-3..3, -3..3).prop_map(|sector| Deed::SayNearby { sector, words: nearby() }),
            2 => (1..=USERS).prop_map(|to| words(Scope::Whisper, to)),
        ]
    }

    fn counts() -> impl Strategy<Value = Counts> {
        (0..9u32, 0..9u32).prop_map(|(handled, answers)| Counts { handled, answers })
    }

    pub(crate) fn fact() -> impl Strategy<Value = Fact> {
        let (user, turn) = (1..=2 * USERS, 0..3u32);
        let departure = prop_oneof![Just(Departure::Voluntary), Just(Departure::Kicked)];
        prop_oneof![
            6 => (1..=u64::from(USERS)).prop_map(|account| Fact::Entered {
                name: Name::truncated(&format!("user {account}")),
                claim: Claim { account, id: 9 },
            }),
            1 => (user.clone(), turn.clone(), departure)
                .prop_map(|(user, turn, departure)| Fact::Left { user, turn, departure }),
            1 => (user.clone(), turn.clone(), counts())
                .prop_map(|(user, turn, counts)| Fact::Away { user, turn, counts }),
            1 => (user.clone(), 0..4u32, prop::option::of(counts()))
                .prop_map(|(user, token, counts)| Fact::Back { user, token, counts }),
            14 => (user, turn.prop_map(|turn| turn / 2), counts(), deed())
                .prop_map(|(user, turn, counts, deed)| Fact::Did { user, turn, counts, deed }),
        ]
    }

    pub(crate) const LIMITS: WorldLimits = WorldLimits { channels: 2, channels_per_user: 1 };

    proptest! {
        #[test]
        fn the_same_facts_give_the_same_state_and_a_refused_one_changes_nothing(
            facts in prop::collection::vec(fact(), 0..200),
        ) {
            let [mut one, mut other] = [World::new(LIMITS), World::new(LIMITS)];
            for fact in facts {
                let before = one.digest();
                let change = one.apply(1, fact.clone());
                if change.is_err() && !matches!(fact, Fact::Did { .. }) {
                    prop_assert_eq!(one.digest(), before, "{:?}", fact);
                }
                prop_assert_eq!(change, other.apply(1, fact));
                prop_assert_eq!(one.digest(), other.digest());
            }
            let members: usize = one.channels.sorted().iter().map(|(_, channel)| channel.members_after(0).count()).sum();
            let memberships: usize = one.users.sorted().iter().map(|user| user.channels.len()).sum();
            prop_assert_eq!(members, memberships);
            prop_assert!(one.users.sorted().iter().all(|user| user.channels.len() <= LIMITS.channels_per_user));
        }
    }

    #[test]
    fn answers_are_counted_though_a_later_message_was_sent_before_one() {
        let mut world = World::new(LIMITS);
        for account in 1..=2 {
            let claim = Claim { account, id: 9 };
            world.apply(1, Fact::Entered { name: Name::truncated("n"), claim }).unwrap();
        }
        let did = |user, handled, answers, deed| Fact::Did {
            user,
            turn: 0,
            counts: Counts { handled, answers },
            deed,
        };
        world.apply(1, did(1, 1, 0, Deed::MakeChannel(ChannelName::truncated("den")))).unwrap();
        world.apply(1, did(2, 1, 0, Deed::Join { channel: 1 })).unwrap();
        // Its server has refused three packets by itself.
        assert!(world.apply(1, did(1, 5, 4, words(Scope::Channel, 7))).is_err());
        world.apply(1, did(1, 6, 4, words(Scope::World, 0))).unwrap();
        let counts = |world: &World, user| world.users.get(user).map(|user| user.counts);
        assert_eq!(counts(&world, 1), Some(Counts { handled: 6, answers: 5 }));
        world.apply(1, did(1, 7, 5, Deed::Kick { channel: 1, member: 2 })).unwrap();
        assert_eq!(counts(&world, 2), Some(Counts { handled: 1, answers: 2 }));
    }

    #[test]
    fn a_deed_of_an_earlier_turn_is_void() {
        let mut world = World::new(LIMITS);
        let claim = Claim { account: 1, id: 9 };
        world.apply(1, Fact::Entered { name: Name::truncated("n"), claim }).unwrap();
        let counts = |handled| Counts { handled, answers: 0 };
        let say = |turn, handled| Fact::Did {
            user: 1,
            turn,
            counts: counts(handled),
            deed: words(Scope::World, 0),
        };
        world.apply(1, say(0, 1)).unwrap();
        // Its server has not noticed yet that the user has resumed elsewhere.
        let back = |token| Fact::Back { user: 1, token, counts: None };
        assert!(matches!(
            world.apply(1, back(1)),
            Ok(Change::Back { turn: 1, counts: Counts { handled: 1, .. }, .. })
        ));
        assert_eq!(world.apply(1, say(0, 2)), Err(Outcome::NoSuchUser));
        assert_eq!(
            world.apply(1, Fact::Away { user: 1, turn: 0, counts: counts(2) }),
            Err(Outcome::NoSuchUser)
        );
        world.apply(1, say(1, 2)).unwrap();
        world.apply(1, Fact::Away { user: 1, turn: 1, counts: counts(5) }).unwrap();
        assert!(
            matches!(
                world.apply(1, back(1)),
                Ok(Change::Back { turn: 2, counts: Counts { handled: 5, .. }, .. })
            ),
            "the one before"
        );
        assert_eq!(world.apply(1, back(3)), Err(Outcome::NoSuchUser), "one that is yet to come");
        let left = |turn, departure| Fact::Left { user: 1, turn, departure };
        assert_eq!(world.apply(1, left(1, Departure::Voluntary)), Err(Outcome::NoSuchUser));
        assert!(world.apply(1, left(1, Departure::Kicked)).is_ok(), "in any turn");
    }
}
