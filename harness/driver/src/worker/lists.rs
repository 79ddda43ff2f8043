//! User lists that clients keep, and their comparison with the users who are present.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use rand::RngExt;
use throng_core::limits::LIST_PAGES_MAX;
use throng_core::net::Sessions;
use throng_core::roster::{Pager, Step as ListStep};
use throng_core::wire::packets::{UserList, UserListRequest, UsersChanged};
use throng_core::wire::{Body, Field, Reader};
use throng_harness_model::clock::{NEVER, Nanos};
use throng_harness_model::spec::Lists;

use super::Worker;
use super::client::{KeptList, Step};
use crate::roster::OwnRoster;

/// The longest pause before an incomplete list is fetched again, in nanoseconds.
const REFETCH_PAUSE_MAX: Nanos = 1_000_000_000;

/// The interval between two comparisons of a list check, in nanoseconds.
const CHECK_EVERY: Nanos = 20_000_000;

/// A worker's pending work on lists.
#[derive(Debug, Default)]
pub(super) struct ListWork {
    /// Times at which clients fetch their lists again.
    refetches: BinaryHeap<Reverse<(Nanos, u32)>>,
    /// The next comparison, while a list check runs.
    next_check: Option<Nanos>,
    /// The number of the latest list check, from 1.
    check: u64,
}

impl ListWork {
    /// The time of the next work.
    pub(super) fn next_due(&self) -> Nanos {
        let refetch = self.refetches.peek().map_or(NEVER, |Reverse((at, _))| *at);
        refetch.min(self.next_check.unwrap_or(NEVER))
    }
}

impl Worker {
    /// Gives an entering client an empty list, if it is one that keeps a list.
    pub(super) fn begin_list(&mut self, place: usize, now: Nanos) {
        let keeps = !self.plan.leaves && self.plan.lists.keeps(self.number(place), self.plan.clients);
        self.clients[place].pager = Pager::new();
        self.clients[place].kept =
            keeps.then(|| Box::new(KeptList { roster: OwnRoster::new(), changed: now, settled: u64::MAX }));
    }

    /// Handles a page of the list of all users.
    pub(super) fn page(&mut self, sessions: &mut Sessions, place: usize, list: &UserList) {
        let next = match &mut self.clients[place].kept {
            Some(kept) => {
                kept.changed = self.plan.clock.at(sessions.now());
                kept.roster.page(list, self.plan.knows_own())
            }
            None => match list.users.last().filter(|_| list.more && self.plan.lists != Lists::None) {
                Some(last) => self.clients[place].pager.handle_page(last.id),
                None => ListStep::Wait,
            },
        };
        if !matches!(next, ListStep::Request(_) | ListStep::Follows) && self.clients[place].step == Step::List
        {
            if self.clients[place].rounds == 1 {
                self.results.lists.last_complete = self.plan.clock.at(sessions.now());
            }
            self.listed(sessions, place);
        }
        self.follow_up(sessions, place, next);
    }

    /// Handles a notice about all users for a client that may keep a list.
    pub(super) fn notice(&mut self, sessions: &mut Sessions, place: usize, notice: &UsersChanged) {
        self.count_notice(notice.complete);
        self.check_notice(place, notice);
        let Some(kept) = &mut self.clients[place].kept else { return };
        kept.changed = self.plan.clock.at(sessions.now());
        let next = kept.roster.notice(notice, self.plan.knows_own());
        self.follow_up(sessions, place, next);
    }

    fn count_notice(&mut self, complete: bool) {
        if !self.messages.is_frozen {
            self.results.lists.notices += 1;
            self.results.lists.incomplete += u64::from(!complete);
        }
    }

    /// Counts an encoded notice of a room without decoding it, for a client that keeps no list.
    /// False if the packet is something else, or has to be decoded.
    pub(super) fn skip_notice(&mut self, place: usize, room: u32, encoded: &[u8]) -> bool {
        let mut fields = Reader::new(encoded);
        if fields.u16() != Ok(UsersChanged::NUMBER) || fields.u32() != Ok(room) {
            return false;
        }
        if room == 0 && self.clients[place].kept.is_some() {
            return false;
        }
        let (_since, version, _head_count) = (fields.u64(), fields.u64(), fields.u32());
        let complete = bool::take(&mut fields).ok();
        if let (0, Ok(version), Some(resumption)) = (room, version, &mut self.clients[place].resumption) {
            resumption.listed(version);
        }
        if room == 0 {
            self.count_notice(complete.unwrap_or(false));
        }
        complete.is_some()
    }

    fn follow_up(&mut self, sessions: &mut Sessions, place: usize, next: ListStep) {
        if let Some(kept) = &mut self.clients[place].kept {
            let mismatches = kept.roster.list_mut().take_mismatches();
            self.results.lists.mismatches += if self.messages.is_frozen { 0 } else { mismatches };
        }
        match next {
            ListStep::Request(after) => {
                let request = UserListRequest { channel: 0, after, pages: LIST_PAGES_MAX };
                self.request(sessions, place, request);
            }
            ListStep::StartOver => {
                // The pauses spread the requests: fetched all at once, lists would delay each
                // other.
                let pause = self.rng.random_range(REFETCH_PAUSE_MAX / 4..=REFETCH_PAUSE_MAX);
                self.lists.refetches.push(Reverse((self.plan.clock.now() + pause, place as u32)));
            }
            ListStep::Wait | ListStep::Follows => {}
        }
    }

    /// Starts the list check of this number, or ends the current one.
    pub(super) fn set_list_check(&mut self, check: Option<u64>) {
        self.lists.next_check = check.map(|_| 0);
        self.lists.check = check.unwrap_or(self.lists.check);
    }

    pub(super) fn lists_due(&mut self, sessions: &mut Sessions, now: Nanos) {
        while let Some(Reverse((at, place))) = self.lists.refetches.peek().copied()
            && at <= now
        {
            self.lists.refetches.pop();
            let place = place as usize;
            let client = &mut self.clients[place];
            let Some(kept) = &mut client.kept else { continue };
            // The list may be scheduled twice, or be complete by now.
            if client.step.is_present()
                && !kept.roster.list().is_complete()
                && !kept.roster.list().is_waiting()
            {
                kept.roster.list_mut().start_over();
                self.results.lists.resyncs += 1;
                let request = UserListRequest { channel: 0, after: 0, pages: LIST_PAGES_MAX };
                self.request(sessions, place, request);
            }
        }
        if self.lists.next_check.is_some_and(|at| at <= now) {
            self.lists.next_check = Some(now + CHECK_EVERY);
            self.check_lists();
        }
    }

    fn check_lists(&mut self) {
        let truth = self.plan.presence.digest();
        (self.totals.lists_kept, self.totals.lists_exact, self.totals.lists_with_ghosts) = (0, 0, 0);
        for client in self.clients.iter().filter(|client| client.step.is_present()) {
            let Some(kept) = &client.kept else { continue };
            self.totals.lists_kept += 1;
            if !kept.roster.list().is_complete() {
                continue;
            }
            let digest = kept.roster.digest();
            self.totals.lists_with_ghosts += u64::from(digest.count > truth.count);
            if digest == truth {
                self.totals.lists_exact += 1;
                if self.lists.check == 1 {
                    self.results.lists.last_exact = self.results.lists.last_exact.max(kept.changed);
                }
            }
        }
        self.totals.list_check = self.lists.check;
    }
}
