//! The window of a closed loop: the number of messages that the sender may be ahead of the slowest
//! recipient.
//!
//! Messages are counted, not identified: the n-th message that a client receives is taken for the
//! n-th that was sent. Each incomplete message has a counter of the clients that received it. So a
//! delivery costs one addition and no scan over the clients.

/// Window over clients that each receive every message once.
#[derive(Debug)]
pub struct Window {
    /// Upper bound of incomplete messages, those that some client has not received.
    width: u32,
    sent: u32,
    /// Messages that every client has received.
    complete: u32,
    /// Number of clients that received each incomplete message, indexed by message modulo `width`.
    receivers: Vec<u32>,
    /// Messages received by each client; `None` once the client is lost.
    counts: Vec<Option<u32>>,
    present: u32,
}

impl Window {
    /// Returns a window of `width` messages (at least 1) over `clients` clients.
    pub fn new(width: u32, clients: usize) -> Self {
        let width = width.max(1);
        Self {
            width,
            sent: 0,
            complete: 0,
            receivers: vec![0; width as usize],
            counts: vec![Some(0); clients],
            present: clients as u32,
        }
    }

    /// Returns true if another message may be sent now.
    pub fn is_open(&self) -> bool {
        self.sent - self.complete < self.width
    }

    /// Counts a sent message.
    pub fn sent(&mut self) {
        self.sent += 1;
        // Without clients the message is complete at once.
        self.advance();
    }

    /// Counts the first copy of a further message at `client`.
    pub fn received(&mut self, client: usize) {
        let Some(count) = self.counts.get_mut(client).and_then(Option::as_mut) else { return };
        // Surplus messages are not an error here; the ledger reports them.
        if *count >= self.sent {
            return;
        }
        let slot = (*count % self.width) as usize;
        *count += 1;
        self.receivers[slot] += 1;
        if self.receivers[slot] == self.present {
            self.advance();
        }
    }

    /// Removes a lost client, so that it no longer holds the window back.
    pub fn lost(&mut self, client: usize) {
        let Some(count) = self.counts.get_mut(client).and_then(Option::take) else { return };
        self.present -= 1;
        for message in self.complete..count {
            self.receivers[(message % self.width) as usize] -= 1;
        }
        self.advance();
    }

    /// Advances over messages that have become complete.
    fn advance(&mut self) {
        while self.complete < self.sent
            && self.receivers[(self.complete % self.width) as usize] == self.present
        {
            self.receivers[(self.complete % self.width) as usize] = 0;
            self.complete += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_slowest_client_holds_the_window_back() {
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
        assert!(window.is_open(), "no client is left");
    }

    proptest! {
        #[test]
        fn agrees_with_a_scan_over_all_clients(
            width in 1_u32..5, clients in 1_usize..4, steps in prop::collection::vec((0_u8..8, 0_usize..4), 0..200),
        ) {
            let mut window = Window::new(width, clients);
            let (mut sent, mut counts) = (0, vec![Some(0); clients]);
            for (action, client) in steps {
                let client = client % clients;
                let slowest = |counts: &[Option<u32>], sent| counts.iter().flatten().min().copied().unwrap_or(sent);
                match action {
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
