//! Content threads, and the role that they run.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crossbeam_utils::sync::Parker;
use parking_lot::Mutex;

use super::dispatch::{Dispatcher, Outbound};
use super::effects::Effects;
use super::job::{Job, Lane, Task};
use super::room_keys::{RoomPolicy, RoomRegistry};
use crate::limits::JOBS_PER_TURN;
use crate::metrics;
use crate::queue::FULL_WAIT;

/// A server role: its state, and its handling of jobs.
///
/// The content threads of a role call it under one lock: never two calls at a time, though on
/// different threads. A role does no I/O and must not block. It asks for [`Effects`], which are
/// carried out before the lock is released, so that all shards see them in one order.
///
/// # Guarantees
///
/// * Jobs of one session come in order: `Opened`, then its packets, then `Closed`. Each packet
///   comes once. Packets that were read before the role closed the session may still come after
///   that.
/// * `Closed` comes once for each session that was opened, and for each dial, whether it opened or
///   not. A session that ends before its lane had room for `Opened` is not reported at all, unless
///   it was dialed.
/// * A dial for which no session could be made is reported as `Closed` with an id that belongs to
///   no session; its token identifies it.
/// * `now` never goes back.
/// * [`tick`](Self::tick) is called after every batch of jobs, and again no later than the time
///   that it returned. So a job may set a deadline, which the next tick returns.
///
/// # Only so today
///
/// * Jobs of different sessions come in any order. They are spread over the lanes by
///   [`lane_of`](super::lane_of).
/// * A batch has at most [`JOBS_PER_TURN`] jobs. Each thread ticks for itself, so `tick` also comes
///   earlier than it asked for.
///
/// # Example
///
/// ```
/// use std::sync::Arc;
/// use std::time::{Duration, Instant};
///
/// use throng_core::SessionId;
/// use throng_core::content::{
///     Caused, Command, ContentPool, Dispatcher, Effects, Job, Role, RoomPolicy, SessionCommand,
/// };
/// use throng_core::net::{Mail, Mailbox};
/// use throng_core::wire::Packet;
/// use throng_core::wire::packets::{PingRequest, PongAnswer};
///
/// /// Answers every ping.
/// struct Ponger;
///
/// impl Role for Ponger {
///     type Record = ();
///
///     fn job(&mut self, job: Job<()>, _now: Instant, effects: &mut Effects) {
///         if let Job::Packet(id, Packet::PingRequest(PingRequest { token }), _) = job {
///             effects.send(id, PongAnswer { token, queued_us: 0, server_us: 0 });
///         }
///     }
///
///     fn tick(&mut self, _now: Instant, _effects: &mut Effects) -> Option<Instant> {
///         None
///     }
/// }
///
/// // In place of a shard, the mailbox of one.
/// let this = std::thread::current();
/// let mailbox = Arc::new(Mailbox::new(16, move || this.unpark()));
/// let mut pool = ContentPool::new(1, 16);
/// let lane = pool.lanes()[0].clone();
/// let policy = RoomPolicy { log_from: 64, key_lifetime: Duration::from_secs(3600) };
/// pool.spawn("example", Ponger, policy, &Dispatcher::new(vec![mailbox.clone()]))?;
///
/// let id = SessionId::new(0, 1, 0);
/// let job = Job::Packet(id, PingRequest { token: 7 }.into(), Instant::now());
/// assert!(lane.push(job.into()).is_ok());
/// lane.ring();
///
/// let mail = loop {
///     mailbox.clear_bell();
///     match mailbox.pop() {
///         Some(mail) => break mail,
///         None => std::thread::park(),
///     }
/// };
/// let Mail::App(Caused { command: Command::ToSession(to, sent), .. }) = mail else {
///     panic!("a command for one session");
/// };
/// let SessionCommand::Send(packet) = sent else { panic!("a command that sends a packet") };
/// assert_eq!((to, *packet), (id, PongAnswer { token: 7, queued_us: 0, server_us: 0 }.into()));
/// pool.stop();
/// # Ok::<(), std::io::Error>(())
/// ```
pub trait Role: Send + 'static {
    /// Result type of the role's helper threads.
    type Record: Send + 'static;

    /// Handles one job at the time `now`.
    fn job(&mut self, job: Job<Self::Record>, now: Instant, effects: &mut Effects);

    /// Does the work that is due at `now`. Returns the latest time of the next call, if there must
    /// be one.
    fn tick(&mut self, now: Instant, effects: &mut Effects) -> Option<Instant>;
}

