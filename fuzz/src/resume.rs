//! Requests to resume, one after the other, at a chat with two users, one of which has lost its
//! connection. A token that is not the user's newest, or the one with which it resumed, changes
//! nothing.

use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant};

use throng_core::SessionId;
use throng_core::config::Config;
use throng_core::content::{Effect, Effects, Job, Role as _, SessionCommand};
use throng_core::crypto::{ClusterKey, Credentials, ResumeToken, ResumeTokens, Ticket};
use throng_core::limits::CLIENT_BODY_MAX;
use throng_core::links::{Backoff, Links};
use throng_core::net::{Closed, Endpoint, Opened, PeerKind};
use throng_core::room::RoomId;
use throng_core::wire::packets::{
    ChannelCreateRequest, ChannelJoinRequest, ChannelKickRequest, ChatRequest, Claim, HeldChannel, LinkHello,
    Name, ResumeRequest, ResumeTokenBytes, Role, Scope,
};
use throng_core::wire::{CloseReason, List, Packet, Text};
use throng_servers::chat::{Admission, ChatRole, ChatSettings, HistoryLimits};

use crate::input::Input;
use crate::{Target, vectors};

pub(crate) const RESUME: Target = Target { name: "resume", check, seeds, mutations: 1_000 };

const KEY: [u8; 32] = [9; 32];
const CHAT_KEY: [u8; 32] = [5; 32];
const EPOCH: [u8; 16] = [2; 16];
const NOW_MS: u64 = 10_000;
const WINDOW: Duration = Duration::from_secs(30);

static NOW: LazyLock<Instant> = LazyLock::new(Instant::now);
static CONFIG: LazyLock<Config> = LazyLock::new(Config::default);

/// A ticket for each user.
static TICKETS: LazyLock<[Packet; 2]> = LazyLock::new(|| {
    [1, 2].map(|account| {
        let (issued_ms, expires_ms) = (NOW_MS, NOW_MS + 1000);
        let name = Name::truncated("n");
        let ticket =
            Ticket { account, claim: 0, character: 1, name, chat_key: CHAT_KEY, issued_ms, expires_ms };
        let ticket = ticket.mint(&ClusterKey::from_bytes(KEY)).expect("randomness");
        throng_core::wire::packets::EnterRequest { ticket }.into()
    })
});

/// The request of docs/protocol.md with each kind of token in each kind of chat, and numbers.
fn seeds() -> Vec<Vec<u8>> {
    let packet = vectors::one("packet ResumeRequest");
    let piece = [&(packet.len() as u16).to_le_bytes(), &packet[..]].concat();
    let real = vectors::one("resume token");
    let mut seeds: Vec<_> =
        (0..=u8::MAX).step_by(7).map(|chat| [&[chat, chat % 6], &piece[..]].concat()).collect();
    let numbers = [[1, 0, 0, 0].as_slice(), &[1; 8], &[2; 8], &[0xff; 8], &[2, 1, 1, 0, 2, 0, 0, 0, 0, 0, 0]];
    seeds.extend((0..6).map(|token| [&[0xf3, 0x80 | token], &numbers.concat()[..], &[1, 40, 0, 1]].concat()));
    let foreign = [&[0x85], &numbers.concat()[..], &(real.len() as u16).to_le_bytes(), &real[..]].concat();
    seeds.push([&[0], &foreign[..]].concat());
    let newest = [&[0x81], &numbers.concat()[..]].concat();
    let older = [&[0x82], &numbers.concat()[..]].concat();
    seeds.push([&[0xf1], &newest[..], &foreign, &older, &older, &newest].concat());
    seeds
}

/// Most requests of an input.
const REQUESTS: usize = 64;

