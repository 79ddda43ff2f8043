//! A message of 128 B told to the N members of a room, in user space: all that the server does for it from the encoded
//! packet on, but for the write to each socket.
//!
//! Baseline: a copy for each member, sealed with the session's key. From where the log is cheaper, it may begin
//! (`content.log_from`); it asks a price that is not measured here: a key for each member at its joining, and a new one for all
//! when a member is put out.

#![allow(missing_docs)] // criterion's macros make undocumented functions

use std::hint::black_box;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use throng_benches::crowd::Crowd;
use throng_benches::packets::{encoded, message};
use throng_core::crypto::RoomSealer;
use throng_core::room::Class;

fn audience(criterion: &mut Criterion) {
    let message = encoded(&message(128).0);
    let mut group = criterion.benchmark_group("tell so many members");
    for members in [2, 4, 8, 16, 32, 64, 128, 256] {
        group.throughput(Throughput::Elements(members as u64));
        let mut crowd = Crowd::new(members);
        let mut sealer = RoomSealer::new(1, [1; 32]);
        let mut frame = Vec::with_capacity(512);
        let mut sealed_once = |crowd: &mut Crowd| {
            frame.clear();
            sealer.seal(Class::Chat, &mut frame, |out| out.extend_from_slice(black_box(&message)));
            crowd.tell_by_log(&frame)
        };
        assert!(crowd.tell_by_copies(&message).is_multiple_of(members));
        assert!(sealed_once(&mut crowd) >= members * message.len());
        group.bench_function(BenchmarkId::new("log", members), |bencher| {
            bencher.iter(|| sealed_once(&mut crowd));
        });
        group.bench_function(BenchmarkId::new("baseline: copies", members), |bencher| {
            bencher.iter(|| crowd.tell_by_copies(black_box(&message)));
        });
    }
    group.finish();
}

criterion_group!(name = benches; config = throng_benches::criterion(); targets = audience);
criterion_main!(benches);
