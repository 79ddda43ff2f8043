//! A closed loop: how far ahead of the slowest recipient messages may be.
//!
//! Messages are counted, not told apart: the n-th that a client receives is the n-th that was sent, for
//! all that matters here. One counter for each message that is not complete says how many clients
//! have it, so a delivery costs an addition, and nobody looks through all clients.

/// Keeps track of the slowest of some clients, which all get every message once.
#[derive(Debug)]
pub struct Window {
    /// Messages sent and not complete, at most.
    width: u32,
    sent: u32,
    /// Messages that every client has.
    complete: u32,
    /// By message modulo its length: clients that have it, for those sent and not complete.
    having: Vec<u32>,
    /// Messages that each client has; none once it is lost.
    counts: Vec<Option<u32>>,
    present: u32,
}

impl Window {
    /// At most `width` messages (at least 1) ahead of the slowest of `clients`.
    pub fn new(width: u32, clients: usize) -> Self {
        let width = width.max(1);
        Self {
            width,
            sent: 0,
            complete: 0,
            having: vec![0; width as usize],
            counts: vec![Some(0); clients],
            present: clients as u32,
        }
    }

    /// Whether another message may be sent now.
    pub fn is_open(&self) -> bool {
        self.sent - self.complete < self.width
    }

    /// A message has been sent.
    pub fn sent(&mut self) {
        self.sent += 1;
        // Complete at once if there is nobody to have it.
        self.close();
    }

    /// A client has a further message, its first copy.
    pub fn received(&mut self, client: usize) {
        let Some(count) = self.counts.get_mut(client).and_then(Option::as_mut) else { return };
        // More than was sent is for others to find strange.
        if *count >= self.sent {
            return;
        }
        let slot = (*count % self.width) as usize;
        *count += 1;
        self.having[slot] += 1;
        if self.having[slot] == self.present {
            self.close();
        }
    }

    /// A client is gone: nobody waits for it.
    pub fn lost(&mut self, client: usize) {
        let Some(count) = self.counts.get_mut(client).and_then(Option::take) else { return };
        self.present -= 1;
        for message in self.complete..count {
            self.having[(message % self.width) as usize] -= 1;
        }
        self.close();
    }

    /// Takes note of what has become complete.
    fn close(&mut self) {
        while self.complete < self.sent && self.having[(self.complete % self.width) as usize] == self.present
        {
            self.having[(self.complete % self.width) as usize] = 0;
            self.complete += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_slowest_holds_it_back() {
        let mut window = Window::new(2, 2);
        window.sent();
        window.sent();
        assert!(!window.is_open());
        window.received(0);
        window.received(0);
        window.received(0);
        assert!(!window.is_open(), "client 1 has nothing");
        window.received(1);
        assert!(window.is_open());
        window.sent();
        assert!(!window.is_open());
        window.lost(1);
        assert!(window.is_open(), "client 0 lacks one");
        window.lost(0);
        window.lost(0);
        assert!(window.is_open(), "nobody is waited for");
    }

    proptest! {
        #[test]
        fn agrees_with_looking_at_everybody(
            width in 1_u32..5, clients in 1_usize..4, steps in prop::collection::vec((0_u8..8, 0_usize..4), 0..200),
        ) {
            let mut window = Window::new(width, clients);
            let (mut sent, mut counts) = (0, vec![Some(0); clients]);
            for (what, client) in steps {
                let client = client % clients;
                let slowest = |counts: &[Option<u32>], sent| counts.iter().flatten().min().copied().unwrap_or(sent);
                match what {
                    0..=2 if window.is_open() => {
                        window.sent();
                        sent += 1;
                    }
                    7 => {
                        window.lost(client);
                        counts[client] = None;
                    }
                    _ => {
                        window.received(client);
                        counts[client] = counts[client].map(|count: u32| (count + 1).min(sent));
                    }
                }
                prop_assert_eq!(window.is_open(), sent - slowest(&counts, sent) < width);
            }
        }
    }
}
