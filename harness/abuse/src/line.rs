//! One connection of an attacker: a socket that never blocks, and the session's keys.
//!
//! Frames are sealed straight into the outgoing buffer, and what arrives is opened without being
//! decoded where it can be, so that the connection rather than this program is the attack's limit.

use std::collections::{BTreeMap, VecDeque};
use std::io::{ErrorKind, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::time::Duration;

use socket2::{Domain, Protocol, Socket, Type};
use throng_core::crypto::{Credentials, Initiator, RoomCipher, RoomKeys, SessionKeys};
use throng_core::limits::{FRAME_HEADER, SERVER_BODY_MAX};
use throng_core::wire::frame::{self, Kind, Split};
use throng_core::wire::packets::{ChannelLeft, ChatMessage, HeartbeatAnswer, Outcome, UsersChanged};
use throng_core::wire::{Body, CloseReason, Field, Packet, Reader};
use throng_harness_model::plan::Server;

/// Bytes read at once.
const CHUNK: usize = 64 * 1024;

/// Chunks read in a turn, so that one connection does not keep the others waiting.
const CHUNKS: usize = 8;

/// The end of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    /// The server closed the session with a reason.
    Closed(CloseReason),
    /// The server refused the connection before the handshake was done.
    TurnedAway(CloseReason),
    /// The connection ended without a reason.
    Silent,
    /// The server's bytes make no sense.
    Broken,
    /// The attacker hung up.
    HungUp,
}

/// Traffic of an attacker, and what the server told it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tally {
    /// Bytes that the server's system accepted.
    pub sent_bytes: u64,
    /// Bytes received.
    pub received_bytes: u64,
    /// Packets sealed.
    pub packets: u64,
    /// Connections begun.
    pub connections: u64,
    /// Handshakes completed.
    pub sessions: u64,
    /// Refusals and ends, counted by their names.
    pub told: BTreeMap<String, u64>,
}

impl Tally {
    /// Counts something that the server told.
    pub(crate) fn tell(&mut self, what: String) {
        *self.told.entry(what).or_default() += 1;
    }

    /// The traffic since `earlier`, an older copy.
    #[must_use]
    pub fn since(&self, earlier: &Self) -> Self {
        let told = self.told.iter().filter_map(|(what, count)| {
            let more = count - earlier.told.get(what).copied().unwrap_or(0);
            (more > 0).then(|| (what.clone(), more))
        });
        Self {
            sent_bytes: self.sent_bytes - earlier.sent_bytes,
            received_bytes: self.received_bytes - earlier.received_bytes,
            packets: self.packets - earlier.packets,
            connections: self.connections - earlier.connections,
            sessions: self.sessions - earlier.sessions,
            told: told.collect(),
        }
    }

    /// Adds the traffic of another span.
    pub fn add(&mut self, other: &Self) {
        self.sent_bytes += other.sent_bytes;
        self.received_bytes += other.received_bytes;
        self.packets += other.packets;
        self.connections += other.connections;
        self.sessions += other.sessions;
        for (what, count) in &other.told {
            *self.told.entry(what.clone()).or_default() += count;
        }
    }
}

enum State {
    /// The handshake has not begun, and need not.
    Raw,
    AwaitResponder(Initiator),
    Open(SessionKeys),
    Ended(End),
}

/// A connection to a server.
pub(crate) struct Line {
    pub(crate) socket: TcpStream,
    state: State,
    out: Vec<u8>,
    written: usize,
    inbox: Vec<u8>,
    rooms: RoomKeys,
    /// Packets that arrived and are neither messages nor notices.
    arrived: VecDeque<Packet>,
    was_opened: bool,
}

impl Line {
    /// Connects from `source`, an address of this machine, if there is one. With `shakes` the
    /// handshake follows; without it nothing does.
    pub(crate) fn dial(server: &Server, source: Option<IpAddr>, shakes: bool) -> std::io::Result<Self> {
        let socket = Socket::new(Domain::for_address(server.address), Type::STREAM, Some(Protocol::TCP))?;
        socket.set_nonblocking(true)?;
        socket.set_tcp_nodelay(true)?;
        // A closed connection leaves no port in TIME_WAIT; a flood of them would use up all ports.
        socket.set_linger(Some(Duration::ZERO))?;
        if let Some(source) = source {
            socket.bind(&SocketAddr::new(source, 0).into())?;
        }
        match socket.connect(&server.address.into()) {
            Ok(()) => {}
            Err(error) if error.raw_os_error() == Some(rustix::io::Errno::INPROGRESS.raw_os_error()) => {}
            Err(error) => return Err(error),
        }
        let (state, out) = match &server.endpoint.credentials {
            credentials @ Credentials::Client(_) if shakes => {
                let (initiator, first) = Initiator::start(credentials)
                    .map_err(|reason| std::io::Error::other(format!("handshake: {}", reason.name())))?;
                (State::AwaitResponder(initiator), first)
            }
            _ => (State::Raw, Vec::new()),
        };
        Ok(Self {
            socket: socket.into(),
            state,
            out,
            written: 0,
            inbox: Vec::new(),
            rooms: RoomKeys::default(),
            arrived: VecDeque::new(),
            was_opened: false,
        })
    }

