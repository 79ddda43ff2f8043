//! Sealing of what the chat servers of a fleet tell each other by way of a bus.
//!
//! The operator of the bus may read and change what it carries, so every piece is sealed with a key
//! of its own purpose:
//!
//! ```text
//! batch        instance (8) | counter (8) | sealed | tag (16)   nonce: counter
//! snapshot     salt (16) | sealed | tag (16)                    nonce: 0
//! description  epoch (16) | sealed | tag (16)                   nonce: 0
//! ```
//!
//! Keys are HKDF-SHA256 of the cluster key. The info is "throng fleet batch v1", "throng fleet
//! snapshot v1" or "throng fleet world v1", the salt `epoch | instance`, `epoch | salt` or `epoch`.
//! Numbers are little-endian, and what stands in the clear is authenticated. A node draws its
//! instance at its start and counts its batches, and sends a batch anew unchanged, so no nonce
//! seals two texts. The sequence of a snapshot is authenticated with it. An epoch has one
//! description.

use super::cipher::{Cipher, NonceBytes};
use super::keys::ClusterKey;
use super::resume::Epoch;
use crate::limits::SEAL_TAG;

/// Bytes of a sealed batch in front of its text.
const BATCH_HEAD: usize = 16;

const SALT: usize = 16;

/// A batch that was opened.
#[derive(Debug, PartialEq, Eq)]
pub struct OpenedBatch {
    /// The node that sent it.
    pub instance: u64,
    /// Its number among those of the node.
    pub counter: u64,
    /// The text.
    pub text: Vec<u8>,
}

/// Seals and opens what belongs to one epoch.
pub struct FleetKeys {
    cluster: ClusterKey,
    epoch: Epoch,
    /// The latest ciphers for batches, by the node; few nodes take turns.
    batches: Vec<(u64, Cipher)>,
}

/// Ciphers that are kept; deriving one takes some microseconds.
const CIPHERS_KEPT: usize = 64;

impl FleetKeys {
    /// Returns the keys of an epoch.
    pub fn new(cluster: ClusterKey, epoch: Epoch) -> Self {
        Self { cluster, epoch, batches: Vec::new() }
    }

    /// Returns the epoch.
    pub fn epoch(&self) -> Epoch {
        self.epoch
    }

    fn batch_cipher(&mut self, instance: u64) -> &Cipher {
        let at = self.batches.iter().position(|(of, _)| *of == instance);
        let at = at.unwrap_or_else(|| {
            if self.batches.len() >= CIPHERS_KEPT {
                self.batches.remove(0);
            }
            let salt = [&self.epoch[..], &instance.to_le_bytes()].concat();
            let key = self.cluster.derive(b"throng fleet batch v1", &salt);
            self.batches.push((instance, Cipher::new(&key)));
            self.batches.len() - 1
        });
        &self.batches[at].1
    }

    /// Seals a batch. A batch with this instance and this counter must always have the same text.
    pub fn seal_batch(&mut self, instance: u64, counter: u64, text: &[u8]) -> Vec<u8> {
        let mut out = Vec::with_capacity(BATCH_HEAD + text.len() + SEAL_TAG);
        out.extend_from_slice(&instance.to_le_bytes());
        out.extend_from_slice(&counter.to_le_bytes());
        out.extend_from_slice(text);
        let (head, sealed) = out.split_at_mut(BATCH_HEAD);
        let tag = self.batch_cipher(instance).seal(nonce(counter), head, sealed);
        out.extend_from_slice(&tag);
        out
    }

    /// Opens a batch. Returns `None` if it is of another epoch, or was not sealed by a holder of
    /// the cluster key.
    pub fn open_batch(&mut self, bytes: &[u8]) -> Option<OpenedBatch> {
        let (head, sealed) = bytes.split_at_checked(BATCH_HEAD)?;
        let (instance, counter) = head.split_at(8);
        let instance = u64::from_le_bytes(instance.try_into().ok()?);
        let counter = u64::from_le_bytes(counter.try_into().ok()?);
        let mut sealed = sealed.to_vec();
        let length = self.batch_cipher(instance).open(nonce(counter), head, &mut sealed)?.len();
        sealed.truncate(length);
        Some(OpenedBatch { instance, counter, text: sealed })
    }

    fn snapshot_cipher(&self, salt: &[u8]) -> Cipher {
        Cipher::new(&self.cluster.derive(b"throng fleet snapshot v1", &[&self.epoch[..], salt].concat()))
    }

    /// Seals the state at a sequence. `salt` is drawn at random.
    pub fn seal_snapshot(&self, sequence: u64, salt: [u8; SALT], state: &[u8]) -> Vec<u8> {
        let mut out = Vec::with_capacity(SALT + state.len() + SEAL_TAG);
        out.extend_from_slice(&salt);
        out.extend_from_slice(state);
        let sealed = &mut out[SALT..];
        let tag = self.snapshot_cipher(&salt).seal(nonce(0), &sequence.to_le_bytes(), sealed);
        out.extend_from_slice(&tag);
        out
    }