fn check(input: &[u8]) {
    let mut input = Input::new(input);
    let kind = input.u8();
    // The other chat gets the requests with a good token only.
    let [mut chat, mut other] = [Chat::new(kind), Chat::new(kind)];
    let tokens = ResumeTokens::new(&ClusterKey::from_bytes(KEY), EPOCH);
    for _ in 0..REQUESTS {
        if input.is_empty() {
            break;
        }
        let Some(request) = request(&mut input, &chat, &tokens) else { continue };
        let token = &request.token;
        let is_good = !token.is_empty() && (*token == chat.newest || Some(token) == chat.older.as_ref());
        let session = chat.open();
        let effects = chat.packet(session, request.clone());
        if is_good {
            other.open_as(session);
            other.packet(session, request.clone());
            let newest = check_resumed(&chat, session, &request, effects);
            (chat.newest, chat.older, chat.up) = (newest, Some(request.token), Some(session));
        } else {
            assert_eq!(effects.describe(), [format!("{session} closed: PlaceLost")]);
        }
    }
    let newest = chat.newest.clone();
    let [lines, wanted] = [&mut chat, &mut other].map(|chat| {
        let session = SessionId::new(0, 9_999, 0);
        chat.open_as(session);
        chat.packet(session, Chat::request(newest.clone())).describe()
    });
    assert_eq!(lines, wanted, "a token that is not good has changed something");
    chat.end();
}

/// Takes a request. None if there is none in the input.
fn request(input: &mut Input<'_>, chat: &Chat, tokens: &ResumeTokens) -> Option<ResumeRequest> {
    let choice = input.u8();
    let request = if choice & 0x80 == 0 {
        match Packet::decode(input.piece()) {
            Ok(Packet::ResumeRequest(request)) => request,
            _ => return None,
        }
    } else {
        numbers(input)
    };
    let token = match choice % 6 {
        0 => request.token,
        1 => chat.newest.clone(),
        2 => chat.older.clone().unwrap_or_default(),
        3 => ResumeTokenBytes::new(input.damage(&chat.newest)).unwrap_or_default(),
        4 => {
            let claim = Claim { account: input.u8().into(), id: input.u8().into() };
            let token = ResumeToken { user: input.u8().into(), counter: input.u64(), claim };
            let of_the_other = token.user == 2 && claim == Claim { account: 2, id: 0 };
            if of_the_other {
                return None;
            }
            tokens.seal(&token)
        }
        _ => {
            let foreign = ResumeTokens::new(&ClusterKey::from_bytes(KEY), [3; 16]);
            let token =
                foreign.seal(&ResumeToken { user: 1, counter: 1, claim: Claim { account: 1, id: 0 } });
            ResumeTokenBytes::new([&token[..8], input.piece()].concat()).unwrap_or(token)
        }
    };
    Some(ResumeRequest { token, ..request })
}

/// Takes a request from numbers, without a token.
fn numbers(input: &mut Input<'_>) -> ResumeRequest {
    let (answers, whispers, world, list_version) = (input.u32(), input.u64(), input.u64(), input.u64());
    let count = input.u8() % 4;
    let channels =
        (0..count).map(|_| HeldChannel { channel: u32::from(input.u8() % 4), sequence: input.u64() });
    let channels = List::new(channels.collect()).expect("they are few");
    ResumeRequest { token: ResumeTokenBytes::default(), answers, whispers, world, list_version, channels }
}

