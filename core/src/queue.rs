//! The bounded lock-free queue between event loops and content threads, in
//! either direction, and the bell that wakes whoever drains it.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use crossbeam_queue::ArrayQueue;
use crossbeam_utils::CachePadded;

use crate::metrics;

/// The flag behind a [`Doorbell`]; an interface so that loom can stand in for
/// the processor in the test.
pub(crate) trait Flag {
    /// Sets the flag and says what it was: one read-modify-write, acquire and release.
    fn swap(&self, value: bool) -> bool;
}

impl Flag for AtomicBool {
    fn swap(&self, value: bool) -> bool {
        AtomicBool::swap(self, value, Ordering::AcqRel)
    }
}

/// Makes one wake-up out of many.
///
/// A producer pushes, then rings; only the ring that finds the bell silent has to wake
/// the consumer. The consumer clears the bell, **then** drains. Both are read-modify-writes:
/// a ring that found the bell ringing comes before the clear that silenced it, so what was
/// pushed before that ring is seen by the drain after that clear. Draining first, or
/// clearing with a plain store, would strand items until the next wake.
#[derive(Debug, Default)]
pub(crate) struct Doorbell<F = AtomicBool>(F);

impl<F: Flag> Doorbell<F> {
    /// Whether the caller must wake the consumer.
    pub(crate) fn ring(&self) -> bool {
        !self.0.swap(true)
    }

    /// Silences the bell. Call before draining.
    pub(crate) fn clear(&self) {
        self.0.swap(false);
    }
}

/// A bounded queue with many producers and one consumer that sleeps when there is nothing to do.
pub struct JobQueue<T> {
    items: ArrayQueue<T>,
    bell: CachePadded<Doorbell>,
    wake: Box<dyn Fn() + Send + Sync>,
    /// One bit a producer (a shard) that found the queue full and wants to be told of room.
    starved: CachePadded<AtomicU64>,
    closed: AtomicBool,
}

/// How long a producer that may wait does so before it looks again.
const FULL_WAIT: Duration = Duration::from_micros(100);

impl<T> JobQueue<T> {
    /// A queue for `capacity` items, whose consumer `wake` wakes.
    pub fn new(capacity: usize, wake: impl Fn() + Send + Sync + 'static) -> Self {
        Self {
            items: ArrayQueue::new(capacity.max(1)),
            bell: CachePadded::default(),
            wake: Box::new(wake),
            starved: CachePadded::default(),
            closed: AtomicBool::new(false),
        }
    }

    /// Appends an item, or gives it back if the queue is full. Never waits, wakes
    /// nobody: call [`Self::ring`] after the last item.
    pub fn try_push(&self, item: T) -> Result<(), T> {
        self.items.push(item)
    }

    /// As [`Self::try_push`] for a producer that can hold its item back: when the queue is
    /// full, `producer` (below 64) is noted, and [`Self::take_starved`] will report it.
    pub fn try_push_or_register(&self, item: T, producer: usize) -> Result<(), T> {
        let Err(item) = self.items.push(item) else { return Ok(()) };
        self.starved.fetch_or(1 << producer, Ordering::SeqCst);
        // The consumer may have made room, and looked at the bits, before ours was there.
        self.items.push(item)
    }

    /// Appends an item; waits while the queue is full. For content threads only, never for
    /// an event loop. Gives the item back when the consumer is gone.
    pub fn push(&self, mut item: T) -> Result<(), T> {
        let mut waited = false;
        while let Err(returned) = self.items.push(item) {
            if self.closed.load(Ordering::Acquire) {
                return Err(returned);
            }
            if !std::mem::replace(&mut waited, true) {
                metrics::MAILBOX_WAITS.inc();
            }
            item = returned;
            self.ring();
            thread::park_timeout(FULL_WAIT);
        }
        Ok(())
    }

    /// Sees to it that the consumer looks at the queue.
    pub fn ring(&self) {
        if self.bell.ring() {
            (self.wake)();
        }
    }

