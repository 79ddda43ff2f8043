//! The client's protocol without sockets, clocks and threads.
//!
//! In quinn-proto's manner, commands and `handle_*` take what happens together with the time;
//! `poll_*` give what is to be done. [`crate::Driver`] does it on a thread.

mod chat;
mod login;

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use throng_core::crypto::PublicKey;
use throng_core::limits::{CHAT_TEXT_MAX, LIST_PAGES_MAX};
use throng_core::roster::Roster;
use throng_core::wire::packets::{
    ChannelCreateRequest, ChannelJoinRequest, ChannelKickRequest, ChannelLeaveRequest, ChannelListRequest,
    ChatRequest, ExitRequest, HistoryRequest, IdText, PasswordText, PingRequest, PositionUpdate,
    RequestedName, User, UserListRequest,
};
use throng_core::wire::{CloseReason, Packet, Text, TooLong};

use crate::backoff;
use crate::event::{Audience, CommandError, Event, LoginStep, Stamp};
use crate::line::{Line, PATIENCE};
use crate::place::Place;
use crate::requests::Requests;

use chat::OWN_PING;
use login::{Ask, Login};

/// Longest pause before a list is requested anew, in which a crowd may come in.
const START_OVER_MAX: Duration = Duration::from_secs(3);

/// Events that wait at which [`Client::wants_bytes`] turns false.
const EVENTS_MAX: usize = 16 * 1_024;

/// Connection of a client: each one gets another number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct LineId(u64);

/// Instruction to the owner of a client's sockets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Io {
    /// Connect to `host:port` by TCP: the host may be a name, and an IPv6 address stands in square
    /// brackets. Then call [`Client::handle_connected`] or [`Client::handle_lost`].
    Connect(LineId, String),
    /// Close the connection, after the bytes of [`Client::poll_transmit`] if the socket takes them.
    Disconnect(LineId),
}

/// The login server of a client, and its habits.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Address of the login server, `host:port`.
    pub server: String,
    /// Public key of the login server.
    pub server_key: PublicKey,
    /// True to log in again when the place in the chat is lost, with the id and password of the
    /// last login, until that succeeds. A login elsewhere, or a close by the server's operator,
    /// ends it.
    pub log_in_again: bool,
}

impl Settings {
    /// Returns settings with the usual habits.
    pub fn new(server: impl Into<String>, server_key: PublicKey) -> Self {
        Self { server: server.into(), server_key, log_in_again: true }
    }

    /// As [`new`](Self::new), with the key as servers print it: 64 hexadecimal digits. None if it
    /// is something else.
    pub fn with_key_text(server: impl Into<String>, key: &str) -> Option<Self> {
        Some(Self::new(server, parse_key(key)?))
    }
}

/// Parses a public key as servers print it: 64 hexadecimal digits. None if it is something else.
pub fn parse_key(text: &str) -> Option<PublicKey> {
    let mut key = PublicKey::default();
    hex::decode_to_slice(text, &mut key).ok().map(|()| key)
}

/// A connection with its session.
struct Conn {
    id: LineId,
    line: Line,
}

/// Phase of the connection to the chat server.
enum Phase {
    /// The first packet waits for the handshake.
    Opening(Packet),
    /// The answer to the first packet is awaited, until this time.
    Asking(Instant),
    /// Packets flow.
    In,
}

struct ChatLine {
    conn: Conn,
    phase: Phase,
}

/// Attempts to do something again.
#[derive(Debug, Clone, Copy)]
struct Attempts {
    since: Instant,
    failures: u32,
    /// End of the attempts; none for as many as it takes.
    until: Option<Instant>,
    /// None while an attempt is under way.
    next: Option<Instant>,
}

/// Chat server of the last login.
#[derive(Clone)]
struct ChatServer {
    address: String,
    key: PublicKey,
}

/// A player's client.
pub struct Client {
    settings: Settings,
    rng: SmallRng,
    began: Instant,
    lines: u64,
    stamps: u64,
    login: Login,
    server: Option<ChatServer>,
    chat: Option<ChatLine>,
    place: Option<Place>,
    /// Attempts to resume the place.
    away: Option<Attempts>,
    /// Attempts to log in again after the place was lost.
    again: Option<Attempts>,
    /// Time at which the player left by itself.
    left_at: Option<Instant>,
    io: VecDeque<Io>,
    events: VecDeque<Event>,
    /// Disconnected lines whose last bytes are not written yet.
    closing: Vec<Conn>,
}