/// Checks that a user which resumes gets what it has missed, in order and without a gap that is not
/// told, and that no one else gets anything. Returns the new token.
fn check_resumed(
    chat: &Chat,
    session: SessionId,
    request: &ResumeRequest,
    mut effects: Effects,
) -> ResumeTokenBytes {
    let mut held: BTreeMap<u32, u64> = BTreeMap::from([(0, request.world)]);
    for HeldChannel { channel, sequence } in request.channels.iter().rev().filter(|held| held.channel != 0) {
        held.insert(*channel, *sequence);
    }
    let mut whispers = request.whispers;
    let mut answer = None;
    let mut sequences = BTreeMap::new();
    let mut joined = Vec::new();
    for effect in effects.drain() {
        let packet = match effect {
            Effect::ToSession(to, SessionCommand::Close(reason)) => {
                assert_eq!((Some(to), reason), (chat.up, CloseReason::ResumedElsewhere));
                continue;
            }
            Effect::Leave(id, _) => {
                assert_eq!(Some(id), chat.up);
                continue;
            }
            Effect::Join(id, RoomId(room)) => {
                assert_eq!(id, session);
                let (held, latest) = (held[&room], sequences[&room]);
                assert!(held >= latest, "room {room}: {held} of {latest} messages");
                joined.push(room);
                continue;
            }
            Effect::ToSession(to, SessionCommand::Send(packet)) if to == session => *packet,
            Effect::ToSession(to, SessionCommand::SendEncoded(begin, rest)) if to == session => {
                Packet::decode(&[&*begin, &*rest].concat()).expect("a packet")
            }
            _ => panic!("another one notices that a user resumes"),
        };
        match packet {
            Packet::ResumeAnswer(found) => {
                assert!(answer.is_none() && found.handled == chat.handled);
                answer = Some(found);
            }
            Packet::RoomResumed(resumed) => {
                sequences.insert(resumed.channel, resumed.sequence);
                held.entry(resumed.channel).or_default();
            }
            Packet::ChatGap(gap) => match gap.scope {
                Scope::Whisper => whispers += gap.missed,
                _ => *held.get_mut(&gap.channel).expect("a room of its own") += gap.missed,
            },
            Packet::ChatMessage(message) => {
                let held = match message.scope {
                    Scope::Whisper => &mut whispers,
                    Scope::World => held.get_mut(&0).expect("the world"),
                    _ => held.get_mut(&message.target).expect("a room of its own"),
                };
                *held += 1;
                assert_eq!(message.sequence, *held);
            }
            _ => {}
        }
    }
    let answer = answer.expect("a good token is resumed with");
    assert!(whispers >= chat.whispers);
    let wanted: &[u32] = if chat.is_kicked { &[0] } else { &[1, 0] };
    assert_eq!(joined, wanted);
    answer.token
}

/// A chat with the users 1 and 2, of which the first is about to resume.
struct Chat {
    role: ChatRole,
    sessions: u32,
    /// The newest token of user 1, and the one with which it has resumed.
    newest: ResumeTokenBytes,
    older: Option<ResumeTokenBytes>,
    /// The session of user 1, unless the server knows that it is lost.
    up: Option<SessionId>,
    /// Packets of user 1.
    handled: u32,
    /// Whispers of user 1.
    whispers: u64,
    is_kicked: bool,
}

impl Chat {
    /// Creates a chat of one of 256 kinds.
    fn new(kind: u8) -> Self {
        let few = HistoryLimits { messages: 2, ..ChatSettings::of(&CONFIG).history };
        let mut settings = ChatSettings::of(&CONFIG);
        settings.resume_window = WINDOW;
        if kind & 8 != 0 {
            (settings.history, settings.resume_bytes) = (few, 200);
        }
        let cluster = ClusterKey::from_bytes(KEY);
        let tokens = ResumeTokens::new(&cluster, EPOCH);
        let admission = Admission::new(cluster, CHAT_KEY, NOW_MS);
        let role = ChatRole::new(settings, admission, tokens, links(), || NOW_MS);
        let newest = ResumeTokenBytes::default();
        let mut chat = Self {
            role,
            sessions: 0,
            newest,
            older: None,
            up: None,
            handled: 0,
            whispers: 0,
            is_kicked: false,
        };
        let sessions = [0, 1].map(|user| {
            let session = chat.open();
            let effects = chat.packet(session, TICKETS[user].clone());
            if user == 0 {
                chat.newest = token(effects);
            }
            session
        });
        chat.up = Some(sessions[0]);
        let name = || Text::truncated("den");
        chat.packet(sessions[1], ChannelCreateRequest { name: name() });
        chat.own(ChannelJoinRequest { name: name() });
        chat.own(say(Scope::World, 0));
        chat.own(say(Scope::Channel, 1));
        chat.say_all(sessions[1], 1);
        if kind & 2 != 0 {
            chat.lose();
            chat.resume();
        }
        if kind & 1 != 0 {
            chat.lose();
        }
        chat.say_all(sessions[1], (kind >> 4).into());
        if kind & 4 != 0 {
            chat.packet(sessions[1], ChannelKickRequest { channel: 1, user: 1 });
            chat.is_kicked = true;
        }
        chat
    }

