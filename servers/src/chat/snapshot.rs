//! The state that users share as bytes, for a server that joins a fleet.
//!
//! A snapshot has the fold and the latest messages. Sessions, positions, keys and rates are each
//! server's own.

use std::time::Instant;

use throng_core::wire::packets::{ChannelName, Claim, User};
use throng_core::wire::{Field, Malformed, Reader, Writer};

use super::channels::{Channel, Channels};
use super::fact::Counts;
use super::history::{History, Series};
use super::users::{Membership, Presence, Users};
use super::world::World;

impl World {
    /// Appends the state.
    pub fn put(&self, writer: &mut Writer<'_>) {
        writer.u64(self.sequence());
        self.users.put(writer);
        self.channels.put(writer);
    }

    /// Replaces the state.
    pub fn take(&mut self, reader: &mut Reader<'_>) -> Result<(), Malformed> {
        let mut taken = Self::new(self.limits());
        taken.set_sequence(reader.u64()?);
        taken.users = Users::take(reader)?;
        taken.channels.take(reader)?;
        *self = taken;
        Ok(())
    }
}

impl Users {
    fn put(&self, writer: &mut Writer<'_>) {
        let (last_id, version, changed) = self.counters();
        writer.u32(last_id);
        writer.u64(version);
        writer.u32(changed.len() as u32);
        for id in changed {
            writer.u32(*id);
        }
        writer.u32(self.count());
        for presence in self.by_id() {
            presence.put(writer);
        }
    }

    fn take(reader: &mut Reader<'_>) -> Result<Self, Malformed> {
        let (last_id, version) = (reader.u32()?, reader.u64()?);
        let changed = (0..reader.u32()?).map(|_| reader.u32()).collect::<Result<_, _>>()?;
        let present = (0..reader.u32()?).map(|_| Presence::take(reader)).collect::<Result<Vec<_>, _>>()?;
        Ok(Self::restored(last_id, version, changed, present))
    }
}

impl Presence {
    fn put(&self, writer: &mut Writer<'_>) {
        let Self { user, claim, since, whispers, node, turn, token, counts, is_away, channels } = self;
        user.put(writer);
        claim.put(writer);
        writer.u64(*since);
        writer.u64(*whispers);
        for number in [node, turn, token] {
            writer.u32(*number);
        }
        counts.put(writer);
        is_away.put(writer);
        writer.u32(channels.len() as u32);
        for Membership { channel, since } in channels {
            writer.u32(*channel);
            writer.u64(*since);
        }
    }

    fn take(reader: &mut Reader<'_>) -> Result<Self, Malformed> {
        let (user, claim) = (User::take(reader)?, Claim::take(reader)?);
        let (since, whispers) = (reader.u64()?, reader.u64()?);
        let (node, turn, token) = (reader.u32()?, reader.u32()?, reader.u32()?);
        let counts = Counts::take(reader)?;
        let is_away = bool::take(reader)?;
        let memberships = (0..reader.u32()?).map(|_| {
            let (channel, since) = (reader.u32()?, reader.u64()?);
            Ok(Membership { channel, since })
        });
        let channels = memberships.collect::<Result<_, _>>()?;
        Ok(Self { user, claim, since, whispers, node, turn, token, counts, is_away, channels })
    }
}

impl Channels {
    fn put(&self, writer: &mut Writer<'_>) {
        writer.u32(self.last_number());
        writer.u32(self.count() as u32);
        for (number, channel) in self.by_number() {
            writer.u32(number);
            channel.put(writer);
        }
    }

    fn take(&mut self, reader: &mut Reader<'_>) -> Result<(), Malformed> {
        let last = reader.u32()?;
        for _ in 0..reader.u32()? {
            let number = reader.u32()?;
            self.restore(number, Channel::take(reader)?);
        }
        self.set_last_number(last);
        Ok(())
    }
}

impl Channel {
    fn put(&self, writer: &mut Writer<'_>) {
        self.name().put(writer);
        writer.u32(self.owner());
        writer.u64(self.list_state().version);
        writer.u64(self.sequence());
        writer.u32(self.list_state().head_count);
        self.members_after(0).for_each(|member| writer.u32(member));
    }

