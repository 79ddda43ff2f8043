//! Cost of one handshake and of one ticket.
//!
//! Baseline of a handshake step: its Diffie-Hellman operations alone, by the library that the Noise
//! library uses. A new key is a multiplication of the base point; each further operation multiplies
//! the peer's point. The rest of a step is hashing, sealing and bookkeeping.
//!
//! Baseline of a ticket: one HMAC-SHA256 over it, the cost of a signed web token without JSON and
//! base64. A ticket is sealed as well, and its serial is drawn from the system.

#![allow(missing_docs)] // criterion's macros make undocumented functions

use std::hint::black_box;
use std::sync::Arc;

use criterion::{BatchSize, Criterion, criterion_group, criterion_main};
use curve25519_dalek::MontgomeryPoint;
use hkdf::Hkdf;
use sha2::Sha256;
use throng_core::crypto::handshake::respond;
use throng_core::crypto::{ClusterKey, Credentials, Initiator, StaticKey, Ticket};
use throng_core::limits::FRAME_HEADER;
use throng_core::wire::Text;

/// Multiplications of a handshake step: of the base point, and of other points.
fn multiply(base: usize, points: usize) -> MontgomeryPoint {
    let mut point = MontgomeryPoint([9; 32]);
    for _ in 0..base {
        point = MontgomeryPoint::mul_base_clamped(black_box([5; 32]));
    }
    (0..points).fold(point, |point, _| point.mul_clamped(black_box([7; 32])))
}

fn handshakes(criterion: &mut Criterion) {
    let key = Arc::new(StaticKey::from_private([7; 32]));
    let cluster = ClusterKey::from_bytes([9; 32]);
    // Each pattern with the points multiplied in its three steps: NK has two exchanges, NNpsk0 has
    // one.
    let patterns = [
        ("client", Credentials::Client(*key.public()), Credentials::Server(key), [1, 2, 1]),
        ("link", Credentials::Link(cluster.clone()), Credentials::Link(cluster), [0, 1, 1]),
    ];
    for (name, near, far, points) in patterns {
        let mut group = criterion.benchmark_group(format!("{name} handshake: start"));
        group.bench_function("Noise", |bencher| bencher.iter(|| Initiator::start(black_box(&near)).is_ok()));
        group.bench_function("baseline: X25519", |bencher| bencher.iter(|| multiply(1, points[0])));
        group.finish();

        let start = || Initiator::start(&near).expect("the system has randomness");
        let answer = |first: &[u8]| respond(&far, &first[FRAME_HEADER..]).expect("a whole first message");
        let (_, first) = start();
        let mut group = criterion.benchmark_group(format!("{name} handshake: respond"));
        group.bench_function("Noise", |bencher| bencher.iter(|| answer(black_box(&first)).0.len()));
        group.bench_function("baseline: X25519", |bencher| bencher.iter(|| multiply(1, points[1])));
        group.finish();

        let mut group = criterion.benchmark_group(format!("{name} handshake: finish"));
        group.bench_function("Noise", |bencher| {
            let answered = || {
                let (initiator, first) = start();
                (initiator, answer(&first).0)
            };
            let finish = |(initiator, reply): (Initiator, Vec<u8>)| {
                initiator.finish(&reply[FRAME_HEADER..]).expect("an answer to it")
            };
            bencher.iter_batched(answered, finish, BatchSize::NumIterations(16));
        });
        group.bench_function("baseline: X25519", |bencher| bencher.iter(|| multiply(0, points[2])));
        group.finish();
    }
}

fn tickets(criterion: &mut Criterion) {
    let key = ClusterKey::from_bytes([9; 32]);
    let name = Text::truncated("player-01042");
    let chat_key = [5; 32];
    let ticket = Ticket { account: 1, claim: 2, character: 3, name, chat_key, issued_ms: 0, expires_ms: 10 };
    let minted = ticket.mint(&key).expect("the system has randomness");
    // The extraction of HKDF is an HMAC.
    let sign = |bytes: &[u8]| Hkdf::<Sha256>::extract(Some(&[9; 32]), bytes).0;
    let signed = sign(&minted);

    let mut group = criterion.benchmark_group("mint a ticket");
    group.bench_function("ticket", |bencher| bencher.iter(|| black_box(&ticket).mint(&key).is_ok()));
    group.bench_function("baseline: HMAC", |bencher| bencher.iter(|| sign(black_box(&minted))));
    group.finish();
    let mut group = criterion.benchmark_group("check a ticket");
    assert!(Ticket::open(&key, &minted, &chat_key, 5).is_ok());
    group.bench_function("ticket", |bencher| {
        bencher.iter(|| Ticket::open(&key, black_box(&minted), &chat_key, 5).is_ok());
    });
    group.bench_function("baseline: HMAC", |bencher| bencher.iter(|| sign(black_box(&minted)) == signed));
    group.finish();
}

criterion_group!(name = benches; config = throng_benches::criterion(); targets = handshakes, tickets);
criterion_main!(benches);
