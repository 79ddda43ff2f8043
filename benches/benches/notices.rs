//! Notices of a large room: N users enter and N leave within one interval, from the changes to the
//! encoded packets.
//!
//! Baselines: a notice at once for each change, which every member would also receive; and changes
//! collected in a `HashMap` by user, the obvious design, which finds a user in O(1) where `Notices`
//! searches its lists.

#![allow(missing_docs)] // criterion's macros make undocumented functions

use std::collections::HashMap;
use std::hint::black_box;
use std::time::{Duration, Instant};

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use throng_core::content::{Effect, Effects};
use throng_core::room::RoomId;
use throng_core::wire::packets::{User, UsersChanged};
use throng_core::wire::{List, Packet, Text};
use throng_servers::chat::{ListState, Notices};

const ROOM: RoomId = RoomId(0);
const INTERVAL: Duration = Duration::from_millis(500);

/// Users that enter, and the ids of users that leave, which were there before.
fn movers(count: u32) -> (Vec<User>, Vec<u32>) {
    let user = |id| User { id, name: Text::truncated(&format!("player-{id:05}")) };
    ((20_000..20_000 + count).map(user).collect(), (1000..1000 + count).collect())
}

/// Runs one interval and returns the bytes of its packets.
fn interval(notices: &mut Notices, effects: &mut Effects, movers: &(Vec<User>, Vec<u32>)) -> usize {
    let now = Instant::now();
    let mut state = ListState { version: 40_000, head_count: 9000 };
    for (user, gone) in movers.0.iter().zip(&movers.1) {
        state = ListState { version: state.version + 1, head_count: state.head_count + 1 };
        notices.entered(ROOM, black_box(user), state, now, effects);
        state = ListState { version: state.version + 1, head_count: state.head_count - 1 };
        notices.left(ROOM, black_box(*gone), state, now, effects);
    }
    assert!(notices.tick(now + INTERVAL, effects).is_none());
    let mut encoded = Vec::with_capacity(512);
    for effect in effects.drain() {
        if let Effect::Broadcast(_, _, packet) = effect {
            packet.encode(&mut encoded);
        }
    }
    black_box(&encoded).len()
}

fn interval_by_map(movers: &(Vec<User>, Vec<u32>)) -> usize {
    let mut changes: HashMap<u32, Option<User>> = HashMap::new();
    for (user, gone) in movers.0.iter().zip(&movers.1) {
        changes.insert(user.id, Some(black_box(user).clone()));
        changes.insert(black_box(*gone), None);
    }
    let mut entered = Vec::new();
    let mut left = Vec::new();
    for (id, user) in changes {
        match user {
            Some(user) => entered.push(user),
            None => left.push(id),
        }
    }
    let notice = UsersChanged {
        channel: 0,
        since: 40_000,
        version: 42_000,
        head_count: 9000,
        complete: true,
        entered: List::take_from(&mut entered.into_iter()),
        left: List::take_from(&mut left.into_iter()),
    };
    let mut encoded = Vec::with_capacity(512);
    Packet::from(notice).encode(&mut encoded);
    black_box(&encoded).len()
}

fn intervals(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("so many enter and as many leave in an interval");
    for count in [1, 10, 100, 700] {
        group.throughput(Throughput::Elements(2 * u64::from(count)));
        let movers = movers(count);
        let mut effects = Effects::default();
        let mut notices = Notices::new(64, INTERVAL);
        let length = interval(&mut notices, &mut effects, &movers);
        assert_eq!(length, interval_by_map(&movers), "the baseline makes another notice");
        group.bench_function(BenchmarkId::new("coalesced", count), |bencher| {
            bencher.iter(|| interval(&mut notices, &mut effects, &movers));
        });
        let mut notices = Notices::new(u32::MAX, INTERVAL);
        group.bench_function(BenchmarkId::new("baseline: each at once", count), |bencher| {
            bencher.iter(|| interval(&mut notices, &mut effects, &movers));
        });
        group.bench_function(BenchmarkId::new("baseline: HashMap", count), |bencher| {
            bencher.iter(|| interval_by_map(&movers));
        });
    }
    group.finish();
}

criterion_group!(name = benches; config = throng_benches::criterion(); targets = intervals);
criterion_main!(benches);
