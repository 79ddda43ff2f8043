//! Compares the chat server with a naive model: after each random packet from a few sessions, every
//! session has received exactly the packets, and is in exactly the rooms, that the model computes.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use proptest::prelude::*;
use throng_core::content::{Effect, Effects, SessionCommand};
use throng_core::wire::packets::{
    ChannelAnswer, ChannelCreateRequest, ChannelInfo, ChannelJoinRequest, ChannelKickAnswer,
    ChannelKickRequest, ChannelLeaveRequest, ChannelLeft, ChannelList, ChannelListRequest, ChatMessage,
    ChatRefused, ExitAnswer, ExitRequest, History, PastMessage, PositionUpdate, ServerTimes, UserList,
    UserListRequest,
};

use super::*;

const SLOTS: usize = 5;
const INTERVAL: Duration = Duration::from_millis(500);
const SECTOR: i32 = 10;
const CHANNELS: usize = 3;
const CHANNELS_PER_USER: usize = 2;
const LIMITS: WorldLimits = WorldLimits { channels: CHANNELS, channels_per_user: CHANNELS_PER_USER };
const HISTORY_ON_JOIN: usize = 3;
const NAMES: [&str; 6] = ["one", "ONE", "two", "three", "four", " bad"];

#[derive(Debug, Clone)]
enum Action {
    /// A new session enters with the slot's account, which may be in the chat already.
    Enter,
    /// The connection is lost.
    Vanish,
    Exit,
    Say(Scope, u32),
    /// Sends a packet that clients must not send.
    Misbehave,
    Move(i32, i32),
    Create(usize),
    Join(usize),
    Leave(u32),
    Kick(u32, u32),
    Channels(u32),
    Users(u32, u32),
    Pass(u64),
}

fn action() -> impl Strategy<Value = Action> {
    let number = 0..7u32;
    let user = 0..12u32;
    let scope = (0..Scope::ALL.len()).prop_map(|at| Scope::ALL[at]);
    prop_oneof![
        5 => Just(Action::Enter),
        1 => Just(Action::Vanish),
        1 => Just(Action::Exit),
        8 => (scope, user.clone()).prop_map(|(scope, target)| Action::Say(scope, target)),
        1 => Just(Action::Misbehave),
        4 => (-25..25, -25..25).prop_map(|(x, y)| Action::Move(x, y)),
        4 => (0..NAMES.len()).prop_map(Action::Create),
        5 => (0..NAMES.len()).prop_map(Action::Join),
        3 => number.clone().prop_map(Action::Leave),
        3 => (number.clone(), user.clone()).prop_map(|(channel, user)| Action::Kick(channel, user)),
        1 => number.clone().prop_map(Action::Channels),
        2 => (number, user).prop_map(|(channel, after)| Action::Users(channel, after)),
        2 => (1..700u64).prop_map(Action::Pass),
    ]
}

/// The kind of request to be in a channel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Intent {
    Create,
    Join,
}

#[derive(Clone, Copy)]
struct ModelUser {
    slot: usize,
    session: SessionId,
    id: u32,
    position: Option<(i32, i32)>,
    whispers: u64,
}

impl ModelUser {
    fn user(&self) -> User {
        User { id: self.id, name: Text::truncated(&format!("slot {}", self.slot)) }
    }
}

/// The world or a channel.
#[derive(Default)]
struct Room {
    name: String,
    owner: u32,
    members: BTreeSet<u32>,
    version: u64,
    /// All messages; their numbers are their places, from 1.
    said: Vec<ChatMessage>,
}

/// The user list of a room as a client builds it from pages and notices.
struct View {
    users: BTreeSet<u32>,
    version: u64,
}

/// The model, the role under test, and the results of the role's effects.
struct ModelTest {
    fixture: RoleFixture<ChatRole>,
    users: Vec<ModelUser>,
    rooms: BTreeMap<u32, Room>,
    last_user: u32,
    last_room: u32,
    // Results of the role's effects.
    joined: HashSet<(SessionId, u32)>,
    expelled: HashSet<(SessionId, u32)>,
    closed: Vec<SessionId>,
    inbox: HashMap<SessionId, Vec<Packet>>,
    views: HashMap<(SessionId, u32), View>,
    // Computed by the model.
    expected: HashMap<SessionId, Vec<Packet>>,
    expected_expelled: HashSet<(SessionId, u32)>,
    expected_closed: Vec<SessionId>,
}

