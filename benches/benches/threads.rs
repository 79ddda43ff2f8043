//! Handing over jobs between two threads. Needs two idle cores.
//!
//! Baselines: the standard library's bounded channel, which also puts its receiver to sleep; and
//! the bare lock-free queue, where both ends yield instead of sleeping and no thread is woken.

#![allow(missing_docs)] // criterion's macros make undocumented functions

use std::hint::black_box;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use criterion::{Criterion, criterion_group, criterion_main};
use crossbeam_queue::ArrayQueue;
use throng_core::content::Job;
use throng_core::queue::JobQueue;

/// A value of the size of a job.
type Load = [u8; size_of::<Job<()>>()];

const LOAD: Load = [7; size_of::<Load>()];
const CAPACITY: usize = 1024;

fn queue() -> JobQueue<Load> {
    let consumer = thread::current();
    JobQueue::new(CAPACITY, move || consumer.unpark())
}

/// Drains the queue as a content thread does, and parks when it is empty.
fn take(queue: &JobQueue<Load>, count: u64, mut made_room: impl FnMut()) {
    let mut taken = 0;
    while taken < count {
        queue.clear_bell();
        let before = taken;
        while let Some(load) = queue.pop() {
            black_box(load);
            taken += 1;
        }
        if queue.take_registered() != 0 {
            made_room();
        }
        if taken == before {
            thread::park();
        }
    }
}

/// Hands over jobs as a shard does: a job that does not fit is held back until the consumer rings.
fn to_content(jobs: u64) -> Duration {
    let queue = queue();
    let start = Instant::now();
    thread::scope(|scope| {
        let producer = scope.spawn(|| {
            for _ in 0..jobs {
                while queue.try_push_or_register(LOAD, 0).is_err() {
                    thread::park();
                }
                queue.ring();
            }
        });
        take(&queue, jobs, || producer.thread().unpark());
    });
    start.elapsed()
}

/// Sends mail as a content thread does: it waits while the queue is full.
fn to_shard(jobs: u64) -> Duration {
    let queue = queue();
    let start = Instant::now();
    thread::scope(|scope| {
        scope.spawn(|| {
            for _ in 0..jobs {
                assert!(queue.push(LOAD).is_ok());
                queue.ring();
            }
        });
        take(&queue, jobs, || {});
    });
    start.elapsed()
}

fn by_channel(jobs: u64) -> Duration {
    let (sender, receiver) = mpsc::sync_channel(CAPACITY);
    let start = Instant::now();
    thread::scope(|scope| {
        scope.spawn(move || (0..jobs).for_each(|_| assert!(sender.send(LOAD).is_ok())));
        assert_eq!(receiver.iter().map(black_box).count() as u64, jobs);
    });
    start.elapsed()
}

fn by_yielding(jobs: u64) -> Duration {
    let queue = ArrayQueue::new(CAPACITY);
    let start = Instant::now();
    thread::scope(|scope| {
        scope.spawn(|| {
            for _ in 0..jobs {
                while queue.push(LOAD).is_err() {
                    thread::yield_now();
                }
            }
        });
        let mut taken = 0;
        while taken < jobs {
            match queue.pop().map(black_box) {
                Some(_) => taken += 1,
                None => thread::yield_now(),
            }
        }
    });
    start.elapsed()
}

/// A stream of jobs at full speed. The start of the thread is spread over thousands of jobs.
fn stream(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("hand over a job in a stream of them, two threads");
    group.bench_function("JobQueue, shard to content", |bencher| bencher.iter_custom(to_content));
    group.bench_function("JobQueue, content to shard", |bencher| bencher.iter_custom(to_shard));
    group.bench_function("baseline: mpsc", |bencher| bencher.iter_custom(by_channel));
    group.bench_function("baseline: ArrayQueue, yielding", |bencher| bencher.iter_custom(by_yielding));
    group.finish();
}

/// Sends a job to a sleeping thread and its answer back to the sender, which sleeps by then: two
/// wake-ups.
fn there_and_back(jobs: u64) -> Duration {
    let back = Arc::new(queue());
    let (ready, other) = mpsc::channel();
    thread::scope(|scope| {
        let answers = back.clone();
        scope.spawn(move || {
            let queue = Arc::new(queue());
            assert!(ready.send(queue.clone()).is_ok());
            for _ in 0..jobs {
                take(&queue, 1, || {});
                assert!(answers.try_push(LOAD).is_ok());
                answers.ring();
            }
        });
        let Ok(there) = other.recv() else { return Duration::ZERO };
        let start = Instant::now();
        for _ in 0..jobs {
            assert!(there.try_push(LOAD).is_ok());
            there.ring();
            take(&back, 1, || {});
        }
        start.elapsed()
    })
}

fn there_and_back_by_channel(jobs: u64) -> Duration {
    let (to, there) = mpsc::sync_channel(CAPACITY);
    let (from, back) = mpsc::sync_channel(CAPACITY);
    thread::scope(|scope| {
        scope.spawn(move || there.iter().for_each(|load: Load| assert!(from.send(load).is_ok())));
        let start = Instant::now();
        for _ in 0..jobs {
            assert!(to.send(LOAD).is_ok() && back.recv().is_ok());
        }
        drop(to);
        start.elapsed()
    })
}

/// Two flags without a payload.
fn there_and_back_bare(jobs: u64) -> Duration {
    let there = AtomicBool::new(false);
    let back = AtomicBool::new(false);
    let wait = |flag: &AtomicBool| {
        while !flag.swap(false, Ordering::AcqRel) {
            thread::park();
        }
    };
    let first = thread::current();
    thread::scope(|scope| {
        let second = scope.spawn(|| {
            for _ in 0..jobs {
                wait(&there);
                back.store(true, Ordering::Release);
                first.unpark();
            }
        });
        let start = Instant::now();
        for _ in 0..jobs {
            there.store(true, Ordering::Release);
            second.thread().unpark();
            wait(&back);
        }
        start.elapsed()
    })
}

fn round_trip(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("there and back between two threads that sleep");
    group.bench_function("JobQueue", |bencher| bencher.iter_custom(there_and_back));
    group.bench_function("baseline: mpsc", |bencher| bencher.iter_custom(there_and_back_by_channel));
    group.bench_function("baseline: bare park", |bencher| bencher.iter_custom(there_and_back_bare));
    group.finish();
}

criterion_group!(name = benches; config = throng_benches::criterion(); targets = stream, round_trip);
criterion_main!(benches);
