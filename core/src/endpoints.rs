//! `endpoints.toml`: addresses and public keys of the servers of a data directory.
//!
//! The servers write the file once they listen and remove it when they end; the harness and scripts
//! read it. It contains no secret.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::net::SocketAddr;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::config::Config;
use crate::crypto::PublicKey;

/// Reasons for which the file cannot be used.
#[derive(Debug, Error)]
pub enum EndpointsError {
    /// There is no file.
    #[error("no servers' data in {}: start `throng up{}`, or pass --data DIR", directory(path).display(), flag_of(path))]
    Missing {
        /// The path that was tried.
        path: PathBuf,
    },
    /// The file cannot be read or written.
    #[error("cannot use {}: {source}", path.display())]
    Io {
        /// The file or its directory.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// The endpoints cannot be written as TOML.
    #[error("cannot write {}: {source}", path.display())]
    NotToml {
        /// The file.
        path: PathBuf,
        /// The serializer's error.
        source: toml::ser::Error,
    },
    /// The file is not one that a server has written.
    #[error("{} is damaged ({reason}): restart the servers, which rewrite it", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// The reason.
        reason: String,
    },
}

fn directory(path: &Path) -> &Path {
    path.parent().unwrap_or(path)
}

/// The flag that `throng up` needs for the directory of `path`, after a space.
fn flag_of(path: &Path) -> String {
    match directory(path) {
        data if data == Config::default().data.dir => String::new(),
        data => format!(" --data {}", data.display()),
    }
}

/// Address of one role.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Endpoint {
    /// The address that the role listens on.
    pub address: SocketAddr,
    /// The role's public key, 64 hexadecimal digits; none for a role that has no clients.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// The process that runs the role.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pid: Option<u32>,
    /// The address of that process's admin port; none if it has no admin port.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub admin: Option<SocketAddr>,
}

impl Endpoint {
    /// Returns the endpoint of a role of this process.
    pub fn new(address: SocketAddr, key: Option<&PublicKey>) -> Self {
        Self { address, key: key.map(hex::encode), pid: Some(std::process::id()), admin: None }
    }

    /// Returns the public key. A key that came from [`Endpoints::read`], which checks it, is always
    /// readable.
    pub fn public_key(&self) -> Option<PublicKey> {
        let mut key = PublicKey::default();
        hex::decode_to_slice(self.key.as_ref()?, &mut key).ok()?;
        Some(key)
    }
}

/// Endpoints of a data directory.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Endpoints {
    /// The process; with one process for each role, the process that started last.
    pub pid: u32,
    /// The login server.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub login: Option<Endpoint>,
    /// The chat server.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub chat: Option<Endpoint>,
    /// The DB agent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dbagent: Option<Endpoint>,
}

impl Endpoints {
    /// The file's name in the data directory.
    pub const FILE: &str = "endpoints.toml";

    /// Reads the file of a data directory.
    pub fn read(data_dir: &Path) -> Result<Self, EndpointsError> {
        let path = data_dir.join(Self::FILE);
        let text = match fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(EndpointsError::Missing { path });
            }
            Err(source) => return Err(EndpointsError::Io { path, source }),
        };
        let endpoints: Self = match toml::from_str(&text) {
            Ok(endpoints) => endpoints,
            Err(error) => return Err(EndpointsError::Damaged { path, reason: error.message().to_owned() }),
        };
        for endpoint in [&endpoints.login, &endpoints.chat, &endpoints.dbagent].into_iter().flatten() {
            if endpoint.key.is_some() && endpoint.public_key().is_none() {
                let reason = format!("the key of {} is not 64 hexadecimal digits", endpoint.address);
                return Err(EndpointsError::Damaged { path, reason });
            }
        }
        Ok(endpoints)
    }

    /// Writes the file of a data directory atomically: a reader sees the old or the new content.
    pub fn write(&self, data_dir: &Path) -> Result<(), EndpointsError> {
        let path = data_dir.join(Self::FILE);
        let text =
            toml::to_string(self).map_err(|source| EndpointsError::NotToml { path: path.clone(), source })?;
        let temporary = data_dir.join(format!("{}.{}", Self::FILE, std::process::id()));
        let write = || {
            let mut options = OpenOptions::new();
            let mut file = options.write(true).create(true).truncate(true).mode(0o600).open(&temporary)?;
            writeln!(file, "# Written by the servers that are running; removed when they end.\n\n{text}")?;
            fs::rename(&temporary, &path)
        };
        write().map_err(|source| {
            let _ = fs::remove_file(&temporary);
            EndpointsError::Io { path: path.clone(), source }
        })
    }

    /// Sets the admin address of every role.
    pub fn set_admin(&mut self, admin: Option<SocketAddr>) {
        for endpoint in [&mut self.login, &mut self.chat, &mut self.dbagent].into_iter().flatten() {
            endpoint.admin = admin;
        }
    }

    /// Adds the roles of this process to the file, beside the roles of other processes.
    pub fn publish(&self, data_dir: &Path) -> Result<(), EndpointsError> {
        let _lock = lock(data_dir)?;
        let mut merged = self.clone();
        // A missing or damaged file is replaced by the roles of this process.
        let old = Self::read(data_dir).unwrap_or_default();
        merged.login = merged.login.or(old.login);
        merged.chat = merged.chat.or(old.chat);
        merged.dbagent = merged.dbagent.or(old.dbagent);
        merged.write(data_dir)
    }

    /// Removes the roles of this process from the file, and the file with the last role. A role
    /// that another process has published in the meantime stays.
    pub fn withdraw(&self, data_dir: &Path) -> Result<(), EndpointsError> {
        let _lock = lock(data_dir)?;
        let mut remaining = match Self::read(data_dir) {
            Ok(remaining) => remaining,
            Err(EndpointsError::Missing { .. }) => return Ok(()),
            Err(error) => return Err(error),
        };
        let roles = [
            (&mut remaining.login, &self.login),
            (&mut remaining.chat, &self.chat),
            (&mut remaining.dbagent, &self.dbagent),
        ];
        for (published, ours) in roles {
            if published == ours {
                *published = None;
            }
        }
        if remaining == (Self { pid: remaining.pid, ..Self::default() }) {
            let path = data_dir.join(Self::FILE);
            return fs::remove_file(&path).map_err(|source| EndpointsError::Io { path, source });
        }
        remaining.write(data_dir)
    }
}