impl Client {
    /// Returns a client that does nothing yet. The seed decides about pauses only.
    pub fn new(settings: Settings, seed: u64, now: Instant) -> Self {
        Self {
            settings,
            rng: SmallRng::seed_from_u64(seed),
            began: now,
            lines: 0,
            stamps: 0,
            login: Login::default(),
            server: None,
            chat: None,
            place: None,
            away: None,
            again: None,
            left_at: None,
            io: VecDeque::new(),
            events: VecDeque::new(),
            closing: Vec::new(),
        }
    }

    /// Returns the client's own user while it has a place in the chat.
    pub fn user(&self) -> Option<&User> {
        self.place.as_ref().map(|place| &place.user)
    }

    /// Returns true while the connection is lost and the place may be resumed.
    pub fn is_away(&self) -> bool {
        self.away.is_some()
    }

    /// Returns true if the effect of a request is not known yet: a message has not come back, a
    /// page or an answer is missing.
    pub fn is_waiting(&self) -> bool {
        self.place.as_ref().is_some_and(|place| place.requests.is_waiting())
    }

    /// Returns the user list of a room: of a channel, or of the world with 0.
    pub fn roster(&self, room: u32) -> Option<&Roster> {
        self.place.as_ref()?.rooms.get(&room).map(|room| &room.roster)
    }

    /// Iterates over the channels that the client is in, with their names.
    pub fn channels(&self) -> impl Iterator<Item = (u32, &str)> {
        let rooms = self.place.iter().flat_map(|place| &place.rooms);
        rooms.filter(|(number, _)| **number != 0).map(|(number, room)| (*number, &*room.name))
    }

    /// Creates an account.
    pub fn sign_up(&mut self, id: &str, password: &str, now: Instant) -> Result<(), CommandError> {
        self.ask(LoginStep::SignUp, id, password, "", now)
    }

    /// Creates the character of an account.
    pub fn create_character(
        &mut self,
        id: &str,
        password: &str,
        name: &str,
        now: Instant,
    ) -> Result<(), CommandError> {
        self.ask(LoginStep::CreateCharacter, id, password, name, now)
    }

    /// Logs in and enters the chat.
    pub fn log_in(&mut self, id: &str, password: &str, now: Instant) -> Result<(), CommandError> {
        self.ask(LoginStep::LogIn, id, password, "", now)
    }

    fn ask(
        &mut self,
        step: LoginStep,
        id: &str,
        password: &str,
        name: &str,
        now: Instant,
    ) -> Result<(), CommandError> {
        if self.place.is_some() || self.chat.is_some() || self.again.is_some() {
            return Err(CommandError::LoggedIn);
        }
        let ask = Ask {
            step,
            id: IdText::new(id).map_err(too_long)?,
            password: PasswordText::new(password).map_err(too_long)?,
            name: RequestedName::new(name).map_err(too_long)?,
        };
        self.begin_ask(ask, now)
    }

    /// Leaves the chat, or gives up on the way there. Nothing is tried again. Without a connection
    /// the server cannot be told, and keeps the place until its time ends.
    pub fn log_out(&mut self, now: Instant) {
        self.again = None;
        self.login.forget();
        if let Some(conn) = self.login.conn.take() {
            self.hang_up(conn, Some(CloseReason::Goodbye), now);
        }
        let Some(mut chat) = self.chat.take() else {
            if self.place.is_some() {
                self.give_up_place(CloseReason::Goodbye, now);
            }
            return;
        };
        if matches!(chat.phase, Phase::In) {
            chat.conn.line.send(&ExitRequest {}.into(), now);
        }
        self.hang_up(chat.conn, Some(CloseReason::Goodbye), now);
        self.give_up_place(CloseReason::Goodbye, now);
    }

    /// Sends a message. While the client is away, it waits for the connection.
    pub fn say(&mut self, to: Audience, text: &str, now: Instant) -> Result<Stamp, CommandError> {
        if text.is_empty() {
            return Err(CommandError::Empty);
        }
        let text = Text::<CHAT_TEXT_MAX>::new(text).map_err(too_long)?;
        let stamp = (now.saturating_duration_since(self.began).as_micros() as u64).max(self.stamps + 1);
        let (scope, target) = to.address();
        self.request(ChatRequest { scope, target, stamp, text }, now)?;
        self.stamps = stamp;
        Ok(Stamp(stamp))
    }

