//! The path of this program, which starts itself for parts of a run.

use std::io;
use std::path::PathBuf;

/// Returns the path of the running executable.
pub fn own_exe() -> io::Result<PathBuf> {
    std::env::current_exe()
}
