//! Window of a session: a bound on the work of one session that is under way at a time.
//!
//! A packet of a client is under way from its admission by the shard until its handler has run and
//! everything that it caused has been written: answers and copies at the next flush, frames of a
//! room once the sweep has passed every member. A session whose window is full is not read. It
//! waits in its own socket, while the packets of other sessions pass.
//!
//! The window replaces queues for each session: the queues between shards and content threads stay
//! first come first served, and are fair because no session can have more than a window in them.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use crate::limits::WINDOW_UNITS;

/// Window of one session.
pub struct Window {
    /// Units under way. Only the session's shard adds.
    under_way: AtomicU32,
    /// True while the session waits for its window.
    is_waiting: AtomicBool,
    /// Wakes the session's shard.
    wake: Arc<dyn Fn() + Send + Sync>,
}

impl Window {
    /// Creates an empty window. `wake` wakes the shard of the session, on any thread.
    pub fn new(wake: Arc<dyn Fn() + Send + Sync>) -> Arc<Self> {
        Arc::new(Self { under_way: AtomicU32::new(0), is_waiting: AtomicBool::new(false), wake })
    }

    /// Admits work of `units`. Returns `None` while the window is full; then the shard is woken
    /// once half of the window is free. Only for the session's shard.
    ///
    /// Work larger than what is left is admitted, so that any packet fits into an empty window.
    pub fn admit(self: &Arc<Self>, units: u32) -> Option<Charge> {
        let is_full = || self.under_way.load(Ordering::SeqCst) >= WINDOW_UNITS;
        if is_full() {
            self.is_waiting.store(true, Ordering::SeqCst);
            // The last charge may have been dropped before the flag was set.
            if is_full() {
                return None;
            }
            self.is_waiting.store(false, Ordering::SeqCst);
        }
        self.under_way.fetch_add(units, Ordering::SeqCst);
        Some(Charge(Arc::new(Admitted { window: self.clone(), units })))
    }
}

/// Part of a [`Window`] that a packet takes up, until the last clone is dropped.
#[derive(Clone)]
pub struct Charge(Arc<Admitted>);

impl std::fmt::Debug for Charge {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Charge").field(&self.0.units).finish()
    }
}

struct Admitted {
    window: Arc<Window>,
    units: u32,
}

impl Drop for Admitted {
    fn drop(&mut self) {
        let left = self.window.under_way.fetch_sub(self.units, Ordering::SeqCst) - self.units;
        if left < WINDOW_UNITS.div_ceil(2) && self.window.is_waiting.swap(false, Ordering::SeqCst) {
            (self.window.wake)();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;
    use std::thread;

    use super::*;

    fn window() -> (Arc<Window>, Arc<AtomicUsize>) {
        let wakes = Arc::new(AtomicUsize::new(0));
        let count = wakes.clone();
        let wake = move || {
            count.fetch_add(1, Ordering::SeqCst);
        };
        (Window::new(Arc::new(wake)), wakes)
    }

    #[test]
    fn a_full_window_admits_nothing_until_work_is_done_and_wakes_once() {
        let (window, wakes) = window();
        let mut charges: Vec<_> =
            (0..WINDOW_UNITS).map(|_| window.admit(1).expect("the window has room")).collect();
        assert!(window.admit(1).is_none());
        let clone = charges[0].clone();
        charges.truncate(1);
        assert_eq!(wakes.load(Ordering::SeqCst), 1, "half of the window is free");
        drop(charges);
        let all = window.admit(10 * WINDOW_UNITS).expect("any packet fits into a window with room");
        assert!(window.admit(1).is_none());
        drop(all);
        assert_eq!(wakes.load(Ordering::SeqCst), 2);
        assert_eq!(window.under_way.load(Ordering::SeqCst), 1, "a clone is under way");
        drop(clone);
        assert_eq!(window.under_way.load(Ordering::SeqCst), 0);
        assert_eq!(wakes.load(Ordering::SeqCst), 2, "the session does not wait");
    }

    #[test]
    fn no_wake_is_lost_between_threads() {
        let parker = crossbeam_utils::sync::Parker::new();
        let unparker = parker.unparker().clone();
        let window = Window::new(Arc::new(move || unparker.unpark()));
        let (done, under_way) = std::sync::mpsc::channel::<Charge>();
        let worker = thread::spawn(move || under_way.iter().count());
        for _ in 0..20_000 {
            let begun = std::time::Instant::now();
            let charge = loop {
                match window.admit(1) {
                    Some(charge) => break charge,
                    None => parker.park_timeout(std::time::Duration::from_mins(1)),
                }
                assert!(begun.elapsed().as_secs() < 30, "a wake-up was lost");
            };
            done.send(charge).expect("the worker runs");
        }
        drop(done);
        assert_eq!(worker.join().expect("the worker counts"), 20_000);
    }
}