    pub(crate) fn is_open(&self) -> bool {
        matches!(self.state, State::Open(_))
    }

    /// True once, when the handshake is complete.
    pub(crate) fn take_opened(&mut self) -> bool {
        std::mem::take(&mut self.was_opened)
    }

    pub(crate) fn end(&self) -> Option<End> {
        match self.state {
            State::Ended(end) => Some(end),
            _ => None,
        }
    }

    /// Bytes that wait for the socket.
    pub(crate) fn waiting(&self) -> usize {
        self.out.len() - self.written
    }

    /// The next packet that arrived.
    pub(crate) fn next(&mut self) -> Option<Packet> {
        self.arrived.pop_front()
    }

    /// Queues a packet. Does nothing unless the session is open.
    pub(crate) fn send(&mut self, packet: impl Into<Packet>, tally: &mut Tally) {
        let packet = packet.into();
        self.seal(tally, |out| packet.encode(out));
    }

    /// Queues a packet that is encoded already.
    pub(crate) fn send_encoded(&mut self, encoded: &[u8], tally: &mut Tally) {
        self.seal(tally, |out| out.extend_from_slice(encoded));
    }

    fn seal(&mut self, tally: &mut Tally, write: impl FnOnce(&mut Vec<u8>)) {
        if let State::Open(keys) = &mut self.state {
            keys.seal.seal(&mut self.out, write);
            tally.packets += 1;
        }
    }

    /// Queues bytes as they are.
    pub(crate) fn send_raw(&mut self, bytes: &[u8]) {
        self.out.extend_from_slice(bytes);
    }

