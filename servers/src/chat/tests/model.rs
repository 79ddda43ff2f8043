//! The chat server against a naive model: random packets from a few sessions, and after each of them everybody has
//! received exactly what the model says, and is in exactly those rooms.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use proptest::prelude::*;
use throng_core::content::{Effect, Effects, SessionCommand};
use throng_core::wire::packets::{
    ChannelAnswer, ChannelCreateRequest, ChannelInfo, ChannelJoinRequest, ChannelKickAnswer,
    ChannelKickRequest, ChannelLeaveRequest, ChannelLeft, ChannelList, ChannelListRequest, ChatMessage,
    ChatRefused, EnterAnswer, ExitAnswer, ExitRequest, PositionUpdate, ServerTimes, User, UserList,
    UserListRequest,
};

use super::*;

const SLOTS: usize = 5;
const INTERVAL: Duration = Duration::from_millis(500);
const SECTOR: i32 = 10;
const CHANNELS: usize = 3;
const CHANNELS_PER_USER: usize = 2;
const NAMES: [&str; 6] = ["one", "ONE", "two", "three", "four", " bad"];

#[derive(Debug, Clone)]
enum Act {
    /// Somebody with the slot's account enters, whether or not it is in already.
    Enter,
    Vanish,
    Exit,
    Say(Scope, u32),
    Bad,
    At(i32, i32),
    Create(usize),
    Join(usize),
    Leave(u32),
    Kick(u32, u32),
    Channels(u32),
    Users(u32, u32),
    Pass(u64),
}

fn act() -> impl Strategy<Value = Act> {
    let number = 0..7u32;
    let user = 0..12u32;
    let scope = (0..Scope::ALL.len()).prop_map(|at| Scope::ALL[at]);
    prop_oneof![
        5 => Just(Act::Enter),
        1 => Just(Act::Vanish),
        1 => Just(Act::Exit),
        8 => (scope, user.clone()).prop_map(|(scope, target)| Act::Say(scope, target)),
        1 => Just(Act::Bad),
        4 => (-25..25, -25..25).prop_map(|(x, y)| Act::At(x, y)),
        4 => (0..NAMES.len()).prop_map(Act::Create),
        5 => (0..NAMES.len()).prop_map(Act::Join),
        3 => number.clone().prop_map(Act::Leave),
        3 => (number.clone(), user.clone()).prop_map(|(channel, user)| Act::Kick(channel, user)),
        1 => number.clone().prop_map(Act::Channels),
        2 => (number, user).prop_map(|(channel, after)| Act::Users(channel, after)),
        2 => (1..700u64).prop_map(Act::Pass),
    ]
}

struct Person {
    slot: usize,
    session: SessionId,
    id: u32,
    at: Option<(i32, i32)>,
}

impl Person {
    fn user(&self) -> User {
        User { id: self.id, name: Text::truncated(&format!("slot {}", self.slot)) }
    }
}

/// A room: the world or a channel.
#[derive(Default)]
struct Room {
    name: String,
    owner: u32,
    members: BTreeSet<u32>,
    version: u64,
    sequence: u64,
}

/// What a client knows of a room by pages and notices.
struct View {
    users: BTreeSet<u32>,
    version: u64,
}

/// The model, and what has come of the role's effects.
struct Scenery {
    stand: RoleFixture<ChatRole>,
    people: Vec<Person>,
    rooms: BTreeMap<u32, Room>,
    last_user: u32,
    last_room: u32,
    /// By the role's effects.
    joined: HashSet<(SessionId, u32)>,
    expelled: HashSet<(SessionId, u32)>,
    closed: Vec<SessionId>,
    inbox: HashMap<SessionId, Vec<Packet>>,
    views: HashMap<(SessionId, u32), View>,
    /// By the model.
    wanted: HashMap<SessionId, Vec<Packet>>,
    wanted_expelled: HashSet<(SessionId, u32)>,
    wanted_closed: Vec<SessionId>,
}

impl Scenery {
    fn new(at_once: usize) -> Self {
        let settings = ChatSettings {
            take_over: true,
            channels: CHANNELS,
            channels_per_user: CHANNELS_PER_USER,
            sector_size: SECTOR as u32,
            notice_at_once: at_once,
            notice_interval: INTERVAL,
            ..ChatSettings::of(&Config::default())
        };
        let stand = RoleFixture::new(Name::Chat, &[], |terminals| {
            let admission = Admission::new(ClusterKey::from_bytes(KEY), CHAT_KEY, now_ms());
            ChatRole::new(settings, admission, terminals, now_ms)
        });
        Self {
            stand,
            people: Vec::new(),
            rooms: BTreeMap::from([(0, Room::default())]),
            last_user: 0,
            last_room: 0,
            joined: HashSet::new(),
            expelled: HashSet::new(),
            closed: Vec::new(),
            inbox: HashMap::new(),
            views: HashMap::new(),
            wanted: HashMap::new(),
            wanted_expelled: HashSet::new(),
            wanted_closed: Vec::new(),
        }
    }

