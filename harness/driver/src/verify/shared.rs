//! The exchange between processes with clients of the same run, before each settles its own.
//!
//! ```text
//!   process 0: ledger -pages-> reporter           -pages-> process 0: settles its own -part->
//!   process 1: ledger -pages-> (a ledger that     -pages-> process 1: settles its own -part->
//!                               has no clients,           the reporter closes the result
//!                               learns all pages)
//! ```

use serde::{Deserialize, Serialize};
use throng_harness_model::results::{Deliveries, Gaps};

use super::{DeliveryLedger, MessageTimes};

/// Messages on a page, which limits a transfer to one or two megabytes.
const PAGE: usize = 64 * 1024;

/// One ledger's times of some of the run's messages.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Page {
    /// Number of the first message in `messages`, and of the first whisper in `whispers`.
    first: u32,
    messages: Vec<MessageTimes>,
    /// Receipts of each whisper, in bits.
    whispers: Vec<u8>,
}

impl DeliveryLedger {
    /// Returns the times of all messages, page by page.
    pub fn pages(&self) -> impl Iterator<Item = Page> + '_ {
        self.pages_of(PAGE)
    }

    fn pages_of(&self, size: usize) -> impl Iterator<Item = Page> + '_ {
        fn from<T: Clone>(list: &[T], first: usize, size: usize) -> Vec<T> {
            list.get(first..).unwrap_or_default().iter().take(size).cloned().collect()
        }
        // Whispers are messages too, so there are never more of them.
        (0..self.log.messages().len()).step_by(size).map(move |first| Page {
            first: first as u32,
            messages: from(self.log.messages(), first, size),
            whispers: from(&self.whispers, first, size),
        })
    }

    /// Merges a page of another ledger. Times that originate from this ledger change nothing.
    pub fn learn(&mut self, page: &Page) {
        let first = page.first as usize;
        self.log.merge_from(first, &page.messages);
        let whispers = self.whispers.get_mut(first..).unwrap_or_default();
        whispers.iter_mut().zip(&page.whispers).for_each(|(ours, theirs)| *ours |= theirs);
    }
}

/// Outcomes of the pairs of some clients.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Part {
    deliveries: Deliveries,
    /// Gaps of `deliveries`, which a report serializes elsewhere.
    gaps: Gaps,
}

impl Part {
    pub(super) fn new(deliveries: Deliveries) -> Self {
        Self { gaps: deliveries.gaps, deliveries }
    }

