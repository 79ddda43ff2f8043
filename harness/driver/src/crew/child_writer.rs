//! The way to a process. What it is told waits for a thread that writes it, so that nobody else ever waits for a process that
//! does not read: neither the run, nor those that listen to the other processes.

use std::collections::VecDeque;
use std::io::Write;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use parking_lot::{Condvar, Mutex};

/// Bytes that are written at a time. What a pipe holds is no more, so each piece shows that somebody reads.
const PIECE: usize = 64 * 1024;

/// The way to one process, and what is known of it.
#[derive(Default)]
pub(super) struct ChildWriter {
    queue: Mutex<Queue>,
    changed: Condvar,
    /// Pieces that the pipe has taken.
    taken: AtomicU64,
    /// News that have come.
    heard: AtomicU64,
    /// Results that it has begun with.
    begun: AtomicU64,
    /// Whether it says nothing any more.
    has_ended: AtomicBool,
    /// Why it cannot go on, if it said so.
    failure: OnceLock<String>,
}

/// What is still to be written.
#[derive(Default)]
struct Queue {
    orders: VecDeque<Arc<[u8]>>,
    /// Their bytes, and those of the one that is being written.
    bytes: usize,
    /// Nothing more is to be said.
    is_closed: bool,
}

impl ChildWriter {
    /// Says something to the process. One that has ended does not hear it, which is found out elsewhere.
    pub(super) fn say(&self, order: &Arc<[u8]>) {
        let mut queue = self.queue.lock();
        if !queue.is_closed {
            queue.bytes += order.len();
            queue.orders.push_back(order.clone());
            self.changed.notify_all();
        }
    }

    /// Nothing more will be said; what was is still written.
    pub(super) fn close(&self) {
        self.queue.lock().is_closed = true;
        self.changed.notify_all();
    }

    /// Writes what is said until nothing more will be, or nobody reads it any more.
    pub(super) fn write(&self, mut pipe: impl Write) {
        while let Some(order) = self.next() {
            for piece in order.chunks(PIECE) {
                if pipe.write_all(piece).is_err() {
                    *self.queue.lock() = Queue { is_closed: true, ..Queue::default() };
                    self.changed.notify_all();
                    return;
                }
                self.taken.fetch_add(1, Ordering::Relaxed);
            }
            self.queue.lock().bytes -= order.len();
            self.changed.notify_all();
        }
    }

    fn next(&self) -> Option<Arc<[u8]>> {
        let mut queue = self.queue.lock();
        loop {
            if let Some(order) = queue.orders.pop_front() {
                return Some(order);
            }
            if queue.is_closed {
                return None;
            }
            self.changed.wait(&mut queue);
        }
    }

    /// Waits, at most `patience`, until no more than `bytes` wait to be read. False if more still do.
    pub(super) fn drains_to(&self, bytes: usize, patience: Duration) -> bool {
        let mut queue = self.queue.lock();
        self.changed.wait_while_for(&mut queue, |queue| queue.bytes > bytes, patience);
        queue.bytes <= bytes
    }

    /// How much has been taken of what was said; none if nothing waits.
    pub(super) fn taken(&self) -> Option<u64> {
        let is_waiting = self.queue.lock().bytes > 0;
        is_waiting.then(|| self.taken.load(Ordering::Relaxed))
    }

    /// The process has said something.
    pub(super) fn hear(&self) {
        self.heard.fetch_add(1, Ordering::Relaxed);
    }

    /// How often it has.
    pub(super) fn heard(&self) -> u64 {
        self.heard.load(Ordering::Relaxed)
    }

    /// The process has begun with what it was asked for.
    pub(super) fn begin(&self) {
        self.begun.fetch_add(1, Ordering::Relaxed);
    }

    /// How often it has.
    pub(super) fn begun(&self) -> u64 {
        self.begun.load(Ordering::Relaxed)
    }

    /// Why the process cannot go on, by its own word.
    pub(super) fn explain(&self, why: String) {
        // The first reason is the reason.
        let _ = self.failure.set(why);
    }

    /// The process says nothing any more.
    pub(super) fn end(&self) {
        self.has_ended.store(true, Ordering::Release);
    }

    /// Whether it says nothing any more.
    pub(super) fn has_ended(&self) -> bool {
        self.has_ended.load(Ordering::Acquire)
    }

    /// Why it cannot go on, if that is known.
    pub(super) fn failure(&self) -> Option<&str> {
        self.failure.get().map(String::as_str)
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, pipe};
    use std::thread;

    use super::*;

    const SOON: Duration = Duration::from_millis(20);
    const LONG: Duration = Duration::from_secs(30);

    fn order(bytes: &[u8]) -> Arc<[u8]> {
        Arc::from(bytes)
    }

    #[test]
    fn nobody_waits_for_who_does_not_read() {
        let child_writer = ChildWriter::default();
        let (mut reader, writer) = pipe().expect("a pipe");
        thread::scope(|scope| {
            scope.spawn(|| child_writer.write(writer));
            assert_eq!(child_writer.taken(), None);
            // Far more than the pipe holds.
            let long: Vec<u8> = (0..10 * PIECE as u32).map(|at| (at % 251) as u8).collect();
            child_writer.say(&order(&long));
            child_writer.say(&order(b"and some more"));
            assert!(
                !child_writer.drains_to(13, SOON) && child_writer.taken().is_some_and(|taken| taken < 10)
            );
            let mut found = vec![0; long.len()];
            reader.read_exact(&mut found).expect("it is written");
            assert!(found == long && child_writer.drains_to(0, LONG));
            assert_eq!(child_writer.taken(), None);
            // What was said before the end is written, and nothing after it.
            child_writer.say(&order(b", the last"));
            child_writer.close();
            child_writer.say(&order(b"unheard"));
            let mut rest = String::new();
            reader.read_to_string(&mut rest).expect("it ends");
            assert_eq!(rest, "and some more, the last");
        });
    }

    #[test]
    fn who_is_gone_keeps_nobody_waiting() {
        let child_writer = ChildWriter::default();
        let (reader, writer) = pipe().expect("a pipe");
        thread::scope(|scope| {
            scope.spawn(|| child_writer.write(writer));
            child_writer.say(&order(&vec![7; 4 * PIECE]));
            assert!(!child_writer.drains_to(0, SOON));
            drop(reader);
            assert!(child_writer.drains_to(0, LONG));
            child_writer.say(&order(b"unheard"));
            assert_eq!(child_writer.taken(), None);
        });
    }
}
