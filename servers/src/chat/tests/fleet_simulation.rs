//! Three chat servers of a fleet, by a seed: a bus that delays, repeats, reorders, loses and stops,
//! servers that stop, are cut off and start again, players that lose their lines and resume
//! anywhere.

use std::collections::BTreeMap;

use throng_core::wire::packets::{
    ChannelCreateRequest, ChannelJoinRequest, ChannelKickRequest, ChannelLeaveRequest, ChatRequest,
    EnterAnswer, HeldChannel, ResumeAnswer, ResumeRequest,
};

use super::fleet::Node;
use super::*;
use crate::dice::Dice;
use crate::fleet::{Batch, Body, Command, Event};

const NODES: usize = 3;
const PLAYERS: usize = 6;
const STEP: Duration = Duration::from_millis(20);

/// Steps with faults, and without any at the end.
const STEPS: usize = 400;
const CALM: usize = 400;

/// A player: what its client knows.
struct Player {
    account: u64,
    /// Node and session; none without a line.
    line: Option<(usize, SessionId)>,
    /// None before it is in the chat, and after it has lost its place.
    place: Option<Place>,
}

#[derive(Clone)]
struct Place {
    user: u32,
    token: ResumeTokenBytes,
    answers: u32,
    whispers: u64,
    world: u64,
    version: u64,
    /// Number of the latest message of each channel.
    channels: BTreeMap<u32, u64>,
    /// Channel that is being caught up, and its latest number.
    catches_up: Option<(u32, u64)>,
    /// Channels that the server has not named yet after a resume.
    unnamed: Vec<u32>,
}

struct Fleet {
    dice: Dice,
    nodes: Vec<Node>,
    players: Vec<Player>,
    epoch: u8,
    order: Vec<Batch>,
    snapshot: Option<(u64, Vec<u8>)>,
    /// Batches on their way to the bus, by the step of their arrival.
    under_way: Vec<(usize, Batch)>,
    /// Digest of the fold at each place of the order.
    digests: BTreeMap<u64, u64>,
    step: usize,
    instances: u64,
    stamps: u64,
    /// The bus takes and gives nothing before this step.
    stands_until: usize,
    stopped: [bool; NODES],
    /// Step at which each node worked last.
    served: [usize; NODES],
    /// Stamp and recipient of each message.
    heard: BTreeMap<(u64, u64), u32>,
    resumed: usize,
}

impl Fleet {
    fn new(seed: u64) -> Self {
        let players = (1..=PLAYERS as u64).map(|account| Player { account, line: None, place: None });
        let mut fleet = Self {
            dice: Dice::new(seed),
            nodes: Vec::new(),
            players: players.collect(),
            epoch: 1,
            order: Vec::new(),
            snapshot: None,
            under_way: Vec::new(),
            digests: BTreeMap::new(),
            step: 0,
            instances: 0,
            stamps: 0,
            stands_until: 0,
            stopped: [false; NODES],
            served: [0; NODES],
            heard: BTreeMap::new(),
            resumed: 0,
        };
        for _ in 0..NODES {
            let node = fleet.new_node();
            fleet.nodes.push(node);
        }
        fleet
    }

    fn new_node(&mut self) -> Node {
        self.instances += 1;
        let snapshot = self.snapshot.clone().filter(|_| self.dice.one_in(2));
        Node::of_epoch(self.instances, [self.epoch; 16], snapshot)
    }

    fn run(&mut self) {
        for _ in 0..STEPS {
            self.disturb();
            self.turn(false);
        }
        self.stopped = [false; NODES];
        self.nodes.iter_mut().for_each(|node| node.is_cut_off = false);
        for _ in 0..CALM {
            self.turn(true);
        }
        self.check_end();
    }

