//! Bounded lock-free queue between event loops and content threads, in either direction.
//!
//! A queue never grows and never drops an item: a full one makes its producer wait, or gives the
//! item back. A bell turns many pushes into one wake-up of the consumer.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use crossbeam_queue::ArrayQueue;
use crossbeam_utils::CachePadded;

use crate::limits::SHARDS_MAX;
use crate::metrics;

/// Flag of a [`Doorbell`]; a trait so that loom can replace the atomic in a test.
pub(crate) trait Flag {
    /// Sets the flag and returns its former value: one read-modify-write, acquire and release.
    fn swap(&self, value: bool) -> bool;
}

impl Flag for AtomicBool {
    fn swap(&self, value: bool) -> bool {
        AtomicBool::swap(self, value, Ordering::AcqRel)
    }
}

/// Merges many wake-ups into one.
///
/// A producer pushes, then rings; only the ring that finds the bell silent has to wake the
/// consumer. The consumer clears the bell, **then** drains. Both are read-modify-writes, so a ring
/// that found the bell ringing comes before the clear that silenced it. What was pushed before that
/// ring is therefore seen by the drain after that clear. Draining first, or clearing with a plain
/// store, would strand items until the next wake-up.
#[derive(Debug, Default)]
pub(crate) struct Doorbell<F = AtomicBool>(F);

impl<F: Flag> Doorbell<F> {
    /// Returns true if the caller must wake the consumer.
    pub(crate) fn ring(&self) -> bool {
        !self.0.swap(true)
    }

    /// Silences the bell. Must be called before draining.
    pub(crate) fn clear(&self) {
        self.0.swap(false);
    }
}

/// Bounded queue with many producers and one consumer, which may sleep while the queue is empty.
///
/// # Producers
///
/// Any thread may push. There are three ways, by what a producer does when the queue is full:
///
/// * [`try_push`](Self::try_push) gives the item back.
/// * [`try_push_or_register`](Self::try_push_or_register) also registers the producer, which is
///   then woken when there is room. It is for event loops, which must not wait.
/// * [`push`](Self::push) waits. It is for content threads.
///
/// After its last push a producer calls [`ring`](Self::ring), once for any number of items.
///
/// # Consumer
///
/// One thread at a time consumes, in rounds of four steps whose order matters:
///
/// 1. [`clear_bell`](Self::clear_bell).
/// 2. [`pop`](Self::pop), until the queue is empty or the round is long enough.
/// 3. [`take_registered`](Self::take_registered), and wake those producers.
/// 4. If the queue is empty, sleep until the `wake` function given to [`new`](Self::new) is called.
///    The call may come between the steps, so the sleep must remember it, as a parker or an eventfd
///    does.
///
/// # Guarantees
///
/// * Items come out in the order in which they were pushed. In particular the items of one producer
///   keep their order.
/// * After a ring the consumer does not sleep before it has seen every item pushed before the ring.
///   No interleaving strands an item.
/// * A registered producer whose item was given back is returned by a later `take_registered`,
///   provided that the consumer pops before it takes. Other producers may be returned, too.
/// * Nothing is allocated after [`new`](Self::new).
///
/// # Only so today
///
/// * A producer in [`push`](Self::push) looks for room every 100 µs instead of being woken.
/// * After [`close`](Self::close) a push still succeeds while the queue has room; the item is
///   dropped with the queue.
///
/// # Example
///
/// ```
/// use std::sync::Arc;
/// use std::thread;
///
/// use throng_core::queue::JobQueue;
///
/// let consumer = thread::current();
/// let queue = Arc::new(JobQueue::new(8, move || consumer.unpark()));
///
/// let producer = thread::spawn({
///     let queue = queue.clone();
///     move || {
///         for number in 0..100 {
///             queue.push(number).expect("the consumer is alive");
///             queue.ring();
///         }
///     }
/// });
///
/// let mut received = Vec::new();
/// while received.len() < 100 {
///     queue.clear_bell();
///     let before = received.len();
///     while let Some(number) = queue.pop() {
///         received.push(number);
///     }
///     if received.len() == before {
///         thread::park();
///     }
/// }
/// assert!(received.into_iter().eq(0..100));
/// producer.join().unwrap();
/// ```
pub struct JobQueue<T> {
    items: ArrayQueue<T>,
    bell: CachePadded<Doorbell>,
    wake: Box<dyn Fn() + Send + Sync>,
    /// Registered producers, one bit each.
    registered: CachePadded<AtomicU64>,
    closed: AtomicBool,
}

// Each shard has a bit in `JobQueue::registered`.
const _: () = assert!(SHARDS_MAX <= u64::BITS as usize);

/// Pause of a waiting producer between two attempts to push.
pub(crate) const FULL_WAIT: Duration = Duration::from_micros(100);

