//! The wire format: fields, frames and the packet table. Knows no sockets.

pub mod frame;
pub mod packets;
pub mod reason;
pub mod stream;
pub(crate) mod table;
#[cfg(test)]
mod tests;
mod types;

pub use packets::Packet;
pub use reason::CloseReason;
pub use stream::{Malformed, Reader, Writer};
pub use table::{Body, EnumInfo, FieldInfo, PacketInfo, Route};
pub use types::{Bytes, Field, Line, List, SecretBytes, SecretText, Text, TooLong};

/// Returns the test vector called `name` in docs/protocol.md as hex digits. The document writes it
/// as "`name`: `hex`", with line breaks among the digits allowed.
#[cfg(test)]
pub(crate) fn doc_vector(name: &str) -> String {
    let document = include_str!("../../../docs/protocol.md");
    let start = document.find(&format!("`{name}`:")).unwrap_or_else(|| panic!("no vector `{name}`"));
    let digits = document[start..].split('`').nth(3).expect("digits follow the name");
    digits.chars().filter(char::is_ascii_hexdigit).collect()
}
