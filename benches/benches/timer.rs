//! The timers of 10,000 sessions, each due 45 s after it was armed.
//!
//! Baselines: the two ordered collections of the standard library that serve as timer queues. Both
//! return the exact deadline, which the wheel rounds up.

#![allow(missing_docs)] // criterion's macros make undocumented functions

use std::cmp::Reverse;
use std::collections::{BTreeSet, BinaryHeap};
use std::hint::black_box;
use std::time::{Duration, Instant};

use criterion::{Criterion, criterion_group, criterion_main};
use throng_core::timer::Wheel;

const TIMERS: u64 = 10_000;
const RESOLUTION: Duration = Duration::from_millis(50);
const PERIOD: Duration = Duration::from_secs(45);

/// Returns the first deadline of timer `number`: anywhere in the period.
fn deadline(start: Instant, number: u64) -> Instant {
    start + Duration::from_millis(number * 7919 % 45_000)
}

/// Advances time by the wheel's resolution: eleven timers expire on average, and are armed again.
fn tick(criterion: &mut Criterion) {
    let start = Instant::now();
    let mut group = criterion.benchmark_group("one tick of 10,000 timers");
    group.bench_function("wheel", |bencher| {
        let mut wheel = Wheel::new(start, RESOLUTION);
        (0..TIMERS).for_each(|number| wheel.arm(deadline(start, number), number));
        let mut now = start;
        let mut due = Vec::new();
        bencher.iter(|| {
            now += RESOLUTION;
            due.clear();
            wheel.expire(now, &mut due);
            for number in &due {
                wheel.arm(now + PERIOD, black_box(*number));
            }
        });
        assert_eq!(wheel.len() as u64, TIMERS);
    });
    group.bench_function("baseline: BTreeSet", |bencher| {
        let mut set: BTreeSet<_> = (0..TIMERS).map(|number| (deadline(start, number), number)).collect();
        let mut now = start;
        bencher.iter(|| {
            now += RESOLUTION;
            while set.first().is_some_and(|(deadline, _)| *deadline <= now) {
                let Some((_, number)) = set.pop_first() else { break };
                set.insert((now + PERIOD, black_box(number)));
            }
        });
    });
    group.bench_function("baseline: BinaryHeap", |bencher| {
        let mut heap: BinaryHeap<_> =
            (0..TIMERS).map(|number| Reverse((deadline(start, number), number))).collect();
        let mut now = start;
        bencher.iter(|| {
            now += RESOLUTION;
            while heap.peek().is_some_and(|Reverse((deadline, _))| *deadline <= now) {
                let Some(Reverse((_, number))) = heap.pop() else { break };
                heap.push(Reverse((now + PERIOD, black_box(number))));
            }
        });
    });
    group.finish();
}

criterion_group!(name = benches; config = throng_benches::criterion(); targets = tick);
criterion_main!(benches);
