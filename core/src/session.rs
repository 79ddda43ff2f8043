//! Protocol state of one session, without its socket.
//!
//! In the manner of quinn-proto, `handle_*` takes received bytes or an event together with the
//! time, and [`Session::poll_transmit`] gives the bytes to write. A session reads no clock, so that
//! tests run it under virtual time. What waits for the peer is bounded by the owner, which closes a
//! session that [`Session::is_too_slow`]. Bytes that a session cannot accept end it with a
//! [`CloseReason`]; no bytes can make it panic.

use std::ops::Range;
use std::sync::Arc;
use std::time::Instant;

use crate::crypto::handshake::{self, Initiator, SessionKeys};
use crate::crypto::{RoomCipher, RoomKeys};
use crate::limits::{FRAME_HEADER, HANDSHAKE_BODY_MAX, OUTBOX_CHAT_MAX, ROOM_HEADER};
use crate::metrics;
use crate::room::{Class, RoomId};
use crate::wire::frame::{self, Kind, Split};
use crate::wire::packets::{
    ChannelLeft, ChatMessage, Close, Heartbeat, HeartbeatAnswer, Outcome, Packet, RoomKey, UsersChanged,
};
use crate::wire::{CloseReason, Line};

pub mod endpoint;
pub mod outbox;

pub use endpoint::{Endpoint, PeerKind};
pub use outbox::{BufferPool, Outbox};

/// Phase of a session. It only moves down this list.
enum State {
    /// Dialed; the TCP connection is not established yet. Holds the first handshake message.
    Connecting(Initiator, Vec<u8>),
    /// Accepted; the initiator's handshake message has not arrived.
    AwaitInitiator,
    /// Dialed and connected; our handshake message is queued or sent.
    AwaitResponder(Initiator),
    /// Packets flow.
    Open(SessionKeys),
    /// The end is decided. Queued bytes still go out; input is ignored.
    Closing {
        /// End of the wait for the peer's own close.
        until: Instant,
    },
}

/// Result of a frame that [`Session::handle_frame`] accepted.
#[derive(Debug)]
pub enum Event {
    /// The session dealt with the frame itself, or ignored it because it is closing.
    Consumed,
    /// The frame completed the handshake.
    Opened,
    /// A packet for the application.
    Packet(Packet),
    /// A packet from a room, still encoded; [`room_packet`] decodes it.
    RoomPacket {
        /// The room whose key opened the frame.
        room: u32,
        /// Position of the encoded packet, counted from the first byte of the frame.
        packet: Range<usize>,
    },
    /// A room's key. The owner expands it and passes it to [`Session::add_room_key`].
    RoomKey(RoomKey),
    /// The peer announced its close, with a reason and a detail for the log.
    PeerClosed(CloseReason, Line<255>),
}

/// Instruction to the owner of a session's timer.
#[derive(Debug, PartialEq, Eq)]
pub enum TimerAction {
    /// Call [`Session::handle_timeout`] again at this time.
    ArmAt(Instant),
    /// No deadline is pending until the session receives or sends something.
    Disarm,
    /// A deadline has passed: close the session with this reason.
    Close(CloseReason),
    /// A closing session has lingered long enough: remove it.
    Remove,
}

/// Protocol state of one session.
pub struct Session {
    endpoint: Arc<Endpoint>,
    state: State,
    outbox: Outbox,
    /// Time of creation; from `State::Open` on, the time at which the handshake was completed.
    opened_at: Instant,
    last_received: Instant,
    /// Valid from a heartbeat until its answer.
    heartbeat_sent_at: Option<Instant>,
    /// True once the peer has sent a packet other than a heartbeat, its answer or a close.
    got_first_packet: bool,
    /// Set once.
    close_reason: Option<CloseReason>,
    /// Only dialed clients open frames of rooms.
    rooms: Option<Box<RoomSide>>,
}

