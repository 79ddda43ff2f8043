//! The user list as a client keeps it from pages and notices, by the rules of docs/protocol.md
//! ("Who is there").
//!
//! Users from outside the run may be in the chat. They are in the list and count for its length.
//! The check compares only the clients of the run, which are recognized by their names.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use throng_core::limits::LIST_PAGES_MAX;
use throng_core::wire::packets::{User, UserList, UsersChanged};
use throng_harness_model::presence::Digest;

/// Next action of a client for its list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    /// Wait for the next notice.
    Wait,
    /// Wait for the next page, which is on its way.
    Follows,
    /// Request the page after this user id.
    Ask(u32),
    /// Request the list from the start when convenient, since something is missing.
    BeginAnew,
}

/// Number of pages that are on their way to a client.
#[derive(Debug, Clone, Copy, Default)]
pub struct Pager(u8);

impl Pager {
    /// Returns a pager that awaits the first page, which the server sends unasked.
    pub fn new() -> Self {
        Self(1)
    }

    /// Returns a pager that awaits the answer to a request for as many pages as there may be.
    pub fn requested() -> Self {
        Self(LIST_PAGES_MAX)
    }

    /// Counts a page that ends with the user `last` and is not the last one. Returns what to do for
    /// the next.
    pub fn page(&mut self, last: u32) -> Next {
        self.0 = self.0.saturating_sub(1);
        if self.0 > 0 {
            return Next::Follows;
        }
        *self = Self::requested();
        Next::Ask(last)
    }
}

/// User list of one client.
#[derive(Debug, Default)]
pub struct Roster {
    /// Users by id; true for clients of the run.
    users: BTreeMap<u32, bool>,
    /// Digest of the clients of the run.
    own_digest: Digest,
    version: u64,
    /// The highest version among the pages of this pass.
    pages_version: u64,
    must_restart: bool,
    /// Last user id of the previous page while a page is awaited; `None` after the last page.
    after: Option<u32>,
    pager: Pager,
    /// True after the first whole pass.
    complete: bool,
    /// Head counts that did not match the list.
    mismatches: u64,
}

impl Roster {
    /// Returns an empty list that awaits the first page, which the server sends unasked.
    pub fn new() -> Self {
        Self { after: Some(0), pager: Pager::new(), ..Self::default() }
    }

    /// Returns the digest of the clients of the run in the list.
    pub fn digest(&self) -> Digest {
        self.own_digest
    }

    /// Returns the version that the list has, as far as it is known.
    pub fn version(&self) -> u64 {
        self.version
    }

    /// Returns the highest version of which the list has seen a part.
    pub fn newest_version(&self) -> u64 {
        self.version.max(self.pages_version)
    }

    /// Returns true if all pages have arrived and nothing is known to be missing.
    pub fn is_complete(&self) -> bool {
        self.complete && self.after.is_none() && !self.must_restart
    }

    /// Returns the number of mismatches since the last call: an up-to-date list had another length
    /// than the server's head count.
    pub fn take_mismatches(&mut self) -> u64 {
        std::mem::take(&mut self.mismatches)
    }

    /// Starts over: the first page is awaited again.
    pub fn begin_anew(&mut self) {
        self.after = Some(0);
        self.pager = Pager::requested();
    }

    /// Returns true while a page is awaited.
    pub fn is_waiting(&self) -> bool {
        self.after.is_some()
    }

    /// Applies a page. `is_own` returns true for the name of a client of the run.
    pub fn page(&mut self, page: &UserList, is_own: impl Fn(&str) -> bool) -> Next {
        let after = self.after.unwrap_or(0);
        // `after` may be the highest id there is, and the server may still announce more.
        let first = after.saturating_add(1);
        let last = page.users.last().filter(|_| page.more).map_or(u32::MAX, |user| user.id);
        let removed: Vec<u32> = if first <= last {
            self.users.range(first..=last).map(|(user, _)| *user).collect()
        } else {
            Vec::new()
        };
        for user in removed {
            self.remove(user);
        }
        for user in page.users.iter() {
            self.insert(user, &is_own);
        }
        if after == 0 {
            (self.version, self.pages_version, self.must_restart) = (page.version, page.version, false);
        }
        self.pages_version = self.pages_version.max(page.version);
        if page.more {
            self.after = Some(last);
            return self.pager.page(last);
        }
        self.after = None;
        self.complete = true;
        if self.must_restart {
            return Next::BeginAnew;
        }
        // A list that is up to date with the pages must have the length that the last page states.
        if self.version >= self.pages_version { self.check(page.head_count) } else { Next::Wait }
    }

