//! The rooms against a naive model, in which each member has a list of the frames owed to it.

use std::collections::{BTreeSet, HashMap, VecDeque};

use proptest::prelude::*;

use super::*;
use crate::limits::{FRAME_HEADER, ROOM_HEADER, SEAL_TAG};
use crate::wire::frame::{self, Kind, Split};

const SESSIONS: u32 = 12;
const ROOMS: u32 = 3;

/// Small enough for members to fall behind: two segments of four long frames for messages, and one
/// for notices.
const LIMITS: LogLimits = LogLimits { segments: [2, 1], pool: 5 };

fn id(session: u32) -> SessionId {
    SessionId::new(0, session, 7)
}

/// Returns a frame whose bytes name its room, class and number.
fn make_frame(room: u32, class: Class, number: u32, length: usize) -> Vec<u8> {
    let body = (ROOM_HEADER + SEAL_TAG).max(length);
    let mut bytes = frame::header(Kind::Room, body).to_vec();
    bytes.extend_from_slice(&room.to_le_bytes());
    bytes.extend_from_slice(&(class as u32).to_le_bytes());
    bytes.extend_from_slice(&number.to_le_bytes());
    bytes.resize(FRAME_HEADER + body, number as u8);
    bytes
}

/// Reads what [`make_frame`] wrote.
fn parse_frame(frame: &[u8]) -> (u32, Class, u32) {
    let word = |at: usize| u32::from_le_bytes(frame[FRAME_HEADER + at..][..4].try_into().unwrap());
    let filler = &frame[FRAME_HEADER + ROOM_HEADER..];
    assert!(filler.iter().all(|byte| *byte == word(8) as u8), "a torn frame");
    (word(0), Class::ALL[word(4) as usize], word(8))
}

/// A session as its peer sees it, with the frames that the model says it must get.
#[derive(Default)]
struct Peer {
    /// Bytes that must go out before any frame of the rooms.
    outbox: Vec<u8>,
    /// The beginning of an incomplete frame.
    inbox: Vec<u8>,
    owed: HashMap<(u32, Class), VecDeque<u32>>,
    received: u64,
    is_blocked: bool,
}

impl Peer {
    fn receive(&mut self, bytes: &[u8]) {
        self.inbox.extend_from_slice(bytes);
        let mut at = 0;
        while let Split::Frame(kind, used) = frame::split(&self.inbox[at..], 20_000) {
            assert_eq!(kind, Kind::Room);
            let (room, class, number) = parse_frame(&self.inbox[at..at + used]);
            let owed = self.owed.get_mut(&(room, class)).expect("a frame of a room that owes some");
            assert_eq!(owed.pop_front(), Some(number), "every frame once and in order");
            self.received += 1;
            at += used;
        }
        self.inbox.drain(..at);
    }

    /// Returns room and class of the frames that count as delivered but have not arrived.
    fn on_its_way(&self) -> Vec<(u32, Class)> {
        let bytes = [&self.inbox[..], &self.outbox].concat();
        let mut frames = Vec::new();
        let mut at = 0;
        while let Split::Frame(_, used) = frame::split(&bytes[at..], 20_000) {
            let (room, class, _) = parse_frame(&bytes[at..at + used]);
            at += used;
            frames.push((room, class));
        }
        frames
    }

    /// Removes the frames of a gap, which is reported after the frames on their way.
    fn lose(&mut self, gap: Gap) {
        let on_its_way = self.on_its_way();
        let kept = on_its_way.iter().filter(|frame| **frame == (gap.room.0, gap.class)).count();
        let owed = self.owed.get_mut(&(gap.room.0, gap.class)).expect("a gap in a room that owes frames");
        // The frames that follow show whether the count was right.
        assert!(kept + gap.count as usize <= owed.len());
        owed.drain(kept..kept + gap.count as usize);
    }
}

struct World {
    rooms: Rooms,
    peers: Vec<Peer>,
    members: BTreeSet<(u32, u32)>,
    dirty: BTreeSet<u32>,
    numbers: HashMap<(u32, Class), u32>,
    /// Frames delivered to sessions that have left, and before the last [`World::settle`].
    delivered: u64,
    now: Instant,
}

