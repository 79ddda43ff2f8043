//! The set of messages that a client has received. It is exact, and small because nearly all
//! messages arrive.

/// Messages that are settled together.
pub(super) const BLOCK: u32 = 512;

/// The bits of one block.
pub(super) type Bits = [u64; BLOCK as usize / WORD as usize];

/// Messages of one bitmap word.
const WORD: u32 = 64;

/// Marks the absence of a word.
const NO_WORD: u32 = u32::MAX;

/// A set of message numbers.
///
/// Complete words of 64 messages are stored as runs; only words with gaps keep their bits. A client
/// that receives everything nearly in the order of sending has one run and one partial word. Both
/// are inline, so the set allocates nothing, however many messages there are. In the worst case, a
/// gap in every word, a message costs about two bits.
#[derive(Debug)]
pub(super) struct ReceivedSet {
    /// The last run of complete words, `first .. end`; empty if there is none.
    first: u32,
    end: u32,
    /// The partial word that is being filled, or [`NO_WORD`]. It is not in `rest`.
    word: u32,
    bits: u64,
    /// Further runs and words, if there are any.
    rest: Option<Box<Rest>>,
}

/// Runs and words beyond the inline ones.
#[derive(Debug, Default)]
struct Rest {
    /// Complete words, ascending, never adjacent.
    full: Vec<Run>,
    /// Partial words with at least one message, ascending.
    open: Vec<Open>,
}

/// Complete words `first .. end`.
#[derive(Debug)]
struct Run {
    first: u32,
    end: u32,
}

#[derive(Debug)]
struct Open {
    word: u32,
    bits: u64,
}

impl Default for ReceivedSet {
    fn default() -> Self {
        Self { first: 0, end: 0, word: NO_WORD, bits: 0, rest: None }
    }
}

impl ReceivedSet {
    /// Adds `index`. Returns false if it was present.
    pub(super) fn insert(&mut self, index: u32) -> bool {
        let (word, bit) = (index / WORD, 1 << (index % WORD));
        if word != self.word {
            return self.insert_elsewhere(word, bit);
        }
        if self.bits & bit != 0 {
            return false;
        }
        self.bits |= bit;
        if self.bits == u64::MAX {
            (self.word, self.bits) = (NO_WORD, 0);
            self.add_full(word);
        }
        true
    }

    /// Adds a message of another word than the inline one.
    fn insert_elsewhere(&mut self, word: u32, bit: u64) -> bool {
        if self.is_full(word) {
            return false;
        }
        if let Some(rest) = &mut self.rest
            && let Ok(at) = rest.find_open(word)
        {
            let open = &mut rest.open[at];
            if open.bits & bit != 0 {
                return false;
            }
            open.bits |= bit;
            if open.bits == u64::MAX {
                rest.open.remove(at);
                self.add_full(word);
            }
            return true;
        }
        // The highest word stays inline, since nearly all further messages go there.
        let open = if self.word == NO_WORD || self.word < word {
            let open = Open { word: self.word, bits: self.bits };
            (self.word, self.bits) = (word, bit);
            open
        } else {
            Open { word, bits: bit }
        };
        if open.word != NO_WORD {
            let rest = self.rest.get_or_insert_default();
            let at = rest.open.partition_point(|other| other.word < open.word);
            grow_slowly(&mut rest.open);
            rest.open.insert(at, open);
        }
        true
    }

    /// Returns true if `index` has been received.
    pub(super) fn contains(&self, index: u32) -> bool {
        self.word_bits(index / WORD) & 1 << (index % WORD) != 0
    }

    pub(super) fn block(&self, block: u32) -> Bits {
        let words = BLOCK / WORD;
        std::array::from_fn(|at| self.word_bits(block * words + at as u32))
    }

    fn word_bits(&self, word: u32) -> u64 {
        if (self.first..self.end).contains(&word) {
            return u64::MAX;
        }
        if word == self.word {
            return self.bits;
        }
        let Some(rest) = &self.rest else { return 0 };
        match rest.find_open(word) {
            Ok(at) => rest.open[at].bits,
            Err(_) if rest.is_full(word) => u64::MAX,
            Err(_) => 0,
        }
    }

    fn is_full(&self, word: u32) -> bool {
        (self.first..self.end).contains(&word) || self.rest.as_ref().is_some_and(|rest| rest.is_full(word))
    }

    fn add_full(&mut self, word: u32) {
        let is_empty = self.first == self.end;
        if is_empty {
            (self.first, self.end) = (word, word + 1);
        } else if word == self.end {
            self.end += 1;
        } else if word + 1 == self.first {
            self.first -= 1;
        } else if word > self.end {
            let run = Run { first: self.first, end: self.end };
            (self.first, self.end) = (word, word + 1);
            self.rest.get_or_insert_default().add_full(run);
        } else {
            self.rest.get_or_insert_default().add_full(Run { first: word, end: word + 1 });
        }
        let Some(rest) = &mut self.rest else { return };
        // All runs of `rest` are before the inline one.
        if let Some(before) = rest.full.pop_if(|before| before.end == self.first) {
            self.first = before.first;
        }
        if rest.full.is_empty() && rest.open.is_empty() {
            self.rest = None;
        }
    }
}

