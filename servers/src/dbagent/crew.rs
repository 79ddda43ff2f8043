//! The DB threads of a pool, and the watch over those that hang in their driver.
//!
//! A driver can hang for as long as the network is silent, or its server is stopped. A call that
//! lasts longer than its limit is given up: another thread takes the place, up to
//! [`DB_HUNG_MAX`] of them. A thread that comes back continues with its connection, and one
//! without ends in its place.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use throng_core::limits::DB_HUNG_MAX;

/// Value of [`Place::limit_ms`] of a thread that has been given up.
const GIVEN_UP: u64 = u64::MAX;

/// The call of the driver that a thread is in.
pub(super) struct Place {
    /// Number of the thread, unique in its pool.
    pub(super) number: u64,
    /// The pool's start, from which `limit_ms` counts.
    start: Instant,
    /// Time at which the call under way counts as hung, in milliseconds; 0 outside of calls.
    limit_ms: AtomicU64,
    is_connected: AtomicBool,
}

impl Place {
    fn new(number: u64, start: Instant) -> Self {
        Self { number, start, limit_ms: AtomicU64::new(0), is_connected: AtomicBool::new(false) }
    }

    /// Notes whether the thread has a connection.
    pub(super) fn set_connected(&self, is_connected: bool) {
        self.is_connected.store(is_connected, Ordering::SeqCst);
    }

    /// Returns true if the thread has a connection and does not hang.
    fn is_usable(&self) -> bool {
        self.is_connected.load(Ordering::SeqCst) && self.limit_ms.load(Ordering::SeqCst) != GIVEN_UP
    }

    /// Notes the begin of a call that lasts no longer than `limit` unless it hangs.
    pub(super) fn begin(&self, limit: Duration) {
        let limit_ms = (self.start.elapsed() + limit).as_millis() as u64;
        self.limit_ms.store(limit_ms.clamp(1, GIVEN_UP - 1), Ordering::SeqCst);
    }

    /// Notes the end of the call. Returns true if the thread was given up meanwhile.
    pub(super) fn end(&self) -> bool {
        self.limit_ms.swap(0, Ordering::SeqCst) == GIVEN_UP
    }

    /// Gives up the thread if its call has lasted too long.
    fn give_up(&self, now_ms: u64) -> bool {
        let limit_ms = self.limit_ms.load(Ordering::SeqCst);
        (1..=now_ms).contains(&limit_ms)
            && self.limit_ms.compare_exchange(limit_ms, GIVEN_UP, Ordering::SeqCst, Ordering::SeqCst).is_ok()
    }
}

/// Result of a DB thread: the error of closing its connection.
pub(super) type Ended = Result<(), super::procedures::DbError>;

pub(super) struct Crew {
    /// Number of threads that should work.
    threads: usize,
    start: Instant,
    state: Mutex<State>,
    /// Threads that hang now.
    hung: AtomicUsize,
}

#[derive(Default)]
struct State {
    /// Threads that have been started and do not hang.
    working: usize,
    started: u64,
    places: Vec<Arc<Place>>,
    handles: Vec<JoinHandle<Ended>>,
}

impl State {
    fn usable(&self) -> usize {
        self.places.iter().filter(|place| place.is_usable()).count()
    }

    /// Forgets threads that have returned and ended, whose stacks stay mapped until then.
    fn forget_ended(&mut self) {
        self.places.retain(|place| Arc::strong_count(place) > 1);
        for ended in self.handles.extract_if(.., |handle| handle.is_finished()) {
            // The panic hook has reported a thread that panicked.
            if let Ok(Err(error)) = ended.join() {
                tracing::warn!("{error}");
            }
        }
    }
}

impl Crew {
    pub(super) fn new(threads: usize) -> Self {
        Self { threads, start: Instant::now(), state: Mutex::default(), hung: AtomicUsize::new(0) }
    }

    /// Number of threads that hang now.
    pub(super) fn hung(&self) -> usize {
        self.hung.load(Ordering::Relaxed)
    }

    /// Number of threads with a connection that do not hang: those that can serve a request.
    pub(super) fn usable(&self) -> usize {
        self.state.lock().usable()
    }

    /// Starts threads until enough of them work or too many hang. Returns how many it started.
    pub(super) fn fill<E>(
        &self,
        mut spawn: impl FnMut(Arc<Place>) -> Result<JoinHandle<Ended>, E>,
    ) -> Result<usize, E> {
        let mut state = self.state.lock();
        let mut filled = 0;
        while state.working < self.threads && state.working + self.hung() < self.threads + DB_HUNG_MAX {
            let place = Arc::new(Place::new(state.started, self.start));
            let handle = spawn(Arc::clone(&place))?;
            state.started += 1;
            state.working += 1;
            filled += 1;
            state.forget_ended();
            state.places.push(place);
            state.handles.push(handle);
        }
        Ok(filled)
    }

