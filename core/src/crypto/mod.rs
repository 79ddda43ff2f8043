//! Cryptography: keys, handshake, sealing of frames, tickets, resume tokens, and what a fleet
//! says to itself. Knows no sockets.

mod cipher;
#[cfg(feature = "server")]
pub mod fleet;
pub mod frame_cache;
pub mod handshake;
pub mod keys;
mod noise;
pub mod resume;
pub mod room;
pub mod session;
pub mod ticket;
mod x25519;

#[cfg(feature = "server")]
pub use fleet::FleetKeys;
pub use frame_cache::FrameCache;
pub use handshake::{Credentials, Initiator, PROTOCOL_VERSION, SessionKeys};
#[cfg(feature = "server")]
pub use keys::KeyError;
pub use keys::{ClusterKey, PublicKey, StaticKey};
pub use resume::{ResumeToken, ResumeTokens};
pub use room::{RoomCipher, RoomKeys, RoomSealer};
pub use session::{DirectionKey, SealBroken};
pub use ticket::{Ticket, TicketSerial};
