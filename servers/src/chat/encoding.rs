//! Facts as bytes, for the servers of a fleet.
//!
//! Each kind has a number; what follows is in the order of its fields, as the wire format has them.

use throng_core::wire::packets::Scope;
use throng_core::wire::{Field, Malformed, Reader, Writer};

use super::fact::{Counts, Deed, Departure, Fact, Words};

impl Fact {
    /// Appends the fact.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let writer = &mut Writer::new(out);
        match self {
            Self::Entered { name, claim } => {
                writer.u8(0);
                name.put(writer);
                claim.put(writer);
            }
            Self::Left { user, turn, departure } => {
                writer.u8(1);
                writer.u32(*user);
                writer.u32(*turn);
                writer.u8(u8::from(*departure == Departure::Kicked));
            }
            Self::Away { user, turn, counts } => {
                writer.u8(2);
                writer.u32(*user);
                writer.u32(*turn);
                counts.put(writer);
            }
            Self::Back { user, token, counts } => {
                writer.u8(3);
                writer.u32(*user);
                writer.u32(*token);
                counts.is_some().put(writer);
                if let Some(counts) = counts {
                    counts.put(writer);
                }
            }
            Self::Did { user, turn, counts, deed } => {
                writer.u8(4);
                writer.u32(*user);
                writer.u32(*turn);
                counts.put(writer);
                deed.put(writer);
            }
        }
    }

    /// Takes the next fact.
    pub fn decode(reader: &mut Reader<'_>) -> Result<Self, Malformed> {
        Ok(match reader.u8()? {
            0 => Self::Entered { name: Field::take(reader)?, claim: Field::take(reader)? },
            1 => {
                let (user, turn) = (reader.u32()?, reader.u32()?);
                let departure = if bool::take(reader)? { Departure::Kicked } else { Departure::Voluntary };
                Self::Left { user, turn, departure }
            }
            2 => Self::Away { user: reader.u32()?, turn: reader.u32()?, counts: Counts::take(reader)? },
            3 => {
                let (user, token) = (reader.u32()?, reader.u32()?);
                let counts = if bool::take(reader)? { Some(Counts::take(reader)?) } else { None };
                Self::Back { user, token, counts }
            }
            4 => Self::Did {
                user: reader.u32()?,
                turn: reader.u32()?,
                counts: Counts::take(reader)?,
                deed: Deed::take(reader)?,
            },
            value => return Err(Malformed::UnknownValue { of: "fact", value }),
        })
    }
}

impl Counts {
    /// Appends the counts.
    pub fn put(&self, writer: &mut Writer<'_>) {
        writer.u32(self.handled);
        writer.u32(self.answers);
    }

    /// Takes counts.
    pub fn take(reader: &mut Reader<'_>) -> Result<Self, Malformed> {
        Ok(Self { handled: reader.u32()?, answers: reader.u32()? })
    }
}

impl Deed {
    fn put(&self, writer: &mut Writer<'_>) {
        match self {
            Self::MakeChannel(name) => {
                writer.u8(0);
                name.put(writer);
            }
            Self::Join { channel } => {
                writer.u8(1);
                writer.u32(*channel);
            }
            Self::Part { channel } => {
                writer.u8(2);
                writer.u32(*channel);
            }
            Self::Kick { channel, member } => {
                writer.u8(3);
                writer.u32(*channel);
                writer.u32(*member);
            }
            Self::Say(words) => {
                writer.u8(4);
                words.put(writer);
            }
            Self::SayNearby { sector: (column, row), words } => {
                writer.u8(5);
                column.put(writer);
                row.put(writer);
                words.put(writer);
            }
        }
    }

    fn take(reader: &mut Reader<'_>) -> Result<Self, Malformed> {
        Ok(match reader.u8()? {
            0 => Self::MakeChannel(Field::take(reader)?),
            1 => Self::Join { channel: reader.u32()? },
            2 => Self::Part { channel: reader.u32()? },
            3 => Self::Kick { channel: reader.u32()?, member: reader.u32()? },
            4 => Self::Say(Words::take(reader)?),
            5 => {
                let sector = (i32::take(reader)?, i32::take(reader)?);
                Self::SayNearby { sector, words: Words::take(reader)? }
            }
            value => return Err(Malformed::UnknownValue { of: "deed", value }),
        })
    }
}

impl Words {
    fn put(&self, writer: &mut Writer<'_>) {
        let Self { scope, target, stamp, times, text } = self;
        scope.put(writer);
        writer.u32(*target);
        writer.u64(*stamp);
        times.put(writer);
        text.put(writer);
    }

    fn take(reader: &mut Reader<'_>) -> Result<Self, Malformed> {
        Ok(Self {
            scope: Scope::take(reader)?,
            target: reader.u32()?,
            stamp: reader.u64()?,
            times: Field::take(reader)?,
            text: Field::take(reader)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::chat::world::tests::fact;

    proptest! {
        #[test]
        fn facts_survive_their_encoding(facts in prop::collection::vec(fact(), 0..20), cut in 0..500usize) {
            let mut encoded = Vec::new();
            for fact in &facts {
                fact.encode(&mut encoded);
            }
            let mut reader = Reader::new(&encoded);
            let mut decoded = Vec::new();
            while reader.remaining() > 0 {
                decoded.push(Fact::decode(&mut reader).unwrap());
            }
            prop_assert_eq!(decoded, facts);
            // Bytes that are cut short are refused, and nothing panics.
            let mut reader = Reader::new(&encoded[..cut.min(encoded.len())]);
            while reader.remaining() > 0 && Fact::decode(&mut reader).is_ok() {}
        }

        #[test]
        fn no_bytes_make_the_decoder_panic(bytes in prop::collection::vec(any::<u8>(), 0..100)) {
            let _ = Fact::decode(&mut Reader::new(&bytes));
        }
    }
}
