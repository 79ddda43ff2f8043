//! Clients whose connections are cut by schedule, and that resume over new ones.
//!
//! A cut client stays in the chat: its requests wait for the next connection, and its accounts in
//! the ledger go on.

use std::collections::{HashSet, VecDeque};

use throng_core::SessionId;
use throng_core::limits::LIST_PAGES_MAX;
use throng_core::net::Sessions;
use throng_core::wire::packets::{ResumeAnswer, UserListRequest, UsersChanged};
use throng_core::wire::{CloseReason, Packet};
use throng_harness_model::clock::{NEVER, Nanos};
use throng_harness_model::cuts::CutKind;

use super::Worker;
use super::client::{Step, Token};
use super::entry::is_transient;

/// Connections begun in one turn.
const DIALS_PER_TURN: usize = 8;

/// Time for which a silent connection stays open. Most clients are back sooner.
const SILENCE: Nanos = 2_000_000_000;

/// The pause before another attempt to connect.
const REDIAL_PAUSE: Nanos = 100_000_000;

/// A worker's position in the schedule of cuts, and its clients that return.
#[derive(Debug, Default)]
pub(super) struct CutWork {
    /// The start of the schedule; none while no connection is cut.
    start: Option<Nanos>,
    /// Number of the next cut.
    next: u32,
    /// Clients that are to connect, in order, each once.
    returning: VecDeque<u32>,
    /// Clients whose attempt to connect has failed, by the time of the next.
    redials: VecDeque<(Nanos, u32)>,
    /// Clients that are connecting.
    dialing: usize,
    /// Connections that are neither read nor written, by the time of their end.
    silent: VecDeque<(Nanos, SessionId)>,
    /// The users of all clients that have been cut, those of other workers included.
    users: HashSet<u32>,
}

impl Worker {
    /// Starts the cuts at `start`, if the plan has any.
    pub(super) fn begin_cuts(&mut self, start: Nanos) {
        if self.plan.cuts.is_none() {
            return;
        }
        self.cuts.start = Some(start);
        for kept in self.clients.iter_mut().filter_map(|client| client.kept.as_mut()) {
            // Entries of the run's clients may still be announced, and are no faults.
            kept.settled = kept.roster.list().newest_version();
        }
    }

    pub(super) fn end_cuts(&mut self) {
        self.cuts.start = None;
    }

    /// The time of the next cut; [`NEVER`] after the last.
    fn next_cut_at(&self) -> Nanos {
        let cut = self.plan.cuts.and_then(|cuts| cuts.get(self.cuts.next));
        self.cuts.start.zip(cut).map_or(NEVER, |(start, cut)| start.saturating_add(cut.after))
    }

    /// The time of the next work.
    pub(super) fn next_cut_work(&self) -> Nanos {
        let first = |queue: Option<Nanos>| queue.unwrap_or(NEVER);
        let redial = first(self.cuts.redials.front().map(|(at, _)| *at));
        let silent = first(self.cuts.silent.front().map(|(at, _)| *at));
        self.next_cut_at().min(redial).min(silent)
    }

    /// Does the cuts and the returns that are due; true if more are due than one turn takes.
    pub(super) fn cuts_due(&mut self, sessions: &mut Sessions, now: Nanos) -> bool {
        while self.next_cut_at() <= now {
            let cut = self.plan.cuts.and_then(|cuts| cuts.get(self.cuts.next));
            self.cuts.next += 1;
            let Some(cut) = cut else { continue };
            self.cuts.users.extend(self.plan.presence.user(cut.client));
            if let Some(place) = self.place(cut.client) {
                self.cut(sessions, place, cut.kind, now);
            }
        }
        while let Some((_, session)) = self.cuts.silent.pop_front_if(|(at, _)| *at <= now) {
            sessions.reset(session);
        }
        while let Some((_, place)) = self.cuts.redials.pop_front_if(|(at, _)| *at <= now) {
            self.cuts.returning.push_back(place);
        }
        for _ in 0..DIALS_PER_TURN {
            if self.cuts.dialing >= self.entries.limiter.limit() {
                return false;
            }
            let Some(place) = self.cuts.returning.pop_front() else { return false };
            self.dial_again(sessions, place as usize, now);
        }
        !self.cuts.returning.is_empty()
    }

    /// Cuts the connection of a client that is in the chat.
    fn cut(&mut self, sessions: &mut Sessions, place: usize, kind: CutKind, now: Nanos) {
        let client = &mut self.clients[place];
        let (Step::Inside, Some(resumption)) = (client.step, &mut client.resumption) else { return };
        if resumption.is_away() {
            return;
        }
        let Some(session) = client.chat.take() else { return };
        resumption.cut(now);
        match kind {
            CutKind::Reset => sessions.reset(session),
            CutKind::Silence => {
                sessions.pause_reading(session, true);
                self.cuts.silent.push_back((now.saturating_add(SILENCE), session));
            }
        }
        if self.plan.cuts.is_some_and(|cuts| cuts.are_at_once()) {
            self.results.resume.first_cut = self.results.resume.first_cut.min(now);
        }
        self.begin_return(place);
    }

    fn begin_return(&mut self, place: usize) {
        self.totals.cuts += 1;
        self.totals.away += 1;
        self.results.resume.cuts += 1;
        self.cuts.returning.push_back(place as u32);
    }

