//! The end of the accounting: all workers' tallies become one result.

use throng_harness_model::audiences::WHISPERS;
use throng_harness_model::clock::{NEVER, Nanos};
use throng_harness_model::results::{Deliveries, Gaps, Pair};
use throng_harness_model::schedule::Traffic;

use super::membership::{Class, Span};
use super::messages::{MessageLog, MessageTimes};
use super::received::{BLOCK, Bits, split};
use super::shared::Part;
use super::{Account, BY_RECIPIENT, BY_SENDER, Counts, DeliveryLedger, Line};

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
pub fn settle(tallies: Vec<DeliveryLedger>) -> Option<Settlement> {
    let mut tally = DeliveryLedger::merged(tallies)?;
    let part = tally.settle_own();
    Some(tally.close([part]))
}

impl DeliveryLedger {
    /// The tallies of several workers as one. They must share one traffic; none of none.
    pub fn merged(tallies: impl IntoIterator<Item = Self>) -> Option<Self> {
        let mut tallies = tallies.into_iter();
        let mut merged = tallies.next()?;
        for tally in tallies {
            debug_assert_eq!(merged.traffic, tally.traffic);
            merged.log.merge(&tally.log);
            merged.counts.add(tally.counts);
            merged.accounts.extend(tally.accounts);
            merged.whispers.iter_mut().zip(tally.whispers).for_each(|(ours, theirs)| *ours |= theirs);
        }
        Some(merged)
    }

    /// What became of the pairs of this tally's own clients. The tally must know what all workers together do of each
    /// message, by [`Self::merged`] or [`Self::learn`].
    pub fn settle_own(&mut self) -> Part {
        let Self { traffic, accounts, log, whispers, counts } = self;
        let handled = handled_by(traffic, log);
        let audiences = Audience::all(traffic, log, &handled);
        let mut deliveries = Deliveries {
            duplicated: counts.duplicated,
            reordered: counts.reordered,
            leaked: counts.leaked,
            corrupted: counts.corrupt + counts.invented,
            foreign: counts.foreign,
            gaps: Gaps { told: counts.gaps_told, ..Gaps::default() },
            ..Deliveries::default()
        };
        for account in &mut *accounts {
            account.settle(&audiences, (traffic, log), &mut deliveries);
        }
        Whispers { traffic, log, handled: &handled, bits: whispers }.settle(accounts, &mut deliveries);
        Part::new(deliveries)
    }

    /// The whole result, from the parts of all workers, of which this tally must know as much as for [`Self::settle_own`].
    pub fn close(self, parts: impl IntoIterator<Item = Part>) -> Settlement {
        let Self { traffic, log, .. } = self;
        let room = |index| Some(traffic.place(index).0).filter(|audience| traffic.is_numbered(*audience));
        let unheard = log.iter().filter(|message| message.was_sent() && !message.was_received()).count();
        let mut deliveries = Deliveries {
            inconsistent: log.inconsistent(room),
            unheard_messages: unheard as u64,
            ..Deliveries::default()
        };
        parts.into_iter().for_each(|part| deliveries.add(part.into_deliveries()));
        let sent = log.iter().filter(|message| message.was_sent()).count() as u64;
        Settlement { sent, deliveries, log }
    }
}

impl Counts {
    fn add(&mut self, other: Self) {
        self.received += other.received;
        self.duplicated += other.duplicated;
        self.reordered += other.reordered;
        self.invented += other.invented;
        self.corrupt += other.corrupt;
        self.foreign += other.foreign;
        self.leaked += other.leaked;
        self.gaps_told += other.gaps_told;
    }
}

