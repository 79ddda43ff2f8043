//! Two sessions wired in memory under virtual time, without sockets, clocks or sleeps.

use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::crypto::{Credentials, StaticKey};
use crate::limits::{CLIENT_BODY_MAX, FRAME_HEADER, SERVER_BODY_MAX};
use crate::session::PeerKind;
use crate::wire::packets::{ChatRequest, Close, ExitRequest, PingRequest, Scope};
use crate::wire::{Line, Malformed, Text};

const HANDSHAKE: Duration = Duration::from_secs(5);
const FIRST_PACKET: Duration = Duration::from_secs(10);
const HEARTBEAT: Duration = Duration::from_secs(15);
const IDLE: Duration = Duration::from_secs(45);
const LINGER: Duration = Duration::from_secs(1);

fn key() -> Arc<StaticKey> {
    Arc::new(StaticKey::from_private([7; 32]))
}

fn endpoint(credentials: Credentials) -> Endpoint {
    let is_server = matches!(credentials, Credentials::Server(_));
    Endpoint {
        peer: PeerKind::Client,
        credentials,
        body_max: if is_server { CLIENT_BODY_MAX } else { SERVER_BODY_MAX },
        outbox_max: 64 * 1024,
        handshake_timeout: HANDSHAKE,
        first_packet_timeout: is_server.then_some(FIRST_PACKET),
        heartbeat: is_server.then_some(HEARTBEAT),
        idle_timeout: is_server.then_some(IDLE),
        linger: LINGER,
    }
}

/// A session, with its output.
struct End {
    session: Session,
    pool: BufferPool,
    /// The beginning of an incomplete frame.
    inbox: Vec<u8>,
    packets: Vec<Packet>,
    opened: usize,
    /// Set if the session rejected its input.
    rejected: Option<CloseReason>,
    /// Set if the peer announced its close.
    peer_closed: Option<(CloseReason, String)>,
}

impl End {
    fn new(session: Session) -> Self {
        Self {
            session,
            pool: BufferPool::default(),
            inbox: Vec::new(),
            packets: Vec::new(),
            opened: 0,
            rejected: None,
            peer_closed: None,
        }
    }

    fn server(now: Instant) -> Self {
        Self::new(Session::accepted(Arc::new(endpoint(Credentials::Server(key()))), now))
    }

    fn client(now: Instant) -> Self {
        let credentials = Credentials::Client(*key().public());
        let mut end = Self::new(Session::dialed(Arc::new(endpoint(credentials)), now).unwrap());
        assert!(end.session.is_connecting());
        end.session.handle_connected(&mut end.pool);
        assert!(!end.session.is_connecting());
        end
    }

    /// Takes all bytes that wait for the socket.
    fn output(&mut self) -> Vec<u8> {
        let bytes = self.session.poll_transmit().to_vec();
        self.session.handle_transmitted(bytes.len(), &mut self.pool);
        bytes
    }

    /// Handles all complete frames and keeps the rest, as the event loop does.
    fn input(&mut self, bytes: &[u8], now: Instant) {
        let mut bytes = [std::mem::take(&mut self.inbox), bytes.to_vec()].concat();
        let mut at = 0;
        loop {
            let frame = at;
            let event = match self.session.handle_frame(&mut bytes[at..], now, &mut self.pool) {
                Ok(None) => break,
                Ok(Some((used, event))) => {
                    at += used;
                    event
                }
                Err(reason) => {
                    self.rejected = Some(reason);
                    self.session.close(reason, "", now, &mut self.pool);
                    return;
                }
            };
            match event {
                Event::Consumed => {
                    if at == bytes.len() {
                        break;
                    }
                }
                Event::Opened => self.opened += 1,
                Event::RoomPacket { room, packet } => {
                    let packet = room_packet(room, &bytes[frame..][packet]);
                    self.packets.push(packet.expect("a packet of that room"));
                }
                Event::RoomKey(key) => {
                    assert!(self.session.add_room_key(&key, RoomCipher::new(&key.secret)));
                }
                Event::Packet(packet) => self.packets.push(packet),
                Event::PeerClosed(reason, detail) => {
                    self.peer_closed = Some((reason, detail.into_string()));
                    self.session.handle_disconnect(reason, now, &mut self.pool);
                    return;
                }
            }
        }
        self.inbox = bytes.split_off(at);
    }

    fn send(&mut self, packet: impl Into<Packet>) {
        self.session.send(&packet.into(), &mut self.pool);
    }