    /// Applies a notice. `is_own` as for [`page`](Self::page).
    pub fn notice(&mut self, notice: &UsersChanged, is_own: impl Fn(&str) -> bool) -> Next {
        if notice.version <= self.version {
            return Next::Wait;
        }
        notice.entered.iter().for_each(|user| self.insert(user, &is_own));
        notice.left.iter().for_each(|user| self.remove(*user));
        let is_broken = notice.since > self.version || !notice.complete;
        self.version = notice.version;
        if is_broken {
            self.must_restart = true;
        }
        match (self.after, self.must_restart) {
            (None, true) => Next::BeginAnew,
            (None, false) if self.version >= self.pages_version => self.check(notice.head_count),
            (Some(_), _) | (None, false) => Next::Wait,
        }
    }

    fn check(&mut self, head_count: u32) -> Next {
        if self.users.len() == head_count as usize {
            return Next::Wait;
        }
        self.mismatches += 1;
        self.must_restart = true;
        Next::BeginAnew
    }

    fn insert(&mut self, user: &User, is_own: impl Fn(&str) -> bool) {
        // The server never reuses a user id.
        let Entry::Vacant(place) = self.users.entry(user.id) else { return };
        if *place.insert(is_own(&user.name)) {
            self.own_digest.count += 1;
            self.own_digest.sum = self.own_digest.sum.wrapping_add(Digest::hash(user.id));
        }
    }

