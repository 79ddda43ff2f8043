//! The chat server, a model of the login server, and the connections of the players to both.

mod effects;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use throng_client::roster::Roster;
use throng_client::{Audience, Client, CloseReason, Io, LineId, Settings};
use throng_core::SessionId;
use throng_core::config::Config;
use throng_core::content::{Effect, Effects, Job, Role as _, SessionCommand};
use throng_core::crypto::{ClusterKey, Credentials, RoomSealer, StaticKey, Ticket};
use throng_core::limits::CLIENT_BODY_MAX;
use throng_core::net::{Closed, Endpoint, Opened, PeerKind};
use throng_core::room::{Class, RoomId};
use throng_core::session::{BufferPool, Event, Session, TimerAction};
use throng_core::wire::packets::{
    ChatGap, LoginGranted, LoginQueued, LoginRefused, LoginRequest, Outcome, Role, TooFast,
};
use throng_core::wire::{Body as _, Packet, Text};

use super::player::Player;
use crate::chat::{Admission, ChatRole, ChatSettings};
use crate::dice::Dice;
use crate::role_fixture::{KEY, advance_clock, lift, links, now_ms, reset_clock, resume_tokens};

const PLAYERS: usize = 4;
const NAMES: [&str; 3] = ["hive", "nest", "Nest"];
const LOGIN: &str = "login:1";
const CHAT: &str = "chat:1";

/// Members from which a room has a key.
const KEY_FROM: usize = 2;

/// Longest time in which a world comes to rest: a place is lost after seconds, and pauses between
/// attempts are as long.
const REST_MAX: Duration = Duration::from_mins(5);

/// Texts of the messages of rooms, by the start of the chat server, room and number.
pub(super) type Said = BTreeMap<(u64, u32, u64), String>;

/// A connection.
#[expect(clippy::struct_excessive_bools, reason = "each end learns of an end by itself")]
struct Pipe {
    player: usize,
    line: LineId,
    is_chat: bool,
    id: SessionId,
    /// The server's end, once the connection is made.
    session: Option<Session>,
    /// Bytes on their way.
    to_client: Vec<u8>,
    to_server: Vec<u8>,
    /// The beginning of a frame.
    inbox: Vec<u8>,
    /// True once nothing passes any more.
    is_broken: bool,
    client_is_gone: bool,
    server_is_gone: bool,
    /// True once the role knows of the session.
    is_known: bool,
    /// A login request that waits for the model's answer.
    request: Option<LoginRequest>,
    /// Messages of rooms that were dropped, and not told yet.
    dropped: BTreeMap<RoomId, u64>,
    /// Rooms whose latest notice was dropped. The next one shows it.
    stale: BTreeSet<u32>,
}

/// Settings of the chat server in a run.
#[derive(Clone, Copy)]
struct Plan {
    /// Time for which a place is kept; zero keeps none.
    window: Duration,
    /// Messages of each room that are kept.
    history: usize,
    /// Users up to whom a room announces each change at once.
    notice_at_once: usize,
}

pub(super) struct World {
    dice: Dice,
    now: Instant,
    is_calm: bool,
    is_traced: bool,
    endpoint: Arc<Endpoint>,
    pool: BufferPool,
    chat: ChatRole,
    /// Number of starts of the chat server.
    pub(super) start: u64,
    key: Arc<StaticKey>,
    plan: Plan,
    players: Vec<Player>,
    pipes: Vec<Pipe>,
    sessions: u32,
    rooms: BTreeSet<(SessionId, RoomId)>,
    keys: BTreeMap<RoomId, (RoomSealer, BTreeSet<SessionId>)>,
    keys_made: u32,
    pub(super) said: Said,
    /// Texts of all messages that were delivered.
    pub(super) texts: BTreeSet<String>,
    pub(super) counts: BTreeMap<&'static str, u64>,
}

