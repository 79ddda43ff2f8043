//! Returns free memory to the system after many sessions have come or gone.
//!
//! Thousands of logins at once leave the heap fragmented: list pages and handshakes live for a
//! moment, sessions live long, and the allocator keeps the free pieces between them. After 10,000
//! logins it held 14.4 MB more than before, of which 5 MB were free (results:
//! `scripts/measure/broadcast idle`). One call returns them.

use std::time::Duration;

/// Interval at which sessions are counted.
pub(crate) const CHECK_INTERVAL: Duration = Duration::from_secs(5);

/// Change in the number of sessions that makes a trim worthwhile.
const TRIM_THRESHOLD: i64 = 1000;

/// Decides when to trim the heap: after a large change in the number of sessions has settled.
#[derive(Debug, Default)]
pub(crate) struct TrimPolicy {
    /// Sessions at the latest trim.
    at_last_trim: i64,
    /// Sessions at the latest check.
    at_last_check: i64,
}

impl TrimPolicy {
    /// Takes the current number of sessions. Returns true if it has changed by [`TRIM_THRESHOLD`]
    /// since the latest trim and by no more than a tenth of that since the latest check.
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

/// Returns the allocator's free pages to the system. Threads that allocate meanwhile wait for some
/// milliseconds.
pub(crate) fn trim() {
    #[cfg(target_env = "gnu")]
    // SAFETY: malloc_trim(3) takes no pointer and is thread-safe; it only touches free memory.
    unsafe {
        libc::malloc_trim(0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trim_is_due_once_a_large_change_has_settled() {
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
    fn a_trim_leaves_memory_in_use_alone() {
        let kept = vec![7u8; 1 << 20];
        trim();
        assert!(kept.iter().all(|byte| *byte == 7));
    }
}
