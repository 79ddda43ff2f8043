//! Clients whose connections break anywhere: each gets every message once and in order, each
//! request takes effect once, and the others notice nothing.

use std::collections::{BTreeMap, BTreeSet, HashSet, VecDeque};

use proptest::prelude::*;
use throng_core::content::{Effect, Effects, SessionCommand};
use throng_core::wire::packets::{
    ChannelJoinRequest, ChannelKickRequest, ChannelLeft, ChatMessage, ExitRequest, HeldChannel,
    HistoryRequest, ResumeAnswer, ResumeRequest,
};

use super::*;

const CLIENTS: usize = 4;
const WINDOW: Duration = Duration::from_secs(30);
const CHANNEL: &str = "den";

fn settings() -> ChatSettings {
    ChatSettings {
        take_over: false,
        notice_at_once: 100,
        resume_window: WINDOW,
        ..ChatSettings::of(&Config::default())
    }
}

fn chat(settings: ChatSettings) -> RoleFixture<ChatRole> {
    RoleFixture::new(PeerRole::Chat, &[], |links| {
        let admission = Admission::new(ClusterKey::from_bytes(KEY), CHAT_KEY, now_ms());
        ChatRole::new(settings, admission, resume_tokens(1), links, now_ms)
    })
}

/// A player's client: what it has read, and what it has sent.
#[derive(Default)]
struct Client {
    account: u64,
    /// The session; the server may hold it for open although the client has given it up.
    session: Option<SessionId>,
    is_up: bool,
    /// True from ResumeRequest to ResumeAnswer.
    awaits_answer: bool,
    /// Packets on their way to the client.
    incoming: VecDeque<Packet>,
    /// Packets on their way to the server.
    outgoing: VecDeque<Packet>,
    user: u32,
    token: ResumeTokenBytes,
    /// Number of the latest message of each room, and of the first one.
    rooms: BTreeMap<u32, u64>,
    whispers: u64,
    answers: u32,
    version: u64,
    present: BTreeSet<u32>,
    /// Packets sent since the entry that the server counts.
    sent: Vec<Packet>,
    /// Room, number and stamp of each message.
    heard: Vec<(u32, u64, u64)>,
    whispered: Vec<u64>,
    was_refused: bool,
    notices: Vec<(Vec<u32>, Vec<u32>)>,
}

struct Net {
    fixture: RoleFixture<ChatRole>,
    clients: Vec<Client>,
    joined: HashSet<(SessionId, u32)>,
    /// Messages of each room in order: number and stamp.
    said: BTreeMap<u32, Vec<(u64, u64)>>,
    stamps: u64,
}

impl Net {
    fn new(settings: ChatSettings) -> Self {
        let clients = (1..=CLIENTS as u64).map(|account| Client { account, ..Client::default() }).collect();
        Self { fixture: chat(settings), clients, joined: HashSet::new(), said: BTreeMap::new(), stamps: 0 }
    }

    fn client_of(&mut self, session: SessionId) -> Option<&mut Client> {
        self.clients.iter_mut().find(|client| client.session == Some(session) && client.is_up)
    }

    fn carry_out(&mut self, mut effects: Effects) {
        for effect in effects.drain() {
            match effect {
                Effect::ToSession(to, SessionCommand::Send(packet)) => self.send(to, *packet),
                Effect::ToSession(to, SessionCommand::SendEncoded(begin, rest)) => {
                    self.send(to, Packet::decode(&[&*begin, &*rest].concat()).expect("an encoded packet"));
                }
                Effect::ToSession(id, SessionCommand::Close(reason)) => {
                    self.joined.retain(|(member, _)| *member != id);
                    if let Some(client) = self.client_of(id) {
                        client.was_refused = reason == CloseReason::PlaceLost;
                        client.is_up = false;
                        client.session = None;
                    }
                }
                Effect::Join(id, room) => assert!(self.joined.insert((id, room.0)), "{id} joins twice"),
                Effect::Leave(id, room) | Effect::Expel(id, room) => {
                    assert!(self.joined.remove(&(id, room.0)), "{id} is not in {room:?}");
                }
                Effect::Settle(_) | Effect::Revoke(_) => {}
                Effect::Broadcast(room, _, packet) => {
                    if let Packet::ChatMessage(message) = &packet {
                        let said = self.said.entry(room.0).or_default();
                        said.push((message.sequence, message.stamp));
                    }
                    let members: Vec<_> = self.joined.iter().filter(|(_, other)| *other == room.0).collect();
                    for id in members.into_iter().map(|(id, _)| *id).collect::<Vec<_>>() {
                        self.send(id, packet.clone());
                    }
                }
                Effect::Multicast(_, to, packet) => to.iter().for_each(|id| self.send(*id, packet.clone())),
                Effect::Dial(..) => panic!("there are no links"),
            }
        }
    }

