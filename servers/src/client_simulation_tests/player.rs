//! A player: its client, and what its events may say.

use std::collections::{BTreeMap, BTreeSet};

use throng_client::{Audience, Client, Event, Message, Outcome};

use super::world::{Said, World};

/// A room, as far as a player knows it.
#[derive(Debug, Default)]
struct Room {
    /// Number of the latest message; 0 for none.
    latest: u64,
    /// Messages after it that the client has told to be missed.
    missed: u64,
    /// Users by the events alone, once the list is complete; none if that could not be seen.
    users: Option<BTreeSet<u32>>,
    is_listed: bool,
}

pub(super) struct Player {
    pub(super) number: usize,
    pub(super) client: Client,
    /// Start of the chat server that the player is in; none outside.
    pub(super) place: Option<u64>,
    /// True while a login is under way, or one that the client makes by itself.
    pub(super) is_coming: bool,
    /// Texts whose fate is not told yet, by their stamps.
    pub(super) unknown: BTreeMap<u64, String>,
    /// Number of texts so far.
    pub(super) texts: u64,
    rooms: BTreeMap<u32, Room>,
    is_away: bool,
}

impl Player {
    pub(super) fn new(number: usize, client: Client) -> Self {
        Self {
            number,
            client,
            place: None,
            is_coming: false,
            unknown: BTreeMap::new(),
            texts: 0,
            rooms: BTreeMap::new(),
            is_away: false,
        }
    }

