//! The session machine under the eyes of a peer that has its keys, so that its input reaches what
//! is behind the seal. The input is a program: frames, times, packets to send, bytes that the
//! socket takes.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant};

use throng_core::crypto::handshake::respond;
use throng_core::crypto::{Credentials, DirectionKey, Initiator, RoomCipher, RoomSealer, SessionKeys};
use throng_core::limits::{CLIENT_BODY_MAX, FRAME_HEADER, SEAL_TAG, SERVER_BODY_MAX};
use throng_core::net::{Endpoint, PeerKind};
use throng_core::room::{Class, RoomId};
use throng_core::session::outbox::BufferPool;
use throng_core::session::{Event, Session, TimerAction, room_packet};
use throng_core::wire::frame::{self, Kind, Split};
use throng_core::wire::packets::{ChannelLeft, Close, Heartbeat, HeartbeatAnswer, Outcome, Packet};
use throng_core::wire::{CloseReason, Line};

use crate::handshake::{ENDS, body};
use crate::input::Input;
use crate::{Target, vectors};

pub(crate) const SESSION: Target = Target { name: "session", check, seeds, mutations: 2_000 };

/// Most steps of a program.
const STEPS_MAX: usize = 256;

const OUTBOX_MAX: usize = 8 * 1024;

/// Kinds of sessions: accepted from a client, from a server; dialed to a server by a client, by a
/// server.
static ENDPOINTS: LazyLock<[Arc<Endpoint>; 4]> = LazyLock::new(|| {
    let endpoint = |credentials: &Credentials, peer, body_max, is_timed: bool| {
        let seconds = |seconds| is_timed.then_some(Duration::from_secs(seconds));
        Arc::new(Endpoint {
            peer,
            credentials: credentials.clone(),
            body_max,
            outbox_max: OUTBOX_MAX,
            handshake_timeout: Duration::from_secs(5),
            first_packet_timeout: seconds(5).filter(|_| peer == PeerKind::Client),
            heartbeat: seconds(15),
            idle_timeout: seconds(45),
            linger: Duration::from_secs(1),
        })
    };
    let [clients, links] = &*ENDS;
    [
        endpoint(&clients.responder, PeerKind::Client, CLIENT_BODY_MAX, true),
        endpoint(&links.responder, PeerKind::Link, SERVER_BODY_MAX, true),
        endpoint(&clients.initiator, PeerKind::Client, SERVER_BODY_MAX, false),
        endpoint(&links.initiator, PeerKind::Link, SERVER_BODY_MAX, true),
    ]
});

/// A program for each packet of docs/protocol.md, and some that use every step.
fn seeds() -> Vec<Vec<u8>> {
    let piece = |bytes: &[u8]| [&(bytes.len() as u16).to_le_bytes(), bytes].concat();
    let packets = vectors::all("packet ");
    let mut seeds: Vec<_> = packets
        .iter()
        .enumerate()
        .map(|(number, packet)| [&[number as u8 % 4, 0, 0], &piece(packet)[..], &[4, 0xff, 0xff]].concat())
        .collect();
    let message = packets.iter().find(|packet| packet.starts_with(&[8, 2])).expect("a ChatMessage");
    let room = [&[2, 6, 3, 0, 0, 0, 5, 0, 0], &piece(message)[..], &[5, 0, 1], &piece(message)[..]].concat();
    let times =
        vec![0, 2, 0x10, 0x27, 2, 0x98, 0x3a, 2, 0x98, 0x3a, 4, 0xff, 0xff, 2, 0xff, 0xff, 2, 0xff, 0xff];
    let sends = [&[1, 3], &piece(message)[..], &[4, 20, 0, 7, 3, 4, 0xff, 0xff, 2, 0xe8, 3]].concat();
    let handshakes =
        (4..8).map(|kind| [&[kind, 10, 0, 0], &piece(message)[..], &[4, 0xff, 0xff, 8]].concat());
    seeds.extend([room, times, sends, vec![5, 1, 4, 0, 1, 0, 4, 1], vec![6, 10, 1, 4, 0, 1, 0, 4, 1]]);
    seeds.extend(handshakes);
    seeds
}

