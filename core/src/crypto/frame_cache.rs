//! Room frames that were opened lately, so that thousands of members in one process decrypt each
//! frame once.
//!
//! Every member of a room receives the same sealed bytes. A frame is taken from the cache only if
//! its key is the one that opened the cached frame, and header, number, ciphertext and tag are
//! equal byte for byte: decrypting it could only repeat the earlier result. Any other frame is
//! decrypted. The fan-out time is not authenticated, and is not compared.

use std::fmt;
use std::sync::{Arc, Mutex};

use zeroize::Zeroizing;

use crate::limits::{ROOM_AUTHENTICATED, ROOM_SEALED, SEAL_TAG};

/// Frames kept; a power of two. A large room has some hundred messages on their way to its members.
/// A frame is kept sealed and plain, so the cache has at most 16 MiB.
const KEPT: usize = 512;

/// Room frames opened lately by the sessions of one event loop.
pub struct FrameCache {
    slots: Arc<Mutex<Slots>>,
    /// Keys numbered so far.
    keys: u64,
}

/// The frames of one key in a [`FrameCache`].
#[derive(Clone)]
pub(super) struct OpenedFrames {
    slots: Arc<Mutex<Slots>>,
    /// Number of the key. Numbers are not used twice, so a key is not taken for an evicted one.
    key: u64,
}

struct Slots {
    slots: Vec<Slot>,
    /// Frames decrypted so far.
    serial: u64,
}

/// The result of opening a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Outcome {
    Broken,
    /// Opened. Copies of one frame share a serial number, and no other frame has it.
    Opened(Option<u64>),
}

#[derive(Clone, Default)]
struct Slot {
    /// The key that opened the frame; 0 for none.
    key: u64,
    serial: u64,
    /// The frame as it was received.
    sealed: Vec<u8>,
    plain: Zeroizing<Vec<u8>>,
}

impl Default for FrameCache {
    fn default() -> Self {
        Self { slots: Arc::new(Mutex::new(Slots { slots: vec![Slot::default(); KEPT], serial: 0 })), keys: 0 }
    }
}

impl fmt::Debug for FrameCache {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FrameCache").field("keys", &self.keys).finish_non_exhaustive()
    }
}

impl FrameCache {
    /// Returns the frames, none yet, of a further key.
    pub(super) fn of_new_key(&mut self) -> OpenedFrames {
        self.keys += 1;
        OpenedFrames { slots: self.slots.clone(), key: self.keys }
    }
}

impl OpenedFrames {
    /// Opens a whole frame with this number in place: from the cache, or else by `decrypt`, which
    /// returns false if the seal is broken.
    pub(super) fn open(
        &self,
        number: u64,
        frame: &mut [u8],
        decrypt: impl FnOnce(&mut [u8]) -> bool,
    ) -> Outcome {
        // Only sessions of one event loop share the cache, so the lock is free.
        let Ok(mut slots) = self.slots.try_lock() else {
            return if decrypt(frame) { Outcome::Opened(None) } else { Outcome::Broken };
        };
        let Slots { slots, serial } = &mut *slots;
        let place = number.wrapping_add(self.key.wrapping_mul(KEPT as u64 / 8 + 1)) as usize % KEPT;
        let slot = &mut slots[place];
        let sealed = ROOM_SEALED..frame.len() - SEAL_TAG;
        if slot.is_of(self.key, frame) {
            frame[sealed].copy_from_slice(&slot.plain);
            return Outcome::Opened(Some(slot.serial));
        }
        slot.key = 0;
        slot.sealed.clear();
        slot.sealed.extend_from_slice(frame);
        if !decrypt(frame) {
            return Outcome::Broken;
        }
        slot.plain.clear();
        slot.plain.extend_from_slice(&frame[sealed]);
        *serial += 1;
        (slot.key, slot.serial) = (self.key, *serial);
        Outcome::Opened(Some(slot.serial))
    }
}

impl Slot {
    /// Returns true if `frame` is sealed exactly as the cached one, by the same key.
    fn is_of(&self, key: u64, frame: &[u8]) -> bool {
        self.key == key
            && self.sealed.len() == frame.len()
            && self.sealed[..ROOM_AUTHENTICATED] == frame[..ROOM_AUTHENTICATED]
            && self.sealed[ROOM_SEALED..] == frame[ROOM_SEALED..]
    }
}
