//! What processes with clients of the same run tell each other before each settles its own.
//!
//! ```text
//!   process 0: tally -- pages -->  the one that reports  -- pages --> process 0: settles its own -- part -->
//!   process 1: tally -- pages -->  (a tally without      -- pages --> process 1: settles its own -- part -->  closes
//!                                   clients learns all)
//! ```

use serde::{Deserialize, Serialize};
use throng_harness_model::results::{Deliveries, Gaps};

use super::{DeliveryLedger, MessageTimes};

/// Messages on a page: a megabyte or two to travel at a time.
const PAGE: usize = 64 * 1024;

/// What somebody knows of some of a run's messages, whoever received them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Page {
    /// The number of the first message, and that of the first whisper among whispers.
    first: u32,
    messages: Vec<MessageTimes>,
    /// Who has each whisper, in bits.
    whispers: Vec<u8>,
}

impl DeliveryLedger {
    /// All that this tally knows of messages, page by page.
    pub fn pages(&self) -> impl Iterator<Item = Page> + '_ {
        self.pages_of(PAGE)
    }

    fn pages_of(&self, size: usize) -> impl Iterator<Item = Page> + '_ {
        fn from<T: Clone>(list: &[T], first: usize, size: usize) -> Vec<T> {
            list.get(first..).unwrap_or_default().iter().take(size).cloned().collect()
        }
        // There are never more whispers than messages.
        (0..self.log.messages().len()).step_by(size).map(move |first| Page {
            first: first as u32,
            messages: from(self.log.messages(), first, size),
            whispers: from(&self.whispers, first, size),
        })
    }

    /// Adds what somebody else knows; what that one had from this tally changes nothing.
    pub fn learn(&mut self, page: &Page) {
        let first = page.first as usize;
        self.log.merge_from(first, &page.messages);
        let whispers = self.whispers.get_mut(first..).unwrap_or_default();
        whispers.iter_mut().zip(&page.whispers).for_each(|(ours, theirs)| *ours |= theirs);
    }
}