struct Run {
    session: Session,
    endpoint: Arc<Endpoint>,
    is_dialed: bool,
    pool: BufferPool,
    now: Instant,
    /// The beginning of an incomplete frame.
    inbox: Vec<u8>,
    /// The peer's keys, once it has them.
    peer: Option<SessionKeys>,
    /// The peer's own handshake, if it dialed and waits for an answer.
    initiator: Option<Initiator>,
    /// Bytes that the socket has taken and that are less than a frame.
    wire: Vec<u8>,
    /// Packets that the peer must get, besides heartbeats and the close.
    owed: VecDeque<Vec<u8>>,
    sealers: Vec<(RoomId, RoomSealer)>,
    /// The sealer whose key the session has for a room or place.
    known: HashMap<u32, usize>,
    /// True once the session has had a key that the input made up.
    has_foreign_key: bool,
    /// False once a step has made the outcome of the next ones hard to tell.
    is_predictable: bool,
    heartbeat_at: Option<Instant>,
}

fn check(input: &[u8]) {
    let mut input = Input::new(input);
    let mode = input.u8();
    let mut run = Run::new(usize::from(mode & 3), mode & 4 == 0);
    for _ in 0..STEPS_MAX {
        if input.is_empty() || !run.step(&mut input) {
            break;
        }
        run.check_invariants();
    }
    run.transmit(usize::MAX);
}

fn encoded(packet: &Packet) -> Vec<u8> {
    let mut out = Vec::new();
    packet.encode(&mut out);
    out
}

impl Run {
    fn new(kind: usize, is_open: bool) -> Self {
        let endpoint = ENDPOINTS[kind].clone();
        let now = Instant::now();
        let is_dialed = kind >= 2;
        let mut peer = None;
        let session = if is_open {
            let keys =
                |seal, open| SessionKeys { seal: DirectionKey::new(seal), open: DirectionKey::new(open) };
            peer = Some(keys([1; 32], [2; 32]));
            Session::opened(endpoint.clone(), keys([2; 32], [1; 32]), is_dialed, now)
        } else if is_dialed {
            Session::dialed(endpoint.clone(), now).expect("randomness")
        } else {
            Session::accepted(endpoint.clone(), now)
        };
        Self {
            session,
            endpoint,
            is_dialed,
            pool: BufferPool::default(),
            now,
            inbox: Vec::new(),
            peer,
            initiator: None,
            wire: Vec::new(),
            owed: VecDeque::new(),
            sealers: Vec::new(),
            known: HashMap::new(),
            has_foreign_key: false,
            is_predictable: true,
            heartbeat_at: None,
        }
    }

    /// Takes one step. Returns false at the session's end.
    fn step(&mut self, input: &mut Input<'_>) -> bool {
        match input.u8() % 11 {
            0 => {
                let cut = input.u8();
                self.sealed(input.piece(), cut);
            }
            1 => {
                self.is_predictable = false;
                self.receive(input.piece());
            }
            2 => return self.pass(Duration::from_millis(input.u16().into())),
            3 => {
                let packet = Packet::decode(input.piece()).unwrap_or(Heartbeat { token: 1 }.into());
                if self.session.is_open() {
                    self.owed.push_back(encoded(&packet));
                }
                self.session.send(&packet, &mut self.pool);
            }
            4 => self.transmit(input.u16().into()),
            5 => {
                let (sealer, is_notice) = (input.u8(), input.u8() & 1 == 1);
                self.room_frame(sealer.into(), is_notice, input.piece());
            }
            6 => self.room_key(RoomId(input.u32()), input.u8()),
            7 => {
                let reason = input.below(CloseReason::ALL.len());
                self.close(CloseReason::ALL[reason]);
            }
            8 => {
                let wanted = self.session.close_reason().or(Some(CloseReason::ConnectionLost));
                let was_closed = self.session.close_reason().is_some();
                self.session.handle_disconnect(CloseReason::ConnectionLost, self.now, &mut self.pool);
                assert_eq!(self.session.close_reason(), wanted);
                assert!(was_closed || self.session.queued() == 0);
                return was_closed;
            }
            9 => self.broken(input),
            _ => self.handshake(),
        }
        true
    }

