//! Sealing with a session's keys: AES-256-GCM, with one key and one counter for each direction.

use thiserror::Error;
use zeroize::Zeroizing;

use super::cipher::{Cipher, NonceBytes};
use crate::limits::{FRAME_HEADER, REKEY_INTERVAL, SEAL_TAG};
use crate::wire::frame::{self, Kind};

/// A sealed frame that did not open: it was changed, replayed, reordered or forged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("the frame's seal is broken")]
pub struct SealBroken;

/// One direction of a session: its key and the number of the next frame.
///
/// Both ends count frames, so the number is not sent, and a frame opens only if it is exactly the
/// next one. The number makes the nonce (Noise, section 12.4: four zero bytes, then the number as 8
/// bytes big-endian), and the frame's header is authenticated. No nonce is used twice because the
/// counter only goes up. The key is replaced long before AES-GCM's limits (see [`REKEY_INTERVAL`]).
///
/// The key is kept as 32 raw bytes and expanded for each frame: expanding takes some hundred
/// nanoseconds, and an expanded key would take half a kilobyte for every idle session.
pub struct DirectionKey {
    key: Zeroizing<[u8; 32]>,
    next: u64,
}

impl DirectionKey {
    /// Returns a direction that starts with `key` at frame 0.
    pub fn new(key: [u8; 32]) -> Self {
        Self { key: Zeroizing::new(key), next: 0 }
    }

    /// Appends one sealed frame to `out`; `write` appends its plaintext.
    pub fn seal(&mut self, out: &mut Vec<u8>, write: impl FnOnce(&mut Vec<u8>)) {
        let start = out.len();
        out.extend_from_slice(&[0; FRAME_HEADER]);
        write(out);
        let body = out.len() - start - FRAME_HEADER + SEAL_TAG;
        let header = frame::header(Kind::Sealed, body);
        out[start..start + FRAME_HEADER].copy_from_slice(&header);
        let (cipher, nonce) = self.advance();
        let tag = cipher.seal(nonce, &header, &mut out[start + FRAME_HEADER..]);
        out.extend_from_slice(&tag);
    }

    /// Opens one whole sealed frame, header included, in place and returns its plaintext.
    pub fn open<'a>(&mut self, frame: &'a mut [u8]) -> Result<&'a [u8], SealBroken> {
        let (header, sealed) = frame.split_at_mut_checked(FRAME_HEADER).ok_or(SealBroken)?;
        let (cipher, nonce) = self.advance();
        cipher.open(nonce, header, sealed).map(|plain| &*plain).ok_or(SealBroken)
    }

    /// Returns the cipher and nonce of the next frame.
    fn advance(&mut self) -> (Cipher, NonceBytes) {
        if self.next != 0 && self.next.is_multiple_of(REKEY_INTERVAL) {
            self.key = rekey(&self.key);
        }
        let cipher = Cipher::new(&self.key);
        let nonce = nonce(self.next);
        self.next += 1;
        (cipher, nonce)
    }
}

/// Returns the nonce of frame `number` (Noise, section 12.4).
pub(super) fn nonce(number: u64) -> NonceBytes {
    let mut nonce = [0; 12];
    nonce[4..].copy_from_slice(&number.to_be_bytes());
    nonce
}

/// Noise's REKEY (section 4.2): seals 32 zeros with the highest nonce and returns the first 32
/// bytes.
fn rekey(key: &[u8; 32]) -> Zeroizing<[u8; 32]> {
    let mut next = Zeroizing::new([0; 32]);
    Cipher::new(key).seal(nonce(u64::MAX), &[], &mut next[..]);
    next
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pair() -> (DirectionKey, DirectionKey) {
        (DirectionKey::new([42; 32]), DirectionKey::new([42; 32]))
    }

    fn sealed(key: &mut DirectionKey, text: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        key.seal(&mut out, |out| out.extend_from_slice(text));
        out
    }

    #[test]
    fn frames_open_in_order_and_only_once() {
        let (mut alice, mut bob) = pair();
        let first = sealed(&mut alice, b"one");
        let second = sealed(&mut alice, b"two");
        assert_eq!(bob.open(&mut first.clone()), Ok(&b"one"[..]));
        assert_eq!(bob.open(&mut second.clone()), Ok(&b"two"[..]));
        assert_eq!(bob.open(&mut second.clone()), Err(SealBroken), "a replay");
        let (_, mut carol) = pair();
        assert_eq!(carol.open(&mut second.clone()), Err(SealBroken), "out of order");
    }

    #[test]
    fn any_flipped_bit_breaks_the_seal() {
        let frame = sealed(&mut pair().0, b"hello");
        for bit in 0..frame.len() * 8 {
            let mut changed = frame.clone();
            changed[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(pair().1.open(&mut changed), Err(SealBroken), "bit {bit}");
        }
        for length in 0..frame.len() {
            assert_eq!(pair().1.open(&mut frame[..length].to_vec()), Err(SealBroken));
        }
    }

    #[test]
    fn both_ends_replace_the_key_at_the_same_frame() {
        let (mut alice, mut bob) = pair();
        alice.next = REKEY_INTERVAL - 1;
        bob.next = REKEY_INTERVAL - 1;
        let old = alice.key.clone();
        for text in [b"before", b"after1", b"after2"] {
            assert_eq!(bob.open(&mut sealed(&mut alice, text)), Ok(&text[..]));
        }
        assert_ne!(alice.key, old);
        assert_eq!(alice.key, bob.key);
        assert_eq!(alice.next, REKEY_INTERVAL + 2, "the counter goes on");
    }

    #[test]
    fn vectors_of_the_protocol_document() {
        let mut key = DirectionKey::new(std::array::from_fn(|i| i as u8));
        assert_eq!(hex::encode(sealed(&mut key, b"throng")), crate::wire::doc_vector("sealed frame 0"),);
        assert_eq!(hex::encode(sealed(&mut key, b"throng")), crate::wire::doc_vector("sealed frame 1"),);
        assert_eq!(hex::encode(*rekey(&key.key)), crate::wire::doc_vector("rekeyed"));
    }
}
