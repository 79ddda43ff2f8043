//! A message of 128 B to the N members of a room, in user space: the server's work from the encoded
//! packet on, without the write to each socket.
//!
//! Baseline: a copy for each member, sealed with the session's key. The size from which the log is
//! cheaper is the earliest choice of `content.log_from`. The log has costs that are not measured
//! here: a key for each member that joins, and a new key for all when a member is kicked.

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
            crowd.broadcast_by_log(&frame)
        };
        assert!(crowd.broadcast_by_copies(&message).is_multiple_of(members));
        assert!(sealed_once(&mut crowd) >= members * message.len());
        group.bench_function(BenchmarkId::new("log", members), |bencher| {
            bencher.iter(|| sealed_once(&mut crowd));
        });
        group.bench_function(BenchmarkId::new("baseline: copies", members), |bencher| {
            bencher.iter(|| crowd.broadcast_by_copies(black_box(&message)));
        });
    }
    group.finish();
}

criterion_group!(name = benches; config = throng_benches::criterion(); targets = audience);
criterion_main!(benches);
