//! Handing over jobs within one thread: the cost of the queue and its bell without a wait or a
//! wake-up.
//!
//! Baselines: the standard library's bounded channel, and the lock-free queue under `JobQueue`,
//! which wakes no thread.

#![allow(missing_docs)] // criterion's macros make undocumented functions

use std::hint::black_box;
use std::sync::mpsc;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use crossbeam_queue::ArrayQueue;
use throng_core::content::Job;
use throng_core::limits::JOBS_PER_TURN;
use throng_core::queue::JobQueue;

/// A value of the size of a job.
type Load = [u8; size_of::<Job<()>>()];

fn hand_over(criterion: &mut Criterion) {
    let load: Load = [7; size_of::<Load>()];
    let mut group = criterion.benchmark_group("hand over so many jobs at a time, one thread");
    for jobs in [1, JOBS_PER_TURN] {
        group.throughput(Throughput::Elements(jobs as u64));
        let queue = JobQueue::new(1024, || {});
        group.bench_function(BenchmarkId::new("JobQueue", jobs), |bencher| {
            bencher.iter(|| {
                for _ in 0..jobs {
                    assert!(queue.try_push_or_register(black_box(load), 0).is_ok());
                    queue.ring();
                }
                queue.clear_bell();
                let taken = std::iter::from_fn(|| queue.pop()).map(black_box).count();
                (taken, queue.take_registered())
            });
        });
        let (sender, receiver) = mpsc::sync_channel(1024);
        group.bench_function(BenchmarkId::new("baseline: mpsc", jobs), |bencher| {
            bencher.iter(|| {
                (0..jobs).for_each(|_| assert!(sender.try_send(black_box(load)).is_ok()));
                receiver.try_iter().map(black_box).count()
            });
        });
        let queue = ArrayQueue::new(1024);
        group.bench_function(BenchmarkId::new("baseline: ArrayQueue", jobs), |bencher| {
            bencher.iter(|| {
                (0..jobs).for_each(|_| assert!(queue.push(black_box(load)).is_ok()));
                std::iter::from_fn(|| queue.pop()).map(black_box).count()
            });
        });
    }
    group.finish();
}

criterion_group!(name = benches; config = throng_benches::criterion(); targets = hand_over);
criterion_main!(benches);