    /// Creates a channel and joins it.
    pub fn create_channel(&mut self, name: &str, now: Instant) -> Result<(), CommandError> {
        self.request(ChannelCreateRequest { name: Text::new(name).map_err(too_long)? }, now)
    }

    /// Joins a channel.
    pub fn join_channel(&mut self, name: &str, now: Instant) -> Result<(), CommandError> {
        self.request(ChannelJoinRequest { name: Text::new(name).map_err(too_long)? }, now)
    }

    /// Leaves a channel.
    pub fn leave_channel(&mut self, channel: u32, now: Instant) -> Result<(), CommandError> {
        self.request(ChannelLeaveRequest { channel }, now)
    }

    /// Kicks a user from a channel that the client owns.
    pub fn kick(&mut self, channel: u32, user: u32, now: Instant) -> Result<(), CommandError> {
        self.request(ChannelKickRequest { channel, user }, now)
    }

    /// Requests the channels after a number; 0 for the first ones.
    pub fn list_channels(&mut self, after: u32, now: Instant) -> Result<(), CommandError> {
        self.request(ChannelListRequest { after }, now)
    }

    /// Requests messages of a room before a number, or the latest ones with 0.
    pub fn request_history(
        &mut self,
        room: u32,
        before: u64,
        count: u8,
        now: Instant,
    ) -> Result<(), CommandError> {
        self.request(HistoryRequest { channel: room, before, count }, now)
    }

    /// Sets the position, in the game's own units.
    pub fn move_to(&mut self, x: i32, y: i32, now: Instant) -> Result<(), CommandError> {
        self.request(PositionUpdate { x, y }, now)?;
        if let Some(place) = &mut self.place {
            place.position = Some((x, y));
        }
        Ok(())
    }

    /// Measures the round trip to the chat server.
    pub fn ping(&mut self, now: Instant) -> Result<(), CommandError> {
        let token = self.micros(now);
        self.request(PingRequest { token }, now)
    }

    /// Checks the connection at once, and resumes if it is dead. For a system that tells of a
    /// change of networks, or that wakes up.
    pub fn probe(&mut self, now: Instant) {
        if let Some(chat) = &mut self.chat {
            chat.conn.line.probe(now);
        }
        for attempts in [&mut self.away, &mut self.again].into_iter().flatten() {
            if let Some(next) = &mut attempts.next {
                *next = now.min(*next);
            }
        }
    }

    fn micros(&self, now: Instant) -> u64 {
        now.saturating_duration_since(self.began).as_micros() as u64
    }

    fn request(&mut self, request: impl Into<Packet>, now: Instant) -> Result<(), CommandError> {
        let place = self.place.as_mut().ok_or(CommandError::NotInTheChat)?;
        if place.requests.len() >= Requests::MAX {
            return Err(CommandError::TooMany);
        }
        self.send(request.into(), now);
        Ok(())
    }

    /// Sends a request, or keeps it for the next connection.
    fn send(&mut self, request: Packet, now: Instant) {
        let Some(place) = &mut self.place else { return };
        match &mut self.chat {
            Some(ChatLine { conn, phase: Phase::In }) => {
                conn.line.send(&request, now);
                place.requests.sent(&request);
                if matches!(request, Packet::ChatRequest(_)) {
                    place.settle_at.get_or_insert(now + PATIENCE);
                }
                if place.requests.len().is_multiple_of(Requests::PING_AT) {
                    self.settle(now);
                }
            }
            _ => place.requests.keep(request),
        }
    }

    /// Asks for an answer that settles the messages before it. Those that were missed, or whose
    /// channel the client has left, would otherwise wait forever.
    fn settle(&mut self, now: Instant) {
        if let Some(place) = &mut self.place {
            place.settle_at = None;
        }
        let token = self.micros(now) | OWN_PING;
        self.send(PingRequest { token }.into(), now);
    }

