//! One session, without its socket: received bytes and `now` go in; packets,
//! bytes to send and the reason of the end come out.

use std::ops::Range;
use std::sync::Arc;
use std::time::Instant;

use super::endpoint::{Endpoint, PeerKind};
use super::outbox::{BufferPool, Outbox};
use crate::crypto::handshake::{self, Initiator, SessionKeys};
use crate::crypto::{RoomCipher, RoomKeys};
use crate::limits::{FRAME_HEADER, HANDSHAKE_BODY_MAX, OUTBOX_CHAT_MAX, ROOM_HEADER};
use crate::metrics;
use crate::room::{Class, RoomId};
use crate::wire::frame::{self, Kind, Split};
use crate::wire::packets::{
    ChannelLeft, ChatMessage, Close, Heartbeat, HeartbeatAnswer, Outcome, Packet, RoomKey, Scope,
    UsersChanged,
};
use crate::wire::{CloseReason, Text};

/// Where a session stands. It only moves down this list.
enum State {
    /// Dialled; the TCP connection is being made.
    Connecting(Initiator, Vec<u8>),
    /// Accepted; the initiator's handshake message has not come.
    AwaitInitiator,
    /// Dialled and connected; our handshake message is on its way.
    AwaitResponder(Initiator),
    /// Packets flow.
    Open(SessionKeys),
    /// The end has been decided. What is queued still goes out; input is ignored.
    Closing {
        /// When to stop waiting for the peer.
        until: Instant,
    },
}

/// What the front of received bytes was.
#[derive(Debug)]
pub enum Step {
    /// The beginning of a frame, or nothing.
    NeedMore,
    /// A frame of so many bytes, which the session dealt with itself.
    Handled(usize),
    /// A frame of so many bytes, which finished the handshake.
    Opened(usize),
    /// A frame of so many bytes, and its packet.
    Packet(usize, Packet),
    /// A frame of so many bytes from a room, and where in it the packet lies, still encoded: [`room_packet`] decodes it.
    Room(usize, u32, Range<usize>),
    /// A frame of so many bytes, which brought a room's key: it is to be given to [`Session::add_room_key`], expanded.
    RoomKey(usize, RoomKey),
    /// The peer says that it closes, and why.
    PeerCloses(CloseReason, Text<255>),
    /// The session must end.
    Bad(CloseReason),
}

/// What a session's timer asks for.
#[derive(Debug, PartialEq, Eq)]
pub enum Due {
    /// Nothing before this moment.
    Later(Instant),
    /// Nothing, unless something else happens.
    Never,
    /// The session must end.
    End(CloseReason),
    /// A closing session has waited long enough: drop it.
    Drop,
}

/// One session's protocol state.
pub struct Session {
    endpoint: Arc<Endpoint>,
    state: State,
    /// What waits for the socket.
    pub outbox: Outbox,
    /// When the session was made; from `Open` on, when it opened.
    since: Instant,
    /// When bytes last came in.
    heard: Instant,
    /// When the heartbeat that has no answer yet was sent.
    asked: Option<Instant>,
    /// Whether the peer has sent a packet of its own since the session opened.
    greeted: bool,
    /// Set once: why the session ended.
    ended: Option<CloseReason>,
    /// What a dialled session needs to open what is said in rooms.
    rooms: Option<Box<RoomSide>>,
}

/// The rooms of a session that dialled.
#[derive(Default)]
struct RoomSide {
    keys: RoomKeys,
    /// The fan-out time of the last frame, if it came with a room's key.
    fan_out_us: Option<u32>,
}

impl Session {
    /// A session for a socket that has been accepted.
    pub fn accepted(endpoint: Arc<Endpoint>, now: Instant) -> Self {
        Self::new(endpoint, State::AwaitInitiator, now)
    }

    /// A session for a socket that is being connected.
    pub fn dialled(endpoint: Arc<Endpoint>, now: Instant) -> Result<Self, CloseReason> {
        let (initiator, first) = Initiator::start(&endpoint.credentials)?;
        let mut session = Self::new(endpoint, State::Connecting(initiator, first), now);
        if session.endpoint.peer == PeerKind::Client {
            session.rooms = Some(Box::default());
        }
        Ok(session)
    }

    fn new(endpoint: Arc<Endpoint>, state: State, now: Instant) -> Self {
        Self {
            endpoint,
            state,
            outbox: Outbox::default(),
            since: now,
            heard: now,
            asked: None,
            greeted: false,
            ended: None,
            rooms: None,
        }
    }

