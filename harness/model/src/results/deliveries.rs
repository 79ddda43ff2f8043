//! Outcome of the deliveries.

use serde::{Deserialize, Serialize};

/// The most missing pairs that are kept as examples.
const EXAMPLES_MAX: usize = 10;

/// Outcome of all (message, recipient) pairs.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "testing", derive(schemars::JsonSchema))]
#[serde(default)]
pub struct Deliveries {
    /// Pairs whose recipient was a member of the audience when the message was sent.
    pub expected: u64,
    /// Expected pairs that arrived.
    pub received: u64,
    /// Expected pairs that did not arrive and that the server did not announce as missed.
    pub missing: u64,
    /// Copies after the first, to any client.
    pub duplicated: u64,
    /// First copies that came after a message with a higher room number, or after a later message
    /// of the same sender, within one stay.
    pub reordered: u64,
    /// Pairs that arrived though the recipient was not a member.
    pub leaked: u64,
    /// Pairs that could not be decided, since the recipient was entering or leaving.
    pub indeterminate: u64,
    /// Undecided pairs that arrived.
    pub indeterminate_received: u64,
    /// Deliveries with the run's prefix that differ from the message, or whose message was never
    /// sent.
    pub corrupted: u64,
    /// Messages without one room number of their own for all recipients.
    pub inconsistent: u64,
    /// Deliveries of messages from outside the run; they are not faults.
    pub foreign: u64,
    /// Messages that were sent and that no client received, not even the sender.
    pub unheard_messages: u64,
    /// Pairs of impaired clients that lie beyond what the client had read at the end. They do not
    /// count as expected.
    pub behind: u64,
    /// Messages that the server announced as missed; the report has them in a section of their own.
    #[serde(skip)]
    pub gaps: Gaps,
    /// The first few missing pairs, by client and message.
    pub missing_examples: Vec<Pair>,
}

/// Messages that slow clients missed and that the server announced to them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "testing", derive(schemars::JsonSchema))]
#[serde(default)]
pub struct Gaps {
    /// Announcements received.
    pub told: u64,
    /// Expected pairs that did not arrive and that were announced.
    pub messages: u64,
    /// Announced pairs of clients that read as fast as they could.
    pub of_readers: u64,
}

impl Gaps {
    /// Adds announced pairs of one client.
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
    /// Faulty deliveries: missing, duplicated, reordered, leaked or corrupted.
    pub fn faults(&self) -> u64 {
        self.missing + self.duplicated + self.reordered + self.leaked + self.corrupted
    }

    /// Adds the outcome of one client's ledger line. `excused` of its missing pairs were announced.
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
        // An announcement has a number only, so any of the missing pairs may be an announced one.
        let shown = usize::try_from(found.missing - excused).unwrap_or(usize::MAX);
        found.missing_examples.into_iter().take(shown).for_each(|pair| self.show(pair));
    }

    /// Keeps a missing pair if it is among the first, by client and message. The result does not
    /// depend on the order of the calls.
    pub fn show(&mut self, pair: Pair) {
        let examples = &mut self.missing_examples;
        let at = examples.partition_point(|known| *known < pair);
        if at < EXAMPLES_MAX {
            examples.insert(at, pair);
            examples.truncate(EXAMPLES_MAX);
        }
    }

    /// All counts. Destructured, so that the compiler notices a field that is left out.
    pub fn counts_mut(&mut self) -> [&mut u64; 16] {
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
            gaps: Gaps { told, messages, of_readers },
            missing_examples: _,
        } = self;
        [
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
            told,
            messages,
            of_readers,
        ]
    }

    /// Adds the outcome of other clients.
    pub fn add(&mut self, mut part: Self) {
        for (sum, more) in self.counts_mut().into_iter().zip(part.counts_mut()) {
            *sum += *more;
        }
        for pair in part.missing_examples {
            self.show(pair);
        }
    }
}
