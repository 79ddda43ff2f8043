//! The two long-lived keys. No function here prints a secret.

#[cfg(feature = "server")]
mod files;

use std::fmt;
use std::io;

use rand::TryRng;
use rand::rngs::SysRng;
use ring::hkdf::{HKDF_SHA256, Salt};
use zeroize::Zeroizing;

use super::x25519;
#[cfg(feature = "server")]
pub use files::KeyError;

/// A key as raw bytes, wiped when dropped.
type Secret = Zeroizing<[u8; 32]>;

/// An X25519 public key.
pub type PublicKey = [u8; 32];

/// The key that all servers of a cluster share: it authenticates server links and seals tickets.
#[derive(Clone)]
pub struct ClusterKey(Secret);

impl ClusterKey {
    /// Draws a key from the system's random source.
    pub fn generate() -> io::Result<Self> {
        random_secret().map(Self)
    }

    /// Returns the key with these bytes, for test vectors.
    pub fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(Zeroizing::new(bytes))
    }

    /// Derives the key of one purpose: HKDF-SHA256 (RFC 5869) of the cluster key. No two purposes
    /// share a key, so a leak of one derived key does not affect another purpose.
    pub fn derive(&self, purpose: &[u8], salt: &[u8]) -> Zeroizing<[u8; 32]> {
        let mut key = Zeroizing::new([0; 32]);
        Salt::new(HKDF_SHA256, salt)
            .extract(&*self.0)
            .expand(&[purpose], HKDF_SHA256)
            .and_then(|derived| derived.fill(&mut *key))
            .expect("32 bytes are below HKDF's limit");
        key
    }
}

impl fmt::Debug for ClusterKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ClusterKey([secret])")
    }
}

/// A server's X25519 key pair; the private half authenticates the server to clients.
#[derive(Clone)]
pub struct StaticKey {
    private: Secret,
    public: PublicKey,
}

impl StaticKey {
    /// Draws a key from the system's random source.
    pub fn generate() -> io::Result<Self> {
        random_secret().map(Self::from_secret)
    }

    /// Returns the key with this private half, for test vectors.
    pub fn from_private(private: [u8; 32]) -> Self {
        Self::from_secret(Zeroizing::new(private))
    }

    fn from_secret(private: Secret) -> Self {
        let public = x25519::public_key(&private);
        Self { private, public }
    }

    /// The public half, which clients know.
    pub fn public(&self) -> &PublicKey {
        &self.public
    }

    /// The private half, which never leaves the server.
    pub fn private(&self) -> &[u8; 32] {
        &self.private
    }
}

impl fmt::Debug for StaticKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "StaticKey(public {})", hex::encode(self.public))
    }
}

fn random_secret() -> io::Result<Secret> {
    let mut secret = Zeroizing::new([0; 32]);
    SysRng.try_fill_bytes(&mut *secret).map_err(io::Error::other)?;
    Ok(secret)
}