impl World {
    fn new() -> Self {
        Self {
            rooms: Rooms::new(LIMITS),
            peers: (0..SESSIONS).map(|_| Peer::default()).collect(),
            members: BTreeSet::new(),
            dirty: BTreeSet::new(),
            numbers: HashMap::new(),
            delivered: 0,
            now: Instant::now(),
        }
    }

    /// Writes as the event loop does: gaps, then the outbox, then the rooms. The socket takes at
    /// most `limit` bytes.
    fn write(&mut self, session: u32, limit: usize) {
        let peer = &mut self.peers[session as usize];
        if peer.is_blocked {
            self.dirty.insert(session);
            return;
        }
        while let Some(gap) = self.rooms.take_gap(id(session)) {
            peer.lose(gap);
        }
        let mut stream = peer.outbox.clone();
        self.rooms.pending(id(session)).for_each(|piece| stream.extend_from_slice(piece));
        let taken = stream.len().min(limit);
        let of_own = taken.min(peer.outbox.len());
        peer.outbox.drain(..of_own);
        self.rooms.advance(id(session), taken - of_own, |torn| peer.outbox.extend_from_slice(torn));
        peer.receive(&stream[..taken]);
        if taken < stream.len() {
            peer.is_blocked = true;
            self.dirty.insert(session);
        }
    }

    fn unblock(&mut self, session: u32, limit: usize) {
        self.peers[session as usize].is_blocked = false;
        if self.dirty.remove(&session) {
            self.write(session, limit);
        }
    }

    fn append(&mut self, room: u32, class: Class, length: usize) {
        let number = self.numbers.entry((room, class)).or_default();
        *number += 1;
        let bytes = make_frame(room, class, *number, length);
        self.rooms.append(RoomId(room), class, &bytes, self.now);
        for (session, _) in self.members.iter().filter(|member| member.1 == room) {
            self.peers[*session as usize].owed.entry((room, class)).or_default().push_back(*number);
        }
        self.rooms.stamp_unstamped(self.now, |_| {});
    }

    fn leave(&mut self, session: u32, room: u32, limit: usize) {
        // Gaps that are not taken before the membership ends are never reported.
        let peer = &mut self.peers[session as usize];
        while let Some(gap) = self.rooms.take_gap(id(session)) {
            peer.lose(gap);
        }
        let before = peer.outbox.len();
        self.rooms.leave(id(session), RoomId(room), limit, |bytes| peer.outbox.extend_from_slice(bytes));
        assert!(peer.outbox.len() - before <= limit);
        let on_its_way = peer.on_its_way();
        for class in Class::ALL {
            let Some(owed) = peer.owed.get_mut(&(room, class)) else { continue };
            let kept = on_its_way.iter().filter(|frame| **frame == (room, class)).count();
            assert!(limit < usize::MAX || kept == owed.len());
            owed.truncate(kept);
        }
        if !peer.outbox.is_empty() {
            self.dirty.insert(session);
        }
        self.members.remove(&(session, room));
    }

    fn drain_pending_of(&mut self, session: u32, room: u32, limit: usize) {
        let peer = &mut self.peers[session as usize];
        let before = peer.outbox.len();
        self.rooms
            .drain_pending_of(id(session), RoomId(room), limit, |bytes| peer.outbox.extend_from_slice(bytes));
        assert!(peer.outbox.len() - before <= limit);
        self.dirty.insert(session);
    }

    fn leave_all(&mut self, session: u32) {
        self.rooms.leave_all(id(session));
        self.dirty.remove(&session);
        self.members.retain(|member| member.0 != session);
        let gone = std::mem::take(&mut self.peers[session as usize]);
        self.delivered += gone.received + gone.on_its_way().len() as u64;
    }

