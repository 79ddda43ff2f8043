use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::ops::Bound;

use proptest::prelude::*;
use throng_core::content::Effect;
use throng_core::wire::packets::UserList;
use throng_core::wire::{Packet, Text};

use super::*;

const ROOM: RoomId = RoomId(3);
const INTERVAL: Duration = Duration::from_millis(500);
/// Users in a page of these tests, so that a few users take several pages.
const PAGE: usize = 3;

fn user(id: u32) -> User {
    User { id, name: Text::truncated(&format!("user {id}")) }
}

/// A room, its notices and its clock.
struct Room {
    notices: Notices,
    present: BTreeMap<u32, User>,
    version: u64,
    now: Instant,
    effects: Effects,
}

impl Room {
    fn new(immediate_max: u32) -> Self {
        let notices = Notices::new(immediate_max, INTERVAL);
        let effects = Effects::default();
        Self { notices, present: BTreeMap::new(), version: 0, now: Instant::now(), effects }
    }

    fn list_state(&self) -> ListState {
        ListState { version: self.version, head_count: self.present.len() as u32 }
    }

    fn enter(&mut self, id: u32) {
        if self.present.insert(id, user(id)).is_none() {
            self.version += 1;
            let list_state = self.list_state();
            self.notices.entered(ROOM, &user(id), list_state, self.now, &mut self.effects);
        }
    }

    fn leave(&mut self, id: u32) {
        if self.present.remove(&id).is_some() {
            self.version += 1;
            let list_state = self.list_state();
            self.notices.left(ROOM, id, list_state, self.now, &mut self.effects);
        }
    }

    fn pass(&mut self, time: Duration) -> Option<Duration> {
        self.now += time;
        let next = self.notices.tick(self.now, &mut self.effects);
        next.map(|next| next - self.now)
    }

    /// Returns the notices sent since the last call.
    fn told(&mut self) -> Vec<UsersChanged> {
        let told = self.effects.drain().map(|effect| match effect {
            Effect::Broadcast(ROOM, Class::Notice, Packet::UsersChanged(notice)) => notice,
            _ => panic!("not a notice"),
        });
        told.collect()
    }

    fn page(&self, after: u32) -> UserList {
        let mut rest =
            self.present.range((Bound::Excluded(after), Bound::Unbounded)).map(|(_, user)| user.clone());
        let users: Vec<User> = rest.by_ref().take(PAGE).collect();
        let ListState { version, head_count } = self.list_state();
        let more = rest.next().is_some();
        let users = List::new(users).unwrap();
        UserList { channel: ROOM.0, version, head_count, users, more }
    }
}

fn ids(notice: &UsersChanged) -> (Vec<u32>, Vec<u32>) {
    (notice.entered.iter().map(|user| user.id).collect(), notice.left.to_vec())
}

#[test]
fn a_small_room_announces_each_change_at_once() {
    let mut room = Room::new(4);
    for id in 1..=4 {
        room.enter(id);
    }
    room.leave(2);
    let told = room.told();
    // The first user had no audience.
    let wanted =
        [(1, 2, vec![2], vec![]), (2, 3, vec![3], vec![]), (3, 4, vec![4], vec![]), (4, 3, vec![], vec![2])];
    assert_eq!(told.len(), wanted.len());
    for (notice, (since, head_count, entered, left)) in told.iter().zip(wanted) {
        assert_eq!((notice.since, notice.version), (since, since + 1));
        assert_eq!((notice.head_count, notice.complete, ids(notice)), (head_count, true, (entered, left)));
    }
    assert_eq!(room.pass(INTERVAL), None);
}

#[test]
fn a_large_room_coalesces_changes_and_an_idle_room_costs_nothing() {
    let mut room = Room::new(2);
    for id in 1..=10 {
        room.enter(id);
    }
    room.leave(9);
    assert_eq!(room.told().len(), 1, "the second user was announced at once");
    assert_eq!(room.pass(INTERVAL / 2), Some(INTERVAL / 2));
    room.leave(1);
    assert!(room.told().is_empty());
    assert_eq!(room.pass(INTERVAL / 2), None);
    let told = room.told();
    assert_eq!(told.len(), 1);
    assert_eq!((told[0].since, told[0].version, told[0].head_count), (2, 12, 8));
    assert_eq!(ids(&told[0]), (vec![3, 4, 5, 6, 7, 8, 10], vec![9, 1]));
    assert!(room.notices.pending.is_empty() && room.notices.schedule.is_empty());

    // The next change sends what is pending when a room has become small.
    room.leave(2);
    for id in 3..=8 {
        room.leave(id);
    }
    let told = room.told();
    assert_eq!((told[0].since, told[0].version), (12, 18));
    assert_eq!(told.len(), 2);
    assert_eq!(room.pass(INTERVAL), None);
    // The last user leaves no audience.
    room.leave(10);
    assert!(room.told().is_empty());
}