    fn take(reader: &mut Reader<'_>) -> Result<Self, Malformed> {
        let (name, owner) = (ChannelName::take(reader)?, reader.u32()?);
        let (version, sequence) = (reader.u64()?, reader.u64()?);
        let members = (0..reader.u32()?).map(|_| reader.u32()).collect::<Result<_, _>>()?;
        Ok(Self::restored(name, owner, members, version, sequence))
    }
}

impl History {
    /// Appends the messages of rooms, and whispers. Answers are each server's own.
    pub fn put(&self, writer: &mut Writer<'_>) {
        let shared: Vec<_> = self.series().filter(|series| !matches!(series, Series::Answers(_))).collect();
        writer.u32(shared.len() as u32);
        for series in shared {
            let (kind, number) = match series {
                Series::Room(room) => (0, room),
                Series::Whispers(user) | Series::Answers(user) => (1, user),
            };
            writer.u8(kind);
            writer.u32(number);
            let messages = || self.from(series, 0);
            writer.u64(messages().next().map_or(0, |(number, _)| number));
            writer.u32(messages().count() as u32);
            for (_, message) in messages() {
                writer.u16(message.len() as u16);
                writer.bytes(message);
            }
        }
    }

    /// Adds the messages of a snapshot to an empty history. Their age begins anew.
    pub fn take(&mut self, reader: &mut Reader<'_>, now: Instant) -> Result<(), Malformed> {
        for _ in 0..reader.u32()? {
            let (kind, number) = (reader.u8()?, reader.u32()?);
            let series = if kind == 0 { Series::Room(number) } else { Series::Whispers(number) };
            let first = reader.u64()?;
            for at in 0..u64::from(reader.u32()?) {
                let length = reader.u16()?;
                let message = reader.bytes(length.into())?;
                self.push(series, first.saturating_add(at), now, |out| out.extend_from_slice(message));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;
    use crate::chat::HistoryLimits;
    use crate::chat::world::tests::{LIMITS, fact};

    proptest! {
        #[test]
        fn a_fold_goes_on_from_a_snapshot_as_from_itself(
            before in prop::collection::vec(fact(), 0..100),
            after in prop::collection::vec(fact(), 0..50),
        ) {
            let mut world = World::new(LIMITS);
            for fact in before {
                let _ = world.apply(1, fact);
            }
            let mut encoded = Vec::new();
            world.put(&mut Writer::new(&mut encoded));
            let mut other = World::new(LIMITS);
            let mut reader = Reader::new(&encoded);
            other.take(&mut reader).unwrap();
            prop_assert_eq!(reader.remaining(), 0);
            prop_assert_eq!(other.digest(), world.digest());
            for fact in after {
                prop_assert_eq!(other.apply(1, fact.clone()), world.apply(1, fact));
            }
            prop_assert_eq!(other.digest(), world.digest());
            for cut in (0..encoded.len()).step_by(7) {
                prop_assert!(World::new(LIMITS).take(&mut Reader::new(&encoded[..cut])).is_err());
            }
        }
    }

    #[test]
    fn messages_keep_their_numbers() {
        let limits = HistoryLimits { pool: 1 << 20, messages: 5, own: 5, age: Duration::from_mins(1) };
        let now = Instant::now();
        let (mut history, mut other) = (History::new(limits), History::new(limits));
        for number in 10..40u64 {
            for series in [Series::Room(0), Series::Whispers(3), Series::Answers(3)] {
                history.push(series, number, now, |out| out.extend_from_slice(&number.to_le_bytes()));
            }
        }
        let mut encoded = Vec::new();
        history.put(&mut Writer::new(&mut encoded));
        other.take(&mut Reader::new(&encoded), now).unwrap();
        let kept = |history: &History, series| -> Vec<(u64, Vec<u8>)> {
            history.from(series, 0).map(|(number, message)| (number, message.to_vec())).collect()
        };
        for series in [Series::Room(0), Series::Whispers(3)] {
            let wanted = kept(&history, series);
            assert!(wanted.len() >= 5 && wanted.ends_with(&[(39, 39u64.to_le_bytes().to_vec())]));
            assert_eq!(kept(&other, series), wanted);
        }
        assert!(kept(&other, Series::Answers(3)).is_empty());
    }
}
