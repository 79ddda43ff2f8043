//! Chat servers with one world, over a model of the bus.

use std::collections::BTreeMap;
use std::sync::Arc;

use parking_lot::Mutex;
use throng_core::content::{Effect, Effects, SessionCommand};
use throng_core::crypto::ResumeToken;
use throng_core::wire::packets::{
    ChannelAnswer, ChannelCreateRequest, ChannelJoinRequest, ChannelKickRequest, ChatMessage, ChatRefused,
    ChatRequest, EnterAnswer, ExitRequest, PositionUpdate, ResumeAnswer, ResumeRequest,
};
use throng_core::wire::{Line, Reader};

use super::*;
use crate::fleet::{Batch, Body, Command, Event, NodeInfo, Timing};

const TIMING: Timing = Timing {
    heartbeat: Duration::from_millis(250),
    dead_after: Duration::from_millis(1200),
    cut_after: Duration::from_secs(1),
    resend_after: Duration::from_millis(500),
};

const EPOCH: [u8; 16] = [3; 16];

/// A chat server, its clients, and its way to the bus.
pub(super) struct Node {
    pub(super) fixture: RoleFixture<ChatRole>,
    pub(super) outbox: Arc<Mutex<Vec<Command>>>,
    /// Batches of the order that it has read.
    pub(super) read: usize,
    pub(super) is_cut_off: bool,
    /// Packets that each session was sent, or that its rooms were.
    pub(super) received: BTreeMap<SessionId, Vec<Packet>>,
    rooms: Vec<(SessionId, RoomId)>,
    pub(super) closed: Vec<(SessionId, CloseReason)>,
}

#[derive(Default)]
struct Fleet {
    nodes: Vec<Node>,
    order: Vec<Batch>,
    snapshot: Option<(u64, Vec<u8>)>,
}

impl Node {
    fn new(number: u64, snapshot: Option<(u64, Vec<u8>)>) -> Self {
        Self::of_epoch(number, EPOCH, snapshot)
    }

    pub(super) fn of_epoch(number: u64, epoch: [u8; 16], snapshot: Option<(u64, Vec<u8>)>) -> Self {
        let settings = ChatSettings {
            take_over: true,
            notice_at_once: 100,
            crowd: 3,
            ..ChatSettings::of(&Config::default())
        };
        let outbox: Arc<Mutex<Vec<Command>>> = Arc::default();
        let outlet = outbox.clone();
        let fixture = RoleFixture::new(PeerRole::Chat, &[PeerRole::DbAgent], |links| {
            let admission = Admission::new(ClusterKey::from_bytes(KEY), CHAT_KEY, now_ms());
            let info = NodeInfo {
                name: Line::truncated(&format!("chat-{number}")),
                client_address: Line::truncated("127.0.0.1:9200"),
                client_key: CHAT_KEY,
            };
            let fleet = FleetSettings {
                timing: TIMING,
                info,
                cluster: ClusterKey::from_bytes(KEY),
                instance: number << 32,
                outlet: Box::new(move |command| outlet.lock().push(command)),
            };
            ChatRole::new(settings, admission, resume_tokens(number), links, now_ms)
                .in_fleet(fleet, Instant::now())
        });
        let (sequence, state) = snapshot.map_or((0, None), |(sequence, state)| (sequence, Some(state)));
        let mut node = Self {
            fixture,
            outbox,
            read: sequence as usize,
            is_cut_off: false,
            received: BTreeMap::new(),
            rooms: Vec::new(),
            closed: Vec::new(),
        };
        node.hear(Event::Joined { epoch, sequence, state });
        node
    }

    /// Ends a session whose connection is lost.
    pub(super) fn lose(&mut self, session: SessionId) {
        self.lose_for(session, CloseReason::PeerClosed);
    }

    fn lose_for(&mut self, session: SessionId, reason: CloseReason) {
        let effects = self.fixture.close_client_effects_for(session, reason);
        self.carry_out(effects);
    }

    pub(super) fn has_user(&self, user: u32) -> bool {
        self.fixture.role().chat.world.users.get(user).is_some()
    }

    pub(super) fn hear(&mut self, event: Event) {
        let effects = self.fixture.record(event);
        self.carry_out(effects);
    }