impl<T> JobQueue<T> {
    /// Creates a queue for `capacity` items, at least one. `wake` wakes the consumer; producers
    /// call it.
    pub fn new(capacity: usize, wake: impl Fn() + Send + Sync + 'static) -> Self {
        Self {
            items: ArrayQueue::new(capacity.max(1)),
            bell: CachePadded::default(),
            wake: Box::new(wake),
            registered: CachePadded::default(),
            closed: AtomicBool::new(false),
        }
    }

    /// Appends an item, or gives it back if the queue is full. Neither waits nor wakes the
    /// consumer.
    pub fn try_push(&self, item: T) -> Result<(), T> {
        self.items.push(item)
    }

    /// As [`Self::try_push`]. If the queue is full, also registers `producer` (below 64), so that
    /// [`Self::take_registered`] returns it once there is room.
    pub fn try_push_or_register(&self, item: T, producer: usize) -> Result<(), T> {
        let Err(item) = self.items.push(item) else { return Ok(()) };
        self.registered.fetch_or(1 << producer, Ordering::SeqCst);
        // The consumer may have made room and taken the bits before the producer's was set.
        self.items.push(item)
    }

    /// Appends an item, and waits while the queue is full. Never for an event loop. Gives the item
    /// back if the queue is full and closed.
    pub fn push(&self, mut item: T) -> Result<(), T> {
        let mut has_waited = false;
        while let Err(returned) = self.items.push(item) {
            if self.is_closed() {
                return Err(returned);
            }
            if !std::mem::replace(&mut has_waited, true) {
                metrics::MAILBOX_WAITS.inc();
            }
            item = returned;
            self.ring();
            thread::park_timeout(FULL_WAIT);
        }
        Ok(())
    }

    /// Wakes the consumer, unless a wake-up is under way already.
    pub fn ring(&self) {
        if self.bell.ring() {
            (self.wake)();
        }
    }

    /// Silences the bell. The consumer's first step after waking up.
    pub fn clear_bell(&self) {
        self.bell.clear();
    }

    /// Removes the oldest item. Only for the consumer.
    pub fn pop(&self) -> Option<T> {
        self.items.pop()
    }

    /// Returns the producers registered since the last call, as bits. Only for the consumer, after
    /// it has popped.
    pub fn take_registered(&self) -> u64 {
        if self.registered.load(Ordering::SeqCst) == 0 {
            return 0;
        }
        self.registered.swap(0, Ordering::SeqCst)
    }

    /// Returns true if no item is queued at this moment.
    pub fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    /// Returns the number of items queued at this moment.
    pub fn len(&self) -> usize {
        self.items.len()
    }

    /// Returns true once the consumer is gone.
    pub fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Acquire)
    }

    /// Declares that the consumer is gone. Producers that wait for room get their items back.
    pub fn close(&self) {
        self.closed.store(true, Ordering::Release);
    }
}

impl<T: Send> metrics::Depth for JobQueue<T> {
    fn depth(&self) -> usize {
        self.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crossbeam_utils::sync::Parker;
    use std::sync::Arc;
    use std::time::Instant;

    struct LoomFlag(loom::sync::atomic::AtomicBool);

    impl Flag for LoomFlag {
        fn swap(&self, value: bool) -> bool {
            self.0.swap(value, loom::sync::atomic::Ordering::AcqRel)
        }
    }

    /// Checks every interleaving of two producers and a consumer that sleeps whenever the protocol
    /// lets it: at the end all items are drained.
    #[test]
    fn no_wake_is_lost_in_any_interleaving() {
        use loom::sync::atomic::{AtomicUsize, Ordering::Relaxed};
        let mut model = loom::model::Builder::new();
        // Every known lost wake-up of this kind needs two preemptions. Without a bound loom takes
        // half a minute.
        model.preemption_bound = Some(3);
        model.check(|| {
            let bell = loom::sync::Arc::new(Doorbell(LoomFlag(loom::sync::atomic::AtomicBool::new(false))));
            let pushed = loom::sync::Arc::new(AtomicUsize::new(0));
            let wakes = loom::sync::Arc::new(AtomicUsize::new(0));
            let producers: Vec<_> = (0..2)
                .map(|_| {
                    let bell = bell.clone();
                    let pushed = pushed.clone();
                    let wakes = wakes.clone();
                    loom::thread::spawn(move || {
                        // Relaxed, so that only the bell orders the item before the drain.
                        pushed.fetch_add(1, Relaxed);
                        if bell.ring() {
                            wakes.fetch_add(1, Relaxed);
                        }
                    })
                })
                .collect();
            let drain = || {
                bell.clear();
                pushed.load(Relaxed)
            };
            let mut drained = 0;
            if wakes.load(Relaxed) > 0 {
                wakes.fetch_sub(1, Relaxed);
                drained = drain();
            }
            for producer in producers {
                producer.join().unwrap();
            }
            while wakes.load(Relaxed) > 0 {
                wakes.fetch_sub(1, Relaxed);
                drained = drain();
            }
            assert_eq!(drained, 2, "an item was stranded while the consumer sleeps");
        });
    }

    #[test]
    fn a_registered_producer_is_returned_once() {
        let queue = JobQueue::new(1, || {});
        queue.try_push_or_register('a', 5).unwrap();
        assert_eq!(queue.try_push_or_register('b', 5), Err('b'));
        assert_eq!(queue.pop(), Some('a'));
        assert_eq!(queue.take_registered(), 1 << 5);
        assert_eq!(queue.take_registered(), 0);
        queue.try_push_or_register('b', 5).unwrap();
    }

    #[test]
    fn a_waiting_producer_gets_room_and_is_released_by_close() {
        let queue = Arc::new(JobQueue::new(2, || {}));
        let producer = thread::spawn({
            let queue = queue.clone();
            move || (0..1000).map_while(|i| queue.push(i).ok()).count()
        });
        let mut taken = 0;
        while taken < 100 {
            match queue.pop() {
                Some(item) => {
                    assert_eq!(item, taken, "order is kept");
                    taken += 1;
                }
                None => thread::yield_now(),
            }
        }
        queue.close();
        let pushed = producer.join().unwrap();
        assert!((100..=103).contains(&pushed), "{pushed}");
    }

    /// Far longer than any of these tests takes. A thread that sleeps through it has lost a
    /// wake-up.
    const LOST: Duration = Duration::from_mins(1);

    struct CloseOnDrop<'a>(&'a JobQueue<u64>);

