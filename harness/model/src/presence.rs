//! The clients of a run that are in the chat, shared by all workers. User lists are compared with
//! them.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

/// A digest of a set of user ids: two different sets hardly have the same.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Digest {
    /// Ids in the set.
    pub count: u64,
    /// The sum of the ids' hashes.
    pub sum: u64,
}

impl Digest {
    /// The hash of one user id.
    pub fn hash(user: u32) -> u64 {
        let mixed = (u64::from(user) + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        (mixed ^ mixed >> 29).wrapping_mul(0xbf58_476d_1ce4_e5b9)
    }
}

/// The clients in the chat, by the server's user ids; shared by all workers. Each process has one,
/// and they send each other the changes.
#[derive(Debug)]
pub struct Presence {
    /// User ids by client; 0 while a client is not in the chat.
    users: Box<[AtomicU32]>,
    /// The number of changes.
    changes: AtomicU64,
    count: AtomicU64,
    sum: AtomicU64,
}

impl Presence {
    /// The presence of `clients` clients, none of which is in the chat.
    pub fn new(clients: u32) -> Self {
        let users = (0..clients).map(|_| AtomicU32::new(0)).collect();
        Self { users, changes: AtomicU64::new(0), count: AtomicU64::new(0), sum: AtomicU64::new(0) }
    }

    /// The user id of a client; none while it is not in the chat.
    pub fn user(&self, client: u32) -> Option<u32> {
        self.users.get(client as usize).map(|user| user.load(Ordering::Relaxed)).filter(|user| *user != 0)
    }

    /// The digest of all users present, as a complete list has it.
    pub fn digest(&self) -> Digest {
        Digest { count: self.count.load(Ordering::Relaxed), sum: self.sum.load(Ordering::Relaxed) }
    }

    /// The number of changes. A reader that finds the same number before and after it reads the
    /// users has seen a consistent set.
    pub fn changes(&self) -> u64 {
        self.changes.load(Ordering::Acquire)
    }

    /// Sets the user id of a client that has entered, or 0 for one that has left. Ignores clients
    /// that are not of the run.
    pub fn set(&self, client: u32, user: u32) {
        let Some(known) = self.users.get(client as usize) else { return };
        let before = known.swap(user, Ordering::Relaxed);
        if before != 0 {
            self.count.fetch_sub(1, Ordering::Relaxed);
            self.sum.fetch_sub(Digest::hash(before), Ordering::Relaxed);
        }
        if user != 0 {
            self.count.fetch_add(1, Ordering::Relaxed);
            self.sum.fetch_add(Digest::hash(user), Ordering::Relaxed);
        }
        self.changes.fetch_add(1, Ordering::Release);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_digest_covers_the_clients_present() {
        let presence = Presence::new(3);
        presence.set(0, 7);
        presence.set(2, 9);
        presence.set(0, 0);
        presence.set(0, 0);
        assert_eq!((presence.user(0), presence.user(2), presence.user(5)), (None, Some(9), None));
        assert_eq!(presence.digest(), Digest { count: 1, sum: Digest::hash(9) });
        presence.set(3, 8);
        assert_eq!((presence.digest().count, presence.changes()), (1, 4), "the run has no fourth client");
    }
}