    fn timeout(&mut self, now: Instant) -> TimerAction {
        self.session.handle_timeout(now, &mut self.pool)
    }
}

/// Carries bytes both ways until neither end has output.
fn exchange(near: &mut End, far: &mut End, now: Instant) {
    loop {
        let out = near.output();
        let back = far.output();
        if out.is_empty() && back.is_empty() {
            return;
        }
        far.input(&out, now);
        near.input(&back, now);
    }
}

fn open_pair(now: Instant) -> (End, End) {
    let mut client = End::client(now);
    let mut server = End::server(now);
    exchange(&mut client, &mut server, now);
    assert_eq!((client.opened, server.opened), (1, 1));
    (client, server)
}

fn ping(token: u64) -> Packet {
    PingRequest { token }.into()
}

fn say(length: usize) -> Packet {
    ChatRequest { scope: Scope::World, target: 0, stamp: 0, text: Text::truncated(&"x".repeat(length)) }
        .into()
}

#[test]
fn packets_flow_both_ways_in_order() {
    let now = Instant::now();
    let (mut client, mut server) = open_pair(now);
    for token in 0..100 {
        client.send(ping(token));
        server.send(ping(token + 1000));
        if token % 7 == 0 {
            exchange(&mut client, &mut server, now);
        }
    }
    exchange(&mut client, &mut server, now);
    assert_eq!(server.packets, (0..100).map(ping).collect::<Vec<_>>());
    assert_eq!(client.packets, (1000..1100).map(ping).collect::<Vec<_>>());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Any chunking of the stream, from the first byte of the handshake on, gives the same packets.
    #[test]
    fn any_chunking_gives_the_same_packets(
        lengths in prop::collection::vec(0usize..1024, 0..20),
        cuts in prop::collection::vec(1usize..2000, 1..50),
    ) {
        let now = Instant::now();
        let mut client = End::client(now);
        let mut server = End::server(now);
        let mut cuts = cuts.into_iter().cycle();
        let mut carry = |from: &mut End, to: &mut End| {
            let bytes = from.output();
            let mut rest = &bytes[..];
            while !rest.is_empty() {
                let (chunk, after) = rest.split_at(cuts.next().unwrap().min(rest.len()));
                to.input(chunk, now);
                rest = after;
            }
        };
        carry(&mut client, &mut server);
        carry(&mut server, &mut client);
        let packets: Vec<_> = lengths.into_iter().map(say).collect();
        for packet in &packets {
            client.send(packet.clone());
            server.send(packet.clone());
        }
        carry(&mut client, &mut server);
        carry(&mut server, &mut client);
        prop_assert_eq!(&server.packets, &packets);
        prop_assert_eq!(&client.packets, &packets);
        prop_assert!(server.inbox.is_empty() && client.inbox.is_empty());
    }

    /// No input, before or after the handshake, makes the session panic or queue more than a
    /// bounded answer.
    #[test]
    fn any_bytes_are_survived(bytes: Vec<u8>, is_open: bool, as_frame: bool) {
        let now = Instant::now();
        let mut server = if is_open { open_pair(now).1 } else { End::server(now) };
        let mut input = if as_frame { frame::header(Kind::Sealed, bytes.len()).to_vec() } else { Vec::new() };
        input.extend_from_slice(&bytes);
        server.input(&input, now);
        prop_assert!(server.packets.is_empty());
        prop_assert!(server.session.outbox.len() < 512);
        prop_assert_eq!(server.rejected, server.session.close_reason());
    }

    /// A frame that was changed on its way never becomes a packet.
    #[test]
    fn any_flipped_bit_ends_the_session(bit in any::<prop::sample::Index>()) {
        let now = Instant::now();
        let (mut client, mut server) = open_pair(now);
        client.send(ping(1));
        let mut bytes = client.output();
        let bit = bit.index(bytes.len() * 8);
        bytes[bit / 8] ^= 1 << (bit % 8);
        // A flipped length bit can make the session wait for more bytes, so give it more.
        bytes.resize(bytes.len() + FRAME_HEADER + CLIENT_BODY_MAX, 0);
        server.input(&bytes, now);
        prop_assert!(server.packets.is_empty());
        prop_assert!(server.session.close_reason().is_some());
    }
}