impl ModelTest {
    fn new(at_once: usize) -> Self {
        let settings = ChatSettings {
            take_over: true,
            world: LIMITS,
            sector_size: SECTOR as u32,
            notice_at_once: at_once,
            notice_interval: INTERVAL,
            history_on_join: HISTORY_ON_JOIN as u64,
            resume_window: Duration::ZERO,
            ..ChatSettings::of(&Config::default())
        };
        let fixture = RoleFixture::new(PeerRole::Chat, &[], |links| {
            let admission = Admission::new(ClusterKey::from_bytes(KEY), CHAT_KEY, now_ms());
            ChatRole::new(settings, admission, resume_tokens(1), links, now_ms)
        });
        Self {
            fixture,
            users: Vec::new(),
            rooms: BTreeMap::from([(0, Room::default())]),
            last_user: 0,
            last_room: 0,
            joined: HashSet::new(),
            expelled: HashSet::new(),
            closed: Vec::new(),
            inbox: HashMap::new(),
            views: HashMap::new(),
            expected: HashMap::new(),
            expected_expelled: HashSet::new(),
            expected_closed: Vec::new(),
        }
    }

    /// Applies the role's effects to the sessions and rooms, as the shards would.
    fn apply(&mut self, mut effects: Effects) {
        for effect in effects.drain() {
            match effect {
                Effect::ToSession(to, SessionCommand::Send(packet)) => self.receive(to, *packet),
                Effect::ToSession(to, SessionCommand::SendEncoded(begin, rest)) => {
                    self.receive(
                        to,
                        Packet::decode(&[&*begin, &*rest].concat()).expect("the role encodes packets"),
                    );
                }
                Effect::ToSession(id, SessionCommand::Close(_)) => self.closed.push(id),
                Effect::Join(id, room) => {
                    assert!(!self.closed.contains(&id), "{id} joins {room:?} after its end");
                    assert!(self.joined.insert((id, room.0)), "{id} is in {room:?} already");
                }
                Effect::Leave(id, room) => {
                    assert!(self.joined.remove(&(id, room.0)), "{id} is not in {room:?}");
                }
                Effect::Expel(id, room) => {
                    assert!(self.joined.remove(&(id, room.0)), "{id} is not in {room:?}");
                    // Rooms of crowded sectors are the role's own affair.
                    if room.0 <= RoomId::CHANNEL_MAX {
                        self.expelled.insert((id, room.0));
                    }
                }
                Effect::Settle(room) => assert!(self.joined.iter().any(|member| member.1 == room.0)),
                Effect::Broadcast(room, _, packet) => {
                    let members: Vec<_> = self.joined.iter().filter(|member| member.1 == room.0).collect();
                    for (id, _) in members.into_iter().copied().collect::<Vec<_>>() {
                        self.receive(id, packet.clone());
                    }
                }
                Effect::Multicast(_, to, packet) => {
                    assert_eq!(to.iter().collect::<HashSet<_>>().len(), to.len());
                    for id in to {
                        self.receive(id, packet.clone());
                    }
                }
                _ => panic!("a chat server without links has no such effect"),
            }
        }
    }

    fn receive(&mut self, id: SessionId, packet: Packet) {
        assert!(!self.closed.contains(&id), "{id} receives {packet:?} after its end");
        match packet {
            Packet::UsersChanged(notice) => {
                let view = self.views.get_mut(&(id, notice.channel)).expect("a list precedes notices");
                // A notice that is older than the list has nothing new.
                if notice.version > view.version {
                    assert!(notice.since <= view.version && notice.complete);
                    view.users.extend(notice.entered.iter().map(|user| user.id));
                    view.users.retain(|id| !notice.left.contains(id));
                    view.version = notice.version;
                }
                return;
            }
            Packet::UserList(ref list) if list.head_count as usize == list.users.len() => {
                let users = list.users.iter().map(|user| user.id).collect();
                self.views.insert((id, list.channel), View { users, version: list.version });
            }
            Packet::ChannelLeft(ref left) if left.outcome != Outcome::NotAMember => {
                self.views.remove(&(id, left.channel));
            }
            _ => {}
        }
        let packet = match packet {
            Packet::ChatMessage(message) => ChatMessage { times: TIMES, ..message }.into(),
            Packet::History(history) => {
                let messages = history.messages.iter().cloned();
                let messages = messages.map(|message| PastMessage { received_us: 0, ..message });
                History { messages: List::new(messages.collect()).unwrap(), ..history }.into()
            }
            packet => packet,
        };
        self.inbox.entry(id).or_default().push(packet);
    }

    fn expect(&mut self, to: SessionId, packet: impl Into<Packet>) {
        self.expected.entry(to).or_default().push(packet.into());
    }