    /// The session's rules.
    pub fn endpoint(&self) -> &Arc<Endpoint> {
        &self.endpoint
    }

    /// Whether packets may be sent.
    pub fn is_open(&self) -> bool {
        matches!(self.state, State::Open(_))
    }

    /// Whether the TCP connection is still being made.
    pub fn is_connecting(&self) -> bool {
        matches!(self.state, State::Connecting(..))
    }

    /// Why the session ended, once it has.
    pub fn ended(&self) -> Option<CloseReason> {
        self.ended
    }

    /// The TCP connection is made: the handshake can start.
    pub fn connected(&mut self, pool: &mut BufferPool) {
        match std::mem::replace(&mut self.state, State::AwaitInitiator) {
            State::Connecting(initiator, first) => {
                self.outbox.tail(pool).extend_from_slice(&first);
                self.state = State::AwaitResponder(initiator);
            }
            other => self.state = other,
        }
    }

    /// Deals with at most one frame at the front of `bytes`, in place.
    pub fn step(&mut self, bytes: &mut [u8], now: Instant, pool: &mut BufferPool) -> Step {
        let body_max = match self.state {
            State::Open(_) => self.endpoint.body_max,
            State::Closing { .. } => return Step::Handled(bytes.len()),
            _ => HANDSHAKE_BODY_MAX,
        };
        let (kind, used) = match frame::split(bytes, body_max) {
            Split::Frame(kind, used) => (kind, used),
            Split::NeedMore(_) => return Step::NeedMore,
            Split::Bad(reason) => return Step::Bad(reason),
        };
        self.heard = now;
        match self.frame(kind, &mut bytes[..used], now, pool) {
            Ok(Event::Handled) => Step::Handled(used),
            Ok(Event::Opened) => Step::Opened(used),
            Ok(Event::Packet(packet)) => Step::Packet(used, packet),
            Ok(Event::Room(room, packet)) => Step::Room(used, room, packet),
            Ok(Event::RoomKey(key)) => Step::RoomKey(used, key),
            Ok(Event::PeerCloses(reason, detail)) => Step::PeerCloses(reason, detail),
            Err(reason) => Step::Bad(reason),
        }
    }

    fn frame(
        &mut self,
        kind: Kind,
        bytes: &mut [u8],
        now: Instant,
        pool: &mut BufferPool,
    ) -> Result<Event, CloseReason> {
        if let (State::Open(_), Kind::Room, Some(rooms)) = (&self.state, kind, &mut self.rooms) {
            let opened = rooms.keys.open(bytes).map_err(|_| CloseReason::SealBroken)?;
            rooms.fan_out_us = Some(opened.fan_out_us);
            metrics::PACKETS_IN.inc();
            let begin = FRAME_HEADER + ROOM_HEADER;
            return Ok(Event::Room(opened.room, begin..begin + opened.plain.len()));
        }
        // A session that fails in here is over, so the state may stay taken.
        match (std::mem::replace(&mut self.state, State::Closing { until: now }), kind) {
            (State::AwaitInitiator, Kind::Handshake) => {
                let body = &bytes[FRAME_HEADER..];
                let answered = handshake::respond(&self.endpoint.credentials, body);
                let (reply, keys) = answered.inspect_err(|_| self.state = State::AwaitInitiator)?;
                self.outbox.tail(pool).extend_from_slice(&reply);
                self.open(keys, now);
                Ok(Event::Opened)
            }
            (State::AwaitResponder(initiator), Kind::Handshake) => {
                let keys = initiator.finish(&bytes[FRAME_HEADER..])?;
                self.open(keys, now);
                Ok(Event::Opened)
            }
            (State::AwaitResponder(_), Kind::Refused) => {
                let mut body = crate::wire::Reader::new(&bytes[FRAME_HEADER..]);
                let reason = crate::wire::Field::take(&mut body).map_err(|_| CloseReason::MalformedPacket)?;
                body.finish().map_err(|_| CloseReason::MalformedPacket)?;
                said_by_peer(reason, Text::default())
            }
            (State::Open(mut keys), Kind::Sealed) => {
                let opened = keys.open.open(bytes).map(Packet::decode);
                self.state = State::Open(keys);
                let packet =
                    opened.map_err(|_| CloseReason::SealBroken)?.map_err(|_| CloseReason::MalformedPacket)?;
                metrics::PACKETS_IN.inc();
                self.packet(packet, now, pool)
            }
            (state, _) => {
                self.state = state;
                Err(CloseReason::UnexpectedFrame)
            }
        }
    }