    impl Drop for CloseOnDrop<'_> {
        fn drop(&mut self) {
            self.0.close();
        }
    }

    /// Parks until unparked. Panics after [`LOST`].
    fn park(parker: &Parker, sleeper: &str) {
        let deadline = Instant::now() + LOST;
        parker.park_deadline(deadline);
        assert!(Instant::now() < deadline, "{sleeper} was never woken");
    }

    /// Pops items, which are `producer << 32 | number`, and checks the order of each producer.
    fn take_in_order(queue: &JobQueue<u64>, next: &mut [u64], most: usize) -> usize {
        let mut taken = 0;
        while taken < most
            && let Some(item) = queue.pop()
        {
            let next = &mut next[(item >> 32) as usize];
            assert_eq!(item & 0xffff_ffff, *next);
            *next += 1;
            taken += 1;
        }
        taken
    }

    #[test]
    fn many_producers_wake_a_parked_consumer_and_lose_nothing() {
        const PRODUCERS: u64 = 4;
        const EACH: u64 = 25_000;
        let parker = Parker::new();
        let unparker = parker.unparker().clone();
        let queue = JobQueue::new(64, move || unparker.unpark());
        thread::scope(|scope| {
            for producer in 0..PRODUCERS {
                let queue = &queue;
                scope.spawn(move || {
                    for number in 0..EACH {
                        if queue.push(producer << 32 | number).is_err() {
                            return;
                        }
                        queue.ring();
                    }
                });
            }
            // Releases the producers if the test fails.
            let _guard = CloseOnDrop(&queue);
            let mut next = [0; PRODUCERS as usize];
            while next.iter().sum::<u64>() < PRODUCERS * EACH {
                queue.clear_bell();
                if take_in_order(&queue, &mut next, usize::MAX) == 0 {
                    park(&parker, "the consumer");
                }
            }
        });
        assert!(queue.is_empty());
    }

    /// A producer that finds the queue full sleeps until the consumer wakes it, as shards and
    /// content threads do.
    #[test]
    fn registered_producers_sleep_and_are_all_woken() {
        const PRODUCERS: usize = 4;
        const EACH: u64 = 10_000;
        let consumer = Parker::new();
        let unparker = consumer.unparker().clone();
        let queue = JobQueue::new(3, move || unparker.unpark());
        let parkers: Vec<_> = (0..PRODUCERS).map(|_| Parker::new()).collect();
        let unparkers: Vec<_> = parkers.iter().map(|parker| parker.unparker().clone()).collect();
        thread::scope(|scope| {
            for (producer, parker) in parkers.into_iter().enumerate() {
                let queue = &queue;
                scope.spawn(move || {
                    let mut number = 0;
                    while number < EACH {
                        if queue.try_push_or_register((producer as u64) << 32 | number, producer).is_ok() {
                            number += 1;
                            queue.ring();
                        } else {
                            park(&parker, "a registered producer");
                        }
                    }
                });
            }
            let mut next = [0; PRODUCERS];
            while next.iter().sum::<u64>() < PRODUCERS as u64 * EACH {
                queue.clear_bell();
                let taken = take_in_order(&queue, &mut next, 2);
                let registered = queue.take_registered();
                for (producer, unparker) in unparkers.iter().enumerate() {
                    if registered & (1 << producer) != 0 {
                        unparker.unpark();
                    }
                }
                if taken == 0 {
                    park(&consumer, "the consumer");
                }
            }
        });
    }
}