    /// Takes all events, and checks them.
    pub(super) fn take_events(&mut self, said: &Said, start: u64, count: &mut dyn FnMut(&'static str)) {
        let events: Vec<Event> = std::iter::from_fn(|| self.client.poll_event()).collect();
        for (at, event) in events.iter().enumerate() {
            self.take(event, &events[at + 1..], said, start, count);
        }
        assert_eq!(self.client.is_away(), self.is_away, "player {}", self.number);
        assert_eq!(self.client.user().is_some(), self.place.is_some(), "player {}", self.number);
    }

    fn take(
        &mut self,
        event: &Event,
        later: &[Event],
        said: &Said,
        start: u64,
        count: &mut dyn FnMut(&'static str),
    ) {
        match event {
            Event::Entered { .. } => {
                assert!(self.place.is_none() && self.rooms.is_empty());
                (self.place, self.is_coming) = (Some(start), false);
                self.rooms.insert(0, Room::default());
            }
            Event::Left { returns, .. } => {
                assert!(self.place.take().is_some());
                (self.is_coming, self.is_away) = (*returns, false);
                self.rooms.clear();
                count(if *returns { "left and returns" } else { "left for good" });
            }
            Event::Refused { .. } | Event::Unreachable { .. } | Event::TooFast { .. }
                if self.place.is_none() =>
            {
                self.is_coming = false;
                count(if matches!(event, Event::Unreachable { .. }) {
                    "unreachable"
                } else {
                    "refused at the door"
                });
            }
            Event::Queued { .. } => count("queued at the door"),
            Event::Away { .. } => {
                assert!(!std::mem::replace(&mut self.is_away, true));
                count("away");
            }
            Event::Resumed { .. } => {
                assert!(std::mem::take(&mut self.is_away));
                count("back");
            }
            Event::Message(message) => self.hear(message, said, count),
            Event::History { room, messages, .. } => {
                assert!(messages.is_sorted_by(|one, other| one.sequence < other.sequence));
                for message in messages {
                    self.check_text(*room, message, said);
                }
            }
            Event::MessageRefused { stamp, .. } => {
                assert!(self.unknown.remove(&stamp.0).is_some(), "a message has two fates");
                count("message refused");
            }
            Event::MessageUncertain { stamp } => {
                assert!(self.unknown.remove(&stamp.0).is_some(), "a message has two fates");
                count("message uncertain");
            }
            Event::Missed { audience, count: missed } => {
                count("missed");
                let room = match audience {
                    Audience::World => self.rooms.get_mut(&0),
                    Audience::Channel(channel) => self.rooms.get_mut(channel),
                    Audience::Nearby | Audience::Whisper(_) => None,
                };
                // Before its first message a room has no number to count from.
                if let Some(room) = room.filter(|room| room.latest > 0) {
                    room.missed += missed;
                }
            }
            Event::Joined { channel, .. } => {
                self.rooms.entry(*channel).or_default();
                count("channel joined");
            }
            Event::ChannelLeft { channel, outcome } if *outcome != Outcome::NotAMember => {
                self.rooms.remove(channel);
            }
            Event::Listed { room } => self.listed(*room, later),
            Event::UserEntered { room, user } => self.change(*room, user.id, true, count),
            Event::UserLeft { room, user } => self.change(*room, user.id, false, count),
            _ => {}
        }
    }

    /// Takes over a list that has just been complete: as it is now, without what comes later.
    fn listed(&mut self, number: u32, later: &[Event]) {
        let Some(room) = self.rooms.get_mut(&number) else { panic!("the list of a room that it is not in") };
        assert!(!std::mem::replace(&mut room.is_listed, true), "a list is complete for the first time twice");
        let is_end = |event: &Event| {
            matches!(event, Event::Left { .. })
                || matches!(event, Event::ChannelLeft { channel, .. } if *channel == number)
        };
        if later.iter().any(is_end) {
            return;
        }
        let roster = self.client.roster(number).expect("it is in the room");
        let mut users: BTreeSet<u32> = roster.iter().map(|(id, _)| id).collect();
        for event in later.iter().rev() {
            match event {
                Event::UserEntered { room, user } if *room == number => assert!(users.remove(&user.id)),
                Event::UserLeft { room, user } if *room == number => assert!(users.insert(user.id)),
                _ => {}
            }
        }
        room.users = Some(users);
    }

    fn change(&mut self, number: u32, user: u32, is_there: bool, count: &mut dyn FnMut(&'static str)) {
        let Some(room) = self.rooms.get_mut(&number) else { panic!("a change of a room that it is not in") };
        assert!(room.is_listed, "a change before the list is complete");
        if let Some(users) = &mut room.users {
            let is_news = if is_there { users.insert(user) } else { users.remove(&user) };
            assert!(is_news, "user {user} of room {number}");
        }
        count("users changed");
    }

    fn hear(&mut self, message: &Message, said: &Said, count: &mut dyn FnMut(&'static str)) {
        if let Some(stamp) = message.own {
            let text = self.unknown.remove(&stamp.0);
            assert_eq!(text.as_deref(), Some(&*message.text), "a message has two fates, or another's");
        }
        let number = match message.audience {
            Audience::World => 0,
            Audience::Channel(channel) => channel,
            Audience::Whisper(_) => return count("whisper"),
            Audience::Nearby => return,
        };
        self.check_text(number, message, said);
        let room = self.rooms.get_mut(&number).expect("it is in the room");
        if room.latest > 0 {
            let wanted = room.latest + room.missed + 1;
            assert_eq!(message.sequence, wanted, "player {}, room {number}", self.number);
        }
        (room.latest, room.missed) = (message.sequence, 0);
    }

    fn check_text(&self, room: u32, message: &Message, said: &Said) {
        let start = self.place.expect("it is in the chat");
        let text = said.get(&(start, room, message.sequence));
        assert_eq!(text.map(String::as_str), Some(&*message.text), "room {room}, {}", message.sequence);
    }

    /// Checks what the player knows once nothing is on its way any more.
    pub(super) fn check_at_rest(&self, world: &World) {
        assert!(!self.client.is_waiting(), "player {} still waits", self.number);
        // Of a message that was delivered, the copy may be among those that were missed, or that
        // would have been told to be.
        let lost: Vec<_> = self.unknown.values().filter(|text| !world.texts.contains(*text)).collect();
        assert!(lost.is_empty(), "no fate of {lost:?}");
        let rooms: Vec<u32> = std::iter::once(0).chain(self.client.channels().map(|it| it.0)).collect();
        assert!(rooms.iter().eq(self.rooms.keys()), "player {}: {rooms:?}, {:?}", self.number, self.rooms);
        for (number, room) in &self.rooms {
            let roster = self.client.roster(*number).expect("it is in the room");
            let found: BTreeSet<u32> = roster.iter().map(|(id, _)| id).collect();
            let name = format!("player {}, the list of room {number}", self.number);
            assert!(roster.is_complete(), "{name} is not complete");
            if !world.may_be_stale(self.number, *number) {
                assert_eq!(found, world.users_in(*number), "{name}");
            }
            assert!(room.users.as_ref().is_none_or(|users| *users == found), "{name}: {:?}", room.users);
            let last = world.said.range((world.start, *number, 0)..=(world.start, *number, u64::MAX)).last();
            let last = last.map_or(0, |((.., sequence), _)| *sequence);
            let is_up_to_date = room.latest == 0 || room.latest + room.missed == last;
            assert!(is_up_to_date, "player {}, room {number}: {room:?} of {last}", self.number);
        }
    }
}
