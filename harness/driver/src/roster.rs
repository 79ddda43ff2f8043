//! The user list that a client of the run keeps, with a digest of the run's own clients in it.
//!
//! Users from outside the run may be in the chat. They are in the list and count for its length.
//! The check compares only the clients of the run, which are recognized by their names.

use throng_core::roster::{Keeper, Roster, Step};
use throng_core::wire::packets::{User, UserList, UsersChanged};
use throng_harness_model::presence::Digest;

/// User list of one client: of each user it keeps whether it is a client of the run.
#[derive(Debug)]
pub struct OwnRoster {
    roster: Roster<bool>,
    /// Digest of the clients of the run.
    own_digest: Digest,
}

/// Counts the clients of the run, whose names `is_own` knows.
struct Own<'a, F> {
    digest: &'a mut Digest,
    is_own: F,
}

impl<F: Fn(&str) -> bool> Keeper for Own<'_, F> {
    type Kept = bool;

    fn entered(&mut self, user: &User) -> bool {
        let is_own = (self.is_own)(&user.name);
        if is_own {
            self.digest.count += 1;
            self.digest.sum = self.digest.sum.wrapping_add(Digest::hash(user.id));
        }
        is_own
    }

    fn left(&mut self, id: u32, is_own: bool) {
        if is_own {
            self.digest.count -= 1;
            self.digest.sum = self.digest.sum.wrapping_sub(Digest::hash(id));
        }
    }
}

impl OwnRoster {
    /// Returns an empty list that awaits the first page, which the server sends unasked.
    #[expect(clippy::new_without_default, reason = "as of the list itself")]
    pub fn new() -> Self {
        Self { roster: Roster::new(), own_digest: Digest::default() }
    }

    /// Returns the list.
    pub fn list(&self) -> &Roster<bool> {
        &self.roster
    }

    /// Returns the list.
    pub fn list_mut(&mut self) -> &mut Roster<bool> {
        &mut self.roster
    }

    /// Returns the digest of the clients of the run in the list.
    pub fn digest(&self) -> Digest {
        self.own_digest
    }

    /// Applies a page. `is_own` returns true for the name of a client of the run.
    pub fn page(&mut self, page: &UserList, is_own: impl Fn(&str) -> bool) -> Step {
        self.roster.handle_page(page, &mut Own { digest: &mut self.own_digest, is_own })
    }

    /// Applies a notice. `is_own` as for [`page`](Self::page).
    pub fn notice(&mut self, notice: &UsersChanged, is_own: impl Fn(&str) -> bool) -> Step {
        self.roster.handle_notice(notice, &mut Own { digest: &mut self.own_digest, is_own })
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
        let mut roster = OwnRoster::new();
        assert_eq!(roster.page(&page(1, 2, [7, u32::MAX], true), is_own), Step::Request(u32::MAX));
        assert_eq!(roster.page(&page(1, 2, [], true), is_own), Step::Follows);
        assert_eq!(roster.page(&page(1, 2, [], false), is_own), Step::Wait);
        assert_eq!((roster.list().len(), roster.list().is_complete()), (2, true));
    }

    #[test]
    fn a_head_count_mismatch_is_detected() {
        let mut roster = OwnRoster::new();
        assert_eq!(roster.page(&page(1, 2, [1], false), is_own), Step::StartOver);
        roster.list_mut().start_over();
        assert_eq!(
            (roster.page(&page(1, 1, [1], false), is_own), roster.list_mut().take_mismatches()),
            (Step::Wait, 1)
        );
        assert_eq!(roster.notice(&notice(1, 2, 3, &[2], &[]), is_own), Step::StartOver);
        let incomplete = UsersChanged { complete: false, ..notice(2, 9, 5, &[], &[]) };
        assert_eq!(
            (roster.notice(&incomplete, is_own), roster.list_mut().take_mismatches()),
            (Step::StartOver, 1)
        );
    }

    /// Has the client take a page, after which another may follow.
    fn take(roster: &mut OwnRoster, page: &UserList, requested: &mut Option<u32>) -> Step {
        let next = roster.page(page, is_own);
        if next == Step::Follows {
            *requested = page.users.last().map(|user| user.id);
        }
        next
    }

    /// Has the client do what its roster needs next.
    fn follow(roster: &mut OwnRoster, next: Step, requested: &mut Option<u32>) {
        match next {
            Step::Wait | Step::Follows => {}
            Step::Request(after) => *requested = Some(after),
            Step::StartOver => {
                roster.list_mut().start_over();
                *requested = Some(0);
            }
        }
    }

    /// Simulates users that come and go, notices overtaken by pages, and lost notices.
    fn simulate(steps: &[(u8, u32, u8)]) -> Result<(), TestCaseError> {
        const PAGE: usize = 4;
        let mut present: BTreeSet<u32> = (1..=10).collect();
        let (mut last, mut version) = (10, 10);
        let mut roster = OwnRoster::new();
        let mut waiting: Vec<UsersChanged> = Vec::new();
        let mut requested = Some(0);
        let answer = |present: &BTreeSet<u32>, version, after| {
            let ids: Vec<u32> = present.range(after + 1..).copied().take(PAGE + 1).collect();
            page(version, present.len() as u32, ids.iter().copied().take(PAGE), ids.len() > PAGE)
        };
        let ends = [(0, 0, 9); 60].map(|(a, b, _)| (2 + a, b, 9));
        for (action, pick, luck) in steps.iter().copied().chain(ends) {
            let mut next = Step::Wait;
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
                    let page = answer(&present, version, requested.take().expect("a page is requested"));
                    next = take(&mut roster, &page, &mut requested);
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
                (true, Some(after)) => {
                    let page = answer(&present, version, after);
                    take(&mut roster, &page, &mut requested)
                }
                (true, None) => break,
            };
            follow(&mut roster, next, &mut requested);
        }
        prop_assert!(roster.list().is_complete());
        prop_assert!(roster.list().iter().map(|(id, _)| id).eq(present.iter().copied()));
        let own = || present.iter().filter(|id| is_of_run(**id));
        let sum = own().fold(0_u64, |sum, id| sum.wrapping_add(Digest::hash(*id)));
        prop_assert_eq!(roster.digest(), Digest { count: own().count() as u64, sum });
        prop_assert_eq!(roster.list_mut().take_mismatches(), 0);
        Ok(())
    }

    proptest! {
        #[test]
        fn the_list_is_exact_in_the_end(steps in prop::collection::vec((any::<u8>(), any::<u32>(), 0_u8..8), 0..120)) {
            simulate(&steps)?;
        }
    }
}
