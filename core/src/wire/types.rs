//! Field types of packets.

use std::borrow::Cow;
use std::fmt;
use std::ops::Deref;

use smol_str::SmolStr;
use thiserror::Error;
use zeroize::Zeroizing;

use super::stream::{Malformed, Reader, Writer};
use crate::text::{has_control, is_control};

/// A type that a packet's field can have.
pub trait Field: Sized {
    /// The type's name in docs/protocol.md.
    fn type_name() -> String;
    /// Appends the value.
    fn put(&self, writer: &mut Writer<'_>);
    /// Takes a value off the front.
    fn take(reader: &mut Reader<'_>) -> Result<Self, Malformed>;
}

macro_rules! integer_field {
    ($($ty:ident),*) => {$(
        impl Field for $ty {
            fn type_name() -> String { stringify!($ty).into() }
            fn put(&self, writer: &mut Writer<'_>) { writer.$ty(*self); }
            fn take(reader: &mut Reader<'_>) -> Result<Self, Malformed> { reader.$ty() }
        }
    )*};
}
integer_field!(u8, u16, u32, u64);

/// Encoded in two's complement.
impl Field for i32 {
    fn type_name() -> String {
        "i32".into()
    }
    fn put(&self, writer: &mut Writer<'_>) {
        writer.u32(self.cast_unsigned());
    }
    fn take(reader: &mut Reader<'_>) -> Result<Self, Malformed> {
        reader.u32().map(u32::cast_signed)
    }
}

impl Field for bool {
    fn type_name() -> String {
        "bool".into()
    }
    fn put(&self, writer: &mut Writer<'_>) {
        writer.u8(u8::from(*self));
    }
    fn take(reader: &mut Reader<'_>) -> Result<Self, Malformed> {
        match reader.u8()? {
            0 => Ok(false),
            1 => Ok(true),
            value => Err(Malformed::UnknownValue { of: "bool", value }),
        }
    }
}

impl<T: Field> Field for Option<T> {
    fn type_name() -> String {
        format!("option<{}>", T::type_name())
    }
    fn put(&self, writer: &mut Writer<'_>) {
        writer.u8(u8::from(self.is_some()));
        if let Some(value) = self {
            value.put(writer);
        }
    }
    fn take(reader: &mut Reader<'_>) -> Result<Self, Malformed> {
        match reader.u8()? {
            0 => Ok(None),
            1 => Ok(Some(T::take(reader)?)),
            value => Err(Malformed::UnknownValue { of: "option", value }),
        }
    }
}

impl<const N: usize> Field for [u8; N] {
    fn type_name() -> String {
        format!("byte[{N}]")
    }
    fn put(&self, writer: &mut Writer<'_>) {
        writer.bytes(self);
    }
    fn take(reader: &mut Reader<'_>) -> Result<Self, Malformed> {
        let mut value = [0; N];
        value.copy_from_slice(reader.bytes(N)?);
        Ok(value)
    }
}

/// A value that does not fit its field.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("{length} does not fit a field of at most {limit}")]
pub struct TooLong {
    /// Length of the value: bytes of a text, items of a list.
    pub length: usize,
    /// Limit of the field.
    pub limit: usize,
}

fn check_length(length: usize, limit: usize) -> Result<(), TooLong> {
    if length > limit { Err(TooLong { length, limit }) } else { Ok(()) }
}

fn take_text<'a>(reader: &mut Reader<'a>, limit: usize) -> Result<&'a str, Malformed> {
    let length = reader.length(limit)?;
    let bytes = reader.bytes(length)?;
    std::str::from_utf8(bytes).map_err(|_| Malformed::NotUtf8)
}

/// UTF-8 text of at most `MAX` bytes, encoded as a u16 length and the bytes. Short texts, such as
/// names, need no allocation: user lists hold thousands of them.
///
/// With `LINE`, the text has no control characters ([`is_control`]): a sender's are replaced, a
/// peer's make the packet malformed.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct Text<const MAX: usize, const LINE: bool = false>(SmolStr);

/// Text without control characters, which a log, a terminal or a page may show.
pub type Line<const MAX: usize> = Text<MAX, true>;

impl<const MAX: usize, const LINE: bool> Text<MAX, LINE> {
    /// Returns the text if it fits.
    pub fn new(text: impl AsRef<str>) -> Result<Self, TooLong> {
        let text = Self::cleaned(text.as_ref());
        check_length(text.len(), MAX)?;
        Ok(Self(SmolStr::new(text)))
    }

    /// Returns the longest prefix of `text` that fits and ends at a character boundary.
    pub fn truncated(text: &str) -> Self {
        let text = Self::cleaned(&text[..text.floor_char_boundary(MAX)]);
        Self(SmolStr::new(text))
    }

    /// Converts the text to a plain string.
    pub fn into_string(self) -> String {
        self.0.into()
    }

    /// Replaces the control characters of a line by one byte each, so that it grows no longer.
    fn cleaned(text: &str) -> Cow<'_, str> {
        if LINE && has_control(text) {
            text.chars().map(|c| if is_control(c) { '?' } else { c }).collect()
        } else {
            text.into()
        }
    }
}

impl<const MAX: usize, const LINE: bool> Deref for Text<MAX, LINE> {
    type Target = str;
    fn deref(&self) -> &str {
        &self.0
    }
}

impl<const MAX: usize, const LINE: bool> fmt::Debug for Text<MAX, LINE> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl<const MAX: usize, const LINE: bool> fmt::Display for Text<MAX, LINE> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl<const MAX: usize, const LINE: bool> Field for Text<MAX, LINE> {
    fn type_name() -> String {
        format!("{}({MAX})", if LINE { "line" } else { "text" })
    }
    fn put(&self, writer: &mut Writer<'_>) {
        writer.length(self.0.len());
        writer.bytes(self.0.as_bytes());
    }
    fn take(reader: &mut Reader<'_>) -> Result<Self, Malformed> {
        let text = take_text(reader, MAX)?;
        match text.chars().find(|c| LINE && is_control(*c)) {
            Some(control) => Err(Malformed::ControlCharacter(control.into())),
            None => Ok(Self(SmolStr::new(text))),
        }
    }
}

/// As [`Text`], but for passwords: wiped when dropped, and never shown by `Debug`.
#[derive(Clone, PartialEq, Eq)]
pub struct SecretText<const MAX: usize>(Zeroizing<String>);

impl<const MAX: usize> SecretText<MAX> {
    /// Returns the text if it fits.
    pub fn new(text: impl Into<String>) -> Result<Self, TooLong> {
        let text = Zeroizing::new(text.into());
        check_length(text.len(), MAX)?;
        Ok(Self(text))
    }