/// What became of the pairs of some clients.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Part {
    deliveries: Deliveries,
    /// Those of the deliveries, which a report has in another place.
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

    /// A tally for each client, after a run in which nearly everything goes wrong that can; always the same for a seed.
    fn tallies(clients: u32, seed: u64) -> Vec<DeliveryLedger> {
        let (traffic, audiences) = (traffic(clients, seed), audiences(clients, seed));
        let mut rng = Xoshiro256PlusPlus::seed_from_u64(seed);
        let mut tallies: Vec<DeliveryLedger> =
            (0..clients).map(|id| DeliveryLedger::new(traffic.clone(), [id])).collect();
        let mut now: Nanos = 0;
        let mut tick = || {
            now += 1;
            now
        };
        for (tally, id) in tallies.iter_mut().zip(0..) {
            tally.asked_in(0, tick());
            tally.entered(0, tick());
            let channel = audiences.in_channel(id % CHANNELS);
            tally.joining(0, channel, tick());
            tally.joined(0, channel, tick());
            if rng.random_bool(0.2) {
                tally.impair(0);
            }
        }
        for index in 0..MESSAGES {
            let sender = traffic.sender(index).expect("scheduled") as usize;
            if rng.random_bool(0.97) {
                tallies[sender].sent(index, tick());
            }
            if rng.random_bool(0.02) {
                assert!(tallies[sender].refused(0, index));
            }
            let (_, ordinal) = traffic.place(index);
            for tally in &mut tallies {
                if rng.random_bool(0.8) {
                    let sequence = u64::from(ordinal) + u64::from(rng.random_bool(0.01));
                    tally.delivered(0, index, sequence, tick());
                }
                if rng.random_bool(0.05) {
                    let earlier = rng.random_range(0..=index);
                    tally.delivered(0, earlier, traffic.place(earlier).1.into(), tick());
                }
                let channel = audiences.in_channel(rng.random_range(0..CHANNELS));
                match rng.random_range(0..200) {
                    0 => tally.leaving(0, channel, tick()),
                    1 => tally.left(0, channel, tick()),
                    2 => tally.joining(0, channel, tick()),
                    3 => tally.joined(0, channel, tick()),
                    4 => tally.gone(0, tick()),
                    8 => tally.asked_in(0, tick()),
                    9 => tally.entered(0, tick()),
                    5 => tally.gap(0, [Some(WORLD), Some(channel), None][rng.random_range(0..3)], 2),
                    6 => tally.corrupt(),
                    7 => tally.foreign(),
                    _ => {}
                }
            }
        }
        tallies
    }

    /// The same after it has been written down and read.
    fn travelled<T: Serialize + DeserializeOwned>(value: &T) -> T {
        postcard::from_bytes(&postcard::to_stdvec(value).expect("it can be written")).expect("it can be read")
    }

    /// The settlement of workers that are dealt to processes: each to the one with its number in `places`.
    fn settle_apart(
        tallies: Vec<DeliveryLedger>,
        traffic: Arc<Traffic>,
        places: &[usize],
        page: usize,
    ) -> Settlement {
        let mut groups: Vec<Vec<DeliveryLedger>> = places.iter().map(|_| Vec::new()).collect();
        for (tally, place) in tallies.into_iter().zip(places) {
            groups[*place].push(tally);
        }
        let mut processes: Vec<DeliveryLedger> =
            groups.into_iter().filter_map(DeliveryLedger::merged).collect();
        let mut all = DeliveryLedger::new(traffic, []);
        for process in &processes {
            process.pages_of(page).for_each(|page| all.learn(&travelled(&page)));
        }
        let parts: Vec<Part> = processes
            .iter_mut()
            .map(|process| {
                all.pages_of(page).for_each(|page| process.learn(&travelled(&page)));
                travelled(&process.settle_own())
            })
            .collect();
        all.close(parts)
    }

    proptest! {
        #[test]
        fn it_does_not_matter_where_clients_are_settled(
            seed: u64,
            (clients, places) in (1_usize..9).prop_flat_map(|clients| {
                (Just(clients as u32), prop::collection::vec(0..clients, clients))
            }),
            page in prop_oneof![Just(PAGE), 1_usize..150],
        ) {
            let together = settle(tallies(clients, seed)).expect("at least one client");
            let apart = settle_apart(tallies(clients, seed), traffic(clients, seed), &places, page);
            prop_assert_eq!(together.sent, apart.sent);
            prop_assert_eq!(together.deliveries, apart.deliveries);
            prop_assert_eq!(together.log.messages(), apart.log.messages());
        }
    }

    /// Without this the property could hold because nothing goes wrong in it.
    #[test]
    fn everything_goes_wrong_that_can() {
        let mut all = Deliveries::default();
        for seed in 1..=5 {
            all.add(settle(tallies(8, seed)).expect("eight clients").deliveries);
        }
        let Deliveries {
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
            unheard_messages: _,
            behind,
            gaps,
            missing_examples,
        } = all;
        let counts = [expected, received, missing, duplicated, reordered, leaked, indeterminate];
        let more = [indeterminate_received, corrupted, inconsistent, foreign, behind];
        let Gaps { told, messages, of_readers } = gaps;
        let more = more.into_iter().chain([told, messages, of_readers, messages - of_readers]);
        let more: Vec<_> = more.collect();
        assert!(counts.iter().chain(&more).all(|count| *count > 0), "{counts:?} {more:?}");
        assert!(missing_examples.is_sorted() && missing_examples.len() == 10, "{missing_examples:?}");
    }

    #[test]
    fn a_page_of_another_run_does_no_harm() {
        let mut tally = DeliveryLedger::new(traffic(3, 1), [0]);
        let mut sent = tally.log.messages()[0];
        sent.sent = 1;
        let messages = vec![sent; 9];
        tally.learn(&Page { first: MESSAGES - 4, messages: messages.clone(), whispers: vec![3; 1_000] });
        tally.learn(&Page { first: u32::MAX, messages, whispers: vec![3] });
        assert_eq!(tally.log.iter().filter(|message| message.was_sent()).count(), 4);
    }
}
