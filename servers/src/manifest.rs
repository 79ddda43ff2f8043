//! The manifest of a data directory: its keys and its database, which belong together.
//!
//! A start creates missing files in a fresh directory. In a used one, a new key would lock out
//! every client, and a new database would lose every account. So the files are listed once they
//! exist, and a start refuses to replace a listed one. `throng.db-open` marks a database whose last
//! transactions are in its write-ahead log: without that log, the database would silently be older.

use std::collections::BTreeSet;
use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use thiserror::Error;
use throng_core::config::{Config, Engine};
use throng_core::endpoints::lock_directory;

use crate::role::Role;

/// Name of the manifest in the data directory.
pub const FILE: &str = "manifest";

const HEAD: &str = "# Files that belong together in this data directory: back them up and restore them together.\n\
                    # A start refuses to replace a missing one. Delete its line to have a new one made.\n";

/// Errors of the manifest.
#[derive(Debug, Error)]
pub enum ManifestError {
    /// A file of a used directory is missing.
    #[error(
        "{} is missing, and a new one would not fit the rest of this data directory: restore it from a backup, or, to go on with a new one on purpose, delete its line from {}",
        path.display(), manifest.display()
    )]
    Missing {
        /// The missing file.
        path: PathBuf,
        /// The manifest.
        manifest: PathBuf,
    },
    /// The write-ahead log of a database is missing.
    #[error(
        "{} is missing, and has the last transactions of a process that did not end in order: restore it. If the database was restored from a backup, or opened by another program since, delete {}; do so also to go on without those transactions on purpose",
        path.display(), mark.display()
    )]
    LogMissing {
        /// The missing log.
        path: PathBuf,
        /// The mark of an open database.
        mark: PathBuf,
    },
    /// The manifest cannot be read or written.
    #[error("cannot use {}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
}

/// Files of a configuration that belong to its data directory.
#[derive(Debug, Clone)]
pub struct Manifest {
    path: PathBuf,
    dir: PathBuf,
    files: Vec<PathBuf>,
    /// The embedded database, if the process uses it.
    database: Option<PathBuf>,
}

impl Manifest {
    /// Returns the files that processes of these roles need.
    pub fn of_roles(config: &Config, roles: &[Role]) -> Self {
        let mut manifest = Self::with_keys(config, roles);
        if roles.contains(&Role::DbAgent) {
            manifest.add_database(config);
        }
        manifest
    }

    /// Returns the files that `throng keygen` creates.
    pub fn of_keys(config: &Config) -> Self {
        Self::with_keys(config, Role::ALL)
    }

    /// Returns the embedded database alone, if the configuration has one.
    pub fn of_database(config: &Config) -> Self {
        let mut manifest = Self::empty(config);
        manifest.add_database(config);
        manifest
    }

    fn empty(config: &Config) -> Self {
        let dir = config.data.dir.clone();
        Self { path: dir.join(FILE), dir, files: Vec::new(), database: None }
    }

    fn with_keys(config: &Config, roles: &[Role]) -> Self {
        let key = |role: &Role| match role {
            Role::Login => Some(&config.login.key_file),
            Role::Chat => Some(&config.chat.key_file),
            Role::DbAgent => None,
        };
        let keys = roles.iter().filter_map(key).chain([&config.link.cluster_key_file]);
        Self { files: keys.map(|key| config.resolve(key)).collect(), ..Self::empty(config) }
    }

    fn add_database(&mut self, config: &Config) {
        if config.dbagent.engine == Engine::Sqlite {
            let database = config.resolve(&config.dbagent.database);
            self.files.push(database.clone());
            self.database = Some(database);
        }
    }

    /// Refuses if a listed file is missing, or the log of a database that was not closed.
    pub fn check(&self) -> Result<(), ManifestError> {
        let listed = self.read()?;
        let missing = self.files.iter().find(|file| listed.contains(&self.line(file)) && !file.exists());
        if let Some(path) = missing {
            return Err(ManifestError::Missing { path: path.clone(), manifest: self.path.clone() });
        }
        if let Some((log, mark)) = self.log_and_mark()
            && mark.exists()
            && !log.exists()
        {
            return Err(ManifestError::LogMissing { path: log, mark });
        }
        Ok(())
    }

