//! The rooms against a naive model: everybody has a list of what is owed to them.

use std::collections::{BTreeSet, HashMap, VecDeque};

use proptest::prelude::*;

use super::*;
use crate::limits::{FRAME_HEADER, ROOM_HEADER, SEAL_TAG};
use crate::wire::frame::{self, Kind, Split};

const SESSIONS: u32 = 12;
const ROOMS: u32 = 3;

/// Small enough that members fall behind: two segments of four long frames, and one.
const LIMITS: LogLimits = LogLimits { segments: [2, 1], pool: 5 };

fn id(session: u32) -> SessionId {
    SessionId::new(0, session, 7)
}

/// A frame that says what it is.
fn make(room: u32, class: Class, number: u32, length: usize) -> Vec<u8> {
    let body = (ROOM_HEADER + SEAL_TAG).max(length);
    let mut bytes = frame::header(Kind::Room, body).to_vec();
    bytes.extend_from_slice(&room.to_le_bytes());
    bytes.extend_from_slice(&(class as u32).to_le_bytes());
    bytes.extend_from_slice(&number.to_le_bytes());
    bytes.resize(FRAME_HEADER + body, number as u8);
    bytes
}

/// What a frame says it is.
fn what(frame: &[u8]) -> (u32, Class, u32) {
    let word = |at: usize| u32::from_le_bytes(frame[FRAME_HEADER + at..][..4].try_into().unwrap());
    let filler = &frame[FRAME_HEADER + ROOM_HEADER..];
    assert!(filler.iter().all(|byte| *byte == word(8) as u8), "a torn frame");
    (word(0), Class::ALL[word(4) as usize], word(8))
}

/// A session as its peer sees it, and what the model says it must get.
#[derive(Default)]
struct Peer {
    /// What must go out before anything from the rooms.
    outbox: Vec<u8>,
    /// Bytes of frames that have not come whole.
    inbox: Vec<u8>,
    owed: HashMap<(u32, Class), VecDeque<u32>>,
    /// Frames that came.
    received: u64,
    is_blocked: bool,
}

impl Peer {
    fn receive(&mut self, bytes: &[u8]) {
        self.inbox.extend_from_slice(bytes);
        let mut at = 0;
        while let Split::Frame(kind, used) = frame::split(&self.inbox[at..], 20_000) {
            assert_eq!(kind, Kind::Room);
            let (room, class, number) = what(&self.inbox[at..at + used]);
            let owed = self.owed.get_mut(&(room, class)).expect("owed something from there");
            assert_eq!(owed.pop_front(), Some(number), "in order, once, nothing left out");
            self.received += 1;
            at += used;
        }
        self.inbox.drain(..at);
    }
}

impl Peer {
    /// The frames that it was given and that have not come: of which rooms and classes.
    fn on_its_way(&self) -> Vec<(u32, Class)> {
        let bytes = [&self.inbox[..], &self.outbox].concat();
        let (mut frames, mut at) = (Vec::new(), 0);
        while let Split::Frame(_, used) = frame::split(&bytes[at..], 20_000) {
            let (room, class, _) = what(&bytes[at..at + used]);
            at += used;
            frames.push((room, class));
        }
        frames
    }

    /// It is told of a gap, which comes after what is on its way.
    fn lose(&mut self, gap: Gap) {
        let on_its_way = self.on_its_way();
        let kept = on_its_way.iter().filter(|frame| **frame == (gap.room.0, gap.class)).count();
        let owed = self.owed.get_mut(&(gap.room.0, gap.class)).expect("owed something there");
        // What follows shows whether that was the right number.
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
    /// Frames that sessions were given which are over.
    given: u64,
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
            given: 0,
            now: Instant::now(),
        }
    }

    /// As the loop writes: gaps first, then its own, then the rooms'; the socket takes at most `limit` bytes.
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
        let bytes = make(room, class, *number, length);
        self.rooms.append(RoomId(room), class, &bytes, self.now);
        for (session, _) in self.members.iter().filter(|member| member.1 == room) {
            self.peers[*session as usize].owed.entry((room, class)).or_default().push_back(*number);
        }
        self.rooms.stamp_fresh(self.now, |_| {});
    }

    fn leave(&mut self, session: u32, room: u32, limit: usize) {
        // What is lost when somebody leaves is forgotten with the membership.
        let peer = &mut self.peers[session as usize];
        while let Some(gap) = self.rooms.take_gap(id(session)) {
            peer.lose(gap);
        }
        let before = peer.outbox.len();
        let moved =
            self.rooms.leave(id(session), RoomId(room), limit, |bytes| peer.outbox.extend_from_slice(bytes));
        assert!(peer.outbox.len() - before <= limit);
        let given = peer.on_its_way();
        for class in Class::ALL {
            let Some(owed) = peer.owed.get_mut(&(room, class)) else { continue };
            let given = given.iter().filter(|frame| **frame == (room, class)).count();
            assert!(limit < usize::MAX || given == owed.len());
            owed.truncate(given);
        }
        if !peer.outbox.is_empty() {
            self.dirty.insert(session);
        }
        self.dirty.extend(moved.map(|moved| moved.slot() as u32));
        self.members.remove(&(session, room));
    }

    fn settle_room(&mut self, session: u32, room: u32, limit: usize) {
        let peer = &mut self.peers[session as usize];
        let before = peer.outbox.len();
        self.rooms
            .settle_room(id(session), RoomId(room), limit, |bytes| peer.outbox.extend_from_slice(bytes));
        assert!(peer.outbox.len() - before <= limit);
        self.dirty.insert(session);
    }

    fn leave_all(&mut self, session: u32) {
        let mut moved = Vec::new();
        self.rooms.leave_all(id(session), |id| moved.push(id.slot() as u32));
        self.dirty.extend(moved);
        self.dirty.remove(&session);
        self.members.retain(|member| member.0 != session);
        let gone = std::mem::take(&mut self.peers[session as usize]);
        self.given += gone.received + gone.on_its_way().len() as u64;
    }

    /// What the loop does until it can sleep; nobody is blocked any more.
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
        self.given += self.peers.iter_mut().map(|peer| std::mem::take(&mut peer.received)).sum::<u64>();
        assert_eq!(self.rooms.take_given(), std::mem::take(&mut self.given), "each for each, and none twice");
        assert_eq!(self.rooms.pool.used(), 0, "whoever has caught up keeps no segment");
        assert!(self.rooms.sweeping.is_empty());
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
    /// With so much at most of what it has not had.
    Leave(u32, u32, usize),
    LeaveAll(u32),
    Append(u32, Class, usize),
    /// The loop visits so many members, whose sockets take so much.
    Visit(usize, usize),
    Block(u32),
    Unblock(u32, usize),
    /// As when the key changes: what is pending goes before it, up to a limit.
    Settle(u32, u32, usize),
    VisitAll(u32),
}