/// Adds one pair.
fn add_pair(deliveries: &mut Deliveries, class: Class, has_arrived: bool) {
    match class {
        Class::Outside => deliveries.leaked += u64::from(has_arrived),
        Class::Indeterminate => {
            deliveries.indeterminate += 1;
            deliveries.indeterminate_received += u64::from(has_arrived);
        }
        Class::Member => {
            deliveries.expected += 1;
            deliveries.received += u64::from(has_arrived);
            deliveries.missing += u64::from(!has_arrived);
        }
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

impl Account {
    /// Settles all of this account but whispers; what it was told of those it keeps.
    fn settle(
        &mut self,
        audiences: &[Audience],
        (traffic, log): (&Traffic, &MessageLog),
        deliveries: &mut Deliveries,
    ) {
        for line in &self.lines {
            let Some(audience) = audiences.get(line.audience as usize) else { continue };
            let mut found = Deliveries::default();
            for block in &audience.blocks {
                block.settle(
                    &Reader { id: self.id, is_impaired: self.is_impaired, line, audience, traffic, log },
                    &mut found,
                );
            }
            // What is said nearby is told of together, whatever the sector.
            let told = if audience.is_numbered { line.told.into() } else { self.told_privately };
            let excused = found.missing.min(told);
            if !audience.is_numbered {
                self.told_privately -= excused;
            }
            deliveries.add_line(found, excused, self.is_impaired);
        }
    }
}

/// All whispers: each is for two.
struct Whispers<'a> {
    traffic: &'a Traffic,
    log: &'a MessageLog,
    handled: &'a [Nanos],
    bits: &'a [u8],
}

impl Whispers<'_> {
    fn settle(&self, accounts: &mut [Account], deliveries: &mut Deliveries) {
        if self.bits.is_empty() {
            return;
        }
        accounts.sort_unstable_by_key(|account| account.id);
        let pairs = || {
            self.log.iter().zip(0_u32..).filter_map(|(message, index)| {
                let (audience, ordinal) = self.traffic.place(index);
                let to = self.traffic.whispered_to(ordinal).filter(|_| audience == WHISPERS)?;
                let bits = self.bits[ordinal as usize];
                let from = self.traffic.sender(index)?;
                Some((message, index, [(to, bits & BY_RECIPIENT != 0), (from, bits & BY_SENDER != 0)]))
            })
        };
        for (message, index, pair) in pairs() {
            for (id, has_arrived) in pair {
                let Ok(at) = accounts.binary_search_by_key(&id, |account| account.id) else { continue };
                let account = &mut accounts[at];
                if !message.was_sent() {
                    deliveries.corrupted += u64::from(has_arrived);
                    continue;
                }
                let span = Span::of(message.sent, self.handled[index as usize]);
                let class = account.lines[0].stays.class(&span).unwrap_or(Class::Indeterminate);
                if class == Class::Member && !has_arrived {
                    if account.is_impaired && self.is_behind(id, index) {
                        deliveries.behind += 1;
                    } else if account.told_privately > 0 {
                        account.told_privately -= 1;
                        deliveries.expected += 1;
                        deliveries.gaps.excuse(1, account.is_impaired);
                    } else {
                        add_pair(deliveries, class, false);
                        deliveries.show(Pair { client: id, message: index });
                    }
                    continue;
                }
                add_pair(deliveries, class, has_arrived);
            }
        }
    }
}

impl Whispers<'_> {
    /// Whether client `id` has no later whisper of the same sender.
    fn is_behind(&self, id: u32, index: u32) -> bool {
        let is_sender = self.traffic.sender(index) == Some(id);
        let mut later = self.traffic.later_to_same(index).map(|later| self.traffic.place(later).1);
        !later.any(|later| {
            let bits = self.bits[later as usize];
            if is_sender {
                bits & BY_SENDER != 0
            } else {
                self.traffic.whispered_to(later) == Some(id) && bits & BY_RECIPIENT != 0
            }
        })
    }
}

/// The messages of one audience.
struct Audience {
    /// Their numbers in the run; none stands for all in order.
    messages: Option<Vec<u32>>,
    /// Whether the server numbers them, and tells of those missed by themselves.
    is_numbered: bool,
    blocks: Vec<Block>,
}