/// Content threads of one role.
pub struct ContentPool<R> {
    lanes: Vec<Arc<Lane<R>>>,
    parkers: Vec<Parker>,
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

/// Longest sleep of a content thread. Tests use a sleep far longer than a busy machine delays a
/// thread, so that it cannot hide a lost wake-up.
const MAX_SLEEP: Duration = Duration::from_secs(if cfg!(test) { 60 } else { 1 });

impl<R: Send + 'static> ContentPool<R> {
    /// Creates the lanes of `threads` content threads, with room for `capacity` jobs each.
    pub fn new(threads: usize, capacity: usize) -> Self {
        let mut lanes = Vec::new();
        let mut parkers = Vec::new();
        for _ in 0..threads.max(1) {
            let parker = Parker::new();
            let unparker = parker.unparker().clone();
            lanes.push(Arc::new(Lane::new(capacity, move || unparker.unpark())));
            parkers.push(parker);
        }
        Self { lanes, parkers, stop: Arc::new(AtomicBool::new(false)), threads: Vec::new() }
    }

    /// Returns the lanes, for the shards and for helper threads.
    pub fn lanes(&self) -> &[Arc<Lane<R>>] {
        &self.lanes
    }

    /// Starts the threads, named `{name}-content-{number}`. Fails if the system has no thread to
    /// give.
    pub fn spawn(
        &mut self,
        name: &str,
        role: impl Role<Record = R>,
        policy: RoomPolicy,
        shards: &Dispatcher,
    ) -> io::Result<()> {
        let rooms = RoomRegistry::new(policy, shards.shards(), rand::random);
        let state = Arc::new(Mutex::new(RoleState { role, rooms, outbound: Outbound::new(shards) }));
        for (number, parker) in self.parkers.drain(..).enumerate() {
            let worker = Worker {
                state: state.clone(),
                lane: self.lanes[number].clone(),
                shards: shards.clone(),
                stop: self.stop.clone(),
                parker,
            };
            let name = format!("{name}-content-{number}");
            let lane: Weak<Lane<R>> = Arc::downgrade(&worker.lane);
            metrics::watch(metrics::Queue::Content, name.clone(), lane);
            let thread = std::thread::Builder::new().name(name);
            self.threads.push(thread.spawn(metrics::in_same_role(move || worker.run()))?);
        }
        Ok(())
    }

    /// Returns true if all lanes are empty.
    pub fn is_idle(&self) -> bool {
        self.lanes.iter().all(|lane| lane.is_empty())
    }

    /// Ends the threads once their lanes are empty, and waits for them.
    pub fn stop(self) {
        self.stop.store(true, Ordering::Release);
        for lane in &self.lanes {
            lane.ring();
        }
        for thread in self.threads {
            // The panic hook has reported a panic of the thread.
            let _ = thread.join();
        }
    }
}

/// State that the content threads of a role share. One lock guards all parts, so that they change
/// in one order.
struct RoleState<P> {
    role: P,
    rooms: RoomRegistry,
    outbound: Outbound,
}

struct Worker<P: Role> {
    state: Arc<Mutex<RoleState<P>>>,
    lane: Arc<Lane<P::Record>>,
    shards: Dispatcher,
    stop: Arc<AtomicBool>,
    parker: Parker,
}

/// Closes the lane when the thread ends, also by a panic, so that producers stop waiting for room.
impl<P: Role> Drop for Worker<P> {
    fn drop(&mut self) {
        self.lane.close();
    }
}

impl<P: Role> Worker<P> {
    fn run(self) {
        let mut effects = Effects::default();
        // Deadline from this thread's latest call of `tick`. Each thread calls it after its own
        // jobs, so that the thread whose job sets a deadline also knows it.
        let mut tick_at = Some(Instant::now());
        let mut has_spilled = false;
        loop {
            self.lane.clear_bell();
            let had_spilled = has_spilled;
            let worked = self.turn(&mut effects, &mut tick_at, &mut has_spilled);
            self.shards.ring_some(self.lane.take_registered());
            if worked || had_spilled {
                self.shards.ring();
            }
            if worked {
                continue;
            }
            if has_spilled {
                self.parker.park_timeout(FULL_WAIT);
            } else if self.stop.load(Ordering::Acquire) {
                return;
            } else {
                let deadline = Instant::now() + MAX_SLEEP;
                self.parker.park_deadline(tick_at.map_or(deadline, |at| at.min(deadline)));
            }
        }
    }

