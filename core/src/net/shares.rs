//! Shares of the senders in what waits for sessions that read slowly.
//!
//! Whispers and nearby messages wait in the recipient's outbox, first come first served. Without
//! shares one sender could fill it, and a friend's words would wait behind all of that.

use std::collections::{HashMap, VecDeque};

use crate::SessionId;
use crate::limits::SENDER_SHARE;

/// Shares in the outboxes of all recipients of a shard for which more waits than a share. Kept
/// apart from the sessions, because few have so much.
#[derive(Debug, Default)]
pub(super) struct Shares(HashMap<SessionId, Waiting>);

/// Messages that wait in one outbox.
#[derive(Debug, Default)]
struct Waiting {
    /// Sender, bytes, and the end in the outbox, counted since the first message.
    messages: VecDeque<(u32, usize, u64)>,
    consumed: u64,
}

impl Shares {
    /// Returns true if a further message of the sender may wait for the recipient. The first one
    /// always may.
    pub(super) fn has_room(&self, recipient: SessionId, sender: u32) -> bool {
        let Some(waiting) = self.0.get(&recipient) else { return true };
        let own = waiting.messages.iter().filter(|(other, ..)| *other == sender).map(|(_, bytes, _)| bytes);
        own.sum::<usize>() < SENDER_SHARE
    }

    /// Counts a message of `bytes` that was queued at the end of the recipient's outbox, which has
    /// `length` bytes now.
    pub(super) fn queued(&mut self, recipient: SessionId, sender: u32, bytes: usize, length: usize) {
        let waiting = self.0.entry(recipient).or_default();
        waiting.messages.push_back((sender, bytes, waiting.consumed + length as u64));
    }

    /// Counts bytes that left the recipient's outbox.
    pub(super) fn consume(&mut self, recipient: SessionId, bytes: usize) {
        if self.0.is_empty() {
            return;
        }
        let Some(waiting) = self.0.get_mut(&recipient) else { return };
        waiting.consumed += bytes as u64;
        while waiting.messages.pop_front_if(|(.., end)| *end <= waiting.consumed).is_some() {}
        if waiting.messages.is_empty() {
            self.0.remove(&recipient);
        }
    }

    /// Forgets a recipient that has ended.
    pub(super) fn forget(&mut self, recipient: SessionId) {
        self.0.remove(&recipient);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_sender_has_a_share_of_its_own_until_its_messages_are_written() {
        let [slow, other] = [1, 2].map(|slot| SessionId::new(0, slot, 0));
        let [loud, quiet] = [1, 2];
        let mut shares = Shares::default();
        let mut length = 100;
        while shares.has_room(slow, loud) {
            length += 1000;
            shares.queued(slow, loud, 1000, length);
        }
        assert!(length <= 100 + SENDER_SHARE + 1000);
        assert!(shares.has_room(slow, quiet) && shares.has_room(other, loud));
        length += 1000;
        shares.queued(slow, quiet, 1000, length);
        shares.consume(slow, 1099);
        assert!(!shares.has_room(slow, loud), "the first message is not written yet");
        shares.consume(slow, 1001);
        assert!(shares.has_room(slow, loud));
        shares.consume(slow, length - 2100);
        assert!(shares.0.is_empty(), "nothing waits");
    }
}
