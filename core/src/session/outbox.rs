//! Bytes that wait for one session's socket.

use crate::limits::{SPARE_BUFFER_BYTES, SPARE_BUFFERS};

/// Sealed bytes in the order they go out. An empty outbox owns no memory.
#[derive(Default)]
pub struct Outbox {
    bytes: Vec<u8>,
    /// Bytes at the front that the socket has accepted.
    written: usize,
}

/// Written bytes at the front of a buffer beyond which the rest may be moved there.
const COMPACT_AT: usize = 64 * 1024;

/// Buffers for the outboxes of one shard, reused so that a busy loop allocates nothing.
#[derive(Default)]
pub struct BufferPool(Vec<Vec<u8>>);

impl BufferPool {
    fn take(&mut self) -> Vec<u8> {
        self.0.pop().unwrap_or_default()
    }

    fn give(&mut self, mut buffer: Vec<u8>) {
        if self.0.len() < SPARE_BUFFERS && (1..=SPARE_BUFFER_BYTES).contains(&buffer.capacity()) {
            buffer.clear();
            self.0.push(buffer);
        }
    }
}

impl Outbox {
    /// Returns the number of bytes that wait.
    pub fn len(&self) -> usize {
        self.bytes.len() - self.written
    }

    /// Returns true if no bytes wait.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Returns the bytes that wait.
    pub fn waiting(&self) -> &[u8] {
        &self.bytes[self.written..]
    }

    /// Returns the buffer to append frames to.
    pub fn tail(&mut self, pool: &mut BufferPool) -> &mut Vec<u8> {
        if self.bytes.capacity() == 0 {
            self.bytes = pool.take();
        }
        // The buffer of a peer that is always a little behind must not grow for ever.
        if self.written > COMPACT_AT && self.written > self.bytes.len() / 2 {
            self.bytes.drain(..self.written);
            self.written = 0;
        }
        &mut self.bytes
    }

    /// Removes `count` bytes, which the socket has accepted.
    pub fn consume(&mut self, count: usize, pool: &mut BufferPool) {
        self.written += count;
        debug_assert!(self.written <= self.bytes.len());
        if self.is_empty() {
            self.clear(pool);
        }
    }

    /// Drops all bytes and gives the buffer back to the pool.
    pub fn clear(&mut self, pool: &mut BufferPool) {
        self.written = 0;
        pool.give(std::mem::take(&mut self.bytes));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        /// The socket gets every byte once and in order, for any sizes of its writes.
        #[test]
        fn bytes_go_out_once_and_in_order(steps in prop::collection::vec((0usize..9000, any::<u16>()), 0..64)) {
            let mut outbox = Outbox::default();
            let mut pool = BufferPool::default();
            let mut next = 0u8;
            let mut expected = 0u8;
            let mut receive = |bytes: &[u8]| {
                bytes.iter().all(|byte| std::mem::replace(&mut expected, byte.wrapping_add(1)) == *byte)
            };
            for (appends, takes) in steps {
                for _ in 0..appends {
                    outbox.tail(&mut pool).push(next);
                    next = next.wrapping_add(1);
                }
                let count = outbox.len().min(usize::from(takes));
                prop_assert!(receive(&outbox.waiting()[..count]));
                outbox.consume(count, &mut pool);
            }
            prop_assert!(receive(outbox.waiting()));
            outbox.consume(outbox.len(), &mut pool);
            prop_assert_eq!(expected, next);
            prop_assert_eq!(outbox.bytes.capacity(), 0, "an empty outbox owns no memory");
            prop_assert!(pool.0.len() <= 1);
        }
    }
}