    fn check_invariants(&self) {
        assert_eq!(self.session.queued(), self.session.poll_transmit().len());
        assert_eq!(self.session.is_too_slow(), self.session.queued() > OUTBOX_MAX);
        let is_over = self.session.close_reason().is_some();
        assert!(!(is_over && (self.session.is_open() || self.session.is_connecting())));
        for class in Class::ALL {
            assert!(self.session.room_for(class) <= OUTBOX_MAX);
        }
    }

    fn close(&mut self, reason: CloseReason) {
        let wanted = self.session.close_reason().or(Some(reason));
        self.session.close(reason, "a\ndetail", self.now, &mut self.pool);
        assert_eq!(self.session.close_reason(), wanted);
    }

    /// Handles received bytes as the event loop does; returns the outcome of each frame.
    fn receive(&mut self, bytes: &[u8]) -> Vec<Result<Event, CloseReason>> {
        let mut outcomes = Vec::new();
        let mut inbox = [&std::mem::take(&mut self.inbox), bytes].concat();
        let mut at = 0;
        while self.session.close_reason().is_none() {
            let before = inbox[at..].to_vec();
            match self.session.handle_frame(&mut inbox[at..], self.now, &mut self.pool) {
                Ok(None) => {
                    assert_eq!(inbox[at..], before, "an incomplete frame was changed");
                    self.inbox = before;
                    return outcomes;
                }
                Ok(Some((used, event))) => {
                    assert!((FRAME_HEADER..=before.len()).contains(&used));
                    self.handle_event(&event, &inbox[at..at + used]);
                    outcomes.push(Ok(event));
                    at += used;
                }
                Err(reason) => {
                    assert!(reason.is_sent(), "{reason:?} is not for peers");
                    self.close(reason);
                    outcomes.push(Err(reason));
                }
            }
        }
        // Packets after an end are ignored.
        let length = inbox.len();
        let ignored = self.session.handle_frame(&mut inbox, self.now, &mut self.pool);
        assert!(matches!(ignored, Ok(Some((used, Event::Consumed))) if used == length));
        outcomes
    }

    fn handle_event(&mut self, event: &Event, frame: &[u8]) {
        match event {
            Event::PeerClosed(reason, _) => {
                assert!(reason.is_sent());
                self.session.handle_disconnect(*reason, self.now, &mut self.pool);
                self.owed.clear();
                self.wire.clear();
            }
            Event::RoomKey(key) => {
                let cipher = RoomCipher::new(&key.secret);
                if !self.session.add_room_key(key, cipher) {
                    self.close(CloseReason::PacketNotAllowed);
                }
            }
            Event::RoomPacket { room, packet } => {
                assert!(self.session.fan_out_us().is_some());
                let plain = &frame[packet.clone()];
                if let Ok(packet) = room_packet(*room, plain) {
                    assert_eq!(encoded(&packet), plain);
                }
            }
            Event::Packet(packet) => {
                assert_eq!(self.session.fan_out_us(), None);
                if let Packet::ChannelLeft(ChannelLeft { channel, outcome }) = packet
                    && *outcome != Outcome::NotAMember
                {
                    self.known.retain(|_, at| self.sealers[*at].0.0 != *channel);
                }
            }
            Event::Consumed => {}
            Event::Opened => assert!(self.session.is_open()),
        }
    }

    /// Has the peer seal `plain` and send it in two parts.
    fn sealed(&mut self, plain: &[u8], cut: u8) {
        let Some(peer) = &mut self.peer else { return };
        let mut frame = Vec::new();
        peer.seal.seal(&mut frame, |out| out.extend_from_slice(plain));
        let wanted = self.outcome_of(plain);
        let (early, late) = frame.split_at(frame.len() * usize::from(cut) / 256);
        let mut outcomes = self.receive(early);
        outcomes.extend(self.receive(late));
        let Some(wanted) = wanted else { return };
        let [outcome] = &outcomes[..] else { panic!("{outcomes:?} of one frame") };
        match (wanted, outcome) {
            (Err(wanted), Err(reason)) => assert_eq!(*reason, wanted),
            (Ok(Packet::Close(close)), Ok(Event::PeerClosed(reason, detail))) => {
                assert_eq!((close.reason, &close.detail), (*reason, detail));
            }
            (Ok(Packet::Heartbeat(_) | Packet::HeartbeatAnswer(_)), Ok(Event::Consumed)) => {}
            (Ok(Packet::RoomKey(wanted)), Ok(Event::RoomKey(key))) => assert_eq!(wanted, *key),
            (Ok(wanted), Ok(Event::Packet(packet))) => assert_eq!(wanted, *packet),
            (wanted, outcome) => panic!("{outcome:?}, not {wanted:?}"),
        }
    }