    // What the effects come to.

    fn carry_out(&mut self, mut effects: Effects) {
        for effect in effects.drain() {
            match effect {
                Effect::ToSession(to, SessionCommand::Send(packet)) => self.receive(to, *packet),
                Effect::ToSession(to, SessionCommand::SendEncoded(begin, rest)) => {
                    self.receive(to, Packet::decode(&[&*begin, &*rest].concat()).expect("a packet"));
                }
                Effect::ToSession(id, SessionCommand::Close(_)) => self.closed.push(id),
                Effect::Join(id, room) => {
                    assert!(!self.closed.contains(&id), "{id} is over and joins {room:?}");
                    assert!(self.joined.insert((id, room.0)), "{id} is in {room:?} already");
                }
                Effect::Leave(id, room) => assert!(self.joined.remove(&(id, room.0)), "{id} not in {room:?}"),
                Effect::Expel(id, room) => {
                    assert!(self.joined.remove(&(id, room.0)), "{id} is not in {room:?}");
                    self.expelled.insert((id, room.0));
                }
                Effect::Broadcast(room, _, packet) => {
                    let members: Vec<_> = self.joined.iter().filter(|member| member.1 == room.0).collect();
                    for (id, _) in members.into_iter().copied().collect::<Vec<_>>() {
                        self.receive(id, packet.clone());
                    }
                }
                Effect::Multicast(to, packet) => {
                    assert_eq!(to.iter().collect::<HashSet<_>>().len(), to.len());
                    for id in to {
                        self.receive(id, packet.clone());
                    }
                }
                Effect::Dial(..) => panic!("that is no business of a chat without links"),
            }
        }
    }

