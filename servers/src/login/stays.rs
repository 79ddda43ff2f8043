//! Clients that hold a seat of the login server without a ticket, oldest first.
//!
//! A seat is for a login. A client without a ticket has [`LoginSettings::stay`] from its handshake,
//! whatever it sends meanwhile; time in the queue at the door does not count. While almost all
//! seats are taken, the oldest client whose request is not under way makes room for each newcomer,
//! so that holders of seats cannot keep players out.
//!
//! [`LoginSettings::stay`]: super::LoginSettings::stay

use std::collections::{BTreeMap, HashMap};
use std::time::{Duration, Instant};

use throng_core::SessionId;

/// Most of the oldest clients that are looked at for one whose seat can be taken.
const LOOKED_AT: usize = 64;

/// Clients without a ticket.
#[derive(Debug, Default)]
pub(super) struct Stays {
    /// Clients whose time runs, by deadline and arrival. All may stay equally long, so the
    /// first one has used the most.
    running: BTreeMap<(Instant, u64), SessionId>,
    clients: HashMap<SessionId, Stay>,
    arrivals: u64,
}

#[derive(Debug, Clone, Copy)]
struct Stay {
    arrival: u64,
    left: Left,
}

/// Time that is left of a stay.
#[derive(Debug, Clone, Copy)]
enum Left {
    Until(Instant),
    /// The client is in the queue.
    Paused(Duration),
}

impl Stays {
    /// Adds a client that may stay until `deadline`.
    pub(super) fn begin(&mut self, session: SessionId, deadline: Instant) {
        self.arrivals += 1;
        self.set(session, Stay { arrival: self.arrivals, left: Left::Until(deadline) });
    }

    /// Removes a client that has a ticket, or is gone.
    pub(super) fn end(&mut self, session: SessionId) {
        self.take(session);
    }

    /// Stops the time of a client that waits in the queue.
    pub(super) fn pause(&mut self, session: SessionId, now: Instant) {
        let Some(stay) = self.take(session) else { return };
        let left = match stay.left {
            Left::Until(deadline) => Left::Paused(deadline.saturating_duration_since(now)),
            Left::Paused(_) => stay.left,
        };
        self.set(session, Stay { left, ..stay });
    }

    /// Lets the time of a client go on, if it was stopped.
    pub(super) fn resume(&mut self, session: SessionId, now: Instant) {
        if let Some(Stay { arrival, left: Left::Paused(time) }) = self.clients.get(&session).copied() {
            self.set(session, Stay { arrival, left: Left::Until(now + time) });
        }
    }

    fn take(&mut self, session: SessionId) -> Option<Stay> {
        let stay = self.clients.remove(&session)?;
        if let Left::Until(deadline) = stay.left {
            self.running.remove(&(deadline, stay.arrival));
        }
        Some(stay)
    }

    fn set(&mut self, session: SessionId, stay: Stay) {
        if let Left::Until(deadline) = stay.left {
            self.running.insert((deadline, stay.arrival), session);
        }
        self.clients.insert(session, stay);
    }

    /// Returns the number of clients without a ticket.
    pub(super) fn len(&self) -> usize {
        self.clients.len()
    }

    /// Returns a client whose deadline is over.
    pub(super) fn overdue(&self, now: Instant) -> Option<SessionId> {
        self.running.first_key_value().filter(|((at, _), _)| *at <= now).map(|(_, session)| *session)
    }

    /// Returns the next deadline.
    pub(super) fn next_deadline(&self) -> Option<Instant> {
        self.running.first_key_value().map(|((at, _), _)| *at)
    }

    /// Returns the oldest client for which `may_go` holds, if it is among the first few. Clients in
    /// the queue are not.
    pub(super) fn oldest(&self, mut may_go: impl FnMut(SessionId) -> bool) -> Option<SessionId> {
        self.running.values().take(LOOKED_AT).copied().find(|session| may_go(*session))
    }
}
