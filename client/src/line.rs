//! One encrypted connection, without its socket: frames in, packets out.

use std::sync::Arc;
use std::time::{Duration, Instant};

use throng_core::crypto::{Credentials, PublicKey, RoomCipher};
use throng_core::limits::SERVER_BODY_MAX;
use throng_core::session::{BufferPool, Endpoint, Event, PeerKind, Session, TimerAction, room_packet};
use throng_core::wire::packets::Heartbeat;
use throng_core::wire::{CloseReason, Packet};

/// Longest time from dialing to the end of the handshake.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);

/// Time that a server has for the first answer, and for the answer to a heartbeat.
pub(crate) const PATIENCE: Duration = Duration::from_secs(5);

/// Time that a closing line waits for the peer's own close.
const LINGER: Duration = Duration::from_secs(1);

/// Most bytes of requests that wait for the socket. Beyond them the connection counts as lost.
const OUTBOX_MAX: usize = 1 << 20;

/// Result of received bytes.
#[derive(Debug)]
pub(crate) enum Received {
    /// The handshake is done: the server has the expected key.
    Opened,
    /// A packet of the application.
    Packet(Packet),
    /// The server ends the session.
    Closed(CloseReason),
}

/// A session that this side dials.
pub(crate) struct Line {
    session: Session,
    pool: BufferPool,
    /// The beginning of a frame.
    inbox: Vec<u8>,
    /// Silence after which the server is asked for a sign of life.
    heartbeat: Duration,
    last_received: Instant,
    /// Set from the first request after something was received, until more is received.
    unanswered_since: Option<Instant>,
    /// Set from a heartbeat of ours until anything is received.
    asked_at: Option<Instant>,
}

impl Line {
    /// Returns a line that waits for its connection. Fails if the system has no randomness, or the
    /// key is no public key.
    pub(crate) fn dial(key: PublicKey, now: Instant) -> Result<Self, CloseReason> {
        let endpoint = Endpoint {
            peer: PeerKind::Client,
            credentials: Credentials::Client(key),
            body_max: SERVER_BODY_MAX,
            outbox_max: OUTBOX_MAX,
            handshake_timeout: HANDSHAKE_TIMEOUT,
            first_packet_timeout: None,
            // The interval of heartbeats comes with EnterAnswer.
            heartbeat: None,
            idle_timeout: None,
            linger: LINGER,
        };
        Ok(Self {
            session: Session::dialed(Arc::new(endpoint), now)?,
            pool: BufferPool::default(),
            inbox: Vec::new(),
            heartbeat: Duration::from_secs(45),
            last_received: now,
            unanswered_since: None,
            asked_at: None,
        })
    }

    /// Returns true once the handshake is done, and until the line closes.
    pub(crate) fn is_open(&self) -> bool {
        self.session.is_open()
    }

    /// Returns true once the end is decided.
    pub(crate) fn is_closing(&self) -> bool {
        self.session.close_reason().is_some()
    }

    /// Starts the handshake.
    pub(crate) fn handle_connected(&mut self, now: Instant) {
        self.last_received = now;
        self.session.handle_connected(&mut self.pool);
    }

    /// Sets the silence after which the server is asked for a sign of life.
    pub(crate) fn set_heartbeat(&mut self, interval: Duration) {
        self.heartbeat = interval;
    }

    /// Handles received bytes. An error is a violation of the protocol.
    pub(crate) fn handle_received(
        &mut self,
        bytes: &[u8],
        now: Instant,
        mut take: impl FnMut(Received),
    ) -> Result<(), CloseReason> {
        (self.last_received, self.unanswered_since, self.asked_at) = (now, None, None);
        let mut buffer = std::mem::take(&mut self.inbox);
        buffer.extend_from_slice(bytes);
        let mut at = 0;
        while at < buffer.len() {
            let frame = at;
            let Some((used, event)) = self.session.handle_frame(&mut buffer[at..], now, &mut self.pool)?
            else {
                break;
            };
            at += used;
            match event {
                Event::Consumed => {}
                Event::Opened => take(Received::Opened),
                Event::Packet(packet) => take(Received::Packet(packet)),
                Event::RoomPacket { room, packet } => {
                    take(Received::Packet(room_packet(room, &buffer[frame..][packet])?));
                }
                Event::RoomKey(key) => {
                    let cipher = RoomCipher::new(&key.secret);
                    if !self.session.add_room_key(&key, cipher) {
                        return Err(CloseReason::PacketNotAllowed);
                    }
                }
                Event::PeerClosed(reason, _) => {
                    self.session.handle_disconnect(reason, now, &mut self.pool);
                    take(Received::Closed(reason));
                    return Ok(());
                }
            }
        }
        buffer.drain(..at);
        self.inbox = buffer;
        Ok(())
    }

    /// Queues a packet. Does nothing unless the line is open.
    pub(crate) fn send(&mut self, packet: &Packet, now: Instant) {
        if !matches!(packet, Packet::PositionUpdate(_)) {
            self.unanswered_since.get_or_insert(now);
        }
        self.session.send(packet, &mut self.pool);
    }

    /// Returns true if more waits for the socket than a living connection leaves there.
    pub(crate) fn is_stuck(&self) -> bool {
        self.session.is_too_slow()
    }

    /// Tells the server the reason and ends the session.
    pub(crate) fn close(&mut self, reason: CloseReason, now: Instant) {
        self.session.close(reason, "", now, &mut self.pool);
    }

    /// Returns the bytes to write to the socket next.
    pub(crate) fn poll_transmit(&self) -> &[u8] {
        self.session.poll_transmit()
    }

    /// Removes the first `count` bytes of [`Self::poll_transmit`].
    pub(crate) fn handle_transmitted(&mut self, count: usize) {
        self.session.handle_transmitted(count, &mut self.pool);
    }

    /// Asks for a sign of life now: the network may have changed.
    pub(crate) fn probe(&mut self, now: Instant) {
        if self.is_open() && self.asked_at.is_none() {
            self.asked_at = Some(now);
            self.send(&Heartbeat { token: 0 }.into(), now);
        }
    }

    /// Returns the time at which [`Self::handle_timeout`] has something to do.
    pub(crate) fn next_timeout(&mut self, now: Instant) -> Option<Instant> {
        if self.is_open() {
            return Some(match self.asked_at {
                Some(asked_at) => asked_at + PATIENCE,
                None => self.silent_at(),
            });
        }
        match self.session.handle_timeout(now, &mut self.pool) {
            TimerAction::ArmAt(at) => Some(at),
            TimerAction::Disarm => None,
            TimerAction::Close(_) | TimerAction::Remove => Some(now),
        }
    }

    /// Returns the time at which the server's silence becomes a question.
    fn silent_at(&self) -> Instant {
        let unanswered = self.unanswered_since.map(|since| since + PATIENCE);
        let idle = self.last_received + self.heartbeat;
        unanswered.map_or(idle, |unanswered| unanswered.min(idle))
    }

    /// Returns a reason if the line has come to its end.
    pub(crate) fn handle_timeout(&mut self, now: Instant) -> Option<CloseReason> {
        if !self.is_open() {
            return match self.session.handle_timeout(now, &mut self.pool) {
                TimerAction::Close(reason) => Some(reason),
                TimerAction::Remove => self.session.close_reason(),
                TimerAction::ArmAt(_) | TimerAction::Disarm => None,
            };
        }
        match self.asked_at {
            Some(asked_at) if asked_at + PATIENCE <= now => Some(CloseReason::IdleTimeout),
            None if self.silent_at() <= now => {
                self.probe(now);
                None
            }
            _ => None,
        }
    }
}