    /// Lists the files that exist.
    pub fn record(&self) -> Result<(), ManifestError> {
        let _lock = lock_directory(&self.dir).map_err(|source| failed(&self.dir, source))?;
        let mut lines = self.read()?;
        let before = lines.len();
        // A name with a line break has no line, and is not guarded.
        let there = self.files.iter().filter(|file| file.exists()).map(|file| self.line(file));
        lines.extend(there.filter(|line| !line.contains('\n')));
        if lines.len() == before {
            return Ok(());
        }
        let text: String = lines.iter().flat_map(|line| [line.as_str(), "\n"]).collect();
        self.write(&format!("{HEAD}{text}")).map_err(|source| failed(&self.path, source))
    }

    /// Marks the database as open, once it has a write-ahead log. Returns false before.
    pub fn mark_open(&self) -> Result<bool, ManifestError> {
        let Some((log, mark)) = self.log_and_mark() else { return Ok(true) };
        if !log.exists() {
            return Ok(false);
        }
        let text = "The transactions of this database are partly in its write-ahead log (-wal).\n";
        let made = new_file(&mark).and_then(|mut file| file.write_all(text.as_bytes()));
        made.map(|()| true).map_err(|source| failed(&mark, source))
    }

    /// Removes the mark, before the database is closed: a kill in between must not leave a mark
    /// without a log.
    pub fn mark_closed(&self) -> Result<(), ManifestError> {
        let Some((_, mark)) = self.log_and_mark() else { return Ok(()) };
        match fs::remove_file(&mark) {
            Err(source) if source.kind() != io::ErrorKind::NotFound => Err(failed(&mark, source)),
            _ => Ok(()),
        }
    }

    /// Lists the database, and removes its mark if no log is left: after a command that had it open
    /// and has taken the log over.
    pub fn after_command(&self) -> Result<(), ManifestError> {
        if self.dir.exists() {
            self.record()?;
        }
        match self.log_and_mark() {
            Some((log, _)) if !log.exists() => self.mark_closed(),
            _ => Ok(()),
        }
    }

    fn log_and_mark(&self) -> Option<(PathBuf, PathBuf)> {
        let database = self.database.as_ref()?;
        let beside = |end: &str| {
            let mut name = database.clone().into_os_string();
            name.push(end);
            PathBuf::from(name)
        };
        Some((beside("-wal"), beside("-open")))
    }

    /// The line of a file: its path, relative to the directory if it is inside.
    fn line(&self, file: &Path) -> String {
        file.strip_prefix(&self.dir).unwrap_or(file).to_string_lossy().into_owned()
    }

    fn read(&self) -> Result<BTreeSet<String>, ManifestError> {
        match fs::read_to_string(&self.path) {
            Ok(text) => {
                let lines = text.lines().map(str::trim);
                Ok(lines
                    .filter(|line| !line.is_empty() && !line.starts_with('#'))
                    .map(str::to_owned)
                    .collect())
            }
            Err(source) if source.kind() == io::ErrorKind::NotFound => Ok(BTreeSet::new()),
            Err(source) => Err(failed(&self.path, source)),
        }
    }

    /// Replaces the manifest: a reader sees the old or the new content.
    fn write(&self, text: &str) -> io::Result<()> {
        let temporary = self.dir.join(format!("{FILE}.{}", std::process::id()));
        let written = new_file(&temporary).and_then(|mut file| {
            file.write_all(text.as_bytes())?;
            file.sync_all()?;
            fs::rename(&temporary, &self.path)
        });
        if written.is_err() {
            let _ = fs::remove_file(&temporary);
        }
        written
    }
}

fn failed(path: &Path, source: io::Error) -> ManifestError {
    ManifestError::Io { path: path.into(), source }
}