impl World {
    pub(super) fn new(seed: u64, is_traced: bool) -> Self {
        reset_clock();
        advance_clock(Duration::from_hours(24));
        let mut dice = Dice::new(seed);
        let now = Instant::now();
        let key = Arc::new(StaticKey::from_private([7; 32]));
        let endpoint = Arc::new(Endpoint {
            peer: PeerKind::Client,
            credentials: Credentials::Server(key.clone()),
            body_max: CLIENT_BODY_MAX,
            outbox_max: 1 << 20,
            handshake_timeout: Duration::from_secs(5),
            first_packet_timeout: Some(Duration::from_secs(5)),
            heartbeat: Some(Duration::from_secs(2)),
            idle_timeout: Some(Duration::from_secs(6)),
            linger: Duration::from_secs(1),
        });
        let players = (0..PLAYERS).map(|number| {
            let settings = Settings::new(LOGIN, *key.public());
            Player::new(number, Client::new(settings, dice.next(), now))
        });
        let players = players.collect();
        let plan = Plan {
            window: Duration::from_millis(dice.pick(&[0, 1_000, 4_000, 60_000])),
            history: dice.pick(&[1_000, 1_000, 5, 0]),
            notice_at_once: dice.pick(&[0, 2, 100]),
        };
        let chat = chat(1, plan, &key, now);
        Self {
            dice,
            now,
            is_calm: false,
            is_traced,
            endpoint,
            pool: BufferPool::default(),
            chat,
            start: 1,
            key,
            plan,
            players,
            pipes: Vec::new(),
            sessions: 0,
            rooms: BTreeSet::new(),
            keys: BTreeMap::new(),
            keys_made: 0,
            said: Said::new(),
            texts: BTreeSet::new(),
            counts: BTreeMap::new(),
        }
    }

    fn count(&mut self, kind: &'static str) {
        *self.counts.entry(kind).or_default() += 1;
    }

    fn trace(&self, what: impl FnOnce() -> String) {
        if self.is_traced {
            eprintln!("{}", what());
        }
    }

    /// Returns the users of a room, as the server has them.
    pub(super) fn users_in(&self, room: u32) -> BTreeSet<u32> {
        let sessions = self.rooms.iter().filter(|member| member.1.0 == room).map(|member| member.0);
        let users = sessions.map(|session| {
            let pipe =
                self.pipes.iter().find(|pipe| pipe.id == session).expect("a session in a room is open");
            self.players[pipe.player].client.user().expect("its session is in the chat").id
        });
        users.collect()
    }

    /// Lets something happen.
    pub(super) fn step(&mut self) {
        match self.dice.below(64) {
            // The network is quick, beside everything else.
            0..=35 => {
                for _ in 0..self.dice.below(12) {
                    let at = self.dice.below(self.pipes.len());
                    self.deliver(at);
                    self.pump();
                }
            }
            36..=55 => {
                let player = self.dice.below(PLAYERS);
                self.act(player);
            }
            56..=60 => {
                let millis = self.dice.pick(&[1, 20, 200, 200, 1_000, 4_000]);
                self.pass(Duration::from_millis(millis));
            }
            61 if !self.pipes.is_empty() && self.dice.one_in(5) => {
                let at = self.dice.below(self.pipes.len());
                self.break_pipe(at);
            }
            62 if self.dice.one_in(12) => self.restart(),
            _ => self.notice_break(),
        }
        self.pump();
    }

    /// Ends all faults, and lets all that is under way happen. Checks that everyone is in the chat.
    pub(super) fn come_to_rest(&mut self) {
        self.is_calm = true;
        self.trace(|| "the end of all faults".into());
        let end = self.now + REST_MAX;
        loop {
            while let Some(at) = self.pipes.iter().position(Pipe::is_moving) {
                self.deliver(at);
                self.pump();
            }
            for at in (0..self.pipes.len()).rev() {
                self.tell_dropped(at);
            }
            self.pump();
            for number in 0..PLAYERS {
                if self.players[number].place.is_none() && !self.players[number].is_coming {
                    self.log_in(number);
                    self.pump();
                }
            }
            if self.pipes.iter().any(Pipe::is_moving) {
                continue;
            }
            let is_in = |player: &Player| player.place.is_some() && !player.client.is_away();
            let is_listed = |player: &Player| {
                let mut rooms = player.client.channels().map(|it| it.0).chain([0]);
                rooms.all(|room| player.client.roster(room).is_some_and(Roster::is_complete))
            };
            let is_settled =
                |player: &Player| is_in(player) && is_listed(player) && !player.client.is_waiting();
            // What is left of broken connections ends by itself.
            let places = self.pipes.iter().filter(|pipe| pipe.is_chat && !pipe.is_broken).count();
            if self.players.iter().all(is_settled) && places == PLAYERS && self.wrong_lists().is_empty() {
                break;
            }
            if self.now >= end {
                let settled: Vec<bool> = self.players.iter().map(is_settled).collect();
                panic!("no rest: {settled:?}, {:?}", self.wrong_lists());
            }
            self.pass(Duration::from_millis(250));
            self.pump();
        }
        for player in &self.players {
            player.check_at_rest(self);
        }
    }