    /// Lets user 2 speak to all, to the channel and to user 1.
    fn say_all(&mut self, session: SessionId, times: u64) {
        for _ in 0..times {
            for (scope, target) in [(Scope::World, 0), (Scope::Channel, 1), (Scope::Whisper, 1)] {
                self.packet(session, say(scope, target));
            }
        }
        self.whispers += times;
    }

    /// Hands over a packet of user 1.
    fn own(&mut self, packet: impl Into<Packet>) {
        if let Some(session) = self.up {
            self.handled += 1;
            self.packet(session, packet);
        }
    }

    fn lose(&mut self) {
        if let Some(session) = self.up.take() {
            let reason = CloseReason::ConnectionLost;
            let closed = Closed { kind: PeerKind::Client, dialed: None, reason };
            self.job(Job::Closed(session, closed));
        }
    }

    fn resume(&mut self) {
        let session = self.open();
        let effects = self.packet(session, Self::request(self.newest.clone()));
        self.older = Some(std::mem::replace(&mut self.newest, token(effects)));
        self.up = Some(session);
    }

    fn request(token: ResumeTokenBytes) -> ResumeRequest {
        let channels = List::default();
        ResumeRequest { token, answers: 0, whispers: 0, world: 0, list_version: 0, channels }
    }

    fn open(&mut self) -> SessionId {
        self.sessions += 1;
        let session = SessionId::new(0, self.sessions, 0);
        self.open_as(session);
        session
    }

    fn open_as(&mut self, session: SessionId) {
        let address = ([203, 0, 113, 9], 9).into();
        self.job(Job::Opened(session, Opened { kind: PeerKind::Client, address, dialed: None }));
    }

    fn packet(&mut self, session: SessionId, packet: impl Into<Packet>) -> Effects {
        self.job(Job::Packet(session, packet.into(), *NOW))
    }

    fn job(&mut self, job: Job<throng_servers::fleet::Event>) -> Effects {
        let mut effects = Effects::default();
        self.role.job(job, *NOW, &mut effects);
        effects
    }

    /// Lets all that are away leave.
    fn end(&mut self) {
        self.lose();
        self.role.tick(*NOW + WINDOW, &mut Effects::default());
    }
}

/// Returns the token that a client is sent.
fn token(mut effects: Effects) -> ResumeTokenBytes {
    let token = effects.drain().find_map(|effect| match effect {
        Effect::ToSession(_, SessionCommand::Send(packet)) => match *packet {
            Packet::EnterAnswer(answer) => Some(answer.token),
            Packet::ResumeAnswer(answer) => Some(answer.token),
            _ => None,
        },
        _ => None,
    });
    token.expect("a client that enters or resumes gets a token")
}

fn say(scope: Scope, target: u32) -> ChatRequest {
    ChatRequest { scope, target, stamp: 7, text: Text::truncated("hello") }
}

/// Returns the links of a chat server that has none.
fn links() -> Links {
    let name = Text::truncated("chat");
    let client_address = Text::truncated("127.0.0.1:9200");
    let hello = LinkHello { role: Role::Chat, name, instance: 1, client_address, client_key: CHAT_KEY };
    let endpoint = Endpoint {
        peer: PeerKind::Link,
        credentials: Credentials::Link(ClusterKey::from_bytes(KEY)),
        body_max: CLIENT_BODY_MAX,
        outbox_max: 0,
        handshake_timeout: Duration::ZERO,
        first_packet_timeout: None,
        heartbeat: None,
        idle_timeout: None,
        linger: Duration::ZERO,
    };
    let backoff = Backoff { min: Duration::ZERO, max: Duration::ZERO };
    Links::new(hello, Arc::new(endpoint), backoff, Vec::new(), *NOW, Arc::default())
}