    /// Runs the loop until it would sleep, with no socket blocked, and checks that nothing is owed.
    fn settle(&mut self) {
        for session in 0..SESSIONS {
            self.unblock(session, usize::MAX);
        }
        while let Some(session) = self.rooms.next_visit() {
            self.write(session.slot() as u32, usize::MAX);
        }
        for (session, peer) in self.peers.iter().enumerate() {
            assert!(peer.owed.values().all(VecDeque::is_empty), "session {session} is owed {:?}", peer.owed);
            assert!(peer.inbox.is_empty() && peer.outbox.is_empty());
        }
        self.delivered += self.peers.iter_mut().map(|peer| std::mem::take(&mut peer.received)).sum::<u64>();
        assert_eq!(self.rooms.take_frames_delivered(), std::mem::take(&mut self.delivered));
        assert_eq!(self.rooms.pool.used(), 0, "members that have caught up keep no segment");
        assert!(!self.rooms.is_sweeping());
        for room in 0..ROOMS {
            let found: BTreeSet<_> = self.rooms.members(RoomId(room)).map(|id| id.slot() as u32).collect();
            let wanted: BTreeSet<_> = self.members.iter().filter(|m| m.1 == room).map(|m| m.0).collect();
            assert_eq!(found, wanted);
        }
    }
}

#[derive(Debug, Clone)]
enum Act {
    Join(u32, u32),
    /// Session, room, and most bytes of pending frames that are still delivered.
    Leave(u32, u32, usize),
    LeaveAll(u32),
    Append(u32, Class, usize),
    /// Number of visits, and most bytes that each socket takes.
    Visit(usize, usize),
    Block(u32),
    Unblock(u32, usize),
    /// Session, room, and most bytes of pending frames that go before a new key.
    Drain(u32, u32, usize),
    VisitAll(u32),
}

