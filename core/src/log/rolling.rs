//! The log file: rotated at a size, with a bounded number of old files.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// `throng.log`, followed by `throng.log.1` (the youngest) and so on.
#[derive(Debug)]
pub(super) struct RollingFile {
    path: PathBuf,
    file: File,
    /// Bytes in the current file.
    size: u64,
    /// Bytes at which the file is rotated.
    size_max: u64,
    /// Files kept, the current one included.
    files: usize,
}

impl RollingFile {
    /// Opens the file at `path` for appending; a new file is readable by its owner only.
    pub(super) fn open(path: PathBuf, size_max: u64, files: usize) -> io::Result<Self> {
        let file = open(&path)?;
        let size = file.metadata()?.len();
        Ok(Self { path, file, size, size_max, files })
    }

    /// Writes one line whole, to a new file if it does not fit the current one.
    pub(super) fn write_line(&mut self, line: &[u8]) -> io::Result<()> {
        let full = self.size > 0 && self.size + line.len() as u64 > self.size_max;
        let rotated = if full { self.rotate() } else { Ok(()) };
        // If the rotation fails, the current file grows: no line is lost, and the next line
        // retries.
        self.file.write_all(line)?;
        self.size += line.len() as u64;
        rotated
    }

    fn rotate(&mut self) -> io::Result<()> {
        if self.files == 1 {
            self.file.set_len(0)?;
        } else {
            // The new file is opened first: if that fails, no file has been renamed yet.
            let new = self.path.with_extension("new");
            let file = open(&new)?;
            for age in (0..self.files - 1).rev() {
                rename_if_there(&self.aged(age), &self.aged(age + 1))?;
            }
            fs::rename(&new, &self.path)?;
            self.file = file;
        }
        self.size = 0;
        Ok(())
    }

    /// Returns the path of the file that was rotated `age` times.
    fn aged(&self, age: usize) -> PathBuf {
        let mut name = self.path.clone().into_os_string();
        if age == 0 {
            return name.into();
        }
        name.push(format!(".{age}"));
        name.into()
    }
}

fn open(path: &Path) -> io::Result<File> {
    OpenOptions::new().append(true).create(true).mode(0o600).open(path)
}

fn rename_if_there(from: &Path, to: &Path) -> io::Result<()> {
    match fs::rename(from, to) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        result => result,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Writes `lines` lines of 10 bytes into files of 30 bytes; `wanted` has each file's lines.
    fn check(files: usize, lines: u32, wanted: &[&[u32]]) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("throng.log");
        let mut log = RollingFile::open(path, 30, files).unwrap();
        for n in 0..lines {
            log.write_line(format!("{n:09}\n").as_bytes()).unwrap();
        }
        let found: Vec<Vec<u32>> = (0..)
            .map(|age| log.aged(age))
            .map_while(|path| fs::read_to_string(path).ok())
            .map(|text| text.lines().map(|line| line.parse().unwrap()).collect())
            .collect();
        assert_eq!(found, wanted);
    }

    #[test]
    fn the_youngest_files_are_kept() {
        check(3, 0, &[&[]]);
        check(3, 3, &[&[0, 1, 2]]);
        check(3, 4, &[&[3], &[0, 1, 2]]);
        check(3, 9, &[&[6, 7, 8], &[3, 4, 5], &[0, 1, 2]]);
        check(3, 10, &[&[9], &[6, 7, 8], &[3, 4, 5]]);
        check(2, 10, &[&[9], &[6, 7, 8]]);
        check(1, 10, &[&[9]]);
    }

    #[test]
    fn a_failed_rotation_keeps_the_old_files() {
        let dir = tempfile::tempdir().unwrap();
        let mut log = RollingFile::open(dir.path().join("throng.log"), 30, 3).unwrap();
        (0..6).for_each(|n| log.write_line(format!("{n:09}\n").as_bytes()).unwrap());
        // A directory takes the place of the new file.
        fs::create_dir(dir.path().join("throng.new")).unwrap();
        for n in 6..9 {
            assert!(log.write_line(format!("{n:09}\n").as_bytes()).is_err(), "no error");
        }
        let read = |age| fs::read_to_string(log.aged(age)).unwrap();
        assert_eq!(read(1), "000000000\n000000001\n000000002\n");
        assert_eq!(read(0).lines().count(), 6, "a line was lost");
    }

    #[test]
    fn an_existing_file_is_continued_and_a_long_line_stays_whole() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("throng.log");
        fs::write(&path, "before\n").unwrap();
        let mut log = RollingFile::open(path.clone(), 30, 3).unwrap();
        log.write_line(b"after\n").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"before\nafter\n");
        log.write_line(&[b'x'; 100]).unwrap();
        assert_eq!(fs::read(&path).unwrap(), [b'x'; 100]);
    }
}