    pub(super) fn into_deliveries(self) -> Deliveries {
        Deliveries { gaps: self.gaps, ..self.deliveries }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use proptest::prelude::*;
    use rand::rngs::Xoshiro256PlusPlus;
    use rand::{RngExt, SeedableRng};
    use serde::de::DeserializeOwned;
    use throng_harness_model::audiences::{Audiences, ScopeMix, WORLD};
    use throng_harness_model::clock::Nanos;
    use throng_harness_model::schedule::Traffic;

    use super::*;
    use crate::verify::{Settlement, settle};

    const MESSAGES: u32 = 120;
    const CHANNELS: u32 = 2;

    fn audiences(clients: u32, seed: u64) -> Audiences {
        Audiences::new(clients, ScopeMix::Mixed, CHANNELS, 2, 100, seed)
    }

    fn traffic(clients: u32, seed: u64) -> Arc<Traffic> {
        Arc::new(Traffic::draw(seed, clients, clients, MESSAGES).among(&audiences(clients, seed), seed))
    }

    /// Returns a ledger for each client, after a run with nearly every possible fault.
    /// Deterministic for a seed.
    fn ledgers(clients: u32, seed: u64) -> Vec<DeliveryLedger> {
        let (traffic, audiences) = (traffic(clients, seed), audiences(clients, seed));
        let mut rng = Xoshiro256PlusPlus::seed_from_u64(seed);
        let mut ledgers: Vec<DeliveryLedger> =
            (0..clients).map(|id| DeliveryLedger::new(traffic.clone(), [id])).collect();
        let mut now: Nanos = 0;
        let mut tick = || {
            now += 1;
            now
        };
        for (ledger, id) in ledgers.iter_mut().zip(0..) {
            ledger.entry_requested(0, tick());
            ledger.entered(0, tick());
            let channel = audiences.in_channel(id % CHANNELS);
            ledger.joining(0, channel, tick());
            ledger.joined(0, channel, tick());
            if rng.random_bool(0.2) {
                ledger.impair(0);
            }
        }
        for index in 0..MESSAGES {
            let sender = traffic.sender(index).expect("scheduled") as usize;
            if rng.random_bool(0.97) {
                ledgers[sender].sent(index, tick());
            }
            if rng.random_bool(0.02) {
                assert!(ledgers[sender].refused(0, index));
            }
            let (_, ordinal) = traffic.place(index);
            for ledger in &mut ledgers {
                if rng.random_bool(0.8) {
                    let sequence = u64::from(ordinal) + u64::from(rng.random_bool(0.01));
                    ledger.delivered(0, index, sequence, tick());
                }
                if rng.random_bool(0.05) {
                    let earlier = rng.random_range(0..=index);
                    ledger.delivered(0, earlier, traffic.place(earlier).1.into(), tick());
                }
                let channel = audiences.in_channel(rng.random_range(0..CHANNELS));
                match rng.random_range(0..200) {
                    0 => ledger.leaving(0, channel, tick()),
                    1 => ledger.left(0, channel, tick()),
                    2 => ledger.joining(0, channel, tick()),
                    3 => ledger.joined(0, channel, tick()),
                    4 => ledger.session_ended(0, tick()),
                    8 => ledger.entry_requested(0, tick()),
                    9 => ledger.entered(0, tick()),
                    5 => ledger.gap(0, [Some(WORLD), Some(channel), None][rng.random_range(0..3)], 2),
                    6 => ledger.corrupt(),
                    7 => ledger.foreign(),
                    _ => {}
                }
            }
        }
        ledgers
    }

    /// Returns the value after a round trip through its serialized form.
    fn round_trip<T: Serialize + DeserializeOwned>(value: &T) -> T {
        postcard::from_bytes(&postcard::to_stdvec(value).expect("serializable")).expect("deserializable")
    }

    /// Settles workers in several processes; `places` holds the process of each worker.
    fn settle_apart(
        ledgers: Vec<DeliveryLedger>,
        traffic: Arc<Traffic>,
        places: &[usize],
        page: usize,
    ) -> Settlement {
        let mut groups: Vec<Vec<DeliveryLedger>> = places.iter().map(|_| Vec::new()).collect();
        for (ledger, place) in ledgers.into_iter().zip(places) {
            groups[*place].push(ledger);
        }
        let mut processes: Vec<DeliveryLedger> =
            groups.into_iter().filter_map(DeliveryLedger::merged).collect();
        let mut all = DeliveryLedger::new(traffic, []);
        for process in &processes {
            process.pages_of(page).for_each(|page| all.learn(&round_trip(&page)));
        }
        let parts: Vec<Part> = processes
            .iter_mut()
            .map(|process| {
                all.pages_of(page).for_each(|page| process.learn(&round_trip(&page)));
                round_trip(&process.settle_own())
            })
            .collect();
        all.close(parts)
    }

    proptest! {
        #[test]
        fn the_result_does_not_depend_on_the_process_of_a_client(
            seed: u64,
            (clients, places) in (1_usize..9).prop_flat_map(|clients| {
                (Just(clients as u32), prop::collection::vec(0..clients, clients))
            }),
            page in prop_oneof![Just(PAGE), 1_usize..150],
        ) {
            let together = settle(ledgers(clients, seed)).expect("at least one client");
            let apart = settle_apart(ledgers(clients, seed), traffic(clients, seed), &places, page);
            prop_assert_eq!(together.sent, apart.sent);
            prop_assert_eq!(together.deliveries, apart.deliveries);
            prop_assert_eq!(together.log.messages(), apart.log.messages());
        }
    }

    /// Ensures that the property above is tested with every fault.
    #[test]
    fn the_simulation_makes_every_fault() {
        let mut all = Deliveries::default();
        for seed in 1..=5 {
            all.add(settle(ledgers(8, seed)).expect("eight clients").deliveries);
        }
        // A message that no client received is no fault of a delivery.
        all.unheard_messages = 1;
        assert!(all.counts_mut().iter().all(|count| **count > 0), "{all:?}");
        assert!(all.gaps.messages > all.gaps.of_readers, "{all:?}");
        let missing_examples = all.missing_examples;
        assert!(missing_examples.is_sorted() && missing_examples.len() == 10, "{missing_examples:?}");
    }

    #[test]
    fn a_page_of_another_run_is_harmless() {
        let mut ledger = DeliveryLedger::new(traffic(3, 1), [0]);
        let mut sent = ledger.log.messages()[0];
        sent.sent = 1;
        let messages = vec![sent; 9];
        ledger.learn(&Page { first: MESSAGES - 4, messages: messages.clone(), whispers: vec![3; 1_000] });
        ledger.learn(&Page { first: u32::MAX, messages, whispers: vec![3] });
        assert_eq!(ledger.log.iter().filter(|message| message.was_sent()).count(), 4);
    }
}
