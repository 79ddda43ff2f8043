//! Clients that hold a seat of the login server without a ticket, oldest first.
//!
//! A seat is for a login. A client without a ticket has [`LoginSettings::stay`] from its handshake,
//! whatever it sends meanwhile. While almost all seats are taken, the oldest client whose request
//! is not under way makes room for each newcomer, so that holders of seats cannot keep players out.
//!
//! [`LoginSettings::stay`]: super::LoginSettings::stay

use std::collections::{BTreeMap, HashMap};
use std::time::Instant;

use throng_core::SessionId;

/// Most of the oldest clients that are looked at for one whose seat can be taken.
const LOOKED_AT: usize = 64;

/// Clients without a ticket.
#[derive(Debug, Default)]
pub(super) struct Stays {
    /// Session and deadline of each client, in the order of arrival.
    by_arrival: BTreeMap<u64, (SessionId, Instant)>,
    arrivals: HashMap<SessionId, u64>,
    last: u64,
}

impl Stays {
    /// Adds a client that may stay until `deadline`.
    pub(super) fn begin(&mut self, session: SessionId, deadline: Instant) {
        self.last += 1;
        self.by_arrival.insert(self.last, (session, deadline));
        self.arrivals.insert(session, self.last);
    }

    /// Removes a client that has a ticket, or is gone.
    pub(super) fn end(&mut self, session: SessionId) {
        if let Some(arrival) = self.arrivals.remove(&session) {
            self.by_arrival.remove(&arrival);
        }
    }

    /// Returns the number of clients without a ticket.
    pub(super) fn len(&self) -> usize {
        self.by_arrival.len()
    }

    /// Returns a client whose deadline is over.
    pub(super) fn overdue(&self, now: Instant) -> Option<SessionId> {
        self.by_arrival.first_key_value().filter(|(_, (_, at))| *at <= now).map(|(_, (session, _))| *session)
    }

    /// Returns the next deadline. All clients may stay equally long.
    pub(super) fn next_deadline(&self) -> Option<Instant> {
        self.by_arrival.first_key_value().map(|(_, (_, at))| *at)
    }

    /// Returns the oldest client for which `may_go` holds, if it is among the first few.
    pub(super) fn oldest(&self, mut may_go: impl FnMut(SessionId) -> bool) -> Option<SessionId> {
        self.by_arrival.values().take(LOOKED_AT).map(|(session, _)| *session).find(|session| may_go(*session))
    }
}
