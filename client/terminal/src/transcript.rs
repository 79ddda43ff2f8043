//! A file with all lines of all tabs, for those that want to keep them.

use std::cell::RefCell;
use std::fmt;
use std::fs::{File, OpenOptions};
use std::io::{self, BufWriter, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::Path;
use std::rc::Rc;

/// Appends lines to a file, if there is one: `2026-11-30 20:17:05 [World] Bee: hello`.
#[derive(Debug, Clone, Default)]
pub struct Transcript(Option<Rc<RefCell<Lines>>>);

#[derive(Debug)]
struct Lines {
    file: BufWriter<File>,
    /// The first error since the last flush.
    error: Option<io::Error>,
}

impl Transcript {
    /// Opens a file, or makes one that only its owner can read: it has whispers in it. Returns the
    /// permission bits of the file too.
    pub fn append_to(path: &Path) -> io::Result<(Self, u32)> {
        let file = OpenOptions::new().append(true).create(true).mode(0o600).open(path)?;
        let mode = file.metadata()?.permissions().mode();
        let lines = Lines { file: BufWriter::new(file), error: None };
        Ok((Self(Some(Rc::new(RefCell::new(lines)))), mode))
    }

    /// Adds a line of the tab with this title. The texts have no control characters.
    pub(crate) fn add(&self, title: &str, line: impl fmt::Display) {
        let Some(lines) = &self.0 else { return };
        let at = jiff::Zoned::now().strftime("%F %T");
        let mut lines = lines.borrow_mut();
        if let Err(error) = writeln!(lines.file, "{at} [{title}] {line}") {
            lines.error.get_or_insert(error);
        }
    }

    /// Writes what was added to the file. After an error nothing more is added.
    pub(crate) fn flush(&mut self) -> io::Result<()> {
        let Some(lines) = &self.0 else { return Ok(()) };
        let mut lines = lines.borrow_mut();
        let result = lines.error.take().map_or(Ok(()), Err).and_then(|()| lines.file.flush());
        drop(lines);
        result.inspect_err(|_| self.0 = None)
    }
}
