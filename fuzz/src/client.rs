//! A player's client against a server that has the right keys and says anything. The input is a
//! program: packets, room frames, raw bytes, times, lost connections, commands.
//!
//! Whatever the server says, messages of a room come by ascending number, a message is given up
//! once, the changes of a user list add up to the list, and what the client keeps is bounded. A
//! client is not called again at once, and writes nothing but intact frames with valid packets.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use throng_client::{Audience, Client, Event, Io, LineId, Settings};
use throng_core::crypto::handshake::respond;
use throng_core::crypto::{Credentials, RoomSealer, SessionKeys};
use throng_core::limits::{CHANNELS_PER_USER_MAX, CLIENT_BODY_MAX};
use throng_core::room::{Class, RoomId};
use throng_core::wire::frame::{self, Kind, Split};
use throng_core::wire::packets::{
    ChannelAnswer, ChatMessage, EnterAnswer, LoginGranted, Outcome, Packet, ResumeAnswer, ResumeTokenBytes,
    Scope, ServerTimes, TicketBytes, User, UserList,
};
use throng_core::wire::{CloseReason, Line, List, Text};

use crate::handshake::{ENDS, body};
use crate::input::Input;
use crate::{Target, vectors};

pub(crate) const CLIENT: Target = Target { name: "client", check, seeds, mutations: 1_000 };

/// Most steps of a program.
const STEPS_MAX: usize = 256;

/// Connections that a client may have at a time: the login server's, the chat server's, and those
/// whose last bytes are on their way.
const LINES_MAX: usize = 4;

const SERVER: &str = "127.0.0.1:1";

/// A program for each packet of docs/protocol.md that says it to a client in the chat, and some
/// that use every step.
fn seeds() -> Vec<Vec<u8>> {
    let piece = |bytes: &[u8]| [&(bytes.len() as u16).to_le_bytes(), bytes].concat();
    let packets = vectors::all("packet ");
    let mut seeds: Vec<_> =
        packets.iter().map(|packet| [&[1, 0, 0], &piece(packet)[..], &[8, 0, 7, 0]].concat()).collect();
    let message = packets.iter().find(|packet| packet.starts_with(&[8, 2])).expect("a ChatMessage");
    let room = [&[1, 2, 0, 0, 0, 0, 3, 0, 0], &piece(message)[..]].concat();
    let resume = [&[1, 6, 1, 1, 4, 0xe8, 3, 5, 9, 1, 8, 0, 0, 1], &piece(message)[..]].concat();
    let commands = (0..24).flat_map(|kind| [7, kind]);
    let commands: Vec<u8> =
        [1].into_iter().chain(commands).chain([8, 4, 0xff, 0xff, 4, 0xff, 0xff]).collect();
    let talk = [1, 9, 2, 9, 3, 9, 4, 9, 5, 9, 4, 7, 0, 8, 9, 3].to_vec();
    let login = vec![0, 7, 22, 5, 9, 0, 4, 0xe8, 3, 7, 23, 5, 6, 0, 2];
    seeds.extend([room, resume, commands, talk, login]);
    seeds
}

/// The server's end of a connection.
struct Peer {
    line: LineId,
    /// None until the handshake.
    keys: Option<SessionKeys>,
    /// Bytes of the client that are less than a frame.
    wire: Vec<u8>,
}

#[derive(Default)]
struct Room {
    latest: u64,
    /// Users by the events alone, once the list is complete.
    users: Option<BTreeSet<u32>>,
}

struct Run {
    client: Client,
    now: Instant,
    peers: Vec<Peer>,
    sealers: Vec<(RoomId, RoomSealer)>,
    rooms: BTreeMap<u32, Room>,
    /// Stamps of messages that are not given up.
    unknown: BTreeSet<u64>,
    said: u8,
}

