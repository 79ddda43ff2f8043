//! Handing jobs over, timers and the session table, each beside what the standard library offers.

#![allow(missing_docs)] // criterion's macros make undocumented functions

use std::collections::{BTreeSet, HashMap};
use std::hint::black_box;
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use throng_core::SessionId;
use throng_core::net::table::Table;
use throng_core::queue::JobQueue;
use throng_core::timer::Wheel;

/// Jobs handed over between two threads in one measured round.
const ROUND: u64 = 10_000;

fn hand_over(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("queue");
    group.bench_function("push and pop, one thread", |bencher| {
        let queue = JobQueue::new(64, || {});
        bencher.iter(|| {
            let _ = queue.try_push(black_box(1u64));
            queue.pop()
        });
    });
    group.bench_function("baseline: mpsc, one thread", |bencher| {
        let (sender, receiver) = mpsc::sync_channel(64);
        bencher.iter(|| {
            let _ = sender.try_send(black_box(1u64));
            receiver.try_recv()
        });
    });
    group.sample_size(20).throughput(Throughput::Elements(ROUND));
    group.bench_function("two threads, parked when empty", |bencher| bencher.iter(across_threads));
    group.bench_function("baseline: mpsc, two threads", |bencher| bencher.iter(across_threads_mpsc));
    group.finish();
}

fn across_threads() {
    let consumer = thread::current();
    let queue = Arc::new(JobQueue::new(1024, move || consumer.unpark()));
    let producer = thread::spawn({
        let queue = queue.clone();
        move || {
            for job in 0..ROUND {
                let _ = queue.push(job);
                queue.ring();
            }
        }
    });
    let mut taken = 0;
    while taken < ROUND {
        queue.clear_bell();
        while queue.pop().is_some() {
            taken += 1;
        }
        if taken < ROUND {
            thread::park_timeout(Duration::from_millis(1));
        }
    }
    let _ = producer.join();
}

fn across_threads_mpsc() {
    let (sender, receiver) = mpsc::sync_channel(1024);
    let producer = thread::spawn(move || (0..ROUND).try_for_each(|job| sender.send(job)));
    black_box(receiver.into_iter().count());
    let _ = producer.join();
}

fn timers(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("10,000 timers, one armed and one round expired");
    let (start, resolution) = (Instant::now(), Duration::from_millis(50));
    let deadline = |number: u64| start + Duration::from_millis(number * 7919 % 45_000);
    group.bench_function("wheel", |bencher| {
        let mut wheel = Wheel::new(start, resolution);
        (0..10_000).for_each(|number| wheel.arm(deadline(number), number));
        let (mut now, mut due) = (start, Vec::new());
        bencher.iter(|| {
            now += Duration::from_micros(4);
            due.clear();
            wheel.expire(now, &mut due);
            for number in &due {
                wheel.arm(now + Duration::from_secs(45), *number);
            }
        });
    });
    group.bench_function("baseline: BTreeSet", |bencher| {
        let mut set: BTreeSet<(Instant, u64)> =
            (0..10_000).map(|number| (deadline(number), number)).collect();
        let mut now = start;
        bencher.iter(|| {
            now += Duration::from_micros(4);
            while set.first().is_some_and(|(deadline, _)| *deadline <= now) {
                let Some((_, number)) = set.pop_first() else { break };
                set.insert((now + Duration::from_secs(45), number));
            }
        });
    });
    group.finish();
}

fn tables(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("10,000 sessions, look-up by id");
    let mut table = Table::new(0, 10_000);
    let ids: Vec<SessionId> = (0..10_000u64).filter_map(|n| table.insert_with(|_| n)).collect();
    let map: HashMap<SessionId, u64> = ids.iter().zip(0u64..).map(|(id, n)| (*id, n)).collect();
    let mut next = (0..ids.len()).cycle();
    group.bench_function("table", |bencher| {
        bencher.iter(|| next.next().and_then(|at| table.get(ids[at * 7919 % ids.len()]).copied()));
    });
    group.bench_function("baseline: HashMap", |bencher| {
        bencher.iter(|| next.next().and_then(|at| map.get(&ids[at * 7919 % ids.len()]).copied()));
    });
    group.finish();
}

criterion_group!(benches, hand_over, timers, tables);
criterion_main!(benches);