    pub(super) fn deliver(&mut self, session: SessionId, packet: impl Into<Packet>) {
        let effects = self.fixture.deliver_effects(session, packet);
        self.carry_out(effects);
    }

    pub(super) fn advance(&mut self, time: Duration) {
        let effects = self.fixture.advance_effects(time);
        self.carry_out(effects);
    }

    fn carry_out(&mut self, mut effects: Effects) {
        for effect in effects.drain() {
            match effect {
                Effect::ToSession(to, SessionCommand::Send(packet)) => self.send(to, *packet),
                Effect::ToSession(to, SessionCommand::SendEncoded(begin, rest)) => {
                    self.send(to, Packet::decode(&[&*begin, &*rest].concat()).unwrap());
                }
                Effect::ToSession(id, SessionCommand::Close(reason)) => self.closed.push((id, reason)),
                Effect::Join(id, room) => self.rooms.push((id, room)),
                Effect::Leave(id, room) | Effect::Expel(id, room) => {
                    let before = self.rooms.len();
                    self.rooms.retain(|member| *member != (id, room));
                    assert_eq!(self.rooms.len() + 1, before, "{id} is in {room:?} once");
                }
                Effect::Broadcast(room, _, packet) => {
                    let members: Vec<_> =
                        self.rooms.iter().filter(|(_, other)| *other == room).map(|(id, _)| *id).collect();
                    for id in members {
                        self.send(id, packet.clone());
                    }
                }
                Effect::Multicast(_, to, packet) => to.iter().for_each(|id| self.send(*id, packet.clone())),
                Effect::Revoke(_) | Effect::Settle(_) | Effect::Dial(..) => {}
            }
        }
    }

    fn send(&mut self, to: SessionId, packet: Packet) {
        self.received.entry(to).or_default().push(packet);
    }

    /// Returns what a session was sent of one kind, and forgets all that it was sent.
    fn take<P: TryFrom<Packet>>(&mut self, session: SessionId) -> Vec<P> {
        let received = self.received.remove(&session).unwrap_or_default();
        received.into_iter().filter_map(|packet| P::try_from(packet).ok()).collect()
    }

    fn enter(&mut self, account: u64) -> SessionId {
        let session = self.fixture.open_client();
        self.deliver(session, ticket(account, 0, &format!("user {account}")));
        session
    }

    fn say(&mut self, session: SessionId, scope: Scope, target: u32, text: &str) {
        let text = Text::truncated(text);
        self.deliver(session, ChatRequest { scope, target, stamp: 1, text });
    }

    pub(super) fn digest(&self) -> u64 {
        self.fixture.role().chat.world.digest()
    }
}

impl Fleet {
    fn new(nodes: u64) -> Self {
        let mut fleet = Self::default();
        for number in 1..=nodes {
            fleet.nodes.push(Node::new(number, None));
        }
        fleet.settle();
        fleet
    }

    /// Lets time pass in small steps, in which batches go both ways.
    fn pass(&mut self, time: Duration) {
        let step = Duration::from_millis(10);
        for _ in 0..time.as_millis() / step.as_millis() {
            for at in 0..self.nodes.len() {
                self.nodes[at].advance(step);
                let commands: Vec<_> = self.nodes[at].outbox.lock().drain(..).collect();
                let is_cut_off = self.nodes[at].is_cut_off;
                for command in commands.into_iter().filter(|_| !is_cut_off) {
                    match command {
                        Command::Publish(outgoing) => self.order.push(Batch {
                            sequence: self.order.len() as u64 + 1,
                            instance: outgoing.instance,
                            counter: outgoing.counter,
                            body: Body::decode(&outgoing.text).unwrap(),
                        }),
                        Command::KeepSnapshot { sequence, state } => self.snapshot = Some((sequence, state)),
                    }
                }
            }
            for node in self.nodes.iter_mut().filter(|node| !node.is_cut_off) {
                while let Some(batch) = self.order.get(node.read).cloned() {
                    node.read += 1;
                    node.hear(Event::Batch(batch));
                }
            }
        }
    }

    fn settle(&mut self) {
        self.pass(Duration::from_millis(50));
    }

    fn enter(&mut self, node: usize, account: u64) -> SessionId {
        let session = self.nodes[node].enter(account);
        self.settle();
        session
    }

