//! The user list of a room as a client keeps it, exact, from pages and notices, by the rules of
//! docs/protocol.md ("User lists"). For players' clients and the load harness.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use crate::limits::LIST_PAGES_MAX;
use crate::wire::packets::{Name, User, UserList, UsersChanged};

/// Change of a list that [`Roster::handle_page`] or [`Roster::handle_notice`] found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// A user has entered.
    Entered(User),
    /// A user has left.
    Left(User),
}

/// Owner of a list: decides what the list keeps of a user, and learns of each change.
pub trait Keeper {
    /// The part of a user that the list keeps.
    type Kept;
    /// Takes note of a user that has entered.
    fn entered(&mut self, user: &User) -> Self::Kept;
    /// Takes note of a user that has left, with what was kept of it.
    fn left(&mut self, id: u32, kept: Self::Kept);
}

/// Keeps the names, and collects the changes.
impl Keeper for Vec<Change> {
    type Kept = Name;

    fn entered(&mut self, user: &User) -> Name {
        self.push(Change::Entered(user.clone()));
        user.name.clone()
    }

    fn left(&mut self, id: u32, name: Name) {
        self.push(Change::Left(User { id, name }));
    }
}

/// Number of pages that are on their way to a client.
#[derive(Debug, Clone, Copy, Default)]
pub struct Pager(u8);

impl Pager {
    /// Returns a pager that awaits the first page, which the server sends by itself.
    pub fn new() -> Self {
        Self(1)
    }

    /// Returns a pager that awaits the answer to a request for as many pages as there may be.
    pub fn requested() -> Self {
        Self(LIST_PAGES_MAX)
    }

    /// Counts a page that ends with the user `last` and is not the last one.
    pub fn handle_page(&mut self, last: u32) -> Step {
        self.0 = self.0.saturating_sub(1);
        if self.0 > 0 {
            return Step::Follows;
        }
        *self = Self::requested();
        Step::Request(last)
    }
}

/// Step that a list needs next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Nothing; notices may be on their way.
    Wait,
    /// Nothing: the next page is on its way.
    Follows,
    /// A UserListRequest for [`LIST_PAGES_MAX`] pages after this user id.
    Request(u32),
    /// A UserListRequest from the start, when convenient: something is missing. In a crowd that
    /// enters all at once, a pause of random length saves many vain requests.
    StartOver,
}

/// Users of a room by their ids, each with its name or with what else a [`Keeper`] keeps.
///
/// ```
/// use throng_core::roster::{Roster, Step};
/// use throng_core::wire::packets::{User, UserList, UsersChanged};
/// use throng_core::wire::{Line, List};
///
/// let user = |id| User { id, name: Line::truncated(&format!("User {id}")) };
/// let users = List::new(vec![user(1), user(2)]).unwrap();
/// let page = UserList { channel: 0, version: 2, head_count: 2, more: false, users };
/// let mut roster = Roster::new();
/// assert_eq!(roster.handle_page(&page, &mut Vec::new()), Step::Wait);
/// assert!(roster.is_complete());
///
/// let (entered, left) = (List::new(vec![user(3)]).unwrap(), List::default());
/// let (since, version) = (2, 3);
/// let notice =
///     UsersChanged { channel: 0, since, version, head_count: 3, complete: true, entered, left };
/// let mut changes = Vec::new();
/// roster.handle_notice(&notice, &mut changes);
/// assert_eq!((changes.len(), roster.len()), (1, 3));
/// ```
#[derive(Debug)]
pub struct Roster<T = Name> {
    users: BTreeMap<u32, T>,
    version: u64,
    /// The highest version among the pages of this pass.
    pages_version: u64,
    must_restart: bool,
    /// Last user id of the page before, while a page is awaited.
    after: Option<u32>,
    pager: Pager,
    /// True after the first whole pass.
    was_complete: bool,
    /// Lists of another length than the server said.
    mismatches: u64,
}

impl<T> Roster<T> {
    /// Returns an empty list that awaits the first page, which the server sends by itself.
    #[expect(clippy::new_without_default, reason = "an empty list is not a usual value of it")]
    pub fn new() -> Self {
        Self {
            users: BTreeMap::new(),
            version: 0,
            pages_version: 0,
            must_restart: false,
            after: Some(0),
            pager: Pager::new(),
            was_complete: false,
            mismatches: 0,
        }
    }

