//! Pins threads and processes to cores.

use std::io;

use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};
use thiserror::Error;

/// A core cannot be used.
#[derive(Debug, Error)]
pub enum PinError {
    /// The core does not exist, or this process may not use it.
    #[error(
        "core {core} is not among those that this process may use ({}): choose others with --server-core and --client-core",
        list(allowed)
    )]
    NotAllowed {
        /// The requested core.
        core: usize,
        /// The cores that may be used.
        allowed: Vec<usize>,
    },
    /// The system call failed.
    #[error("cannot choose a core: {0}")]
    System(#[from] io::Error),
}

fn list(cores: &[usize]) -> String {
    cores.iter().map(usize::to_string).collect::<Vec<_>>().join(", ")
}

/// The cores that this thread may use.
pub fn allowed() -> Result<Vec<usize>, PinError> {
    let set = sched_getaffinity(None).map_err(io::Error::from)?;
    Ok((0..CpuSet::MAX_CPU).filter(|core| set.is_set(*core)).collect())
}

/// Runs `work` on `core`. Threads and processes that it starts stay there; this thread returns to
/// its cores.
pub fn on<T>(core: usize, work: impl FnOnce() -> T) -> Result<T, PinError> {
    let before = sched_getaffinity(None).map_err(io::Error::from)?;
    set(only(core)?)?;
    let result = work();
    set(before)?;
    Ok(result)
}

/// Fails unless this thread may use `core`.
pub fn check(core: usize) -> Result<(), PinError> {
    let allowed = allowed()?;
    if allowed.contains(&core) { Ok(()) } else { Err(PinError::NotAllowed { core, allowed }) }
}

/// Keeps this thread, and those that it starts, on a core until dropped. Meanwhile [`on`] may still
/// use the other cores.
#[derive(Debug)]
pub struct Pinned(CpuSet);

impl Pinned {
    /// Pins this thread to `core`.
    pub fn to(core: usize) -> Result<Self, PinError> {
        check(core)?;
        let before = sched_getaffinity(None).map_err(io::Error::from)?;
        set(only(core)?)?;
        Ok(Self(before))
    }
}

impl Drop for Pinned {
    fn drop(&mut self) {
        let _ = set(self.0);
    }
}

fn only(core: usize) -> Result<CpuSet, PinError> {
    if core >= CpuSet::MAX_CPU {
        return Err(PinError::NotAllowed { core, allowed: allowed()? });
    }
    let mut only = CpuSet::new();
    only.set(core);
    Ok(only)
}

fn set(cores: CpuSet) -> Result<(), PinError> {
    Ok(sched_setaffinity(None, &cores).map_err(io::Error::from)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_returns_to_its_cores() {
        let before = allowed().expect("the system says");
        let core = before[before.len() - 1];
        assert_eq!(on(core, allowed).expect("it is allowed").expect("the system says"), [core]);
        assert_eq!(allowed().expect("the system says"), before);
        let pinned = Pinned::to(core).expect("it is allowed");
        assert_eq!(allowed().expect("the system says"), [core]);
        assert_eq!(on(before[0], allowed).expect("it was allowed").expect("the system says"), [before[0]]);
        drop(pinned);
        assert_eq!(allowed().expect("the system says"), before);
    }

    #[test]
    fn a_core_that_does_not_exist_is_refused() {
        for core in [1000, 100_000] {
            let error = Pinned::to(core).unwrap_err().to_string();
            assert!(error.contains(&format!("core {core} is not among")), "{error}");
        }
    }
}