    /// Returns the packet that the session must take, or its reason to end; `None` if it is over,
    /// or the outcome is open.
    fn outcome_of(&mut self, plain: &[u8]) -> Option<Result<Packet, CloseReason>> {
        if !self.is_predictable || !self.session.is_open() {
            return None;
        }
        if plain.len() + SEAL_TAG > self.endpoint.body_max {
            return Some(Err(CloseReason::FrameTooLong));
        }
        let Ok(packet) = Packet::decode(plain) else { return Some(Err(CloseReason::MalformedPacket)) };
        match &packet {
            Packet::Close(Close { reason, .. }) if !reason.is_sent() => {
                return Some(Err(CloseReason::MalformedPacket));
            }
            Packet::Heartbeat(Heartbeat { token }) => {
                self.owed.push_back(encoded(&HeartbeatAnswer { token: *token }.into()));
            }
            // It may take the place or the number of a key of ours.
            Packet::RoomKey(_) => self.has_foreign_key = true,
            _ => {}
        }
        Some(Ok(packet))
    }

    /// Has the peer give the session the key of a room.
    fn room_key(&mut self, room: RoomId, secret: u8) {
        if self.sealers.len() == 8 || !self.session.is_open() {
            return;
        }
        let number = self.sealers.len() as u32;
        let sealer = RoomSealer::new(number, [secret; 32]);
        let packet = encoded(&sealer.packet(room));
        let has_foreign_key = self.has_foreign_key;
        self.sealed(&packet, 0);
        self.has_foreign_key = has_foreign_key;
        self.sealers.push((room, sealer));
        if self.is_dialed && self.endpoint.peer == PeerKind::Client {
            self.known.insert(room.key_place(), self.sealers.len() - 1);
        }
    }

    /// Has the peer send a frame of a room.
    fn room_frame(&mut self, at: usize, is_notice: bool, plain: &[u8]) {
        if self.sealers.is_empty() {
            return;
        }
        let at = at % self.sealers.len();
        let (room, sealer) = &mut self.sealers[at];
        let room = *room;
        let mut bytes = Vec::new();
        let class = if is_notice { Class::Notice } else { Class::Chat };
        sealer.seal(class, &mut bytes, |out| out.extend_from_slice(plain));
        let is_fit = bytes.len() - FRAME_HEADER <= self.endpoint.body_max;
        let is_known = self.known.get(&room.key_place()) == Some(&at);
        let is_told = self.is_predictable && !self.has_foreign_key && self.session.is_open();
        let must_open = is_told && is_fit && is_known;
        let outcomes = self.receive(&bytes);
        if must_open {
            let [Ok(Event::RoomPacket { room: opened, packet })] = &outcomes[..] else {
                panic!("{outcomes:?}")
            };
            assert_eq!((*opened, packet.len()), (room.0, plain.len()));
        }
    }

    /// Has the peer send a sealed frame that was damaged on the way.
    fn broken(&mut self, input: &mut Input<'_>) {
        let (at, mask) = (input.u16(), input.u8());
        let Some(peer) = &mut self.peer else { return };
        let mut bytes = Vec::new();
        peer.seal.seal(&mut bytes, |out| out.extend_from_slice(b"throng"));
        let at = FRAME_HEADER + usize::from(at) % (bytes.len() - FRAME_HEADER);
        bytes[at] ^= mask.max(1);
        let is_told = self.is_predictable && self.session.is_open();
        let outcomes = self.receive(&bytes);
        if is_told {
            assert!(matches!(outcomes[..], [Err(CloseReason::SealBroken)]), "{outcomes:?}");
        }
    }

