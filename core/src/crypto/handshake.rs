//! The handshake that opens every session: one Noise message each way.
//!
//! * Client to server: `Noise_NK_25519_AESGCM_SHA256`. The client knows the server's public key,
//!   which authenticates the server. Password or ticket authenticate the client later.
//! * Server to server: `Noise_NNpsk0_25519_AESGCM_SHA256`. Both know the cluster key.
//!
//! Both patterns give forward secrecy. The first message starts with a preface of two bytes in the
//! clear: the protocol's version and the pattern. Both bytes are part of the prologue, so changing
//! them breaks the handshake.

use std::sync::Arc;

use snow::{Builder, HandshakeState};

use super::keys::{ClusterKey, PublicKey, StaticKey};
use super::noise::Primitives;
use super::session::DirectionKey;
use crate::limits::{FRAME_HEADER, HANDSHAKE_BODY_MAX};
use crate::wire::CloseReason;
use crate::wire::frame::{self, Kind};

/// Version of the protocol, the first byte of every connection's first body.
pub const PROTOCOL_VERSION: u8 = 1;

/// Bytes of the preface: version and pattern.
const PREFACE: usize = 2;

/// Authentication of one end of a session: its own key, or the key that it expects of the peer.
#[derive(Debug, Clone)]
pub enum Credentials {
    /// A server towards clients: the server's own key pair.
    Server(Arc<StaticKey>),
    /// A client: the server's public key.
    Client(PublicKey),
    /// Either end of a server link: the cluster's key.
    Link(ClusterKey),
}

impl Credentials {
    fn pattern(&self) -> Pattern {
        match self {
            Self::Server(_) | Self::Client(_) => Pattern::Client,
            Self::Link(_) => Pattern::Link,
        }
    }
}

/// Pattern of a handshake; its value is the second byte of the preface.
#[derive(Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
enum Pattern {
    Client = 1,
    Link = 2,
}

impl Pattern {
    fn noise_name(self) -> &'static str {
        match self {
            Self::Client => "Noise_NK_25519_AESGCM_SHA256",
            Self::Link => "Noise_NNpsk0_25519_AESGCM_SHA256",
        }
    }

    fn preface(self) -> [u8; PREFACE] {
        [PROTOCOL_VERSION, self as u8]
    }

    fn prologue(self) -> [u8; 6 + PREFACE] {
        let [version, pattern] = self.preface();
        [b't', b'h', b'r', b'o', b'n', b'g', version, pattern]
    }
}

/// Keys of a session after its handshake.
pub struct SessionKeys {
    /// Seals what this end sends.
    pub seal: DirectionKey,
    /// Opens what this end receives.
    pub open: DirectionKey,
}

/// The initiator's side of an unfinished handshake.
pub struct Initiator {
    state: Box<HandshakeState>,
}

impl Initiator {
    /// Starts a handshake and returns the frame to send. Fails only if the system has no randomness
    /// to give, or if the server's public key is invalid.
    pub fn start(credentials: &Credentials) -> Result<(Self, Vec<u8>), CloseReason> {
        Self::start_with(credentials, None)
    }

    fn start_with(
        credentials: &Credentials,
        ephemeral: Option<&[u8; 32]>,
    ) -> Result<(Self, Vec<u8>), CloseReason> {
        let mut state = build(credentials, Side::Initiator, ephemeral)?;
        let frame = handshake_frame(&credentials.pattern().preface(), &mut state)?;
        Ok((Self { state: Box::new(state) }, frame))
    }

    /// Completes the handshake with the body of the responder's frame.
    pub fn finish(mut self, body: &[u8]) -> Result<SessionKeys, CloseReason> {
        read(&mut self.state, body)?;
        let (to_responder, to_initiator) = self.state.dangerously_get_raw_split();
        Ok(SessionKeys { seal: DirectionKey::new(to_responder), open: DirectionKey::new(to_initiator) })
    }
}

