//! Resume tokens: each proves that its bearer is a user's client whose connection was lost.
//!
//! A token is `epoch (16) | user (4) | counter (8) | sealed account and claim (16) | tag (16)`, all
//! numbers little-endian. Its key is HKDF-SHA256(cluster key, salt = epoch, info = "throng resume
//! v1"), its nonce `user | counter`, and what precedes the sealed part is authenticated. A chat
//! server's process draws its epoch at its start. User ids are not reused in an epoch, and a token
//! with the same counter is the same token, so no nonce seals two texts.

use super::cipher::Cipher;
use super::keys::ClusterKey;
use crate::limits::RESUME_TOKEN_MAX;
use crate::wire::packets::{Claim, ResumeTokenBytes};

/// Random number of one start of a chat server.
pub type Epoch = [u8; 16];

const SEALED: usize = 28;
const LENGTH: usize = SEALED + 16 + crate::limits::SEAL_TAG;
const _: () = assert!(LENGTH == RESUME_TOKEN_MAX);

/// Content of a resume token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ResumeToken {
    /// The user.
    pub user: u32,
    /// Number of the token among those of the user.
    pub counter: u64,
    /// Account and claim of the user.
    pub claim: Claim,
}

/// Seals and opens the tokens of one epoch.
pub struct ResumeTokens {
    epoch: Epoch,
    cipher: Cipher,
}

impl ResumeTokens {
    /// Derives the key of an epoch.
    pub fn new(key: &ClusterKey, epoch: Epoch) -> Self {
        Self { epoch, cipher: Cipher::new(&key.derive(b"throng resume v1", &epoch)) }
    }

    /// Seals a token.
    pub fn seal(&self, token: &ResumeToken) -> ResumeTokenBytes {
        let mut out = Vec::with_capacity(LENGTH);
        out.extend_from_slice(&self.epoch);
        out.extend_from_slice(&token.user.to_le_bytes());
        out.extend_from_slice(&token.counter.to_le_bytes());
        out.extend_from_slice(&token.claim.account.to_le_bytes());
        out.extend_from_slice(&token.claim.id.to_le_bytes());
        let (clear, secret) = out.split_at_mut(SEALED);
        let tag = self.cipher.seal(nonce(clear), clear, secret);
        out.extend_from_slice(&tag);
        ResumeTokenBytes::new(out).expect("a token has one length, which fits its field")
    }

    /// Opens a token. Returns `None` if it is of another epoch or was not sealed here.
    pub fn open(&self, bytes: &ResumeTokenBytes) -> Option<ResumeToken> {
        let mut bytes: [u8; LENGTH] = (**bytes).try_into().ok()?;
        let (clear, sealed) = bytes.split_at_mut(SEALED);
        if clear[..16] != self.epoch {
            return None;
        }
        let secret = self.cipher.open(nonce(clear), clear, sealed)?;
        let number = |bytes: &[u8]| bytes.try_into().map(u64::from_le_bytes).ok();
        Some(ResumeToken {
            user: u32::from_le_bytes(clear[16..20].try_into().ok()?),
            counter: number(&clear[20..28])?,
            claim: Claim { account: number(&secret[..8])?, id: number(&secret[8..16])? },
        })
    }
}

/// Returns `user | counter`.
fn nonce(clear: &[u8]) -> [u8; 12] {
    clear[16..SEALED].try_into().expect("the part in the clear has one length")
}

impl std::fmt::Debug for ResumeTokens {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("ResumeTokens([secret])")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::doc_vector;

    const TOKEN: ResumeToken = ResumeToken { user: 7, counter: 2, claim: Claim { account: 4, id: 40 } };

    fn tokens(key: u8, epoch: u8) -> ResumeTokens {
        ResumeTokens::new(&ClusterKey::from_bytes([key; 32]), [epoch; 16])
    }

    #[test]
    fn only_a_token_of_this_epoch_and_unchanged_opens() {
        let (tokens, sealed) = (tokens(1, 2), tokens(1, 2).seal(&TOKEN));
        assert_eq!(tokens.open(&sealed), Some(TOKEN));
        for at in 0..sealed.len() {
            let mut changed = sealed.to_vec();
            changed[at] ^= 1;
            assert_eq!(tokens.open(&ResumeTokenBytes::new(changed).unwrap()), None, "byte {at}");
        }
        for length in [0, LENGTH - 1] {
            let short = ResumeTokenBytes::new(sealed[..length].to_vec()).unwrap();
            assert_eq!(tokens.open(&short), None);
        }
        for foreign in [self::tokens(1, 3), self::tokens(2, 2)] {
            assert_eq!(foreign.open(&sealed), None);
        }
    }

    /// The vector of docs/protocol.md.
    #[test]
    fn a_token_has_these_bytes() {
        let token = ResumeToken { user: 7, counter: 2, claim: Claim { account: 42, id: 7 } };
        assert_eq!(hex::encode(&*tokens(9, 2).seal(&token)), doc_vector("resume token"));
    }
}
