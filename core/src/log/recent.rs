//! The most recent log lines, in bounded memory.

use crate::limits::{LOG_RECENT, LOG_RECENT_LINE_MAX};

/// A ring of [`LOG_RECENT`] lines, each cut at [`LOG_RECENT_LINE_MAX`] bytes. A line reuses the
/// buffer of the line that it replaces.
#[derive(Debug)]
pub(super) struct Recent {
    lines: Vec<Vec<u8>>,
    /// Index of the oldest line, which the next line replaces once the ring is full.
    next: usize,
}

impl Recent {
    pub(super) const fn new() -> Self {
        Self { lines: Vec::new(), next: 0 }
    }

    pub(super) fn push(&mut self, line: &[u8]) {
        let line = line.trim_ascii_end();
        let line = &line[..line.len().min(LOG_RECENT_LINE_MAX)];
        if self.lines.len() < LOG_RECENT {
            self.lines.push(line.to_vec());
            return;
        }
        let slot = &mut self.lines[self.next];
        slot.clear();
        slot.extend_from_slice(line);
        self.next = (self.next + 1) % LOG_RECENT;
    }

    /// Returns the lines, the oldest first.
    pub(super) fn lines(&self) -> Vec<String> {
        let (newer, older) = self.lines.split_at(self.next);
        older.iter().chain(newer).map(|line| String::from_utf8_lossy(line).into_owned()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_lines_stay_in_order() {
        let check = |count: usize, wanted: std::ops::Range<usize>| {
            let mut recent = Recent::new();
            for n in 0..count {
                recent.push(format!("line {n}\n").as_bytes());
            }
            assert_eq!(recent.lines(), wanted.map(|n| format!("line {n}")).collect::<Vec<_>>());
        };
        check(0, 0..0);
        check(3, 0..3);
        check(LOG_RECENT, 0..LOG_RECENT);
        check(LOG_RECENT + 1, 1..LOG_RECENT + 1);
        check(3 * LOG_RECENT + 7, 2 * LOG_RECENT + 7..3 * LOG_RECENT + 7);
    }

    #[test]
    fn a_long_line_is_cut() {
        let mut recent = Recent::new();
        recent.push("ü".repeat(LOG_RECENT_LINE_MAX).as_bytes());
        recent.push(&[b'x'; LOG_RECENT_LINE_MAX + 1]);
        assert_eq!(recent.lines()[1].len(), LOG_RECENT_LINE_MAX);
    }
}