    /// Gives up threads whose calls have lasted too long. Returns their numbers.
    pub(super) fn give_up_hung(&self) -> Vec<u64> {
        let now_ms = self.start.elapsed().as_millis() as u64;
        let mut state = self.state.lock();
        let hung: Vec<u64> =
            state.places.iter().filter(|place| place.give_up(now_ms)).map(|place| place.number).collect();
        state.working -= hung.len();
        self.hung.fetch_add(hung.len(), Ordering::Relaxed);
        hung
    }

    /// Takes back a thread that was given up. There may be too many then.
    pub(super) fn take_back(&self) {
        let mut state = self.state.lock();
        self.hung.fetch_sub(1, Ordering::Relaxed);
        state.working += 1;
    }

    /// Lets a thread go if there are enough without it. One with a connection stays until enough
    /// others have theirs.
    pub(super) fn let_go(&self, has_connection: bool) -> bool {
        let mut state = self.state.lock();
        let is_needed = has_connection && state.usable() <= self.threads;
        let goes = state.working > self.threads && !is_needed;
        state.working -= usize::from(goes);
        goes
    }

    /// Waits until all threads have ended, until `until` at most. Returns the first error of those
    /// that have, and the number of the others, which are left to themselves.
    pub(super) fn join(&self, until: Instant) -> (Ended, usize) {
        /// Interval of the checks.
        const POLL: Duration = Duration::from_millis(2);
        let mut handles = std::mem::take(&mut self.state.lock().handles);
        let mut result = Ok(());
        loop {
            let mut left = Vec::new();
            for handle in handles {
                if !handle.is_finished() {
                    left.push(handle);
                    continue;
                }
                match handle.join() {
                    Ok(ended) => result = result.and(ended),
                    // A bug in the program must not be swallowed here.
                    Err(panic) => std::panic::resume_unwind(panic),
                }
            }
            // A thread may have been replaced meanwhile.
            left.append(&mut self.state.lock().handles);
            handles = left;
            if handles.is_empty() || Instant::now() >= until {
                return (result, handles.len());
            }
            std::thread::sleep(POLL);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hung_threads_are_replaced_up_to_a_bound_and_some_go_when_all_return() {
        let crew = Crew::new(2);
        let mut places = Vec::new();
        let mut fill = |crew: &Crew| {
            let spawn = |place| {
                places.push(place);
                Ok(std::thread::spawn(|| Ok(())))
            };
            let filled = crew.fill::<()>(spawn).unwrap();
            (filled, places.clone())
        };
        let (filled, working) = fill(&crew);
        assert_eq!(filled, 2);
        working[0].begin(Duration::from_mins(1));
        assert_eq!(crew.give_up_hung(), [0_u64; 0], "a call within its limit");
        assert!(!working[0].end());
        let mut hung = 0;
        loop {
            let (filled, all) = fill(&crew);
            for place in all.iter().skip(hung) {
                place.begin(Duration::ZERO);
            }
            std::thread::sleep(Duration::from_millis(2));
            let given_up = crew.give_up_hung();
            assert!(filled > 0 || given_up.len() <= 2);
            if given_up.is_empty() {
                break;
            }
            hung += given_up.len();
        }
        assert_eq!((crew.hung(), hung), (DB_HUNG_MAX + 2, DB_HUNG_MAX + 2));
        let (filled, all) = fill(&crew);
        assert_eq!(filled, 0, "beyond the bound no thread is started");
        // Of those that return two stay, if they can with their connections.
        all[..3].iter().for_each(|place| place.set_connected(true));
        assert_eq!(crew.usable(), 0, "all hang");
        for place in &all {
            assert!(place.end());
            crew.take_back();
        }
        assert_eq!((crew.hung(), crew.usable()), (0, 3));
        assert!(crew.let_go(true));
        all[0].set_connected(false);
        assert!(!crew.let_go(true), "the only two with a connection");
        let gone = (0..all.len()).filter(|_| crew.let_go(false)).count();
        assert_eq!(gone + 1, DB_HUNG_MAX);
        assert_eq!(crew.join(Instant::now() + Duration::from_mins(1)), (Ok(()), 0));
    }
}