    fn disturb(&mut self) {
        let dice = &mut self.dice;
        for at in 0..NODES {
            self.stopped[at] ^= dice.one_in(if self.stopped[at] { 60 } else { 200 });
            self.nodes[at].is_cut_off ^= dice.one_in(if self.nodes[at].is_cut_off { 60 } else { 200 });
        }
        if dice.one_in(200) {
            self.stands_until = self.step + dice.below(150);
        }
        if dice.one_in(300) {
            let at = dice.below(NODES);
            self.nodes[at] = self.new_node();
            (self.stopped[at], self.served[at]) = (false, self.step);
            for player in &mut self.players {
                player.line.take_if(|(node, _)| *node == at);
            }
        }
        if self.dice.one_in(1500) {
            // The stream is lost.
            self.epoch += 1;
            (self.order, self.snapshot, self.under_way) = (Vec::new(), None, Vec::new());
            self.digests.clear();
            let epoch = [self.epoch; 16];
            for node in &mut self.nodes {
                node.read = 0;
                node.hear(Event::Joined { epoch, sequence: 0, state: None });
            }
        }
    }

    fn turn(&mut self, is_calm: bool) {
        self.step += 1;
        for at in 0..NODES {
            if !self.stopped[at] {
                self.serve(at, is_calm);
            }
        }
        if self.step >= self.stands_until {
            let step = self.step;
            let arrived: Vec<_> = self.under_way.extract_if(.., |(arrives, _)| *arrives <= step).collect();
            for (_, mut batch) in arrived {
                batch.sequence = self.order.len() as u64 + 1;
                self.order.push(batch);
            }
        }
        for at in 0..PLAYERS {
            self.act(at, is_calm);
        }
        for at in 0..PLAYERS {
            self.read(at);
        }
    }

    /// Lets a node work: time passes, what it publishes goes off, and batches come.
    fn serve(&mut self, at: usize, is_calm: bool) {
        // One that was stopped finds out now how late it is.
        let steps = self.step - std::mem::replace(&mut self.served[at], self.step);
        let node = &mut self.nodes[at];
        node.advance(STEP * steps as u32);
        let commands: Vec<_> = node.outbox.lock().drain(..).collect();
        for command in commands {
            match command {
                Command::KeepSnapshot { sequence, state } => {
                    if sequence <= self.order.len() as u64 {
                        self.snapshot = Some((sequence, state));
                    }
                }
                Command::Publish(_) if node.is_cut_off => {}
                Command::Publish(outgoing) => {
                    let copies = if is_calm || !self.dice.one_in(8) { 1 } else { 2 * self.dice.below(2) };
                    for _ in 0..copies {
                        let delay = if is_calm { 1 } else { self.dice.below(5) };
                        let body = Body::decode(&outgoing.text).expect("a member encodes bodies");
                        let (instance, counter) = (outgoing.instance, outgoing.counter);
                        self.under_way
                            .push((self.step + delay, Batch { sequence: 0, instance, counter, body }));
                    }
                }
            }
        }
        let limit = if is_calm { usize::MAX } else { self.dice.below(4) };
        for _ in 0..limit {
            if node.is_cut_off || self.step < self.stands_until {
                return;
            }
            let Some(batch) = self.order.get(node.read).cloned() else { return };
            node.read += 1;
            let sequence = batch.sequence;
            node.hear(Event::Batch(batch));
            let digest = node.digest();
            let known = *self.digests.entry(sequence).or_insert(digest);
            assert_eq!(known, digest, "the folds differ at {sequence}");
        }
    }