#[test]
fn an_incomplete_notice_names_nobody_and_counts_every_change() {
    let mut room = Room::new(0);
    room.enter(1);
    let burst = 2..ENTERED_MAX as u32 + 12;
    for id in burst.clone() {
        room.enter(id);
    }
    room.pass(INTERVAL);
    let notice = room.told().remove(0);
    assert_eq!((notice.entered.len(), notice.complete), (0, false));
    assert_eq!(
        (notice.since, notice.version, notice.head_count),
        (1, u64::from(burst.end) - 1, burst.end - 1)
    );
    room.enter(5000);
    room.pass(INTERVAL);
    assert!(room.told()[0].complete, "the next notice is incomplete too");
    for id in 10_000..=10_000 + LEFT_MAX as u32 {
        room.enter(id);
        room.leave(id);
    }
    room.pass(INTERVAL);
    let notice = room.told().remove(0);
    assert_eq!((notice.entered.len(), notice.left.len(), notice.complete), (0, 0, false));
}

/// A client that follows docs/protocol.md: pages fill its set, notices change it.
#[derive(Default)]
struct Client {
    users: BTreeSet<u32>,
    /// The version up to which it knows every change; `None` before the first page.
    version: Option<u64>,
    /// The id after which it has requested a page, if it has.
    asks: Option<u32>,
    /// True if it must fetch all pages again, once it has the requested ones.
    is_lost: bool,
    /// Packets on their way, with the time at which each was sent.
    pages: VecDeque<(usize, u32, UserList)>,
    notices: VecDeque<(usize, UsersChanged)>,
}

impl Client {
    fn fetch(&mut self) {
        self.asks = Some(0);
        self.version = None;
        self.is_lost = false;
        self.users.clear();
    }

    fn page(&mut self, after: u32, page: &UserList) {
        // The first page of a list is the oldest; notices tell what changed since.
        self.version.get_or_insert(page.version);
        let last = page.users.last().map_or(u32::MAX, |user| user.id);
        let end = if page.more { last } else { u32::MAX };
        self.users.retain(|id| *id <= after || *id > end);
        self.users.extend(page.users.iter().map(|user| user.id));
        self.asks = page.more.then_some(last);
        if self.asks.is_none() && self.is_lost {
            self.fetch();
        }
    }

    fn notice(&mut self, notice: &UsersChanged) {
        let Some(version) = self.version else { return };
        // A notice older than the oldest page has nothing new and may be outdated.
        if notice.version <= version {
            return;
        }
        self.is_lost |= notice.since > version || !notice.complete;
        self.users.extend(notice.entered.iter().map(|user| user.id));
        self.users.retain(|id| !notice.left.contains(id));
        self.version = Some(notice.version);
        if self.is_lost && self.asks.is_none() && self.pages.is_empty() {
            self.fetch();
        }
    }

    /// Receives the next packet. A page may overtake notices that were sent before it; a notice
    /// never overtakes a page.
    fn receive(&mut self, next: Next) -> bool {
        let page_sent = self.pages.front().map(|page| page.0);
        let notice_sent = self.notices.front().map(|notice| notice.0);
        let is_page = match (page_sent, notice_sent) {
            (None, None) => return false,
            (Some(page), Some(notice)) => next == Next::Page || page <= notice,
            (page, _) => page.is_some(),
        };
        if is_page {
            if let Some((_, after, page)) = self.pages.pop_front() {
                self.page(after, &page);
            }
        } else if let Some((_, notice)) = self.notices.pop_front() {
            self.notice(&notice);
        }
        true
    }
}

/// The packet that arrives next, where both a page and a notice are on their way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Next {
    Page,
    Oldest,
}

#[derive(Debug, Clone)]
enum Step {
    Enter(u32),
    Leave(u32),
    Pass(u64),
    /// The client joins, or the server answers its request for a page.
    Serve(usize),
    Receive(usize, Next),
    /// A notice for a slow client is dropped.
    Shed(usize),
}

const CLIENTS: usize = 3;

fn step() -> impl Strategy<Value = Step> {
    let client = 0..CLIENTS;
    prop_oneof![
        4 => (1..40u32).prop_map(Step::Enter),
        3 => (1..40u32).prop_map(Step::Leave),
        2 => (1..300u64).prop_map(Step::Pass),
        4 => client.clone().prop_map(Step::Serve),
        6 => (client.clone(), prop::sample::select(&[Next::Page, Next::Oldest]))
            .prop_map(|(client, next)| Step::Receive(client, next)),
        1 => client.prop_map(Step::Shed),
    ]
}