impl Audience {
    /// All of them, by number.
    fn all(traffic: &Traffic, log: &MessageLog, handled: &[Nanos]) -> Vec<Self> {
        let counts = traffic.counts();
        let spans = || log.iter().zip(handled).map(|(message, handled)| Span::of(message.sent, *handled));
        if let [_] = counts[..] {
            let blocks = Block::all(&spans().collect::<Vec<_>>());
            return vec![Self { messages: None, is_numbered: true, blocks }];
        }
        let with_room = |count: &u32| {
            let count = *count as usize;
            (Vec::with_capacity(count), Vec::with_capacity(count))
        };
        let mut parts: Vec<(Vec<u32>, Vec<Span>)> = counts.iter().map(with_room).collect();
        for (span, index) in spans().zip(0..) {
            let (audience, _) = traffic.place(index);
            // Whispers are settled by themselves.
            if audience != WHISPERS {
                let (messages, spans) = &mut parts[audience as usize];
                messages.push(index);
                spans.push(span);
            }
        }
        let part = |((messages, spans), audience): ((_, Vec<Span>), u32)| {
            let is_numbered = traffic.is_numbered(audience);
            Self { messages: Some(messages), is_numbered, blocks: Block::all(&spans) }
        };
        parts.into_iter().zip(0..).map(part).collect()
    }
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
    fn all(spans: &[Span]) -> Vec<Self> {
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

    /// Settles what one client has of this block.
    fn settle(&self, reader: &Reader<'_>, deliveries: &mut Deliveries) {
        let stays = &reader.line.stays;
        let received = reader.line.received.block(self.number);
        deliveries.corrupted +=
            count(received.iter().zip(self.sent).map(|(received, sent)| received & !sent));
        let pairs = Pairs { block: self.number, reader, received: &received };
        if let Some(class) = stays.class(&self.span) {
            pairs.settle(class, &self.sent, deliveries);
            return;
        }
        let mut by_class = [Bits::default(); 3];
        for (within, span) in self.spans.iter().enumerate() {
            // A single message always has a class.
            let class = stays.class(span).unwrap_or(Class::Indeterminate);
            let (_, word, bit) = split(within as u32);
            by_class[class as usize][word] |= bit & self.sent[word];
        }
        for class in [Class::Outside, Class::Indeterminate, Class::Member] {
            pairs.settle(class, &by_class[class as usize], deliveries);
        }
    }
}

/// One client and one of its audiences.
struct Reader<'a> {
    id: u32,
    is_impaired: bool,
    line: &'a Line,
    audience: &'a Audience,
    traffic: &'a Traffic,
    log: &'a MessageLog,
}

impl Reader<'_> {
    /// Whether the client has not come to message `index`, which it has not received: it has nothing that was said after it, by
    /// the server's numbers or, where there are none, by the same sender.
    fn is_behind(&self, index: u32) -> bool {
        if self.audience.is_numbered {
            let number = self.log.get(index).and_then(MessageTimes::sequence);
            return number.is_some_and(|number| number > self.line.highest_sequence);
        }
        let mut later = self.traffic.later_to_same(index).map(|later| self.traffic.place(later).1);
        !later.any(|later| self.line.received.contains(later))
    }
}

/// A block's messages for one client.
struct Pairs<'a> {
    block: u32,
    reader: &'a Reader<'a>,
    received: &'a Bits,
}

impl Pairs<'_> {
    /// Settles the messages of `due`, for all of which the client is of one class.
    fn settle(&self, class: Class, due: &Bits, deliveries: &mut Deliveries) {
        let all = count(due.iter().copied());
        let arrived = count(due.iter().zip(self.received).map(|(due, received)| due & received));
        match class {
            Class::Outside => deliveries.leaked += arrived,
            Class::Indeterminate => {
                deliveries.indeterminate += all;
                deliveries.indeterminate_received += arrived;
            }
            Class::Member => {
                deliveries.received += arrived;
                deliveries.expected += arrived;
                if all == arrived {
                    return;
                }
                let missing = (0..BLOCK).filter(|within| {
                    let (_, word, bit) = split(*within);
                    due[word] & !self.received[word] & bit != 0
                });
                for message in missing.map(|within| self.message(within)) {
                    if self.reader.is_impaired && self.reader.is_behind(message) {
                        deliveries.behind += 1;
                        continue;
                    }
                    deliveries.expected += 1;
                    deliveries.missing += 1;
                    deliveries.show(Pair { client: self.reader.id, message });
                }
            }
        }
    }

    /// A message's number in the run.
    fn message(&self, within: u32) -> u32 {
        let ordinal = self.block * BLOCK + within;
        self.reader.audience.messages.as_ref().map_or(ordinal, |messages| messages[ordinal as usize])
    }
}

fn count(words: impl Iterator<Item = u64>) -> u64 {
    words.map(|word| u64::from(word.count_ones())).sum()
}