    /// Returns the number of the latest batch of a node.
    fn counter_of(&self, instance: u64) -> u64 {
        let own = self.order.iter().filter(|batch| batch.instance == instance);
        own.map(|batch| batch.counter).max().unwrap_or(0)
    }

    fn texts(&mut self, node: usize, session: SessionId) -> Vec<(u64, String)> {
        let messages = self.nodes[node].take::<ChatMessage>(session);
        messages.into_iter().map(|message| (message.sequence, message.text.to_string())).collect()
    }

    fn check(&self) {
        let digests: Vec<_> = self.nodes.iter().map(Node::digest).collect();
        assert!(digests.iter().all(|digest| *digest == digests[0]), "the folds differ");
    }
}

fn numbered(texts: &[&str]) -> Vec<(u64, String)> {
    texts.iter().zip(1..).map(|(text, number)| (number, (*text).to_owned())).collect()
}

#[test]
fn users_of_different_nodes_share_rooms_lists_and_whispers() {
    let mut fleet = Fleet::new(2);
    let [a, b] = [(0, 1), (1, 2)].map(|(node, account)| fleet.enter(node, account));
    // Both say something before they can hear of each other.
    fleet.nodes[0].say(a, Scope::World, 0, "from a");
    fleet.nodes[1].say(b, Scope::World, 0, "from b");
    fleet.settle();
    let heard = fleet.texts(0, a);
    assert_eq!(heard.iter().map(|(number, _)| *number).collect::<Vec<_>>(), [1, 2]);
    assert_eq!(fleet.texts(1, b), heard, "in one order");

    fleet.nodes[0].deliver(a, ChannelCreateRequest { name: Text::truncated("den") });
    fleet.settle();
    fleet.nodes[1].deliver(b, ChannelJoinRequest { name: Text::truncated("den") });
    fleet.settle();
    fleet.nodes[1].say(b, Scope::Channel, 1, "in the den");
    fleet.nodes[1].say(b, Scope::Whisper, 1, "psst");
    fleet.settle();
    assert_eq!(fleet.texts(0, a), [(1, "in the den".into()), (1, "psst".into())]);
    assert_eq!(fleet.texts(1, b), [(1, "in the den".into()), (1, "psst".into())], "and its copy");

    fleet.nodes[0].deliver(a, ChannelKickRequest { channel: 1, user: 2 });
    fleet.settle();
    let left = fleet.nodes[1].take::<ChannelLeft>(b);
    assert_eq!(left, [ChannelLeft { channel: 1, outcome: Outcome::Kicked }]);
    assert!(!fleet.nodes[1].rooms.contains(&(b, RoomId(1))));
    fleet.nodes[1].say(b, Scope::Channel, 1, "still here?");
    fleet.settle();
    let refused = fleet.nodes[1].take::<ChatRefused>(b);
    assert_eq!(refused, [ChatRefused { stamp: 1, outcome: Outcome::NotAMember }]);
    fleet.nodes[1].deliver(b, ExitRequest {});
    fleet.settle();
    assert_eq!(fleet.nodes[1].closed, [(b, CloseReason::Goodbye)]);
    let notices = fleet.nodes[0].take::<UsersChanged>(a);
    assert_eq!(notices.last().map(|notice| notice.left.to_vec()), Some(vec![2]));
    fleet.check();
}

#[test]
fn of_two_that_ask_for_the_same_one_gets_it() {
    let mut fleet = Fleet::new(2);
    let [a, b] = [(0, 1), (1, 2)].map(|(node, account)| fleet.enter(node, account));
    for (node, session) in [(0, a), (1, b)] {
        fleet.nodes[node].deliver(session, ChannelCreateRequest { name: Text::truncated("den") });
    }
    // The same account enters at both nodes.
    let twice = [0, 1].map(|node| fleet.nodes[node].enter(9));
    fleet.settle();
    let outcome = |fleet: &mut Fleet, node: usize, session| {
        fleet.nodes[node].take::<ChannelAnswer>(session).pop().map(|answer| answer.outcome)
    };
    assert_eq!(outcome(&mut fleet, 0, a), Some(Outcome::Ok));
    assert_eq!(outcome(&mut fleet, 1, b), Some(Outcome::NameTaken));
    assert_eq!(fleet.nodes[0].take::<EnterAnswer>(twice[0]).len(), 1);
    assert_eq!(fleet.nodes[1].closed, [(twice[1], CloseReason::AlreadyOnline)]);
    // A later login of the account takes over, wherever the older one is.
    let later = fleet.enter(1, 9);
    assert_eq!(fleet.nodes[0].closed, [(twice[0], CloseReason::LoggedInElsewhere)]);
    assert_eq!(fleet.nodes[1].take::<EnterAnswer>(later).len(), 1);
    fleet.check();
}

