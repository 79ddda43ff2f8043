//! Seats of one shard's session table, counted by kind.
//!
//! Each kind has a limit of its own, so that none can take the seats of another: handshaking
//! clients leave the links their seats, and peers at the links' port leave the clients theirs.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::limits::{LINKS_MAX, REFUSAL_SLOTS};
use crate::session::endpoint::PeerKind;

/// Kind of a session's seat.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Seat {
    /// An accepted client.
    Client,
    /// A link, accepted or dialed.
    Link,
    /// A peer that is accepted only to be told that the server is full.
    Refused,
    /// Dialed as a client, by a load harness. Limited by the table alone.
    Dialed,
}

impl Seat {
    const KINDS: usize = 4;

    pub(super) fn of(peer: PeerKind, is_dialed: bool) -> Self {
        match (peer, is_dialed) {
            (PeerKind::Link, _) => Self::Link,
            (PeerKind::Client, false) => Self::Client,
            (PeerKind::Client, true) => Self::Dialed,
        }
    }
}

/// Taken seats of a shard.
pub(super) struct Seats {
    taken: [usize; Seat::KINDS],
    clients_max: usize,
    /// Clients of the shard and clients that wait to be adopted. The acceptor counts up.
    load: Arc<AtomicUsize>,
}

impl Seats {
    pub(super) fn new(clients_max: usize, load: Arc<AtomicUsize>) -> Self {
        Self { taken: [0; Seat::KINDS], clients_max, load }
    }

    pub(super) fn has_room(&self, seat: Seat) -> bool {
        let limit = match seat {
            Seat::Client => self.clients_max,
            Seat::Link => LINKS_MAX,
            Seat::Refused => REFUSAL_SLOTS,
            Seat::Dialed => usize::MAX,
        };
        self.taken[seat as usize] < limit
    }

    pub(super) fn take(&mut self, seat: Seat) {
        self.taken[seat as usize] += 1;
    }

    pub(super) fn vacate(&mut self, seat: Seat) {
        self.taken[seat as usize] -= 1;
        if seat == Seat::Client {
            self.refuse_client();
        }
    }

    /// Uncounts a client that the acceptor has counted and that holds no client's seat.
    pub(super) fn refuse_client(&mut self) {
        self.load.fetch_sub(1, Ordering::Relaxed);
    }
}