    fn user_by_id(&self, id: u32) -> Option<&ModelUser> {
        self.users.iter().find(|user| user.id == id)
    }

    fn list(&self, channel: u32, after: u32) -> UserList {
        let room = &self.rooms[&channel];
        let users = room.members.iter().filter(|id| **id > after);
        let users = users.map(|id| self.user_by_id(*id).expect("members are in the chat").user()).collect();
        let head_count = room.members.len() as u32;
        UserList { channel, version: room.version, head_count, users: List::new(users).unwrap(), more: false }
    }

    fn leave_room(&mut self, id: u32, number: u32) {
        let room = self.rooms.get_mut(&number).expect("the room exists");
        assert!(room.members.remove(&id));
        room.version += 1;
        if room.owner == id {
            room.owner = room.members.first().copied().unwrap_or_default();
        }
        if room.members.is_empty() && number != 0 {
            self.rooms.remove(&number);
        }
    }

    fn rooms_of(&self, id: u32) -> Vec<u32> {
        self.rooms.iter().filter(|(_, room)| room.members.contains(&id)).map(|(number, _)| *number).collect()
    }

    fn leave_chat(&mut self, index: usize, departure: Departure) {
        let user = self.users.remove(index);
        for number in self.rooms_of(user.id) {
            self.leave_room(user.id, number);
            if departure == Departure::Kicked {
                self.expected_expelled.insert((user.session, number));
            }
        }
        self.views.retain(|(viewer, _), _| *viewer != user.session);
    }

    fn enter(&mut self, slot: usize) {
        let session = self.fixture.open_client();
        if let Some(index) = self.users.iter().position(|user| user.slot == slot) {
            self.expected_closed.push(self.users[index].session);
            self.leave_chat(index, Departure::Kicked);
        }
        self.last_user += 1;
        let model_user = ModelUser { slot, session, id: self.last_user, position: None, whispers: 0 };
        let user = model_user.user();
        self.users.push(model_user);
        let world = self.rooms.entry(0).or_default();
        world.members.insert(user.id);
        world.version += 1;
        let head_count = world.members.len() as u32;
        self.expect(session, enter_answer(user, head_count));
        let list = self.list(0, 0);
        self.expect(session, list);
        self.send(session, ticket(slot as u64, 0, &format!("slot {slot}")));
    }

    fn send(&mut self, from: SessionId, packet: impl Into<Packet>) {
        let effects = self.fixture.deliver_effects(from, packet);
        self.apply(effects);
    }

    fn say(&mut self, index: usize, scope: Scope, target: u32) {
        let ModelUser { session, position, .. } = self.users[index];
        let sender = self.users[index].user();
        let stamp = u64::from(sender.id) + 100;
        let text = Text::truncated("hi");
        self.send(session, ChatRequest { scope, target, stamp, text: text.clone() });
        if matches!(scope, Scope::World | Scope::Nearby) && target != 0 {
            self.expected_closed.push(session);
            return self.leave_chat(index, Departure::Voluntary);
        }
        let line = |coordinate: i32| (f64::from(coordinate) / f64::from(SECTOR)).floor() as i32;
        let is_near = |(x, y): (i32, i32), (a, b): (i32, i32)| {
            (line(x) - line(a)).abs() <= 1 && (line(y) - line(b)).abs() <= 1
        };
        let recipients: Result<Vec<u32>, Outcome> = match scope {
            Scope::World => Ok(self.users.iter().map(|user| user.id).collect()),
            Scope::Channel => match self.rooms.get(&target).filter(|_| target != 0) {
                Some(room) if room.members.contains(&sender.id) => Ok(room.members.iter().copied().collect()),
                _ => Err(Outcome::NotAMember),
            },
            Scope::Nearby => position.ok_or(Outcome::NoPosition).map(|position| {
                let near = |user: &&ModelUser| user.position.is_some_and(|other| is_near(position, other));
                self.users.iter().filter(near).map(|user| user.id).collect()
            }),
            Scope::Whisper => match self.user_by_id(target) {
                Some(_) => Ok([sender.id, target].into_iter().collect::<BTreeSet<_>>().into_iter().collect()),
                None => Err(Outcome::NoSuchUser),
            },
        };
        match recipients {
            Ok(recipients) => {
                let room = if scope == Scope::Channel { target } else { 0 };
                let mut message =
                    ChatMessage { scope, target, sequence: 0, sender, stamp, times: TIMES, text };
                if matches!(scope, Scope::World | Scope::Channel) {
                    let room = self.rooms.get_mut(&room).expect("the room exists");
                    message.sequence = room.said.len() as u64 + 1;
                    room.said.push(message.clone());
                }
                for recipient in recipients {
                    let user = self.users.iter_mut().find(|user| user.id == recipient);
                    let user = user.expect("recipients are in the chat");
                    if scope == Scope::Whisper {
                        user.whispers += 1;
                        message.sequence = user.whispers;
                    }
                    let session = user.session;
                    self.expect(session, message.clone());
                }
            }
            Err(outcome) => self.expect(session, ChatRefused { stamp, outcome }),
        }
    }