#[test]
fn what_follows_a_request_waits_for_it_and_further_messages_do_not() {
    let mut fleet = Fleet::new(1);
    let session = fleet.enter(0, 1);
    let node = &mut fleet.nodes[0];
    node.received.clear();
    node.say(session, Scope::World, 0, "one");
    node.say(session, Scope::World, 0, "two");
    node.deliver(session, PingRequest { token: 5 });
    node.say(session, Scope::World, 0, "three");
    assert!(node.received.is_empty(), "nothing has come back");
    fleet.settle();
    let received = fleet.nodes[0].received.remove(&session).unwrap();
    let names: Vec<_> = received.iter().map(Packet::name).collect();
    assert_eq!(names, ["ChatMessage", "ChatMessage", "PongAnswer", "ChatMessage"]);
}

#[test]
fn a_user_resumes_at_another_node_and_misses_nothing() {
    let mut fleet = Fleet::new(2);
    let [a, b] = [(0, 1), (1, 2)].map(|(node, account)| fleet.enter(node, account));
    let token = fleet.nodes[0].take::<EnterAnswer>(a).pop().unwrap().token;
    fleet.nodes[0].say(a, Scope::World, 0, "one");
    fleet.settle();
    // Its node has not noticed that the line is broken.
    fleet.nodes[1].say(b, Scope::World, 0, "two");
    fleet.nodes[1].say(b, Scope::Whisper, 1, "psst");
    fleet.settle();
    let again = fleet.nodes[1].fixture.open_client();
    let request = ResumeRequest {
        token,
        answers: 0,
        whispers: 0,
        world: 1,
        list_version: 2,
        channels: List::default(),
    };
    fleet.nodes[1].received.clear();
    fleet.nodes[1].deliver(again, request.clone());
    fleet.settle();
    assert_eq!(fleet.nodes[0].closed, [(a, CloseReason::ResumedElsewhere)]);
    let received = fleet.nodes[1].received.remove(&again).unwrap();
    let Packet::ResumeAnswer(answer) = &received[0] else { panic!("{received:?}") };
    assert_eq!(answer.handled, 1);
    let texts: Vec<_> = received
        .iter()
        .filter_map(
            |packet| if let Packet::ChatMessage(it) = packet { Some(it.text.to_string()) } else { None },
        )
        .collect();
    assert_eq!(texts, ["psst", "two"]);
    assert!(fleet.nodes[1].take::<UsersChanged>(b).is_empty(), "the others notice nothing");
    // The token has been used, at the other node.
    let thief = fleet.nodes[0].fixture.open_client();
    fleet.nodes[1].say(again, Scope::World, 0, "three");
    fleet.settle();
    assert_eq!(fleet.texts(1, b), [(3, "three".into())]);
    fleet.nodes[0].deliver(thief, request);
    fleet.settle();
    // It is the one before the newest, and so still good.
    assert_eq!(fleet.nodes[0].take::<ResumeAnswer>(thief).len(), 1);
    fleet.check();
}

