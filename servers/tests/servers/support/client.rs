//! A client with blocking sockets. Every wait has a deadline, and heartbeats are answered.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::time::Instant;

use throng_core::crypto::{Credentials, Initiator, RoomCipher, RoomKeys, SessionKeys};
use throng_core::limits::{FRAME_HEADER, SERVER_BODY_MAX};
use throng_core::session::room_packet;
use throng_core::wire::frame::{self, Kind, Split};
use throng_core::wire::packets::{Close, EnterAnswer, EnterRequest, HeartbeatAnswer, TicketBytes, UserList};
use throng_core::wire::{Body, CloseReason, Field, Packet, Reader};

use super::{PATIENCE, ServerAddr};

/// The end of a connection, as the client sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    /// The server sent a reason.
    Told(CloseReason),
    /// The connection was closed without a reason.
    Silent,
}

/// A socket to a server before any handshake, to which hostile tests write arbitrary bytes.
pub(crate) struct RawClient {
    pub(crate) socket: TcpStream,
    inbox: Vec<u8>,
}

/// A client with a session.
pub(crate) struct Client {
    pub(crate) raw: RawClient,
    keys: SessionKeys,
    rooms: RoomKeys,
}

impl RawClient {
    pub(crate) fn connect(server_addr: ServerAddr) -> Self {
        let socket = TcpStream::connect_timeout(&server_addr.address, PATIENCE).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        socket.set_write_timeout(Some(PATIENCE)).unwrap();
        socket.set_nodelay(true).unwrap();
        Self { socket, inbox: Vec::new() }
    }

    /// Writes bytes. The next read reveals a closed connection.
    pub(crate) fn write(&mut self, bytes: &[u8]) {
        let _ = self.socket.write_all(bytes);
    }

    /// Returns the next frame, or `None` at the end of the connection.
    fn frame(&mut self) -> Option<(Kind, Vec<u8>)> {
        loop {
            match frame::split(&self.inbox, SERVER_BODY_MAX) {
                Split::Frame(kind, used) => return Some((kind, self.inbox.drain(..used).collect())),
                Split::Bad(reason) => panic!("the server sent an invalid frame: {reason:?}"),
                Split::NeedMore(_) => {}
            }
            let mut chunk = [0; 16 * 1024];
            match self.socket.read(&mut chunk) {
                Ok(0) => return None,
                Ok(count) => self.inbox.extend_from_slice(&chunk[..count]),
                Err(error) if error.kind() == ErrorKind::ConnectionReset => return None,
                Err(error) => panic!("cannot read from the server: {error}"),
            }
        }
    }

    /// Returns the end of a connection that never had a session.
    pub(crate) fn end(&mut self) -> End {
        match self.frame() {
            None => End::Silent,
            Some((Kind::Refused, frame)) => End::Told(refusal(&frame)),
            Some((kind, _)) => panic!("a {kind:?} frame instead of an end"),
        }
    }
}

fn refusal(frame: &[u8]) -> CloseReason {
    CloseReason::take(&mut Reader::new(&frame[FRAME_HEADER..])).unwrap()
}

impl Client {
    pub(crate) fn connect(server_addr: ServerAddr) -> Self {
        Self::try_connect(server_addr).unwrap_or_else(|end| panic!("no session: {end:?}"))
    }

    pub(crate) fn try_connect(server_addr: ServerAddr) -> Result<Self, End> {
        Self::handshake(RawClient::connect(server_addr), server_addr)
    }

    pub(crate) fn handshake(mut raw: RawClient, server_addr: ServerAddr) -> Result<Self, End> {
        let (initiator, first) = Initiator::start(&Credentials::Client(server_addr.key)).unwrap();
        raw.write(&first);
        match raw.frame() {
            None => Err(End::Silent),
            Some((Kind::Refused, frame)) => Err(End::Told(refusal(&frame))),
            Some((Kind::Handshake, frame)) => {
                let keys = initiator.finish(&frame[FRAME_HEADER..]).unwrap();
                Ok(Self { raw, keys, rooms: RoomKeys::default() })
            }
            Some((kind, _)) => panic!("a {kind:?} frame in the handshake"),
        }
    }

