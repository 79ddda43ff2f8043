//! The times of each message, over all recipients.

use serde::{Deserialize, Serialize};
use throng_harness_model::clock::{NEVER, Nanos};

/// Sequence number of a message that no client received.
const UNSEEN: u64 = u64::MAX;
/// Sequence number of a message that clients received under different numbers.
const CONFLICT: u64 = u64::MAX - 1;

/// Times of one message, as one worker saw them or merged over all workers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct MessageTimes {
    /// Time when the message was handed to its sender's connection; [`NEVER`] if it was not.
    pub sent: Nanos,
    /// Time of the first receipt; [`NEVER`] if no client received the message.
    pub first: Nanos,
    /// Time of the last receipt so far; 0 if no client received the message.
    pub last: Nanos,
    /// Number in the room, or [`UNSEEN`] or [`CONFLICT`].
    sequence: u64,
}

impl MessageTimes {
    const NEW: Self = Self { sent: NEVER, first: NEVER, last: 0, sequence: UNSEEN };

    /// Returns true if the message was sent.
    pub fn was_sent(&self) -> bool {
        self.sent != NEVER
    }

    /// Returns true if any client received the message.
    pub fn was_received(&self) -> bool {
        self.first != NEVER
    }

    /// Returns the number in the room, if all recipients saw the same one.
    pub(super) fn sequence(&self) -> Option<u64> {
        Some(self.sequence).filter(|sequence| *sequence < CONFLICT)
    }

    /// Merges another worker's times of the same message.
    fn merge(&mut self, other: &Self) {
        self.sent = self.sent.min(other.sent);
        self.first = self.first.min(other.first);
        self.last = self.last.max(other.last);
        self.see(other.sequence);
    }

    fn see(&mut self, sequence: u64) {
        self.sequence = match (self.sequence, sequence) {
            (known, UNSEEN) => known,
            (UNSEEN, new) => new,
            (known, new) if known == new => known,
            _ => CONFLICT,
        };
    }
}

/// All messages of a run, by number. Takes 32 bytes a message, allocated before the run.
#[derive(Debug, Default)]
pub struct MessageLog(Vec<MessageTimes>);

impl MessageLog {
    pub(super) fn new(messages: u32) -> Self {
        Self(vec![MessageTimes::NEW; messages as usize])
    }

    /// Notes that message `index` was sent. Returns false if there is no such message.
    pub(super) fn sent(&mut self, index: u32, now: Nanos) -> bool {
        self.0.get_mut(index as usize).map(|message| message.sent = now).is_some()
    }

    /// Notes that message `index` was refused, which counts as not sent.
    pub(super) fn refused(&mut self, index: u32) {
        if let Some(message) = self.0.get_mut(index as usize) {
            message.sent = NEVER;
        }
    }

    /// Notes the first copy at a recipient.
    pub(super) fn received(&mut self, index: u32, sequence: u64, now: Nanos) {
        if let Some(message) = self.0.get_mut(index as usize) {
            message.first = message.first.min(now);
            message.last = message.last.max(now);
            // The two highest numbers of 2^64 are reserved.
            message.see(sequence.min(CONFLICT));
        }
    }

    /// Merges another worker's log of the same messages.
    pub(super) fn merge(&mut self, other: &Self) {
        self.merge_from(0, &other.0);
    }

    /// Merges another worker's times of the messages from `first` on.
    pub(super) fn merge_from(&mut self, first: usize, others: &[MessageTimes]) {
        let ours = self.0.get_mut(first..).unwrap_or_default();
        ours.iter_mut().zip(others).for_each(|(ours, theirs)| ours.merge(theirs));
    }

    /// Returns the messages in order of their numbers.
    pub(super) fn messages(&self) -> &[MessageTimes] {
        &self.0
    }

    pub(super) fn get(&self, index: u32) -> Option<&MessageTimes> {
        self.0.get(index as usize)
    }

    /// Iterates over the messages in order of their numbers.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = &MessageTimes> + ExactSizeIterator + Clone {
        self.0.iter()
    }

    /// Returns the numbers of the sent messages in ascending order.
    pub fn sent_messages(&self) -> impl Iterator<Item = u32> + Clone {
        self.iter().zip(0..).filter(|(message, _)| message.was_sent()).map(|(_, index)| index)
    }

    /// Counts messages that recipients saw under different numbers, or that share their number with
    /// another message of the same room. `room` returns the room of a message, if it has one.
    pub(super) fn inconsistent(&self, room: impl Fn(u32) -> Option<u32>) -> u64 {
        let seen = self.0.iter().zip(0..).filter(|(message, _)| message.sequence != UNSEEN);
        let mut numbers: Vec<_> =
            seen.filter_map(|(message, index)| Some((room(index)?, message.sequence))).collect();
        numbers.sort_unstable();
        numbers
            .chunk_by(PartialEq::eq)
            .filter(|group| group.len() > 1 || group[0].1 == CONFLICT)
            .map(|group| group.len() as u64)
            .sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Checks the number of inconsistent messages, given the numbers that two workers saw of each
    /// message.
    fn check(messages: &[(&[u64], &[u64])], inconsistent: u64) {
        let mut logs = [MessageLog::new(messages.len() as u32), MessageLog::new(messages.len() as u32)];
        for (index, (first, second)) in messages.iter().enumerate() {
            first.iter().for_each(|sequence| logs[0].received(index as u32, *sequence, 1));
            second.iter().for_each(|sequence| logs[1].received(index as u32, *sequence, 1));
        }
        let [mut merged, other] = logs;
        merged.merge(&other);
        assert_eq!(merged.inconsistent(|_| Some(0)), inconsistent, "{messages:?}");
        assert_eq!(merged.inconsistent(|_| None), 0);
    }

    #[test]
    fn inconsistent_numbers_are_counted() {
        check(&[(&[1, 1], &[1]), (&[2], &[]), (&[], &[3]), (&[], &[])], 0);
        check(&[(&[1, 2], &[]), (&[3], &[3])], 1);
        check(&[(&[1], &[2]), (&[3], &[3])], 1);
        check(&[(&[1, 2, 1], &[1])], 1);
        check(&[(&[7], &[7]), (&[7], &[]), (&[8], &[8])], 2);
        check(&[(&[u64::MAX], &[u64::MAX])], 1);
    }

    #[test]
    fn times_are_merged_over_workers() {
        let (mut one, mut two) = (MessageLog::new(2), MessageLog::new(2));
        assert!(one.sent(0, 10) && !one.sent(2, 10));
        one.received(0, 1, 15);
        two.received(0, 1, 12);
        two.received(0, 1, 20);
        one.merge(&two);
        let [first, second] = [one.0[0], one.0[1]];
        assert_eq!((first.sent, first.first, first.last), (10, 12, 20));
        assert!(!second.was_sent() && !second.was_received());
    }
}
