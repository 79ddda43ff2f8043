//! Channels, the rooms that users create, join and leave, and their members.
//!
//! The number of channels is bounded; [`super::notices`] announces changes.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ops::Bound;

use throng_core::limits::CHANNEL_PAGE;
use throng_core::metrics;
use throng_core::room::RoomId;
use throng_core::wire::List;
use throng_core::wire::packets::{ChannelInfo, ChannelList, ChannelName};

use super::list_state::ListState;
use crate::rules;

/// A channel, which has at least one member. Ten thousand of them may be idle, so it is small.
#[derive(Debug)]
pub struct Channel {
    name: ChannelName,
    owner: u32,
    /// User ids, in the order of the channel's list.
    members: BTreeSet<u32>,
    /// Number of changes of the list.
    version: u64,
    /// The number of the latest message.
    sequence: u64,
}

/// The channels of a chat server.
#[derive(Debug)]
pub struct Channels {
    max: usize,
    last_number: u32,
    /// In the order of the list of channels.
    by_number: BTreeMap<u32, Channel>,
    /// Channel numbers by the comparison keys of the names.
    by_key: HashMap<Box<str>, u32>,
}

impl Channel {
    /// Returns the name as the user that created the channel typed it.
    pub fn name(&self) -> &ChannelName {
        &self.name
    }

    /// Returns the member that may kick others.
    pub fn owner(&self) -> u32 {
        self.owner
    }

    /// Returns true if the user is a member.
    pub fn contains(&self, user: u32) -> bool {
        self.members.contains(&user)
    }

    /// Returns the state of the channel's user list.
    pub fn list_state(&self) -> ListState {
        ListState { version: self.version, head_count: self.members.len() as u32 }
    }

    /// Returns the members with user ids above `after`.
    pub fn members_after(&self, after: u32) -> impl Iterator<Item = u32> {
        self.members.range((Bound::Excluded(after), Bound::Unbounded)).copied()
    }

    /// Returns a channel as it was.
    pub(super) fn restored(
        name: ChannelName,
        owner: u32,
        members: BTreeSet<u32>,
        version: u64,
        sequence: u64,
    ) -> Self {
        Self { name, owner, members, version, sequence }
    }

    /// Returns the number of the latest message.
    pub fn sequence(&self) -> u64 {
        self.sequence
    }

    /// Returns the number of the next message.
    pub fn next_sequence(&mut self) -> u64 {
        self.sequence += 1;
        self.sequence
    }
}

impl Channels {
    /// Creates an empty table of at most `max` channels.
    pub fn new(max: usize) -> Self {
        Self { max, last_number: 0, by_number: BTreeMap::new(), by_key: HashMap::new() }
    }

    /// Returns the latest number that was given.
    pub(super) fn last_number(&self) -> u32 {
        self.last_number
    }

    /// Goes on from the latest number that was given.
    pub(super) fn set_last_number(&mut self, number: u32) {
        self.last_number = number;
    }

    /// Yields the channels by their numbers.
    pub(super) fn by_number(&self) -> impl Iterator<Item = (u32, &Channel)> {
        self.by_number.iter().map(|(number, channel)| (*number, channel))
    }

    /// Adds a channel as it was.
    pub(super) fn restore(&mut self, number: u32, channel: Channel) {
        self.by_key.insert(rules::key(&channel.name).into(), number);
        self.by_number.insert(number, channel);
    }

    /// Returns the number of channels.
    pub fn count(&self) -> usize {
        self.by_number.len()
    }

    /// Returns the channel with this number.
    pub fn get(&self, number: u32) -> Option<&Channel> {
        self.by_number.get(&number)
    }

    /// Returns the channel with this number if the user is a member.
    pub fn get_for_member(&mut self, number: u32, user: u32) -> Option<&mut Channel> {
        self.by_number.get_mut(&number).filter(|channel| channel.contains(user))
    }

    /// Returns the number of the channel whose name has this comparison key.
    pub fn find(&self, key: &str) -> Option<u32> {
        self.by_key.get(key).copied()
    }

    /// Returns true if there is room for another channel.
    pub fn has_room(&self) -> bool {
        self.by_number.len() < self.max
    }

    /// Returns a free number. After 2^31 channels the numbers wrap around, and those in use are
    /// skipped.
    fn next_number(&self) -> u32 {
        let mut number = self.last_number;
        loop {
            number = number % RoomId::CHANNEL_MAX + 1;
            if !self.by_number.contains_key(&number) {
                return number;
            }
        }
    }

    /// Creates a channel with its owner as the only member, and returns its number. The name must
    /// be permitted. Returns `None` if it is taken, or if there are too many channels.
    pub fn create(&mut self, name: ChannelName, owner: u32) -> Option<u32> {
        let key = rules::key(&name);
        if self.by_key.contains_key(key.as_str()) || !self.has_room() {
            return None;
        }
        let number = self.next_number();
        self.last_number = number;
        let members = BTreeSet::from([owner]);
        self.by_number.insert(number, Channel { name, owner, members, version: 1, sequence: 0 });
        self.by_key.insert(key.into(), number);
        metrics::CHANNELS.add(1);
        metrics::CHANNEL_MEMBERS.add(1);
        Some(number)
    }