fn check(input: &[u8]) {
    let mut input = Input::new(input);
    let now = Instant::now();
    let Credentials::Client(key) = ENDS[0].initiator else { unreachable!("the first ends are a client's") };
    let mut run = Run {
        client: Client::new(Settings::new(SERVER, key), 1, now),
        now,
        peers: Vec::new(),
        sealers: Vec::new(),
        rooms: BTreeMap::new(),
        unknown: BTreeSet::new(),
        said: 0,
    };
    if input.u8() & 1 == 1 {
        run.enter();
    }
    for _ in 0..STEPS_MAX {
        if input.is_empty() {
            break;
        }
        run.step(&mut input);
        run.take_io();
        run.take_events();
        run.check_bounds();
    }
    run.read_all();
}

fn encoded(packet: &Packet) -> Vec<u8> {
    let mut out = Vec::new();
    packet.encode(&mut out);
    out
}

impl Run {
    /// Brings the client into the chat.
    fn enter(&mut self) {
        self.command(22);
        for good in [0, 1] {
            self.take_io();
            let last = self.peers.len() - 1;
            self.open(last);
            self.send(last, &good_packet(good));
        }
        self.take_events();
        assert!(self.client.user().is_some());
    }

    fn step(&mut self, input: &mut Input<'_>) {
        let operation = input.u8() % 11;
        match operation {
            0 => {
                let at = self.peer(input.u8());
                let packet = input.piece();
                self.sealed(at, packet, 0xff);
            }
            1 => {
                let (at, cut) = (self.peer(input.u8()), input.u8());
                let packet = input.piece();
                self.sealed(at, packet, cut);
            }
            2 => {
                // The key of a room.
                let room = RoomId(input.u32());
                let number = self.sealers.len() as u32;
                let sealer = RoomSealer::new(number, [number as u8; 32]);
                let packet = sealer.packet(room);
                if number < 8 {
                    self.sealers.push((room, sealer));
                }
                let at = self.peer(0);
                self.send(at, &packet);
            }
            3 => {
                let (at, class) = (input.below(8), Class::ALL[input.below(2)]);
                let packet = input.piece();
                let line = self.peer(0);
                if let Some((_, sealer)) = self.sealers.get_mut(at) {
                    let mut bytes = Vec::new();
                    sealer.seal(class, &mut bytes, |out| out.extend_from_slice(packet));
                    self.receive(line, &bytes);
                }
            }
            4 => self.pass(Duration::from_millis(input.u16().into())),
            5 => {
                let last = self.peers.len().saturating_sub(1);
                self.open(last);
            }
            6 => {
                let (at, reason) = (self.peer(input.u8()), input.below(CloseReason::ALL.len()));
                if at < self.peers.len() {
                    let peer = self.peers.remove(at);
                    self.client.handle_lost(peer.line, CloseReason::ALL[reason], self.now);
                }
            }
            7 => self.command(input.u8()),
            8 => self.read_all(),
            9 => {
                let packet = good_packet(input.u8());
                let at = self.peer(0);
                self.send(at, &packet);
            }
            _ => {
                let at = self.peer(input.u8());
                let bytes = input.piece();
                self.receive(at, bytes);
            }
        }
    }

    /// Returns the newest connection with 0, and an older one with more.
    fn peer(&self, back: u8) -> usize {
        let count = self.peers.len().max(1);
        count - 1 - usize::from(back) % count
    }

    /// Makes the connection, and takes the server's part in the handshake.
    fn open(&mut self, at: usize) {
        let Some(peer) = self.peers.get_mut(at).filter(|peer| peer.keys.is_none()) else { return };
        self.client.handle_connected(peer.line, self.now);
        let first = self.client.poll_transmit(peer.line).to_vec();
        if first.is_empty() {
            return;
        }
        self.client.handle_transmitted(peer.line, first.len());
        let (reply, keys) = respond(&ENDS[0].responder, body(&first)).expect("the client's first message");
        peer.keys = Some(keys);
        self.receive(at, &reply);
    }

    fn send(&mut self, at: usize, packet: &Packet) {
        self.sealed(at, &encoded(packet), 0xff);
    }

    /// Has the server seal `plain`, and send it in two parts.
    fn sealed(&mut self, at: usize, plain: &[u8], cut: u8) {
        let Some(keys) = self.peers.get_mut(at).and_then(|peer| peer.keys.as_mut()) else { return };
        let mut frame = Vec::new();
        keys.seal.seal(&mut frame, |out| out.extend_from_slice(plain));
        let (early, late) = frame.split_at(frame.len() * usize::from(cut) / 256);
        self.receive(at, early);
        self.receive(at, late);
    }

