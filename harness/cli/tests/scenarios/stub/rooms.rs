//! The stub's channels and positions.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use throng_core::wire::Packet;
use throng_core::wire::packets::{ChannelAnswer, ChannelLeft, ChatGap, Outcome, Scope, WishedChannel};

use super::client_of_user;

/// A channel with its present and former members, and its last message.
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
    /// Clients that have moved since their first position.
    moved: BTreeSet<u32>,
    /// The sequence number of the last message to all.
    sequence: u64,
    /// Messages withheld from a client, until a gap announces them.
    pub(super) withheld: HashMap<u32, u64>,
}

impl Rooms {
    pub(super) fn create(&mut self, name: &WishedChannel) {
        let number = self.channels.len() as u32 + 1;
        let channel = Channel { name: name.to_string(), ..Channel::default() };
        assert!(self.channels.values().all(|other| other.name != **name), "created twice");
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
        assert!(channel.members.remove(&client), "a client leaves a channel that it is not in");
        channel.former.insert(client);
        ChannelLeft { channel: number, outcome: Outcome::Ok }.into()
    }

    /// Removes a client from a channel; false if it is not in it.
    pub(super) fn kick(&mut self, client: u32, number: u32) -> bool {
        let channel = self.channels.get_mut(&number).expect("a channel of the stub");
        channel.members.remove(&client)
    }

    pub(super) fn move_to(&mut self, client: u32, x: i32, y: i32) {
        let place = (x.div_euclid(100), y.div_euclid(100));
        if let Some((from_x, from_y)) = self.places.insert(client, place) {
            let step = (from_x - place.0).abs().max((from_y - place.1).abs());
            assert_eq!(step, 1, "a step leads to a neighboring sector");
            self.moved.insert(client);
        }
    }

    /// The distance of two clients in sectors, the larger of both axes; none if either has no
    /// position.
    pub(super) fn distance(&self, one: u32, other: u32) -> Option<u32> {
        let [(x, y), (to_x, to_y)] = [self.places.get(&one)?, self.places.get(&other)?];
        Some(x.abs_diff(*to_x).max(y.abs_diff(*to_y)))
    }

    pub(super) fn has_moved(&self, client: u32) -> bool {
        self.moved.contains(&client)
    }

    pub(super) fn remove(&mut self, client: u32) {
        for channel in self.channels.values_mut() {
            channel.members.remove(&client);
        }
        self.places.remove(&client);
    }

    /// The sequence number of a message from `sender`, and its recipients; with `leaks` former
    /// members of the channel too.
    pub(super) fn recipients(
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
                assert!(channel.members.contains(&sender), "a client sends to a channel that it is not in");
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

    /// The announcement of messages withheld from a client.
    pub(super) fn gap(&mut self, client: u32, scope: Scope, channel: u32) -> Option<Packet> {
        let missed = self.withheld.remove(&client)?;
        Some(ChatGap { scope, channel, missed }.into())
    }
}
