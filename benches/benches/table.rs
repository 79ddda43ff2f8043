//! The session table of a shard with 10,000 sessions.
//!
//! Baseline: the standard library's `HashMap` from id to session, which does not find stale ids
//! either.

#![allow(missing_docs)] // criterion's macros make undocumented functions

use std::collections::HashMap;
use std::hint::black_box;

use criterion::{Criterion, criterion_group, criterion_main};
use throng_core::SessionId;
use throng_core::net::table::Table;
use throng_core::session::Session;

const SESSIONS: usize = 10_000;

/// A value of the size of a session; only its first word is read.
type Load = [u64; size_of::<Session>() / 8];

fn load(number: u64) -> Load {
    let mut load = [0; size_of::<Load>() / 8];
    load[0] = number;
    load
}

fn filled() -> (Table<Load>, Vec<SessionId>) {
    let mut table = Table::new(0, SESSIONS);
    let ids: Vec<_> = (0..SESSIONS as u64).filter_map(|number| table.insert_with(|_| load(number))).collect();
    assert_eq!(ids.len(), SESSIONS);
    (table, ids)
}

fn mapped(ids: &[SessionId]) -> HashMap<SessionId, Load> {
    ids.iter().zip(0..).map(|(id, number)| (*id, load(number))).collect()
}

/// Walks through the ids in an order that defeats the prefetcher.
fn scattered(ids: &[SessionId]) -> impl Iterator<Item = SessionId> {
    (0..ids.len()).cycle().map(|at| ids[at * 7919 % ids.len()])
}

fn look_up(criterion: &mut Criterion) {
    let (table, ids) = filled();
    let map = mapped(&ids);
    let mut group = criterion.benchmark_group("look a session up");
    let mut next = scattered(&ids);
    group.bench_function("table", |bencher| {
        bencher.iter(|| next.next().and_then(|id| table.get(black_box(id))).map(|load| load[0]));
    });
    group.bench_function("baseline: HashMap", |bencher| {
        bencher.iter(|| next.next().and_then(|id| map.get(&black_box(id))).map(|load| load[0]));
    });
    group.finish();
}

/// Removes one session and inserts another. This changes the ids of the table; the map numbers its
/// sessions.
fn replace(criterion: &mut Criterion) {
    let (mut table, mut ids) = filled();
    let mut map = mapped(&ids);
    let mut places = (0..SESSIONS).cycle().map(|at| at * 7919 % SESSIONS);
    let mut group = criterion.benchmark_group("remove a session and insert another");
    let mut kept = ids.clone();
    group.bench_function("table", |bencher| {
        bencher.iter(|| {
            let at = places.next().unwrap_or(0);
            let gone = table.remove(black_box(ids[at]));
            if let Some(id) = table.insert_with(|_| load(1)) {
                ids[at] = id;
            }
            gone.map(|load| load[0])
        });
    });
    let mut generation = 1;
    group.bench_function("baseline: HashMap", |bencher| {
        bencher.iter(|| {
            let at = places.next().unwrap_or(0);
            let gone = map.remove(&black_box(kept[at]));
            kept[at] = SessionId::new(0, at as u32, generation);
            generation = generation.wrapping_add(1);
            map.insert(kept[at], load(1));
            gone.map(|load| load[0])
        });
    });
    group.finish();
}

criterion_group!(name = benches; config = throng_benches::criterion(); targets = look_up, replace);
criterion_main!(benches);
