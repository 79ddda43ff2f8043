//! Frames: `length (u16, little-endian) | kind (u8) | body (length bytes)`.

use byteorder::{ByteOrder, LittleEndian};

use super::CloseReason;
use crate::limits::FRAME_HEADER;

/// Kind of a frame, which determines its body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Kind {
    /// A Noise handshake message, with a preface in the first one.
    Handshake = 1,
    /// A packet sealed with the session's key.
    Sealed = 2,
    /// A packet sealed with a room's key: see [`crate::crypto::room`].
    Room = 3,
    /// One byte, a [`CloseReason`], in the clear: the server's refusal before the handshake is
    /// done. It is not authenticated, so it may only be shown.
    Refused = 4,
}

impl Kind {
    fn from_byte(byte: u8) -> Option<Self> {
        [Self::Handshake, Self::Sealed, Self::Room, Self::Refused]
            .into_iter()
            .find(|kind| *kind as u8 == byte)
    }
}

/// Content at the front of received bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Split {
    /// A whole frame: its kind, and its length in bytes, header included.
    Frame(Kind, usize),
    /// The beginning of a frame, and the number of bytes from its start that the next call needs.
    NeedMore(usize),
    /// Bytes that cannot be a frame here.
    Bad(CloseReason),
}

/// Looks for a frame at the front of `bytes`. A body longer than `body_max` is refused as soon as
/// its header is complete.
pub fn split(bytes: &[u8], body_max: usize) -> Split {
    if bytes.len() < FRAME_HEADER {
        return Split::NeedMore(FRAME_HEADER);
    }
    let body = usize::from(LittleEndian::read_u16(bytes));
    let Some(kind) = Kind::from_byte(bytes[2]) else {
        return Split::Bad(CloseReason::UnexpectedFrame);
    };
    if body > body_max {
        return Split::Bad(CloseReason::FrameTooLong);
    }
    match FRAME_HEADER + body {
        whole if bytes.len() < whole => Split::NeedMore(whole),
        whole => Split::Frame(kind, whole),
    }
}

/// Returns the header of a frame with a body of `body` bytes.
pub fn header(kind: Kind, body: usize) -> [u8; FRAME_HEADER] {
    debug_assert!(u16::try_from(body).is_ok());
    let mut header = [0, 0, kind as u8];
    LittleEndian::write_u16(&mut header, body as u16);
    header
}

/// Returns the frame that refuses a connection before its handshake is done.
pub fn refusal(reason: CloseReason) -> [u8; FRAME_HEADER + 1] {
    let [a, b, c] = header(Kind::Refused, 1);
    [a, b, c, reason as u8]
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_frame_is_found_only_when_whole() {
        let mut bytes = header(Kind::Sealed, 4).to_vec();
        bytes.extend_from_slice(b"abcdNEXT");
        for have in 0..FRAME_HEADER {
            assert_eq!(split(&bytes[..have], 100), Split::NeedMore(FRAME_HEADER));
        }
        for have in FRAME_HEADER..7 {
            assert_eq!(split(&bytes[..have], 100), Split::NeedMore(7));
        }
        assert_eq!(split(&bytes, 4), Split::Frame(Kind::Sealed, 7));
    }

    #[test]
    fn too_long_and_unknown_are_refused_on_the_header_alone() {
        assert_eq!(split(&header(Kind::Sealed, 5), 4), Split::Bad(CloseReason::FrameTooLong));
        assert_eq!(split(&[0, 0, 99], 4), Split::Bad(CloseReason::UnexpectedFrame));
        assert_eq!(split(&[0xff, 0xff, 1], 256), Split::Bad(CloseReason::FrameTooLong));
    }

    #[test]
    fn a_refusal_is_a_frame() {
        assert_eq!(refusal(CloseReason::ServerFull), [1, 0, 4, 1]);
    }

    proptest! {
        #[test]
        fn any_bytes_are_judged_without_panic(bytes: Vec<u8>, limit in 0usize..70_000) {
            match split(&bytes, limit) {
                Split::Frame(_, used) => prop_assert!(used >= FRAME_HEADER && used <= bytes.len()),
                Split::NeedMore(wanted) => prop_assert!(wanted > bytes.len()),
                Split::Bad(_) => {}
            }
        }
    }
}
