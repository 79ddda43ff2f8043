//! The user lists that clients keep, held against who is there.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use rand::RngExt;
use throng_core::net::Sessions;
use throng_core::wire::packets::{UserList, UserListRequest, UsersChanged};
use throng_core::wire::{Body, Field, Reader};
use throng_harness_model::clock::{NEVER, Nanos};
use throng_harness_model::spec::Lists;

use super::Worker;
use super::client::Step;
use crate::roster::{Next, Roster};

/// The longest pause before a list that has missed something is fetched anew, in nanoseconds.
const ANEW_MAX: Nanos = 1_000_000_000;

/// How often lists are held against who is there, in nanoseconds, while that is waited for.
const LOOK: Nanos = 20_000_000;

/// A client's list, and when something last happened to it.
#[derive(Debug)]
pub(super) struct Kept {
    roster: Roster,
    changed: Nanos,
}

/// What a worker has to do about lists.
#[derive(Debug, Default)]
pub(super) struct ListWork {
    /// When which client fetches its list anew.
    anew: BinaryHeap<Reverse<(Nanos, u32)>>,
    /// When lists are looked at next, while they are.
    look_at: Option<Nanos>,
    /// The number of the looking, from 1.
    looking: u64,
}

impl ListWork {
    /// When there is something to do.
    pub(super) fn next_due(&self) -> Nanos {
        let anew = self.anew.peek().map_or(NEVER, |Reverse((at, _))| *at);
        anew.min(self.look_at.unwrap_or(NEVER))
    }
}

impl Worker {
    /// A client that has come in keeps its list from now on, if it is one that does.
    pub(super) fn begin_list(&mut self, place: usize, now: Nanos) {
        let keeps = !self.plan.leaves && self.plan.lists.keeps(self.number(place), self.plan.clients);
        self.clients[place].kept = keeps.then(|| Box::new(Kept { roster: Roster::new(), changed: now }));
    }

    /// A page of the list of everybody has come.
    pub(super) fn page(&mut self, sessions: &mut Sessions, place: usize, list: &UserList) {
        let next = match &mut self.clients[place].kept {
            Some(kept) => {
                kept.changed = self.plan.clock.at(sessions.now());
                kept.roster.page(list, self.plan.knows_own())
            }
            None => match list.users.last().filter(|_| list.more && self.plan.lists != Lists::None) {
                Some(last) => Next::Ask(last.id),
                None => Next::Wait,
            },
        };
        if !matches!(next, Next::Ask(_)) && self.clients[place].step == Step::List {
            if self.clients[place].rounds == 1 {
                self.harvest.lists.last_complete = self.plan.clock.at(sessions.now());
            }
            self.listed(sessions, place);
        }
        self.go_on(sessions, place, next);
    }

    /// A notice about everybody has come to a client that may keep a list.
    pub(super) fn notice(&mut self, sessions: &mut Sessions, place: usize, notice: &UsersChanged) {
        self.count_notice(notice.complete);
        let Some(kept) = &mut self.clients[place].kept else { return };
        kept.changed = self.plan.clock.at(sessions.now());
        let next = kept.roster.notice(notice, self.plan.knows_own());
        self.go_on(sessions, place, next);
    }

    fn count_notice(&mut self, complete: bool) {
        if self.counting {
            self.harvest.lists.notices += 1;
            self.harvest.lists.incomplete += u64::from(!complete);
        }
    }

    /// An encoded notice from a room, for a client that keeps no list: it is counted, and that is all. False if it is none.
    pub(super) fn skip_notice(&mut self, place: usize, room: u32, encoded: &[u8]) -> bool {
        let mut fields = Reader::new(encoded);
        if fields.u16() != Ok(UsersChanged::NUMBER) || fields.u32() != Ok(room) {
            return false;
        }
        if room == 0 && self.clients[place].kept.is_some() {
            return false;
        }
        // Since, version, head count.
        let complete = fields.bytes(20).ok().and_then(|_| bool::take(&mut fields).ok());
        if room == 0 {
            self.count_notice(complete.unwrap_or(false));
        }
        complete.is_some()
    }

    fn go_on(&mut self, sessions: &mut Sessions, place: usize, next: Next) {
        if let Some(kept) = &mut self.clients[place].kept {
            let mismatches = kept.roster.take_mismatches();
            self.harvest.lists.mismatches += if self.counting { mismatches } else { 0 };
        }
        match (next, self.clients[place].chat) {
            (Next::Ask(after), Some(session)) => {
                sessions.send(session, &UserListRequest { channel: 0, after }.into());
            }
            (Next::BeginAnew, Some(_)) => {
                // So many at once would only slow each other down.
                let pause = self.rng.random_range(ANEW_MAX / 4..=ANEW_MAX);
                self.lists.anew.push(Reverse((self.plan.clock.now() + pause, place as u32)));
            }
            _ => {}
        }
    }

    /// Has lists be held against who is there, for the `looking`-th time, or no more without a number.
    pub(super) fn look_at_lists(&mut self, looking: Option<u64>) {
        self.lists.look_at = looking.map(|_| 0);
        self.lists.looking = looking.unwrap_or(self.lists.looking);
    }

    pub(super) fn lists_due(&mut self, sessions: &mut Sessions, now: Nanos) {
        while let Some(Reverse((at, place))) = self.lists.anew.peek().copied()
            && at <= now
        {
            self.lists.anew.pop();
            let client = &mut self.clients[place as usize];
            let (Some(kept), Some(session)) = (&mut client.kept, client.chat) else { continue };
            // It may have been found out twice that something is missing.
            if client.step.is_present() && !kept.roster.is_complete() && !kept.roster.is_waiting() {
                kept.roster.begin_anew();
                self.harvest.lists.resyncs += 1;
                sessions.send(session, &UserListRequest { channel: 0, after: 0 }.into());
            }
        }
        if self.lists.look_at.is_some_and(|at| at <= now) {
            self.lists.look_at = Some(now + LOOK);
            self.look();
        }
    }

    fn look(&mut self) {
        let truth = self.plan.presence.digest();
        (self.totals.lists_kept, self.totals.lists_exact, self.totals.lists_larger) = (0, 0, 0);
        for client in self.clients.iter().filter(|client| client.step.is_present()) {
            let Some(kept) = &client.kept else { continue };
            self.totals.lists_kept += 1;
            if !kept.roster.is_complete() {
                continue;
            }
            let digest = kept.roster.digest();
            self.totals.lists_larger += u64::from(digest.count > truth.count);
            if digest == truth {
                self.totals.lists_exact += 1;
                if self.lists.looking == 1 {
                    self.harvest.lists.last_exact = self.harvest.lists.last_exact.max(kept.changed);
                }
            }
        }
        self.totals.lists_looked_at = self.lists.looking;
    }
}
