//! Framing on the pipes: a length of four bytes, little-endian, and a value in postcard's format.

use std::io::{self, Read, Write};

use serde::Serialize;
use serde::de::DeserializeOwned;
use thiserror::Error;

/// Most bytes of one value. Ledger pages have at most 3 MB; the send times of millions of bots'
/// messages come closest.
const VALUE_MAX: usize = 64 * 1024 * 1024;

/// Bytes of the length prefix.
const LENGTH: usize = 4;

/// A value that could not be written or read.
#[derive(Debug, Error)]
pub enum FrameError {
    /// The pipe failed, or ended within a value.
    #[error("the pipe between two processes of the harness: {0}")]
    Pipe(#[from] io::Error),
    /// The value is longer than any that is written.
    #[error("a message between two processes of the harness has {0} bytes; at most {VALUE_MAX} are allowed")]
    TooLong(usize),
    /// The bytes are not a value of the type, or the value cannot be encoded.
    #[error("a message between two processes of the harness is malformed: {0}")]
    Malformed(#[from] postcard::Error),
}

/// Encodes a value with its length prefix.
pub(super) fn encode(value: &impl Serialize) -> Result<Vec<u8>, FrameError> {
    let mut bytes = postcard::to_extend(value, vec![0; LENGTH])?;
    let length = bytes.len() - LENGTH;
    if length > VALUE_MAX {
        return Err(FrameError::TooLong(length));
    }
    bytes[..LENGTH].copy_from_slice(&(length as u32).to_le_bytes());
    Ok(bytes)
}

/// Writes a value and flushes the pipe.
pub(super) fn write(out: &mut impl Write, value: &impl Serialize) -> Result<(), FrameError> {
    out.write_all(&encode(value)?)?;
    Ok(out.flush()?)
}

/// Reads a value; none at the end of the pipe.
pub(super) fn read<T: DeserializeOwned>(input: &mut impl Read) -> Result<Option<T>, FrameError> {
    let mut length = [0; LENGTH];
    let mut filled = 0;
    while filled < LENGTH {
        match input.read(&mut length[filled..]) {
            Ok(0) if filled == 0 => return Ok(None),
            Ok(0) => return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into()),
            Ok(count) => filled += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error.into()),
        }
    }
    let length = u32::from_le_bytes(length) as usize;
    if length > VALUE_MAX {
        return Err(FrameError::TooLong(length));
    }
    // Grows with the bytes received, so that a bogus length allocates nothing.
    let mut bytes = Vec::new();
    input.take(length as u64).read_to_end(&mut bytes)?;
    if bytes.len() < length {
        return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
    }
    match postcard::take_from_bytes(&bytes)? {
        (value, []) => Ok(Some(value)),
        _ => Err(postcard::Error::DeserializeBadEncoding.into()),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A reader that returns a few bytes at a time.
    struct Dribble<'a>(&'a [u8], usize);

    impl Read for Dribble<'_> {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            let count = self.1.min(buffer.len());
            self.0.read(&mut buffer[..count])
        }
    }

    proptest! {
        #[test]
        fn values_survive_the_pipe(
            values in prop::collection::vec((any::<u64>(), ".{0,20}", prop::option::of(any::<u32>())), 0..5),
            step in 1_usize..40,
        ) {
            let mut bytes = Vec::new();
            for value in &values {
                write(&mut bytes, value).unwrap();
            }
            let mut input = Dribble(&bytes, step);
            for value in values {
                prop_assert_eq!(read(&mut input).unwrap(), Some(value));
            }
            prop_assert_eq!(read::<u8>(&mut input).unwrap(), None);
        }

        #[test]
        fn other_bytes_are_an_error_or_a_value(bytes in prop::collection::vec(any::<u8>(), 0..60)) {
            let mut input = &bytes[..];
            while let Ok(Some(_)) = read::<(u64, String)>(&mut input) {}
        }
    }

    #[test]
    fn damaged_frames_are_errors() {
        let whole = encode(&(7_u32, "text".to_owned())).unwrap();
        for cut in 1..whole.len() {
            let error = read::<(u32, String)>(&mut &whole[..cut]).unwrap_err();
            assert!(matches!(error, FrameError::Pipe(_)), "{error}");
        }
        let mut longer = whole.clone();
        longer[0] += 1;
        longer.push(0);
        assert!(matches!(read::<(u32, String)>(&mut &longer[..]), Err(FrameError::Malformed(_))));
        let printed = b"some text that went to stdout by mistake";
        assert!(matches!(read::<u8>(&mut &printed[..]), Err(FrameError::TooLong(_))));
    }
}