    /// Returns the players and rooms whose lists are not those of the members: a user is away, or
    /// a notice is due.
    fn wrong_lists(&self) -> Vec<(usize, u32, Vec<u32>)> {
        let mut wrong = Vec::new();
        for player in &self.players {
            for room in player.client.channels().map(|it| it.0).chain([0]) {
                let users =
                    player.client.roster(room).into_iter().flat_map(|list| list.iter().map(|(id, _)| id));
                let users: Vec<u32> = users.collect();
                if !self.may_be_stale(player.number, room) && !users.iter().copied().eq(self.users_in(room)) {
                    wrong.push((player.number, room, users));
                }
            }
        }
        wrong
    }

    /// Returns true if the latest notice of a room was dropped for a player.
    pub(super) fn may_be_stale(&self, player: usize, room: u32) -> bool {
        self.pipes.iter().any(|pipe| pipe.player == player && pipe.is_chat && pipe.stale.contains(&room))
    }

    /// Lets a player do something.
    fn act(&mut self, number: usize) {
        let player = &mut self.players[number];
        if player.place.is_none() {
            if player.is_coming {
                return;
            }
            return self.log_in(number);
        }
        let channels: Vec<u32> = player.client.channels().map(|channel| channel.0).collect();
        let channel = if channels.is_empty() { 1 } else { self.dice.pick(&channels) };
        let user = 1 + self.dice.below(8) as u32;
        let name = self.dice.pick(&NAMES);
        let (now, choice) = (self.now, self.dice.below(40));
        self.trace(|| format!("player {number} does {choice}"));
        let client = &mut self.players[number].client;
        let result = match choice {
            0 => client.create_channel(name, now),
            1 | 2 => client.join_channel(name, now),
            3 => client.leave_channel(channel, now),
            4 => client.kick(channel, user, now),
            5 => client.list_channels(0, now),
            6 => client.request_history(channel, 0, 10, now),
            7 => client.request_history(0, 3, 10, now),
            8 => client.move_to(user.cast_signed(), 3, now),
            9 => client.ping(now),
            10 => {
                client.probe(now);
                Ok(())
            }
            11 if self.dice.one_in(4) => {
                client.log_out(now);
                Ok(())
            }
            _ => return self.say(number, channel, user),
        };
        result.expect("it is in the chat, and requests are few");
    }

    fn say(&mut self, number: usize, channel: u32, user: u32) {
        let to = match self.dice.below(8) {
            0..=2 => Audience::World,
            3..=5 => Audience::Channel(channel),
            6 => Audience::Nearby,
            _ => Audience::Whisper(user),
        };
        let player = &mut self.players[number];
        player.texts += 1;
        let text = format!("{number}-{}", player.texts);
        let stamp = player.client.say(to, &text, self.now).expect("it is in the chat");
        assert!(player.unknown.insert(stamp.0, text).is_none(), "a stamp comes twice");
    }

    fn log_in(&mut self, number: usize) {
        let player = &mut self.players[number];
        player.client.log_in(&number.to_string(), "a long password", self.now).expect("nothing is under way");
        player.is_coming = true;
    }

