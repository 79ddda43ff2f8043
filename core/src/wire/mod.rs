//! What goes over the wire: fields, frames and the packet table. No sockets here.

pub mod frame;
pub mod packets;
pub mod reason;
pub mod stream;
mod table;
mod types;

pub use packets::Packet;
pub use reason::CloseReason;
pub use stream::{Malformed, Reader, Writer};
pub use table::{Body, EnumInfo, FieldInfo, PacketInfo, Route};
pub use types::{Bytes, Field, List, SecretText, Text, TooLong};