    /// Opens the state at a sequence. Returns `None` if it is of another epoch or sequence.
    pub fn open_snapshot(&self, sequence: u64, bytes: &[u8]) -> Option<Vec<u8>> {
        let (salt, sealed) = bytes.split_at_checked(SALT)?;
        let mut sealed = sealed.to_vec();
        let cipher = self.snapshot_cipher(salt);
        let length = cipher.open(nonce(0), &sequence.to_le_bytes(), &mut sealed)?.len();
        sealed.truncate(length);
        Some(sealed)
    }

    /// Seals the description of the epoch's world.
    pub fn seal_world(&self, text: &[u8]) -> Vec<u8> {
        let mut out = [&self.epoch[..], text].concat();
        let (head, sealed) = out.split_at_mut(self.epoch.len());
        let tag = world_cipher(&self.cluster, &self.epoch).seal(nonce(0), head, sealed);
        out.extend_from_slice(&tag);
        out
    }
}

/// Opens the description of a world, and returns its epoch with it. Returns `None` if it was not
/// sealed by a holder of the cluster key.
pub fn open_world(cluster: &ClusterKey, bytes: &[u8]) -> Option<(Epoch, Vec<u8>)> {
    let (head, sealed) = bytes.split_first_chunk::<16>()?;
    let mut sealed = sealed.to_vec();
    let length = world_cipher(cluster, head).open(nonce(0), head, &mut sealed)?.len();
    sealed.truncate(length);
    Some((*head, sealed))
}

fn world_cipher(cluster: &ClusterKey, epoch: &Epoch) -> Cipher {
    Cipher::new(&cluster.derive(b"throng fleet world v1", epoch))
}

fn nonce(counter: u64) -> NonceBytes {
    let mut nonce = [0; 12];
    nonce[..8].copy_from_slice(&counter.to_le_bytes());
    nonce
}

impl std::fmt::Debug for FleetKeys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("FleetKeys([secret])")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(cluster: u8, epoch: u8) -> FleetKeys {
        FleetKeys::new(ClusterKey::from_bytes([cluster; 32]), [epoch; 16])
    }

    /// Every byte counts, and so do the key and the epoch.
    fn opens_only_unchanged(sealed: &[u8], open: impl Fn(&mut FleetKeys, &[u8]) -> bool) {
        assert!(open(&mut keys(1, 2), sealed));
        for at in 0..sealed.len() {
            let mut changed = sealed.to_vec();
            changed[at] ^= 1;
            assert!(!open(&mut keys(1, 2), &changed), "byte {at}");
            assert!(!open(&mut keys(1, 2), &sealed[..at]), "{at} bytes");
        }
        assert!(!open(&mut keys(1, 3), sealed) && !open(&mut keys(2, 2), sealed));
    }

    #[test]
    fn a_piece_opens_unchanged_in_its_epoch_and_with_its_key_only() {
        let mut mine = keys(1, 2);
        let batch = mine.seal_batch(5, 7, b"facts");
        let opened = OpenedBatch { instance: 5, counter: 7, text: b"facts".to_vec() };
        assert_eq!(keys(1, 2).open_batch(&batch).as_ref(), Some(&opened));
        opens_only_unchanged(&batch, |keys, bytes| keys.open_batch(bytes).is_some());

        let snapshot = mine.seal_snapshot(9, [4; 16], b"state");
        assert_eq!(mine.open_snapshot(9, &snapshot).as_deref(), Some(&b"state"[..]));
        assert_eq!(mine.open_snapshot(8, &snapshot), None);
        opens_only_unchanged(&snapshot, |keys, bytes| keys.open_snapshot(9, bytes).is_some());

        let world = mine.seal_world(b"limits");
        let open = |keys: &mut FleetKeys, bytes: &[u8]| {
            open_world(&keys.cluster, bytes).is_some_and(|(epoch, _)| epoch == keys.epoch)
        };
        opens_only_unchanged(&world, open);
        assert_eq!(open_world(&mine.cluster, &world), Some(([2; 16], b"limits".to_vec())));
    }

    #[test]
    fn ciphers_of_more_nodes_than_are_kept_still_open() {
        let (mut one, mut other) = (keys(1, 2), keys(1, 2));
        for round in 1..3 {
            for instance in 0..2 * CIPHERS_KEPT as u64 {
                let batch = one.seal_batch(instance, round, b"x");
                assert!(other.open_batch(&batch).is_some());
            }
        }
        assert_eq!((one.batches.len(), other.batches.len()), (CIPHERS_KEPT, CIPHERS_KEPT));
    }
}
