//! Chat messages parsed in place: this runs for every delivery, so nothing is copied or allocated.

use throng_core::limits::{CHAT_TEXT_MAX, NAME_BYTES_MAX};
use throng_core::room::RoomId;
use throng_core::wire::packets::{ChatMessage, Scope};
use throng_core::wire::{Body, Field, Reader};
use throng_harness_model::breakdown::Stamps;
use throng_harness_model::payload::Reading;

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

    /// The message without its text, which has been read.
    pub fn heard(&self, reading: Reading) -> Heard {
        let Self { scope, target, sequence, received_us, queued_us, handled_us, text } = *self;
        let stamps = Stamps { received_us, queued_us, handled_us, fan_out_us: None };
        Heard { scope, target, sequence, stamps, length: text.len(), reading }
    }

    /// Returns true if the message may come under the key of the room.
    pub fn is_of(&self, room: u32) -> bool {
        (self.scope, self.target) == RoomId(room).address()
    }
}

/// A message that was read, without its text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Heard {
    /// The audience.
    pub scope: Scope,
    /// The channel or user; 0 for scopes without one.
    pub target: u32,
    /// The message's number in its room; 0 nearby and in whispers.
    pub sequence: u64,
    /// The server's time stamps, without the fan-out time, which copies do not share.
    pub stamps: Stamps,
    /// Bytes of the text.
    pub length: usize,
    /// The text, read.
    pub reading: Reading,
}

impl Heard {
    /// Returns true if the message may come under the key of the room.
    pub fn is_of(&self, room: u32) -> bool {
        (self.scope, self.target) == RoomId(room).address()
    }
}

/// Messages in flight whose frames are kept; a power of two.
const FRAMES: usize = 512;

/// Messages read from room frames lately, by the frames' serial numbers
/// ([`Sessions::frame_serial`](throng_core::net::Sessions::frame_serial)). Copies of a frame are
/// not read again.
#[derive(Debug, Default)]
pub struct HeardFrames(Vec<Option<(u64, Heard)>>);

impl HeardFrames {
    /// Returns the message of the frame with this number, if it is kept.
    pub fn get(&self, serial: u64) -> Option<Heard> {
        let (kept, heard) = (*self.0.get(serial as usize % FRAMES)?)?;
        (kept == serial).then_some(heard)
    }

    /// Keeps the message of the frame with this number, in place of an older one.
    pub fn insert(&mut self, serial: u64, heard: Heard) {
        self.0.resize(FRAMES, None);
        self.0[serial as usize % FRAMES] = Some((serial, heard));
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

    #[test]
    fn a_kept_message_is_that_of_its_own_frame() {
        let incoming = Incoming {
            scope: Scope::Channel,
            target: 4,
            sequence: 9,
            received_us: 1,
            queued_us: 2,
            handled_us: 3,
            text: b"hello",
        };
        let heard = incoming.heard(Reading::Foreign);
        assert!(heard.is_of(4) && !heard.is_of(0) && heard.length == 5);
        let mut frames = HeardFrames::default();
        assert_eq!(frames.get(7), None);
        frames.insert(7, heard);
        assert_eq!(frames.get(7), Some(heard));
        assert_eq!(frames.get(7 + FRAMES as u64), None, "another frame in its place");
        frames.insert(7 + FRAMES as u64, heard);
        assert_eq!(frames.get(7), None, "evicted");
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