    /// Enters the chat. Returns the session and the packets that a newcomer receives.
    pub(crate) fn enter(server_addr: ServerAddr, ticket: TicketBytes) -> (Self, EnterAnswer, UserList) {
        let mut client = Self::connect(server_addr);
        client.send(EnterRequest { ticket });
        let entered = client.expect();
        let list = client.expect();
        (client, entered, list)
    }

    /// Returns the frame of a packet, which must be sent next.
    pub(crate) fn seal(&mut self, packet: impl Into<Packet>) -> Vec<u8> {
        let mut plain = Vec::new();
        packet.into().encode(&mut plain);
        self.seal_bytes(&plain)
    }

    /// Returns a frame with an intact seal around any bytes.
    pub(crate) fn seal_bytes(&mut self, plain: &[u8]) -> Vec<u8> {
        let mut frame = Vec::new();
        self.keys.seal.seal(&mut frame, |out| out.extend_from_slice(plain));
        frame
    }

    pub(crate) fn send(&mut self, packet: impl Into<Packet>) {
        let frame = self.seal(packet);
        self.raw.write(&frame);
    }

    /// Returns the next packet, or the end of the session.
    pub(crate) fn receive(&mut self) -> Result<Packet, End> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            assert!(Instant::now() < deadline, "only heartbeats for {PATIENCE:?}");
            let Some((kind, mut frame)) = self.raw.frame() else { return Err(End::Silent) };
            let packet = match kind {
                Kind::Sealed => {
                    let plain = self.keys.open.open(&mut frame).expect("the server's seals are intact");
                    Packet::decode(plain).unwrap()
                }
                Kind::Room => {
                    let opened = self.rooms.open(&mut frame).expect("the room's seals are intact");
                    room_packet(opened.room, opened.plain).expect("the room's key may seal the packet")
                }
                other => panic!("a {other:?} frame in a session"),
            };
            match packet {
                Packet::RoomKey(key) => assert!(self.rooms.add(&key, RoomCipher::new(&key.secret))),
                Packet::Close(Close { reason, .. }) => return Err(End::Told(reason)),
                Packet::Heartbeat(heartbeat) => self.send(HeartbeatAnswer { token: heartbeat.token }),
                Packet::LoginQueued(_) => {}
                packet => return Ok(packet),
            }
        }
    }

    /// Returns the next packet, which must be a `P`.
    pub(crate) fn expect<P: Body + TryFrom<Packet, Error = Packet>>(&mut self) -> P {
        let packet = self.receive().unwrap_or_else(|end| panic!("wanted {}, came {end:?}", P::NAME));
        P::try_from(packet).unwrap_or_else(|other| panic!("wanted {}, came {other:?}", P::NAME))
    }

    /// Returns the next `P` and skips the packets before it.
    pub(crate) fn skip_to<P: Body + TryFrom<Packet, Error = Packet>>(&mut self) -> P {
        let deadline = Instant::now() + PATIENCE;
        loop {
            assert!(Instant::now() < deadline, "no {} among the packets of {PATIENCE:?}", P::NAME);
            let packet = self.receive().unwrap_or_else(|end| panic!("wanted {}, came {end:?}", P::NAME));
            if let Ok(packet) = P::try_from(packet) {
                return packet;
            }
        }
    }

    /// Sends a packet and returns its answer. Only a room's list notices may come before it: they
    /// have a clock of their own.
    pub(crate) fn ask<P: Body + TryFrom<Packet, Error = Packet>>(&mut self, packet: impl Into<Packet>) -> P {
        self.send(packet);
        loop {
            let packet = self.receive().unwrap_or_else(|end| panic!("wanted {}, came {end:?}", P::NAME));
            match P::try_from(packet) {
                Ok(answer) => return answer,
                Err(Packet::UsersChanged(_)) => {}
                Err(other) => panic!("wanted {}, came {other:?}", P::NAME),
            }
        }
    }

    /// Skips all packets and returns the end of the session.
    pub(crate) fn end(&mut self) -> End {
        // Members of a busy room first read what was said before the end.
        let deadline = Instant::now() + 4 * PATIENCE;
        loop {
            assert!(Instant::now() < deadline, "no end of the session within {:?}", 4 * PATIENCE);
            if let Err(end) = self.receive() {
                return end;
            }
        }
    }

    /// Closes the connection without a word.
    pub(crate) fn vanish(self) {
        // Fails only if the server has closed it first.
        let _ = self.raw.socket.shutdown(Shutdown::Both);
    }
}
