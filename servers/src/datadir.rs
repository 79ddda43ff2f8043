//! The data directory: private to its owner, and one process for each role in it.

use std::fs::{DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use thiserror::Error;
use throng_core::endpoints::{Endpoints, EndpointsError};

use crate::role::Role;

/// Why the data directory cannot be used.
#[derive(Debug, Error)]
pub enum DataDirError {
    /// The directory or a file in it cannot be made or opened.
    #[error("cannot use {} in the data directory: {source}; set data.dir (or --data) to a directory of your own", path.display())]
    Io {
        /// The directory or file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// Another process has the role here.
    #[error("process {pid} already runs the {role} server in {}: stop it, or give this one another directory with --data", dir.display())]
    Locked {
        /// The role that is taken.
        role: Role,
        /// The directory.
        dir: PathBuf,
        /// The other process, or `(unknown)`.
        pid: String,
    },
}

/// A data directory in use by this process. Dropping it takes the process out of
/// `endpoints.toml` and lets the next one in.
#[derive(Debug)]
pub struct DataDir {
    path: PathBuf,
    published: Option<Endpoints>,
    /// `ROLE.lock`, held for as long as the file is open, with the process id in it. One for each
    /// role, so that three processes can share the directory and its keys.
    _locks: Vec<File>,
}

impl DataDir {
    /// Opens `path`, made when it is missing, for a process with these roles.
    pub fn open(path: &Path, roles: &[Role]) -> Result<Self, DataDirError> {
        create_private(path)?;
        let locks = roles.iter().map(|role| lock(path, *role)).collect::<Result<_, _>>()?;
        Ok(Self { path: path.into(), published: None, _locks: locks })
    }

    /// The directory.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Tells others where this process listens, until it ends.
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

/// Makes a directory, and those above it, that only its owner can enter. One that exists stays as it is.
pub fn create_private(path: &Path) -> Result<(), DataDirError> {
    let made = DirBuilder::new().recursive(true).mode(0o700).create(path);
    made.map_err(|source| DataDirError::Io { path: path.into(), source })
}

fn lock(dir: &Path, role: Role) -> Result<File, DataDirError> {
    let path = dir.join(format!("{role}.lock"));
    let failed = |source| DataDirError::Io { path: path.clone(), source };
    let mut options = OpenOptions::new();
    // Not truncated: the content belongs to whoever holds the lock.
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
    fn the_directory_is_made_and_private() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a/b");
        let opened = DataDir::open(&path, Role::ALL).unwrap();
        assert_eq!(fs::metadata(opened.path()).unwrap().permissions().mode() & 0o777, 0o700);
        fs::write(dir.path().join("file"), "").unwrap();
        let error = DataDir::open(&dir.path().join("file"), Role::ALL).unwrap_err().to_string();
        assert!(error.contains("/file") && error.contains("--data"), "{error}");
    }

    #[test]
    fn a_second_instance_is_refused_and_named() {
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
    fn endpoints_go_with_the_process() {
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
