//! What became of the messages.

use serde::{Deserialize, Serialize};

/// Missing pairs that are kept to be shown.
const EXAMPLES_MAX: usize = 10;

/// What became of all (message, recipient) pairs.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "testing", derive(schemars::JsonSchema))]
#[serde(default)]
pub struct Deliveries {
    /// Pairs in which the recipient was a member for the message.
    pub expected: u64,
    /// Expected pairs that arrived.
    pub received: u64,
    /// Expected pairs that did not arrive, and of which the recipient was not told either.
    pub missing: u64,
    /// Copies after the first, whoever got them.
    pub duplicated: u64,
    /// First copies that came after a message with a higher room number, or after a later
    /// message of the same sender, in the same stay.
    pub reordered: u64,
    /// Pairs that arrived though the recipient was outside.
    pub leaked: u64,
    /// Pairs that could not be decided: the recipient's entering or leaving was under way.
    pub indeterminate: u64,
    /// Of these, the ones that arrived.
    pub indeterminate_received: u64,
    /// Deliveries with the run's mark that are not what was sent, or that nobody sent.
    pub corrupted: u64,
    /// Messages without one room number of their own for all recipients.
    pub inconsistent: u64,
    /// Deliveries of others' messages. They are nobody's fault.
    pub foreign: u64,
    /// Messages that were sent and that nobody received, not even the sender.
    pub unheard_messages: u64,
    /// Pairs of clients that read slowly, or not at all, on purpose, which they had not come to at the end. They are not expected.
    pub behind: u64,
    /// What the server said that it did not deliver, in the report a part of its own.
    #[serde(skip)]
    pub gaps: Gaps,
    /// The first few missing pairs, by client and message.
    pub missing_examples: Vec<Pair>,
}

/// What clients missed because they were too slow, and were told.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "testing", derive(schemars::JsonSchema))]
#[serde(default)]
pub struct Gaps {
    /// How often a client was told that it had missed messages.
    pub told: u64,
    /// Expected pairs that did not arrive and that a client was told of.
    pub messages: u64,
    /// Of these, the ones of clients that read as fast as they could: neither deaf nor slow on purpose.
    pub of_readers: u64,
}

impl Gaps {
    /// So many pairs that a client was told of.
    pub fn excuse(&mut self, pairs: u64, is_impaired: bool) {
        self.messages += pairs;
        self.of_readers += if is_impaired { 0 } else { pairs };
    }
}

/// A message and one of its recipients.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(feature = "testing", derive(schemars::JsonSchema))]
pub struct Pair {
    /// The client's number in the run.
    pub client: u32,
    /// The message's number in the run.
    pub message: u32,
}

impl Deliveries {
    /// Deliveries, and lacks of one, that must not be: missing, duplicated, reordered, leaked and corrupted ones.
    pub fn faults(&self) -> u64 {
        self.missing + self.duplicated + self.reordered + self.leaked + self.corrupted
    }

    /// Adds what was found of one line, of which so many missing ones the client was told of.
    pub fn add_line(&mut self, found: Self, excused: u64, is_impaired: bool) {
        self.expected += found.expected;
        self.received += found.received;
        self.missing += found.missing - excused;
        self.gaps.excuse(excused, is_impaired);
        self.leaked += found.leaked;
        self.indeterminate += found.indeterminate;
        self.indeterminate_received += found.indeterminate_received;
        self.corrupted += found.corrupted;
        self.behind += found.behind;
        // Which of them it was told of nobody knows.
        let shown = usize::try_from(found.missing - excused).unwrap_or(usize::MAX);
        found.missing_examples.into_iter().take(shown).for_each(|pair| self.show(pair));
    }

    /// Keeps a missing pair if it is one of the first, by client and message: the same ones whoever settles which clients, in
    /// whatever order.
    pub fn show(&mut self, pair: Pair) {
        let shown = &mut self.missing_examples;
        let at = shown.partition_point(|known| *known < pair);
        if at < EXAMPLES_MAX {
            shown.insert(at, pair);
            shown.truncate(EXAMPLES_MAX);
        }
    }

    /// Adds what was found of other clients.
    pub fn add(&mut self, part: Self) {
        // Every field by its name, so that none is forgotten.
        let Self {
            expected,
            received,
            missing,
            duplicated,
            reordered,
            leaked,
            indeterminate,
            indeterminate_received,
            corrupted,
            inconsistent,
            foreign,
            unheard_messages,
            behind,
            gaps,
            missing_examples,
        } = part;
        for (sum, more) in [
            (&mut self.expected, expected),
            (&mut self.received, received),
            (&mut self.missing, missing),
            (&mut self.duplicated, duplicated),
            (&mut self.reordered, reordered),
            (&mut self.leaked, leaked),
            (&mut self.indeterminate, indeterminate),
            (&mut self.indeterminate_received, indeterminate_received),
            (&mut self.corrupted, corrupted),
            (&mut self.inconsistent, inconsistent),
            (&mut self.foreign, foreign),
            (&mut self.unheard_messages, unheard_messages),
            (&mut self.behind, behind),
            (&mut self.gaps.told, gaps.told),
            (&mut self.gaps.messages, gaps.messages),
            (&mut self.gaps.of_readers, gaps.of_readers),
        ] {
            *sum += more;
        }
        for pair in missing_examples {
            self.show(pair);
        }
    }
}
