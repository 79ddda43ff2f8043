//! Sealing and opening one frame: with a session's key, which is kept raw and expanded for each
//! frame, and with a room's key, which is kept expanded.
//!
//! Baseline: a copy of the same bytes, the work of a server without encryption.

#![allow(missing_docs)] // criterion's macros make undocumented functions

use std::hint::black_box;

use criterion::{BatchSize, BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use throng_core::crypto::{DirectionKey, RoomCipher, RoomKeys, RoomSealer};
use throng_core::room::{Class, RoomId};
use throng_core::wire::Packet;

/// The last is a full page of a user list.
const SIZES: [usize; 4] = [64, 128, 512, 16_000];

fn seal(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("seal a frame of so many bytes");
    for bytes in SIZES {
        group.throughput(Throughput::Bytes(bytes as u64));
        let plain = vec![7; bytes];
        let mut out = Vec::with_capacity(17_000);
        let mut key = DirectionKey::new([1; 32]);
        let mut sealer = RoomSealer::new(1, [1; 32]);
        group.bench_function(BenchmarkId::new("session's key", bytes), |bencher| {
            bencher.iter(|| {
                out.clear();
                key.seal(&mut out, |out| out.extend_from_slice(black_box(&plain)));
            });
        });
        group.bench_function(BenchmarkId::new("room's key", bytes), |bencher| {
            bencher.iter(|| {
                out.clear();
                sealer.seal(Class::Chat, &mut out, |out| out.extend_from_slice(black_box(&plain)));
            });
        });
        group.bench_function(BenchmarkId::new("baseline: copy", bytes), |bencher| {
            bencher.iter(|| {
                out.clear();
                out.extend_from_slice(black_box(&plain));
            });
        });
    }
    group.finish();
}

/// A frame opens only once, so each is sealed just before, outside of the measurement.
fn open(criterion: &mut Criterion) {
    const BATCH: BatchSize = BatchSize::NumIterations(64);
    let mut group = criterion.benchmark_group("open a frame of so many bytes");
    for bytes in SIZES {
        group.throughput(Throughput::Bytes(bytes as u64));
        let plain = vec![7; bytes];
        let mut key = DirectionKey::new([1; 32]);
        let mut far = DirectionKey::new([1; 32]);
        group.bench_function(BenchmarkId::new("session's key", bytes), |bencher| {
            let sealed = || {
                let mut frame = Vec::with_capacity(17_000);
                key.seal(&mut frame, |out| out.extend_from_slice(&plain));
                frame
            };
            bencher.iter_batched_ref(
                sealed,
                |frame| far.open(frame).map(<[u8]>::len).expect("sealed"),
                BATCH,
            );
        });
        let mut sealer = RoomSealer::new(1, [1; 32]);
        let Packet::RoomKey(key) = sealer.packet(RoomId(0)) else { unreachable!("it is one") };
        let mut keys = RoomKeys::default();
        assert!(keys.add(&key, RoomCipher::new(&key.secret)));
        group.bench_function(BenchmarkId::new("room's key", bytes), |bencher| {
            let sealed = || {
                let mut frame = Vec::with_capacity(17_000);
                sealer.seal(Class::Chat, &mut frame, |out| out.extend_from_slice(&plain));
                frame
            };
            let open = |frame: &mut Vec<u8>| keys.open(frame).expect("sealed").plain.len();
            bencher.iter_batched_ref(sealed, open, BATCH);
        });
        let mut out = Vec::with_capacity(17_000);
        group.bench_function(BenchmarkId::new("baseline: copy", bytes), |bencher| {
            let copy = |frame: &mut Vec<u8>| {
                out.clear();
                out.extend_from_slice(black_box(frame));
            };
            bencher.iter_batched_ref(|| plain.clone(), copy, BATCH);
        });
    }
    group.finish();
}

criterion_group!(name = benches; config = throng_benches::criterion(); targets = seal, open);
criterion_main!(benches);
