//! A user list as a client keeps it, by pages and notices, by the rules of docs/protocol.md ("Who is there").
//!
//! Others may be in the chat than the clients of a run. They are in the list too, and count for its length; what it is held
//! against is who of the run is there, whom their names tell.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use throng_core::wire::packets::{User, UserList, UsersChanged};
use throng_harness_model::presence::Digest;

/// What a client has to do about its list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    /// Nothing: wait for what comes.
    Wait,
    /// Ask for the page after this user id.
    Ask(u32),
    /// Something is missing: begin anew, when it suits.
    BeginAnew,
}

/// Who is there, as far as one client has been told.
#[derive(Debug, Default)]
pub struct Roster {
    /// Whether each is of the run.
    users: BTreeMap<u32, bool>,
    /// Of those who are.
    own: Digest,
    version: u64,
    /// The highest version among the pages of this pass.
    pages_version: u64,
    again: bool,
    /// The last user of the page before, while a page is under way; none when all have come.
    after: Option<u32>,
    /// Whether a whole pass has come.
    complete: bool,
    /// Head counts that did not fit.
    mismatches: u64,
}

impl Roster {
    /// A list that nothing is known of; the first page comes by itself.
    pub fn new() -> Self {
        Self { after: Some(0), ..Self::default() }
    }

    /// Who of the run is in it.
    pub fn digest(&self) -> Digest {
        self.own
    }

    /// Whether all pages have come, and nothing is known to be missing.
    pub fn is_complete(&self) -> bool {
        self.complete && self.after.is_none() && !self.again
    }

    /// How often, since this was last asked, a list that should have been exact had another number of users than the server
    /// said.
    pub fn take_mismatches(&mut self) -> u64 {
        std::mem::take(&mut self.mismatches)
    }

    /// The first page is asked for once more.
    pub fn begin_anew(&mut self) {
        self.after = Some(0);
    }

    /// Whether a page is under way.
    pub fn is_waiting(&self) -> bool {
        self.after.is_some()
    }

    /// A page has come. `is_own` tells by a name whether somebody is of the run.
    pub fn page(&mut self, page: &UserList, is_own: impl Fn(&str) -> bool) -> Next {
        let after = self.after.unwrap_or(0);
        // A server may say that there is more after the highest number that there is.
        let first = after.saturating_add(1);
        let last = page.users.last().filter(|_| page.more).map_or(u32::MAX, |user| user.id);
        let gone: Vec<u32> = if first <= last {
            self.users.range(first..=last).map(|(user, _)| *user).collect()
        } else {
            Vec::new()
        };
        for user in gone {
            self.take(user);
        }
        for user in page.users.iter() {
            self.put(user, &is_own);
        }
        if after == 0 {
            (self.version, self.pages_version, self.again) = (page.version, page.version, false);
        }
        self.pages_version = self.pages_version.max(page.version);
        if page.more {
            self.after = Some(last);
            return Next::Ask(last);
        }
        self.after = None;
        self.complete = true;
        if self.again {
            return Next::BeginAnew;
        }
        // With everything up to its version, the list is as long as the last page says.
        if self.version >= self.pages_version { self.check(page.head_count) } else { Next::Wait }
    }