/// Room keys of a session that dialed.
#[derive(Default)]
struct RoomSide {
    keys: RoomKeys,
    /// Fan-out time of the latest packet; none if the packet was not sealed with a room's key.
    fan_out_us: Option<u32>,
    /// Serial number of the latest packet's frame.
    serial: Option<u64>,
}

impl Session {
    /// Creates the session of an accepted socket.
    pub fn accepted(endpoint: Arc<Endpoint>, now: Instant) -> Self {
        Self::new(endpoint, State::AwaitInitiator, now)
    }

    /// Creates the session of a socket that is connecting. Fails if the first handshake message
    /// cannot be made.
    pub fn dialed(endpoint: Arc<Endpoint>, now: Instant) -> Result<Self, CloseReason> {
        let (initiator, first) = Initiator::start(&endpoint.credentials)?;
        let mut session = Self::new(endpoint, State::Connecting(initiator, first), now);
        if session.endpoint.peer == PeerKind::Client {
            session.rooms = Some(Box::default());
        }
        Ok(session)
    }

    /// Creates a session after its handshake, with its keys: for the fuzzer, which has no time for
    /// the curve.
    #[doc(hidden)]
    pub fn opened(endpoint: Arc<Endpoint>, keys: SessionKeys, is_dialed: bool, now: Instant) -> Self {
        let rooms = (is_dialed && endpoint.peer == PeerKind::Client).then(Box::default);
        Self { rooms, ..Self::new(endpoint, State::Open(keys), now) }
    }

    fn new(endpoint: Arc<Endpoint>, state: State, now: Instant) -> Self {
        Self {
            endpoint,
            state,
            outbox: Outbox::default(),
            opened_at: now,
            last_received: now,
            heartbeat_sent_at: None,
            got_first_packet: false,
            close_reason: None,
            rooms: None,
        }
    }

    /// Keys, limits and timeouts of the session.
    pub fn endpoint(&self) -> &Arc<Endpoint> {
        &self.endpoint
    }

    /// Returns true if packets may be sent.
    pub fn is_open(&self) -> bool {
        matches!(self.state, State::Open(_))
    }

    /// Returns true if the TCP connection is not established yet.
    pub fn is_connecting(&self) -> bool {
        matches!(self.state, State::Connecting(..))
    }

    /// Returns the reason of the session's end, once the end is decided.
    pub fn close_reason(&self) -> Option<CloseReason> {
        self.close_reason
    }

    /// Starts the handshake, now that the TCP connection is established.
    pub fn handle_connected(&mut self, pool: &mut BufferPool) {
        match std::mem::replace(&mut self.state, State::AwaitInitiator) {
            State::Connecting(initiator, first) => {
                self.outbox.tail(pool).extend_from_slice(&first);
                self.state = State::AwaitResponder(initiator);
            }
            other => self.state = other,
        }
    }

    /// Handles the frame at the front of `bytes`, in place. Returns its length and result, or none
    /// if `bytes` holds less than a frame. A closing session consumes all bytes.
    ///
    /// An error is the reason with which the owner must [`close`](Self::close) the session.
    pub fn handle_frame(
        &mut self,
        bytes: &mut [u8],
        now: Instant,
        pool: &mut BufferPool,
    ) -> Result<Option<(usize, Event)>, CloseReason> {
        let body_max = match self.state {
            State::Open(_) => self.endpoint.body_max,
            State::Closing { .. } => return Ok(Some((bytes.len(), Event::Consumed))),
            _ => HANDSHAKE_BODY_MAX,
        };
        let (kind, used) = match frame::split(bytes, body_max) {
            Split::Frame(kind, used) => (kind, used),
            Split::NeedMore(_) => return Ok(None),
            Split::Bad(reason) => return Err(reason),
        };
        self.last_received = now;
        let event = self.open_frame(kind, &mut bytes[..used], now, pool)?;
        Ok(Some((used, event)))
    }

