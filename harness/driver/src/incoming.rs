//! Chat messages parsed in place: this runs for every delivery, so nothing is copied or allocated.

use throng_core::limits::{CHAT_TEXT_MAX, NAME_BYTES_MAX};
use throng_core::room::RoomId;
use throng_core::wire::packets::{ChatMessage, Scope};
use throng_core::wire::{Body, Field, Reader};
use throng_harness_model::breakdown::Stamps;

/// The fields of a chat message that the harness uses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Incoming<'a> {
    /// The audience.
    pub scope: Scope,
    /// The channel or user; 0 for scopes without one.
    pub target: u32,
    /// The message's number in its room; 0 nearby and in whispers.
    pub sequence: u64,
    /// The time at which the server read the request, in microseconds of the server's clock.
    pub received_us: u64,
    /// From reading to the handler, in microseconds.
    pub queued_us: u32,
    /// From the handler to sealing, in microseconds.
    pub handled_us: u32,
    /// The text; it is not checked to be UTF-8.
    pub text: &'a [u8],
}

impl<'a> Incoming<'a> {
    /// Parses an encoded packet; none if it is not a chat message, or malformed.
    pub fn parse(encoded: &'a [u8]) -> Option<Self> {
        let mut fields = Reader::new(encoded);
        if fields.u16().ok()? != ChatMessage::NUMBER {
            return None;
        }
        let scope = Scope::take(&mut fields).ok()?;
        let target = fields.u32().ok()?;
        let sequence = fields.u64().ok()?;
        let _sender = fields.u32().ok()?;
        text(&mut fields, NAME_BYTES_MAX)?;
        let _stamp = fields.u64().ok()?;
        let received_us = fields.u64().ok()?;
        let queued_us = fields.u32().ok()?;
        let handled_us = fields.u32().ok()?;
        let text = text(&mut fields, CHAT_TEXT_MAX)?;
        fields.finish().ok()?;
        Some(Self { scope, target, sequence, received_us, queued_us, handled_us, text })
    }

    /// The fields of a decoded message.
    pub fn of(message: &'a ChatMessage) -> Self {
        Self {
            scope: message.scope,
            target: message.target,
            sequence: message.sequence,
            received_us: message.times.received_us,
            queued_us: message.times.queued_us,
            handled_us: message.times.handled_us,
            text: message.text.as_bytes(),
        }
    }

    /// The server's time stamps of the message.
    pub fn stamps(&self, fan_out_us: Option<u32>) -> Stamps {
        let Self { received_us, queued_us, handled_us, .. } = *self;
        Stamps { received_us, queued_us, handled_us, fan_out_us }
    }

    /// Returns true if the message may come under the key of the room.
    pub fn is_of(&self, room: u32) -> bool {
        (self.scope, self.target) == RoomId(room).address()
    }
}

fn text<'a>(fields: &mut Reader<'a>, limit: usize) -> Option<&'a [u8]> {
    let length = usize::from(fields.u16().ok()?);
    if length > limit { None } else { fields.bytes(length).ok() }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use throng_core::wire::packets::{ServerTimes, User};
    use throng_core::wire::{Packet, Text};

    use super::*;

    fn encoded(message: &ChatMessage) -> Vec<u8> {
        let mut out = Vec::new();
        Packet::from(message.clone()).encode(&mut out);
        out
    }

    proptest! {
        #[test]
        fn reads_what_the_packet_table_writes(
            scope in 0_u8..4, target: u32, sequence: u64, id: u32, name in ".{0,8}", stamp: u64,
            received_us: u64, queued_us: u32, handled_us: u32, text in ".{0,40}", cut in 0_usize..80,
        ) {
            let scope = [Scope::World, Scope::Channel, Scope::Nearby, Scope::Whisper][usize::from(scope)];
            let sender = User { id, name: Text::truncated(&name) };
            let times = ServerTimes { received_us, queued_us, handled_us };
            let text = Text::truncated(&text);
            let message = ChatMessage { scope, target, sequence, sender, stamp, times, text };
            let mut bytes = encoded(&message);
            prop_assert_eq!(Incoming::parse(&bytes), Some(Incoming::of(&message)));
            bytes.truncate(bytes.len().saturating_sub(cut + 1));
            prop_assert_eq!(Incoming::parse(&bytes), None);
        }

        #[test]
        fn other_bytes_are_no_message(mut bytes in prop::collection::vec(any::<u8>(), 0..90), ours: bool) {
            if ours && bytes.len() > 2 {
                bytes[..2].copy_from_slice(&ChatMessage::NUMBER.to_le_bytes());
            }
            if let Ok(Packet::ChatMessage(message)) = Packet::decode(&bytes) {
                prop_assert_eq!(Incoming::parse(&bytes), Some(Incoming::of(&message)));
            } else if let Some(message) = Incoming::parse(&bytes) {
                // The parser differs from the decoder only in accepting texts that are not UTF-8.
                prop_assert!(ours || message.text.len() < 90);
            }
        }
    }
}
