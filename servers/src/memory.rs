//! Gives memory back to the system after a crowd has come or gone.
//!
//! While thousands enter, pages of lists and handshakes take memory for a moment, and what stays of each session lies between.
//! The system's allocator keeps the pieces: after 10,000 had entered it held 14.4 MB more than before, of which 5 MB were
//! free (results: `scripts/measure-broadcast idle`). One call returns them.

use std::time::Duration;

/// How often sessions are counted.
pub(crate) const CHECK_INTERVAL: Duration = Duration::from_secs(5);

/// A change of so many sessions is a crowd.
const TRIM_THRESHOLD: i64 = 1000;

/// Notices when a crowd has come or gone, and is through.
#[derive(Debug, Default)]
pub(crate) struct TrimPolicy {
    /// Sessions when memory was last given back.
    at_last_trim: i64,
    /// Sessions at the last look.
    at_last_check: i64,
}

impl TrimPolicy {
    /// So many sessions there are now. True when many have come or gone since the last time, and few since the last look.
    pub(crate) fn should_trim(&mut self, sessions: i64) -> bool {
        let since_last_check = (sessions - self.at_last_check).abs();
        let since_last_trim = (sessions - self.at_last_trim).abs();
        self.at_last_check = sessions;
        if since_last_trim < TRIM_THRESHOLD || since_last_check > TRIM_THRESHOLD / 10 {
            return false;
        }
        self.at_last_trim = sessions;
        true
    }
}

/// Has the allocator return free pages. Threads that allocate meanwhile wait for some milliseconds.
pub(crate) fn trim() {
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
        let mut policy = TrimPolicy::default();
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
            assert_eq!(policy.should_trim(sessions), wanted, "{sessions} sessions");
        }
    }

    #[test]
    fn giving_back_changes_nothing_that_is_in_use() {
        let kept = vec![7u8; 1 << 20];
        trim();
        assert!(kept.iter().all(|byte| *byte == 7));
    }
}
