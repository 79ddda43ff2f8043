//! The stub's channels and places.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use throng_core::wire::Packet;
use throng_core::wire::packets::{ChannelAnswer, ChannelLeft, ChatGap, Outcome, Scope, WishedChannel};

use super::client_of_user;

/// A channel: its name, who is in it, who was, and its last message.
#[derive(Default)]
struct Channel {
    name: String,
    members: BTreeSet<u32>,
    former: BTreeSet<u32>,
    sequence: u64,
}

#[derive(Default)]
pub(super) struct Rooms {
    /// By number, from 1.
    channels: BTreeMap<u32, Channel>,
    places: HashMap<u32, (i32, i32)>,
    /// Who has said more than once where it is.
    moved: BTreeSet<u32>,
    /// The last message to everybody.
    sequence: u64,
    /// Messages that were kept from a client, until it is told.
    pub(super) kept: HashMap<u32, u64>,
}

impl Rooms {
    pub(super) fn make(&mut self, name: &WishedChannel) {
        let number = self.channels.len() as u32 + 1;
        let channel = Channel { name: name.to_string(), ..Channel::default() };
        assert!(self.channels.values().all(|other| other.name != **name), "made twice");
        self.channels.insert(number, channel);
    }

    pub(super) fn join(&mut self, client: u32, name: WishedChannel) -> Packet {
        let found = self.channels.iter_mut().find(|(_, channel)| channel.name == *name);
        let (outcome, channel, head_count) = match found {
            Some((number, channel)) => {
                channel.members.insert(client);
                channel.former.remove(&client);
                (Outcome::Ok, *number, channel.members.len() as u32)
            }
            None => (Outcome::NoSuchChannel, 0, 0),
        };
        ChannelAnswer { outcome, channel, name, head_count }.into()
    }

    pub(super) fn leave(&mut self, client: u32, number: u32) -> Packet {
        let channel = self.channels.get_mut(&number).expect("a channel of the stub");
        assert!(channel.members.remove(&client), "leaves what it is not in");
        channel.former.insert(client);
        ChannelLeft { channel: number, outcome: Outcome::Ok }.into()
    }

    pub(super) fn stand(&mut self, client: u32, x: i32, y: i32) {
        let place = (x.div_euclid(100), y.div_euclid(100));
        if let Some((from_x, from_y)) = self.places.insert(client, place) {
            let step = (from_x - place.0).abs().max((from_y - place.1).abs());
            assert_eq!(step, 1, "a step leads to a neighbouring sector");
            self.moved.insert(client);
        }
    }

    /// How many sectors lie between two clients, by the longer way: 0 in the same one; none if one of them is nowhere.
    pub(super) fn distance(&self, one: u32, other: u32) -> Option<u32> {
        let [(x, y), (to_x, to_y)] = [self.places.get(&one)?, self.places.get(&other)?];
        Some(x.abs_diff(*to_x).max(y.abs_diff(*to_y)))
    }

    pub(super) fn has_moved(&self, client: u32) -> bool {
        self.moved.contains(&client)
    }

    pub(super) fn gone(&mut self, client: u32) {
        for channel in self.channels.values_mut() {
            channel.members.remove(&client);
        }
        self.places.remove(&client);
    }

    /// The number of what `sender` says, and who hears it, former members of the channel too if they are to.
    pub(super) fn hearers(
        &mut self,
        sender: u32,
        (scope, target): (Scope, u32),
        leaks: bool,
        present: impl Iterator<Item = u32>,
    ) -> (u64, Vec<u32>) {
        match scope {
            Scope::World => {
                self.sequence += 1;
                (self.sequence, present.collect())
            }
            Scope::Channel => {
                let channel = self.channels.get_mut(&target).expect("a channel of the stub");
                assert!(channel.members.contains(&sender), "talks where it is not");
                channel.sequence += 1;
                let former = channel.former.iter().filter(|_| leaks);
                (channel.sequence, channel.members.iter().chain(former).copied().collect())
            }
            Scope::Nearby => {
                let (x, y) = self.places[&sender];
                let near = |client: &u32| {
                    self.places
                        .get(client)
                        .is_some_and(|(to_x, to_y)| (x - to_x).abs() <= 1 && (y - to_y).abs() <= 1)
                };
                (0, present.filter(near).collect())
            }
            Scope::Whisper => (0, vec![client_of_user(target), sender]),
        }
    }

    /// What a client is told before its next message.
    pub(super) fn gap(&mut self, client: u32, scope: Scope, channel: u32) -> Option<Packet> {
        let missed = self.kept.remove(&client)?;
        Some(ChatGap { scope, channel, missed }.into())
    }
}