    /// The consumer's first step after waking, before it pops.
    pub fn clear_bell(&self) {
        self.bell.clear();
    }

    /// Takes the oldest item. For the consumer.
    pub fn pop(&self) -> Option<T> {
        self.items.pop()
    }

    /// The producers that were turned away since the last call, as bits. For the consumer,
    /// after it has popped.
    pub fn take_starved(&self) -> u64 {
        if self.starved.load(Ordering::SeqCst) == 0 {
            return 0;
        }
        self.starved.swap(0, Ordering::SeqCst)
    }

    /// Whether nothing is queued at this moment.
    pub fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    /// How many items are queued at this moment.
    pub fn len(&self) -> usize {
        self.items.len()
    }

    /// The consumer will pop no more: producers that wait are let go.
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

    /// Every interleaving of two producers and a consumer that sleeps exactly when the
    /// protocol lets it: at the end everything pushed has been drained.
    #[test]
    fn no_wake_is_lost_in_any_interleaving() {
        use loom::sync::atomic::{AtomicUsize, Ordering::Relaxed};
        let mut model = loom::model::Builder::new();
        // Every known lost wake-up of this kind needs two preemptions; without a bound loom takes half a minute.
        model.preemption_bound = Some(3);
        model.check(|| {
            let bell = loom::sync::Arc::new(Doorbell(LoomFlag(loom::sync::atomic::AtomicBool::new(false))));
            let pushed = loom::sync::Arc::new(AtomicUsize::new(0));
            let wakes = loom::sync::Arc::new(AtomicUsize::new(0));
            let producers: Vec<_> = (0..2)
                .map(|_| {
                    let (bell, pushed, wakes) = (bell.clone(), pushed.clone(), wakes.clone());
                    loom::thread::spawn(move || {
                        // Relaxed on purpose: only the bell orders the item before the drain.
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
            assert_eq!(drained, 2, "an item was left behind with nobody to wake the consumer");
        });
    }

    #[test]
    fn a_starved_producer_is_reported_once_room_is_made() {
        let queue = JobQueue::new(1, || {});
        queue.try_push_or_register('a', 5).unwrap();
        assert_eq!(queue.try_push_or_register('b', 5), Err('b'));
        assert_eq!(queue.pop(), Some('a'));
        assert_eq!(queue.take_starved(), 1 << 5);
        assert_eq!(queue.take_starved(), 0);
        queue.try_push_or_register('b', 5).unwrap();
    }

    #[test]
    fn a_waiting_producer_is_served_and_let_go_when_the_consumer_is_gone() {
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
    /// Much longer than any of these tests takes; a consumer or producer that sleeps through it
    /// has lost a wake.
    const LOST: Duration = Duration::from_secs(20);

    struct CloseOnDrop<'a>(&'a JobQueue<u64>);

    impl Drop for CloseOnDrop<'_> {
        fn drop(&mut self) {
            self.0.close();
        }
    }

    /// Parks until unparked; panics when nobody does.
    fn park(parker: &Parker, who: &str) {
        let deadline = Instant::now() + LOST;
        parker.park_deadline(deadline);
        assert!(Instant::now() < deadline, "{who} was never woken");
    }

    /// The items of each producer come in the order they were pushed: `producer << 32 | number`.
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
            // If the test fails, the producers must not wait for ever.
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

    /// As shards and a content thread do it: nobody waits, whoever finds the queue full sleeps
    /// until the consumer says that there is room.
    #[test]
    fn starved_producers_sleep_and_are_all_woken() {
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
                            park(&parker, "a starved producer");
                        }
                    }
                });
            }
            let mut next = [0; PRODUCERS];
            while next.iter().sum::<u64>() < PRODUCERS as u64 * EACH {
                queue.clear_bell();
                let taken = take_in_order(&queue, &mut next, 2);
                let starved = queue.take_starved();
                for (producer, unparker) in unparkers.iter().enumerate() {
                    if starved & (1 << producer) != 0 {
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