fn act() -> impl Strategy<Value = Act> {
    let (session, session2, room) = (0..SESSIONS, 0..SESSIONS, 0..ROOMS);
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
        2 => (session, limit).prop_map(|(s, l)| Act::Unblock(s, l)),
        2 => (session2, room.clone(), 0usize..30_000).prop_map(|(s, r, l)| Act::Settle(s, r, l)),
        1 => room.prop_map(Act::VisitAll),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Every member gets every frame once, in order and never torn, or is told exactly how many it lost.
    #[test]
    fn everybody_gets_what_is_owed(acts in prop::collection::vec(act(), 0..160)) {
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
                Act::Settle(session, room, limit) => world.settle_room(session, room, limit),
                Act::VisitAll(room) => world.rooms.visit_all(RoomId(room)),
            }
            prop_assert!(world.rooms.pool.used() <= LIMITS.pool);
        }
        world.settle();
    }

    /// However many are in a room, over many rounds everybody is last about equally often.
    #[test]
    fn nobody_is_always_last(count in 3u32..200) {
        let mut rooms = Rooms::new(LIMITS);
        (0..count).for_each(|session| rooms.join(id(session), RoomId(0)));
        let mut last = HashMap::new();
        for number in 0..count * 4 {
            rooms.append(RoomId(0), Class::Chat, &make(0, Class::Chat, number, 0), Instant::now());
            let mut at = None;
            while let Some(session) = rooms.next_visit() {
                let pending: usize = rooms.pending(session).map(<[u8]>::len).sum();
                rooms.advance(session, pending, |_| panic!("nothing is torn"));
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
        rooms.append(RoomId(0), Class::Chat, &make(0, Class::Chat, number, 0), Instant::now());
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
    // Five got both in one write, five got the first one and then the second one.
    assert_eq!(writes, 15);
}

#[test]
fn a_member_who_moves_into_a_place_that_is_passed_is_visited_out_of_turn() {
    let mut rooms = Rooms::new(LIMITS);
    (0..4).for_each(|session| rooms.join(id(session), RoomId(0)));
    rooms.append(RoomId(0), Class::Chat, &make(0, Class::Chat, 1, 0), Instant::now());
    let first = rooms.next_visit().unwrap();
    let pending: usize = rooms.pending(first).map(<[u8]>::len).sum();
    rooms.advance(first, pending, |_| {});
    let moved = rooms.leave(first, RoomId(0), usize::MAX, |_| panic!("it had everything"));
    // Whoever was last in the row has its place now.
    let last = if first == id(3) { None } else { Some(id(3)) };
    assert_eq!(moved, last);
}

#[test]
fn a_pool_that_the_deaf_have_used_up_still_serves_those_who_read() {
    let mut rooms = Rooms::new(LIMITS);
    let append = |rooms: &mut Rooms, room, number| {
        rooms.append(RoomId(room), Class::Chat, &make(room, Class::Chat, number, 0), Instant::now());
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
    assert_eq!(rooms.pending(id(2)).map(<[u8]>::len).sum::<usize>(), 2 * make(0, Class::Chat, 0, 0).len());
    // It went at the cost of what was waited for longest.
    assert_eq!(rooms.take_gap(id(1)), Some(Gap { room: RoomId(0), class: Class::Chat, count: 1 }));
    assert_eq!(rooms.take_gap(id(1)), None);
    assert_eq!(rooms.pool.used(), LIMITS.pool);
}
