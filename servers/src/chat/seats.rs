//! The sessions of the chat server, and the places of its users: with a session, or away.

use std::collections::{BTreeSet, HashMap};
use std::time::Instant;

use throng_core::{SessionId, metrics};

/// Phase of a session of the chat server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    /// A client that has not entered the chat.
    Connected,
    /// A user in the chat.
    Entered,
    /// A link whose peer has not introduced itself.
    UnidentifiedLink,
    /// A link to a DB agent.
    DbAgentLink,
    /// A link from a login server.
    LoginLink,
}

/// The sessions and the places.
#[derive(Debug, Default)]
pub(super) struct Seats {
    sessions: HashMap<SessionId, Seat>,
    places: HashMap<u32, Place>,
    /// The users that are away, by the time at which they leave.
    away: BTreeSet<(Instant, u32)>,
}

#[derive(Debug, Clone, Copy)]
struct Seat {
    phase: Phase,
    /// The user; 0 without one.
    user: u32,
    /// Turn of the user.
    turn: u32,
    /// Packets of the user that were handled, those of its earlier sessions included.
    handled: u32,
}

/// The user of a session, and the number of the packet that is being handled.
#[derive(Debug, Clone, Copy)]
pub(super) struct Actor {
    pub(super) user: u32,
    pub(super) turn: u32,
    pub(super) handled: u32,
}

/// A user's own affairs on this server.
#[derive(Debug, Clone, Copy)]
struct Place {
    line: Line,
    /// Answers that the user was sent. None for a user of another server that is away.
    answers: Option<u32>,
}

#[derive(Debug, Clone, Copy)]
enum Line {
    Up(SessionId),
    /// The session has ended, and a fact that says so, or says that another has begun, is yet to
    /// be applied.
    Down,
    Away {
        until: Instant,
    },
}

impl Seats {
    /// Adds a session without a user, or moves it to another phase.
    pub(super) fn set_phase(&mut self, session: SessionId, phase: Phase) {
        let seat = self.sessions.entry(session);
        seat.or_insert(Seat { phase, user: 0, turn: 0, handled: 0 }).phase = phase;
    }

    /// Gives a session a user that has just entered.
    pub(super) fn enter(&mut self, session: SessionId, user: u32) {
        self.sessions.insert(session, Seat { phase: Phase::Entered, user, turn: 0, handled: 0 });
        self.places.insert(user, Place { line: Line::Up(session), answers: Some(0) });
    }

    /// Removes a session, and its user's place with it.
    pub(super) fn remove(&mut self, session: SessionId) {
        if let Some(Seat { user: user @ 1.., .. }) = self.sessions.remove(&session) {
            self.vacate(user);
        }
    }

    /// Removes a session that its user has lost. Returns what is known of the user.
    pub(super) fn detach(&mut self, session: SessionId) -> Option<Actor> {
        let Seat { user, turn, handled, .. } = self.sessions.remove(&session)?;
        self.places.get_mut(&user)?.line = Line::Down;
        Some(Actor { user, turn, handled })
    }

    /// Records that a user, of this server or another, is away until `until`.
    pub(super) fn set_away(&mut self, user: u32, until: Instant) {
        self.end_wait(user);
        let place = self.places.entry(user).or_insert(Place { line: Line::Down, answers: None });
        place.line = Line::Away { until };
        self.away.insert((until, user));
        metrics::USERS_AWAY.add(1);
    }

    /// Removes the place of a user. It has no session.
    pub(super) fn vacate(&mut self, user: u32) {
        self.end_wait(user);
        self.places.remove(&user);
    }

    /// Ends the time for which a place is kept, if its user is away.
    fn end_wait(&mut self, user: u32) {
        let Some(place) = self.places.get_mut(&user) else { return };
        if let Line::Away { until } = place.line {
            place.line = Line::Down;
            self.away.remove(&(until, user));
            metrics::USERS_AWAY.add(-1);
        }
    }

    /// Returns a user that has been away for long enough at `now`, or for the longest if more than
    /// `max` are away. It is not returned again.
    pub(super) fn next_to_leave(&mut self, now: Instant, max: usize) -> Option<u32> {
        let (until, user) = self.away.first().copied()?;
        if until > now && self.away.len() <= max {
            return None;
        }
        self.end_wait(user);
        Some(user)
    }

    /// Returns the time at which the next user leaves that is away.
    pub(super) fn next_leave(&self) -> Option<Instant> {
        self.away.first().map(|(until, _)| *until)
    }

    /// Gives the place of a user without a session to a session, in a turn. A user that comes from
    /// another server has had `answers` answers there.
    pub(super) fn resume(&mut self, session: SessionId, Actor { user, turn, handled }: Actor, answers: u32) {
        self.end_wait(user);
        let place = self.places.entry(user).or_insert(Place { line: Line::Down, answers: None });
        place.line = Line::Up(session);
        place.answers.get_or_insert(answers);
        self.sessions.insert(session, Seat { phase: Phase::Entered, user, turn, handled });
    }

    /// Counts a packet. Returns the phase of its session, unless that has ended.
    pub(super) fn packet(&mut self, session: SessionId) -> Option<Phase> {
        let seat = self.sessions.get_mut(&session)?;
        if seat.phase == Phase::Entered {
            seat.handled = seat.handled.wrapping_add(1);
        }
        Some(seat.phase)
    }

    /// Returns the user that a session serves, with its turn and the number of its latest packet.
    pub(super) fn actor(&self, session: SessionId) -> Option<Actor> {
        let Seat { user, turn, handled, .. } = *self.sessions.get(&session)?;
        (user != 0).then_some(Actor { user, turn, handled })
    }

    /// Returns the sessions of users, and the users.
    pub(super) fn all(&self) -> Vec<(SessionId, u32)> {
        let entered = self.sessions.iter().filter(|(_, seat)| seat.user != 0);
        let mut all: Vec<_> = entered.map(|(session, seat)| (*session, seat.user)).collect();
        all.sort_unstable();
        all
    }

    /// Removes all places. They have no sessions.
    pub(super) fn vacate_all(&mut self) {
        metrics::USERS_AWAY.set_count(0);
        self.away.clear();
        self.places.clear();
    }

    /// Returns true if the session has not ended.
    pub(super) fn contains(&self, session: SessionId) -> bool {
        self.sessions.contains_key(&session)
    }

    /// Counts an answer to a user. Returns its number, or `None` if the user has no place here.
    pub(super) fn answer(&mut self, user: u32) -> Option<u32> {
        let answers = self.places.get_mut(&user)?.answers.as_mut()?;
        *answers = answers.wrapping_add(1);
        Some(*answers)
    }

    /// Returns the number of the latest answer to a user, if it was here that it was sent any.
    pub(super) fn answers(&self, user: u32) -> Option<u32> {
        self.places.get(&user)?.answers
    }

    /// Returns the user that a session serves.
    pub(super) fn user(&self, session: SessionId) -> Option<u32> {
        self.sessions.get(&session).map(|seat| seat.user).filter(|user| *user != 0)
    }

    /// Returns the session that serves a user.
    pub(super) fn session(&self, user: u32) -> Option<SessionId> {
        match self.places.get(&user)?.line {
            Line::Up(session) => Some(session),
            Line::Down | Line::Away { .. } => None,
        }
    }

    /// Returns the number of users that are away.
    #[cfg(test)]
    pub(super) fn away(&self) -> usize {
        self.away.len()
    }

    /// Returns the number of sessions.
    pub(super) fn count(&self) -> usize {
        self.sessions.len()
    }
}