    /// Returns the number of users.
    pub fn len(&self) -> usize {
        self.users.len()
    }

    /// Returns true if there are no users.
    pub fn is_empty(&self) -> bool {
        self.users.is_empty()
    }

    /// Iterates over ids and what is kept, by ascending id.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (u32, &T)> {
        self.users.iter().map(|(id, kept)| (*id, kept))
    }

    /// Returns the version that the list has, as far as it is known.
    pub fn version(&self) -> u64 {
        self.version
    }

    /// Returns the highest version of which the list has seen a part.
    pub fn newest_version(&self) -> u64 {
        self.version.max(self.pages_version)
    }

    /// Returns true while a page is awaited.
    pub fn is_waiting(&self) -> bool {
        self.after.is_some()
    }

    /// Returns the number of mismatches since the last call: an up-to-date list had another length
    /// than the server's head count.
    pub fn take_mismatches(&mut self) -> u64 {
        std::mem::take(&mut self.mismatches)
    }

    /// Returns true if all pages have arrived and nothing is known to be missing.
    pub fn is_complete(&self) -> bool {
        self.was_complete && self.after.is_none() && !self.must_restart
    }

    /// Returns true if the list has been complete at least once.
    pub fn was_complete(&self) -> bool {
        self.was_complete
    }

    /// Notes that the list is requested from the start.
    pub fn start_over(&mut self) {
        (self.after, self.pager) = (Some(0), Pager::requested());
    }

    /// Applies a page.
    pub fn handle_page(&mut self, page: &UserList, keeper: &mut impl Keeper<Kept = T>) -> Step {
        // An answer that nothing asked for.
        let Some(after) = self.after else { return Step::Wait };
        let last = page.users.last().filter(|_| page.more).map_or(u32::MAX, |user| user.id);
        if after < last {
            let named = |id: &u32| page.users.binary_search_by_key(id, |user| user.id).is_ok();
            let gone: Vec<u32> =
                self.users.range(after + 1..=last).map(|(id, _)| *id).filter(|id| !named(id)).collect();
            for id in gone {
                self.remove(id, keeper);
            }
        }
        page.users.iter().for_each(|user| self.insert(user, keeper));
        if after == 0 {
            (self.version, self.pages_version, self.must_restart) = (page.version, page.version, false);
        }
        self.pages_version = self.pages_version.max(page.version);
        if page.more {
            self.after = Some(last);
            return self.pager.handle_page(last);
        }
        self.after = None;
        self.was_complete = true;
        self.check_length(page.version, page.head_count)
    }

    /// Applies a notice.
    pub fn handle_notice(&mut self, notice: &UsersChanged, keeper: &mut impl Keeper<Kept = T>) -> Step {
        if notice.version <= self.version {
            return Step::Wait;
        }
        self.must_restart |= notice.since > self.version || !notice.complete;
        notice.entered.iter().for_each(|user| self.insert(user, keeper));
        notice.left.iter().for_each(|id| self.remove(*id, keeper));
        self.version = notice.version;
        self.check_length(notice.version, notice.head_count)
    }

    /// A complete list that has reached the versions of all its pages is as long as the server says
    /// at that version.
    fn check_length(&mut self, version: u64, head_count: u32) -> Step {
        if self.after.is_some() {
            return Step::Wait;
        }
        let is_current = version == self.version && version >= self.pages_version;
        if !self.must_restart && is_current && self.users.len() != head_count as usize {
            (self.must_restart, self.mismatches) = (true, self.mismatches + 1);
        }
        if self.must_restart { Step::StartOver } else { Step::Wait }
    }

    fn insert(&mut self, user: &User, keeper: &mut impl Keeper<Kept = T>) {
        // A user keeps its name as long as it keeps its id, and no id comes twice.
        if let Entry::Vacant(entry) = self.users.entry(user.id) {
            entry.insert(keeper.entered(user));
        }
    }

    fn remove(&mut self, id: u32, keeper: &mut impl Keeper<Kept = T>) {
        if let Some(kept) = self.users.remove(&id) {
            keeper.left(id, kept);
        }
    }
}

impl Roster {
    /// Returns the name of a user.
    pub fn name(&self, id: u32) -> Option<&Name> {
        self.users.get(&id)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeSet, VecDeque};

