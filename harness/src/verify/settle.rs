//! The end of the accounting: all workers' tallies become one result.

use serde::Serialize;

use super::membership::{Class, Span, class};
use super::messages::MessageLog;
use super::received::{BLOCK, Bits, split};
use super::{Account, Counts, Tally};
use crate::clock::{NEVER, Nanos};
use crate::schedule::Traffic;

/// Missing pairs that are kept to be shown.
const EXAMPLES_MAX: usize = 10;

/// What became of all (message, recipient) pairs.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Deliveries {
    /// Pairs in which the recipient was a member for the message.
    pub expected: u64,
    /// Expected pairs that arrived.
    pub received: u64,
    /// Expected pairs that did not arrive.
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
    /// The first few missing pairs.
    pub missing_examples: Vec<Pair>,
}

/// A message and one of its recipients.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Pair {
    /// The client's number in the run.
    pub client: u32,
    /// The message's number in the run.
    pub message: u32,
}

/// The result of [`settle`].
#[derive(Debug)]
pub struct Settlement {
    /// Messages sent.
    pub sent: u64,
    /// The pairs.
    pub deliveries: Deliveries,
    /// What all workers together know of each message.
    pub log: MessageLog,
}

/// Puts the tallies of all workers together. They must share one traffic; no tally, no result.
pub fn settle(tallies: Vec<Tally>) -> Option<Settlement> {
    let mut tallies = tallies.into_iter();
    let Tally { traffic, mut accounts, mut log, mut counts } = tallies.next()?;
    for tally in tallies {
        debug_assert_eq!(traffic, tally.traffic);
        log.merge(&tally.log);
        counts.add(tally.counts);
        accounts.extend(tally.accounts);
    }

    let handled = handled_by(&traffic, &log);
    let blocks = Block::all(&log, &handled);
    let mut deliveries = Deliveries {
        duplicated: counts.duplicated,
        reordered: counts.reordered,
        corrupted: counts.corrupt + counts.invented,
        foreign: counts.foreign,
        inconsistent: log.inconsistent(),
        unheard_messages: log.iter().filter(|message| message.was_sent() && !message.was_received()).count()
            as u64,
        ..Deliveries::default()
    };
    for account in &accounts {
        for block in &blocks {
            block.settle(account, &mut deliveries);
        }
    }
    let sent = log.iter().filter(|message| message.was_sent()).count() as u64;
    Some(Settlement { sent, deliveries, log })
}

impl Counts {
    fn add(&mut self, other: Self) {
        self.received += other.received;
        self.duplicated += other.duplicated;
        self.reordered += other.reordered;
        self.invented += other.invented;
        self.corrupt += other.corrupt;
        self.foreign += other.foreign;
    }
}

/// When the server is known to have dealt with each message: somebody had it by then, or
/// a later message of the same sender. [`NEVER`] if nothing of the kind was seen.
fn handled_by(traffic: &Traffic, log: &MessageLog) -> Vec<Nanos> {
    let mut handled: Vec<Nanos> = log.iter().map(|message| message.first).collect();
    for index in (0..handled.len()).rev() {
        // Backwards, so the next message of the sender already stands for all after it.
        if let Some(next) = traffic.later_by_same_sender(index as u32).next() {
            handled[index] = handled[index].min(handled[next as usize]);
        }
    }
    handled
}

/// A block of messages, summed up, so that a client who was in the room for all of
/// them is settled by counting bits.
struct Block {
    number: u32,
    /// Its messages that were sent.
    sent: Bits,
    /// All of the sent ones.
    span: Span,
    /// Each message's own; those that were not sent have one that means nothing.
    spans: Vec<Span>,
}

impl Block {
    fn all(log: &MessageLog, handled: &[Nanos]) -> Vec<Self> {
        let spans: Vec<Span> =
            log.iter().zip(handled).map(|(message, handled)| Span::of(message.sent, *handled)).collect();
        let block = |(number, spans): (usize, &[Span])| {
            let mut block = Self {
                number: number as u32,
                sent: Bits::default(),
                span: Span::EMPTY,
                spans: spans.to_vec(),
            };
            for (within, span) in spans.iter().enumerate().filter(|(_, span)| span.sent_min != NEVER) {
                let (_, word, bit) = split(within as u32);
                block.sent[word] |= bit;
                block.span.extend(*span);
            }
            block
        };
        spans.chunks(BLOCK as usize).enumerate().map(block).collect()
    }

    fn settle(&self, account: &Account, deliveries: &mut Deliveries) {
        let received = account.received.block(self.number);
        deliveries.corrupted +=
            count(received.iter().zip(self.sent).map(|(received, sent)| received & !sent));
        if let Some(class) = class(&account.stays, &self.span) {
            self.settle_bits(class, account.id, &self.sent, &received, deliveries);
            return;
        }
        let mut by_class = [Bits::default(); 3];
        for (within, span) in self.spans.iter().enumerate() {
            // A single message always has a class.
            let class = class(&account.stays, span).unwrap_or(Class::Indeterminate);
            let (_, word, bit) = split(within as u32);
            by_class[class as usize][word] |= bit & self.sent[word];
        }
        for class in [Class::Outside, Class::Indeterminate, Class::Member] {
            self.settle_bits(class, account.id, &by_class[class as usize], &received, deliveries);
        }
    }

    /// Settles the messages of `due`, for all of which the client is of one class.
    fn settle_bits(
        &self,
        class: Class,
        client: u32,
        due: &Bits,
        received: &Bits,
        deliveries: &mut Deliveries,
    ) {
        let all = count(due.iter().copied());
        let arrived = count(due.iter().zip(received).map(|(due, received)| due & received));
        match class {
            Class::Outside => deliveries.leaked += arrived,
            Class::Indeterminate => {
                deliveries.indeterminate += all;
                deliveries.indeterminate_received += arrived;
            }
            Class::Member => {
                deliveries.expected += all;
                deliveries.received += arrived;
                deliveries.missing += all - arrived;
                let room = EXAMPLES_MAX - deliveries.missing_examples.len();
                if all != arrived && room > 0 {
                    let missing = (0..BLOCK).filter(|within| {
                        let (_, word, bit) = split(*within);
                        due[word] & !received[word] & bit != 0
                    });
                    let pairs = missing.map(|within| Pair { client, message: self.number * BLOCK + within });
                    deliveries.missing_examples.extend(pairs.take(room));
                }
            }
        }
    }
}

fn count(words: impl Iterator<Item = u64>) -> u64 {
    words.map(|word| u64::from(word.count_ones())).sum()
}
