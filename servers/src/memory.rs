//! Gives memory back to the system after a crowd has come or gone.
//!
//! While thousands enter, pages of lists and handshakes take memory for a moment, and what stays of each session lies between.
//! The system's allocator keeps the pieces: after 10,000 had entered it held 14.4 MB more than before, of which 5 MB were
//! free (results: `scripts/measure/broadcast idle`). One call returns them.

use std::time::Duration;

/// How often sessions are counted.
pub(crate) const LOOK: Duration = Duration::from_secs(5);

/// A change of so many sessions is a crowd.
const CROWD: i64 = 1000;

/// Notices when a crowd has come or gone, and is through.
#[derive(Debug, Default)]
pub(crate) struct TrimPolicy {
    /// Sessions when memory was last given back.
    settled: i64,
    /// Sessions at the last look.
    last: i64,
}

impl TrimPolicy {
    /// So many sessions there are now. True when many have come or gone since the last time, and few since the last look.
    pub(crate) fn should_trim(&mut self, sessions: i64) -> bool {
        let moved = (sessions - std::mem::replace(&mut self.last, sessions)).abs();
        if (sessions - self.settled).abs() < CROWD || moved > CROWD / 10 {
            return false;
        }
        self.settled = sessions;
        true
    }
}

/// Has the allocator return free pages. Threads that allocate meanwhile wait for some milliseconds.
pub(crate) fn give_back() {
    #[cfg(target_env = "gnu")]
    // SAFETY: malloc_trim(3) takes no pointer and is safe for threads; it only looks at what is free.
    unsafe {
        libc::malloc_trim(0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_given_back_once_a_crowd_is_through() {
        let mut crowds = TrimPolicy::default();
        let steps = [
            (10, false),
            (900, false),
            (5000, false),
            (9000, false),
            (9050, true),
            (9050, false),
            (9500, false),
            (8200, false),
            (8150, false),
            (20, false),
            (15, true),
            (15, false),
        ];
        for (sessions, wanted) in steps {
            assert_eq!(crowds.should_trim(sessions), wanted, "{sessions} sessions");
        }
    }

    #[test]
    fn giving_back_changes_nothing_that_is_in_use() {
        let kept = vec![7u8; 1 << 20];
        give_back();
        assert!(kept.iter().all(|byte| *byte == 7));
    }
}