    /// Has a client that is in the chat, and whose server has closed its connection, resume. False
    /// if it is not to, or its place is not kept.
    pub(super) fn lost_by_server(&mut self, place: usize, now: Nanos, reason: CloseReason) -> bool {
        let client = &mut self.clients[place];
        let (Step::Inside, Some(resumption)) = (client.step, &mut client.resumption) else { return false };
        if !is_transient(reason) {
            return false;
        }
        resumption.cut(now);
        self.begin_return(place);
        true
    }

    fn dial_again(&mut self, sessions: &mut Sessions, place: usize, now: Nanos) {
        if !self.is_away(place) {
            return;
        }
        let plan = self.plan.clone();
        let number = self.number(place);
        let client = &mut self.clients[place];
        client.node = plan.other_node(client.node, number);
        // Clients of a broadcast enter with tickets.
        let Some(server) = plan.node(client.node) else { return };
        match self.dial(sessions, server, Token::Chat(place as u32)) {
            Ok(session) => {
                self.clients[place].chat = Some(session);
                self.cuts.dialing += 1;
            }
            Err(_) => self.cuts.redials.push_back((now.saturating_add(REDIAL_PAUSE), place as u32)),
        }
    }

    /// Returns true while a client's connection is cut.
    pub(super) fn is_away(&self, place: usize) -> bool {
        self.clients[place].resumption.as_ref().is_some_and(|resumption| resumption.is_away())
    }

    /// Sends a request of a client in the chat. If its connection is cut, the request waits for the
    /// next one.
    pub(super) fn request(&mut self, sessions: &mut Sessions, place: usize, request: impl Into<Packet>) {
        let (request, client) = (request.into(), &mut self.clients[place]);
        let is_up = client.resumption.as_mut().is_none_or(|resumption| resumption.request(&request));
        if let Some(session) = client.chat.filter(|_| is_up) {
            sessions.send(session, &request);
        }
    }

    /// The connection of a client to the chat server is open.
    pub(super) fn chat_opened(&mut self, sessions: &mut Sessions, place: usize) {
        if !self.is_away(place) {
            return self.advance(sessions, place, Step::Enter);
        }
        let client = &mut self.clients[place];
        let (Some(resumption), Some(session)) = (&mut client.resumption, client.chat) else { return };
        if let Some(kept) = &client.kept {
            resumption.listed(kept.roster.list().version());
        }
        sessions.send(session, &resumption.resume_request().into());
    }

    /// Handles the confirmation that a client has its place again; false if it contradicts what the
    /// client has seen.
    pub(super) fn resumed(&mut self, sessions: &mut Sessions, place: usize, answer: &ResumeAnswer) -> bool {
        let now = self.plan.clock.at(sessions.now());
        let is_fleet = self.plan.is_fleet();
        let client = &mut self.clients[place];
        let (Some(resumption), Some(session)) = (&mut client.resumption, client.chat) else { return false };
        let Some((cut_at, again)) = resumption.resumed(answer, is_fleet) else { return false };
        client.shard = answer.shard;
        for request in &again {
            sessions.send(session, request);
        }
        self.cuts.dialing -= 1;
        self.totals.away -= 1;
        let resume = &mut self.results.resume;
        resume.resumed += 1;
        resume.back.record(now.saturating_sub(cut_at));
        resume.last_back = resume.last_back.max(now);
        if let Some(kept) = self.clients[place].kept.as_mut().filter(|kept| kept.roster.list().is_waiting()) {
            // The pages are lost, and are not sent again.
            kept.roster.list_mut().start_over();
            let request = UserListRequest { channel: 0, after: 0, pages: LIST_PAGES_MAX };
            self.request(sessions, place, request);
        }
        true
    }

    /// A connection over which a client was to resume has closed.
    pub(super) fn resume_failed(&mut self, place: usize, now: Nanos, reason: CloseReason) {
        self.cuts.dialing -= 1;
        if is_transient(reason) {
            self.cuts.redials.push_back((now.saturating_add(REDIAL_PAUSE), place as u32));
            return;
        }
        self.results.resume.refused += u64::from(reason == CloseReason::PlaceLost);
        self.lose_place(place, now, reason);
    }

    /// Gives up the clients that have not resumed, and closes what is silent.
    pub(super) fn give_up_resuming(&mut self, sessions: &mut Sessions) {
        let now = self.plan.clock.now();
        for place in 0..self.clients.len() {
            if self.is_away(place) {
                if let Some(session) = self.clients[place].chat.take() {
                    sessions.reset(session);
                }
                self.lose_place(place, now, CloseReason::ConnectionLost);
            }
        }
        self.cuts.dialing = 0;
        self.cuts.returning.clear();
        self.cuts.redials.clear();
        for (_, session) in self.cuts.silent.drain(..) {
            sessions.reset(session);
        }
    }

    fn lose_place(&mut self, place: usize, now: Nanos, reason: CloseReason) {
        self.clients[place].resumption = None;
        self.totals.away -= 1;
        self.session_lost(place, now, reason);
    }

    /// Counts the cut clients that a notice names: they have kept their places.
    pub(super) fn check_notice(&mut self, place: usize, notice: &UsersChanged) {
        let settled = self.clients[place].kept.as_ref().map_or(u64::MAX, |kept| kept.settled);
        if self.messages.is_frozen || notice.version <= settled {
            return;
        }
        let named = notice.entered.iter().map(|user| user.id).chain(notice.left.iter().copied());
        let false_notices = named.filter(|user| self.cuts.users.contains(user)).count();
        self.results.resume.false_notices += false_notices as u64;
    }
}