    fn send(&mut self, to: SessionId, packet: Packet) {
        if let Some(client) = self.client_of(to) {
            client.incoming.push_back(packet);
        }
    }

    fn enter(&mut self, at: usize) {
        let (session, account) = (self.fixture.open_client(), self.clients[at].account);
        self.clients[at] = Client { account, session: Some(session), is_up: true, ..Client::default() };
        let effects = self.fixture.deliver_effects(session, ticket(account, 0, "somebody"));
        self.carry_out(effects);
        self.read_all(at);
    }

    /// Sends a packet that the server counts.
    fn request(&mut self, at: usize, packet: impl Into<Packet>) {
        let packet = packet.into();
        let client = &mut self.clients[at];
        client.sent.push(packet.clone());
        if client.is_up && !client.awaits_answer {
            client.outgoing.push_back(packet);
        }
    }

    fn say(&mut self, at: usize, scope: Scope, target: u32) {
        self.stamps += 1;
        let (stamp, text) = (self.stamps, Text::truncated("hi"));
        self.request(at, ChatRequest { scope, target, stamp, text });
    }

    /// Lets packets reach the server.
    fn flow(&mut self, at: usize, count: usize) {
        for _ in 0..count {
            let client = &mut self.clients[at];
            let (Some(session), Some(packet)) = (client.session, client.outgoing.pop_front()) else { return };
            let effects = self.fixture.deliver_effects(session, packet);
            self.carry_out(effects);
        }
    }

    /// Breaks a connection, with what is on its way. The server may not notice.
    fn cut(&mut self, at: usize, is_noticed: bool) {
        let client = &mut self.clients[at];
        client.is_up = false;
        client.incoming.clear();
        client.outgoing.clear();
        if is_noticed {
            self.notice(at);
        }
    }

    /// Lets the server notice that a connection is broken.
    fn notice(&mut self, at: usize) {
        let client = &mut self.clients[at];
        if !client.is_up
            && let Some(session) = client.session.take()
        {
            let effects = self.fixture.close_client_effects(session);
            self.carry_out(effects);
        }
    }

    fn resume(&mut self, at: usize) {
        let session = self.fixture.open_client();
        let client = &mut self.clients[at];
        let held = client.rooms.iter().filter(|(room, _)| **room != 0);
        let held = held.map(|(channel, sequence)| HeldChannel { channel: *channel, sequence: *sequence });
        let request = ResumeRequest {
            token: client.token.clone(),
            answers: client.answers,
            whispers: client.whispers,
            world: client.rooms.get(&0).copied().unwrap_or_default(),
            list_version: client.version,
            channels: List::new(held.collect()).unwrap(),
        };
        client.incoming.clear();
        client.outgoing.clear();
        (client.session, client.is_up, client.awaits_answer) = (Some(session), true, true);
        let effects = self.fixture.deliver_effects(session, request);
        self.carry_out(effects);
    }

    fn read_all(&mut self, at: usize) {
        self.read(at, usize::MAX);
    }

    fn read(&mut self, at: usize, count: usize) {
        for _ in 0..count {
            let client = &mut self.clients[at];
            let Some(packet) = client.incoming.pop_front() else { return };
            client.read(packet);
        }
    }

    /// Checks what a client has heard against what was said.
    fn check(&self, at: usize) {
        for (room, number, stamp) in &self.clients[at].heard {
            assert!(self.said[room].contains(&(*number, *stamp)), "{room} {number} {stamp}");
        }
    }
}

