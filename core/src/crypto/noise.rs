//! The primitives of the handshake, for the Noise library.

use std::sync::Arc;

use rand::TryRng;
use rand::rngs::SysRng;
use ring::digest::{Context, SHA256};
use snow::Error;
use snow::params::{CipherChoice, DHChoice, HashChoice};
use snow::resolvers::CryptoResolver;
use snow::types::{Cipher as NoiseCipher, Dh, Hash, Random};
use zeroize::Zeroizing;

use super::cipher::Cipher;
use super::keys::{PublicKey, StaticKey};
use super::session::nonce;
use super::x25519;
use crate::limits::SEAL_TAG;

/// Resolves the names of a Noise pattern.
#[derive(Default)]
pub(super) struct Primitives {
    /// A key pair whose public half is known and need not be derived for each handshake.
    pub(super) own: Option<Arc<StaticKey>>,
}

impl CryptoResolver for Primitives {
    fn resolve_rng(&self) -> Option<Box<dyn Random>> {
        Some(Box::new(System))
    }

    fn resolve_dh(&self, choice: &DHChoice) -> Option<Box<dyn Dh>> {
        let pair = Pair { own: self.own.clone(), ..Pair::default() };
        (*choice == DHChoice::Curve25519).then(|| Box::new(pair) as _)
    }

    fn resolve_hash(&self, choice: &HashChoice) -> Option<Box<dyn Hash>> {
        (*choice == HashChoice::SHA256).then(|| Box::new(Sha(Context::new(&SHA256))) as _)
    }

    fn resolve_cipher(&self, choice: &CipherChoice) -> Option<Box<dyn NoiseCipher>> {
        (*choice == CipherChoice::AESGCM).then(|| Box::new(Aes(None)) as _)
    }
}

/// The system's random source.
struct System;

impl Random for System {
    fn try_fill_bytes(&mut self, dest: &mut [u8]) -> Result<(), Error> {
        SysRng.try_fill_bytes(dest).map_err(|_| Error::Rng)
    }
}

/// Key pair of X25519.
#[derive(Default)]
struct Pair {
    own: Option<Arc<StaticKey>>,
    private: Zeroizing<[u8; 32]>,
    public: PublicKey,
}

impl Dh for Pair {
    fn name(&self) -> &'static str {
        "25519"
    }

    fn pub_len(&self) -> usize {
        32
    }

    fn priv_len(&self) -> usize {
        32
    }

    fn set(&mut self, private: &[u8]) {
        self.private.copy_from_slice(private);
        let own = self.own.as_ref().filter(|own| own.private() == private);
        self.public = own.map_or_else(|| x25519::public_key(&self.private), |own| *own.public());
    }

    fn generate(&mut self, rng: &mut dyn Random) -> Result<(), Error> {
        let mut private = Zeroizing::new([0; 32]);
        rng.try_fill_bytes(&mut *private)?;
        self.set(&*private);
        Ok(())
    }

    fn pubkey(&self) -> &[u8] {
        &self.public
    }

    fn privkey(&self) -> &[u8] {
        &*self.private
    }

    fn dh(&self, public: &[u8], out: &mut [u8]) -> Result<(), Error> {
        // The library's buffers have room for the keys of other curves.
        let peer = public.first_chunk().ok_or(Error::Dh)?;
        let secret = x25519::agree(&self.private, peer).ok_or(Error::Dh)?;
        out[..secret.len()].copy_from_slice(&*secret);
        Ok(())
    }
}

struct Sha(Context);

impl Hash for Sha {
    fn name(&self) -> &'static str {
        "SHA256"
    }

    fn block_len(&self) -> usize {
        64
    }

    fn hash_len(&self) -> usize {
        32
    }

    fn reset(&mut self) {
        self.0 = Context::new(&SHA256);
    }

    fn input(&mut self, data: &[u8]) {
        self.0.update(data);
    }

    fn result(&mut self, out: &mut [u8]) {
        let context = std::mem::replace(&mut self.0, Context::new(&SHA256));
        out[..32].copy_from_slice(context.finish().as_ref());
    }
}

/// AES-256-GCM with the nonces of Noise; none until it has a key.
struct Aes(Option<Cipher>);

impl NoiseCipher for Aes {
    fn name(&self) -> &'static str {
        "AESGCM"
    }

    fn set(&mut self, key: &[u8; 32]) {
        self.0 = Some(Cipher::new(key));
    }

    fn encrypt(&self, number: u64, authenticated: &[u8], plain: &[u8], out: &mut [u8]) -> usize {
        let cipher = self.0.as_ref().expect("the Noise library sets a key first");
        let (text, tag) = out.split_at_mut(plain.len());
        text.copy_from_slice(plain);
        tag[..SEAL_TAG].copy_from_slice(&cipher.seal(nonce(number), authenticated, text));
        plain.len() + SEAL_TAG
    }

    fn decrypt(
        &self,
        number: u64,
        authenticated: &[u8],
        sealed: &[u8],
        out: &mut [u8],
    ) -> Result<usize, Error> {
        let cipher = self.0.as_ref().ok_or(Error::Decrypt)?;
        let mut sealed = sealed.to_vec();
        let plain = cipher.open(nonce(number), authenticated, &mut sealed).ok_or(Error::Decrypt)?;
        out[..plain.len()].copy_from_slice(plain);
        Ok(plain.len())
    }
}
