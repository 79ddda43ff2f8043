//! The accounting: every (message, recipient) pair is received, missing, leaked or indeterminate.
//! Nothing is sampled and nothing is assumed.
//!
//! Each worker thread fills a [`DeliveryLedger`] for its own clients, without locks and without
//! allocating per delivery. After the run, [`settle`] merges the ledgers. Only then are the times
//! known by which the server had handled each message, and so its recipients.
//!
//! The obligations of the server follow from times that the harness observed itself:
//! ```text
//!    requested  entered                      leave requested  gone
//!        |        |                               |            |
//!  ------+........+===============================+............+------   . indeterminate
//!                    sent ----- first received
//! ```
//! The server handles a message between its sending and the first receipt of that message or of a
//! later one by the same sender, since a connection keeps its order. The client is a member for the
//! message if that whole interval lies in the stay, and outside if no part of it can. Otherwise the
//! pair is counted as indeterminate, received or not.
//!
//! Each audience (see [`throng_harness_model::audiences`]) is accounted for separately: it numbers
//! its messages itself. A client has a `Line` for each audience that it belonged to or received
//! from. After the server has confirmed that the client is out of a channel, any message of the
//! channel is a leak, whenever it was sent.
//!
//! With several processes (`shared`), each settles its own clients. First it has to learn when each
//! message was sent and received: some 20 bytes a message, independent of the number of recipients.

mod membership;
mod messages;
mod received;
mod settle;
mod shared;
mod spread;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod walks;

use std::sync::Arc;

use throng_harness_model::audiences::{WHISPERS, WORLD};
use throng_harness_model::clock::Nanos;
use throng_harness_model::schedule::Traffic;

pub use messages::{MessageLog, MessageTimes};
pub use settle::{Settlement, settle};
pub use shared::{Page, Part};

use membership::Stays;
use received::ReceivedSet;

/// Classification of a delivery.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Receipt {
    /// The client's first copy of a message.
    First,
    /// A further copy.
    Duplicate,
    /// The run has no message of this number.
    Invented,
    /// The message is certainly not for this client.
    Leaked,
}

/// One client's account with one audience. Kept small: a client has up to eleven lines, and there
/// are thousands of clients.
#[derive(Debug)]
struct Line {
    audience: u32,
    /// One more than the highest message number received in this stay.
    ceiling: u32,
    /// The highest room number received in this stay.
    highest_sequence: u64,
    /// Messages that the server announced as missed; saturates.
    announced: u32,
    /// Received messages, by their numbers in this audience.
    received: ReceivedSet,
    stays: Stays,
}

const _: () = assert!(size_of::<Line>() <= 80);

/// One client's account.
#[derive(Debug)]
struct Account {
    /// The client's number in the run.
    id: u32,
    /// Lines in order of their audiences, so the first is that of the world.
    lines: Vec<Line>,
    /// True if the client reads slowly, or not at all, on purpose.
    is_impaired: bool,
    /// Nearby messages and whispers that the server announced as missed; saturates.
    announced_private: u64,
}

impl Line {
    fn new(audience: u32) -> Self {
        let (received, stays) = (ReceivedSet::default(), Stays::default());
        Self { audience, ceiling: 0, highest_sequence: 0, announced: 0, received, stays }
    }
}

impl Account {
    fn new(id: u32) -> Self {
        Self { id, lines: vec![Line::new(WORLD)], is_impaired: false, announced_private: 0 }
    }

    /// Returns the line of `audience`, which is created if necessary.
    fn line(&mut self, audience: u32) -> &mut Line {
        let known = self.lines.binary_search_by_key(&audience, |line| line.audience);
        let at = known.unwrap_or_else(|at| {
            self.lines.reserve_exact(1);
            self.lines.insert(at, Line::new(audience));
            at
        });
        &mut self.lines[at]
    }
}

/// Bits of a whisper: received by its recipient, and by its sender.
const BY_RECIPIENT: u8 = 1;
const BY_SENDER: u8 = 2;

