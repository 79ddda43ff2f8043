//! Reader and writer of the primitive types: little-endian, length-prefixed.

use byteorder::{ByteOrder, LittleEndian};
use thiserror::Error;

/// Reasons for which bytes are not a packet.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum Malformed {
    /// A field needs more bytes than are left.
    #[error("the packet ends {missing} bytes early")]
    Truncated {
        /// Bytes that the field lacks.
        missing: usize,
    },
    /// Bytes are left over after the last field.
    #[error("{extra} bytes follow the last field")]
    Trailing {
        /// Bytes left over.
        extra: usize,
    },
    /// A text, list or byte string is longer than its field allows.
    #[error("a field holds {length} items, its limit is {limit}")]
    TooLong {
        /// Length of the value.
        length: usize,
        /// Limit of the field.
        limit: usize,
    },
    /// A text is not UTF-8.
    #[error("a text is not valid UTF-8")]
    NotUtf8,
    /// A text of one line has a control character.
    #[error("a text of one line has the control character U+{0:04X}")]
    ControlCharacter(u32),
    /// A bool, option or enumeration has an undefined value.
    #[error("{value} is not a value of {of}")]
    UnknownValue {
        /// The type.
        of: &'static str,
        /// The undefined byte.
        value: u8,
    },
    /// No packet has this number.
    #[error("no packet has the number {0:#06x}")]
    UnknownPacket(u16),
}

/// Appends fields to a byte buffer.
pub struct Writer<'a>(&'a mut Vec<u8>);

impl<'a> Writer<'a> {
    /// Returns a writer that appends to `out`.
    pub fn new(out: &'a mut Vec<u8>) -> Self {
        Self(out)
    }

    /// Appends raw bytes.
    pub fn bytes(&mut self, bytes: &[u8]) {
        self.0.extend_from_slice(bytes);
    }

    /// Appends one byte.
    pub fn u8(&mut self, value: u8) {
        self.0.push(value);
    }

    /// Appends two bytes.
    pub fn u16(&mut self, value: u16) {
        let mut bytes = [0; 2];
        LittleEndian::write_u16(&mut bytes, value);
        self.bytes(&bytes);
    }

    /// Appends four bytes.
    pub fn u32(&mut self, value: u32) {
        let mut bytes = [0; 4];
        LittleEndian::write_u32(&mut bytes, value);
        self.bytes(&bytes);
    }

    /// Appends eight bytes.
    pub fn u64(&mut self, value: u64) {
        let mut bytes = [0; 8];
        LittleEndian::write_u64(&mut bytes, value);
        self.bytes(&bytes);
    }

    /// Appends a u16 length. Every limit in the packet table is below 65,536.
    pub(crate) fn length(&mut self, length: usize) {
        debug_assert!(u16::try_from(length).is_ok());
        self.u16(length as u16);
    }
}

/// Takes fields off the front of a byte slice.
pub struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    /// Returns a reader over `bytes`.
    pub fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    /// Returns the number of bytes not read yet.
    pub fn remaining(&self) -> usize {
        self.0.len()
    }

    /// Takes `count` bytes.
    pub fn bytes(&mut self, count: usize) -> Result<&'a [u8], Malformed> {
        let Some((taken, rest)) = self.0.split_at_checked(count) else {
            return Err(Malformed::Truncated { missing: count - self.0.len() });
        };
        self.0 = rest;
        Ok(taken)
    }

    /// Takes one byte.
    pub fn u8(&mut self) -> Result<u8, Malformed> {
        Ok(self.bytes(1)?[0])
    }

    /// Takes two bytes.
    pub fn u16(&mut self) -> Result<u16, Malformed> {
        Ok(LittleEndian::read_u16(self.bytes(2)?))
    }

    /// Takes four bytes.
    pub fn u32(&mut self) -> Result<u32, Malformed> {
        Ok(LittleEndian::read_u32(self.bytes(4)?))
    }

    /// Takes eight bytes.
    pub fn u64(&mut self) -> Result<u64, Malformed> {
        Ok(LittleEndian::read_u64(self.bytes(8)?))
    }

    /// Takes a u16 length and checks it against `limit`, before anything of that length is
    /// allocated.
    pub(crate) fn length(&mut self, limit: usize) -> Result<usize, Malformed> {
        let length = usize::from(self.u16()?);
        if length > limit {
            return Err(Malformed::TooLong { length, limit });
        }
        Ok(length)
    }

    /// Returns an error if bytes are left.
    pub fn finish(self) -> Result<(), Malformed> {
        match self.0.len() {
            0 => Ok(()),
            extra => Err(Malformed::Trailing { extra }),
        }
    }
}