    fn enter_channel(&mut self, index: usize, requested: &str, intent: Intent) {
        let ModelUser { session, id, .. } = self.users[index];
        let name = Text::truncated(requested);
        match intent {
            Intent::Create => self.send(session, ChannelCreateRequest { name: name.clone() }),
            Intent::Join => self.send(session, ChannelJoinRequest { name: name.clone() }),
        }
        let mut channels = self.rooms.iter().filter(|(number, _)| **number != 0);
        let found = channels.find(|(_, room)| room.name.eq_ignore_ascii_case(requested));
        let found = found.map(|(number, _)| *number);
        let is_member = found.is_some_and(|number| self.rooms[&number].members.contains(&id));
        // One of the user's rooms is the world.
        let may_join_more = self.rooms_of(id).len() <= CHANNELS_PER_USER;
        let outcome = match found {
            _ if requested.starts_with(' ') => Outcome::NameInvalid,
            Some(_) if intent == Intent::Create => Outcome::NameTaken,
            None if intent == Intent::Join => Outcome::NoSuchChannel,
            _ if is_member => Outcome::Ok,
            _ if !may_join_more => Outcome::TooManyChannels,
            None if self.rooms.len() > CHANNELS => Outcome::TooManyChannels,
            _ => Outcome::Ok,
        };
        if outcome != Outcome::Ok {
            return self.expect(session, ChannelAnswer { outcome, channel: 0, name, head_count: 0 });
        }
        let number = found.unwrap_or_else(|| {
            self.last_room += 1;
            let room = Room { name: requested.into(), owner: id, ..Room::default() };
            self.rooms.insert(self.last_room, room);
            self.last_room
        });
        let room = self.rooms.get_mut(&number).expect("the channel exists");
        let is_new = room.members.insert(id);
        if is_new {
            room.version += 1;
        }
        let latest = room.said[room.said.len().saturating_sub(HISTORY_ON_JOIN)..].iter().map(past);
        let latest: Vec<PastMessage> = latest.collect();
        let name = Text::truncated(&room.name);
        let head_count = room.members.len() as u32;
        self.expect(session, ChannelAnswer { outcome, channel: number, name, head_count });
        let list = self.list(number, 0);
        self.expect(session, list);
        if is_new && !latest.is_empty() {
            let messages = List::new(latest).unwrap();
            self.expect(session, History { channel: number, messages, more: false });
        }
    }

    fn kick(&mut self, index: usize, channel: u32, user: u32) {
        let ModelUser { session, id, .. } = self.users[index];
        self.send(session, ChannelKickRequest { channel, user });
        let room = self.rooms.get(&channel).filter(|room| channel != 0 && room.members.contains(&id));
        let outcome = match room {
            None => Outcome::NotAMember,
            Some(room) if room.owner != id => Outcome::NotTheOwner,
            Some(room) if !room.members.contains(&user) => Outcome::NotAMember,
            Some(_) => Outcome::Ok,
        };
        if outcome == Outcome::Ok {
            let kicked = self.user_by_id(user).expect("members are in the chat").session;
            self.expect(kicked, ChannelLeft { channel, outcome: Outcome::Kicked });
            self.expected_expelled.insert((kicked, channel));
            self.leave_room(user, channel);
        }
        self.expect(session, ChannelKickAnswer { channel, user, outcome });
    }