    /// Runs a bounded number of jobs and then `tick` under one lock. Returns false if there was
    /// nothing to do. `has_spilled` becomes true if commands wait for a full mailbox; then another
    /// turn must follow soon.
    fn turn(&self, effects: &mut Effects, tick_at: &mut Option<Instant>, has_spilled: &mut bool) -> bool {
        let is_tick_due = tick_at.is_some_and(|at| at <= Instant::now());
        let has_work = !self.lane.is_empty() || is_tick_due;
        if !has_work && !*has_spilled {
            return false;
        }
        let mut state = self.state.lock();
        let RoleState { role, rooms, outbound } = &mut *state;
        *has_spilled = outbound.drain_spilled();
        if !has_work {
            return false;
        }
        let mut jobs = 0;
        while jobs < JOBS_PER_TURN {
            let Some(Task { job, charge }) = self.lane.pop() else { break };
            jobs += 1;
            let now = Instant::now();
            effects.set_charge(charge);
            role.job(job, now, effects);
            outbound.dispatch(effects, rooms, now);
        }
        effects.set_charge(None);
        metrics::JOBS.add(jobs as u64);
        let now = Instant::now();
        *tick_at = role.tick(now, effects);
        outbound.dispatch(effects, rooms, now);
        *has_spilled = outbound.drain_spilled();
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::content::Caused;
    use crate::net::Mailbox;
    use std::sync::mpsc;

    const PATIENCE: Duration = Duration::from_secs(90);

    /// Reports the lateness of every tick that it asked for.
    struct Alarm {
        at: Option<Instant>,
        rang: mpsc::Sender<Duration>,
    }

    impl Role for Alarm {
        type Record = Duration;

        fn job(&mut self, job: Job<Duration>, now: Instant, _effects: &mut Effects) {
            if let Job::Record(delay) = job {
                self.at = Some(now + delay);
            }
        }

        fn tick(&mut self, now: Instant, _effects: &mut Effects) -> Option<Instant> {
            if let Some(at) = self.at.take_if(|at| *at <= now) {
                // Refused once the test is over.
                let _ = self.rang.send(now - at);
            }
            self.at
        }
    }

    const POLICY: RoomPolicy = RoomPolicy { log_from: 2, key_lifetime: Duration::MAX };

    fn dispatcher() -> Dispatcher {
        Dispatcher::new(vec![Arc::new(Mailbox::<Caused>::new(8, || {}))])
    }

    #[test]
    fn a_deadline_set_by_a_job_on_any_lane_is_kept() {
        let mut pool = ContentPool::new(3, 8);
        let lanes = pool.lanes().to_vec();
        let (rang, lateness) = mpsc::channel();
        pool.spawn("test", Alarm { at: None, rang }, POLICY, &dispatcher()).unwrap();
        for lane in &lanes {
            lane.push(Job::Record(Duration::from_millis(10)).into())
                .unwrap_or_else(|_| panic!("a worker ended"));
            lane.ring();
            let late = lateness.recv_timeout(PATIENCE).expect("a tick");
            // Far below the time after which a thread wakes up by itself.
            assert!(late < MAX_SLEEP / 2, "{late:?}");
        }
        pool.stop();
    }

    #[test]
    fn a_panic_of_its_thread_releases_producers_that_wait_for_a_lane() {
        struct Bad;
        impl Role for Bad {
            type Record = ();
            fn job(&mut self, _job: Job<()>, _now: Instant, _effects: &mut Effects) {
                std::panic::resume_unwind(Box::new("part of the test"));
            }
            fn tick(&mut self, _now: Instant, _effects: &mut Effects) -> Option<Instant> {
                None
            }
        }
        let mut pool = ContentPool::new(1, 2);
        let lane = pool.lanes()[0].clone();
        pool.spawn("test", Bad, POLICY, &dispatcher()).unwrap();
        let started = Instant::now();
        while lane.push(Job::Record(()).into()).is_ok() {
            assert!(started.elapsed() < PATIENCE);
        }
        pool.stop();
    }

    #[test]
    fn a_pool_stops_once_its_lanes_are_empty() {
        struct Count(mpsc::Sender<()>);
        impl Role for Count {
            type Record = ();
            fn job(&mut self, _job: Job<()>, _now: Instant, _effects: &mut Effects) {
                self.0.send(()).expect("the test listens");
            }
            fn tick(&mut self, _now: Instant, _effects: &mut Effects) -> Option<Instant> {
                None
            }
        }
        let mut pool = ContentPool::new(2, 1000);
        let (count, counted) = mpsc::channel();
        for number in 0..1000 {
            assert!(pool.lanes()[number % 2].try_push(Job::Record(()).into()).is_ok());
        }
        pool.spawn("test", Count(count), POLICY, &dispatcher()).unwrap();
        pool.stop();
        assert_eq!(counted.iter().count(), 1000);
    }
}