    /// Takes the peer's part in the handshake.
    fn handshake(&mut self) {
        if self.peer.is_some() || self.initiator.is_some() {
            return;
        }
        let ends = &ENDS[usize::from(self.endpoint.peer == PeerKind::Link)];
        if !self.is_dialed {
            let (initiator, first) = Initiator::start(&ends.initiator).expect("randomness");
            self.initiator = Some(initiator);
            let outcomes = self.receive(&first);
            assert!(!self.is_predictable || outcomes.len() <= 1);
            return;
        }
        self.session.handle_connected(&mut self.pool);
        let first = self.session.poll_transmit().to_vec();
        if first.is_empty() {
            return;
        }
        self.session.handle_transmitted(first.len(), &mut self.pool);
        let (reply, keys) = respond(&ends.responder, body(&first)).expect("it is real");
        self.peer = Some(keys);
        let is_told = self.is_predictable && self.session.close_reason().is_none();
        let outcomes = self.receive(&reply);
        assert!(!is_told || matches!(outcomes[..], [Ok(Event::Opened)]), "{outcomes:?}");
    }

    /// Lets time pass, and does what the session asks for then.
    fn pass(&mut self, time: Duration) -> bool {
        self.now += time;
        let before = self.session.queued();
        match self.session.handle_timeout(self.now, &mut self.pool) {
            TimerAction::ArmAt(at) => assert!(at > self.now, "a timer in the past"),
            TimerAction::Disarm => {
                assert!(
                    self.session.is_open()
                        && self.endpoint.heartbeat.or(self.endpoint.idle_timeout).is_none()
                );
            }
            TimerAction::Close(reason) => {
                assert!(self.session.close_reason().is_none());
                self.close(reason);
            }
            TimerAction::Remove => return false,
        }
        if self.session.is_open() && self.session.queued() > before {
            let interval = self.endpoint.heartbeat.expect("only heartbeats are sent by time");
            assert!(self.heartbeat_at.is_none_or(|at| at + interval <= self.now), "two in one interval");
            self.heartbeat_at = Some(self.now);
        }
        true
    }

    /// Has the socket take bytes, and the peer read them.
    fn transmit(&mut self, count: usize) {
        let waiting = self.session.poll_transmit();
        let count = count.min(waiting.len());
        self.wire.extend_from_slice(&waiting[..count]);
        if count > 0 {
            self.session.handle_transmitted(count, &mut self.pool);
        }
        loop {
            let (kind, used) = match frame::split(&self.wire, u16::MAX.into()) {
                Split::Frame(kind, used) => (kind, used),
                Split::NeedMore(_) => return,
                Split::Bad(reason) => panic!("the session wrote no frame: {reason:?}"),
            };
            let mut frame: Vec<u8> = self.wire.drain(..used).collect();
            match (kind, &mut self.peer) {
                (Kind::Handshake, None) => {
                    // The answer to the peer, or the first message of a session that dials.
                    if let Some(initiator) = self.initiator.take() {
                        self.peer = initiator.finish(body(&frame)).ok();
                        assert!(self.peer.is_some() || !self.is_predictable);
                    }
                }
                (Kind::Refused, None) => assert_eq!(used, FRAME_HEADER + 1),
                (Kind::Sealed, Some(peer)) => {
                    let plain = peer.open.open(&mut frame).expect("the session's seal").to_vec();
                    self.read(&plain);
                }
                // An initiator from the input had its answer from the session.
                (Kind::Sealed, None) if !self.is_predictable => {}
                (kind, _) => panic!("the session wrote a frame of kind {kind:?}"),
            }
        }
    }

    fn read(&mut self, plain: &[u8]) {
        if self.owed.front().is_some_and(|owed| owed == plain) {
            self.owed.pop_front();
            return;
        }
        match Packet::decode(plain).expect("the session's packet") {
            Packet::Heartbeat(_) => {}
            Packet::Close(Close { reason, detail }) => {
                assert_eq!(self.session.close_reason(), Some(reason));
                assert!(reason.is_sent() && detail != Line::default());
                assert!(self.owed.is_empty() && self.session.queued() == 0, "the close comes last");
            }
            // The answer to a heartbeat whose outcome was not predicted.
            Packet::HeartbeatAnswer(_) if !self.is_predictable => {}
            other => panic!("{} was not sent, or not now", other.name()),
        }
    }
}