    fn open(&mut self, keys: SessionKeys, now: Instant) {
        metrics::HANDSHAKES.inc();
        self.state = State::Open(keys);
        self.since = now;
    }

    /// Deals with the packets that belong to the session itself.
    fn packet(&mut self, packet: Packet, now: Instant, pool: &mut BufferPool) -> Result<Event, CloseReason> {
        match packet {
            Packet::Close(Close { reason, detail }) => said_by_peer(reason, detail),
            Packet::Heartbeat(Heartbeat { token }) => {
                self.send(&HeartbeatAnswer { token }.into(), pool);
                Ok(Event::Handled)
            }
            Packet::HeartbeatAnswer(_) => {
                if let Some(asked) = self.asked.take() {
                    let round_trip = now.saturating_duration_since(asked).as_micros();
                    metrics::HEARTBEAT_ANSWERS.inc();
                    metrics::HEARTBEAT_RTT_US.add(round_trip as u64);
                }
                Ok(Event::Handled)
            }
            Packet::RoomKey(key) if self.rooms.is_some() => Ok(Event::RoomKey(key)),
            packet => {
                self.greeted = true;
                if let Some(rooms) = &mut self.rooms {
                    rooms.fan_out_us = None;
                    match &packet {
                        Packet::ChannelLeft(ChannelLeft { outcome: Outcome::NotAMember, .. }) => {}
                        Packet::ChannelLeft(ChannelLeft { channel, .. }) => rooms.keys.forget(*channel),
                        _ => {}
                    }
                }
                Ok(Event::Packet(packet))
            }
        }
    }

    /// A room's key has come, and has been expanded. False if the session cannot be in so many rooms.
    #[must_use]
    pub fn add_room_key(&mut self, key: &RoomKey, cipher: RoomCipher) -> bool {
        self.rooms.as_mut().is_some_and(|rooms| rooms.keys.add(key, cipher))
    }

    /// The fan-out time of the last packet, if it came with a room's key.
    pub fn fan_out_us(&self) -> Option<u32> {
        self.rooms.as_ref().and_then(|rooms| rooms.fan_out_us)
    }

    /// Queues frames that have been sealed with a room's key.
    pub fn queue_sealed(&mut self, frames: &[u8], pool: &mut BufferPool) {
        if self.is_open() {
            self.outbox.tail(pool).extend_from_slice(frames);
        }
    }

    /// How many bytes of this class may still be queued beside what is the session's own. Notices are
    /// left out first, then messages; answers never are.
    pub fn room_for(&self, class: Class) -> usize {
        let most = OUTBOX_CHAT_MAX.min(self.endpoint.outbox_max / 2);
        let most = match class {
            Class::Notice => most / 2,
            Class::Chat => most,
        };
        most.saturating_sub(self.outbox.len())
    }

    /// Queues a packet. Does nothing unless the session is open.
    pub fn send(&mut self, packet: &Packet, pool: &mut BufferPool) {
        self.seal(pool, |out| packet.encode(out));
    }

    /// Queues a packet that has been encoded before.
    pub fn send_encoded(&mut self, encoded: &[u8], pool: &mut BufferPool) {
        self.seal(pool, |out| out.extend_from_slice(encoded));
    }

    /// Queues a packet that has been encoded before, in pieces.
    pub fn send_pieces(&mut self, pieces: &[&[u8]], pool: &mut BufferPool) {
        self.seal(pool, |out| pieces.iter().for_each(|piece| out.extend_from_slice(piece)));
    }

    fn seal(&mut self, pool: &mut BufferPool, write: impl FnOnce(&mut Vec<u8>)) {
        if let State::Open(keys) = &mut self.state {
            keys.seal.seal(self.outbox.tail(pool), write);
            metrics::PACKETS_OUT.inc();
        }
    }

    /// Whether more waits for the peer than its endpoint allows.
    pub fn is_too_slow(&self) -> bool {
        self.outbox.len() > self.endpoint.outbox_max
    }

    /// Ends the session: queues the word to the peer, if the reason is one to be told, and
    /// takes no more input. Only the first reason counts.
    pub fn end(&mut self, reason: CloseReason, detail: &str, now: Instant, pool: &mut BufferPool) {
        if self.ended.is_some() {
            return;
        }
        self.ended = Some(reason);
        metrics::CLOSED.of(reason).inc();
        if reason.is_sent() {
            match &self.state {
                State::Open(_) => {
                    let detail = Text::truncated(detail);
                    self.send(&Close { reason, detail }.into(), pool);
                }
                State::AwaitInitiator => {
                    self.outbox.tail(pool).extend_from_slice(&frame::refusal(reason));
                }
                _ => {}
            }
        }
        self.state = State::Closing { until: now + self.endpoint.linger };
    }

