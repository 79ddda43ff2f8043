//! Creates missing keys. An existing key is checked and never overwritten.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use thiserror::Error;
use throng_core::config::Config;
use throng_core::crypto::{ClusterKey, KeyError, PublicKey, StaticKey};

use crate::datadir::{DataDirError, create_private};
use crate::manifest::{Manifest, ManifestError};

/// Errors of key generation.
#[derive(Debug, Error)]
pub enum KeygenError {
    /// The directory cannot be created.
    #[error(transparent)]
    Directory(#[from] DataDirError),
    /// A key file cannot be written, or holds no valid key.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// A key of a used directory is missing, or the manifest cannot be used.
    #[error(transparent)]
    Manifest(#[from] ManifestError),
    /// The system's random source fails.
    #[error("cannot create a key, because the system's random source fails: {0}")]
    Random(#[from] io::Error),
}

/// A key that exists now. `Display` formats it as a line for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyFile {
    /// The configuration key that names the file.
    pub setting: &'static str,
    /// The file.
    pub path: PathBuf,
    /// True if the key was created by this call.
    pub is_new: bool,
    /// The public half; `None` for the cluster key, which is symmetric.
    pub public: Option<PublicKey>,
}

impl fmt::Display for KeyFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let verb = if self.is_new { "created" } else { "kept" };
        write!(f, "{verb} {}", self.path.display())?;
        match &self.public {
            Some(public) => write!(f, "  public key {}", hex::encode(public)),
            None => write!(f, "  (secret: give it to the servers of this cluster only)"),
        }
    }
}

/// Creates the login key, the chat key and the cluster key where the configuration names them,
/// unless they exist. A key that the directory has had, and that is missing, is not replaced.
pub fn ensure(config: &Config) -> Result<Vec<KeyFile>, KeygenError> {
    create_private(&config.data.dir)?;
    let manifest = Manifest::of_keys(config);
    manifest.check()?;
    let keys = vec![
        ensure_static(&config.resolve(&config.login.key_file), "login.key_file")?,
        ensure_static(&config.resolve(&config.chat.key_file), "chat.key_file")?,
        ensure_cluster(&config.resolve(&config.link.cluster_key_file))?,
    ];
    manifest.record()?;
    Ok(keys)
}

fn ensure_static(path: &Path, setting: &'static str) -> Result<KeyFile, KeygenError> {
    let is_new = !path.exists();
    let key = if is_new {
        create_parent(path)?;
        let key = StaticKey::generate()?;
        key.store(path)?;
        key
    } else {
        StaticKey::load(path, setting)?
    };
    Ok(KeyFile { setting, path: path.into(), is_new, public: Some(*key.public()) })
}

fn ensure_cluster(path: &Path) -> Result<KeyFile, KeygenError> {
    let is_new = !path.exists();
    if is_new {
        create_parent(path)?;
        ClusterKey::generate()?.store(path)?;
    } else {
        ClusterKey::load(path)?;
    }
    Ok(KeyFile { setting: "link.cluster_key_file", path: path.into(), is_new, public: None })
}

fn create_parent(path: &Path) -> Result<(), DataDirError> {
    path.parent().map_or(Ok(()), create_private)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn config(dir: &Path) -> Config {
        let mut config = Config::default();
        config.data.dir = dir.join("data");
        config.chat.key_file = "keys/chat.key".into();
        config
    }

    #[test]
    fn missing_keys_are_created_once_and_private() {
        let dir = tempfile::tempdir().unwrap();
        let config = config(dir.path());
        let first = ensure(&config).unwrap();
        assert!(first.iter().all(|key| key.is_new));
        assert_eq!(first[1].path, dir.path().join("data/keys/chat.key"));
        for key in &first {
            assert_eq!(fs::metadata(&key.path).unwrap().permissions().mode() & 0o777, 0o600);
        }
        assert_eq!(fs::metadata(&config.data.dir).unwrap().permissions().mode() & 0o777, 0o700);
        fs::remove_file(&first[2].path).unwrap();
        let error = ensure(&config).unwrap_err().to_string();
        assert!(error.contains("cluster.key is missing"), "{error}");
        fs::remove_file(config.data.dir.join(crate::manifest::FILE)).unwrap();
        let second = ensure(&config).unwrap();
        assert_eq!(second.iter().map(|key| key.is_new).collect::<Vec<_>>(), [false, false, true]);
        assert_eq!(second[0].public, first[0].public);
        assert!(second[0].to_string().contains(&hex::encode(first[0].public.unwrap())));
    }

    #[test]
    fn a_damaged_key_is_refused_and_not_replaced() {
        let dir = tempfile::tempdir().unwrap();
        let config = config(dir.path());
        let path = ensure(&config).unwrap()[0].path.clone();
        fs::write(&path, "short").unwrap();
        let error = ensure(&config).unwrap_err().to_string();
        assert!(error.contains("login.key") && error.contains("64 hexadecimal digits"), "{error}");
        assert_eq!(fs::read(&path).unwrap(), b"short");
    }
}