    /// Requests the list of a room from its start.
    fn request_list(&mut self, room: u32, now: Instant) {
        let found = self.place.as_mut().and_then(|place| place.rooms.get_mut(&room));
        if let Some(found) = found {
            found.roster.start_over();
            found.start_over_at = None;
            self.send(UserListRequest { channel: room, after: 0, pages: LIST_PAGES_MAX }.into(), now);
        }
    }

    /// Has the list of a room requested anew after a random pause.
    fn start_list_over(&mut self, room: u32, now: Instant) {
        let pause = START_OVER_MAX.mul_f64(self.rng.random_range(0.0..1.0));
        if let Some(room) = self.place.as_mut().and_then(|place| place.rooms.get_mut(&room)) {
            room.start_over_at.get_or_insert(now + pause);
        }
    }

    fn tell(&mut self, event: Event) {
        self.events.push_back(event);
    }

    /// Opens a connection. None if it cannot be made; the reason is the caller's to tell.
    fn connect(&mut self, address: &str, key: PublicKey, now: Instant) -> Result<Conn, CloseReason> {
        let line = Line::dial(key, now)?;
        self.lines += 1;
        let id = LineId(self.lines);
        self.io.push_back(Io::Connect(id, address.into()));
        Ok(Conn { id, line })
    }

    /// Closes a connection; with a reason that the server is told, or without a word.
    fn hang_up(&mut self, mut conn: Conn, reason: Option<CloseReason>, now: Instant) {
        self.io.push_back(Io::Disconnect(conn.id));
        if let Some(reason) = reason {
            conn.line.close(reason, now);
            self.closing.push(conn);
        }
    }

    fn conn(&self, id: LineId) -> Option<&Conn> {
        let chat = self.chat.as_ref().map(|chat| &chat.conn);
        [self.login.conn.as_ref(), chat].into_iter().flatten().chain(&self.closing).find(|conn| conn.id == id)
    }

    fn conn_mut(&mut self, id: LineId) -> Option<&mut Conn> {
        let chat = self.chat.as_mut().map(|chat| &mut chat.conn);
        let open = [self.login.conn.as_mut(), chat].into_iter().flatten();
        open.chain(&mut self.closing).find(|conn| conn.id == id)
    }

    fn is_login(&self, id: LineId) -> bool {
        self.login.conn.as_ref().is_some_and(|conn| conn.id == id)
    }

    fn is_chat(&self, id: LineId) -> bool {
        self.chat.as_ref().is_some_and(|chat| chat.conn.id == id)
    }

    /// Returns the next instruction for the sockets.
    pub fn poll_io(&mut self) -> Option<Io> {
        self.io.pop_front()
    }

    /// Returns the next event.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// Returns false while so many events wait that the sockets should not be read: the server then
    /// drops messages, and says how many.
    pub fn wants_bytes(&self) -> bool {
        self.events.len() < EVENTS_MAX
    }

    /// Returns the bytes to write to a connection next; empty if there are none.
    pub fn poll_transmit(&self, id: LineId) -> &[u8] {
        self.conn(id).map_or(&[], |conn| conn.line.poll_transmit())
    }

    /// Removes the first `count` bytes of [`Self::poll_transmit`], which the socket has accepted.
    pub fn handle_transmitted(&mut self, id: LineId, count: usize) {
        if let Some(conn) = self.conn_mut(id) {
            conn.line.handle_transmitted(count);
        }
    }

    /// Notes that a connection is established.
    pub fn handle_connected(&mut self, id: LineId, now: Instant) {
        if let Some(conn) = self.conn_mut(id) {
            conn.line.handle_connected(now);
        }
    }

    /// Notes that a connection could not be made, has broken, or is closed.
    pub fn handle_lost(&mut self, id: LineId, reason: CloseReason, now: Instant) {
        self.closing.retain(|conn| conn.id != id);
        if self.is_login(id) {
            self.login.conn = None;
            self.login_lost(reason, now);
        } else if self.is_chat(id) {
            self.chat = None;
            self.chat_lost(reason, now);
        }
    }

    /// Handles bytes that a connection has received.
    pub fn handle_received(&mut self, id: LineId, bytes: &[u8], now: Instant) {
        let Some(conn) = self.conn_mut(id).filter(|conn| !conn.line.is_closing()) else { return };
        let mut received = Vec::new();
        let result = conn.line.handle_received(bytes, now, |it| received.push(it));
        for it in received {
            // An event may close the connection.
            if self.is_login(id) {
                self.login_received(it, now);
            } else if self.is_chat(id) {
                self.chat_received(it, now);
            }
        }
        if let Err(reason) = result {
            self.violated(id, reason, now);
        }
    }

