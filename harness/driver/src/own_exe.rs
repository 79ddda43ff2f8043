//! The program that runs: it starts itself for a part of a run.

use std::io;
use std::path::PathBuf;

/// Where this program is.
pub fn own_exe() -> io::Result<PathBuf> {
    std::env::current_exe()
}
