//! The keys of servers: from a data directory, from the command line, or remembered as ssh
//! remembers hosts.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use thiserror::Error;
use throng_client::{PublicKey, Settings, parse_key};

use crate::args::Args;
use crate::config::directory;

/// Reasons for which there is no server to talk to.
#[derive(Debug, Error)]
pub enum ServerError {
    /// Neither --data nor --server.
    #[error("which server? Pass --data DIR of servers on this machine, or --server HOST:PORT")]
    None,
    /// A file cannot be read or written.
    #[error("cannot use {}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// The data directory's file names no login server.
    #[error("{} names no login server: is `throng up` or `throng login` running?", .0.display())]
    NoLogin(PathBuf),
    /// The key is not one.
    #[error("{0} is not a public key: 64 hexadecimal digits, as the server prints them at its start")]
    NotAKey(String),
    /// The server was never seen.
    #[error(
        "{0} is not known: pass --key HEX once, with the public key that the server's operator has published"
    )]
    Unknown(String),
    /// The key has changed.
    #[error(
        "the key of {server} is not the one that is remembered ({}). A third party may stand between you and \
         the server, or its operator has made a new key. Ask the operator; then --replace-key",
        hex::encode(known)
    )]
    Changed {
        /// The server.
        server: String,
        /// The remembered key.
        known: PublicKey,
    },
}

/// The part of `endpoints.toml` that a client needs. Core's reader comes with the servers'
/// configuration.
#[derive(Deserialize)]
struct Endpoints {
    login: Option<Endpoint>,
}

#[derive(Deserialize)]
struct Endpoint {
    address: String,
    key: Option<String>,
}

/// Returns the login server that the command line names.
pub fn find(args: &Args) -> Result<Settings, ServerError> {
    if let Some(data) = &args.data {
        return of_directory(data);
    }
    let server = args.server.as_deref().ok_or(ServerError::None)?;
    let path = args.known_servers.clone().unwrap_or_else(|| directory().join("known_servers"));
    let mut known = Known::load(&path)?;
    let key = match (&args.key, known.keys.get(server).copied()) {
        (None, None) => return Err(ServerError::Unknown(server.into())),
        (None, Some(known)) => known,
        (Some(text), before) => {
            let key = parse(text)?;
            match before {
                Some(before) if before == key => {}
                Some(known) if !args.replace_key => {
                    return Err(ServerError::Changed { server: server.into(), known });
                }
                _ => known.remember(server, key)?,
            }
            key
        }
    };
    Ok(Settings::new(server, key))
}

fn of_directory(data: &Path) -> Result<Settings, ServerError> {
    let path = data.join("endpoints.toml");
    let text = fs::read_to_string(&path).map_err(|source| ServerError::Io { path: path.clone(), source })?;
    let endpoints: Endpoints = toml::from_str(&text).map_err(|_| ServerError::NoLogin(path.clone()))?;
    match endpoints.login {
        Some(Endpoint { address, key: Some(key) }) => Ok(Settings::new(address, parse(&key)?)),
        _ => Err(ServerError::NoLogin(path)),
    }
}

fn parse(text: &str) -> Result<PublicKey, ServerError> {
    parse_key(text).ok_or_else(|| ServerError::NotAKey(text.into()))
}

/// The remembered keys: a line `HOST:PORT KEY` for each server.
struct Known {
    path: PathBuf,
    keys: BTreeMap<String, PublicKey>,
}

impl Known {
    fn load(path: &Path) -> Result<Self, ServerError> {
        let text = match fs::read_to_string(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => String::new(),
            other => other.map_err(|source| ServerError::Io { path: path.into(), source })?,
        };
        let mut keys = BTreeMap::new();
        for line in text.lines() {
            // A line that a person has broken is no key, and is kept out.
            if let Some((server, key)) = line.split_once(' ')
                && let Ok(key) = parse(key.trim())
            {
                keys.insert(server.into(), key);
            }
        }
        Ok(Self { path: path.into(), keys })
    }

    fn remember(&mut self, server: &str, key: PublicKey) -> Result<(), ServerError> {
        self.keys.insert(server.into(), key);
        let lines: Vec<_> =
            self.keys.iter().map(|(server, key)| format!("{server} {}\n", hex::encode(key))).collect();
        let lines = lines.concat();
        let write = || {
            if let Some(directory) = self.path.parent() {
                fs::create_dir_all(directory)?;
            }
            // Written whole beside it first: a full disk must not lose the other keys.
            let new = self.path.with_extension("new");
            fs::write(&new, lines)?;
            fs::rename(new, &self.path)
        };
        write().map_err(|source| ServerError::Io { path: self.path.clone(), source })
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    fn find_with(known: &Path, flags: &str) -> Result<Settings, ServerError> {
        let known = known.to_str().unwrap();
        let words = ["throng-client", "--known-servers", known].into_iter().chain(flags.split_whitespace());
        find(&Args::parse_from(words))
    }

    #[test]
    fn a_key_is_remembered_and_a_changed_one_refused() {
        let dir = tempfile::tempdir().unwrap();
        let known = dir.path().join("throng/known_servers");
        let [one, other] = ["11", "22"].map(|digits| digits.repeat(32));
        let server = "--server chat.example.org:9000";
        assert!(matches!(find_with(&known, server), Err(ServerError::Unknown(_))));
        assert!(matches!(find_with(&known, &format!("{server} --key abc")), Err(ServerError::NotAKey(_))));
        assert_eq!(find_with(&known, &format!("{server} --key {one}")).unwrap().server_key, [0x11; 32]);
        assert_eq!(find_with(&known, server).unwrap().server_key, [0x11; 32]);

        let changed = find_with(&known, &format!("{server} --key {other}")).unwrap_err();
        assert!(matches!(changed, ServerError::Changed { known: [0x11, ..], .. }), "{changed}");
        find_with(&known, &format!("--server other:1 --key {one}")).unwrap();
        find_with(&known, &format!("{server} --key {other} --replace-key")).unwrap();
        assert_eq!(find_with(&known, server).unwrap().server_key, [0x22; 32]);
        assert_eq!(find_with(&known, "--server other:1").unwrap().server_key, [0x11; 32]);
    }

    #[test]
    fn a_data_directory_tells_its_login_server() {
        let dir = tempfile::tempdir().unwrap();
        let data = format!("--data {}", dir.path().display());
        let known = dir.path().join("known");
        assert!(matches!(find_with(&known, &data), Err(ServerError::Io { .. })));
        let file = dir.path().join("endpoints.toml");
        fs::write(&file, "[chat]\naddress = \"127.0.0.1:1\"\n").unwrap();
        assert!(matches!(find_with(&known, &data), Err(ServerError::NoLogin(_))));
        let key = "33".repeat(32);
        fs::write(&file, format!("[login]\naddress = \"127.0.0.1:9000\"\nkey = \"{key}\"\n")).unwrap();
        let found = find_with(&known, &data).unwrap();
        assert_eq!((&*found.server, found.server_key), ("127.0.0.1:9000", [0x33; 32]));
        assert!(matches!(find_with(&known, ""), Err(ServerError::None)));
    }
}