/// Answers the body of an initiator's handshake frame with the frame to send and the session's
/// keys. A connection holds no handshake state before its first frame is complete.
pub fn respond(credentials: &Credentials, body: &[u8]) -> Result<(Vec<u8>, SessionKeys), CloseReason> {
    respond_with(credentials, body, None)
}

fn respond_with(
    credentials: &Credentials,
    body: &[u8],
    ephemeral: Option<&[u8; 32]>,
) -> Result<(Vec<u8>, SessionKeys), CloseReason> {
    let (preface, message) = body.split_at_checked(PREFACE).ok_or(CloseReason::HandshakeFailed)?;
    if preface[0] != PROTOCOL_VERSION {
        return Err(CloseReason::VersionMismatch);
    }
    if preface != credentials.pattern().preface() {
        return Err(CloseReason::HandshakeFailed);
    }
    let mut state = build(credentials, Side::Responder, ephemeral)?;
    read(&mut state, message)?;
    let reply = handshake_frame(&[], &mut state)?;
    let (to_responder, to_initiator) = state.dangerously_get_raw_split();
    Ok((reply, SessionKeys { seal: DirectionKey::new(to_initiator), open: DirectionKey::new(to_responder) }))
}

#[derive(Clone, Copy)]
enum Side {
    Initiator,
    Responder,
}

fn build(
    credentials: &Credentials,
    side: Side,
    ephemeral: Option<&[u8; 32]>,
) -> Result<HandshakeState, CloseReason> {
    let pattern = credentials.pattern();
    let prologue = pattern.prologue();
    let params = pattern.noise_name().parse().expect("a pattern name of ours parses");
    let psk;
    let failed = |_| CloseReason::HandshakeFailed;
    let own = match credentials {
        Credentials::Server(key) => Some(key.clone()),
        Credentials::Client(_) | Credentials::Link(_) => None,
    };
    let primitives = Box::new(Primitives { own });
    let mut builder = Builder::with_resolver(params, primitives).prologue(&prologue).map_err(failed)?;
    builder = match credentials {
        Credentials::Server(key) => builder.local_private_key(key.private()).map_err(failed)?,
        Credentials::Client(server) => builder.remote_public_key(server).map_err(failed)?,
        Credentials::Link(key) => {
            psk = key.derive(b"throng link v1", &[]);
            builder.psk(0, &psk).map_err(failed)?
        }
    };
    if let Some(ephemeral) = ephemeral {
        builder = builder.fixed_ephemeral_key_for_testing_only(ephemeral);
    }
    match side {
        Side::Initiator => builder.build_initiator(),
        Side::Responder => builder.build_responder(),
    }
    .map_err(failed)
}

fn handshake_frame(preface: &[u8], state: &mut HandshakeState) -> Result<Vec<u8>, CloseReason> {
    let mut message = [0; HANDSHAKE_BODY_MAX];
    let length = state.write_message(&[], &mut message).map_err(|_| CloseReason::HandshakeFailed)?;
    let mut out = Vec::with_capacity(FRAME_HEADER + preface.len() + length);
    out.extend_from_slice(&frame::header(Kind::Handshake, preface.len() + length));
    out.extend_from_slice(preface);
    out.extend_from_slice(&message[..length]);
    Ok(out)
}