fn act() -> impl Strategy<Value = Act> {
    let session = 0..SESSIONS;
    let room = 0..ROOMS;
    let class = prop_oneof![4 => Just(Class::Chat), 1 => Just(Class::Notice)];
    let length = prop_oneof![3 => 0usize..300, 1 => 12_000usize..16_000];
    let limit = prop_oneof![1 => 0usize..40_000, 1 => Just(usize::MAX)];
    prop_oneof![
        4 => (session.clone(), room.clone()).prop_map(|(s, r)| Act::Join(s, r)),
        2 => (session.clone(), room.clone(), limit.clone()).prop_map(|(s, r, l)| Act::Leave(s, r, l)),
        1 => session.clone().prop_map(Act::LeaveAll),
        12 => (room.clone(), class, length).prop_map(|(r, c, l)| Act::Append(r, c, l)),
        8 => (0usize..20, limit.clone()).prop_map(|(v, l)| Act::Visit(v, l)),
        1 => session.clone().prop_map(Act::Block),
        2 => (session.clone(), limit).prop_map(|(s, l)| Act::Unblock(s, l)),
        2 => (session, room.clone(), 0usize..30_000).prop_map(|(s, r, l)| Act::Drain(s, r, l)),
        1 => room.prop_map(Act::VisitAll),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Every member gets every frame once, in order and never torn, or the exact number that it
    /// lost.
    #[test]
    fn every_member_gets_the_frames_owed_to_it(acts in prop::collection::vec(act(), 0..160)) {
        let mut world = World::new();
        for act in acts {
            match act {
                Act::Join(session, room) => {
                    world.rooms.join(id(session), RoomId(room));
                    world.members.insert((session, room));
                }
                Act::Leave(session, room, limit) => world.leave(session, room, limit),
                Act::LeaveAll(session) => world.leave_all(session),
                Act::Append(room, class, length) => world.append(room, class, length),
                Act::Visit(visits, limit) => {
                    for _ in 0..visits {
                        let Some(session) = world.rooms.next_visit() else { break };
                        world.write(session.slot() as u32, limit);
                    }
                }
                Act::Block(session) => world.peers[session as usize].is_blocked = true,
                Act::Unblock(session, limit) => world.unblock(session, limit),
                Act::Drain(session, room, limit) => world.drain_pending_of(session, room, limit),
                Act::VisitAll(room) => world.rooms.visit_all(RoomId(room)),
            }
            prop_assert!(world.rooms.pool.used() <= LIMITS.pool);
        }
        world.settle();
    }

    /// Over many rounds every member of a room is last about equally often.
    #[test]
    fn no_member_is_always_last(count in 3u32..200) {
        let mut rooms = Rooms::new(LIMITS);
        (0..count).for_each(|session| rooms.join(id(session), RoomId(0)));
        let mut last = HashMap::new();
        for number in 0..count * 4 {
            rooms.append(RoomId(0), Class::Chat, &make_frame(0, Class::Chat, number, 0), Instant::now());
            let mut at = None;
            while let Some(session) = rooms.next_visit() {
                let pending: usize = rooms.pending(session).map(<[u8]>::len).sum();
                rooms.advance(session, pending, |_| panic!("no frame is torn"));
                at = Some(session);
            }
            *last.entry(at).or_insert(0) += 1;
        }
        prop_assert!(last.values().all(|times| *times <= 40), "{last:?}");
    }
}

#[test]
fn a_message_joins_the_round_that_is_under_way() {
    let mut rooms = Rooms::new(LIMITS);
    (0..10).for_each(|session| rooms.join(id(session), RoomId(0)));
    let append = |rooms: &mut Rooms, number| {
        rooms.append(RoomId(0), Class::Chat, &make_frame(0, Class::Chat, number, 0), Instant::now());
    };
    let mut writes = 0;
    append(&mut rooms, 1);
    let mut visit = |rooms: &mut Rooms| {
        let Some(session) = rooms.next_visit() else { return false };
        let pending: usize = rooms.pending(session).map(<[u8]>::len).sum();
        rooms.advance(session, pending, |_| {});
        writes += 1;
        true
    };
    for _ in 0..5 {
        assert!(visit(&mut rooms));
    }
    append(&mut rooms, 2);
    while visit(&mut rooms) {}
    // Five members got both frames in one write, five got one frame in each of two writes.
    assert_eq!(writes, 15);
}

#[test]
fn a_member_moved_behind_the_sweep_is_visited_next() {
    let mut rooms = Rooms::new(LIMITS);
    (0..4).for_each(|session| rooms.join(id(session), RoomId(0)));
    rooms.append(RoomId(0), Class::Chat, &make_frame(0, Class::Chat, 1, 0), Instant::now());
    let write = |rooms: &mut Rooms, session| {
        let pending: usize = rooms.pending(session).map(<[u8]>::len).sum();
        rooms.advance(session, pending, |_| panic!("no frame is torn"));
        pending
    };
    let first = rooms.next_visit().unwrap();
    write(&mut rooms, first);
    rooms.leave(first, RoomId(0), usize::MAX, |_| panic!("it had caught up"));
    // The last member moved to the place of the removed one, unless it was the removed one.
    let moved = (first != id(3)).then(|| id(3));
    let mut visited = Vec::new();
    while let Some(session) = rooms.next_visit() {
        if write(&mut rooms, session) > 0 {
            visited.push(session);
        }
    }
    assert!(moved.is_none_or(|moved| visited[0] == moved), "{first} left, visited {visited:?}");
    visited.sort_unstable();
    assert!(visited.into_iter().eq((0..4).map(id).filter(|session| *session != first)));
}

#[test]
fn an_exhausted_pool_evicts_the_oldest_segment() {
    let mut rooms = Rooms::new(LIMITS);
    let append = |rooms: &mut Rooms, room, number| {
        rooms.append(RoomId(room), Class::Chat, &make_frame(room, Class::Chat, number, 0), Instant::now());
    };
    for room in 0..LIMITS.pool as u32 {
        rooms.join(id(1), RoomId(room));
        append(&mut rooms, room, 1);
    }
    assert_eq!(rooms.pool.used(), LIMITS.pool);
    rooms.join(id(2), RoomId(100));
    append(&mut rooms, 100, 1);
    append(&mut rooms, 100, 2);
    assert_eq!(rooms.take_gap(id(2)), None);
    assert_eq!(
        rooms.pending(id(2)).map(<[u8]>::len).sum::<usize>(),
        2 * make_frame(0, Class::Chat, 0, 0).len()
    );
    // The segment came from the log that had held its own longest.
    assert_eq!(rooms.take_gap(id(1)), Some(Gap { room: RoomId(0), class: Class::Chat, count: 1 }));
    assert_eq!(rooms.take_gap(id(1)), None);
    assert_eq!(rooms.pool.used(), LIMITS.pool);
}
