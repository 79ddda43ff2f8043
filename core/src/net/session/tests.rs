//! Two sessions wired in memory under virtual time: no socket, no clock, no sleep.

use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::crypto::{Credentials, StaticKey};
use crate::limits::{CLIENT_BODY_MAX, FRAME_HEADER, SERVER_BODY_MAX};
use crate::net::PeerKind;
use crate::wire::packets::{ChatRequest, ExitRequest, PingRequest, Scope};

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

/// One end: a session, and what came out of it.
struct End {
    session: Session,
    pool: BufferPool,
    /// Bytes that are not a whole frame yet.
    inbox: Vec<u8>,
    packets: Vec<Packet>,
    opened: usize,
    /// How the session ended, if it did: by its own rules or by the peer's word.
    bad: Option<CloseReason>,
    told: Option<(CloseReason, String)>,
}

impl End {
    fn new(session: Session) -> Self {
        let (pool, inbox, packets) = (BufferPool::default(), Vec::new(), Vec::new());
        Self { session, pool, inbox, packets, opened: 0, bad: None, told: None }
    }

    fn server(now: Instant) -> Self {
        Self::new(Session::accepted(Arc::new(endpoint(Credentials::Server(key()))), now))
    }

    fn client(now: Instant) -> Self {
        let credentials = Credentials::Client(*key().public());
        let mut end = Self::new(Session::dialled(Arc::new(endpoint(credentials)), now).unwrap());
        assert!(end.session.is_connecting());
        end.session.connected(&mut end.pool);
        assert!(!end.session.is_connecting());
        end
    }

    /// Takes everything that waits for the socket.
    fn output(&mut self) -> Vec<u8> {
        let bytes = self.session.outbox.waiting().to_vec();
        self.session.outbox.consume(bytes.len(), &mut self.pool);
        bytes
    }

    /// As the loop does it: all frames that are whole, then the rest is kept.
    fn input(&mut self, bytes: &[u8], now: Instant) {
        let mut bytes = [std::mem::take(&mut self.inbox), bytes.to_vec()].concat();
        let mut at = 0;
        loop {
            match self.session.step(&mut bytes[at..], now, &mut self.pool) {
                Step::NeedMore => break,
                Step::Handled(used) => {
                    at += used;
                    if at == bytes.len() {
                        break;
                    }
                }
                Step::Opened(used) => {
                    at += used;
                    self.opened += 1;
                }
                Step::Room(used, room, packet) => {
                    let packet = room_packet(room, &bytes[at..][packet]);
                    at += used;
                    self.packets.push(packet.expect("of that room"));
                }
                Step::RoomKey(used, key) => {
                    at += used;
                    assert!(self.session.add_room_key(&key, RoomCipher::new(&key.secret)));
                }
                Step::Packet(used, packet) => {
                    at += used;
                    self.packets.push(packet);
                }
                Step::PeerCloses(reason, detail) => {
                    self.told = Some((reason, detail.into_string()));
                    self.session.end_by_peer(reason, now, &mut self.pool);
                    return;
                }
                Step::Bad(reason) => {
                    self.bad = Some(reason);
                    self.session.end(reason, "", now, &mut self.pool);
                    return;
                }
            }
        }
        self.inbox = bytes.split_off(at);
    }

    fn send(&mut self, packet: impl Into<Packet>) {
        self.session.send(&packet.into(), &mut self.pool);
    }

    fn due(&mut self, now: Instant) -> Due {
        self.session.due(now, &mut self.pool)
    }
}

/// Carries bytes both ways until none are left.
fn exchange(near: &mut End, far: &mut End, now: Instant) {
    loop {
        let (out, back) = (near.output(), far.output());
        if out.is_empty() && back.is_empty() {
            return;
        }
        far.input(&out, now);
        near.input(&back, now);
    }
}