#[test]
fn bad_input_before_the_handshake_gets_its_reason_in_the_clear() {
    let now = Instant::now();
    let hello = End::client(now).output();
    let check = |bytes: &[u8], wanted: CloseReason| {
        let mut server = End::server(now);
        server.input(bytes, now);
        assert_eq!(server.rejected, Some(wanted), "{bytes:02x?}");
        assert_eq!(server.output(), frame::refusal(wanted));
    };
    check(b"GET / HTTP/1.1\r\n", CloseReason::UnexpectedFrame);
    check(&[0xff, 0xff, Kind::Handshake as u8], CloseReason::FrameTooLong);
    check(&frame::header(Kind::Handshake, HANDSHAKE_BODY_MAX + 1), CloseReason::FrameTooLong);
    check(&frame::header(Kind::Handshake, 0), CloseReason::HandshakeFailed);
    check(&frame::header(Kind::Sealed, 0), CloseReason::UnexpectedFrame);
    check(&frame::header(Kind::Room, 0), CloseReason::UnexpectedFrame);
    check(&frame::refusal(CloseReason::Goodbye), CloseReason::UnexpectedFrame);
    let damaged = |at: usize| {
        let mut bytes = hello.clone();
        bytes[at] ^= 1;
        bytes
    };
    check(&damaged(FRAME_HEADER), CloseReason::VersionMismatch);
    check(&damaged(FRAME_HEADER + 1), CloseReason::HandshakeFailed);
    check(&damaged(hello.len() - 1), CloseReason::HandshakeFailed);
}

#[test]
fn an_incomplete_handshake_is_kept_without_an_answer() {
    let now = Instant::now();
    let hello = End::client(now).output();
    for half in 0..hello.len() {
        let mut server = End::server(now);
        server.input(&hello[..half], now);
        assert_eq!((server.rejected, server.opened, server.session.outbox.len()), (None, 0, 0));
    }
}

#[test]
fn bad_input_after_the_handshake_gets_its_reason() {
    let now = Instant::now();
    let check = |make: &dyn Fn(&mut End) -> Vec<u8>, wanted: CloseReason| {
        let (mut client, mut server) = open_pair(now);
        let bytes = make(&mut client);
        server.input(&bytes, now);
        assert_eq!(server.rejected, Some(wanted));
        client.input(&server.output(), now);
        assert_eq!(client.peer_closed, Some((wanted, String::new())), "the client gets the reason");
    };
    let sealed = |plain: &'static [u8]| {
        move |client: &mut End| {
            client.session.send_encoded(plain, &mut client.pool);
            client.output()
        }
    };
    check(&|_| frame::header(Kind::Sealed, CLIENT_BODY_MAX + 1).to_vec(), CloseReason::FrameTooLong);
    check(&|_| frame::header(Kind::Sealed, 0).to_vec(), CloseReason::SealBroken);
    check(&|_| frame::header(Kind::Handshake, 0).to_vec(), CloseReason::UnexpectedFrame);
    check(&|_| frame::refusal(CloseReason::Goodbye).to_vec(), CloseReason::UnexpectedFrame);
    check(&|_| End::client(now).output(), CloseReason::UnexpectedFrame);
    check(&sealed(b""), CloseReason::MalformedPacket);
    check(&sealed(b"\xff\xff"), CloseReason::MalformedPacket);
    check(&sealed(b"\x01\x00\xfe\x00\x00"), CloseReason::MalformedPacket);
    // A reason that is never sent.
    check(&sealed(b"\x01\x00\x81\x00\x00"), CloseReason::MalformedPacket);
    check(
        &|client| {
            client.send(ping(1));
            client.output().repeat(2)
        },
        CloseReason::SealBroken,
    );
    check(
        &|client| {
            client.send(ping(1));
            let lost = client.output();
            client.send(ping(2));
            drop(lost);
            client.output()
        },
        CloseReason::SealBroken,
    );
}

#[test]
fn a_refusal_reaches_the_dialing_session() {
    let now = Instant::now();
    let check = |bytes: &[u8], peer_closed: Option<CloseReason>, rejected: Option<CloseReason>| {
        let mut client = End::client(now);
        client.input(bytes, now);
        let reason = client.peer_closed.map(|(reason, _)| reason);
        assert_eq!((reason, client.rejected), (peer_closed, rejected));
    };
    check(&frame::refusal(CloseReason::ServerFull), Some(CloseReason::ServerFull), None);
    check(&frame::refusal(CloseReason::PeerClosed), None, Some(CloseReason::MalformedPacket));
    check(&[0, 0, Kind::Refused as u8], None, Some(CloseReason::MalformedPacket));
    check(&[1, 0, Kind::Refused as u8, 0xfe], None, Some(CloseReason::MalformedPacket));
    check(&[2, 0, Kind::Refused as u8, 1, 1], None, Some(CloseReason::MalformedPacket));
    check(&frame::header(Kind::Handshake, 0), None, Some(CloseReason::HandshakeFailed));
    check(&frame::header(Kind::Sealed, 0), None, Some(CloseReason::UnexpectedFrame));
}

