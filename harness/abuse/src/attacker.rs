//! The thread of an attacker: all connections of one attack, in a loop of its own.
//!
//! It runs at a lower priority than the rest of the harness. On one machine attacker, server and
//! honest clients share the cores; an attacker elsewhere would take none of them.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::attack::Attack;
use crate::behavior::{self, Behavior, Context};
use crate::line::{End, Line, Tally};
use crate::scene::Scene;

/// The longest sleep: the time until an order is noticed.
const SLEEP: Timespec = Timespec { tv_sec: 0, tv_nsec: 10_000_000 };

/// The pause before a connection that the server ended is made again.
const REDIAL: Duration = Duration::from_millis(100);

/// Connections made in one turn.
const DIALS: usize = 32;

/// The thread's niceness.
const NICE: i32 = 10;

/// The longest attack without a new order, whatever becomes of the thread that gives them.
const LONGEST: Duration = Duration::from_mins(30);

const REST: u8 = 0;
const ATTACK: u8 = 1;
const STOP: u8 = 2;

struct Shared {
    order: AtomicU8,
    is_ready: AtomicU8,
    tally: Mutex<Tally>,
}

/// A running attacker. Dropping it ends the attack.
pub(crate) struct Attacker {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

impl Attacker {
    /// Starts the thread, which rests.
    pub(crate) fn start(attack: Attack, scene: Arc<Scene>) -> io::Result<Self> {
        let shared = Arc::new(Shared {
            order: AtomicU8::new(REST),
            is_ready: AtomicU8::new(0),
            tally: Mutex::default(),
        });
        let thread = thread::Builder::new().name("attacker".into()).spawn({
            let shared = shared.clone();
            move || {
                // Without the right to it the thread runs as all others.
                let _ = rustix::process::nice(NICE);
                Loop::new(behavior::of(attack, &scene), scene, shared).run();
            }
        })?;
        Ok(Self { shared, thread: Some(thread) })
    }

    /// Begins the attack.
    pub(crate) fn attack(&self) {
        self.shared.order.store(ATTACK, Ordering::Release);
    }

    /// Ends the attack; most attackers hang up.
    pub(crate) fn rest(&self) {
        self.shared.order.store(REST, Ordering::Release);
    }

    /// True once the honest clients may come.
    pub(crate) fn is_ready(&self) -> bool {
        self.shared.is_ready.load(Ordering::Acquire) != 0
    }

    /// The traffic so far.
    pub(crate) fn tally(&self) -> Tally {
        self.shared.tally.lock().clone()
    }
}

impl Drop for Attacker {
    fn drop(&mut self) {
        self.shared.order.store(STOP, Ordering::Release);
        if let Some(thread) = self.thread.take() {
            // Its end is all that matters here.
            let _ = thread.join();
        }
    }
}

#[derive(Default)]
struct Slot {
    line: Option<Line>,
    redial_at: Option<Instant>,
}

struct Loop {
    behavior: Box<dyn Behavior>,
    scene: Arc<Scene>,
    shared: Arc<Shared>,
    slots: Vec<Slot>,
    tally: Tally,
    until: Instant,
}

impl Loop {
    fn new(behavior: Box<dyn Behavior>, scene: Arc<Scene>, shared: Arc<Shared>) -> Self {
        let slots = (0..behavior.lines()).map(|_| Slot::default()).collect();
        let until = Instant::now() + LONGEST;
        Self { behavior, scene, shared, slots, tally: Tally::default(), until }
    }

    fn run(mut self) {
        let mut was = REST;
        loop {
            let now = Instant::now();
            let order = self.shared.order.load(Ordering::Acquire);
            if order == STOP || now >= self.until {
                return;
            }
            if order != was {
                (was, self.until) = (order, now + LONGEST);
            }
            if order == REST && !self.behavior.stays() {
                self.hang_up();
            } else {
                self.dial(now);
            }
            let is_busy = self.turn(now, order == ATTACK);
            self.shared.is_ready.store(u8::from(self.behavior.is_ready()), Ordering::Release);
            self.shared.tally.lock().clone_from(&self.tally);
            if !is_busy {
                self.sleep();
            }
        }
    }

    fn hang_up(&mut self) {
        for (at, slot) in self.slots.iter_mut().enumerate() {
            if slot.line.take().is_some() {
                self.behavior.lost(at);
            }
            slot.redial_at = None;
        }
    }

    fn dial(&mut self, now: Instant) {
        let Some(server) = self.behavior.server(&self.scene) else { return };
        let due = |slot: &&mut Slot| slot.line.is_none() && slot.redial_at.is_none_or(|at| at <= now);
        for slot in self.slots.iter_mut().filter(due).take(DIALS) {
            self.tally.connections += 1;
            match Line::dial(server, self.scene.source, self.behavior.shakes()) {
                Ok(line) => slot.line = Some(line),
                Err(error) => {
                    self.tally.tell(format!("cannot connect: {}", error.kind()));
                    slot.redial_at = Some(now + REDIAL);
                }
            }
        }
    }

    /// Lets every connection act, write and read. True if there is more to do at once.
    fn turn(&mut self, now: Instant, attacks: bool) -> bool {
        let Self { behavior, scene, slots, tally, .. } = self;
        let mut is_busy = false;
        for (at, slot) in slots.iter_mut().enumerate() {
            let Some(line) = &mut slot.line else { continue };
            let mut context = Context { scene, tally, now };
            if attacks && (line.is_open() || !behavior.shakes()) {
                behavior.act(at, line, &mut context);
            }
            let has_more = line.waiting() > 0;
            line.write(context.tally);
            // The socket took all of it, and perhaps takes more.
            is_busy |= has_more && line.waiting() == 0;
            if behavior.reads() || !line.is_open() {
                is_busy |= line.read(context.tally);
            }
            if line.take_opened() {
                behavior.opened(at, line, &mut context);
                line.write(context.tally);
                is_busy = true;
            }
            while let Some(packet) = line.next() {
                behavior.packet(at, line, packet, &mut context);
                is_busy = true;
            }
            if let Some(end) = line.end() {
                slot.line = None;
                behavior.lost(at);
                if end == End::HungUp {
                    is_busy = true;
                } else {
                    tally.tell(end.text());
                    slot.redial_at = Some(now + REDIAL);
                }
            }
        }
        is_busy
    }

    /// Sleeps until a socket is ready.
    fn sleep(&mut self) {
        let reads = self.behavior.reads();
        let lines: Vec<(usize, &Line)> = self
            .slots
            .iter()
            .enumerate()
            .filter_map(|(at, slot)| slot.line.as_ref().map(|line| (at, line)))
            .collect();
        let mut polled: Vec<PollFd<'_>> = lines
            .iter()
            .map(|(_, line)| {
                let mut flags = PollFlags::RDHUP;
                flags.set(PollFlags::IN, reads || !line.is_open());
                flags.set(PollFlags::OUT, line.waiting() > 0);
                PollFd::new(&line.socket, flags)
            })
            .collect();
        // A signal that interrupts the sleep only shortens it.
        let _ = poll(&mut polled, Some(&SLEEP));
        let gone = PollFlags::RDHUP | PollFlags::HUP | PollFlags::ERR;
        let gone: Vec<usize> = polled
            .iter()
            .zip(&lines)
            .filter(|(polled, _)| !reads && polled.revents().intersects(gone))
            .map(|(_, (at, _))| *at)
            .collect();
        drop(polled);
        drop(lines);
        // A connection that is not read is read at its end, for the reason.
        for at in gone {
            if let Some(line) = &mut self.slots[at].line {
                while line.read(&mut self.tally) {}
            }
        }
    }
}