    fn pass(&mut self, time: Duration) {
        self.now += time;
        advance_clock(time);
        let now = self.now;
        let mut effects = Effects::default();
        self.chat.tick(now, &mut effects);
        self.carry_out(&mut effects);
        for at in (0..self.pipes.len()).rev() {
            let pipe = &mut self.pipes[at];
            let Some(session) = pipe.session.as_mut().filter(|_| !pipe.server_is_gone) else { continue };
            match session.handle_timeout(now, &mut self.pool) {
                TimerAction::Close(reason) => self.close(at, reason),
                TimerAction::Remove => self.server_gone(at, CloseReason::ConnectionLost),
                TimerAction::ArmAt(_) | TimerAction::Disarm => {}
            }
        }
        for number in 0..PLAYERS {
            let was_away = self.players[number].client.is_away();
            self.players[number].client.handle_timeout(now);
            self.pump();
            if !was_away && self.players[number].client.is_away() {
                self.count("away by its own timers");
            }
            let next = self.players[number].client.next_timeout(now);
            assert!(next.is_none_or(|at| at > now), "player {number} would be called again and again");
        }
    }

    /// Breaks a connection with what is on its way from some byte on.
    fn break_pipe(&mut self, at: usize) {
        let pipe = &mut self.pipes[at];
        pipe.is_broken = true;
        pipe.to_client.truncate(self.dice.below(pipe.to_client.len() + 1));
        pipe.to_server.truncate(self.dice.below(pipe.to_server.len() + 1));
        self.count("broken line");
    }

    /// Has one end of a broken connection learn of it.
    fn notice_break(&mut self) {
        let broken: Vec<usize> = (0..self.pipes.len()).filter(|at| self.pipes[*at].is_broken).collect();
        if broken.is_empty() {
            return;
        }
        let at = self.dice.pick(&broken);
        if self.dice.one_in(2) {
            self.client_gone(at, CloseReason::ConnectionLost);
        } else {
            self.server_gone(at, CloseReason::ConnectionLost);
        }
    }

    /// The chat server dies and starts again. Its clients learn of it by a reset, late or never.
    fn restart(&mut self) {
        self.count("restart");
        self.start += 1;
        self.trace(|| format!("start {} of the chat server", self.start));
        self.chat = chat(self.start, self.plan, &self.key, self.now);
        self.rooms.clear();
        self.keys.clear();
        for pipe in self.pipes.iter_mut().filter(|pipe| pipe.is_chat && pipe.session.is_some()) {
            (pipe.is_broken, pipe.server_is_gone) = (true, true);
            pipe.to_client.clear();
            pipe.to_server.clear();
        }
    }

    /// Moves bytes of a connection, or its end.
    fn deliver(&mut self, at: usize) {
        let Some(pipe) = self.pipes.get_mut(at) else { return };
        if pipe.session.is_none() {
            return self.connect(at);
        }
        // Nothing reads what is on its way to an end that is gone.
        if pipe.client_is_gone {
            pipe.to_client.clear();
        }
        if pipe.server_is_gone {
            pipe.to_server.clear();
        }
        let is_to_server = if pipe.to_server.is_empty() { pipe.client_is_gone } else { self.dice.one_in(2) };
        let bytes = if is_to_server { &mut pipe.to_server } else { &mut pipe.to_client };
        let count =
            if self.is_calm || self.dice.one_in(2) { bytes.len() } else { self.dice.below(bytes.len()) };
        let part: Vec<u8> = bytes.drain(..count).collect();
        let is_end = bytes.is_empty() && !pipe.is_broken;
        if is_to_server {
            if !pipe.server_is_gone {
                self.server_received(at, &part);
            }
            if is_end && self.pipes[at].client_is_gone {
                self.server_gone(at, CloseReason::PeerClosed);
            }
        } else {
            if !pipe.client_is_gone {
                self.players[pipe.player].client.handle_received(pipe.line, &part, self.now);
            }
            let pipe = &self.pipes[at];
            if is_end && pipe.server_is_gone && pipe.to_client.is_empty() {
                self.client_gone(at, CloseReason::PeerClosed);
            }
        }
    }

    fn connect(&mut self, at: usize) {
        let is_failed = self.pipes[at].is_broken || !self.is_calm && self.dice.one_in(40);
        let pipe = &mut self.pipes[at];
        if is_failed || pipe.client_is_gone {
            self.count("connection failed");
            self.pipes[at].server_is_gone = true;
            return self.client_gone(at, CloseReason::ConnectFailed);
        }
        pipe.session = Some(Session::accepted(self.endpoint.clone(), self.now));
        self.players[pipe.player].client.handle_connected(pipe.line, self.now);
    }