#[test]
fn only_the_first_reason_is_sent_and_no_packet_follows_it() {
    let now = Instant::now();
    let (mut client, mut server) = open_pair(now);
    server.send(ping(1));
    server.session.close(CloseReason::Goodbye, "so long", now, &mut server.pool);
    server.session.close(CloseReason::InternalError, "", now, &mut server.pool);
    server.session.handle_disconnect(CloseReason::PeerClosed, now, &mut server.pool);
    server.send(ping(2));
    assert_eq!(server.session.close_reason(), Some(CloseReason::Goodbye));
    assert!(!server.session.is_open());
    client.send(ping(3));
    let late = client.output();
    client.input(&server.output(), now);
    assert_eq!(client.packets, [ping(1)], "packets queued before the close go out first");
    assert_eq!(client.peer_closed, Some((CloseReason::Goodbye, "so long".into())));
    server.input(&late, now);
    server.input(b"anything", now);
    assert!(server.packets.is_empty() && server.rejected.is_none(), "input of a closing session is ignored");
    assert!(server.session.outbox.is_empty());
    assert_eq!(server.timeout(now), TimerAction::ArmAt(now + LINGER));
    assert_eq!(server.timeout(now + LINGER), TimerAction::Remove);
}

#[test]
fn a_disconnected_peer_is_sent_nothing() {
    let now = Instant::now();
    let (_, mut server) = open_pair(now);
    server.send(ping(1));
    server.session.handle_disconnect(CloseReason::PeerClosed, now, &mut server.pool);
    server.session.close(CloseReason::Goodbye, "", now, &mut server.pool);
    assert_eq!(server.session.close_reason(), Some(CloseReason::PeerClosed));
    assert!(server.session.outbox.is_empty());
    assert_eq!(server.timeout(now), TimerAction::Remove);
    // Reasons that only describe what one side saw are not sent either.
    let (_, mut server) = open_pair(now);
    server.session.close(CloseReason::ConnectionLost, "", now, &mut server.pool);
    assert!(server.session.outbox.is_empty());
}

#[test]
fn a_long_detail_is_cut_and_the_frame_still_fits() {
    let now = Instant::now();
    let (mut client, mut server) = open_pair(now);
    server.session.close(CloseReason::InternalError, &"ä".repeat(1000), now, &mut server.pool);
    client.input(&server.output(), now);
    assert_eq!(client.peer_closed, Some((CloseReason::InternalError, "ä".repeat(127))));
}

#[test]
fn a_detail_has_no_control_characters_on_either_side() {
    let now = Instant::now();
    let (mut client, mut server) = open_pair(now);
    server.session.close(CloseReason::InternalError, "disk\nfull\u{1b}[2J\u{202E}", now, &mut server.pool);
    client.input(&server.output(), now);
    assert_eq!(client.peer_closed, Some((CloseReason::InternalError, "disk?full?[2J?".into())));
    // The bytes of a peer that does not keep to it.
    let mut close = Vec::new();
    Packet::from(Close { reason: CloseReason::Goodbye, detail: Line::truncated("x_y") }).encode(&mut close);
    let at = close.iter().position(|byte| *byte == b'_').unwrap();
    close[at] = b'\n';
    assert_eq!(Packet::decode(&close), Err(Malformed::ControlCharacter(u32::from(b'\n'))));
}

#[test]
fn an_unfinished_handshake_times_out() {
    let now = Instant::now();
    let almost = now + HANDSHAKE.mul_f64(0.99);
    let mut server = End::server(now);
    let TimerAction::ArmAt(at) = server.timeout(now) else { panic!("not yet") };
    assert!(at <= now + HANDSHAKE);
    assert_eq!(server.timeout(almost), TimerAction::ArmAt(now + HANDSHAKE));
    assert_eq!(server.timeout(now + HANDSHAKE), TimerAction::Close(CloseReason::HandshakeTimeout));
    // A trickle of bytes does not extend the timeout.
    server.input(&[1], almost);
    assert_eq!(server.timeout(now + HANDSHAKE), TimerAction::Close(CloseReason::HandshakeTimeout));
    assert_eq!(End::client(now).timeout(now + HANDSHAKE), TimerAction::Close(CloseReason::HandshakeTimeout));
    let credentials = Credentials::Client(*key().public());
    let mut dialed = End::new(Session::dialed(Arc::new(endpoint(credentials)), now).unwrap());
    assert_eq!(dialed.timeout(now + HANDSHAKE), TimerAction::Close(CloseReason::ConnectFailed));
}

