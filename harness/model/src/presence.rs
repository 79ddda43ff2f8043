//! Who of a run is in the chat: shared by all workers, and what user lists are held against.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

/// A set of user ids, by their number and by a sum that two sets hardly share.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Digest {
    /// How many there are.
    pub count: u64,
    /// The sum of a hash of each.
    pub sum: u64,
}

impl Digest {
    /// The hash of one user id.
    pub fn hash(user: u32) -> u64 {
        let mixed = (u64::from(user) + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        (mixed ^ mixed >> 29).wrapping_mul(0xbf58_476d_1ce4_e5b9)
    }
}

/// Who of a run is in the chat, as the server numbers them; shared by all workers. Where they are several processes, each
/// has one, and they tell each other of changes.
#[derive(Debug)]
pub struct Presence {
    /// By client; 0 while it is not there.
    users: Box<[AtomicU32]>,
    /// Counts the changes.
    changes: AtomicU64,
    count: AtomicU64,
    sum: AtomicU64,
}

impl Presence {
    /// Nobody of so many clients is there.
    pub fn new(clients: u32) -> Self {
        let users = (0..clients).map(|_| AtomicU32::new(0)).collect();
        Self { users, changes: AtomicU64::new(0), count: AtomicU64::new(0), sum: AtomicU64::new(0) }
    }

    /// The server's number for a client; none while it is not there.
    pub fn user(&self, client: u32) -> Option<u32> {
        self.users.get(client as usize).map(|user| user.load(Ordering::Relaxed)).filter(|user| *user != 0)
    }

    /// All of them, as a list would have them.
    pub fn digest(&self) -> Digest {
        Digest { count: self.count.load(Ordering::Relaxed), sum: self.sum.load(Ordering::Relaxed) }
    }

    /// How often anybody has come or gone. Who looks at this first, and then at who is there, and finds the same number
    /// later, has seen everything.
    pub fn changes(&self) -> u64 {
        self.changes.load(Ordering::Acquire)
    }

    /// A client has come, under this number, or has gone, with 0. One that is not of the run is nobody.
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
    fn presence_is_as_a_list_would_have_it() {
        let presence = Presence::new(3);
        presence.set(0, 7);
        presence.set(2, 9);
        presence.set(0, 0);
        presence.set(0, 0);
        assert_eq!((presence.user(0), presence.user(2), presence.user(5)), (None, Some(9), None));
        assert_eq!(presence.digest(), Digest { count: 1, sum: Digest::hash(9) });
        presence.set(3, 8);
        assert_eq!((presence.digest().count, presence.changes()), (1, 4), "there is no fourth client");
    }
}