    /// Ends the session because the peer said so, or because its socket is gone: there
    /// is nobody to tell anything.
    pub fn end_by_peer(&mut self, reason: CloseReason, now: Instant, pool: &mut BufferPool) {
        if self.ended.is_none() {
            self.ended = Some(reason);
            metrics::CLOSED_BY_PEER.of(reason).inc();
            self.outbox.clear(pool);
            self.state = State::Closing { until: now };
        }
    }

    /// Until `now` the session was not read, for want of room on our side: the peer's silence
    /// was no silence.
    pub fn not_listened_to(&mut self, now: Instant) {
        self.heard = now;
    }

    /// What the session's timer asks for at `now`; may queue a heartbeat.
    pub fn due(&mut self, now: Instant, pool: &mut BufferPool) -> Due {
        let endpoint = &self.endpoint;
        let handshake = endpoint.handshake_timeout;
        let (patience, reason) = match &self.state {
            State::Closing { until } if *until <= now => return Due::Drop,
            State::Closing { until } => return Due::Later(*until),
            State::Connecting(..) => (handshake, CloseReason::ConnectFailed),
            State::AwaitInitiator | State::AwaitResponder(_) => (handshake, CloseReason::HandshakeTimeout),
            State::Open(_) => match endpoint.first_packet_timeout {
                Some(patience) if !self.greeted => (patience, CloseReason::FirstPacketTimeout),
                _ => return self.due_open(now, pool),
            },
        };
        let at = self.since + patience;
        if at <= now {
            return Due::End(reason);
        }
        // The first packet changes what is due next, so do not sleep past that.
        let others = [endpoint.heartbeat, endpoint.idle_timeout].into_iter().flatten();
        Due::Later(others.map(|interval| now + interval).fold(at, Instant::min))
    }

    fn due_open(&mut self, now: Instant, pool: &mut BufferPool) -> Due {
        let give_up = self.endpoint.idle_timeout.map(|patience| self.heard + patience);
        if give_up.is_some_and(|at| at <= now) {
            return Due::End(CloseReason::IdleTimeout);
        }
        let ask = self.endpoint.heartbeat.map(|heartbeat| {
            // A silent peer is asked once every interval.
            let ask = self.asked.map_or(self.heard, |asked| asked.max(self.heard)) + heartbeat;
            if ask > now {
                return ask;
            }
            metrics::HEARTBEATS.inc();
            self.asked = Some(now);
            let token = now.saturating_duration_since(self.since).as_millis() as u64;
            self.send(&Heartbeat { token }.into(), pool);
            now + heartbeat
        });
        give_up.into_iter().chain(ask).min().map_or(Due::Never, Due::Later)
    }
}

/// The packet in a frame from `room`. Every member could have made it: it must be of that room, and nothing but a
/// message or a notice.
pub fn room_packet(room: u32, encoded: &[u8]) -> Result<Packet, CloseReason> {
    let packet = Packet::decode(encoded).map_err(|_| CloseReason::MalformedPacket)?;
    if room_of(&packet) == Some(room) { Ok(packet) } else { Err(CloseReason::PacketNotAllowed) }
}

/// The room that a packet is of, if it is one that may come with a room's key.
fn room_of(packet: &Packet) -> Option<u32> {
    match packet {
        Packet::ChatMessage(ChatMessage { scope: Scope::World, .. }) => Some(RoomId::WORLD.0),
        Packet::ChatMessage(ChatMessage { scope: Scope::Channel, target, .. }) => Some(*target),
        Packet::UsersChanged(UsersChanged { channel, .. }) => Some(*channel),
        _ => None,
    }
}

/// What a frame amounted to.
enum Event {
    Handled,
    Opened,
    Packet(Packet),
    Room(u32, Range<usize>),
    RoomKey(RoomKey),
    PeerCloses(CloseReason, Text<255>),
}

/// The reason that a peer gives. One that only describes what its receiver saw is not
/// the peer's to give: taken at its word, it would be counted among our own broken connections.
fn said_by_peer(reason: CloseReason, detail: Text<255>) -> Result<Event, CloseReason> {
    if reason.is_sent() { Ok(Event::PeerCloses(reason, detail)) } else { Err(CloseReason::MalformedPacket) }
}

#[cfg(test)]
mod tests;