#[test]
fn heartbeats_do_not_count_as_the_first_packet() {
    let now = Instant::now();
    let (mut client, mut server) = open_pair(now);
    let late = now + FIRST_PACKET;
    client.send(Heartbeat { token: 1 });
    client.send(HeartbeatAnswer { token: 1 });
    exchange(&mut client, &mut server, now + FIRST_PACKET.mul_f64(0.99));
    assert_eq!(server.timeout(late), TimerAction::Close(CloseReason::FirstPacketTimeout));
    client.send(ExitRequest {});
    exchange(&mut client, &mut server, late);
    assert_eq!(server.timeout(late), TimerAction::ArmAt(late + HEARTBEAT));
    assert_eq!(client.timeout(late), TimerAction::Disarm, "a client's endpoint has no timeouts");
}

#[test]
fn a_silent_peer_gets_a_heartbeat_an_interval_and_then_times_out() {
    let start = Instant::now();
    let (mut client, mut server) = open_pair(start);
    client.send(ping(1));
    exchange(&mut client, &mut server, start);
    let step = Duration::from_millis(50);
    let mut now = start;
    let mut heartbeats = Vec::new();
    loop {
        now += step;
        match server.timeout(now) {
            TimerAction::ArmAt(at) => assert!(at > now && at <= start + IDLE, "no deadline is slept past"),
            TimerAction::Close(reason) => break assert_eq!(reason, CloseReason::IdleTimeout),
            other => panic!("{other:?}"),
        }
        if !server.session.outbox.is_empty() {
            heartbeats.push(now - start);
            client.input(&server.output(), now);
        }
    }
    assert_eq!(now - start, IDLE);
    assert_eq!(heartbeats, [HEARTBEAT, 2 * HEARTBEAT]);
    assert_eq!(client.output().len(), 2 * (FRAME_HEADER + 2 + 8 + crate::limits::SEAL_TAG));
}

#[test]
fn a_peer_that_answers_heartbeats_stays_connected() {
    let mut now = Instant::now();
    let (mut client, mut server) = open_pair(now);
    client.send(ping(1));
    exchange(&mut client, &mut server, now);
    let sent = metrics::HEARTBEATS.get();
    let answered = metrics::HEARTBEAT_ANSWERS.get();
    for _ in 0..20 {
        now += HEARTBEAT;
        assert!(matches!(server.timeout(now), TimerAction::ArmAt(_)));
        exchange(&mut client, &mut server, now);
    }
    assert!(metrics::HEARTBEATS.get() - sent >= 20 && metrics::HEARTBEAT_ANSWERS.get() - answered >= 20);
    assert!(client.packets.is_empty() && server.packets.len() == 1, "heartbeats are not passed on");
}

#[test]
fn a_restarted_idle_timeout_counts_from_then() {
    let start = Instant::now();
    let (mut client, mut server) = open_pair(start);
    client.send(ping(1));
    exchange(&mut client, &mut server, start);
    let later = start + 2 * IDLE;
    server.session.restart_idle_timeout(later);
    assert_eq!(server.timeout(later), TimerAction::ArmAt(later + HEARTBEAT));
    assert_eq!(server.timeout(later + IDLE), TimerAction::Close(CloseReason::IdleTimeout));
}

#[test]
fn a_short_idle_timeout_is_not_slept_past_while_the_first_packet_is_awaited() {
    let now = Instant::now();
    let rules = Endpoint {
        first_packet_timeout: Some(Duration::from_mins(10)),
        heartbeat: None,
        idle_timeout: Some(Duration::from_secs(20)),
        ..endpoint(Credentials::Server(key()))
    };
    let mut server = End::new(Session::accepted(Arc::new(rules), now));
    exchange(&mut End::client(now), &mut server, now);
    assert_eq!(server.timeout(now), TimerAction::ArmAt(now + Duration::from_secs(20)));
}