impl Client {
    fn read(&mut self, packet: Packet) {
        match packet {
            Packet::EnterAnswer(answer) => {
                (self.user, self.token) = (answer.user.id, answer.token);
                assert_eq!((answer.resume_ms, answer.heartbeat_ms), (30_000, 45_000));
            }
            Packet::ResumeAnswer(ResumeAnswer { handled, answers_from, token, .. }) => {
                assert_eq!(answers_from, self.answers + 1, "answers are lost");
                (self.token, self.awaits_answer) = (token, false);
                self.outgoing = self.sent[handled as usize..].to_vec().into();
            }
            Packet::ChatMessage(message) => self.hear(&message),
            Packet::UserList(list) if list.channel == 0 => {
                self.version = list.version;
                self.present = list.users.iter().map(|user| user.id).collect();
            }
            Packet::UsersChanged(notice) if notice.channel == 0 => {
                assert!(notice.complete);
                if notice.version > self.version {
                    assert!(notice.since <= self.version);
                    self.version = notice.version;
                    self.present.extend(notice.entered.iter().map(|user| user.id));
                    self.present.retain(|id| !notice.left.contains(id));
                    let entered = notice.entered.iter().map(|user| user.id).collect();
                    self.notices.push((entered, notice.left.to_vec()));
                }
            }
            Packet::ChannelAnswer(answer) => {
                self.answers += 1;
                if answer.outcome == Outcome::Ok {
                    self.rooms.entry(answer.channel).or_default();
                }
            }
            Packet::ChannelLeft(ChannelLeft { channel, outcome }) => {
                self.answers += 1;
                if outcome != Outcome::NotAMember {
                    self.rooms.remove(&channel);
                }
            }
            Packet::ChatRefused(_) | Packet::ChannelKickAnswer(_) | Packet::TooFast(_) => self.answers += 1,
            Packet::ChatGap(gap) => panic!("{gap:?}"),
            _ => {}
        }
    }

    fn hear(&mut self, message: &ChatMessage) {
        let ChatMessage { scope, target, sequence, stamp, .. } = *message;
        let latest = match scope {
            Scope::World => self.rooms.entry(0).or_default(),
            Scope::Channel => self.rooms.get_mut(&target).expect("a message of a room that it is in"),
            Scope::Whisper => {
                self.whispered.push(stamp);
                &mut self.whispers
            }
            Scope::Nearby => panic!("nobody has a position"),
        };
        assert!(*latest == 0 || sequence == *latest + 1, "{sequence} follows {latest}");
        *latest = sequence;
        if scope != Scope::Whisper {
            self.heard.push((if scope == Scope::World { 0 } else { target }, sequence, stamp));
        }
    }
}

#[derive(Debug, Clone)]
enum Act {
    Say,
    SayInChannel,
    Whisper(usize),
    Create,
    Join,
    Leave,
    Kick(usize),
    Flow(usize),
    Read(usize),
    Cut(bool),
    Notice,
    Resume,
    Wait(u64),
}

fn act() -> impl Strategy<Value = Act> {
    prop_oneof![
        8 => Just(Act::Say),
        4 => Just(Act::SayInChannel),
        4 => (0..CLIENTS).prop_map(Act::Whisper),
        2 => Just(Act::Create),
        3 => Just(Act::Join),
        1 => Just(Act::Leave),
        1 => (0..CLIENTS).prop_map(Act::Kick),
        12 => (1..6usize).prop_map(Act::Flow),
        8 => (1..6usize).prop_map(Act::Read),
        5 => any::<bool>().prop_map(Act::Cut),
        3 => Just(Act::Notice),
        8 => Just(Act::Resume),
        1 => (1..9u64).prop_map(Act::Wait),
    ]
}

