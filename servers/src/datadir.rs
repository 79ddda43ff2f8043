//! The data directory: private to its owner, with one process for each role in it.

use std::fs::{DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use thiserror::Error;
use throng_core::endpoints::{Endpoints, EndpointsError};

use crate::role::Role;

/// Errors of the data directory.
#[derive(Debug, Error)]
pub enum DataDirError {
    /// The directory or a file in it cannot be created or opened.
    #[error("cannot use {} in the data directory: {source}; set data.dir (or --data) to a directory that you own", path.display())]
    Io {
        /// The directory or file.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// Another process runs the role in this directory.
    #[error("process {pid} already runs the {role} server in {}: stop it, or use another directory with --data", dir.display())]
    Locked {
        /// The role.
        role: Role,
        /// The directory.
        dir: PathBuf,
        /// The id of the other process, or `(unknown)`.
        pid: String,
    },
}

/// A data directory in use by this process.
///
/// Dropping it removes the process from `endpoints.toml` and unlocks the directory.
#[derive(Debug)]
pub struct DataDir {
    path: PathBuf,
    published: Option<Endpoints>,
    /// `ROLE.lock` of each role, with the process id in it, locked while the file is open. One file
    /// for each role lets three processes share the directory and its keys.
    _locks: Vec<File>,
}

impl DataDir {
    /// Opens `path` for a process with these roles. A missing directory is created.
    pub fn open(path: &Path, roles: &[Role]) -> Result<Self, DataDirError> {
        create_private(path)?;
        let locks = roles.iter().map(|role| lock(path, *role)).collect::<Result<_, _>>()?;
        Ok(Self { path: path.into(), published: None, _locks: locks })
    }

    /// Returns the path of the directory.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Publishes the addresses on which this process listens, until it ends.
    pub fn publish(&mut self, endpoints: Endpoints) -> Result<(), EndpointsError> {
        endpoints.publish(&self.path)?;
        self.published = Some(endpoints);
        Ok(())
    }
}

impl Drop for DataDir {
    fn drop(&mut self) {
        if let Some(endpoints) = self.published.take()
            && let Err(error) = endpoints.withdraw(&self.path)
        {
            tracing::warn!("{error}");
        }
    }
}

/// Creates a directory and its missing parents, which only the owner can enter. An existing
/// directory is left as it is.
pub fn create_private(path: &Path) -> Result<(), DataDirError> {
    let made = DirBuilder::new().recursive(true).mode(0o700).create(path);
    made.map_err(|source| DataDirError::Io { path: path.into(), source })
}

fn lock(dir: &Path, role: Role) -> Result<File, DataDirError> {
    let path = dir.join(format!("{role}.lock"));
    let failed = |source| DataDirError::Io { path: path.clone(), source };
    let mut options = OpenOptions::new();
    // Not truncated, because the content belongs to the process that holds the lock.
    let mut file = options
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(&path)
        .map_err(failed)?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::Error(source)) => return Err(failed(source)),
        Err(TryLockError::WouldBlock) => {
            let mut pid = String::new();
            let known = file.read_to_string(&mut pid).is_ok() && !pid.trim().is_empty();
            let pid = if known { pid.trim().to_owned() } else { "(unknown)".into() };
            return Err(DataDirError::Locked { role, dir: dir.into(), pid });
        }
    }
    let write = |file: &mut File| {
        file.set_len(0)?;
        file.rewind()?;
        writeln!(file, "{}", std::process::id())
    };
    write(&mut file).map_err(failed)?;
    Ok(file)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    use throng_core::endpoints::Endpoint;

    use super::*;

    #[test]
    fn the_directory_is_created_and_private() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a/b");
        let opened = DataDir::open(&path, Role::ALL).unwrap();
        assert_eq!(fs::metadata(opened.path()).unwrap().permissions().mode() & 0o777, 0o700);
        fs::write(dir.path().join("file"), "").unwrap();
        let error = DataDir::open(&dir.path().join("file"), Role::ALL).unwrap_err().to_string();
        assert!(error.contains("/file") && error.contains("--data"), "{error}");
    }

    #[test]
    fn a_second_process_is_refused_with_the_id_of_the_first() {
        let dir = tempfile::tempdir().unwrap();
        let first = DataDir::open(dir.path(), Role::ALL).unwrap();
        let error = DataDir::open(dir.path(), &[Role::Chat]).unwrap_err().to_string();
        assert!(error.contains(&std::process::id().to_string()), "{error}");
        assert!(error.contains(dir.path().to_str().unwrap()) && error.contains("chat"), "{error}");
        drop(first);
        let _again = DataDir::open(dir.path(), &[Role::Chat]).unwrap();
        let _beside = DataDir::open(dir.path(), &[Role::Login]).unwrap();
        assert!(DataDir::open(dir.path(), Role::ALL).is_err());
    }

    #[test]
    fn endpoints_are_withdrawn_when_the_process_ends() {
        let dir = tempfile::tempdir().unwrap();
        let mut opened = DataDir::open(dir.path(), &[Role::Login]).unwrap();
        let login = Some(Endpoint::new(([127, 0, 0, 1], 9000).into(), Some(&[7; 32])));
        let endpoints = Endpoints { pid: 1, login, ..Endpoints::default() };
        opened.publish(endpoints.clone()).unwrap();
        assert_eq!(Endpoints::read(dir.path()).unwrap(), endpoints);
        drop(opened);
        assert!(matches!(Endpoints::read(dir.path()), Err(EndpointsError::Missing { .. })));
    }
}