    fn act(&mut self, at: usize, is_calm: bool) {
        let dice = &mut self.dice;
        let player = &mut self.players[at];
        let Some((node, session)) = player.line else {
            if dice.one_in(10) {
                let node = dice.below(NODES);
                self.connect(at, node);
            }
            return;
        };
        if player.place.is_none() || !dice.one_in(10) || self.stopped[node] {
            return;
        }
        let (channel, other) = (1 + dice.below(3) as u32, 1 + dice.below(2 * PLAYERS) as u32);
        let name = Text::truncated(&format!("channel {channel}"));
        let say = |scope, target, stamp| -> Packet {
            ChatRequest { scope, target, stamp, text: Text::truncated("hi") }.into()
        };
        self.stamps += 1;
        let packet = match dice.below(if is_calm { 6 } else { 9 }) {
            0 | 1 => say(Scope::World, 0, self.stamps),
            2 => say(Scope::Channel, channel, self.stamps),
            3 => say(Scope::Whisper, other, self.stamps),
            4 => ChannelJoinRequest { name }.into(),
            5 => ChannelCreateRequest { name: Text::truncated(&format!("channel {channel}")) }.into(),
            6 => ChannelKickRequest { channel, user: other }.into(),
            7 => ChannelLeaveRequest { channel }.into(),
            _ => {
                // The line breaks; its server learns of it now, or when the player resumes.
                player.line = None;
                if dice.one_in(2) {
                    self.nodes[node].lose(session);
                }
                return;
            }
        };
        self.nodes[node].deliver(session, packet);
    }

    fn connect(&mut self, at: usize, node: usize) {
        if self.stopped[node] {
            return;
        }
        let player = &mut self.players[at];
        let session = self.nodes[node].fixture.open_client();
        let first: Packet = match &player.place {
            None => ticket(player.account, 0, &format!("user {}", player.account)).into(),
            Some(place) => ResumeRequest {
                token: place.token.clone(),
                answers: place.answers,
                whispers: place.whispers,
                world: place.world,
                list_version: place.version,
                channels: List::new(place.channels.iter().map(held).collect()).expect("few channels"),
            }
            .into(),
        };
        self.nodes[node].deliver(session, first);
        player.line = Some((node, session));
    }

    /// Has a player read what it was sent.
    fn read(&mut self, at: usize) {
        let player = &mut self.players[at];
        let Some((node, session)) = player.line else { return };
        let packets = self.nodes[node].received.remove(&session).unwrap_or_default();
        for packet in packets {
            player.answered(&packet);
            if std::env::var("THRONG_FLEET_TRACE").is_ok() {
                eprintln!("step {} player {} at {node}: {packet:?}", self.step, player.account);
            }
            match packet {
                Packet::EnterAnswer(EnterAnswer { user, token, .. }) => {
                    assert!(player.place.is_none(), "a player enters twice");
                    let channels = BTreeMap::new();
                    player.place = Some(Place {
                        user: user.id,
                        token,
                        answers: 0,
                        whispers: 0,
                        world: 0,
                        version: 0,
                        channels,
                        catches_up: None,
                        unnamed: Vec::new(),
                    });
                }
                Packet::ResumeAnswer(ResumeAnswer { token, answers_from, .. }) => {
                    self.resumed += 1;
                    let place = player.place.as_mut().expect("it has asked with a token");
                    place.token = token;
                    place.unnamed = place.channels.keys().copied().collect();
                    let lost = answers_from - place.answers - 1;
                    if lost > 0 {
                        // It may have left channels, and joined them again.
                        place.answers += lost;
                        place.channels.values_mut().for_each(|latest| *latest = 0);
                    }
                }
                Packet::ChatMessage(message) => {
                    let place = player.place.as_mut().expect("it is in the chat");
                    let is_copy = message.scope == Scope::Whisper && message.sender.id == message.target;
                    let times = self.heard.entry((message.stamp, player.account)).or_default();
                    *times += 1;
                    assert!(
                        *times == 1 || is_copy,
                        "{} heard message {} twice",
                        player.account,
                        message.stamp
                    );
                    let latest = match message.scope {
                        Scope::World => &mut place.world,
                        Scope::Whisper => &mut place.whispers,
                        Scope::Channel => place.channels.entry(message.target).or_default(),
                        Scope::Nearby => continue,
                    };
                    assert!(*latest == 0 || message.sequence == *latest + 1, "a gap in {message:?}");
                    *latest = message.sequence;
                }
                Packet::RoomResumed(room) => {
                    let place = player.place.as_mut().expect("it is in the chat");
                    let before = place.catches_up.replace((room.channel, room.sequence));
                    place.unnamed.retain(|channel| *channel != room.channel);
                    if room.channel == 0 {
                        let unnamed = std::mem::take(&mut place.unnamed);
                        place.channels.retain(|channel, _| !unnamed.contains(channel));
                    }
                    if let Some((channel, sequence)) = before
                        && let Some(latest) = place.channels.get_mut(&channel)
                    {
                        *latest = sequence;
                    }
                }
                Packet::ChannelAnswer(answer) if answer.outcome == Outcome::Ok => {
                    let place = player.place.as_mut().expect("it is in the chat");
                    place.channels.entry(answer.channel).or_default();
                }
                Packet::ChannelLeft(left) if matches!(left.outcome, Outcome::Ok | Outcome::Kicked) => {
                    let place = player.place.as_mut().expect("it is in the chat");
                    place.channels.remove(&left.channel);
                }
                Packet::ChatGap(gap) => panic!("history reaches: {gap:?}"),
                _ => {}
            }
        }
        let closed = self.nodes[node].closed.iter().rposition(|(of, _)| *of == session);
        if let Some(closed) = closed {
            let (_, reason) = self.nodes[node].closed.swap_remove(closed);
            player.line = None;
            if !matches!(reason, CloseReason::Moved | CloseReason::Unavailable) {
                player.place = None;
            }
        }
    }