/// Runs the steps, then lets all packets arrive.
fn run(immediate_max: u32, burst: u32, steps: &[Step]) -> (Room, Vec<Client>) {
    let mut room = Room::new(immediate_max);
    let mut clients: Vec<Client> = (0..CLIENTS).map(|_| Client::default()).collect();
    let mut joined = [false; CLIENTS];
    let mut sent = 0;
    // One user stays, so that the room is never empty. A burst of users may enter at once, more
    // than a notice names.
    room.enter(1000);
    let serve = |room: &Room, client: &mut Client, sent: usize| {
        if let Some(after) = client.asks.take() {
            client.pages.push_back((sent, after, room.page(after)));
        }
    };
    for (number, step) in steps.iter().enumerate() {
        sent += 1;
        match step {
            Step::Enter(id) => room.enter(*id),
            Step::Leave(id) => room.leave(*id),
            Step::Pass(ms) => {
                room.pass(Duration::from_millis(*ms));
            }
            Step::Serve(at) if !joined[*at] => {
                joined[*at] = true;
                clients[*at].fetch();
                serve(&room, &mut clients[*at], sent);
            }
            Step::Serve(at) => serve(&room, &mut clients[*at], sent),
            Step::Receive(at, next) => {
                clients[*at].receive(*next);
            }
            Step::Shed(at) => {
                clients[*at].notices.pop_front();
            }
        }
        if number == steps.len() / 2 {
            (2000..2000 + burst).for_each(|id| room.enter(id));
        }
        for notice in room.told() {
            for (client, _) in clients.iter_mut().zip(joined).filter(|(_, joined)| *joined) {
                client.notices.push_back((sent, notice.clone()));
            }
        }
    }
    room.pass(INTERVAL);
    // A client that lost notices learns it from the next one.
    room.enter(3000);
    room.pass(INTERVAL);
    for notice in room.told() {
        for (client, _) in clients.iter_mut().zip(joined).filter(|(_, joined)| *joined) {
            client.notices.push_back((sent + 1, notice.clone()));
        }
    }
    for client in &mut clients {
        loop {
            sent += 1;
            serve(&room, client, sent + 1);
            if !client.receive(Next::Oldest) && client.asks.is_none() {
                break;
            }
        }
    }
    let clients = clients.into_iter().zip(joined).filter(|(_, joined)| *joined).map(|(client, _)| client);
    (room, clients.collect())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 150, ..ProptestConfig::default() })]

    #[test]
    fn a_client_that_follows_the_protocol_has_the_list(
        immediate_max in prop_oneof![Just(0), 1..60u32],
        burst in prop_oneof![9 => Just(0u32), 1 => 130..150u32],
        steps in prop::collection::vec(step(), 1..250),
    ) {
        let (room, clients) = run(immediate_max, burst, &steps);
        let wanted: BTreeSet<u32> = room.present.keys().copied().collect();
        for client in clients {
            prop_assert_eq!(&client.users, &wanted);
            prop_assert_eq!(client.version, Some(room.version));
        }
        prop_assert!(room.notices.pending.is_empty() && room.notices.schedule.is_empty());
    }

    #[test]
    fn notices_make_a_chain_with_exact_head_counts(
        immediate_max in 0..30u32,
        steps in prop::collection::vec(step(), 1..250),
    ) {
        let mut room = Room::new(immediate_max);
        room.enter(1000);
        // The set of a member that was there from the start and knows notices only.
        let mut known = BTreeSet::from([1000]);
        let mut version = 1;
        let mut last = None;
        for step in steps {
            match step {
                Step::Enter(id) => room.enter(id),
                Step::Leave(id) => room.leave(id),
                Step::Pass(ms) => {
                    room.pass(Duration::from_millis(ms));
                }
                _ => {}
            }
            for notice in room.told() {
                prop_assert_eq!(notice.since, version);
                prop_assert!(notice.version > notice.since && notice.complete);
                version = notice.version;
                let (entered, left) = ids(&notice);
                prop_assert!(entered.iter().all(|id| !left.contains(id)));
                known.extend(entered);
                known.retain(|id| !left.contains(id));
                prop_assert_eq!(known.len() as u32, notice.head_count);
                if notice.head_count > immediate_max {
                    prop_assert!(last.is_none_or(|last| room.now - last >= INTERVAL));
                }
                last = Some(room.now);
            }
        }
        room.pass(INTERVAL);
        for notice in room.told() {
            let (entered, left) = ids(&notice);
            known.extend(entered);
            known.retain(|id| !left.contains(id));
        }
        prop_assert!(known.iter().eq(room.present.keys()));
    }
}