#[test]
fn the_users_of_a_dead_node_are_away_and_it_learns_of_its_death_first() {
    let mut fleet = Fleet::new(3);
    let [a, b] = [(0, 1), (1, 2)].map(|(node, account)| fleet.enter(node, account));
    fleet.pass(Duration::from_secs(2));
    fleet.nodes[0].received.clear();
    fleet.nodes[1].is_cut_off = true;
    fleet.nodes[1].say(b, Scope::World, 0, "lost");
    fleet.pass(Duration::from_millis(1100));
    fleet.nodes[1].say(b, Scope::World, 0, "refused");
    let refused = fleet.nodes[1].take::<ChatRefused>(b);
    assert_eq!(refused, [ChatRefused { stamp: 1, outcome: Outcome::TryAgainLater }]);
    fleet.pass(Duration::from_millis(500));
    let away = |fleet: &Fleet| fleet.nodes[0].fixture.role().chat.world.users.get(2).map(|user| user.is_away);
    assert_eq!(away(&fleet), Some(true));
    assert!(fleet.nodes[1].closed.is_empty());
    fleet.nodes[1].is_cut_off = false;
    fleet.pass(Duration::from_secs(1));
    assert_eq!(fleet.nodes[1].closed, [(b, CloseReason::Moved)]);
    assert!(fleet.texts(0, a).is_empty(), "neither the lost message nor the refused one");
    fleet.check();
    // The user does not resume: one node lets it go, once.
    fleet.pass(ChatSettings::of(&Config::default()).resume_window + Duration::from_secs(1));
    assert_eq!(away(&fleet), None);
    let left = fleet.nodes[0].take::<UsersChanged>(a);
    assert_eq!(left.iter().map(|notice| notice.left.to_vec()).collect::<Vec<_>>(), [vec![2]]);
    fleet.check();
}

#[test]
fn a_node_that_joins_takes_a_snapshot_and_what_follows() {
    let mut fleet = Fleet::new(1);
    let a = fleet.enter(0, 1);
    fleet.nodes[0].say(a, Scope::World, 0, "one");
    fleet.pass(Duration::from_secs(31));
    let snapshot = fleet.snapshot.clone().expect("a snapshot");
    fleet.nodes[0].say(a, Scope::World, 0, "two");
    fleet.settle();
    fleet.nodes.push(Node::new(2, Some(snapshot)));
    fleet.settle();
    fleet.check();
    let kept = |node: &Node| {
        let history = &node.fixture.role().chat.history;
        history.from(Series::Room(0), 0).map(|(number, _)| number).collect::<Vec<_>>()
    };
    assert_eq!(kept(&fleet.nodes[1]), [1, 2]);
    let b = fleet.enter(1, 2);
    fleet.nodes[0].say(a, Scope::World, 0, "three");
    fleet.settle();
    assert_eq!(fleet.texts(1, b), [(3, "three".into())]);
}

#[test]
fn messages_nearby_reach_users_of_other_nodes() {
    let mut fleet = Fleet::new(2);
    let sessions = [(0, 1), (1, 2), (1, 3), (1, 4)].map(|(node, account)| (node, fleet.enter(node, account)));
    for (at, (node, session)) in sessions.iter().enumerate() {
        let x = if at == 3 { 1_000_000 } else { 5 };
        fleet.nodes[*node].deliver(*session, PositionUpdate { x, y: 5 });
    }
    let (node, speaker) = sessions[0];
    fleet.nodes[node].say(speaker, Scope::Nearby, 0, "hello");
    fleet.settle();
    let heard = sessions.map(|(node, session)| fleet.texts(node, session).len());
    assert_eq!(heard, [1, 1, 1, 0]);
}

#[test]
fn a_snapshot_that_is_cut_short_leaves_the_node_without_users() {
    let mut fleet = Fleet::new(1);
    fleet.enter(0, 1);
    fleet.pass(Duration::from_secs(31));
    let (sequence, state) = fleet.snapshot.take().unwrap();
    assert!(
        World::new(ChatSettings::of(&Config::default()).world).take(&mut Reader::new(&state[..9])).is_err()
    );
    let mut node = Node::new(2, Some((sequence, state[..state.len() / 2].to_vec())));
    let session = node.enter(5);
    assert_eq!(node.closed, [(session, CloseReason::Unavailable)]);
}

#[test]
fn numbers_of_messages_have_no_gap_across_a_restart_of_all_nodes() {
    let mut fleet = Fleet::new(2);
    let a = fleet.enter(0, 1);
    fleet.nodes[0].say(a, Scope::World, 0, "one");
    fleet.pass(Duration::from_secs(31));
    let snapshot = fleet.snapshot.clone();
    fleet.nodes.clear();
    fleet.nodes.push(Node::new(7, snapshot));
    // The dead ones are declared dead, and the user may leave or be replaced.
    fleet.pass(Duration::from_secs(3));
    let again = fleet.enter(0, 1);
    fleet.nodes[0].received.clear();
    fleet.nodes[0].say(again, Scope::World, 0, "two");
    fleet.settle();
    assert_eq!(fleet.texts(0, again), numbered(&["one", "two"])[1..]);
}

