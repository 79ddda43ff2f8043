//! Output of the commands.

use std::io;

/// Writes text to standard output.
pub type Print<'a> = dyn FnMut(&str) -> io::Result<()> + 'a;