/// Locks the file against other processes until the result is dropped. The lock is on the
/// directory, because every change replaces the file itself.
fn lock(data_dir: &Path) -> Result<File, EndpointsError> {
    lock_directory(data_dir).map_err(|source| EndpointsError::Io { path: data_dir.into(), source })
}

/// Locks a data directory against other processes that change its common files, until the result is
/// dropped. Hold it for a moment only.
pub fn lock_directory(data_dir: &Path) -> io::Result<File> {
    let directory = File::open(data_dir)?;
    directory.lock()?;
    Ok(directory)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn endpoint(port: u16) -> Endpoint {
        Endpoint::new(SocketAddr::from(([127, 0, 0, 1], port)), Some(&[port as u8; 32]))
    }

    #[test]
    fn processes_share_the_file() {
        let dir = tempfile::tempdir().unwrap();
        let dir = dir.path();
        let login = Endpoints { pid: 1, login: Some(endpoint(1)), ..Endpoints::default() };
        let others = Endpoints {
            pid: 2,
            chat: Some(endpoint(2)),
            dbagent: Some(Endpoint { key: None, ..endpoint(3) }),
            ..Endpoints::default()
        };
        assert!(Endpoints::read(dir).unwrap_err().to_string().contains("throng up --data"));
        let mut login = login;
        login.set_admin(Some(([127, 0, 0, 1], 9).into()));
        login.publish(dir).unwrap();
        assert_eq!(Endpoints::read(dir).unwrap(), login);
        others.publish(dir).unwrap();
        let both = Endpoints::read(dir).unwrap();
        assert_eq!(both, Endpoints { login: login.login.clone(), ..others.clone() });
        assert_eq!(both.chat.unwrap().public_key(), Some([2; 32]));
        login.withdraw(dir).unwrap();
        assert_eq!(Endpoints::read(dir).unwrap(), others);
        others.withdraw(dir).unwrap();
        others.withdraw(dir).unwrap();
        assert_eq!(fs::read_dir(dir).unwrap().count(), 0, "nothing is left behind");
    }

    #[test]
    fn a_damaged_file_is_refused_and_replaced() {
        let dir = tempfile::tempdir().unwrap();
        let dir = dir.path();
        let check = |text: &str, wanted: &str| {
            fs::write(dir.join(Endpoints::FILE), text).unwrap();
            let message = Endpoints::read(dir).unwrap_err().to_string();
            assert!(message.contains(wanted) && message.contains("damaged"), "{message}");
        };
        check("", "pid");
        check("pid = 1\n[login]\naddress = \"nowhere\"", "");
        check("pid = 1\n[login]\naddress = \"127.0.0.1:1\"\nkey = \"abc\"", "64 hexadecimal digits");
        let good = Endpoints { pid: 7, login: Some(endpoint(1)), ..Endpoints::default() };
        good.publish(dir).unwrap();
        assert_eq!(Endpoints::read(dir).unwrap(), good);
    }
}