    /// Returns the secret text. Only the password hash and the wire read it.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl<const MAX: usize> fmt::Debug for SecretText<MAX> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[secret]")
    }
}

impl<const MAX: usize> Field for SecretText<MAX> {
    fn type_name() -> String {
        format!("text({MAX})")
    }
    fn put(&self, writer: &mut Writer<'_>) {
        writer.length(self.0.len());
        writer.bytes(self.0.as_bytes());
    }
    fn take(reader: &mut Reader<'_>) -> Result<Self, Malformed> {
        take_text(reader, MAX).map(|text| Self(Zeroizing::new(text.to_owned())))
    }
}

/// `N` bytes of a key: wiped when dropped, and never shown by `Debug`.
#[derive(Clone, PartialEq, Eq)]
pub struct SecretBytes<const N: usize>(Zeroizing<[u8; N]>);

impl<const N: usize> SecretBytes<N> {
    /// Wraps `bytes`.
    pub fn new(bytes: [u8; N]) -> Self {
        Self(Zeroizing::new(bytes))
    }

    /// Returns the secret bytes. Only ciphers and the wire read them.
    pub fn expose(&self) -> &[u8; N] {
        &self.0
    }
}

impl<const N: usize> fmt::Debug for SecretBytes<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[secret]")
    }
}