fn new_file(path: &Path) -> io::Result<fs::File> {
    OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(dir: &Path) -> Config {
        let mut config = Config::default();
        config.data.dir = dir.into();
        config
    }

    fn touch(config: &Config, names: &[&str]) {
        for name in names {
            fs::write(config.resolve(Path::new(name)), "x").unwrap();
        }
    }

    #[test]
    fn a_fresh_directory_lacks_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let config = config(&dir.path().join("data"));
        let manifest = Manifest::of_roles(&config, Role::ALL);
        manifest.check().unwrap();
        fs::create_dir(&config.data.dir).unwrap();
        touch(&config, &["cluster.key"]);
        manifest.record().unwrap();
        manifest.check().unwrap();
        assert!(!manifest.mark_open().unwrap(), "a database that does not exist is not open");
    }

    #[test]
    fn a_missing_file_of_a_used_directory_is_refused_until_its_line_is_deleted() {
        let dir = tempfile::tempdir().unwrap();
        let config = config(dir.path());
        let all = ["cluster.key", "login.key", "chat.key", "throng.db"];
        for (missing, roles) in [
            ("login.key", [Role::Login]),
            ("chat.key", [Role::Chat]),
            ("throng.db", [Role::DbAgent]),
            ("cluster.key", [Role::Chat]),
        ] {
            touch(&config, &all);
            Manifest::of_roles(&config, Role::ALL).record().unwrap();
            fs::remove_file(dir.path().join(missing)).unwrap();
            for roles in [&roles[..], Role::ALL] {
                let manifest = Manifest::of_roles(&config, roles);
                let error = manifest.check().unwrap_err().to_string();
                assert!(error.contains(missing) && error.contains("backup"), "{error}");
                assert!(error.contains(manifest.path.to_str().unwrap()), "{error}");
                // A missing file stays listed.
                manifest.record().unwrap();
                manifest.check().unwrap_err();
            }
            let text = fs::read_to_string(dir.path().join(FILE)).unwrap();
            fs::write(dir.path().join(FILE), text.replace(&format!("{missing}\n"), "")).unwrap();
            Manifest::of_roles(&config, Role::ALL).check().unwrap();
        }
        assert!(Manifest::of_keys(&config).check().is_ok());
    }

    #[test]
    fn files_elsewhere_and_other_roles_are_told_apart() {
        let dir = tempfile::tempdir().unwrap();
        let elsewhere = tempfile::tempdir().unwrap();
        let mut config = config(dir.path());
        config.login.key_file = elsewhere.path().join("login.key");
        touch(&config, &["cluster.key", "chat.key", elsewhere.path().join("login.key").to_str().unwrap()]);
        Manifest::of_keys(&config).record().unwrap();
        fs::remove_file(&config.login.key_file).unwrap();
        Manifest::of_roles(&config, &[Role::Chat]).check().unwrap();
        Manifest::of_roles(&config, &[Role::Login]).check().unwrap_err();
        // Another file is another matter.
        config.login.key_file = "login.key".into();
        Manifest::of_roles(&config, &[Role::Login]).check().unwrap();
        config.dbagent.engine = Engine::Postgres;
        assert!(Manifest::of_database(&config).files.is_empty());
    }

    #[test]
    fn a_database_without_its_log_after_a_kill_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let config = config(dir.path());
        let manifest = Manifest::of_roles(&config, &[Role::DbAgent]);
        touch(&config, &["cluster.key", "throng.db", "throng.db-wal"]);
        assert!(manifest.mark_open().unwrap());
        // A kill: the mark and the log stay.
        manifest.check().unwrap();
        fs::remove_file(dir.path().join("throng.db-wal")).unwrap();
        let error = manifest.check().unwrap_err().to_string();
        assert!(error.contains("throng.db-wal") && error.contains("throng.db-open"), "{error}");
        // A command of ours that has taken the log over.
        Manifest::of_database(&config).after_command().unwrap();
        manifest.check().unwrap();
        // An end in order.
        touch(&config, &["throng.db-wal"]);
        assert!(manifest.mark_open().unwrap());
        manifest.mark_closed().unwrap();
        fs::remove_file(dir.path().join("throng.db-wal")).unwrap();
        manifest.check().unwrap();
        manifest.mark_closed().unwrap();
    }
}
