//! Keys, the handshake, the sealing of frames, and tickets. No sockets here.

pub mod keys;

pub use keys::{ClusterKey, KeyError, PublicKey, StaticKey};
