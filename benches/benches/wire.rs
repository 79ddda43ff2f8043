//! Encoding and decoding of the packet that is sent most.

#![allow(missing_docs)] // criterion's macros make undocumented functions

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use throng_core::wire::packets::{ChatMessage, Scope, ServerTimes, User};
use throng_core::wire::{Packet, Text};

fn message(bytes: usize) -> Packet {
    let sender = User { id: 7, name: Text::truncated("스롱이") };
    let times = ServerTimes { received_us: 1, queued_us: 2, handled_us: 3 };
    let text = Text::truncated(&"x".repeat(bytes));
    ChatMessage { scope: Scope::World, target: 0, sequence: 1, sender, stamp: 4, times, text }.into()
}

fn packets(criterion: &mut Criterion) {
    for bytes in [64, 128, 512] {
        let mut group = criterion.benchmark_group(format!("chat message, {bytes} B"));
        group.throughput(Throughput::Bytes(bytes as u64));
        let packet = message(bytes);
        let mut encoded = Vec::new();
        packet.encode(&mut encoded);
        group.bench_function("encode", |bencher| {
            let mut out = Vec::with_capacity(1024);
            bencher.iter(|| {
                out.clear();
                black_box(&packet).encode(&mut out);
            });
        });
        group.bench_function("decode", |bencher| bencher.iter(|| Packet::decode(black_box(&encoded))));
        // The baseline: what copying the same bytes into a fresh buffer costs.
        group.bench_function("baseline: copy", |bencher| bencher.iter(|| black_box(&encoded).clone()));
        group.finish();
    }
}

criterion_group!(benches, packets);
criterion_main!(benches);