    fn perform(&mut self, slot: usize, action: &Action) {
        if let Action::Pass(ms) = action {
            let effects = self.fixture.advance_effects(Duration::from_millis(*ms));
            return self.apply(effects);
        }
        let Some(index) = self.users.iter().position(|user| user.slot == slot) else {
            return self.enter(slot);
        };
        let ModelUser { session, id, .. } = self.users[index];
        match *action {
            Action::Enter => self.enter(slot),
            Action::Vanish => {
                let effects = self.fixture.close_client_effects(session);
                self.apply(effects);
                self.leave_chat(index, Departure::Voluntary);
            }
            Action::Exit => {
                self.send(session, ExitRequest {});
                self.expect(session, ExitAnswer {});
                self.expected_closed.push(session);
                self.leave_chat(index, Departure::Voluntary);
            }
            Action::Say(scope, target) => self.say(index, scope, if target > 8 { 0 } else { target }),
            Action::Misbehave => {
                self.send(session, ExitAnswer {});
                self.expected_closed.push(session);
                self.leave_chat(index, Departure::Voluntary);
            }
            Action::Move(x, y) => {
                self.send(session, PositionUpdate { x, y });
                self.users[index].position = Some((x, y));
            }
            Action::Create(name) => self.enter_channel(index, NAMES[name], Intent::Create),
            Action::Join(name) => self.enter_channel(index, NAMES[name], Intent::Join),
            Action::Leave(channel) => {
                self.send(session, ChannelLeaveRequest { channel });
                let is_member = channel != 0 && self.rooms_of(id).contains(&channel);
                if is_member {
                    self.leave_room(id, channel);
                }
                let outcome = if is_member { Outcome::Ok } else { Outcome::NotAMember };
                self.expect(session, ChannelLeft { channel, outcome });
            }
            Action::Kick(channel, user) => self.kick(index, channel, user),
            Action::Channels(after) => {
                self.send(session, ChannelListRequest { after });
                let infos = self.rooms.iter().filter(|(number, _)| **number > after).map(|(number, room)| {
                    let name = Text::truncated(&room.name);
                    ChannelInfo { channel: *number, name, head_count: room.members.len() as u32 }
                });
                let channels = List::new(infos.collect()).unwrap();
                self.expect(session, ChannelList { channels, more: false });
            }
            Action::Users(channel, after) => {
                self.send(session, UserListRequest { channel, after, pages: 3 });
                let list = if self.rooms_of(id).contains(&channel) {
                    self.list(channel, after)
                } else {
                    UserList { channel, version: 0, head_count: 0, users: List::default(), more: false }
                };
                self.expect(session, list);
            }
            Action::Pass(_) => {}
        }
    }

    /// Asserts that the role's effects are those that the model computes.
    fn check(&mut self) {
        assert_eq!(std::mem::take(&mut self.inbox), std::mem::take(&mut self.expected));
        assert_eq!(std::mem::take(&mut self.expelled), std::mem::take(&mut self.expected_expelled));
        let closed = std::mem::take(&mut self.closed);
        assert_eq!(closed, std::mem::take(&mut self.expected_closed));
        for session in closed {
            assert!(
                self.fixture.close_client(session).is_empty(),
                "the end of a session that was removed has no effects"
            );
            self.views.retain(|(viewer, _), _| *viewer != session);
        }
        let members = self
            .users
            .iter()
            .flat_map(|user| self.rooms_of(user.id).into_iter().map(|number| (user.session, number)));
        assert_eq!(self.joined, members.collect());
    }
}

fn past(message: &ChatMessage) -> PastMessage {
    let ChatMessage { sequence, sender, stamp, text, .. } = message.clone();
    PastMessage { sequence, sender, stamp, received_us: 0, text }
}

const TIMES: ServerTimes = ServerTimes { received_us: 0, queued_us: 0, handled_us: 0 };

proptest! {
    #[test]
    fn every_session_receives_what_the_model_computes_and_nothing_else(
        at_once in 0..6usize,
        actions in prop::collection::vec((0..SLOTS, action()), 1..150),
    ) {
        let mut test = ModelTest::new(at_once);
        for (slot, action) in &actions {
            test.perform(*slot, action);
            test.check();
        }
        test.perform(0, &Action::Pass(1000));
        test.check();
        for user in &test.users {
            for number in test.rooms_of(user.id) {
                let view = &test.views[&(user.session, number)];
                prop_assert_eq!(&view.users, &test.rooms[&number].members);
                prop_assert_eq!(view.version, test.rooms[&number].version);
            }
        }
        let chat = &test.fixture.role().chat;
        let mut fold = World::new(LIMITS);
        for fact in &chat.facts {
            let _ = fold.apply(HERE, fact.clone());
        }
        prop_assert_eq!(fold.digest(), chat.world.digest(), "state that no fact has changed");
        // No state is left when all users have left.
        while let Some(user) = test.users.first() {
            let slot = user.slot;
            test.perform(slot, &Action::Vanish);
            test.check();
        }
        prop_assert!(test.joined.is_empty());
        let chat = &test.fixture.role().chat;
        prop_assert_eq!((chat.world.users.count(), chat.world.channels.count(), chat.sectors.count()), (0, 0, 0));
    }
}
