//! The end of the accounting: the ledgers of all workers become one result.

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
    /// Outcomes of all (message, recipient) pairs.
    pub deliveries: Deliveries,
    /// Times of each message, merged over all workers.
    pub log: MessageLog,
}

/// Merges and settles the ledgers of all workers, which must share one traffic. Returns `None`
/// without a ledger.
pub fn settle(ledgers: Vec<DeliveryLedger>) -> Option<Settlement> {
    let mut ledger = DeliveryLedger::merged(ledgers)?;
    let part = ledger.settle_own();
    Some(ledger.close([part]))
}

impl DeliveryLedger {
    /// Merges the ledgers of several workers, which must share one traffic. Returns `None` without
    /// a ledger.
    pub fn merged(ledgers: impl IntoIterator<Item = Self>) -> Option<Self> {
        let mut ledgers = ledgers.into_iter();
        let mut merged = ledgers.next()?;
        for ledger in ledgers {
            debug_assert_eq!(merged.traffic, ledger.traffic);
            merged.log.merge(&ledger.log);
            merged.counts.add(ledger.counts);
            merged.accounts.extend(ledger.accounts);
            merged.whispers.iter_mut().zip(ledger.whispers).for_each(|(ours, theirs)| *ours |= theirs);
        }
        Some(merged)
    }

    /// Settles the pairs of this ledger's own clients. The ledger must know the times of all
    /// workers' messages, by [`Self::merged`] or [`Self::learn`].
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
            gaps: Gaps { told: counts.gaps_announced, ..Gaps::default() },
            ..Deliveries::default()
        };
        for account in &mut *accounts {
            account.settle(&audiences, (traffic, log), &mut deliveries);
        }
        Whispers { traffic, log, handled: &handled, bits: whispers }.settle(accounts, &mut deliveries);
        Part::new(deliveries)
    }

    /// Returns the whole result from the parts of all workers. The ledger must know as much as for
    /// [`Self::settle_own`].
    pub fn close(self, parts: impl IntoIterator<Item = Part>) -> Settlement {
        let Self { traffic, log, .. } = self;
        let room = |index| Some(traffic.place(index).0).filter(|audience| traffic.is_numbered(*audience));
        let unreceived = log.iter().filter(|message| message.was_sent() && !message.was_received()).count();
        let mut deliveries = Deliveries {
            inconsistent: log.inconsistent(room),
            unheard_messages: unreceived as u64,
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
        self.gaps_announced += other.gaps_announced;
    }
}

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

/// Returns the time by which the server had handled each message: the first receipt of that message
/// or of a later one by the same sender. [`NEVER`] if there was none.
fn handled_by(traffic: &Traffic, log: &MessageLog) -> Vec<Nanos> {
    let mut handled: Vec<Nanos> = log.iter().map(|message| message.first).collect();
    for index in (0..handled.len()).rev() {
        // Backwards, so that the sender's next message already stands for all later ones.
        if let Some(next) = traffic.later_by_same_sender(index as u32).next() {
            handled[index] = handled[index].min(handled[next as usize]);
        }
    }
    handled
}

impl Account {
    /// Settles this account except for whispers. Announced gaps that are left over remain for them.
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
            // Gaps in nearby messages are announced together, not by sector.
            let announced = if audience.is_numbered { line.announced.into() } else { self.announced_private };
            let excused = found.missing.min(announced);
            if !audience.is_numbered {
                self.announced_private -= excused;
            }
            deliveries.add_line(found, excused, self.is_impaired);
        }
    }
}

/// All whispers; each has two recipients, the addressee and its sender.
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
                    } else if account.announced_private > 0 {
                        account.announced_private -= 1;
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
    /// Returns true if client `id` has no later whisper of the same sender.
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
    /// Their numbers in the run; `None` if the audience has all messages.
    messages: Option<Vec<u32>>,
    /// True if the server numbers the messages and announces their gaps per audience.
    is_numbered: bool,
    blocks: Vec<Block>,
}

impl Audience {
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
            // Whispers are settled separately.
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

/// A block of messages with their common span. A client that was a member for the whole span is
/// settled by counting bits.
struct Block {
    number: u32,
    /// Bits of the messages that were sent.
    sent: Bits,
    /// Span of all sent messages.
    span: Span,
    /// Span of each message; meaningless for messages that were not sent.
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

    /// Settles this block for one client.
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

/// One client's view of one audience.
struct Reader<'a> {
    id: u32,
    is_impaired: bool,
    line: &'a Line,
    audience: &'a Audience,
    traffic: &'a Traffic,
    log: &'a MessageLog,
}

impl Reader<'_> {
    /// Returns true if the client has not read as far as message `index`, which it has not
    /// received. It has received nothing later: by the server's numbers or, without numbers, by the
    /// same sender.
    fn is_behind(&self, index: u32) -> bool {
        if self.audience.is_numbered {
            let number = self.log.get(index).and_then(MessageTimes::sequence);
            return number.is_some_and(|number| number > self.line.highest_sequence);
        }
        let mut later = self.traffic.later_to_same(index).map(|later| self.traffic.place(later).1);
        !later.any(|later| self.line.received.contains(later))
    }
}

/// One block for one client.
struct Pairs<'a> {
    block: u32,
    reader: &'a Reader<'a>,
    received: &'a Bits,
}

impl Pairs<'_> {
    /// Settles the messages of `mask`, which all have the same class for the client.
    fn settle(&self, class: Class, mask: &Bits, deliveries: &mut Deliveries) {
        let all = count(mask.iter().copied());
        let arrived = count(mask.iter().zip(self.received).map(|(mask, received)| mask & received));
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
                    mask[word] & !self.received[word] & bit != 0
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

    /// Returns the number in the run of the block's message `within`.
    fn message(&self, within: u32) -> u32 {
        let ordinal = self.block * BLOCK + within;
        self.reader.audience.messages.as_ref().map_or(ordinal, |messages| messages[ordinal as usize])
    }
}

fn count(words: impl Iterator<Item = u64>) -> u64 {
    words.map(|word| u64::from(word.count_ones())).sum()
}