    fn receive(&mut self, id: SessionId, packet: Packet) {
        assert!(!self.closed.contains(&id), "{id} is over and gets {packet:?}");
        match packet {
            Packet::UsersChanged(notice) => {
                let view = self.views.get_mut(&(id, notice.channel)).expect("a list goes before notices");
                // Older than the list: nothing new.
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
            packet => packet,
        };
        self.inbox.entry(id).or_default().push(packet);
    }

    // What the model says.

    fn want(&mut self, to: SessionId, packet: impl Into<Packet>) {
        self.wanted.entry(to).or_default().push(packet.into());
    }

    fn person(&self, id: u32) -> Option<&Person> {
        self.people.iter().find(|person| person.id == id)
    }

    fn list(&self, channel: u32, after: u32) -> UserList {
        let room = &self.rooms[&channel];
        let users = room.members.iter().filter(|id| **id > after);
        let users = users.map(|id| self.person(*id).expect("members are in").user()).collect();
        let head_count = room.members.len() as u32;
        UserList { channel, version: room.version, head_count, users: List::new(users).unwrap(), more: false }
    }

    fn leaves_room(&mut self, id: u32, number: u32) {
        let room = self.rooms.get_mut(&number).expect("it is in there");
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
        self.rooms.iter().filter(|room| room.1.members.contains(&id)).map(|room| *room.0).collect()
    }

    fn leaves_chat(&mut self, at: usize, is_put_out: bool) {
        let id = self.people[at].id;
        for number in self.rooms_of(id) {
            self.leaves_room(id, number);
            if is_put_out {
                self.wanted_expelled.insert((self.people[at].session, number));
            }
        }
        let person = self.people.remove(at);
        self.views.retain(|view, _| view.0 != person.session);
    }

    fn enters(&mut self, slot: usize) {
        let session = self.stand.client();
        if let Some(at) = self.people.iter().position(|person| person.slot == slot) {
            self.wanted_closed.push(self.people[at].session);
            self.leaves_chat(at, true);
        }
        self.last_user += 1;
        let person = Person { slot, session, id: self.last_user, at: None };
        let user = person.user();
        self.people.push(person);
        let world = self.rooms.entry(0).or_default();
        world.members.insert(user.id);
        world.version += 1;
        let head_count = world.members.len() as u32;
        self.want(session, EnterAnswer { user, head_count, shard: session.shard() as u8 });
        let list = self.list(0, 0);
        self.want(session, list);
        self.sends(session, ticket(slot as u64, 0, &format!("slot {slot}")));
    }

    fn sends(&mut self, from: SessionId, packet: impl Into<Packet>) {
        let effects = self.stand.packet_effects(from, packet);
        self.carry_out(effects);
    }

    fn says(&mut self, at: usize, scope: Scope, target: u32) {
        let (session, me, here) = (self.people[at].session, self.people[at].user(), self.people[at].at);
        let stamp = u64::from(me.id) + 100;
        let text = Text::truncated("hi");
        self.sends(session, ChatRequest { scope, target, stamp, text: text.clone() });
        if matches!(scope, Scope::World | Scope::Nearby) && target != 0 {
            self.wanted_closed.push(session);
            return self.leaves_chat(at, false);
        }
        let line = |at: i32| (f64::from(at) / f64::from(SECTOR)).floor() as i32;
        let is_near = |(x, y): (i32, i32), (a, b): (i32, i32)| {
            (line(x) - line(a)).abs() <= 1 && (line(y) - line(b)).abs() <= 1
        };
        let hearers: Result<Vec<u32>, Outcome> = match scope {
            Scope::World => Ok(self.people.iter().map(|person| person.id).collect()),
            Scope::Channel => match self.rooms.get(&target).filter(|_| target != 0) {
                Some(room) if room.members.contains(&me.id) => Ok(room.members.iter().copied().collect()),
                _ => Err(Outcome::NotAMember),
            },
            Scope::Nearby => here.ok_or(Outcome::NoPosition).map(|here| {
                let near = |person: &&Person| person.at.is_some_and(|there| is_near(here, there));
                self.people.iter().filter(near).map(|person| person.id).collect()
            }),
            Scope::Whisper => match self.person(target) {
                Some(_) => Ok([me.id, target].into_iter().collect::<BTreeSet<_>>().into_iter().collect()),
                None => Err(Outcome::NoSuchUser),
            },
        };
        match hearers {
            Ok(hearers) => {
                let room = if scope == Scope::Channel { target } else { 0 };
                let mut sequence = 0;
                if matches!(scope, Scope::World | Scope::Channel) {
                    let room = self.rooms.get_mut(&room).expect("it is in there");
                    room.sequence += 1;
                    sequence = room.sequence;
                }
                let message = ChatMessage { scope, target, sequence, sender: me, stamp, times: TIMES, text };
                for hearer in hearers {
                    let session = self.person(hearer).expect("it is in").session;
                    self.want(session, message.clone());
                }
            }
            Err(outcome) => self.want(session, ChatRefused { stamp, outcome }),
        }
    }

    /// A channel is joined or, if `makes`, made.
    fn joins(&mut self, at: usize, wished: &str, makes: bool) {
        let (session, id) = (self.people[at].session, self.people[at].id);
        let name = Text::truncated(wished);
        if makes {
            self.sends(session, ChannelCreateRequest { name: name.clone() });
        } else {
            self.sends(session, ChannelJoinRequest { name: name.clone() });
        }
        let is_it = |room: &(&u32, &Room)| *room.0 != 0 && room.1.name.eq_ignore_ascii_case(wished);
        let found = self.rooms.iter().find(is_it).map(|room| *room.0);
        let is_in = found.is_some_and(|number| self.rooms[&number].members.contains(&id));
        // One of its rooms is the world.
        let has_room = self.rooms_of(id).len() <= CHANNELS_PER_USER;
        let outcome = match found {
            _ if wished.starts_with(' ') => Outcome::NameInvalid,
            Some(_) if makes => Outcome::NameTaken,
            None if !makes => Outcome::NoSuchChannel,
            _ if is_in => Outcome::Ok,
            _ if !has_room => Outcome::TooManyChannels,
            None if self.rooms.len() > CHANNELS => Outcome::TooManyChannels,
            _ => Outcome::Ok,
        };
        if outcome != Outcome::Ok {
            return self.want(session, ChannelAnswer { outcome, channel: 0, name, head_count: 0 });
        }
        let number = found.unwrap_or_else(|| {
            self.last_room += 1;
            let room = Room { name: wished.into(), owner: id, ..Room::default() };
            self.rooms.insert(self.last_room, room);
            self.last_room
        });
        let room = self.rooms.get_mut(&number).expect("it is there");
        if room.members.insert(id) {
            room.version += 1;
        }
        let (name, head_count) = (Text::truncated(&room.name), room.members.len() as u32);
        self.want(session, ChannelAnswer { outcome, channel: number, name, head_count });
        let list = self.list(number, 0);
        self.want(session, list);
    }

    fn kicks(&mut self, at: usize, channel: u32, user: u32) {
        let (session, id) = (self.people[at].session, self.people[at].id);
        self.sends(session, ChannelKickRequest { channel, user });
        let room = self.rooms.get(&channel).filter(|room| channel != 0 && room.members.contains(&id));
        let outcome = match room {
            None => Outcome::NotAMember,
            Some(room) if room.owner != id => Outcome::NotTheOwner,
            Some(room) if !room.members.contains(&user) => Outcome::NotAMember,
            Some(_) => Outcome::Ok,
        };
        if outcome == Outcome::Ok {
            let kicked = self.person(user).expect("members are in").session;
            self.want(kicked, ChannelLeft { channel, outcome: Outcome::Kicked });
            self.wanted_expelled.insert((kicked, channel));
            self.leaves_room(user, channel);
        }
        self.want(session, ChannelKickAnswer { channel, user, outcome });
    }

    fn does(&mut self, slot: usize, act: &Act) {
        if let Act::Pass(ms) = act {
            let effects = self.stand.pass_effects(Duration::from_millis(*ms));
            return self.carry_out(effects);
        }
        let Some(at) = self.people.iter().position(|person| person.slot == slot) else {
            return self.enters(slot);
        };
        let (session, id) = (self.people[at].session, self.people[at].id);
        match *act {
            Act::Enter => self.enters(slot),
            Act::Vanish => {
                let effects = self.stand.client_gone_effects(session);
                self.carry_out(effects);
                self.leaves_chat(at, false);
            }
            Act::Exit => {
                self.sends(session, ExitRequest {});
                self.want(session, ExitAnswer {});
                self.wanted_closed.push(session);
                self.leaves_chat(at, false);
            }
            Act::Say(scope, target) => self.says(at, scope, if target > 8 { 0 } else { target }),
            Act::Bad => {
                self.sends(session, ExitAnswer {});
                self.wanted_closed.push(session);
                self.leaves_chat(at, false);
            }
            Act::At(x, y) => {
                self.sends(session, PositionUpdate { x, y });
                self.people[at].at = Some((x, y));
            }
            Act::Create(name) => self.joins(at, NAMES[name], true),
            Act::Join(name) => self.joins(at, NAMES[name], false),
            Act::Leave(channel) => {
                self.sends(session, ChannelLeaveRequest { channel });
                let is_in = channel != 0 && self.rooms_of(id).contains(&channel);
                if is_in {
                    self.leaves_room(id, channel);
                }
                let outcome = if is_in { Outcome::Ok } else { Outcome::NotAMember };
                self.want(session, ChannelLeft { channel, outcome });
            }
            Act::Kick(channel, user) => self.kicks(at, channel, user),
            Act::Channels(after) => {
                self.sends(session, ChannelListRequest { after });
                let infos = self.rooms.iter().filter(|(number, _)| **number > after).map(|(number, room)| {
                    let (name, head_count) = (Text::truncated(&room.name), room.members.len() as u32);
                    ChannelInfo { channel: *number, name, head_count }
                });
                let channels = List::new(infos.collect()).unwrap();
                self.want(session, ChannelList { channels, more: false });
            }
            Act::Users(channel, after) => {
                self.sends(session, UserListRequest { channel, after });
                let list = if self.rooms_of(id).contains(&channel) {
                    self.list(channel, after)
                } else {
                    UserList { channel, version: 0, head_count: 0, users: List::default(), more: false }
                };
                self.want(session, list);
            }
            Act::Pass(_) => {}
        }
    }

    /// Everything has come as the model says.
    fn check(&mut self) {
        assert_eq!(std::mem::take(&mut self.inbox), std::mem::take(&mut self.wanted));
        assert_eq!(std::mem::take(&mut self.expelled), std::mem::take(&mut self.wanted_expelled));
        let closed = std::mem::take(&mut self.closed);
        assert_eq!(closed, std::mem::take(&mut self.wanted_closed));
        for session in closed {
            assert!(self.stand.client_gone(session).is_empty(), "its end finds nothing more to do");
            self.views.retain(|view, _| view.0 != session);
        }
        let members = self
            .people
            .iter()
            .flat_map(|person| self.rooms_of(person.id).into_iter().map(|number| (person.session, number)));
        assert_eq!(self.joined, members.collect());
    }
}

const TIMES: ServerTimes = ServerTimes { received_us: 0, queued_us: 0, handled_us: 0 };

proptest! {
    #[test]
    fn everybody_gets_what_the_model_says_and_nothing_else(
        at_once in 0..6usize,
        acts in prop::collection::vec((0..SLOTS, act()), 1..150),
    ) {
        let mut scenery = Scenery::new(at_once);
        for (slot, act) in &acts {
            scenery.does(*slot, act);
            scenery.check();
        }
        scenery.does(0, &Act::Pass(1000));
        scenery.check();
        for person in &scenery.people {
            for number in scenery.rooms_of(person.id) {
                let view = &scenery.views[&(person.session, number)];
                prop_assert_eq!(&view.users, &scenery.rooms[&number].members);
                prop_assert_eq!(view.version, scenery.rooms[&number].version);
            }
        }
        // Everybody goes: nothing is left.
        while let Some(person) = scenery.people.first() {
            let slot = person.slot;
            scenery.does(slot, &Act::Vanish);
            scenery.check();
        }
        prop_assert!(scenery.joined.is_empty());
        let chat = &scenery.stand.role().chat;
        prop_assert_eq!((chat.users.count(), chat.channels.count(), chat.sectors.count()), (0, 0, 0));
    }
}