/// One worker's record of its clients and of all messages.
///
/// Clients are identified by their index in the ledger. Times must come from the run's single
/// clock.
#[derive(Debug, Default)]
pub struct DeliveryLedger {
    traffic: Arc<Traffic>,
    accounts: Vec<Account>,
    log: MessageLog,
    /// Receipts of each whisper, in bits: its two pairs need no account.
    whispers: Vec<u8>,
    counts: Counts,
}

/// Counts that are final as soon as the event happens.
#[derive(Debug, Default, Clone, Copy)]
struct Counts {
    received: u64,
    duplicated: u64,
    reordered: u64,
    invented: u64,
    corrupt: u64,
    foreign: u64,
    leaked: u64,
    gaps_announced: u64,
}

impl DeliveryLedger {
    /// Returns a ledger with an empty account for each of the clients `ids` (their numbers in the
    /// run).
    pub fn new(traffic: Arc<Traffic>, ids: impl IntoIterator<Item = u32>) -> Self {
        let accounts = ids.into_iter().map(Account::new).collect();
        let log = MessageLog::new(traffic.messages());
        let whispers = vec![0; traffic.count(WHISPERS) as usize];
        Self { traffic, accounts, log, whispers, counts: Counts::default() }
    }

    /// Notes that the client is about to request to enter.
    pub fn entry_requested(&mut self, client: usize, now: Nanos) {
        let account = &mut self.accounts[client];
        // Another stay is another session, with an order of its own.
        for line in &mut account.lines {
            (line.ceiling, line.highest_sequence) = (0, 0);
        }
        account.line(WORLD).stays.begin(now);
    }

    /// Notes that the server confirmed the client's entering.
    pub fn entered(&mut self, client: usize, now: Nanos) {
        self.joined(client, WORLD, now);
    }

    /// Returns the time at which the client last entered, if it did.
    pub fn entered_at(&self, client: usize) -> Option<Nanos> {
        self.accounts.get(client)?.lines.first()?.stays.entered_at()
    }

    /// Notes that the client is about to request to leave.
    pub fn exit_requested(&mut self, client: usize, now: Nanos) {
        self.leaving(client, WORLD, now);
    }

    /// Ends all stays of the client: its leaving was confirmed, or its session ended.
    pub fn session_ended(&mut self, client: usize, now: Nanos) {
        for line in &mut self.accounts[client].lines {
            line.stays.ended(now);
        }
    }

    /// Notes that the client is about to request to join an audience other than the world.
    pub fn joining(&mut self, client: usize, audience: u32, now: Nanos) {
        self.accounts[client].line(audience).stays.begin(now);
    }

    /// Notes that the server confirmed the client's membership in the audience.
    pub fn joined(&mut self, client: usize, audience: u32, now: Nanos) {
        self.accounts[client].line(audience).stays.entered(now);
    }

    /// Notes that the client is about to request to leave an audience.
    pub fn leaving(&mut self, client: usize, audience: u32, now: Nanos) {
        self.accounts[client].line(audience).stays.leave_requested(now);
    }

    /// Notes that the server confirmed the client's leaving. From now on any message of the
    /// audience has leaked, whenever it was sent.
    pub fn left(&mut self, client: usize, audience: u32, now: Nanos) {
        self.accounts[client].line(audience).stays.confirmed_out(now);
    }

    /// Ends the client's membership. Unlike with [`Self::left`], messages sent before may still
    /// arrive.
    pub fn membership_ended(&mut self, client: usize, audience: u32, now: Nanos) {
        self.accounts[client].line(audience).stays.ended(now);
    }

    /// Marks a client that reads slowly, or not at all, on purpose. Messages that it has not read
    /// yet count against neither side.
    pub fn impair(&mut self, client: usize) {
        self.accounts[client].is_impaired = true;
    }

    /// Notes that the server announced a gap of `missed` messages: of the audience or, with `None`,
    /// of nearby messages and whispers.
    pub fn gap(&mut self, client: usize, audience: Option<u32>, missed: u64) {
        self.counts.gaps_announced += 1;
        let account = &mut self.accounts[client];
        match audience {
            Some(audience) => {
                let announced = &mut account.line(audience).announced;
                *announced = announced.saturating_add(u32::try_from(missed).unwrap_or(u32::MAX));
            }
            None => account.announced_private = account.announced_private.saturating_add(missed),
        }
    }