    fn receive(&mut self, at: usize, bytes: &[u8]) {
        if let Some(peer) = self.peers.get(at) {
            self.client.handle_received(peer.line, bytes, self.now);
        }
    }

    fn pass(&mut self, time: Duration) {
        self.now += time;
        self.client.handle_timeout(self.now);
        self.take_io();
        let next = self.client.next_timeout(self.now);
        assert!(next.is_none_or(|at| at > self.now), "the client would be called again and again");
    }

    fn command(&mut self, kind: u8) {
        let (client, now) = (&mut self.client, self.now);
        let number = u32::from(kind / 24);
        let before = client.user().is_some();
        let result = match kind % 24 {
            0..=3 => {
                let to =
                    [Audience::World, Audience::Channel(number), Audience::Nearby, Audience::Whisper(number)];
                self.said = self.said.wrapping_add(1);
                let text = self.said.to_string();
                client.say(to[usize::from(kind % 24)], &text, now).map(|stamp| {
                    assert!(self.unknown.insert(stamp.0), "a stamp comes twice");
                })
            }
            4 => client.create_channel("hive", now),
            5 => client.join_channel("hive", now),
            6 => client.leave_channel(number, now),
            7 => client.kick(number, 1, now),
            8 => client.list_channels(number, now),
            9 => client.request_history(number, 0, 10, now),
            10 => client.move_to(1, 2, now),
            11 => client.ping(now),
            12 => {
                client.probe(now);
                Ok(())
            }
            13 => {
                client.log_out(now);
                assert!(client.user().is_none() && !client.is_away() && !client.is_waiting());
                Ok(())
            }
            14 => client.sign_up("bee", "a long password", now),
            15 => client.create_character("bee", "a long password", "Bee", now),
            _ => client.log_in("bee", "a long password", now),
        };
        let is_in_chat_command = matches!(kind % 24, 0..=11);
        assert!(!(is_in_chat_command && !before && result.is_ok()), "a command without a place");
    }

    /// Carries out what the client wants of its sockets.
    fn take_io(&mut self) {
        while let Some(io) = self.client.poll_io() {
            match io {
                Io::Connect(line, _) => self.peers.push(Peer { line, keys: None, wire: Vec::new() }),
                Io::Disconnect(line) => {
                    if let Some(at) = self.peers.iter().position(|peer| peer.line == line) {
                        self.read(at);
                        self.peers.remove(at);
                    }
                    self.client.handle_lost(line, CloseReason::Goodbye, self.now);
                }
            }
        }
    }

    fn take_events(&mut self) {
        while let Some(event) = self.client.poll_event() {
            match event {
                Event::Entered { .. } => self.rooms = BTreeMap::from([(0, Room::default())]),
                Event::Left { .. } => self.rooms.clear(),
                Event::Joined { channel, .. } => drop(self.rooms.entry(channel).or_default()),
                Event::ChannelLeft { channel, outcome } if outcome != Outcome::NotAMember => {
                    self.rooms.remove(&channel);
                }
                // After answers that were lost, a channel may be another one of the same number.
                Event::Resumed { .. } => {
                    self.rooms.iter_mut().filter(|room| *room.0 != 0).for_each(|room| room.1.latest = 0);
                }
                Event::Message(message) => {
                    let room = match message.audience {
                        Audience::World => Some(0),
                        Audience::Channel(channel) => Some(channel),
                        Audience::Nearby | Audience::Whisper(_) => None,
                    };
                    if let Some(room) = room.and_then(|room| self.rooms.get_mut(&room)) {
                        assert!(message.sequence > room.latest, "a message comes again");
                        room.latest = message.sequence;
                    }
                }
                Event::MessageUncertain { stamp } => {
                    assert!(self.unknown.remove(&stamp.0), "a message is given up twice");
                }
                Event::Listed { room } => {
                    if let Some(room) = self.rooms.get_mut(&room) {
                        // Changes that wait behind this event are part of the list already.
                        room.users = None;
                    }
                }
                Event::UserEntered { room, user } => self.change(room, user.id, true),
                Event::UserLeft { room, user } => self.change(room, user.id, false),
                _ => {}
            }
        }
        // All events are taken, and lists stand where the next changes begin.
        for (number, room) in &mut self.rooms {
            let Some(roster) = self.client.roster(*number).filter(|roster| roster.was_complete()) else {
                continue;
            };
            let found: BTreeSet<u32> = roster.iter().map(|(id, _)| id).collect();
            assert_eq!(*room.users.get_or_insert_with(|| found.clone()), found, "room {number}");
        }
    }

