//! State of a shard that only dialing programs use: the load harness and its test servers.

use std::collections::HashSet;

use crate::SessionId;
use crate::crypto::{FrameCache, RoomCipher};
use crate::session::Session;
use crate::wire::SecretBytes;

/// State for dialed sessions.
#[derive(Default)]
pub(super) struct DialSide {
    pub(super) ciphers: Ciphers,
    /// Fan-out time of the packet that the application is being given, in microseconds.
    pub(super) fan_out_us: Option<u32>,
    /// Serial number of that packet's frame.
    pub(super) frame_serial: Option<u64>,
    /// Sessions that are not read for now. They are few, so a set costs less than a flag in each
    /// session.
    paused: HashSet<SessionId>,
}

impl DialSide {
    /// Notes what belongs to the packet that the application is given next.
    pub(super) fn describe(&mut self, session: &Session) {
        (self.fan_out_us, self.frame_serial) = (session.fan_out_us(), session.frame_serial());
    }

    pub(super) fn is_paused(&self, id: SessionId) -> bool {
        !self.paused.is_empty() && self.paused.contains(&id)
    }

    pub(super) fn pause(&mut self, id: SessionId) {
        self.paused.insert(id);
    }

    /// Returns true if the session was paused.
    pub(super) fn resume(&mut self, id: SessionId) -> bool {
        self.paused.remove(&id)
    }
}

/// Expanded room keys, shared by all dialed sessions of a shard: ten thousand members of a room
/// need one.
#[derive(Default)]
pub(super) struct Ciphers {
    known: Vec<(SecretBytes<32>, RoomCipher)>,
    /// Frames that members have opened; the others compare theirs. Made with the first key, so that
    /// a server has none.
    frames: Option<FrameCache>,
}

impl Ciphers {
    /// Expanded keys that are kept. A further one evicts the oldest; sessions that use it keep
    /// their copy.
    const KEPT: usize = 64;

    pub(super) fn expand(&mut self, secret: &SecretBytes<32>) -> RoomCipher {
        if let Some((_, cipher)) = self.known.iter().rev().find(|(known, _)| known == secret) {
            return cipher.clone();
        }
        if self.known.len() == Self::KEPT {
            self.known.remove(0);
        }
        let cipher = RoomCipher::sharing(secret, self.frames.get_or_insert_default());
        self.known.push((secret.clone(), cipher.clone()));
        cipher
    }
}
