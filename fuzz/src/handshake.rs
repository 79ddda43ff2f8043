//! Both sides of both handshakes. The keys are those of docs/protocol.md, whose messages are real.

use std::sync::{Arc, LazyLock};

use throng_core::crypto::handshake::respond;
use throng_core::crypto::{ClusterKey, Credentials, Initiator, SessionKeys, StaticKey};
use throng_core::limits::{FRAME_HEADER, HANDSHAKE_BODY_MAX};
use throng_core::wire::frame::{self, Kind, Split};

use crate::input::Input;
use crate::{Target, vectors};

pub(crate) const RESPONDER: Target =
    Target { name: "responder", check: responder, seeds: || seeds("1"), mutations: 1_500 };

pub(crate) const INITIATOR: Target =
    Target { name: "initiator", check: initiator, seeds: || seeds("2"), mutations: 500 };

/// A kind of connection: both ends' credentials, and the initiator's message in the document.
pub(crate) struct Ends {
    pub(crate) initiator: Credentials,
    pub(crate) responder: Credentials,
    first: Vec<u8>,
}

/// Client and server; server and server.
pub(crate) static ENDS: LazyLock<[Ends; 2]> = LazyLock::new(|| {
    let server = Arc::new(StaticKey::from_private([7; 32]));
    let cluster = ClusterKey::from_bytes([9; 32]);
    let body = |name| vectors::one(name).split_off(FRAME_HEADER);
    [
        Ends {
            initiator: Credentials::Client(*server.public()),
            responder: Credentials::Server(server),
            first: body("client handshake 1"),
        },
        Ends {
            initiator: Credentials::Link(cluster.clone()),
            responder: Credentials::Link(cluster),
            first: body("link handshake 1"),
        },
    ]
});

/// The messages of the document raw (`0`, `1`), and no damage (`2`, `3`) or some.
fn seeds(message: &str) -> Vec<Vec<u8>> {
    let mut seeds = vec![vec![2], vec![3], vec![2, 0, 33, 0, 1], vec![3, 2, 40, 0], vec![2, 3, 50, 0, 0]];
    for (kind, name) in ["client", "link"].iter().enumerate() {
        let message = vectors::one(&format!("{name} handshake {message}"));
        seeds.push([&[kind as u8], &message[FRAME_HEADER..]].concat());
    }
    seeds
}

/// Returns the body of a whole handshake frame.
pub(crate) fn body(frame: &[u8]) -> &[u8] {
    assert_eq!(frame::split(frame, HANDSHAKE_BODY_MAX), Split::Frame(Kind::Handshake, frame.len()));
    &frame[FRAME_HEADER..]
}

fn check_keys(mut near: SessionKeys, mut far: SessionKeys) {
    for (from, to) in [(&mut near.seal, &mut far.open), (&mut far.seal, &mut near.open)] {
        let mut frame = Vec::new();
        from.seal(&mut frame, |out| out.extend_from_slice(b"throng"));
        assert_eq!(to.open(&mut frame), Ok(&b"throng"[..]));
    }
}

/// A responder accepts the message of an initiator that knows its key, and no other.
fn responder(input: &[u8]) {
    let mut input = Input::new(input);
    let mode = input.u8();
    let Ends { responder, first, .. } = &ENDS[usize::from(mode & 1)];
    let received = if mode & 2 == 0 { input.rest().to_vec() } else { input.damage(first) };
    match respond(responder, &received) {
        Ok((reply, _)) => {
            assert_eq!(&received, first, "a message that no initiator sent");
            body(&reply);
        }
        Err(reason) => assert!(&received != first && reason.is_sent(), "{reason:?}"),
    }
}

/// An initiator accepts the reply to its own message, and no other.
fn initiator(input: &[u8]) {
    let mut input = Input::new(input);
    let mode = input.u8();
    let Ends { initiator, responder, .. } = &ENDS[usize::from(mode & 1)];
    let (state, first) = Initiator::start(initiator).expect("randomness");
    if mode & 2 == 0 {
        assert!(state.finish(input.rest()).is_err(), "a reply to another message");
        return;
    }
    let (reply, far) = respond(responder, body(&first)).expect("it is real");
    let received = input.damage(body(&reply));
    match state.finish(&received) {
        Ok(near) => {
            assert_eq!(received, body(&reply), "a reply that no responder sent");
            check_keys(near, far);
        }
        Err(reason) => assert!(received != body(&reply) && reason.is_sent(), "{reason:?}"),
    }
}
