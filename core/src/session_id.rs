//! Name of a session: shard, slot and generation.

use std::fmt;

/// Name of one session of one role, unique for the life of the process.
///
/// A slot is reused after its session is gone; a generation is not, until 2^32 sessions have had
/// the slot. A `SessionId` that turns up late, in an event, a job, a reply, a command or a timer,
/// therefore matches no session and is dropped.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SessionId(u64);

impl SessionId {
    /// Creates the id of a session of `shard`, in `slot` (24 bits), of `generation`.
    pub fn new(shard: u8, slot: u32, generation: u32) -> Self {
        debug_assert!(slot < 1 << 24);
        Self(u64::from(generation) << 32 | u64::from(shard) << 24 | u64::from(slot))
    }

    /// Returns the number of the shard that owns the session.
    pub fn shard(self) -> usize {
        (self.0 >> 24) as usize & 0xff
    }

    /// Returns the session's slot in its shard's table.
    pub fn slot(self) -> usize {
        self.0 as usize & 0x00ff_ffff
    }

    /// Returns the number of sessions that had the slot before.
    pub fn generation(self) -> u32 {
        (self.0 >> 32) as u32
    }

    /// Returns the id as one number, for the poller's token.
    pub fn to_bits(self) -> u64 {
        self.0
    }

    /// Creates the id of a number that [`Self::to_bits`] returned.
    pub fn from_bits(bits: u64) -> Self {
        Self(bits)
    }
}

impl fmt::Debug for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}#{}", self.shard(), self.slot(), self.generation())
    }
}

impl fmt::Display for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_parts_of_an_id_survive_packing() {
        let id = SessionId::new(63, 0x00ab_cdef, u32::MAX);
        assert_eq!((id.shard(), id.slot(), id.generation()), (63, 0x00ab_cdef, u32::MAX));
        assert_eq!(SessionId::from_bits(id.to_bits()), id);
        assert_ne!(id, SessionId::new(63, 0x00ab_cdef, 0));
        assert_eq!(id.to_string(), "63.11259375#4294967295");
    }
}