/// A node that has a DB agent, and a user that comes from the other node with its claim.
fn resumed_with_claim() -> (Fleet, SessionId, SessionId) {
    let mut fleet = Fleet::new(2);
    let agent = fleet.nodes[1].fixture.open_db_agent(0);
    let mut facts = Vec::new();
    Fact::Entered { name: Text::truncated("user 4"), claim: CLAIM }.encode(&mut facts);
    // As node 1 publishes it, behind its own batches so far.
    let (instance, counter) = (1 << 32, fleet.counter_of(1 << 32) + 1);
    let sequence = fleet.order.len() as u64 + 1;
    fleet.order.push(Batch { sequence, instance, counter, body: Body::Facts(facts) });
    fleet.nodes.remove(0);
    fleet.settle();
    let tokens = ResumeTokens::new(&ClusterKey::from_bytes(KEY), EPOCH);
    let token = tokens.seal(&ResumeToken { user: 1, counter: 1, claim: CLAIM });
    let again = fleet.nodes[0].fixture.open_client();
    let channels = List::default();
    let request = ResumeRequest { token, answers: 0, whispers: 0, world: 0, list_version: 1, channels };
    fleet.nodes[0].deliver(again, request);
    fleet.settle();
    (fleet, agent, again)
}

#[test]
fn the_claim_of_a_user_follows_it_to_another_node() {
    let load = |request| DbLoadCharacter { request, claim: CLAIM };
    let answer = |outcome| DbLoadCharacterAnswer { request: 1, outcome, claim: CLAIM, character: None };
    let (mut fleet, agent, _) = resumed_with_claim();
    assert_eq!(fleet.nodes[0].take::<DbLoadCharacter>(agent), [load(1)]);
    fleet.nodes[0].deliver(agent, answer(Outcome::Ok));
    assert!(fleet.nodes[0].fixture.role().chat.held_claims.contains(&CLAIM));

    // The claim has ended with its server: the list takes it up.
    let (mut fleet, agent, _) = resumed_with_claim();
    fleet.nodes[0].received.clear();
    fleet.nodes[0].deliver(agent, answer(Outcome::ClaimLost));
    let lists = fleet.nodes[0].take::<DbHeldClaims>(agent);
    assert_eq!(lists.iter().map(|list| list.claims.to_vec()).collect::<Vec<_>>(), [vec![CLAIM]]);

    // The user has left meanwhile.
    let (mut fleet, agent, session) = resumed_with_claim();
    fleet.nodes[0].deliver(session, ExitRequest {});
    fleet.settle();
    fleet.nodes[0].received.clear();
    fleet.nodes[0].deliver(agent, answer(Outcome::Ok));
    assert_eq!(fleet.nodes[0].take::<DbReleaseClaim>(agent), [DbReleaseClaim { claim: CLAIM }]);
}

#[test]
fn a_node_that_ends_gives_its_users_away_one_after_the_other() {
    let mut fleet = Fleet::new(2);
    let sessions: Vec<_> = (1..=4).map(|account| fleet.enter(0, account)).collect();
    fleet.nodes[0].hear(Event::Draining(Duration::from_millis(400)));
    let late = fleet.nodes[0].enter(9);
    assert_eq!(fleet.nodes[0].closed, [(late, CloseReason::Unavailable)], "it takes no more");
    fleet.nodes[0].closed.clear();
    for count in 1..=4 {
        fleet.nodes[0].advance(Duration::from_millis(if count == 1 { 0 } else { 100 }));
        let moved: Vec<_> = sessions[..count].iter().map(|session| (*session, CloseReason::Moved)).collect();
        assert_eq!(fleet.nodes[0].closed, moved);
    }
    for session in sessions {
        fleet.nodes[0].lose_for(session, CloseReason::Moved);
    }
    fleet.nodes[0].hear(Event::Ending);
    fleet.settle();
    let chat = &fleet.nodes[1].fixture.role().chat;
    assert!(chat.world.users.iter().all(|user| user.is_away) && chat.world.users.count() == 4);
    assert_eq!(chat.fleet.as_ref().unwrap().nodes(), 1);
}