    /// Writes what the socket takes.
    pub(crate) fn write(&mut self, tally: &mut Tally) {
        while self.written < self.out.len() && self.end().is_none() {
            match self.socket.write(&self.out[self.written..]) {
                Ok(count) => {
                    self.written += count;
                    tally.sent_bytes += count as u64;
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                // The reason may still be readable.
                Err(_) => {
                    while self.read(tally) {}
                    self.finish(End::Silent);
                }
            }
        }
        if self.written == self.out.len() {
            self.out.clear();
            self.written = 0;
        } else if self.written > CHUNK {
            self.out.drain(..self.written);
            self.written = 0;
        }
    }

    /// Reads what has arrived, at most some chunks of it. True if there may be more.
    pub(crate) fn read(&mut self, tally: &mut Tally) -> bool {
        for _ in 0..CHUNKS {
            if self.end().is_some() {
                return false;
            }
            let held = self.inbox.len();
            self.inbox.resize(held + CHUNK, 0);
            let found = self.socket.read(&mut self.inbox[held..]);
            self.inbox.truncate(held + found.as_ref().map_or(0, |count| *count));
            match found {
                Ok(0) => {
                    self.finish(End::Silent);
                    return false;
                }
                Ok(count) => {
                    tally.received_bytes += count as u64;
                    self.open_frames(tally);
                    if count < CHUNK {
                        return false;
                    }
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => return false,
                Err(_) => {
                    self.finish(End::Silent);
                    return false;
                }
            }
        }
        true
    }

    /// Ends the connection from this side; the server sees a reset.
    pub(crate) fn hang_up(&mut self) {
        self.finish(End::HungUp);
    }

    fn finish(&mut self, end: End) {
        if self.end().is_none() {
            self.state = State::Ended(end);
        }
    }

    fn open_frames(&mut self, tally: &mut Tally) {
        let mut inbox = std::mem::take(&mut self.inbox);
        let mut at = 0;
        while self.end().is_none() {
            match frame::split(&inbox[at..], SERVER_BODY_MAX) {
                Split::Frame(kind, used) => {
                    let opened = self.frame(kind, &mut inbox[at..at + used], tally);
                    if let Err(end) = opened {
                        self.finish(end);
                    }
                    at += used;
                }
                Split::NeedMore(_) => break,
                Split::Bad(_) => self.finish(End::Broken),
            }
        }
        inbox.drain(..at);
        self.inbox = inbox;
    }

    fn frame(&mut self, kind: Kind, frame: &mut [u8], tally: &mut Tally) -> Result<(), End> {
        match (&mut self.state, kind) {
            (State::AwaitResponder(_), Kind::Handshake) => {
                let State::AwaitResponder(initiator) = std::mem::replace(&mut self.state, State::Raw) else {
                    return Err(End::Broken);
                };
                let keys = initiator.finish(&frame[FRAME_HEADER..]).map_err(|_| End::Broken)?;
                self.state = State::Open(keys);
                self.was_opened = true;
                tally.sessions += 1;
                Ok(())
            }
            (State::Open(keys), Kind::Sealed) => {
                let plain = keys.open.open(frame).map_err(|_| End::Broken)?;
                if is_talk(plain) {
                    return Ok(());
                }
                // A later version of the protocol may have packets that this program does not know.
                if let Ok(packet) = Packet::decode(plain) {
                    return self.packet(packet, tally);
                }
                tally.tell("unknown packet".into());
                Ok(())
            }
            (State::Open(_), Kind::Room) => self.rooms.open(frame).map(|_| ()).map_err(|_| End::Broken),
            (State::AwaitResponder(_) | State::Raw, Kind::Refused) => {
                let reason = CloseReason::take(&mut Reader::new(&frame[FRAME_HEADER..]));
                Err(reason.map_or(End::Broken, End::TurnedAway))
            }
            _ => Err(End::Broken),
        }
    }

    fn packet(&mut self, packet: Packet, tally: &mut Tally) -> Result<(), End> {
        match packet {
            Packet::Close(close) => return Err(End::Closed(close.reason)),
            Packet::Heartbeat(heartbeat) => self.send(HeartbeatAnswer { token: heartbeat.token }, tally),
            Packet::RoomKey(key) if !self.rooms.add(&key, RoomCipher::new(&key.secret)) => {
                return Err(End::Broken);
            }
            Packet::RoomKey(_) => {}
            packet => {
                if let Some(what) = refusal(&packet) {
                    tally.tell(what);
                }
                if let Packet::ChannelLeft(ChannelLeft { channel, outcome }) = &packet
                    && *outcome != Outcome::NotAMember
                {
                    self.rooms.forget(*channel);
                }
                self.arrived.push_back(packet);
            }
        }
        Ok(())
    }
}

/// True for messages and notices, which attackers do not look at.
fn is_talk(encoded: &[u8]) -> bool {
    let number = encoded.first_chunk().map(|bytes| u16::from_le_bytes(*bytes));
    number == Some(ChatMessage::NUMBER) || number == Some(UsersChanged::NUMBER)
}

/// The refusal in this packet, as the report counts it; none for other packets.
fn refusal(packet: &Packet) -> Option<String> {
    let outcome = match packet {
        Packet::TooFast(_) => return Some("too fast".into()),
        Packet::ChatRefused(refused) => refused.outcome,
        Packet::ChannelAnswer(answer) => answer.outcome,
        Packet::ChannelKickAnswer(answer) => answer.outcome,
        Packet::LoginRefused(refused) => refused.outcome,
        _ => return None,
    };
    (outcome != Outcome::Ok).then(|| format!("refused: {}", outcome.name()))
}

impl End {
    /// The end as the report counts it.
    pub(crate) fn text(self) -> String {
        match self {
            Self::Closed(reason) => format!("closed: {}", reason.name()),
            Self::TurnedAway(reason) => format!("turned away: {}", reason.name()),
            Self::Silent => "closed without a word".into(),
            Self::Broken => "broke the protocol".into(),
            Self::HungUp => "hung up".into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_span_of_traffic_is_the_difference_of_two_tallies() {
        let mut tally = Tally { sent_bytes: 10, packets: 2, ..Tally::default() };
        tally.tell("closed: TooSlow".into());
        let earlier = tally.clone();
        tally.sent_bytes += 5;
        tally.tell("closed: TooSlow".into());
        tally.tell("refused: NotAMember".into());
        let span = tally.since(&earlier);
        assert_eq!((span.sent_bytes, span.packets), (5, 0));
        assert_eq!(span.told.values().sum::<u64>(), 2);
        let mut sum = earlier.clone();
        sum.add(&span);
        assert_eq!(sum, tally);
        assert_eq!(tally.since(&tally), Tally::default());
    }
}