    fn open_frame(
        &mut self,
        kind: Kind,
        frame: &mut [u8],
        now: Instant,
        pool: &mut BufferPool,
    ) -> Result<Event, CloseReason> {
        if let (State::Open(_), Kind::Room, Some(rooms)) = (&self.state, kind, &mut self.rooms) {
            let opened = rooms.keys.open(frame).map_err(|_| CloseReason::SealBroken)?;
            (rooms.fan_out_us, rooms.serial) = (Some(opened.fan_out_us), opened.serial);
            metrics::PACKETS_IN.inc();
            let begin = FRAME_HEADER + ROOM_HEADER;
            return Ok(Event::RoomPacket { room: opened.room, packet: begin..begin + opened.plain.len() });
        }
        // The keys are moved out of the state. After an error below the owner closes the session,
        // so that most errors need not restore it.
        match (std::mem::replace(&mut self.state, State::Closing { until: now }), kind) {
            (State::AwaitInitiator, Kind::Handshake) => {
                let answer = handshake::respond(&self.endpoint.credentials, &frame[FRAME_HEADER..]);
                // Only in this state does `close` send the reason in the clear.
                let (reply, keys) = answer.inspect_err(|_| self.state = State::AwaitInitiator)?;
                self.outbox.tail(pool).extend_from_slice(&reply);
                self.open(keys, now);
                Ok(Event::Opened)
            }
            (State::AwaitResponder(initiator), Kind::Handshake) => {
                let keys = initiator.finish(&frame[FRAME_HEADER..])?;
                self.open(keys, now);
                Ok(Event::Opened)
            }
            (State::AwaitResponder(_), Kind::Refused) => {
                let mut body = crate::wire::Reader::new(&frame[FRAME_HEADER..]);
                let reason = crate::wire::Field::take(&mut body).map_err(|_| CloseReason::MalformedPacket)?;
                body.finish().map_err(|_| CloseReason::MalformedPacket)?;
                peer_closed(reason, Line::default())
            }
            (State::Open(mut keys), Kind::Sealed) => {
                let opened = keys.open.open(frame).map(Packet::decode);
                self.state = State::Open(keys);
                let packet =
                    opened.map_err(|_| CloseReason::SealBroken)?.map_err(|_| CloseReason::MalformedPacket)?;
                metrics::PACKETS_IN.inc();
                self.handle_packet(packet, now, pool)
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
        self.opened_at = now;
    }

    /// Answers the packets that belong to the session and passes on all others.
    fn handle_packet(
        &mut self,
        packet: Packet,
        now: Instant,
        pool: &mut BufferPool,
    ) -> Result<Event, CloseReason> {
        match packet {
            Packet::Close(Close { reason, detail }) => peer_closed(reason, detail),
            Packet::Heartbeat(Heartbeat { token }) => {
                self.send(&HeartbeatAnswer { token }.into(), pool);
                Ok(Event::Consumed)
            }
            Packet::HeartbeatAnswer(_) => {
                if let Some(sent_at) = self.heartbeat_sent_at.take() {
                    let round_trip = now.saturating_duration_since(sent_at).as_micros();
                    metrics::HEARTBEAT_ANSWERS.inc();
                    metrics::HEARTBEAT_RTT_US.add(round_trip as u64);
                }
                Ok(Event::Consumed)
            }
            Packet::RoomKey(key) if self.rooms.is_some() => Ok(Event::RoomKey(key)),
            packet => {
                self.got_first_packet = true;
                if let Some(rooms) = &mut self.rooms {
                    (rooms.fan_out_us, rooms.serial) = (None, None);
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

    /// Stores a room's key after its expansion. Returns false if the session already has as many
    /// room keys as it can be in rooms
    /// ([`ROOM_KEYS_PER_SESSION`](crate::limits::ROOM_KEYS_PER_SESSION)).
    #[must_use]
    pub fn add_room_key(&mut self, key: &RoomKey, cipher: RoomCipher) -> bool {
        self.rooms.as_mut().is_some_and(|rooms| rooms.keys.add(key, cipher))
    }

    /// Returns the fan-out time of the latest packet in microseconds, if a room's key sealed it.
    pub fn fan_out_us(&self) -> Option<u32> {
        self.rooms.as_ref().and_then(|rooms| rooms.fan_out_us)
    }

    /// Returns the serial number of the latest packet's frame, if a room's key sealed it and other
    /// sessions may receive copies.
    pub fn frame_serial(&self) -> Option<u64> {
        self.rooms.as_ref().and_then(|rooms| rooms.serial)
    }

    /// Queues frames that are sealed already, also the rest of a frame. Does nothing unless the
    /// session is open.
    pub fn queue_sealed(&mut self, frames: &[u8], pool: &mut BufferPool) {
        if self.is_open() {
            self.outbox.tail(pool).extend_from_slice(frames);
        }
    }

    /// Returns the bytes of this class that the outbox has room for. Notices run out of room first,
    /// at half of what messages may use; answers are not limited here.
    pub fn room_for(&self, class: Class) -> usize {
        let chat_max = OUTBOX_CHAT_MAX.min(self.endpoint.outbox_max / 2);
        let class_max = match class {
            Class::Notice => chat_max / 2,
            Class::Chat => chat_max,
        };
        class_max.saturating_sub(self.outbox.len())
    }

    /// Queues a packet. Does nothing unless the session is open.
    pub fn send(&mut self, packet: &Packet, pool: &mut BufferPool) {
        self.seal(pool, |out| packet.encode(out));
    }

    /// Queues a packet that is encoded already. Does nothing unless the session is open.
    pub fn send_encoded(&mut self, encoded: &[u8], pool: &mut BufferPool) {
        self.seal(pool, |out| out.extend_from_slice(encoded));
    }

    /// Queues one packet, encoded already, from its pieces. Does nothing unless the session is
    /// open.
    pub fn send_pieces(&mut self, pieces: &[&[u8]], pool: &mut BufferPool) {
        self.seal(pool, |out| pieces.iter().for_each(|piece| out.extend_from_slice(piece)));
    }

    fn seal(&mut self, pool: &mut BufferPool, write: impl FnOnce(&mut Vec<u8>)) {
        if let State::Open(keys) = &mut self.state {
            keys.seal.seal(self.outbox.tail(pool), write);
            metrics::PACKETS_OUT.inc();
        }
    }

    /// Returns the bytes to write to the socket next; empty if there are none.
    pub fn poll_transmit(&self) -> &[u8] {
        self.outbox.waiting()
    }

    /// Removes the first `count` bytes of [`Self::poll_transmit`], which the socket has accepted.
    pub fn handle_transmitted(&mut self, count: usize, pool: &mut BufferPool) {
        self.outbox.consume(count, pool);
    }

    /// Returns the number of bytes that wait for the peer.
    pub fn queued(&self) -> usize {
        self.outbox.len()
    }

    /// Returns true if more bytes wait for the peer than its endpoint allows.
    pub fn is_too_slow(&self) -> bool {
        self.outbox.len() > self.endpoint.outbox_max
    }

    /// Drops what waits for the peer and gives the buffer back to the pool.
    pub fn clear_outbox(&mut self, pool: &mut BufferPool) {
        self.outbox.clear(pool);
    }

    /// Closes the session: queues the reason for the peer, if it is one that is sent, and ignores
    /// input from now on. Only the first reason counts.
    pub fn close(&mut self, reason: CloseReason, detail: &str, now: Instant, pool: &mut BufferPool) {
        if self.close_reason.is_some() {
            return;
        }
        self.close_reason = Some(reason);
        metrics::CLOSED.of(reason).inc();
        if reason.is_sent() {
            match &self.state {
                State::Open(_) => {
                    let detail = Line::truncated(detail);
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

    /// Ends the session after the peer's close or the loss of the socket. Drops what waits, because
    /// the peer reads no more. Only the first reason counts.
    pub fn handle_disconnect(&mut self, reason: CloseReason, now: Instant, pool: &mut BufferPool) {
        if self.close_reason.is_none() {
            self.close_reason = Some(reason);
            metrics::CLOSED_BY_PEER.of(reason).inc();
            self.outbox.clear(pool);
            self.state = State::Closing { until: now };
        }
    }

    /// Restarts the idle timeout at `now`. For a session that was not read until `now` for want of
    /// room on our side, so that the silence was not the peer's.
    pub fn restart_idle_timeout(&mut self, now: Instant) {
        self.last_received = now;
    }

    /// Checks all deadlines of the session at `now`, and may queue a heartbeat. Calls that come
    /// early do no harm.
    pub fn handle_timeout(&mut self, now: Instant, pool: &mut BufferPool) -> TimerAction {
        let endpoint = &self.endpoint;
        let handshake = endpoint.handshake_timeout;
        let (timeout, reason) = match &self.state {
            State::Closing { until } if *until <= now => return TimerAction::Remove,
            State::Closing { until } => return TimerAction::ArmAt(*until),
            State::Connecting(..) => (handshake, CloseReason::ConnectFailed),
            State::AwaitInitiator | State::AwaitResponder(_) => (handshake, CloseReason::HandshakeTimeout),
            State::Open(_) => match endpoint.first_packet_timeout {
                Some(timeout) if !self.got_first_packet => (timeout, CloseReason::FirstPacketTimeout),
                _ => return self.check_silence(now, pool),
            },
        };
        let deadline = self.opened_at + timeout;
        if deadline <= now {
            return TimerAction::Close(reason);
        }
        // The first packet starts the two other intervals, which may be shorter than the rest of
        // this one.
        let others = [endpoint.heartbeat, endpoint.idle_timeout].into_iter().flatten();
        TimerAction::ArmAt(others.map(|interval| now + interval).fold(deadline, Instant::min))
    }

    fn check_silence(&mut self, now: Instant, pool: &mut BufferPool) -> TimerAction {
        let idle_at = self.endpoint.idle_timeout.map(|timeout| self.last_received + timeout);
        if idle_at.is_some_and(|at| at <= now) {
            return TimerAction::Close(CloseReason::IdleTimeout);
        }
        let heartbeat_at = self.endpoint.heartbeat.map(|interval| {
            // At most one heartbeat an interval, also while the answer is missing.
            let last = self.heartbeat_sent_at.map_or(self.last_received, |sent| sent.max(self.last_received));
            if last + interval > now {
                return last + interval;
            }
            metrics::HEARTBEATS.inc();
            self.heartbeat_sent_at = Some(now);
            let token = now.saturating_duration_since(self.opened_at).as_millis() as u64;
            self.send(&Heartbeat { token }.into(), pool);
            now + interval
        });
        idle_at.into_iter().chain(heartbeat_at).min().map_or(TimerAction::Disarm, TimerAction::ArmAt)
    }
}

/// Decodes a packet that a room's key has sealed. Every member of a room has its key, so the packet
/// must name that room, and must be a message or a notice.
pub fn room_packet(room: u32, encoded: &[u8]) -> Result<Packet, CloseReason> {
    let packet = Packet::decode(encoded).map_err(|_| CloseReason::MalformedPacket)?;
    let is_of_room = match &packet {
        Packet::ChatMessage(ChatMessage { scope, target, .. }) => (*scope, *target) == RoomId(room).address(),
        Packet::UsersChanged(UsersChanged { channel, .. }) => *channel == room,
        _ => false,
    };
    if is_of_room { Ok(packet) } else { Err(CloseReason::PacketNotAllowed) }
}

/// Accepts a reason from the peer. Reasons that only describe what one side saw are never sent, and
/// would be counted among our own broken connections.
fn peer_closed(reason: CloseReason, detail: Line<255>) -> Result<Event, CloseReason> {
    if reason.is_sent() { Ok(Event::PeerClosed(reason, detail)) } else { Err(CloseReason::MalformedPacket) }
}

#[cfg(test)]
mod tests;
