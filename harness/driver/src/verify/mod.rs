//! The accounting: every (message, recipient) pair is received, missing, leaked or
//! known to be undecidable; nothing is sampled and nothing is assumed.
//!
//! Each worker thread fills a [`DeliveryLedger`] for its own clients, without locks and without
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
//!
//! That holds for each audience (see [`throng_harness_model::audiences`]) by itself: messages are numbered within their audience, and a client has
//! an account (a `Line`) with each that it belonged to, or got something of. After it has been told that it is out
//! of a channel, anything of it is a leak, whenever it was sent.
//!
//! Where the clients are dealt to several processes (`shared`), each settles its own: what it has to hear of the others first is
//! when each message was sent and received, some 20 bytes each, and not who received it.

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

/// What a delivery was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Receipt {
    /// The client's first copy of a message.
    First,
    /// A further copy.
    Duplicate,
    /// No message of this number is part of the run.
    Invented,
    /// The client is known not to be among those whom it is for.
    Leaked,
}

/// One client's account with one audience. A client has up to eleven of them, and there are thousands of clients.
#[derive(Debug)]
struct Line {
    audience: u32,
    /// One more than the highest of the numbers received in this stay.
    ceiling: u32,
    /// The highest room number received in this stay.
    highest_sequence: u64,
    /// Messages that the server has said it did not deliver; it stays at the highest number there is.
    told: u32,
    /// By the messages' numbers in this audience.
    received: ReceivedSet,
    stays: Stays,
}

const _: () = assert!(size_of::<Line>() <= 80);

/// One client's account.
#[derive(Debug)]
struct Account {
    /// The client's number in the run.
    id: u32,
    /// In the order of their audiences, and so first the one with everybody.
    lines: Vec<Line>,
    /// Whether the client reads slowly, or not at all, on purpose.
    is_impaired: bool,
    /// Messages from nearby and whispers that the server has said it did not deliver.
    told_privately: u64,
}

impl Line {
    fn new(audience: u32) -> Self {
        let (received, stays) = (ReceivedSet::default(), Stays::default());
        Self { audience, ceiling: 0, highest_sequence: 0, told: 0, received, stays }
    }
}

impl Account {
    fn new(id: u32) -> Self {
        Self { id, lines: vec![Line::new(WORLD)], is_impaired: false, told_privately: 0 }
    }

    /// The line of `audience`, made if there is none.
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

/// Bits of a whisper: its recipient has it, and its sender.
const BY_RECIPIENT: u8 = 1;
const BY_SENDER: u8 = 2;

/// What one worker knows of its clients and of all messages.
///
/// A client is named by its place in the tally. Times must come from the run's one clock.
#[derive(Debug, Default)]
pub struct DeliveryLedger {
    traffic: Arc<Traffic>,
    accounts: Vec<Account>,
    log: MessageLog,
    /// Who has each whisper: two pairs a message need no account.
    whispers: Vec<u8>,
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
    leaked: u64,
    gaps_told: u64,
}

impl DeliveryLedger {
    /// An empty account for each of the clients `ids` (their numbers in the run).
    pub fn new(traffic: Arc<Traffic>, ids: impl IntoIterator<Item = u32>) -> Self {
        let accounts = ids.into_iter().map(Account::new).collect();
        let log = MessageLog::new(traffic.messages());
        let whispers = vec![0; traffic.count(WHISPERS) as usize];
        Self { traffic, accounts, log, whispers, counts: Counts::default() }
    }

    /// The client is about to ask to enter.
    pub fn asked_in(&mut self, client: usize, now: Nanos) {
        let account = &mut self.accounts[client];
        // Another stay is another session: what it brings has an order of its own.
        for line in &mut account.lines {
            (line.ceiling, line.highest_sequence) = (0, 0);
        }
        account.line(WORLD).stays.begin(now);
    }

    /// The server has confirmed that the client is in.
    pub fn entered(&mut self, client: usize, now: Nanos) {
        self.joined(client, WORLD, now);
    }

    /// When the client last came in; none if it never did.
    pub fn entered_at(&self, client: usize) -> Option<Nanos> {
        self.accounts.get(client)?.lines.first()?.stays.entered_at()
    }