    fn check_end(&mut self) {
        let position = self.order.len();
        for node in &self.nodes {
            assert!(position - node.read <= 4, "a node is behind: {} of {position}", node.read);
        }
        let digests: Vec<_> = self.nodes.iter().map(|node| (node.read, node.digest())).collect();
        let newest = digests.iter().filter(|(read, _)| *read == digests[0].0);
        assert!(newest.clone().count() >= 2, "no two nodes are at the same place: {digests:?}");
        assert!(newest.clone().all(|(_, digest)| *digest == digests[0].1));
        for player in self.players.iter().filter(|player| player.line.is_some()) {
            let Some(place) = &player.place else { continue };
            assert!(self.nodes[0].has_user(place.user), "user {} is not in the world", place.user);
        }
        let inside = self.players.iter().filter(|player| player.place.is_some()).count();
        assert!(inside > 0, "nobody is in the chat");
    }
}

fn held((channel, sequence): (&u32, &u64)) -> HeldChannel {
    HeldChannel { channel: *channel, sequence: *sequence }
}

impl Player {
    fn answered(&mut self, packet: &Packet) {
        let is_answer = matches!(
            packet,
            Packet::ChatRefused(_)
                | Packet::ChannelAnswer(_)
                | Packet::ChannelLeft(_)
                | Packet::ChannelKickAnswer(_)
                | Packet::TooFast(_)
        );
        if let Some(place) = self.place.as_mut().filter(|_| is_answer) {
            place.answers += 1;
        }
        if let (Some(place), Packet::UsersChanged(notice)) = (&mut self.place, packet)
            && notice.channel == 0
        {
            place.version = notice.version;
        }
    }
}

/// `THRONG_FLEET_SEEDS` is the number of seeds, from `THRONG_FLEET_FIRST` on.
#[test]
fn three_nodes_fold_the_same_whatever_the_bus_does() {
    let number =
        |name: &str, default| std::env::var(name).map_or(default, |text| text.parse().expect("a number"));
    let first: u64 = number("THRONG_FLEET_FIRST", 1);
    let mut resumed = 0;
    for seed in first..first + number("THRONG_FLEET_SEEDS", 100) {
        let result = std::panic::catch_unwind(|| {
            let mut fleet = Fleet::new(seed);
            fleet.run();
            fleet.resumed
        });
        match result {
            Ok(times) => resumed += times,
            Err(panic) => {
                eprintln!("seed {seed}: THRONG_FLEET_FIRST={seed} THRONG_FLEET_SEEDS=1 repeats it");
                std::panic::resume_unwind(panic);
            }
        }
    }
    assert!(resumed > 10, "{resumed} resumes");
}
