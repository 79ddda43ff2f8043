//! Which messages a client has received: exact, and small because almost all of them are.

/// Messages in a block: what is kept as bits while it is incomplete.
pub(super) const BLOCK: u32 = 512;

/// The bits of one block.
pub(super) type Bits = [u64; BLOCK as usize / 64];

/// Every message of a block.
const ALL: Bits = [u64::MAX; BLOCK as usize / 64];
/// No message of a block.
const NONE: Bits = [0; BLOCK as usize / 64];

/// A set of message numbers.
///
/// Complete blocks cost nothing but the ends of the run they belong to; only blocks with
/// gaps keep their bits. A client that gets everything in about the order of sending has one
/// run and one or two open blocks, some 100 bytes, after a million messages as after ten. At
/// worst, when every block has a gap, a message costs little more than one bit.
#[derive(Debug, Default)]
pub(super) struct ReceivedSet {
    /// Complete blocks, ascending, never adjacent.
    full: Vec<Run>,
    /// Blocks with at least one message and not all, ascending.
    open: Vec<Open>,
}

/// Complete blocks `first .. end`.
#[derive(Debug)]
struct Run {
    first: u32,
    end: u32,
}

#[derive(Debug)]
struct Open {
    block: u32,
    bits: Bits,
}

impl ReceivedSet {
    /// Adds `index`; false if it was there already.
    pub(super) fn insert(&mut self, index: u32) -> bool {
        let (block, word, bit) = split(index);
        let at = match self.find_open(block) {
            Ok(at) => at,
            Err(_) if self.is_full(block) => return false,
            Err(at) => {
                grow_slowly(&mut self.open);
                self.open.insert(at, Open { block, bits: NONE });
                at
            }
        };
        let bits = &mut self.open[at].bits;
        if bits[word] & bit != 0 {
            return false;
        }
        bits[word] |= bit;
        if bits[word] == u64::MAX && *bits == ALL {
            self.open.remove(at);
            self.add_full(block);
        }
        true
    }

    /// Whether `index` has been received.
    pub(super) fn contains(&self, index: u32) -> bool {
        let (block, word, bit) = split(index);
        match self.find_open(block) {
            Ok(at) => self.open[at].bits[word] & bit != 0,
            Err(_) => self.is_full(block),
        }
    }

    /// The messages of `block`.
    pub(super) fn block(&self, block: u32) -> Bits {
        match self.find_open(block) {
            Ok(at) => self.open[at].bits,
            Err(_) if self.is_full(block) => ALL,
            Err(_) => NONE,
        }
    }

    /// Where `block` is among the open ones, or would be. The last one is looked at first:
    /// that is where nearly every delivery goes.
    fn find_open(&self, block: u32) -> Result<usize, usize> {
        match self.open.last() {
            Some(last) if last.block == block => Ok(self.open.len() - 1),
            Some(last) if last.block < block => Err(self.open.len()),
            _ => self.open.binary_search_by_key(&block, |open| open.block),
        }
    }

    fn is_full(&self, block: u32) -> bool {
        let after = self.full.partition_point(|run| run.first <= block);
        after > 0 && block < self.full[after - 1].end
    }

    fn add_full(&mut self, block: u32) {
        let after = self.full.partition_point(|run| run.first <= block);
        let joins_next = self.full.get(after).is_some_and(|next| next.first == block + 1);
        let joins_previous = after > 0 && self.full[after - 1].end == block;
        match (joins_previous, joins_next) {
            (true, true) => self.full[after - 1].end = self.full.remove(after).end,
            (true, false) => self.full[after - 1].end = block + 1,
            (false, true) => self.full[after].first = block,
            (false, false) => {
                grow_slowly(&mut self.full);
                self.full.insert(after, Run { first: block, end: block + 1 });
            }
        }
    }
}

/// Makes room for one more, and for no more than that while there are few: thousands of lists have one item or two.
pub(super) fn grow_slowly<T>(list: &mut Vec<T>) {
    if list.len() == list.capacity() && list.len() < 4 {
        list.reserve_exact(1);
    }
}

/// The block of a message, its word there, and its bit in the word.
pub(super) fn split(index: u32) -> (u32, usize, u64) {
    let within = index % BLOCK;
    (index / BLOCK, within as usize / 64, 1 << (within % 64))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::HashSet;

    #[test]
    fn everything_in_order_leaves_one_run() {
        let mut set = ReceivedSet::default();
        for index in 0..100 * BLOCK {
            assert!(set.insert(index));
        }
        assert_eq!((set.full.len(), set.open.len()), (1, 0));
        assert!(!set.insert(0) && !set.insert(99 * BLOCK + 511));
        assert!(!set.contains(100 * BLOCK));
    }

    #[test]
    fn runs_join_whatever_the_order() {
        let mut set = ReceivedSet::default();
        for block in [4, 0, 2, 1, 5, 3] {
            (block * BLOCK..(block + 1) * BLOCK).for_each(|index| assert!(set.insert(index)));
        }
        assert_eq!((set.full.len(), set.open.len()), (1, 0));
        assert_eq!((set.full[0].first, set.full[0].end), (0, 6));
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
            prop_assert!(set.full.windows(2).all(|pair| pair[0].end < pair[1].first));
        }
    }
}