    /// The client is about to ask to leave.
    pub fn asked_out(&mut self, client: usize, now: Nanos) {
        self.leaving(client, WORLD, now);
    }

    /// The client is out of everything: it got the answer to its asking, or its session ended.
    pub fn gone(&mut self, client: usize, now: Nanos) {
        for line in &mut self.accounts[client].lines {
            line.stays.gone(now);
        }
    }

    /// The client is about to ask to join an audience other than everybody's.
    pub fn joining(&mut self, client: usize, audience: u32, now: Nanos) {
        self.accounts[client].line(audience).stays.begin(now);
    }

    /// The server has confirmed that the client belongs to the audience.
    pub fn joined(&mut self, client: usize, audience: u32, now: Nanos) {
        self.accounts[client].line(audience).stays.entered(now);
    }

    /// The client is about to ask to leave an audience.
    pub fn leaving(&mut self, client: usize, audience: u32, now: Nanos) {
        self.accounts[client].line(audience).stays.asked_out(now);
    }

    /// The server has confirmed that the client does not belong to the audience: whatever of it comes from now
    /// on has leaked, whenever it was sent.
    pub fn left(&mut self, client: usize, audience: u32, now: Nanos) {
        self.accounts[client].line(audience).stays.told_out(now);
    }

    /// The client does not belong to the audience any more. Other than with [`Self::left`], what was sent before may still come.
    pub fn faded(&mut self, client: usize, audience: u32, now: Nanos) {
        self.accounts[client].line(audience).stays.gone(now);
    }

    /// The client reads slowly, or not at all, on purpose: what it has not come to is nobody's fault.
    pub fn impair(&mut self, client: usize) {
        self.accounts[client].is_impaired = true;
    }

    /// The server has told the client that it missed messages: of the audience, or, with none, of those that go to few.
    pub fn gap(&mut self, client: usize, audience: Option<u32>, missed: u64) {
        self.counts.gaps_told += 1;
        let account = &mut self.accounts[client];
        match audience {
            Some(audience) => {
                let told = &mut account.line(audience).told;
                *told = told.saturating_add(u32::try_from(missed).unwrap_or(u32::MAX));
            }
            None => account.told_privately = account.told_privately.saturating_add(missed),
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
        let late = sequence < line.highest_sequence
            || (ordinal < line.ceiling
                && self
                    .traffic
                    .later_to_same(index)
                    .map(|later| self.traffic.place(later).1)
                    .take_while(|later| *later < line.ceiling)
                    .any(|later| line.received.contains(later)));
        self.counts.reordered += u64::from(late);
        line.highest_sequence = line.highest_sequence.max(sequence);
        line.ceiling = line.ceiling.max(ordinal + 1);
        // How late whoever does not want to read has it says nothing of the message.
        if !is_impaired {
            self.log.received(index, sequence, now);
        }
        Receipt::First
    }

    /// The server has told the client that it refuses its message `index`: it was not sent after all. False if that is no
    /// message of this client's, of which nothing follows.
    pub fn refused(&mut self, client: usize, index: u32) -> bool {
        let is_own = self.traffic.sender(index) == Some(self.accounts[client].id);
        if is_own {
            self.log.refused(index);
        }
        is_own
    }

    /// The client received the whisper `index`, which is number `ordinal` of them.
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

    /// A client received a message with this run's mark that is not what was sent.
    pub fn corrupt(&mut self) {
        self.counts.corrupt += 1;
    }

    /// A client received a message that is none of this run's.
    pub fn foreign(&mut self) {
        self.counts.foreign += 1;
    }

    /// Whether the client has received message `index`, which is not a whisper.
    pub fn has_received(&self, client: usize, index: u32) -> bool {
        if index >= self.traffic.messages() {
            return false;
        }
        let (audience, ordinal) = self.traffic.place(index);
        let mut lines = self.accounts[client].lines.iter();
        lines.find(|line| line.audience == audience).is_some_and(|line| line.received.contains(ordinal))
    }

    /// First copies received so far, by all clients of this tally.
    pub fn received(&self) -> u64 {
        self.counts.received
    }
}
