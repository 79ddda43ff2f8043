//! AES-256-GCM, by ring.

use ring::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};

use crate::limits::SEAL_TAG;

/// An expanded key. Unlike the key that it is made of, it is not wiped when it is dropped.
pub(super) struct Cipher(LessSafeKey);

/// A nonce; the caller uses each once with a key.
pub(super) type NonceBytes = [u8; 12];

impl Cipher {
    pub(super) fn new(key: &[u8; 32]) -> Self {
        let key = UnboundKey::new(&AES_256_GCM, key).expect("the algorithm takes keys of 32 bytes");
        Self(LessSafeKey::new(key))
    }

    /// Encrypts in place. Returns the tag, which covers `authenticated` as well.
    pub(super) fn seal(&self, nonce: NonceBytes, authenticated: &[u8], plain: &mut [u8]) -> [u8; SEAL_TAG] {
        let nonce = Nonce::assume_unique_for_key(nonce);
        let tag = self.0.seal_in_place_separate_tag(nonce, Aad::from(authenticated), plain);
        let tag = tag.expect("a frame is far below AES-GCM's 64 GiB");
        tag.as_ref().try_into().expect("the algorithm's tag has 16 bytes")
    }

    /// Decrypts in place a text that its tag follows. Returns the plaintext, or `None` if the seal
    /// is broken; nothing can be said of the text then.
    pub(super) fn open<'a>(
        &self,
        nonce: NonceBytes,
        authenticated: &[u8],
        sealed: &'a mut [u8],
    ) -> Option<&'a mut [u8]> {
        let nonce = Nonce::assume_unique_for_key(nonce);
        self.0.open_in_place(nonce, Aad::from(authenticated), sealed).ok()
    }
}
