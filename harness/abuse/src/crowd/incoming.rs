//! Chat messages read in place, without a copy: a flood reaches every honest client.

use throng_core::limits::{CHAT_TEXT_MAX, NAME_BYTES_MAX};
use throng_core::wire::packets::{ChatMessage, Scope};
use throng_core::wire::{Body, Field, Reader};

/// The fields of a message that the honest clients use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Incoming<'a> {
    pub(super) scope: Scope,
    pub(super) sequence: u64,
    pub(super) text: &'a [u8],
}

impl<'a> Incoming<'a> {
    /// Parses an encoded packet; none if it is no message.
    pub(super) fn parse(encoded: &'a [u8]) -> Option<Self> {
        let mut fields = Reader::new(encoded);
        if fields.u16().ok()? != ChatMessage::NUMBER {
            return None;
        }
        let scope = Scope::take(&mut fields).ok()?;
        let _target = fields.u32().ok()?;
        let sequence = fields.u64().ok()?;
        let _sender = fields.u32().ok()?;
        text(&mut fields, NAME_BYTES_MAX)?;
        let _stamp = fields.u64().ok()?;
        let _times = (fields.u64().ok()?, fields.u32().ok()?, fields.u32().ok()?);
        let text = text(&mut fields, CHAT_TEXT_MAX)?;
        fields.finish().ok()?;
        Some(Self { scope, sequence, text })
    }

    /// The fields of a decoded message.
    pub(super) fn of(message: &'a ChatMessage) -> Self {
        Self { scope: message.scope, sequence: message.sequence, text: message.text.as_bytes() }
    }
}

fn text<'a>(fields: &mut Reader<'a>, limit: usize) -> Option<&'a [u8]> {
    let length = usize::from(fields.u16().ok()?);
    if length > limit { None } else { fields.bytes(length).ok() }
}

#[cfg(test)]
mod tests {
    use throng_core::wire::packets::{ServerTimes, User};
    use throng_core::wire::{Packet, Text};

    use super::*;

    #[test]
    fn reads_what_the_packet_table_writes() {
        let message = ChatMessage {
            scope: Scope::Channel,
            target: 3,
            sequence: 1 << 40,
            sender: User { id: 7, name: Text::truncated("Bee") },
            stamp: 9,
            times: ServerTimes { received_us: 5, queued_us: 6, handled_us: 7 },
            text: Text::truncated("hello"),
        };
        let mut encoded = Vec::new();
        Packet::from(message.clone()).encode(&mut encoded);
        assert_eq!(Incoming::parse(&encoded), Some(Incoming::of(&message)));
        for cut in 0..encoded.len() {
            assert_eq!(Incoming::parse(&encoded[..cut]), None, "{cut} bytes");
        }
    }
}
