//! Shares of the senders in what waits for a session that reads slowly.
//!
//! Whispers and nearby messages wait in the recipient's outbox, first come first served. Without
//! shares one sender could fill it, and a friend's words would wait behind all of that.

use std::collections::VecDeque;

use crate::SessionId;
use crate::limits::SENDER_SHARE;

/// Messages that wait in one session's outbox, with their senders. There is none for a session
/// whose socket accepts what it gets.
#[derive(Debug, Default)]
pub(super) struct Shares {
    /// Sender, bytes, and the end in the outbox, counted since the first message.
    waiting: VecDeque<(SessionId, usize, u64)>,
    consumed: u64,
}

impl Shares {
    /// Returns true if a further message of the sender may wait. The first one always may.
    pub(super) fn has_room(&self, sender: SessionId) -> bool {
        let own = self.waiting.iter().filter(|(other, ..)| *other == sender).map(|(_, bytes, _)| bytes);
        own.sum::<usize>() < SENDER_SHARE
    }

    /// Counts a message of `bytes` that was queued at the end of an outbox, which has `length`
    /// bytes now.
    pub(super) fn queued(&mut self, sender: SessionId, bytes: usize, length: usize) {
        self.waiting.push_back((sender, bytes, self.consumed + length as u64));
    }

    /// Counts bytes that left the outbox. Returns true if no message waits any more.
    pub(super) fn consume(&mut self, bytes: usize) -> bool {
        self.consumed += bytes as u64;
        while self.waiting.pop_front_if(|(.., end)| *end <= self.consumed).is_some() {}
        self.waiting.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_sender_has_a_share_of_its_own_until_its_messages_are_written() {
        let [loud, quiet] = [1, 2].map(|slot| SessionId::new(0, slot, 0));
        let mut shares = Shares::default();
        let mut length = 100;
        while shares.has_room(loud) {
            length += 1000;
            shares.queued(loud, 1000, length);
        }
        assert!(length <= 100 + SENDER_SHARE + 1000 && shares.has_room(quiet));
        length += 1000;
        shares.queued(quiet, 1000, length);
        assert!(!shares.consume(1099), "the first message is not written yet");
        assert!(!shares.has_room(loud));
        assert!(!shares.consume(1001));
        assert!(shares.has_room(loud));
        assert!(shares.consume(length - 2100), "nothing waits");
    }
}