    /// Adds a member. Returns `None` if the user is a member already, or there is no such channel.
    pub fn join(&mut self, number: u32, user: u32) -> Option<ListState> {
        let channel = self.by_number.get_mut(&number)?;
        if !channel.members.insert(user) {
            return None;
        }
        channel.version += 1;
        metrics::CHANNEL_MEMBERS.add(1);
        Some(channel.list_state())
    }

    /// Removes a member. Returns `None` if the user is no member. A channel ends with its last
    /// member.
    pub fn leave(&mut self, number: u32, user: u32) -> Option<ListState> {
        let channel = self.by_number.get_mut(&number)?;
        if !channel.members.remove(&user) {
            return None;
        }
        channel.version += 1;
        metrics::CHANNEL_MEMBERS.add(-1);
        let list_state = channel.list_state();
        match channel.members.first() {
            Some(first) if channel.owner == user => channel.owner = *first,
            Some(_) => {}
            None => {
                self.by_key.remove(rules::key(&channel.name).as_str());
                self.by_number.remove(&number);
                metrics::CHANNELS.add(-1);
            }
        }
        Some(list_state)
    }

    /// Returns the page of the list of channels that follows the number `after`.
    pub fn list(&self, after: u32) -> ChannelList {
        let rest = self.by_number.range((Bound::Excluded(after), Bound::Unbounded));
        let mut rest = rest.map(|(number, channel)| ChannelInfo {
            channel: *number,
            name: channel.name.clone(),
            head_count: channel.members.len() as u32,
        });
        let channels = List::<_, CHANNEL_PAGE>::take_from(&mut rest);
        ChannelList { channels, more: rest.next().is_some() }
    }
}

#[cfg(test)]
impl Channels {
    /// Returns all channels by their numbers.
    pub(super) fn sorted(&self) -> Vec<(&u32, &Channel)> {
        assert_eq!(self.by_number.len(), self.by_key.len());
        self.by_number.iter().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn make(channels: &mut Channels, name: &str, owner: u32) -> Option<u32> {
        channels.create(ChannelName::truncated(name), owner)
    }

    #[test]
    fn names_are_free_again_when_the_channel_ends_and_numbers_are_not() {
        let mut channels = Channels::new(2);
        assert_eq!(make(&mut channels, "Éva", 1), Some(1));
        assert_eq!(make(&mut channels, "E\u{301}VA", 2), None, "the name is taken");
        assert_eq!(channels.find(&rules::key("éva")), Some(1));
        assert_eq!(make(&mut channels, "other", 1), Some(2));
        assert_eq!(make(&mut channels, "third", 1), None, "there are as many as may be");
        assert_eq!(channels.leave(1, 1), Some(ListState { version: 2, head_count: 0 }));
        assert_eq!((channels.find(&rules::key("éva")), channels.count()), (None, 1));
        assert_eq!(make(&mut channels, "éva", 9), Some(3));
        channels.last_number = RoomId::CHANNEL_MAX;
        channels.leave(2, 1);
        assert_eq!(make(&mut channels, "late", 9), Some(1), "numbers wrap around");
    }

    #[test]
    fn the_oldest_member_becomes_owner_when_the_owner_leaves() {
        let mut channels = Channels::new(9);
        let number = make(&mut channels, "club", 5).unwrap();
        for user in [8, 3, 7] {
            assert!(channels.join(number, user).is_some() && channels.join(number, user).is_none());
        }
        let owner = |channels: &Channels| channels.get(number).map(Channel::owner);
        assert_eq!(channels.leave(number, 8), Some(ListState { version: 5, head_count: 3 }));
        assert_eq!((channels.leave(number, 8), owner(&channels)), (None, Some(5)));
        for (leaves, owns) in [(5, Some(3)), (3, Some(7)), (7, None)] {
            channels.leave(number, leaves).unwrap();
            assert_eq!(owner(&channels), owns);
        }
        assert_eq!(channels.join(number, 1), None);
    }

    #[test]
    fn the_list_comes_in_pages_by_number() {
        let mut channels = Channels::new(1000);
        for number in 1..=2 * CHANNEL_PAGE as u32 + 1 {
            assert_eq!(make(&mut channels, &format!("channel {number}"), 1), Some(number));
        }
        channels.leave(3, 1);
        let mut found = Vec::new();
        let mut after = 0;
        loop {
            let page = channels.list(after);
            found.extend(page.channels.iter().map(|info| info.channel));
            let Some(last) = page.channels.last().filter(|_| page.more) else { break };
            after = last.channel;
        }
        let wanted: Vec<u32> = (1..=2 * CHANNEL_PAGE as u32 + 1).filter(|number| *number != 3).collect();
        assert_eq!(found, wanted);
    }
}