proptest! {
    #[test]
    fn every_message_comes_once_and_every_request_is_done_once_wherever_connections_break(
        acts in prop::collection::vec((0..CLIENTS, act()), 1..200),
    ) {
        let mut net = Net::new(settings());
        (0..CLIENTS).for_each(|at| net.enter(at));
        let waited: u64 = acts.iter().map(|(_, act)| if let Act::Wait(seconds) = act { *seconds } else { 0 }).sum();
        for (at, act) in acts {
            let den = net.clients[at].rooms.keys().copied().find(|room| *room != 0);
            match act {
                Act::Say => net.say(at, Scope::World, 0),
                Act::SayInChannel => net.say(at, Scope::Channel, den.unwrap_or(1)),
                Act::Whisper(to) => net.say(at, Scope::Whisper, net.clients[to].user),
                Act::Create => net.request(at, ChannelCreateRequest { name: WishedChannel::truncated(CHANNEL) }),
                Act::Join => net.request(at, ChannelJoinRequest { name: WishedChannel::truncated(CHANNEL) }),
                Act::Leave => net.request(at, ChannelLeaveRequest { channel: den.unwrap_or(1) }),
                Act::Kick(user) => {
                    let user = net.clients[user].user;
                    net.request(at, ChannelKickRequest { channel: den.unwrap_or(1), user });
                }
                Act::Flow(count) => net.flow(at, count),
                Act::Read(count) => net.read(at, count),
                Act::Cut(is_noticed) => net.cut(at, is_noticed),
                Act::Notice => net.notice(at),
                Act::Resume => net.resume(at),
                Act::Wait(seconds) => {
                    // Fewer seconds in all than a place is kept, in most of the cases.
                    if waited < WINDOW.as_secs() {
                        let effects = net.fixture.advance_effects(Duration::from_secs(seconds));
                        net.carry_out(effects);
                    }
                }
            }
        }
        for at in 0..CLIENTS {
            if !net.clients[at].is_up {
                net.resume(at);
            }
            net.read_all(at);
            net.flow(at, usize::MAX);
        }
        (0..CLIENTS).for_each(|at| net.read_all(at));
        let mut stamps = BTreeSet::new();
        for (room, said) in &net.said {
            for (number, stamp) in said {
                prop_assert!(stamps.insert(*stamp), "{stamp} was said twice");
                prop_assert_eq!(said[*number as usize - 1], (*number, *stamp), "room {}", room);
            }
        }
        let users: BTreeSet<u32> = net.clients.iter().map(|client| client.user).collect();
        for at in 0..CLIENTS {
            net.check(at);
            let client = &net.clients[at];
            prop_assert!(client.is_up && !client.was_refused);
            // The world's messages since its entry, without a gap.
            let heard: Vec<u64> = client.heard.iter().filter(|(room, ..)| *room == 0).map(|it| it.1).collect();
            let all: Vec<u64> = net.said.get(&0).into_iter().flatten().map(|it| it.0).collect();
            prop_assert_eq!(heard, all);
            prop_assert_eq!(client.whispered.len() as u64, client.whispers);
            prop_assert_eq!(&client.present, &users);
            // No client was told of a user that came back.
            prop_assert!(client.notices.iter().all(|(_, left)| left.is_empty()), "{:?}", client.notices);
            let said = client.sent.iter().filter(|packet| {
                matches!(packet, Packet::ChatRequest(request) if request.scope == Scope::World)
            });
            for packet in said {
                let Packet::ChatRequest(request) = packet else { unreachable!() };
                prop_assert!(stamps.contains(&request.stamp), "{} was not said", request.stamp);
            }
        }
    }
}

/// Creates a chat with two users that have read all, in one channel.
fn two() -> Net {
    let mut net = Net::new(settings());
    for at in 0..2 {
        net.enter(at);
    }
    net.request(0, ChannelCreateRequest { name: WishedChannel::truncated(CHANNEL) });
    net.flow(0, 1);
    net.request(1, ChannelJoinRequest { name: WishedChannel::truncated(CHANNEL) });
    net.flow(1, 1);
    (0..2).for_each(|at| net.read_all(at));
    net
}

fn resume_with(net: &mut Net, token: ResumeTokenBytes) -> (SessionId, Vec<String>) {
    let session = net.fixture.open_client();
    let request = ResumeRequest {
        token,
        answers: 0,
        whispers: 0,
        world: 0,
        list_version: 0,
        channels: List::default(),
    };
    let effects = net.fixture.deliver_effects(session, request);
    (session, effects.describe())
}