    /// Notes that message `index` is about to be handed to its sender's connection. A sender must
    /// not begin another stay before the last one has ended, since order holds within a connection.
    pub fn sent(&mut self, index: u32, now: Nanos) {
        let known = self.log.sent(index, now);
        debug_assert!(known, "message {index} is not in the schedule");
    }

    /// Records that the client received message `index` under the room's number `sequence`.
    pub fn delivered(&mut self, client: usize, index: u32, sequence: u64, now: Nanos) -> Receipt {
        if index >= self.traffic.messages() {
            self.counts.invented += 1;
            return Receipt::Invented;
        }
        let (audience, ordinal) = self.traffic.place(index);
        if audience == WHISPERS {
            return self.whispered(client, index, ordinal, now);
        }
        let account = &mut self.accounts[client];
        let is_impaired = account.is_impaired;
        let line = account.line(audience);
        if line.stays.is_out() {
            self.counts.leaked += 1;
            return Receipt::Leaked;
        }
        if !line.received.insert(ordinal) {
            self.counts.duplicated += 1;
            return Receipt::Duplicate;
        }
        self.counts.received += 1;
        let is_late = sequence < line.highest_sequence
            || (ordinal < line.ceiling
                && self
                    .traffic
                    .later_to_same(index)
                    .map(|later| self.traffic.place(later).1)
                    .take_while(|later| *later < line.ceiling)
                    .any(|later| line.received.contains(later)));
        self.counts.reordered += u64::from(is_late);
        line.highest_sequence = line.highest_sequence.max(sequence);
        line.ceiling = line.ceiling.max(ordinal + 1);
        // A receipt at an impaired client says nothing about the latency of the message.
        if !is_impaired {
            self.log.received(index, sequence, now);
        }
        Receipt::First
    }

    /// Records that the server refused the client's message `index`, which then counts as not sent.
    /// Returns false, without effect, if the message is not the client's own.
    pub fn refused(&mut self, client: usize, index: u32) -> bool {
        let is_own = self.traffic.sender(index) == Some(self.accounts[client].id);
        if is_own {
            self.log.refused(index);
        }
        is_own
    }

    /// Records that the client received whisper `index`, which is number `ordinal` among whispers.
    fn whispered(&mut self, client: usize, index: u32, ordinal: u32, now: Nanos) -> Receipt {
        let id = Some(self.accounts[client].id);
        let bit = match () {
            () if id == self.traffic.whispered_to(ordinal) => BY_RECIPIENT,
            () if id == self.traffic.sender(index) => BY_SENDER,
            () => {
                self.counts.leaked += 1;
                return Receipt::Leaked;
            }
        };
        let bits = &mut self.whispers[ordinal as usize];
        if *bits & bit != 0 {
            self.counts.duplicated += 1;
            return Receipt::Duplicate;
        }
        *bits |= bit;
        self.counts.received += 1;
        if !self.accounts[client].is_impaired {
            self.log.received(index, 0, now);
        }
        Receipt::First
    }

    /// Counts a message that has this run's mark but differs from the one sent.
    pub fn corrupt(&mut self) {
        self.counts.corrupt += 1;
    }

    /// Counts a message from outside this run.
    pub fn foreign(&mut self) {
        self.counts.foreign += 1;
    }

    /// Returns true if the client has received message `index`, which must not be a whisper.
    pub fn has_received(&self, client: usize, index: u32) -> bool {
        if index >= self.traffic.messages() {
            return false;
        }
        let (audience, ordinal) = self.traffic.place(index);
        let mut lines = self.accounts[client].lines.iter();
        lines.find(|line| line.audience == audience).is_some_and(|line| line.received.contains(ordinal))
    }

    /// Returns the number of first copies received so far by all clients of this ledger.
    pub fn received(&self) -> u64 {
        self.counts.received
    }
}