    fn client_gone(&mut self, at: usize, reason: CloseReason) {
        let pipe = &mut self.pipes[at];
        if !std::mem::replace(&mut pipe.client_is_gone, true) {
            self.players[pipe.player].client.handle_lost(pipe.line, reason, self.now);
        }
    }

    fn server_gone(&mut self, at: usize, reason: CloseReason) {
        self.flush(at);
        let pipe = &mut self.pipes[at];
        if !std::mem::replace(&mut pipe.server_is_gone, true) && pipe.is_chat && pipe.is_known {
            let closed = Closed { kind: PeerKind::Client, dialed: None, reason };
            let job = Job::Closed(pipe.id, closed);
            self.job(job);
        }
    }

    /// Ends a session with a reason that the client is told.
    fn close(&mut self, at: usize, reason: CloseReason) {
        let pipe = &mut self.pipes[at];
        if let Some(session) = &mut pipe.session {
            session.close(reason, "", self.now, &mut self.pool);
        }
        self.server_gone(at, reason);
    }

    fn flush(&mut self, at: usize) {
        let pipe = &mut self.pipes[at];
        let Some(session) = &mut pipe.session else { return };
        let bytes = session.poll_transmit();
        let count = bytes.len();
        if !pipe.is_broken && !pipe.server_is_gone {
            pipe.to_client.extend_from_slice(bytes);
        }
        session.handle_transmitted(count, &mut self.pool);
    }

    /// Carries out what clients want of their sockets, moves written bytes to their connections,
    /// and takes events.
    fn pump(&mut self) {
        for number in 0..PLAYERS {
            while let Some(io) = self.players[number].client.poll_io() {
                match io {
                    Io::Connect(line, address) => self.dial(number, line, address == CHAT),
                    Io::Disconnect(line) => {
                        let at =
                            self.pipes.iter().position(|pipe| pipe.line == line && pipe.player == number);
                        if let Some(at) = at {
                            self.transmit(at);
                            self.client_gone(at, CloseReason::Goodbye);
                        }
                    }
                }
            }
        }
        for at in 0..self.pipes.len() {
            self.transmit(at);
            self.flush(at);
        }
        self.pipes.retain(|pipe| !(pipe.client_is_gone && pipe.server_is_gone));
        let Self { players, said, start, counts, .. } = self;
        for player in players {
            player.take_events(said, *start, &mut |kind| *counts.entry(kind).or_default() += 1);
        }
    }

    fn transmit(&mut self, at: usize) {
        let pipe = &mut self.pipes[at];
        if pipe.client_is_gone || pipe.session.is_none() {
            return;
        }
        let client = &mut self.players[pipe.player].client;
        let bytes = client.poll_transmit(pipe.line);
        let count = bytes.len();
        if !pipe.is_broken {
            pipe.to_server.extend_from_slice(bytes);
        }
        client.handle_transmitted(pipe.line, count);
    }

    fn dial(&mut self, player: usize, line: LineId, is_chat: bool) {
        self.sessions += 1;
        let id = SessionId::new(0, self.sessions, 0);
        self.trace(|| format!("player {player} dials {} as {id}", if is_chat { CHAT } else { LOGIN }));
        self.pipes.push(Pipe {
            player,
            line,
            is_chat,
            id,
            session: None,
            to_client: Vec::new(),
            to_server: Vec::new(),
            inbox: Vec::new(),
            is_broken: false,
            client_is_gone: false,
            server_is_gone: false,
            is_known: false,
            request: None,
            dropped: BTreeMap::new(),
            stale: BTreeSet::new(),
        });
    }

