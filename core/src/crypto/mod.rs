//! Keys, the handshake, the sealing of frames, and tickets. No sockets here.

pub mod handshake;
pub mod keys;
pub mod room;
pub mod session;
pub mod ticket;

pub use handshake::{Credentials, Initiator, PROTOCOL_VERSION, SessionKeys};
pub use keys::{ClusterKey, KeyError, PublicKey, StaticKey};
pub use room::{RoomCipher, RoomKeys, RoomSealer};
pub use session::{DirectionKey, SealBroken};
pub use ticket::{Ticket, TicketSerial};