impl Rest {
    fn find_open(&self, word: u32) -> Result<usize, usize> {
        self.open.binary_search_by_key(&word, |open| open.word)
    }

    fn is_full(&self, word: u32) -> bool {
        let after = self.full.partition_point(|run| run.first <= word);
        after > 0 && word < self.full[after - 1].end
    }

    /// Adds a run that no other overlaps, and joins it with its neighbors.
    fn add_full(&mut self, run: Run) {
        let after = self.full.partition_point(|other| other.first <= run.first);
        let joins_next = self.full.get(after).is_some_and(|next| next.first == run.end);
        let joins_previous = after > 0 && self.full[after - 1].end == run.first;
        match (joins_previous, joins_next) {
            (true, true) => self.full[after - 1].end = self.full.remove(after).end,
            (true, false) => self.full[after - 1].end = run.end,
            (false, true) => self.full[after].first = run.first,
            (false, false) => {
                grow_slowly(&mut self.full);
                self.full.insert(after, run);
            }
        }
    }
}

/// Reserves space for exactly one more item in a short list, since thousands of lists have only one
/// or two.
pub(super) fn grow_slowly<T>(list: &mut Vec<T>) {
    if list.len() == list.capacity() && list.len() < 4 {
        list.reserve_exact(1);
    }
}

/// Returns a message's block, its word in the block, and its bit in the word.
pub(super) fn split(index: u32) -> (u32, usize, u64) {
    let within = index % BLOCK;
    (index / BLOCK, (within / WORD) as usize, 1 << (within % WORD))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::HashSet;

    #[test]
    fn messages_in_order_make_one_run() {
        let mut set = ReceivedSet::default();
        for index in 0..100 * BLOCK {
            assert!(set.insert(index));
        }
        assert_eq!((set.first, set.end, set.rest.is_none()), (0, 100 * BLOCK / WORD, true));
        assert!(!set.insert(0) && !set.insert(99 * BLOCK + 511));
        assert!(!set.contains(100 * BLOCK));
    }

    #[test]
    fn runs_join_in_any_order() {
        let mut set = ReceivedSet::default();
        for block in [4, 0, 2, 1, 5, 3] {
            (block * BLOCK..(block + 1) * BLOCK).for_each(|index| assert!(set.insert(index)));
        }
        assert_eq!((set.first, set.end, set.rest.is_none()), (0, 6 * BLOCK / WORD, true));
    }

    #[test]
    fn a_set_allocates_nothing_while_order_is_nearly_kept() {
        let mut set = ReceivedSet::default();
        for index in (0..1_000).map(|index| index ^ 7) {
            assert!(set.insert(index) && set.rest.is_none());
        }
        assert_eq!(size_of::<ReceivedSet>(), 32);
        // At the end of a word, one partial word moves to `rest` until the missing message arrives.
        (1_000..1_100).filter(|index| *index != 1_020).for_each(|index| assert!(set.insert(index)));
        assert!(set.rest.is_some() && set.insert(1_020) && set.rest.is_none());
    }

    #[test]
    fn one_lost_message_is_found_among_a_million() {
        let mut set = ReceivedSet::default();
        let lost = 765_432;
        (0..1_000_000).filter(|index| *index != lost).for_each(|index| assert!(set.insert(index)));
        assert!(!set.contains(lost));
        let received: u32 = (0..=1_000_000 / BLOCK)
            .map(|block| set.block(block).iter().map(|word| word.count_ones()).sum::<u32>())
            .sum();
        assert_eq!(received, 999_999);
    }

    proptest! {
        #[test]
        fn agrees_with_a_hash_set(
            // Whole stretches and single messages, so that blocks fill, join and stay open.
            stretches in prop::collection::vec((0_u32..6 * BLOCK, 1_u32..2 * BLOCK), 0..12),
            singles in prop::collection::vec(0_u32..8 * BLOCK, 0..50),
        ) {
            let mut set = ReceivedSet::default();
            let mut model = HashSet::new();
            let indexes = stretches.iter().flat_map(|(from, length)| *from..from + length).chain(singles);
            for index in indexes {
                prop_assert_eq!(set.insert(index), model.insert(index));
            }
            for index in 0..9 * BLOCK {
                let (block, word, bit) = split(index);
                prop_assert_eq!(set.contains(index), model.contains(&index));
                prop_assert_eq!(set.block(block)[word] & bit != 0, model.contains(&index));
            }
            let rest = set.rest.unwrap_or_default();
            let last = Run { first: set.first, end: set.end };
            let runs: Vec<_> = rest.full.into_iter().chain([last]).collect();
            prop_assert!(runs.windows(2).all(|pair| pair[0].end < pair[1].first));
        }
    }
}
