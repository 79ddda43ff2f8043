//! Encoding and decoding of the most frequent packet and of the two longest.
//!
//! Baselines: serde_json with the same fields, the choice of a chat server over WebSockets; and a
//! copy of the encoded bytes (for decoding, into a new buffer), a lower bound for any codec whose
//! reader owns the packet.

#![allow(missing_docs)] // criterion's macros make undocumented functions

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use serde::Serialize;
use serde::de::DeserializeOwned;
use throng_benches::packets::{change, encoded, message, page};
use throng_core::wire::Packet;

fn packets(criterion: &mut Criterion) {
    let (packet, json) = message(128);
    both_ways(criterion, "ChatMessage of 128 B", &packet, &json);
    let (packet, json) = change();
    both_ways(criterion, "UsersChanged, full", &packet, &json);
    let (packet, json) = page();
    both_ways(criterion, "UserList, a page", &packet, &json);
}

fn both_ways<T: Serialize + DeserializeOwned>(
    criterion: &mut Criterion,
    what: &str,
    packet: &Packet,
    twin: &T,
) {
    let bytes = encoded(packet);
    let json = serde_json::to_vec(twin).expect("plain fields");
    assert!(Packet::decode(&bytes).is_ok() && json.len() > bytes.len());

    let mut group = criterion.benchmark_group(format!("encode {what}"));
    group.throughput(Throughput::Bytes(bytes.len() as u64));
    let mut out = Vec::with_capacity(64 * 1024);
    group.bench_function("packet", |bencher| {
        bencher.iter(|| {
            out.clear();
            black_box(packet).encode(&mut out);
        });
    });
    group.bench_function("baseline: serde_json", |bencher| {
        bencher.iter(|| {
            out.clear();
            serde_json::to_writer(&mut out, black_box(twin))
        });
    });
    group.bench_function("baseline: copy", |bencher| {
        bencher.iter(|| {
            out.clear();
            out.extend_from_slice(black_box(&bytes));
        });
    });
    group.finish();

    let mut group = criterion.benchmark_group(format!("decode {what}"));
    group.throughput(Throughput::Bytes(bytes.len() as u64));
    group.bench_function("packet", |bencher| bencher.iter(|| Packet::decode(black_box(&bytes))));
    group.bench_function("baseline: serde_json", |bencher| {
        bencher.iter(|| serde_json::from_slice::<T>(black_box(&json)));
    });
    group.bench_function("baseline: copy", |bencher| bencher.iter(|| black_box(&bytes).clone()));
    group.finish();
}

criterion_group!(name = benches; config = throng_benches::criterion(); targets = packets);
criterion_main!(benches);
