//! The channel to a child process. A thread of its own writes the queued commands, so that a child
//! that does not read blocks neither the run's thread nor the listeners of other children.

use std::collections::VecDeque;
use std::io::Write;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use parking_lot::{Condvar, Mutex};

/// Bytes written at a time. A pipe holds no more, so each piece proves that the child reads.
const PIECE: usize = 64 * 1024;

/// The queue of commands to one child, and the child's state.
#[derive(Default)]
pub(super) struct ChildWriter {
    queue: Mutex<Queue>,
    changed: Condvar,
    /// Pieces written to the pipe.
    written: AtomicU64,
    /// Events received.
    events: AtomicU64,
    /// Requests for results that it has begun to serve.
    begun: AtomicU64,
    /// True once its stdout has ended.
    has_ended: AtomicBool,
    /// The failure that it reported.
    failure: OnceLock<String>,
}

/// Commands that are not written yet.
#[derive(Default)]
struct Queue {
    commands: VecDeque<Arc<[u8]>>,
    /// Bytes of the queued commands, and of the command being written.
    bytes: usize,
    is_closed: bool,
}

impl ChildWriter {
    /// Queues a command, unless the queue is closed. Its process may be gone; the listener notices.
    pub(super) fn push(&self, command: &Arc<[u8]>) {
        let mut queue = self.queue.lock();
        if !queue.is_closed {
            queue.bytes += command.len();
            queue.commands.push_back(command.clone());
            self.changed.notify_all();
        }
    }

    /// Closes the queue; commands in it are still written.
    pub(super) fn close(&self) {
        self.queue.lock().is_closed = true;
        self.changed.notify_all();
    }

    /// Writes commands until the queue is closed and empty, or the pipe breaks.
    pub(super) fn write(&self, mut pipe: impl Write) {
        while let Some(command) = self.next() {
            for piece in command.chunks(PIECE) {
                if pipe.write_all(piece).is_err() {
                    *self.queue.lock() = Queue { is_closed: true, ..Queue::default() };
                    self.changed.notify_all();
                    return;
                }
                self.written.fetch_add(1, Ordering::Relaxed);
            }
            self.queue.lock().bytes -= command.len();
            self.changed.notify_all();
        }
    }

    fn next(&self) -> Option<Arc<[u8]>> {
        let mut queue = self.queue.lock();
        loop {
            if let Some(command) = queue.commands.pop_front() {
                return Some(command);
            }
            if queue.is_closed {
                return None;
            }
            self.changed.wait(&mut queue);
        }
    }

    /// Waits until at most `bytes` are queued; false if `patience` runs out first.
    pub(super) fn drains_to(&self, bytes: usize, patience: Duration) -> bool {
        let mut queue = self.queue.lock();
        self.changed.wait_while_for(&mut queue, |queue| queue.bytes > bytes, patience);
        queue.bytes <= bytes
    }

    /// The pieces written so far; none if no bytes are queued.
    pub(super) fn written(&self) -> Option<u64> {
        let is_waiting = self.queue.lock().bytes > 0;
        is_waiting.then(|| self.written.load(Ordering::Relaxed))
    }

    pub(super) fn count_event(&self) {
        self.events.fetch_add(1, Ordering::Relaxed);
    }

    /// The number of events received.
    pub(super) fn events(&self) -> u64 {
        self.events.load(Ordering::Relaxed)
    }

    /// Counts a request for results that the child has begun to serve.
    pub(super) fn count_begun(&self) {
        self.begun.fetch_add(1, Ordering::Relaxed);
    }

    /// The number of requests for results that it has begun to serve.
    pub(super) fn begun(&self) -> u64 {
        self.begun.load(Ordering::Relaxed)
    }

    /// Records the reason why the child cannot continue. Only the first reason is kept.
    pub(super) fn set_failure(&self, reason: String) {
        let _ = self.failure.set(reason);
    }

    pub(super) fn set_ended(&self) {
        self.has_ended.store(true, Ordering::Release);
    }

    /// True once the child's stdout has ended.
    pub(super) fn has_ended(&self) -> bool {
        self.has_ended.load(Ordering::Acquire)
    }

    /// The reason why the child cannot continue, if known.
    pub(super) fn failure(&self) -> Option<&str> {
        self.failure.get().map(String::as_str)
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, pipe};
    use std::thread;

    use super::*;

    const SHORT: Duration = Duration::from_millis(20);
    const LONG: Duration = Duration::from_secs(30);

    fn command(bytes: &[u8]) -> Arc<[u8]> {
        Arc::from(bytes)
    }

    #[test]
    fn a_child_that_does_not_read_blocks_no_sender() {
        let child_writer = ChildWriter::default();
        let (mut reader, writer) = pipe().expect("a pipe");
        thread::scope(|scope| {
            scope.spawn(|| child_writer.write(writer));
            assert_eq!(child_writer.written(), None);
            // Far more than the pipe holds.
            let long: Vec<u8> = (0..10 * PIECE as u32).map(|at| (at % 251) as u8).collect();
            child_writer.push(&command(&long));
            child_writer.push(&command(b"and some more"));
            assert!(
                !child_writer.drains_to(13, SHORT)
                    && child_writer.written().is_some_and(|written| written < 10)
            );
            let mut found = vec![0; long.len()];
            reader.read_exact(&mut found).expect("all bytes arrive");
            assert!(found == long && child_writer.drains_to(0, LONG));
            assert_eq!(child_writer.written(), None);
            // Commands queued before `close` are written, later ones are dropped.
            child_writer.push(&command(b", the last"));
            child_writer.close();
            child_writer.push(&command(b"dropped"));
            let mut rest = String::new();
            reader.read_to_string(&mut rest).expect("the pipe closes");
            assert_eq!(rest, "and some more, the last");
        });
    }

    #[test]
    fn a_broken_pipe_drops_the_queue() {
        let child_writer = ChildWriter::default();
        let (reader, writer) = pipe().expect("a pipe");
        thread::scope(|scope| {
            scope.spawn(|| child_writer.write(writer));
            child_writer.push(&command(&vec![7; 4 * PIECE]));
            assert!(!child_writer.drains_to(0, SHORT));
            drop(reader);
            assert!(child_writer.drains_to(0, LONG));
            child_writer.push(&command(b"dropped"));
            assert_eq!(child_writer.written(), None);
        });
    }
}
