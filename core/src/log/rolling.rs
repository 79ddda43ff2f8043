//! The log file: rotated at a size, with a bounded number of old files.
//!
//! Other processes may write to the file, rotate it or remove it. The path is therefore looked up
//! again once a second, and before each rotation; of several processes that want to rotate a file
//! at one time, the one that has locked it does.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Interval at which the path is looked up.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);

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
    /// Time at which the path was looked up last.
    looked: Instant,
}

impl RollingFile {
    /// Opens the file at `path` for appending; a new file is readable by its owner only.
    pub(super) fn open(path: PathBuf, size_max: u64, files: usize) -> io::Result<Self> {
        let file = open(&path)?;
        let size = file.metadata()?.len();
        Ok(Self { path, file, size, size_max, files, looked: Instant::now() })
    }

    /// Writes one line whole, to a new file if it does not fit the current one.
    pub(super) fn write_line(&mut self, line: &[u8]) -> io::Result<()> {
        let looked = if self.looked.elapsed() >= LOOK_INTERVAL { self.look().map(drop) } else { Ok(()) };
        let rotated = if self.is_full(line) { self.rotate(line) } else { Ok(()) };
        // If the rotation fails, the current file grows: no line is lost, and the next line
        // retries.
        self.file.write_all(line)?;
        self.size += line.len() as u64;
        looked.and(rotated)
    }

    /// Opens the file at the path, which may be another one by now.
    pub(super) fn reopen(&mut self) -> io::Result<()> {
        self.looked = Instant::now();
        let file = open(&self.path)?;
        self.size = file.metadata()?.len();
        self.file = file;
        Ok(())
    }

    fn is_full(&self, line: &[u8]) -> bool {
        self.size > 0 && self.size + line.len() as u64 > self.size_max
    }

    /// Looks up the path: opens the file anew if another one, or none, is there, and learns of what
    /// other processes have written or cut off. Returns true for another file.
    fn look(&mut self) -> io::Result<bool> {
        self.looked = Instant::now();
        let ours = self.file.metadata()?;
        match fs::metadata(&self.path) {
            Ok(there) if (there.dev(), there.ino()) == (ours.dev(), ours.ino()) => {
                self.size = ours.len();
                Ok(false)
            }
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => self.reopen().map(|()| true),
        }
    }

    fn rotate(&mut self, line: &[u8]) -> io::Result<()> {
        // A duplicate holds the lock, because `self.file` is replaced.
        let lock = self.file.try_clone()?;
        // A file system without locks is no reason to let the file grow for ever.
        if let Err(TryLockError::WouldBlock) = lock.try_lock() {
            return Ok(());
        }
        let rotated = match self.look() {
            Ok(is_another) if is_another || !self.is_full(line) => Ok(()),
            Ok(_) => self.rename(),
            Err(error) => Err(error),
        };
        // Fails only where there are no locks.
        let _ = lock.unlock();
        rotated
    }

    fn rename(&mut self) -> io::Result<()> {
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

    /// Has the next line look up the path, as after a second.
    fn let_a_second_pass(log: &mut RollingFile) {
        log.looked = Instant::now().checked_sub(LOOK_INTERVAL).unwrap();
    }

    #[test]
    fn a_file_that_is_renamed_removed_or_cut_is_noticed() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("throng.log");
        let mut log = RollingFile::open(path.clone(), 30, 3).unwrap();
        log.write_line(b"one\n").unwrap();
        fs::rename(&path, dir.path().join("elsewhere")).unwrap();
        let_a_second_pass(&mut log);
        log.write_line(b"two\n").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"two\n");
        assert_eq!(fs::read(dir.path().join("elsewhere")).unwrap(), b"one\n");
        fs::remove_file(&path).unwrap();
        let_a_second_pass(&mut log);
        log.write_line(b"three\n").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"three\n");
        // As logrotate's `copytruncate` does.
        fs::write(&path, "").unwrap();
        let_a_second_pass(&mut log);
        log.write_line(b"four\n").unwrap();
        assert_eq!((fs::read(&path).unwrap(), log.size), (b"four\n".to_vec(), 5));
    }

    #[test]
    fn a_directory_that_goes_away_costs_no_line_of_the_open_file() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("logs/throng.log");
        fs::create_dir(dir.path().join("logs")).unwrap();
        let mut log = RollingFile::open(path, 30, 3).unwrap();
        fs::rename(dir.path().join("logs"), dir.path().join("moved")).unwrap();
        let_a_second_pass(&mut log);
        assert!(log.write_line(b"one\n").is_err(), "no error");
        assert_eq!(fs::read(dir.path().join("moved/throng.log")).unwrap(), b"one\n");
    }

    #[test]
    fn processes_that_share_a_file_lose_no_line_when_it_rotates() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("throng.log");
        let open = || RollingFile::open(path.clone(), 300, 1000).unwrap();
        let threads = [0, 1, 2].map(|thread| {
            let mut log = open();
            std::thread::spawn(move || {
                for n in 0..500 {
                    log.write_line(format!("{:09}\n", thread * 1000 + n).as_bytes()).unwrap();
                }
            })
        });
        for thread in threads {
            thread.join().unwrap();
        }
        let log = open();
        let files = (0..).map(|age| log.aged(age)).map_while(|path| fs::read_to_string(path).ok());
        let mut lines: Vec<u32> = files
            .flat_map(|text| text.lines().map(|line| line.parse().unwrap()).collect::<Vec<_>>())
            .collect();
        lines.sort_unstable();
        let wanted: Vec<u32> = (0..3).flat_map(|thread| (0..500).map(move |n| thread * 1000 + n)).collect();
        assert_eq!(lines, wanted);
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