    use crate::wire::List;
    use proptest::prelude::*;

    use super::*;

    fn user(id: u32) -> User {
        User { id, name: Name::truncated(&format!("user {id}")) }
    }

    fn users<const MAX: usize>(ids: impl IntoIterator<Item = u32>) -> List<User, MAX> {
        List::new(ids.into_iter().map(user).collect()).unwrap()
    }

    fn page(version: u64, head_count: u32, ids: impl IntoIterator<Item = u32>, more: bool) -> UserList {
        UserList { channel: 0, version, head_count, more, users: users(ids) }
    }

    fn notice(since: u64, version: u64, head_count: u32, entered: &[u32], left: &[u32]) -> UsersChanged {
        let (entered, left) = (users(entered.iter().copied()), List::new(left.to_vec()).unwrap());
        UsersChanged { channel: 0, since, version, head_count, complete: true, entered, left }
    }

    /// The example of docs/protocol.md.
    #[test]
    fn the_example_of_the_protocol() {
        let (mut roster, mut changes) = (Roster::new(), Vec::new());
        let first = (1..=138).filter(|id| !(10..20).contains(id));
        assert_eq!(roster.handle_page(&page(150, 130, first, true), &mut changes), Step::Request(138));
        assert_eq!(roster.handle_page(&page(152, 130, [139, 140, 141], false), &mut changes), Step::Wait);
        assert!(roster.name(2).is_some() && roster.len() == 131);
        changes.clear();
        assert_eq!(roster.handle_notice(&notice(150, 152, 130, &[141], &[2]), &mut changes), Step::Wait);
        assert_eq!(changes, [Change::Left(user(2))], "user 141 was there already");
        assert!(roster.is_complete() && roster.len() == 130);
        let missed = notice(160, 163, 131, &[150], &[145]);
        assert_eq!(roster.handle_notice(&missed, &mut changes), Step::StartOver);
        assert!(!roster.is_complete());
        roster.start_over();
        let first = (1..=147).filter(|id| !(10..28).contains(id) && *id != 145);
        assert_eq!(roster.handle_page(&page(164, 129, first, true), &mut changes), Step::Follows);
        assert_eq!(roster.handle_notice(&notice(163, 164, 129, &[], &[5]), &mut changes), Step::Wait);
        assert_eq!(roster.handle_page(&page(164, 129, [150], false), &mut changes), Step::Wait);
        assert!(roster.is_complete());
    }

    #[test]
    fn an_answer_of_several_pages_is_awaited_before_the_next_request() {
        let mut pager = Pager::new();
        assert_eq!(pager.handle_page(10), Step::Request(10), "the server sends one page unasked");
        for _ in 0..2 {
            for _ in 1..LIST_PAGES_MAX {
                assert_eq!(pager.handle_page(20), Step::Follows);
            }
            assert_eq!(pager.handle_page(30), Step::Request(30));
        }
    }

    #[test]
    fn a_list_of_another_length_than_the_server_says_is_requested_again() {
        let (mut roster, mut changes) = (Roster::new(), Vec::new());
        assert_eq!(roster.handle_page(&page(1, 2, [1], false), &mut changes), Step::StartOver);
        roster.start_over();
        assert_eq!(roster.handle_page(&page(1, 1, [1], false), &mut changes), Step::Wait);
        let incomplete = UsersChanged { complete: false, ..notice(1, 9, 5, &[], &[]) };
        assert_eq!(roster.handle_notice(&incomplete, &mut changes), Step::StartOver);
    }

    /// A server with pages of two users, whose notices are on their way for a while, and may be
    /// dropped or name no one. A page overtakes them.
    #[derive(Default)]
    struct Server {
        present: BTreeSet<u32>,
        version: u64,
        last: u32,
        announced: (BTreeSet<u32>, u64),
        notices: VecDeque<UsersChanged>,
    }

    impl Server {
        fn enter(&mut self) {
            self.last += 1;
            self.present.insert(self.last);
            self.version += 1;
        }

        fn leave(&mut self, which: usize) {
            if let Some(id) = self.present.iter().nth(which % self.present.len().max(1)).copied() {
                self.present.remove(&id);
                self.version += 1;
            }
        }

