//! Files of keys: one line of 64 hexadecimal digits, readable by one user only (mode 0600).

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use thiserror::Error;
use zeroize::Zeroizing;

use super::{ClusterKey, Secret, StaticKey};

/// Reasons for which a key file cannot be used.
#[derive(Debug, Error)]
pub enum KeyError {
    /// There is no such file.
    #[error("there is no {what} at {}: make one with `throng keygen --data DIR`, or point {setting} at an existing one", path.display())]
    Missing {
        /// Kind of the key.
        what: &'static str,
        /// The path that was tried.
        path: PathBuf,
        /// The configuration key that names the file.
        setting: &'static str,
    },
    /// The file cannot be read or written.
    #[error("cannot use the {what} at {}: {source}", path.display())]
    Io {
        /// Kind of the key.
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// Other users may read the file.
    #[error("the {what} at {} can be read by other users (mode {mode:04o}): `chmod 600` it, and replace the key if it may have been read", path.display())]
    Exposed {
        /// Kind of the key.
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// The content is not a key.
    #[error("the {what} at {} is not 64 hexadecimal digits ({found}): make one with `throng keygen --data DIR`", path.display())]
    NotAKey {
        /// Kind of the key.
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// A description of the content that does not show it.
        found: String,
    },
    /// The content is a well-known pattern.
    #[error("the {what} at {} is a sample, not a secret (its bytes repeat): make a real one with `throng keygen --data DIR`", path.display())]
    Sample {
        /// Kind of the key.
        what: &'static str,
        /// The file.
        path: PathBuf,
    },
}

impl ClusterKey {
    /// The key's name in messages.
    const WHAT: &'static str = "cluster key";

    /// Reads the key from its file.
    pub fn load(path: &Path) -> Result<Self, KeyError> {
        read_secret(path, Self::WHAT, "link.cluster_key_file").map(Self)
    }

    /// Writes the key to a new file that only its owner can read.
    pub fn store(&self, path: &Path) -> Result<(), KeyError> {
        write_secret(path, Self::WHAT, &self.0)
    }
}

impl StaticKey {
    /// The key's name in messages.
    const WHAT: &'static str = "server key";

    /// Reads the key from its file; `setting` is the configuration key that names the file.
    pub fn load(path: &Path, setting: &'static str) -> Result<Self, KeyError> {
        read_secret(path, Self::WHAT, setting).map(Self::from_secret)
    }

    /// Writes the private half to a new file that only its owner can read.
    pub fn store(&self, path: &Path) -> Result<(), KeyError> {
        write_secret(path, Self::WHAT, &self.private)
    }
}

fn read_secret(path: &Path, what: &'static str, setting: &'static str) -> Result<Secret, KeyError> {
    let failed = |source: io::Error| match source.kind() {
        io::ErrorKind::NotFound => KeyError::Missing { what, path: path.into(), setting },
        _ => KeyError::Io { what, path: path.into(), source },
    };
    let mode = fs::metadata(path).map_err(failed)?.permissions().mode() & 0o7777;
    if mode & 0o077 != 0 {
        return Err(KeyError::Exposed { what, path: path.into(), mode });
    }
    let text = Zeroizing::new(fs::read(path).map_err(failed)?);
    let digits = text.trim_ascii();
    let mut secret = Zeroizing::new([0; 32]);
    hex::decode_to_slice(digits, &mut *secret).map_err(|_| KeyError::NotAKey {
        what,
        path: path.into(),
        found: match digits.len() {
            0 => "the file is empty".into(),
            64 => "64 characters, not all of them hexadecimal".into(),
            length => format!("{length} characters"),
        },
    })?;
    if is_sample(&secret) {
        return Err(KeyError::Sample { what, path: path.into() });
    }
    Ok(secret)
}

/// Returns true if a key looks typed by hand: zeros, `0123..`, a repeated `deadbeef`. A random key
/// has fewer than 12 different bytes at most once in 10^19 times.
fn is_sample(secret: &[u8; 32]) -> bool {
    let mut seen = [false; 256];
    for byte in secret {
        seen[usize::from(*byte)] = true;
    }
    let counts_up = secret.windows(2).all(|pair| pair[1] == pair[0].wrapping_add(1));
    counts_up || seen.iter().filter(|seen| **seen).count() < 12
}

fn write_secret(path: &Path, what: &'static str, secret: &Secret) -> Result<(), KeyError> {
    let failed = |source| KeyError::Io { what, path: path.into(), source };
    let digits = Zeroizing::new(hex::encode(**secret));
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path).map_err(failed)?;
    writeln!(file, "{}", *digits).and_then(|()| file.sync_all()).map_err(failed)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(path: &Path, text: &str, mode: u32) {
        fs::write(path, text).unwrap();
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    }

    #[test]
    fn a_stored_key_loads_and_its_file_is_private() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("cluster.key");
        let key = ClusterKey::generate().unwrap();
        key.store(&path).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(ClusterKey::load(&path).unwrap().0, key.0);
        assert!(matches!(key.store(&path), Err(KeyError::Io { .. })), "a key is never overwritten");
    }

    #[test]
    fn missing_malformed_sample_and_exposed_keys_are_refused_with_an_instruction() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("cluster.key");
        let check = |content: Option<(&str, u32)>, wanted: &str| {
            let _ = fs::remove_file(&path);
            if let Some((text, mode)) = content {
                write(&path, text, mode);
            }
            let message = ClusterKey::load(&path).unwrap_err().to_string();
            assert!(message.contains(wanted), "{message}");
        };
        check(None, "throng keygen");
        check(Some(("", 0o600)), "the file is empty");
        check(Some(("abcd", 0o600)), "4 characters");
        check(Some((&"zz".repeat(32), 0o600)), "not all of them hexadecimal");
        check(Some((&"00".repeat(32), 0o600)), "sample");
        check(Some((&"deadbeef".repeat(8), 0o600)), "sample");
        check(Some((&hex::encode(std::array::from_fn::<u8, 32, _>(|i| i as u8)), 0o600)), "sample");
        let real = hex::encode(*ClusterKey::generate().unwrap().0);
        check(Some((&real, 0o644)), "chmod 600");
    }

    #[test]
    fn the_public_half_follows_from_the_private_one() {
        // RFC 7748, section 5.2: one iteration from k = u = 9, the base point.
        let mut private = [0; 32];
        private[0] = 9;
        assert_eq!(
            hex::encode(StaticKey::from_private(private).public()),
            "422c8e7a6227d7bca1350b3e2bb7279f7897b87bb6854b783c60e80311ae3079"
        );
    }
}