#[test]
fn a_wrong_token_changes_nothing() {
    let mut net = two();
    let good = net.clients[0].token.clone();
    let foreign = resume_tokens(2);
    let claim = Claim { account: 1, id: 0 };
    let own = resume_tokens(1);
    let token = |user, counter, claim| own.seal(&throng_core::crypto::ResumeToken { user, counter, claim });
    let mut changed = good.to_vec();
    changed[40] ^= 1;
    for wrong in [
        ResumeTokenBytes::default(),
        ResumeTokenBytes::new(changed).unwrap(),
        foreign.seal(&throng_core::crypto::ResumeToken { user: 1, counter: 1, claim }),
        token(1, 0, claim),
        token(1, 2, claim),
        token(1, u64::MAX, claim),
        token(9, 1, claim),
        token(1, 1, Claim { account: 2, id: 0 }),
        token(1, 1, Claim { account: 1, id: 5 }),
    ] {
        let (session, lines) = resume_with(&mut net, wrong);
        assert_eq!(lines, [format!("{session} closed: PlaceLost")]);
    }
    net.say(0, Scope::World, 0);
    net.flow(0, 1);
    net.read_all(0);
    assert_eq!(net.clients[0].heard.len(), 1, "the user is still there");
    let (_, lines) = resume_with(&mut net, good);
    assert!(lines.iter().any(|line| line.contains("ResumeAnswer")), "{lines:?}");
}

#[test]
fn of_two_connections_with_one_token_the_later_wins_and_the_earlier_is_told() {
    let mut net = two();
    let token = net.clients[0].token.clone();
    net.cut(0, true);
    let (first, _) = resume_with(&mut net, token.clone());
    let (_, lines) = resume_with(&mut net, token.clone());
    assert!(lines.contains(&format!("{first} closed: ResumedElsewhere")), "{lines:?}");
    assert!(lines.contains(&format!("{first} leaves 0")), "{lines:?}");
    assert!(net.fixture.close_client(first).is_empty(), "its end concerns nobody");
    // The new token makes the old one void.
    let newer = resume_tokens(1).seal(&throng_core::crypto::ResumeToken {
        user: 1,
        counter: 2,
        claim: Claim { account: 1, id: 0 },
    });
    resume_with(&mut net, newer);
    let (late, lines) = resume_with(&mut net, token);
    assert_eq!(lines, [format!("{late} closed: PlaceLost")]);
}

#[test]
fn a_user_that_is_not_back_in_time_leaves_once_and_its_token_is_void() {
    let mut net = two();
    let token = net.clients[0].token.clone();
    net.cut(0, true);
    let effects = net.fixture.advance_effects(WINDOW / 2);
    net.carry_out(effects);
    net.read_all(1);
    assert!(net.clients[1].notices.is_empty());
    for _ in 0..2 {
        let effects = net.fixture.advance_effects(WINDOW / 2);
        net.carry_out(effects);
    }
    net.read_all(1);
    assert_eq!(net.clients[1].notices, [(vec![], vec![1])]);
    assert!(resume_with(&mut net, token).1[0].ends_with("closed: PlaceLost"));
    assert_eq!(net.fixture.role().chat.seats.away(), 0);
}

#[test]
fn a_user_that_leaves_by_itself_or_logs_in_anew_cannot_resume() {
    let mut net = two();
    let token = net.clients[0].token.clone();
    net.request(0, ExitRequest {});
    net.flow(0, 1);
    assert!(resume_with(&mut net, token).1[0].ends_with("closed: PlaceLost"));

    let mut net = two();
    let token = net.clients[0].token.clone();
    net.cut(0, true);
    net.enter(0);
    assert_ne!(net.clients[0].user, 1, "a place that is away does not refuse its own player");
    assert!(resume_with(&mut net, token).1[0].ends_with("closed: PlaceLost"));
    net.read_all(1);
    assert_eq!(net.clients[1].notices.len(), 2, "it left, and came");
}

#[test]
fn a_user_that_was_kicked_meanwhile_is_told_and_hears_no_more_of_the_channel() {
    let mut net = two();
    net.cut(1, true);
    net.say(0, Scope::Channel, 1);
    net.request(0, ChannelKickRequest { channel: 1, user: 2 });
    net.say(0, Scope::Channel, 1);
    net.flow(0, 3);
    net.resume(1);
    net.read_all(1);
    assert_eq!(net.clients[1].rooms.keys().copied().collect::<Vec<_>>(), [] as [u32; 0]);
    assert!(net.clients[1].heard.is_empty(), "what it may not read now it does not get");
    net.say(1, Scope::Channel, 1);
    net.flow(1, 1);
    net.read_all(1);
    assert_eq!(net.clients[1].answers, 3);
}