impl<const N: usize> Field for SecretBytes<N> {
    fn type_name() -> String {
        format!("byte[{N}]")
    }
    fn put(&self, writer: &mut Writer<'_>) {
        writer.bytes(&*self.0);
    }
    fn take(reader: &mut Reader<'_>) -> Result<Self, Malformed> {
        let mut value = Zeroizing::new([0; N]);
        value.copy_from_slice(reader.bytes(N)?);
        Ok(Self(value))
    }
}

/// At most `MAX` bytes, encoded as a u16 length and the bytes. `Debug` shows only the length,
/// because tickets travel this way.
#[derive(Clone, PartialEq, Eq, Hash, Default)]
pub struct Bytes<const MAX: usize>(Vec<u8>);

impl<const MAX: usize> Bytes<MAX> {
    /// Returns the bytes if they fit.
    pub fn new(bytes: impl Into<Vec<u8>>) -> Result<Self, TooLong> {
        let bytes = bytes.into();
        check_length(bytes.len(), MAX)?;
        Ok(Self(bytes))
    }
}

impl<const MAX: usize> Deref for Bytes<MAX> {
    type Target = [u8];
    fn deref(&self) -> &[u8] {
        &self.0
    }
}

impl<const MAX: usize> fmt::Debug for Bytes<MAX> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "[{} bytes]", self.0.len())
    }
}

impl<const MAX: usize> Field for Bytes<MAX> {
    fn type_name() -> String {
        format!("bytes({MAX})")
    }
    fn put(&self, writer: &mut Writer<'_>) {
        writer.length(self.0.len());
        writer.bytes(&self.0);
    }
    fn take(reader: &mut Reader<'_>) -> Result<Self, Malformed> {
        let length = reader.length(MAX)?;
        Ok(Self(reader.bytes(length)?.to_vec()))
    }
}

/// At most `MAX` items, encoded as a u16 count and the items.
#[derive(Clone, PartialEq, Eq)]
pub struct List<T, const MAX: usize>(Vec<T>);

impl<T, const MAX: usize> List<T, MAX> {
    /// Returns the list if it fits.
    pub fn new(items: Vec<T>) -> Result<Self, TooLong> {
        check_length(items.len(), MAX)?;
        Ok(Self(items))
    }

    /// Takes the first `MAX` of `items`; the rest stays in the iterator.
    pub fn take_from(items: &mut impl Iterator<Item = T>) -> Self {
        Self(items.take(MAX).collect())
    }

    /// Converts the list to a plain vector.
    pub fn into_vec(self) -> Vec<T> {
        self.0
    }
}

/// An empty list.
impl<T, const MAX: usize> Default for List<T, MAX> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<T, const MAX: usize> Deref for List<T, MAX> {
    type Target = [T];
    fn deref(&self) -> &[T] {
        &self.0
    }
}

impl<T: fmt::Debug, const MAX: usize> fmt::Debug for List<T, MAX> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl<T: Field, const MAX: usize> Field for List<T, MAX> {
    fn type_name() -> String {
        format!("list({MAX})<{}>", T::type_name())
    }
    fn put(&self, writer: &mut Writer<'_>) {
        writer.length(self.0.len());
        for item in &self.0 {
            item.put(writer);
        }
    }
    fn take(reader: &mut Reader<'_>) -> Result<Self, Malformed> {
        let count = reader.length(MAX)?;
        // Every item has at least one byte, so a false count allocates no more than was sent.
        let mut items = Vec::with_capacity(count.min(reader.remaining()));
        for _ in 0..count {
            items.push(T::take(reader)?);
        }
        Ok(Self(items))
    }
}