    fn change(&mut self, room: u32, user: u32, is_there: bool) {
        if let Some(users) = self.rooms.get_mut(&room).and_then(|room| room.users.as_mut()) {
            let is_news = if is_there { users.insert(user) } else { users.remove(&user) };
            assert!(is_news, "user {user} of room {room}");
        }
    }

    fn check_bounds(&mut self) {
        assert!(self.peers.len() <= LINES_MAX, "{} connections", self.peers.len());
        assert!(self.client.channels().count() <= CHANNELS_PER_USER_MAX);
        let rooms: Vec<u32> = self.client.channels().map(|channel| channel.0).collect();
        assert!(self.client.user().is_none() || self.rooms.keys().filter(|room| **room != 0).eq(&rooms));
    }

    fn read_all(&mut self) {
        for at in 0..self.peers.len() {
            self.read(at);
        }
    }

    /// Has the server read what the client has written.
    fn read(&mut self, at: usize) {
        let peer = &mut self.peers[at];
        let Some(keys) = &mut peer.keys else { return };
        let bytes = self.client.poll_transmit(peer.line);
        let count = bytes.len();
        peer.wire.extend_from_slice(bytes);
        self.client.handle_transmitted(peer.line, count);
        loop {
            match frame::split(&peer.wire, CLIENT_BODY_MAX) {
                Split::Frame(Kind::Sealed, used) => {
                    let mut frame: Vec<u8> = peer.wire.drain(..used).collect();
                    let plain = keys.open.open(&mut frame).expect("the client's seal");
                    Packet::decode(plain).expect("the client's packet");
                }
                Split::NeedMore(_) => return,
                other => panic!("the client wrote {other:?}"),
            }
        }
    }
}

/// Returns a packet as a good server sends it.
fn good_packet(kind: u8) -> Packet {
    let user = |id| User { id, name: Line::truncated("Bee") };
    let token = ResumeTokenBytes::new(vec![7; 40]).expect("its length");
    match kind % 6 {
        0 => LoginGranted {
            chat_address: Text::truncated(SERVER),
            chat_key: match ENDS[0].initiator {
                Credentials::Client(key) => key,
                _ => unreachable!("the first ends are a client's"),
            },
            name: Text::truncated("Bee"),
            ticket: TicketBytes::default(),
            ticket_lifetime_ms: 5_000,
        }
        .into(),
        1 => EnterAnswer {
            user: user(1),
            head_count: 2,
            shard: 0,
            token,
            resume_ms: 30_000,
            heartbeat_ms: 45_000,
        }
        .into(),
        2 => UserList {
            channel: 0,
            version: 2,
            head_count: 2,
            more: false,
            users: List::new(vec![user(1), user(2)]).expect("a short list"),
        }
        .into(),
        3 => ChatMessage {
            scope: Scope::World,
            target: 0,
            sequence: 1 + u64::from(kind / 6),
            stamp: 0,
            times: ServerTimes { received_us: 0, queued_us: 0, handled_us: 0 },
            sender: user(1 + u32::from(kind) % 2),
            text: Text::truncated("hi"),
        }
        .into(),
        4 => ChannelAnswer {
            outcome: Outcome::Ok,
            channel: 1 + u32::from(kind / 6),
            name: Text::truncated("hive"),
            head_count: 1,
        }
        .into(),
        _ => ResumeAnswer { handled: u32::from(kind / 6), answers_from: 1, token, shard: 0 }.into(),
    }
}