    /// A notice has come. `is_own` tells by a name whether somebody is of the run.
    pub fn notice(&mut self, notice: &UsersChanged, is_own: impl Fn(&str) -> bool) -> Next {
        if notice.version <= self.version {
            return Next::Wait;
        }
        notice.entered.iter().for_each(|user| self.put(user, &is_own));
        notice.left.iter().for_each(|user| self.take(*user));
        let is_broken = notice.since > self.version || !notice.complete;
        self.version = notice.version;
        if is_broken {
            self.again = true;
        }
        match (self.after, self.again) {
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
        self.again = true;
        Next::BeginAnew
    }

    fn put(&mut self, user: &User, is_own: impl Fn(&str) -> bool) {
        // A number is nobody else's while the server lives.
        let Entry::Vacant(place) = self.users.entry(user.id) else { return };
        if *place.insert(is_own(&user.name)) {
            self.own.count += 1;
            self.own.sum = self.own.sum.wrapping_add(Digest::hash(user.id));
        }
    }

    fn take(&mut self, user: u32) {
        if self.users.remove(&user) == Some(true) {
            self.own.count -= 1;
            self.own.sum = self.own.sum.wrapping_sub(Digest::hash(user));
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

    /// Every third is somebody else's.
    fn is_of_run(id: u32) -> bool {
        !id.is_multiple_of(3)
    }

    fn is_own(name: &str) -> bool {
        is_of_run(name.rsplit(' ').next().and_then(|id| id.parse().ok()).expect("as they are made above"))
    }

    fn page(version: u64, head_count: u32, ids: impl IntoIterator<Item = u32>, more: bool) -> UserList {
        let users = List::new(users(ids)).expect("few");
        UserList { channel: 0, version, head_count, users, more }
    }

    fn notice(since: u64, version: u64, head_count: u32, entered: &[u32], left: &[u32]) -> UsersChanged {
        let entered = List::new(users(entered.iter().copied())).expect("few");
        let left = List::new(left.to_vec()).expect("few");
        UsersChanged { channel: 0, since, version, head_count, complete: true, entered, left }
    }

    #[test]
    fn a_page_that_leads_nowhere_is_borne() {
        let mut roster = Roster::new();
        assert_eq!(roster.page(&page(1, 2, [7, u32::MAX], true), is_own), Next::Ask(u32::MAX));
        assert_eq!(roster.page(&page(1, 2, [], true), is_own), Next::Ask(u32::MAX));
        assert_eq!(roster.page(&page(1, 1, [], false), is_own), Next::Wait);
        assert_eq!((roster.users.len(), roster.is_complete()), (1, true));
    }

    #[test]
    fn the_example_of_the_protocol() {
        let mut roster = Roster::new();
        let there = |roster: &Roster, id| roster.users.contains_key(&id);
        assert_eq!(
            roster.page(&page(150, 130, (1..=138).filter(|id| !(10..20).contains(id)), true), is_own),
            Next::Ask(138)
        );
        assert_eq!(roster.page(&page(152, 130, [139, 140, 141], false), is_own), Next::Wait);
        assert!(there(&roster, 2) && roster.users.len() == 131);
        assert_eq!(roster.notice(&notice(150, 152, 130, &[141], &[2]), is_own), Next::Wait);
        assert!(!there(&roster, 2) && roster.users.len() == 130 && roster.is_complete());
        assert_eq!(roster.notice(&notice(160, 163, 131, &[150], &[145]), is_own), Next::BeginAnew);
        assert!(roster.users.len() == 131 && !roster.is_complete());
        roster.begin_anew();
        let first = (1..=147).filter(|id| !(10..28).contains(id) && *id != 145);
        assert_eq!(roster.page(&page(164, 129, first, true), is_own), Next::Ask(147));
        assert_eq!(roster.notice(&notice(163, 164, 129, &[], &[5]), is_own), Next::Wait);
        assert_eq!(roster.version, 164);
        assert_eq!(roster.page(&page(164, 129, [150], false), is_own), Next::Wait);
        assert!(roster.is_complete() && roster.take_mismatches() == 0);
    }

    #[test]
    fn a_head_count_that_does_not_fit_is_noticed() {
        let mut roster = Roster::new();
        assert_eq!(roster.page(&page(1, 2, [1], false), is_own), Next::BeginAnew);
        roster.begin_anew();
        assert_eq!((roster.page(&page(1, 1, [1], false), is_own), roster.take_mismatches()), (Next::Wait, 1));
        assert_eq!(roster.notice(&notice(1, 2, 3, &[2], &[]), is_own), Next::BeginAnew);
        let incomplete = UsersChanged { complete: false, ..notice(2, 9, 5, &[], &[]) };
        assert_eq!((roster.notice(&incomplete, is_own), roster.take_mismatches()), (Next::BeginAnew, 1));
    }

    /// Users come and go, pages overtake notices, and some notices are lost.
    fn simulate(steps: &[(u8, u32, u8)]) -> Result<(), TestCaseError> {
        const PAGE: usize = 4;
        let mut there: BTreeSet<u32> = (1..=10).collect();
        let (mut last, mut version) = (10, 10);
        let mut roster = Roster::new();
        let mut waiting: Vec<UsersChanged> = Vec::new();
        let mut asked = Some(0);
        let answer = |there: &BTreeSet<u32>, version, after| {
            let ids: Vec<u32> = there.range(after + 1..).copied().take(PAGE + 1).collect();
            page(version, there.len() as u32, ids.iter().copied().take(PAGE), ids.len() > PAGE)
        };
        let ends = [(0, 0, 9); 60].map(|(a, b, _)| (2 + a, b, 9));
        for (what, who, luck) in steps.iter().copied().chain(ends) {
            let mut next = Next::Wait;
            match what % 4 {
                0 => {
                    last += 1;
                    version += 1;
                    there.insert(last);
                    waiting.push(notice(version - 1, version, there.len() as u32, &[last], &[]));
                }
                1 => {
                    let Some(id) = there.iter().nth(who as usize % there.len().max(1)).copied() else {
                        continue;
                    };
                    there.remove(&id);
                    version += 1;
                    waiting.push(notice(version - 1, version, there.len() as u32, &[], &[id]));
                }
                2 if asked.is_some() && who % 2 == 0 => {
                    next = roster.page(&answer(&there, version, asked.take().expect("it is")), is_own);
                }
                _ if waiting.is_empty() => {}
                _ => {
                    let notice = waiting.remove(0);
                    if luck > 0 {
                        next = roster.notice(&notice, is_own);
                    }
                }
            }
            match next {
                Next::Wait => {}
                Next::Ask(after) => asked = Some(after),
                Next::BeginAnew => {
                    roster.begin_anew();
                    asked = Some(0);
                }
            }
        }
        // All that is under way comes, and one more notice, by which a loss would be seen.
        waiting.push(notice(version, version + 1, there.len() as u32 + 1, &[last + 1], &[]));
        there.insert(last + 1);
        version += 1;
        for _ in 0..100 {
            let next = match (waiting.is_empty(), asked.take()) {
                (false, ask) => {
                    asked = ask;
                    roster.notice(&waiting.remove(0), is_own)
                }
                (true, Some(after)) => roster.page(&answer(&there, version, after), is_own),
                (true, None) => break,
            };
            match next {
                Next::Wait => {}
                Next::Ask(after) => asked = Some(after),
                Next::BeginAnew => {
                    roster.begin_anew();
                    asked = Some(0);
                }
            }
        }
        prop_assert!(roster.is_complete());
        prop_assert!(roster.users.keys().eq(&there));
        let own = || there.iter().filter(|id| is_of_run(**id));
        let sum = own().fold(0_u64, |sum, id| sum.wrapping_add(Digest::hash(*id)));
        prop_assert_eq!(roster.digest(), Digest { count: own().count() as u64, sum });
        prop_assert_eq!(roster.take_mismatches(), 0);
        Ok(())
    }

    proptest! {
        #[test]
        fn whatever_happens_it_is_exact_in_the_end(steps in prop::collection::vec((any::<u8>(), any::<u32>(), 0_u8..8), 0..120)) {
            simulate(&steps)?;
        }
    }
}
