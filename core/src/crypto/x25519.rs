//! X25519 (RFC 7748): s2n-bignum's proven assembler, by graviola, on processors that have the
//! instructions that it needs, and curve25519-dalek on others.

use curve25519_dalek::MontgomeryPoint;
use graviola::key_agreement::x25519 as assembler;
use zeroize::Zeroizing;

use super::keys::PublicKey;

/// Returns the public half of a key pair.
pub(super) fn public_key(private: &[u8; 32]) -> PublicKey {
    if has_assembler() { assembler_public_key(private) } else { portable_public_key(private) }
}

/// Returns the secret that the owners of two key pairs share. `None` if it would be zero, which
/// only the owner of an invalid key can intend (RFC 7748, section 6.1).
pub(super) fn agree(private: &[u8; 32], peer: &PublicKey) -> Option<Zeroizing<[u8; 32]>> {
    if has_assembler() { assembler_agree(private, peer) } else { portable_agree(private, peer) }
}

/// Returns true if the processor can run graviola, which panics on others. The standard library
/// asks the processor once.
#[cfg(target_arch = "x86_64")]
fn has_assembler() -> bool {
    is_x86_feature_detected!("adx")
        && is_x86_feature_detected!("aes")
        && is_x86_feature_detected!("avx2")
        && is_x86_feature_detected!("bmi1")
        && is_x86_feature_detected!("bmi2")
        && is_x86_feature_detected!("pclmulqdq")
        && is_x86_feature_detected!("ssse3")
}

#[cfg(target_arch = "aarch64")]
fn has_assembler() -> bool {
    use std::arch::is_aarch64_feature_detected;
    is_aarch64_feature_detected!("aes")
        && is_aarch64_feature_detected!("neon")
        && is_aarch64_feature_detected!("pmull")
        && is_aarch64_feature_detected!("sha2")
}

fn assembler_public_key(private: &[u8; 32]) -> PublicKey {
    assembler::StaticPrivateKey::from_array(private).public_key().as_bytes()
}

fn assembler_agree(private: &[u8; 32], peer: &PublicKey) -> Option<Zeroizing<[u8; 32]>> {
    let peer = assembler::PublicKey::from_array(peer);
    let secret = assembler::StaticPrivateKey::from_array(private).diffie_hellman(&peer).ok()?;
    Some(Zeroizing::new(secret.0))
}

fn portable_public_key(private: &[u8; 32]) -> PublicKey {
    MontgomeryPoint::mul_base_clamped(*private).to_bytes()
}

fn portable_agree(private: &[u8; 32], peer: &PublicKey) -> Option<Zeroizing<[u8; 32]>> {
    let secret = Zeroizing::new(MontgomeryPoint(*peer).mul_clamped(*private).to_bytes());
    (*secret != [0; 32]).then_some(secret)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn bytes(digits: &str) -> [u8; 32] {
        hex::decode(digits).unwrap().try_into().unwrap()
    }

    #[test]
    fn the_vector_of_rfc_7748() {
        // Section 6.1.
        let alice = bytes("77076d0a7318a57d3c16c17251b26645df4c2f87ebc0992ab177fba51db92c2a");
        let alice_public = bytes("8520f0098930a754748b7ddcb43ef75a0dbf3a0d26381af4eba4a98eaa9b4e6a");
        let bob_public = bytes("de9edb7d7b7dc1b4d35b61c2ece435373f8343c85b78674dadfc7e146f882b4f");
        let shared = bytes("4a5d9d5ba4ce2de1728e3bf480350f25e07e21c947d19e3376f09b3c1e161742");
        assert_eq!(public_key(&alice), alice_public);
        assert_eq!(agree(&alice, &bob_public).as_deref(), Some(&shared));
        assert_eq!(portable_public_key(&alice), alice_public);
        assert_eq!(portable_agree(&alice, &bob_public).as_deref(), Some(&shared));
    }

    #[test]
    fn a_key_without_a_secret_is_refused() {
        for peer in [[0; 32], bytes("0100000000000000000000000000000000000000000000000000000000000000")] {
            assert_eq!(agree(&[7; 32], &peer), None);
            assert_eq!(portable_agree(&[7; 32], &peer), None);
        }
    }

    proptest! {
        #[test]
        fn both_implementations_agree(private in any::<[u8; 32]>(), peer in any::<[u8; 32]>()) {
            prop_assert_eq!(public_key(&private), portable_public_key(&private));
            prop_assert_eq!(agree(&private, &peer), portable_agree(&private, &peer));
        }
    }
}
