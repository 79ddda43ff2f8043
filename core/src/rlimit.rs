//! The limit on open files. Every session is an open file.

use std::fmt;
use std::io;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use thiserror::Error;

/// The system refuses to raise the limit.
#[derive(Debug, Error)]
#[error(
    "cannot raise the limit on open files from {from} to {to}: {source}; raise it with `ulimit -n` or the service's LimitNOFILE"
)]
pub struct RaiseError {
    /// The soft limit.
    pub from: u64,
    /// The requested soft limit, which is the hard limit.
    pub to: u64,
    /// The system's error.
    pub source: io::Error,
}

/// The number of files that this process may have open; `u64::MAX` is no limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FileLimit {
    /// The soft limit before it was raised.
    pub before: u64,
    /// The soft limit in force.
    pub now: u64,
    /// The hard limit, which only an administrator can raise.
    pub hard: u64,
}

impl FileLimit {
    /// Returns the present limit.
    pub fn current() -> Self {
        let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
        let soft = current.unwrap_or(u64::MAX);
        Self { before: soft, now: soft, hard: maximum.unwrap_or(u64::MAX) }
    }

    /// Raises the soft limit to the hard limit.
    pub fn raise() -> Result<Self, RaiseError> {
        let limit = Self::current();
        if limit.now == limit.hard {
            return Ok(limit);
        }
        let wanted = Rlimit { current: some(limit.hard), maximum: some(limit.hard) };
        match setrlimit(Resource::Nofile, wanted) {
            Ok(()) => Ok(Self { now: limit.hard, ..limit }),
            Err(error) => Err(RaiseError { from: limit.now, to: limit.hard, source: error.into() }),
        }
    }

    /// Returns the number of sessions that fit if `reserved` files are kept for everything else.
    pub fn sessions_that_fit(&self, reserved: u64) -> u64 {
        self.now.saturating_sub(reserved)
    }
}

impl fmt::Display for FileLimit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} open files", self.now)?;
        if self.now != self.before {
            write!(f, " (raised from {})", self.before)?;
        }
        Ok(())
    }
}

fn some(limit: u64) -> Option<u64> {
    (limit != u64::MAX).then_some(limit)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_soft_limit_is_raised_to_the_hard_limit() {
        let limit = FileLimit::raise().unwrap();
        assert_eq!(limit.now, limit.hard);
        assert_eq!(FileLimit::current().now, limit.hard);
    }

    #[test]
    fn sessions_share_the_files_with_the_rest() {
        let limit = FileLimit { before: 1024, now: 4096, hard: 4096 };
        assert_eq!((limit.sessions_that_fit(96), limit.sessions_that_fit(5000)), (4000, 0));
        assert_eq!(limit.to_string(), "4096 open files (raised from 1024)");
    }
}
