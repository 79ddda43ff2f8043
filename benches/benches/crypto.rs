//! What one frame, one handshake and one ticket cost.

#![allow(missing_docs)] // criterion's macros make undocumented functions

use std::hint::black_box;
use std::sync::Arc;

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use throng_core::crypto::handshake::respond;
use throng_core::crypto::{ClusterKey, Credentials, DirectionKey, Initiator, StaticKey, Ticket};
use throng_core::limits::FRAME_HEADER;
use throng_core::wire::Text;

fn frames(criterion: &mut Criterion) {
    for bytes in [64, 128, 512] {
        let mut group = criterion.benchmark_group(format!("frame, {bytes} B"));
        group.throughput(Throughput::Bytes(bytes as u64));
        let plain = vec![7; bytes];
        group.bench_function("seal", |bencher| {
            let (mut key, mut out) = (DirectionKey::new([1; 32]), Vec::with_capacity(1024));
            bencher.iter(|| {
                out.clear();
                key.seal(&mut out, |out| out.extend_from_slice(black_box(&plain)));
            });
        });
        group.bench_function("open", |bencher| {
            let mut frame = Vec::new();
            DirectionKey::new([1; 32]).seal(&mut frame, |out| out.extend_from_slice(&plain));
            // Each frame opens once only, so key and frame are fresh each time.
            bencher.iter_batched_ref(
                || (DirectionKey::new([1; 32]), frame.clone()),
                |(key, frame)| key.open(frame).map(<[u8]>::len),
                BatchSize::SmallInput,
            );
        });
        group.bench_function("baseline: copy", |bencher| bencher.iter(|| black_box(&plain).clone()));
        group.finish();
    }
}

fn handshakes(criterion: &mut Criterion) {
    let key = Arc::new(StaticKey::from_private([7; 32]));
    let cluster = ClusterKey::from_bytes([9; 32]);
    let patterns = [
        ("client", Credentials::Client(*key.public()), Credentials::Server(key)),
        ("link", Credentials::Link(cluster.clone()), Credentials::Link(cluster)),
    ];
    for (name, near, far) in patterns {
        let mut group = criterion.benchmark_group(format!("{name} handshake"));
        group.bench_function("start", |bencher| bencher.iter(|| Initiator::start(black_box(&near)).is_ok()));
        let (_, first) = Initiator::start(&near).expect("the system has randomness");
        group.bench_function("respond", |bencher| {
            bencher.iter(|| respond(black_box(&far), black_box(&first[FRAME_HEADER..])).is_ok());
        });
        group.finish();
    }
}

fn tickets(criterion: &mut Criterion) {
    let key = ClusterKey::from_bytes([9; 32]);
    let name = Text::truncated("스롱이");
    let chat_key = [5; 32];
    let ticket = Ticket { account: 1, claim: 2, character: 3, name, chat_key, issued_ms: 0, expires_ms: 10 };
    let minted = ticket.mint(&key).expect("the system has randomness");
    let mut group = criterion.benchmark_group("ticket");
    group.bench_function("mint", |bencher| bencher.iter(|| black_box(&ticket).mint(&key).is_ok()));
    group.bench_function("check", |bencher| {
        bencher.iter(|| Ticket::open(&key, black_box(&minted), &chat_key, 5).is_ok());
    });
    group.finish();
}

criterion_group!(benches, frames, handshakes, tickets);
criterion_main!(benches);