fn open_pair(now: Instant) -> (End, End) {
    let (mut client, mut server) = (End::client(now), End::server(now));
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

    /// However the stream is cut, from the first byte of the handshake on, the same packets come out.
    #[test]
    fn any_chunking_gives_the_same_packets(
        lengths in prop::collection::vec(0usize..1024, 0..20),
        cuts in prop::collection::vec(1usize..2000, 1..50),
    ) {
        let now = Instant::now();
        let (mut client, mut server) = (End::client(now), End::server(now));
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

    /// Whatever a stranger sends, before or after the handshake, the session judges it without
    /// a panic, and what it queues is bounded by what it got.
    #[test]
    fn any_bytes_are_survived(bytes: Vec<u8>, is_open: bool, as_frame: bool) {
        let now = Instant::now();
        let mut server = if is_open { open_pair(now).1 } else { End::server(now) };
        let mut input = if as_frame { frame::header(Kind::Sealed, bytes.len()).to_vec() } else { Vec::new() };
        input.extend_from_slice(&bytes);
        server.input(&input, now);
        prop_assert!(server.packets.is_empty());
        prop_assert!(server.session.outbox.len() < 512);
        prop_assert_eq!(server.bad, server.session.ended());
    }

    /// Nothing that was changed on its way becomes a packet.
    #[test]
    fn any_flipped_bit_ends_the_session(bit in any::<prop::sample::Index>()) {
        let now = Instant::now();
        let (mut client, mut server) = open_pair(now);
        client.send(ping(1));
        let mut bytes = client.output();
        let bit = bit.index(bytes.len() * 8);
        bytes[bit / 8] ^= 1 << (bit % 8);
        // A longer length makes the session wait for more: give it more.
        bytes.resize(bytes.len() + FRAME_HEADER + CLIENT_BODY_MAX, 0);
        server.input(&bytes, now);
        prop_assert!(server.packets.is_empty());
        prop_assert!(server.session.ended().is_some());
    }
}

#[test]
fn bad_input_before_the_handshake_gets_its_reason_in_the_clear() {
    let now = Instant::now();
    let hello = End::client(now).output();
    let check = |bytes: &[u8], wanted: CloseReason| {
        let mut server = End::server(now);
        server.input(bytes, now);
        assert_eq!(server.bad, Some(wanted), "{bytes:02x?}");
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
fn half_a_handshake_is_waited_for_and_costs_nothing() {
    let now = Instant::now();
    let hello = End::client(now).output();
    for half in 0..hello.len() {
        let mut server = End::server(now);
        server.input(&hello[..half], now);
        assert_eq!((server.bad, server.opened, server.session.outbox.len()), (None, 0, 0));
    }
}

#[test]
fn bad_input_after_the_handshake_gets_its_reason() {
    let now = Instant::now();
    let check = |make: &dyn Fn(&mut End) -> Vec<u8>, wanted: CloseReason| {
        let (mut client, mut server) = open_pair(now);
        let bytes = make(&mut client);
        server.input(&bytes, now);
        assert_eq!(server.bad, Some(wanted));
        client.input(&server.output(), now);
        assert_eq!(client.told, Some((wanted, String::new())), "the peer is told");
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
    // A reason that is for us to see, not for the peer to give.
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
fn a_refusal_reaches_whoever_dialled() {
    let now = Instant::now();
    let check = |bytes: &[u8], told: Option<CloseReason>, bad: Option<CloseReason>| {
        let mut client = End::client(now);
        client.input(bytes, now);
        assert_eq!((client.told.map(|told| told.0), client.bad), (told, bad));
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
fn the_end_is_told_once_and_nothing_follows_it() {
    let now = Instant::now();
    let (mut client, mut server) = open_pair(now);
    server.send(ping(1));
    server.session.end(CloseReason::Goodbye, "so long", now, &mut server.pool);
    server.session.end(CloseReason::InternalError, "", now, &mut server.pool);
    server.session.end_by_peer(CloseReason::PeerClosed, now, &mut server.pool);
    server.send(ping(2));
    assert_eq!(server.session.ended(), Some(CloseReason::Goodbye));
    assert!(!server.session.is_open());
    client.send(ping(3));
    let late = client.output();
    client.input(&server.output(), now);
    assert_eq!(client.packets, [ping(1)], "what was queued before goes out before");
    assert_eq!(client.told, Some((CloseReason::Goodbye, "so long".into())));
    server.input(&late, now);
    server.input(b"anything", now);
    assert!(server.packets.is_empty() && server.bad.is_none(), "input of a closing session is ignored");
    assert!(server.session.outbox.is_empty());
    assert_eq!(server.due(now), Due::Later(now + LINGER));
    assert_eq!(server.due(now + LINGER), Due::Drop);
}

#[test]
fn who_has_left_is_told_nothing() {
    let now = Instant::now();
    let (_, mut server) = open_pair(now);
    server.send(ping(1));
    server.session.end_by_peer(CloseReason::PeerClosed, now, &mut server.pool);
    server.session.end(CloseReason::Goodbye, "", now, &mut server.pool);
    assert_eq!(server.session.ended(), Some(CloseReason::PeerClosed));
    assert!(server.session.outbox.is_empty());
    assert_eq!(server.due(now), Due::Drop);
    // Reasons that only describe what was seen are not sent either.
    let (_, mut server) = open_pair(now);
    server.session.end(CloseReason::ConnectionLost, "", now, &mut server.pool);
    assert!(server.session.outbox.is_empty());
}

#[test]
fn a_long_detail_is_cut_and_the_frame_still_fits() {
    let now = Instant::now();
    let (mut client, mut server) = open_pair(now);
    server.session.end(CloseReason::InternalError, &"ä".repeat(1000), now, &mut server.pool);
    client.input(&server.output(), now);
    assert_eq!(client.told, Some((CloseReason::InternalError, "ä".repeat(127))));
}

#[test]
fn whoever_does_not_finish_the_handshake_in_time_is_dropped() {
    let now = Instant::now();
    let almost = now + HANDSHAKE.mul_f64(0.99);
    let mut server = End::server(now);
    let Due::Later(at) = server.due(now) else { panic!("not yet") };
    assert!(at <= now + HANDSHAKE);
    assert_eq!(server.due(almost), Due::Later(now + HANDSHAKE));
    assert_eq!(server.due(now + HANDSHAKE), Due::End(CloseReason::HandshakeTimeout));
    // A trickle of bytes wins no time.
    server.input(&[1], almost);
    assert_eq!(server.due(now + HANDSHAKE), Due::End(CloseReason::HandshakeTimeout));
    assert_eq!(End::client(now).due(now + HANDSHAKE), Due::End(CloseReason::HandshakeTimeout));
    let credentials = Credentials::Client(*key().public());
    let mut dialled = End::new(Session::dialled(Arc::new(endpoint(credentials)), now).unwrap());
    assert_eq!(dialled.due(now + HANDSHAKE), Due::End(CloseReason::ConnectFailed));
}

#[test]
fn heartbeats_are_no_first_packet() {
    let now = Instant::now();
    let (mut client, mut server) = open_pair(now);
    let late = now + FIRST_PACKET;
    client.send(Heartbeat { token: 1 });
    client.send(HeartbeatAnswer { token: 1 });
    exchange(&mut client, &mut server, now + FIRST_PACKET.mul_f64(0.99));
    assert_eq!(server.due(late), Due::End(CloseReason::FirstPacketTimeout));
    client.send(ExitRequest {});
    exchange(&mut client, &mut server, late);
    assert_eq!(server.due(late), Due::Later(late + HEARTBEAT));
    assert_eq!(client.due(late), Due::Never, "the client has no patience of its own");
}

#[test]
fn a_silent_peer_is_asked_once_an_interval_and_then_given_up() {
    let start = Instant::now();
    let (mut client, mut server) = open_pair(start);
    client.send(ping(1));
    exchange(&mut client, &mut server, start);
    let step = Duration::from_millis(50);
    let (mut now, mut asked) = (start, Vec::new());
    loop {
        now += step;
        match server.due(now) {
            Due::Later(at) => assert!(at > now && at <= start + IDLE, "nothing is slept past"),
            Due::End(reason) => break assert_eq!(reason, CloseReason::IdleTimeout),
            other => panic!("{other:?}"),
        }
        if !server.session.outbox.is_empty() {
            asked.push(now - start);
            client.input(&server.output(), now);
        }
    }
    assert_eq!(now - start, IDLE);
    assert_eq!(asked, [HEARTBEAT, 2 * HEARTBEAT]);
    assert_eq!(client.output().len(), 2 * (FRAME_HEADER + 2 + 8 + crate::limits::SEAL_TAG));
}

#[test]
fn a_peer_that_answers_lives_on() {
    let mut now = Instant::now();
    let (mut client, mut server) = open_pair(now);
    client.send(ping(1));
    exchange(&mut client, &mut server, now);
    let (asked, answered) = (metrics::HEARTBEATS.get(), metrics::HEARTBEAT_ANSWERS.get());
    for _ in 0..20 {
        now += HEARTBEAT;
        assert!(matches!(server.due(now), Due::Later(_)));
        exchange(&mut client, &mut server, now);
    }
    assert!(metrics::HEARTBEATS.get() - asked >= 20 && metrics::HEARTBEAT_ANSWERS.get() - answered >= 20);
    assert!(client.packets.is_empty() && server.packets.len() == 1, "heartbeats are the session's own");
}

#[test]
fn a_session_that_was_not_read_is_not_idle() {
    let start = Instant::now();
    let (mut client, mut server) = open_pair(start);
    client.send(ping(1));
    exchange(&mut client, &mut server, start);
    let later = start + 2 * IDLE;
    server.session.not_listened_to(later);
    assert_eq!(server.due(later), Due::Later(later + HEARTBEAT));
    assert_eq!(server.due(later + IDLE), Due::End(CloseReason::IdleTimeout));
}

#[test]
fn a_short_idle_time_is_not_slept_past_while_the_first_packet_is_awaited() {
    let now = Instant::now();
    let rules = Endpoint {
        first_packet_timeout: Some(Duration::from_mins(10)),
        heartbeat: None,
        idle_timeout: Some(Duration::from_secs(20)),
        ..endpoint(Credentials::Server(key()))
    };
    let mut server = End::new(Session::accepted(Arc::new(rules), now));
    exchange(&mut End::client(now), &mut server, now);
    assert_eq!(server.due(now), Due::Later(now + Duration::from_secs(20)));
}
