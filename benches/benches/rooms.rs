//! The room log alone: appending, and the sweep's planning (the next member, its bytes, its new
//! cursor).
//!
//! Baseline: a queue for each session with an `Arc` of each frame, the way in which a chat server
//! shares a broadcast without a log.

#![allow(missing_docs)] // criterion's macros make undocumented functions

use std::collections::VecDeque;
use std::hint::black_box;
use std::sync::Arc;
use std::time::Instant;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use throng_benches::crowd::{LIMITS, ROOM};
use throng_benches::timed_turns;
use throng_core::SessionId;
use throng_core::net::membership::Rooms;
use throng_core::room::{Class, RoomId};

/// Length of a sealed message of 128 B.
const FRAME: [u8; 230] = [7; 230];

const MEMBERS: [usize; 3] = [10, 1_000, 10_000];

fn room_of(members: usize) -> Rooms {
    let mut rooms = Rooms::new(LIMITS);
    (0..members).for_each(|slot| rooms.join(SessionId::new(0, slot as u32, 0), ROOM));
    rooms
}

/// Sweeps one round and returns the bytes that a shard would have written.
fn sweep(rooms: &mut Rooms, now: Instant) -> usize {
    rooms.stamp_unstamped(now, |micros| {
        black_box(micros);
    });
    let mut written = 0;
    while let Some(id) = rooms.next_visit() {
        let count = rooms.pending(id).map(|piece| black_box(piece).len()).sum();
        rooms.advance(id, count, |_| unreachable!("all of it was written"));
        written += count;
    }
    written
}

type Queue = VecDeque<Arc<[u8]>>;

fn push_all(queues: &mut [Queue]) {
    let frame: Arc<[u8]> = black_box(&FRAME[..]).into();
    for queue in queues {
        queue.push_back(frame.clone());
    }
}

fn drain_all(queues: &mut [Queue]) -> usize {
    queues.iter_mut().map(|queue| queue.drain(..).map(|frame| black_box(&*frame).len()).sum::<usize>()).sum()
}

/// Appends one frame for N members, which receive it later.
fn append(criterion: &mut Criterion) {
    const TURN: u64 = 64;
    let now = Instant::now();
    let mut group = criterion.benchmark_group("append a frame for so many members");
    for members in MEMBERS {
        let mut rooms = room_of(members);
        let append = |rooms: &mut Rooms| rooms.append(ROOM, Class::Chat, black_box(&FRAME), now);
        let after = |rooms: &mut Rooms| {
            black_box(sweep(rooms, now));
        };
        group.bench_function(BenchmarkId::new("log", members), |bencher| {
            bencher.iter_custom(|iterations| timed_turns(iterations, TURN, &mut rooms, append, after));
        });
        let mut queues = vec![Queue::new(); members];
        let push = |queues: &mut Vec<Queue>| push_all(queues);
        let after = |queues: &mut Vec<Queue>| {
            black_box(drain_all(queues));
        };
        group.bench_function(BenchmarkId::new("baseline: Arc for each", members), |bencher| {
            bencher.iter_custom(|iterations| timed_turns(iterations, TURN, &mut queues, push, after));
        });
    }
    group.finish();
}

/// Appends frames; all members then receive them, in one piece each.
fn rounds(criterion: &mut Criterion) {
    let now = Instant::now();
    for messages in [1, 8] {
        let mut group = criterion.benchmark_group(format!("sweep with {messages} frames so many members"));
        for members in MEMBERS {
            group.throughput(Throughput::Elements(members as u64));
            let mut rooms = room_of(members);
            let mut round = || {
                (0..messages).for_each(|_| rooms.append(ROOM, Class::Chat, black_box(&FRAME), now));
                sweep(&mut rooms, now)
            };
            assert_eq!(round(), messages * members * FRAME.len());
            group.bench_function(BenchmarkId::new("log", members), |bencher| bencher.iter(&mut round));
            let mut queues = vec![Queue::new(); members];
            group.bench_function(BenchmarkId::new("baseline: Arc for each", members), |bencher| {
                bencher.iter(|| {
                    (0..messages).for_each(|_| push_all(&mut queues));
                    drain_all(&mut queues)
                });
            });
        }
        group.finish();
    }
}

/// Visits a member of N rooms for a message in one of them. A session with a queue does not depend
/// on N.
fn many_rooms(criterion: &mut Criterion) {
    let now = Instant::now();
    let id = SessionId::new(0, 0, 0);
    let mut group = criterion.benchmark_group("visit a member of so many rooms");
    for count in [1u32, 16, 256] {
        let mut rooms = Rooms::new(LIMITS);
        (0..count).for_each(|room| rooms.join(id, RoomId(room)));
        let mut room = (0..count).cycle();
        group.bench_function(BenchmarkId::new("log", count), |bencher| {
            bencher.iter(|| {
                rooms.append(RoomId(room.next().unwrap_or(0)), Class::Chat, black_box(&FRAME), now);
                assert!(rooms.take_gap(id).is_none());
                sweep(&mut rooms, now)
            });
        });
        let mut queue = [Queue::new()];
        group.bench_function(BenchmarkId::new("baseline: Arc for each", count), |bencher| {
            bencher.iter(|| {
                push_all(&mut queue);
                drain_all(&mut queue)
            });
        });
    }
    group.finish();
}

criterion_group!(name = benches; config = throng_benches::criterion(); targets = append, rounds, many_rooms);
criterion_main!(benches);