fn read(state: &mut HandshakeState, message: &[u8]) -> Result<(), CloseReason> {
    // Payloads must be empty: a message that carries one is refused.
    match state.read_message(message, &mut [0; HANDSHAKE_BODY_MAX]) {
        Ok(0) => Ok(()),
        Ok(_) | Err(_) => Err(CloseReason::HandshakeFailed),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::doc_vector;

    fn server() -> (Credentials, Credentials) {
        let key = Arc::new(StaticKey::from_private([7; 32]));
        (Credentials::Client(*key.public()), Credentials::Server(key))
    }

    fn link() -> (Credentials, Credentials) {
        let key = ClusterKey::from_bytes([9; 32]);
        (Credentials::Link(key.clone()), Credentials::Link(key))
    }

    fn check_session(mut initiator: SessionKeys, mut responder: SessionKeys) {
        let mut frame = Vec::new();
        initiator.seal.seal(&mut frame, |out| out.extend_from_slice(b"up"));
        assert_eq!(responder.open.open(&mut frame), Ok(&b"up"[..]));
        frame.clear();
        responder.seal.seal(&mut frame, |out| out.extend_from_slice(b"down"));
        assert_eq!(initiator.open.open(&mut frame), Ok(&b"down"[..]));
    }

    #[test]
    fn both_patterns_lead_to_a_session() {
        for (near, far) in [server(), link()] {
            let (initiator, first) = Initiator::start(&near).unwrap();
            let (second, responder) = respond(&far, &first[FRAME_HEADER..]).unwrap();
            check_session(initiator.finish(&second[FRAME_HEADER..]).unwrap(), responder);
        }
    }

    #[test]
    fn wrong_keys_patterns_versions_and_damage_are_refused() {
        let check = |near: &Credentials, far: &Credentials, damage: fn(&mut Vec<u8>), wanted| {
            let (_, mut first) = Initiator::start(near).unwrap();
            first.drain(..FRAME_HEADER);
            damage(&mut first);
            assert_eq!(respond(far, &first).err(), Some(wanted));
        };
        let ((client, server), (link_near, link_far)) = (server(), link());
        let other_server = Credentials::Server(Arc::new(StaticKey::from_private([8; 32])));
        let other_link = Credentials::Link(ClusterKey::from_bytes([10; 32]));
        check(&client, &other_server, |_| {}, CloseReason::HandshakeFailed);
        check(&link_near, &other_link, |_| {}, CloseReason::HandshakeFailed);
        check(&client, &link_far, |_| {}, CloseReason::HandshakeFailed);
        check(&link_near, &server, |_| {}, CloseReason::HandshakeFailed);
        check(&client, &server, |body| body[0] = 2, CloseReason::VersionMismatch);
        check(&client, &server, |body| body.truncate(1), CloseReason::HandshakeFailed);
        check(&client, &server, |body| body.truncate(40), CloseReason::HandshakeFailed);
        check(&client, &server, |body| *body.last_mut().unwrap() ^= 1, CloseReason::HandshakeFailed);
        check(&client, &server, |body| body.push(0), CloseReason::HandshakeFailed);
    }

    #[test]
    fn a_client_detects_a_false_server() {
        let (client, _) = server();
        let (initiator, _) = Initiator::start(&client).unwrap();
        let (_, other_first) = Initiator::start(&client).unwrap();
        let (_, far) = server();
        let (second, _) = respond(&far, &other_first[FRAME_HEADER..]).unwrap();
        assert_eq!(initiator.finish(&second[FRAME_HEADER..]).err(), Some(CloseReason::HandshakeFailed));
    }

    #[test]
    fn vectors_of_the_protocol_document() {
        for (name, (near, far)) in [("client", server()), ("link", link())] {
            let (initiator, first) = Initiator::start_with(&near, Some(&[1; 32])).unwrap();
            let (second, _) = respond_with(&far, &first[FRAME_HEADER..], Some(&[2; 32])).unwrap();
            assert_eq!(hex::encode(&first), doc_vector(&format!("{name} handshake 1")));
            assert_eq!(hex::encode(&second), doc_vector(&format!("{name} handshake 2")));
            let mut keys = initiator.finish(&second[FRAME_HEADER..]).unwrap();
            let mut frame = Vec::new();
            keys.seal.seal(&mut frame, |out| out.extend_from_slice(b"throng"));
            assert_eq!(hex::encode(&frame), doc_vector(&format!("{name} first sealed frame")));
        }
    }
}