    /// Gives up a connection whose server violates the protocol. Without a word, since bytes that
    /// were changed on their way are no reason to lose the place.
    fn violated(&mut self, id: LineId, reason: CloseReason, now: Instant) {
        if self.is_login(id) || self.is_chat(id) {
            self.io.push_back(Io::Disconnect(id));
            self.handle_lost(id, reason, now);
        }
    }

    /// Returns the time at which [`Self::handle_timeout`] has something to do.
    pub fn next_timeout(&mut self, now: Instant) -> Option<Instant> {
        let chat = self.chat.as_mut().map(|chat| {
            let asking = if let Phase::Asking(until) = chat.phase { Some(until) } else { None };
            (chat.conn.line.next_timeout(now), asking)
        });
        let (line, asking) = chat.unwrap_or_default();
        let login = self.login.conn.as_mut().and_then(|conn| conn.line.next_timeout(now));
        let attempts = [self.away, self.again].into_iter().flatten().filter_map(|it| it.next);
        let lost_at = self.away.and_then(|away| self.lost_at(away));
        let rooms = self.place.iter().flat_map(|place| place.rooms.values());
        let chores = rooms.filter_map(|room| room.start_over_at);
        let chores = chores.chain(self.place.as_ref().and_then(|place| place.settle_at));
        let chores = chores.filter(|_| self.away.is_none());
        attempts.chain(chores).chain([line, asking, login, lost_at].into_iter().flatten()).min()
    }

    fn lost_at(&self, away: Attempts) -> Option<Instant> {
        self.place.as_ref().map(|place| away.since + place.resume_window)
    }

    /// Does what is due.
    pub fn handle_timeout(&mut self, now: Instant) {
        if let Some(conn) = &mut self.login.conn
            && let Some(reason) = conn.line.handle_timeout(now)
        {
            let id = conn.id;
            self.violated(id, reason, now);
        }
        if let Some(chat) = &mut self.chat {
            let id = chat.conn.id;
            let is_late = matches!(chat.phase, Phase::Asking(until) if until <= now);
            let reason = chat.conn.line.handle_timeout(now);
            let reason = reason.or(is_late.then_some(CloseReason::IdleTimeout));
            let reason = reason.or(chat.conn.line.is_stuck().then_some(CloseReason::ConnectionLost));
            if let Some(reason) = reason {
                self.violated(id, reason, now);
            }
        }
        if let Some(away) = self.away {
            if self.lost_at(away).is_none_or(|at| at <= now) {
                self.leave(CloseReason::PlaceLost, now);
            } else if away.next.is_some_and(|at| at <= now) {
                self.try_to_resume(now);
            }
        }
        if self.again.and_then(|again| again.next).is_some_and(|at| at <= now) {
            self.try_to_log_in_again(now);
        }
        if self.away.is_none() {
            if let Some(place) = &mut self.place
                && place.settle_at.take_if(|at| *at <= now).is_some()
                && place.requests.has_message()
            {
                self.settle(now);
            }
            let rooms = self.place.iter().flat_map(|place| &place.rooms);
            let due = rooms.filter(|(_, room)| room.start_over_at.is_some_and(|at| at <= now));
            let due: Vec<u32> = due.map(|(number, _)| *number).collect();
            for room in due {
                self.request_list(room, now);
            }
        }
    }

    /// Returns attempts of which the first is due after a short pause of random length.
    fn attempts(&mut self, now: Instant) -> Attempts {
        Attempts { since: now, failures: 0, until: None, next: Some(now + backoff::pause(0, &mut self.rng)) }
    }

    /// Returns the state after a failed attempt.
    fn failed(&mut self, attempts: Attempts, now: Instant) -> Attempts {
        let failures = attempts.failures + 1;
        Attempts { failures, next: Some(now + backoff::pause(failures, &mut self.rng)), ..attempts }
    }
}

fn too_long(TooLong { length, limit }: TooLong) -> CommandError {
    CommandError::TooLong { length, limit }
}
