//! The accounting: every (message, recipient) pair is received, missing, leaked or
//! known to be undecidable; nothing is sampled and nothing is assumed.
//!
//! Each worker thread fills a [`Tally`] for its own clients, without locks and without
//! allocating per delivery. After the run [`settle`] puts the tallies together: only
//! then is it known when the server had dealt with each message, and so who was in the
//! room for it.
//!
//! What a client must get follows from times that the harness saw itself:
//! ```text
//!      asked   entered                        asked out   gone
//!        |        |                               |        |
//!  ------+........+===============================+........+------   . undecidable
//!                    sent ----- first received
//! ```
//! A message lies somewhere between its sending and the moment the server is known to
//! have dealt with it: when anybody had received it, or a later message of the same sender
//! (one connection keeps its order). The client is a member for it if all of that lies in
//! the stay, outside if none of it can, and otherwise the pair is counted as
//! indeterminate, received or not.

mod membership;
mod messages;
mod received;
mod settle;
#[cfg(test)]
mod tests;

use std::sync::Arc;

pub use messages::{MessageLog, MessageTimes};
pub use settle::{Deliveries, Pair, Settlement, settle};

use crate::clock::Nanos;
use crate::schedule::Traffic;
use membership::Membership;
use received::ReceivedSet;

/// What a delivery was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Receipt {
    /// The client's first copy of a message.
    First,
    /// A further copy.
    Duplicate,
    /// No message of this number is part of the run.
    Invented,
}

/// One client's account.
#[derive(Debug, Default)]
struct Account {
    /// The client's number in the run.
    id: u32,
    received: ReceivedSet,
    /// One more than the highest message number received in this stay.
    index_ceiling: u32,
    /// The highest room number received in this stay.
    highest_sequence: u64,
    stays: Vec<Membership>,
}

/// What one worker knows of its clients and of all messages.
///
/// A client is named by its place in the tally. Times must come from the run's one clock.
#[derive(Debug)]
pub struct Tally {
    traffic: Arc<Traffic>,
    accounts: Vec<Account>,
    log: MessageLog,
    counts: Counts,
}

/// What can be counted as it happens.
#[derive(Debug, Default, Clone, Copy)]
struct Counts {
    received: u64,
    duplicated: u64,
    reordered: u64,
    invented: u64,
    corrupt: u64,
    foreign: u64,
}

impl Tally {
    /// An empty account for each of the clients `ids` (their numbers in the run).
    pub fn new(traffic: Arc<Traffic>, ids: impl IntoIterator<Item = u32>) -> Self {
        let accounts = ids.into_iter().map(|id| Account { id, ..Account::default() }).collect();
        let log = MessageLog::new(traffic.messages());
        Self { traffic, accounts, log, counts: Counts::default() }
    }

    /// The client is about to ask to enter.
    pub fn asked_in(&mut self, client: usize, now: Nanos) {
        let account = &mut self.accounts[client];
        // Another stay is another session: what it brings has an order of its own.
        account.index_ceiling = 0;
        account.highest_sequence = 0;
        account.stays.push(Membership::asked(now));
    }

    /// The server has confirmed that the client is in.
    pub fn entered(&mut self, client: usize, now: Nanos) {
        if let Some(stay) = self.accounts[client].stays.last_mut() {
            stay.entered(now);
        }
    }

    /// The client is about to ask to leave.
    pub fn asked_out(&mut self, client: usize, now: Nanos) {
        if let Some(stay) = self.accounts[client].stays.last_mut() {
            stay.asked_out(now);
        }
    }

    /// The client is out: it got the answer to its asking, or its session ended.
    pub fn gone(&mut self, client: usize, now: Nanos) {
        if let Some(stay) = self.accounts[client].stays.last_mut() {
            stay.gone(now);
        }
    }

    /// Message `index` is about to be handed to its sender's connection. A client that sends must
    /// not begin another stay before it is out of the last one: order holds within a connection.
    pub fn sent(&mut self, index: u32, now: Nanos) {
        let known = self.log.sent(index, now);
        debug_assert!(known, "message {index} is not in the schedule");
    }

    /// The client received message `index` under the room's number `sequence`.
    pub fn delivered(&mut self, client: usize, index: u32, sequence: u64, now: Nanos) -> Receipt {
        if index >= self.traffic.messages() {
            self.counts.invented += 1;
            return Receipt::Invented;
        }
        let account = &mut self.accounts[client];
        if !account.received.insert(index) {
            self.counts.duplicated += 1;
            return Receipt::Duplicate;
        }
        self.counts.received += 1;
        let late = sequence < account.highest_sequence
            || (index < account.index_ceiling
                && self
                    .traffic
                    .later_by_same_sender(index)
                    .take_while(|later| *later < account.index_ceiling)
                    .any(|later| account.received.contains(later)));
        self.counts.reordered += u64::from(late);
        account.highest_sequence = account.highest_sequence.max(sequence);
        account.index_ceiling = account.index_ceiling.max(index + 1);
        self.log.received(index, sequence, now);
        Receipt::First
    }

    /// A client received a message with this run's mark that is not what was sent.
    pub fn corrupt(&mut self) {
        self.counts.corrupt += 1;
    }

    /// A client received a message that is none of this run's.
    pub fn foreign(&mut self) {
        self.counts.foreign += 1;
    }

    /// First copies received so far, by all clients of this tally.
    pub fn received(&self) -> u64 {
        self.counts.received
    }
}
