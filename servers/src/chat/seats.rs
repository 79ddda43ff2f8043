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
    /// The users without a session, by the time at which they leave.
    away: BTreeSet<(Instant, u32)>,
}

#[derive(Debug, Clone, Copy)]
struct Seat {
    phase: Phase,
    /// The user; 0 without one.
    user: u32,
    /// Packets of the user that were handled, those of its earlier sessions included.
    handled: u32,
}

/// A user's own affairs on this server.
#[derive(Debug, Clone, Copy)]
struct Place {
    line: Line,
    /// Answers that the user was sent.
    answers: u32,
    /// Number of the newest resume token.
    token: u32,
}

#[derive(Debug, Clone, Copy)]
enum Line {
    Up(SessionId),
    Lost { until: Instant, handled: u32 },
}

impl Seats {
    /// Adds a session without a user, or moves it to another phase.
    pub(super) fn set_phase(&mut self, session: SessionId, phase: Phase) {
        self.sessions.entry(session).or_insert(Seat { phase, user: 0, handled: 0 }).phase = phase;
    }

    /// Gives a session a user that has just entered. Returns the number of its first resume token.
    pub(super) fn enter(&mut self, session: SessionId, user: u32) -> u32 {
        let token = 1;
        self.sessions.insert(session, Seat { phase: Phase::Entered, user, handled: 0 });
        self.places.insert(user, Place { line: Line::Up(session), answers: 0, token });
        token
    }

    /// Removes a session, and its user's place with it.
    pub(super) fn remove(&mut self, session: SessionId) {
        if let Some(Seat { user: user @ 1.., .. }) = self.sessions.remove(&session) {
            self.places.remove(&user);
        }
    }

    /// Removes a session whose connection was lost. Its user is away until `until`.
    pub(super) fn detach(&mut self, session: SessionId, until: Instant) {
        let Some(Seat { user, handled, .. }) = self.sessions.remove(&session) else { return };
        if let Some(place) = self.places.get_mut(&user) {
            place.line = Line::Lost { until, handled };
            self.away.insert((until, user));
            metrics::USERS_AWAY.add(1);
        }
    }

    /// Removes the place of a user that is away.
    pub(super) fn vacate(&mut self, user: u32) {
        if let Some(Place { line: Line::Lost { until, .. }, .. }) = self.places.remove(&user) {
            self.come_back(until, user);
        }
    }

    fn come_back(&mut self, until: Instant, user: u32) {
        self.away.remove(&(until, user));
        metrics::USERS_AWAY.add(-1);
    }

    /// Returns true if a user may resume its place with its token of this number. The newest one
    /// may not have reached the client, so the one before is good until it is used.
    pub(super) fn is_current(&self, user: u32, token: u32) -> bool {
        let newest = self.places.get(&user).map(|place| place.token);
        newest.is_some_and(|newest| token > 0 && (token == newest || token.checked_add(1) == Some(newest)))
    }

    /// Gives a user's place to a session, with the token of number `token`. The user's earlier
    /// session, if any, is forgotten. Returns the number of the next token, and the packets that
    /// were handled.
    pub(super) fn resume(&mut self, session: SessionId, user: u32, token: u32) -> Option<(u32, u32)> {
        let earlier = self.places.get(&user)?.line;
        let handled = match earlier {
            Line::Up(earlier) => self.sessions.remove(&earlier)?.handled,
            Line::Lost { until, handled } => {
                self.come_back(until, user);
                handled
            }
        };
        let place = self.places.get_mut(&user)?;
        place.line = Line::Up(session);
        place.token = token.saturating_add(1);
        let token = place.token;
        self.sessions.insert(session, Seat { phase: Phase::Entered, user, handled });
        Some((token, handled))
    }

    /// Counts a packet. Returns the phase of its session, unless that has ended.
    pub(super) fn packet(&mut self, session: SessionId) -> Option<Phase> {
        let seat = self.sessions.get_mut(&session)?;
        if seat.phase == Phase::Entered {
            seat.handled = seat.handled.wrapping_add(1);
        }
        Some(seat.phase)
    }

    /// Counts an answer to a user. Returns its number.
    pub(super) fn answer(&mut self, user: u32) -> u32 {
        let Some(place) = self.places.get_mut(&user) else { return 0 };
        place.answers = place.answers.wrapping_add(1);
        place.answers
    }

    /// Returns the number of the latest answer to a user.
    pub(super) fn answers(&self, user: u32) -> u32 {
        self.places.get(&user).map_or(0, |place| place.answers)
    }

    /// Returns the user that a session serves.
    pub(super) fn user(&self, session: SessionId) -> Option<u32> {
        self.sessions.get(&session).map(|seat| seat.user).filter(|user| *user != 0)
    }

    /// Returns the session that serves a user.
    pub(super) fn session(&self, user: u32) -> Option<SessionId> {
        match self.places.get(&user)?.line {
            Line::Up(session) => Some(session),
            Line::Lost { .. } => None,
        }
    }

    /// Returns the user that has been away for the longest, and the time at which it leaves.
    pub(super) fn longest_away(&self) -> Option<(Instant, u32)> {
        self.away.first().copied()
    }

    /// Returns the number of users that are away.
    pub(super) fn away(&self) -> usize {
        self.away.len()
    }

    /// Returns the number of sessions.
    #[cfg(test)]
    pub(super) fn count(&self) -> usize {
        self.sessions.len()
    }
}