    fn remove(&mut self, user: u32) {
        if self.users.remove(&user) == Some(true) {
            self.own_digest.count -= 1;
            self.own_digest.sum = self.own_digest.sum.wrapping_sub(Digest::hash(user));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;
    use throng_core::wire::List;
    use throng_core::wire::packets::Name;

    use super::*;

    fn users(ids: impl IntoIterator<Item = u32>) -> Vec<User> {
        ids.into_iter().map(|id| User { id, name: Name::truncated(&format!("user {id}")) }).collect()
    }

    /// Every third user is from outside the run.
    fn is_of_run(id: u32) -> bool {
        !id.is_multiple_of(3)
    }

    fn is_own(name: &str) -> bool {
        is_of_run(name.rsplit(' ').next().and_then(|id| id.parse().ok()).expect("a name made by users()"))
    }

    fn page(version: u64, head_count: u32, ids: impl IntoIterator<Item = u32>, more: bool) -> UserList {
        let users = List::new(users(ids)).expect("a short list");
        UserList { channel: 0, version, head_count, users, more }
    }

    fn notice(since: u64, version: u64, head_count: u32, entered: &[u32], left: &[u32]) -> UsersChanged {
        let entered = List::new(users(entered.iter().copied())).expect("a short list");
        let left = List::new(left.to_vec()).expect("a short list");
        UsersChanged { channel: 0, since, version, head_count, complete: true, entered, left }
    }

    #[test]
    fn a_page_after_the_highest_id_is_tolerated() {
        let mut roster = Roster::new();
        assert_eq!(roster.page(&page(1, 2, [7, u32::MAX], true), is_own), Next::Ask(u32::MAX));
        assert_eq!(roster.page(&page(1, 2, [], true), is_own), Next::Follows);
        assert_eq!(roster.page(&page(1, 1, [], false), is_own), Next::Wait);
        assert_eq!((roster.users.len(), roster.is_complete()), (1, true));
    }

    #[test]
    fn an_answer_of_several_pages_is_awaited_before_the_next_request() {
        let mut pager = Pager::new();
        assert_eq!(pager.page(10), Next::Ask(10), "the server sends one page unasked");
        for _ in 0..2 {
            for _ in 1..LIST_PAGES_MAX {
                assert_eq!(pager.page(20), Next::Follows);
            }
            assert_eq!(pager.page(30), Next::Ask(30));
        }
    }

    #[test]
    fn the_example_of_the_protocol() {
        let mut roster = Roster::new();
        let contains = |roster: &Roster, id| roster.users.contains_key(&id);
        assert_eq!(
            roster.page(&page(150, 130, (1..=138).filter(|id| !(10..20).contains(id)), true), is_own),
            Next::Ask(138)
        );
        assert_eq!(roster.page(&page(152, 130, [139, 140, 141], false), is_own), Next::Wait);
        assert!(contains(&roster, 2) && roster.users.len() == 131);
        assert_eq!(roster.notice(&notice(150, 152, 130, &[141], &[2]), is_own), Next::Wait);
        assert!(!contains(&roster, 2) && roster.users.len() == 130 && roster.is_complete());
        assert_eq!(roster.notice(&notice(160, 163, 131, &[150], &[145]), is_own), Next::BeginAnew);
        assert!(roster.users.len() == 131 && !roster.is_complete());
        roster.begin_anew();
        let first = (1..=147).filter(|id| !(10..28).contains(id) && *id != 145);
        assert_eq!(roster.page(&page(164, 129, first, true), is_own), Next::Follows);
        assert_eq!(roster.notice(&notice(163, 164, 129, &[], &[5]), is_own), Next::Wait);
        assert_eq!(roster.version, 164);
        assert_eq!(roster.page(&page(164, 129, [150], false), is_own), Next::Wait);
        assert!(roster.is_complete() && roster.take_mismatches() == 0);
    }

    #[test]
    fn a_head_count_mismatch_is_detected() {
        let mut roster = Roster::new();
        assert_eq!(roster.page(&page(1, 2, [1], false), is_own), Next::BeginAnew);
        roster.begin_anew();
        assert_eq!((roster.page(&page(1, 1, [1], false), is_own), roster.take_mismatches()), (Next::Wait, 1));
        assert_eq!(roster.notice(&notice(1, 2, 3, &[2], &[]), is_own), Next::BeginAnew);
        let incomplete = UsersChanged { complete: false, ..notice(2, 9, 5, &[], &[]) };
        assert_eq!((roster.notice(&incomplete, is_own), roster.take_mismatches()), (Next::BeginAnew, 1));
    }

    /// Has the client do what its roster needs next.
    fn follow(roster: &mut Roster, next: Next, requested: &mut Option<u32>) {
        match next {
            Next::Wait => {}
            Next::Ask(after) => *requested = Some(after),
            Next::Follows => *requested = roster.after,
            Next::BeginAnew => {
                roster.begin_anew();
                *requested = Some(0);
            }
        }
    }

    /// Simulates users that come and go, notices overtaken by pages, and lost notices.
    fn simulate(steps: &[(u8, u32, u8)]) -> Result<(), TestCaseError> {
        const PAGE: usize = 4;
        let mut present: BTreeSet<u32> = (1..=10).collect();
        let (mut last, mut version) = (10, 10);
        let mut roster = Roster::new();
        let mut waiting: Vec<UsersChanged> = Vec::new();
        let mut requested = Some(0);
        let answer = |present: &BTreeSet<u32>, version, after| {
            let ids: Vec<u32> = present.range(after + 1..).copied().take(PAGE + 1).collect();
            page(version, present.len() as u32, ids.iter().copied().take(PAGE), ids.len() > PAGE)
        };
        let ends = [(0, 0, 9); 60].map(|(a, b, _)| (2 + a, b, 9));
        for (action, pick, luck) in steps.iter().copied().chain(ends) {
            let mut next = Next::Wait;
            match action % 4 {
                0 => {
                    last += 1;
                    version += 1;
                    present.insert(last);
                    waiting.push(notice(version - 1, version, present.len() as u32, &[last], &[]));
                }
                1 => {
                    let Some(id) = present.iter().nth(pick as usize % present.len().max(1)).copied() else {
                        continue;
                    };
                    present.remove(&id);
                    version += 1;
                    waiting.push(notice(version - 1, version, present.len() as u32, &[], &[id]));
                }
                2 if requested.is_some() && pick % 2 == 0 => {
                    next = roster.page(
                        &answer(&present, version, requested.take().expect("a page is requested")),
                        is_own,
                    );
                }
                _ if waiting.is_empty() => {}
                _ => {
                    let notice = waiting.remove(0);
                    if luck > 0 {
                        next = roster.notice(&notice, is_own);
                    }
                }
            }
            follow(&mut roster, next, &mut requested);
        }
        // Everything in flight arrives, and one more notice that would reveal a loss.
        waiting.push(notice(version, version + 1, present.len() as u32 + 1, &[last + 1], &[]));
        present.insert(last + 1);
        version += 1;
        for _ in 0..100 {
            let next = match (waiting.is_empty(), requested.take()) {
                (false, ask) => {
                    requested = ask;
                    roster.notice(&waiting.remove(0), is_own)
                }
                (true, Some(after)) => roster.page(&answer(&present, version, after), is_own),
                (true, None) => break,
            };
            follow(&mut roster, next, &mut requested);
        }
        prop_assert!(roster.is_complete());
        prop_assert!(roster.users.keys().eq(&present));
        let own = || present.iter().filter(|id| is_of_run(**id));
        let sum = own().fold(0_u64, |sum, id| sum.wrapping_add(Digest::hash(*id)));
        prop_assert_eq!(roster.digest(), Digest { count: own().count() as u64, sum });
        prop_assert_eq!(roster.take_mismatches(), 0);
        Ok(())
    }

    proptest! {
        #[test]
        fn the_list_is_exact_in_the_end(steps in prop::collection::vec((any::<u8>(), any::<u32>(), 0_u8..8), 0..120)) {
            simulate(&steps)?;
        }
    }
}