        fn announce(&mut self, is_complete: bool) {
            let (before, since) = self.announced.clone();
            if since == self.version {
                return;
            }
            let entered: Vec<u32> = self.present.difference(&before).copied().collect();
            let left: Vec<u32> = before.difference(&self.present).copied().collect();
            let count = self.present.len() as u32;
            let whole = notice(since, self.version, count, &entered, &left);
            let empty = UsersChanged { complete: false, ..notice(since, self.version, count, &[], &[]) };
            self.notices.push_back(if is_complete { whole } else { empty });
            self.announced = (self.present.clone(), self.version);
        }

        fn page(&self, after: u32) -> UserList {
            let ids: Vec<u32> = self.present.range(after.saturating_add(1)..).copied().take(3).collect();
            let more = ids.len() > 2;
            page(self.version, self.present.len() as u32, ids.into_iter().take(2), more)
        }
    }

    #[derive(Debug, Clone)]
    enum Deed {
        Enter,
        Leave(usize),
        Announce(bool),
        Deliver,
        Drop,
        Page,
    }

    fn deeds() -> impl Strategy<Value = Vec<Deed>> {
        let deed = prop_oneof![
            4 => Just(Deed::Enter),
            3 => (0..100_usize).prop_map(Deed::Leave),
            3 => prop::bool::weighted(0.9).prop_map(Deed::Announce),
            4 => Just(Deed::Deliver),
            1 => Just(Deed::Drop),
            4 => Just(Deed::Page),
        ];
        prop::collection::vec(deed, 0..200)
    }

    /// A client with the pages that it has requested.
    struct Member {
        roster: Roster,
        /// Users by the changes alone.
        told: BTreeSet<u32>,
        /// Pages to come: the answer to one request.
        pages: u8,
        after: u32,
    }

    impl Member {
        fn follow(&mut self, step: Step, changes: Vec<Change>) {
            for change in changes {
                let is_news = match change {
                    Change::Entered(user) => self.told.insert(user.id),
                    Change::Left(user) => self.told.remove(&user.id),
                };
                assert!(is_news);
            }
            match step {
                Step::Wait | Step::Follows => {}
                Step::Request(after) => (self.after, self.pages) = (after, LIST_PAGES_MAX),
                Step::StartOver => {
                    self.roster.start_over();
                    (self.after, self.pages) = (0, LIST_PAGES_MAX);
                }
            }
        }

        fn take_page(&mut self, server: &Server) {
            if self.pages == 0 {
                return;
            }
            let page = server.page(self.after);
            self.after = page.users.last().map_or(self.after, |user| user.id);
            self.pages = if page.more { self.pages - 1 } else { 0 };
            let mut changes = Vec::new();
            let step = self.roster.handle_page(&page, &mut changes);
            self.follow(step, changes);
        }

        fn take_notice(&mut self, server: &mut Server) {
            if let Some(notice) = server.notices.pop_front() {
                let mut changes = Vec::new();
                let step = self.roster.handle_notice(&notice, &mut changes);
                self.follow(step, changes);
            }
        }
    }

    proptest! {
        /// Whatever is lost or overtaken, the list is exact in the end, and changes lead to it.
        #[test]
        fn a_list_becomes_exact(deeds in deeds()) {
            let mut server = Server::default();
            server.enter();
            server.announced = (server.present.clone(), server.version);
            let mut member =
                Member { roster: Roster::new(), told: BTreeSet::new(), pages: 1, after: 0 };
            for deed in deeds {
                match deed {
                    Deed::Enter => server.enter(),
                    Deed::Leave(which) => server.leave(which),
                    Deed::Announce(is_complete) => server.announce(is_complete),
                    Deed::Deliver => member.take_notice(&mut server),
                    Deed::Drop => drop(server.notices.pop_front()),
                    Deed::Page => member.take_page(&server),
                }
            }
            // A last change shows what is missing.
            server.enter();
            server.announce(true);
            for _ in 0..1_000 {
                member.take_notice(&mut server);
                member.take_page(&server);
            }
            let found: BTreeSet<u32> = member.roster.iter().map(|(id, _)| id).collect();
            prop_assert!(member.roster.is_complete());
            prop_assert_eq!(&found, &server.present);
            prop_assert_eq!(&member.told, &server.present);
        }
    }
}