    fn server_received(&mut self, at: usize, bytes: &[u8]) {
        let mut inbox = std::mem::take(&mut self.pipes[at].inbox);
        inbox.extend_from_slice(bytes);
        let mut used = 0;
        while !self.pipes[at].server_is_gone {
            let pipe = &mut self.pipes[at];
            let Some(session) = &mut pipe.session else { return };
            let event = match session.handle_frame(&mut inbox[used..], self.now, &mut self.pool) {
                Ok(None) => break,
                Ok(Some((length, event))) => {
                    used += length;
                    event
                }
                Err(reason) => panic!("player {} has sent what it must not: {}", pipe.player, reason.name()),
            };
            let (id, now, is_chat) = (pipe.id, self.now, pipe.is_chat);
            match event {
                Event::Opened if is_chat => {
                    pipe.is_known = true;
                    let address = ([203, 0, 113, 9], 9).into();
                    self.job(Job::Opened(id, Opened { kind: PeerKind::Client, address, dialed: None }));
                }
                Event::Packet(packet) if is_chat => {
                    self.trace(|| format!("{id} -> {packet:?}"));
                    self.job(Job::Packet(id, packet, now));
                }
                Event::Packet(Packet::LoginRequest(request)) => pipe.request = Some(request),
                Event::PeerClosed(reason, _) => self.server_gone(at, reason),
                Event::Opened | Event::Consumed => {}
                other => panic!("player {} has sent what it must not: {other:?}", pipe.player),
            }
        }
        inbox.drain(..used);
        self.pipes[at].inbox = inbox;
        self.answer_login(at);
    }

    /// Answers as a login server may.
    fn answer_login(&mut self, at: usize) {
        let choice = if self.is_calm { 9 } else { self.dice.below(12) };
        let now_ms = now_ms();
        let pipe = &mut self.pipes[at];
        let Some(session) = pipe.session.as_mut().filter(|_| !pipe.server_is_gone) else { return };
        let Some(request) = pipe.request.take() else { return };
        let outcomes =
            [Outcome::TryAgainLater, Outcome::AlreadyOnline, Outcome::ClaimLost, Outcome::BadCredentials];
        let packet: Packet = match choice {
            0 => LoginRefused { outcome: self.dice.pick(&outcomes) }.into(),
            1 => TooFast { packet: LoginRequest::NUMBER, stamp: 0, wait_ms: 300 }.into(),
            2 => return self.close(at, CloseReason::ServerFull),
            3..=5 => {
                session.send(&LoginQueued { position: 3, wait_ms: 100 }.into(), &mut self.pool);
                pipe.request = Some(request);
                return;
            }
            _ => {
                let name = Text::truncated(&format!("Player {}", pipe.player));
                let ticket = Ticket {
                    account: 1 + pipe.id.slot() as u64,
                    claim: 0,
                    character: 1,
                    name: name.clone(),
                    chat_key: *self.key.public(),
                    issued_ms: now_ms,
                    expires_ms: now_ms + 5_000,
                };
                LoginGranted {
                    chat_address: Text::truncated(CHAT),
                    chat_key: *self.key.public(),
                    name,
                    ticket: ticket.mint(&ClusterKey::from_bytes(KEY)).expect("randomness"),
                    ticket_lifetime_ms: 5_000,
                }
                .into()
            }
        };
        session.send(&packet, &mut self.pool);
    }
}

impl Pipe {
    /// Returns true if anything is on its way. What is broken moves no more.
    fn is_moving(&self) -> bool {
        let is_end = self.client_is_gone != self.server_is_gone && !self.is_broken;
        self.session.is_none() || !self.to_client.is_empty() || !self.to_server.is_empty() || is_end
    }
}

/// Returns the chat server of this start.
fn chat(start: u64, plan: Plan, key: &StaticKey, now: Instant) -> ChatRole {
    let mut config = Config::default();
    config.chat.resume_window = plan.window;
    config.chat.history = plan.history;
    let settings = ChatSettings {
        ticket_lifetime: Duration::from_secs(5),
        notice_at_once: plan.notice_at_once,
        notice_interval: Duration::from_millis(200),
        heartbeat: Duration::from_secs(2),
        crowd: 2,
        ..ChatSettings::of(&config)
    };
    let admission = Admission::new(ClusterKey::from_bytes(KEY), *key.public(), now_ms());
    let links = links(Role::Chat, start, Vec::new(), now);
    ChatRole::new(settings, admission, resume_tokens(start), links, now_ms)
}