#[test]
fn what_is_kept_no_more_is_a_gap_of_the_exact_size() {
    let mut settings = settings();
    settings.resume_bytes = 2000;
    let mut net = Net::new(settings);
    (0..2).for_each(|at| net.enter(at));
    net.say(0, Scope::World, 0);
    net.flow(0, 1);
    (0..2).for_each(|at| net.read_all(at));
    net.cut(1, true);
    for _ in 0..1000 {
        net.say(0, Scope::World, 0);
        net.flow(0, 1);
    }
    net.resume(1);
    let incoming = std::mem::take(&mut net.clients[1].incoming);
    net.clients[1].awaits_answer = false;
    let gap = incoming.iter().position(|packet| matches!(packet, Packet::ChatGap(_))).unwrap();
    let Packet::ChatGap(ref told) = incoming[gap] else { unreachable!() };
    let Packet::ChatMessage(ref next) = incoming[gap + 1] else { panic!("a message follows the gap") };
    assert_eq!(1 + told.missed + 1, next.sequence);
    let messages = incoming.iter().filter(|packet| matches!(packet, Packet::ChatMessage(_))).count() as u64;
    assert_eq!(told.missed + messages, 1000);
    assert!(messages > 10, "{messages} of 2,000 bytes");
    // The gap can be closed from the history.
    let request = HistoryRequest { channel: 0, before: next.sequence, count: 200 };
    net.request(1, request);
    net.flow(1, 1);
    let Some(Packet::History(page)) = net.clients[1].incoming.pop_back() else { panic!("no page") };
    assert_eq!(page.messages.last().map(|last| last.sequence), Some(next.sequence - 1));
    assert!(page.more && page.messages.len() > 100);
}

#[test]
fn history_from_before_a_user_came_is_not_its_to_read_but_for_the_latest() {
    let mut settings = settings();
    settings.history_on_join = 5;
    let mut net = Net::new(settings);
    (0..2).for_each(|at| net.enter(at));
    net.request(0, ChannelCreateRequest { name: WishedChannel::truncated(CHANNEL) });
    for _ in 0..50 {
        net.say(0, Scope::World, 0);
        net.say(0, Scope::Channel, 1);
    }
    net.flow(0, usize::MAX);
    net.enter(2);
    net.request(2, HistoryRequest { channel: 0, before: 0, count: 100 });
    net.request(2, HistoryRequest { channel: 1, before: 0, count: 100 });
    net.request(2, ChannelJoinRequest { name: WishedChannel::truncated(CHANNEL) });
    net.request(2, HistoryRequest { channel: 1, before: 0, count: 100 });
    net.request(2, HistoryRequest { channel: 1, before: 48, count: 100 });
    net.flow(2, usize::MAX);
    let pages = net.clients[2].incoming.iter().filter_map(|packet| match packet {
        Packet::History(page) => {
            Some((page.channel, page.messages.iter().map(|message| message.sequence).collect(), page.more))
        }
        _ => None,
    });
    let latest = || vec![46, 47, 48, 49, 50];
    let wanted: [(u32, Vec<u64>, bool); 5] = [
        (0, vec![], false),
        (1, vec![], false),
        (1, latest(), false),
        (1, latest(), false),
        (1, vec![46, 47], false),
    ];
    assert_eq!(pages.collect::<Vec<_>>(), wanted);
}

#[test]
fn no_more_places_are_kept_than_may_be() {
    let mut settings = settings();
    settings.away_max = 2;
    let mut net = Net::new(settings);
    (0..CLIENTS).for_each(|at| net.enter(at));
    for at in 0..3 {
        net.cut(at, true);
    }
    let effects = net.fixture.advance_effects(Duration::ZERO);
    net.carry_out(effects);
    net.read_all(3);
    assert_eq!(net.clients[3].notices, [(vec![], vec![1])], "the longest away has left");
    assert_eq!(net.fixture.role().chat.seats.away(), 2);
}
