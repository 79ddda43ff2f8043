//! Fairness: a session that floods the server must not delay others.
//!
//! Costs are CPU time of the loop's thread, because wall time depends on what else the machine
//! does.

use std::cell::RefCell;
use std::io::Write;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Sender, channel};
use std::time::{Duration, Instant};

use rustix::time::{ClockId, clock_gettime};
use throng_core::crypto::RoomSealer;
use throng_core::net::Sessions;
use throng_core::room::{Class, RoomId};
use throng_core::wire::packets::{HeartbeatAnswer, Scope};

use crate::support::*;

const ROOM: RoomId = RoomId::WORLD;
const MEMBERS: usize = 200;
const FLOODERS: usize = 4;
const ROUNDS: u64 = 20;

/// A message on its way to the members: CPU time of the loop's thread when the message was
/// appended, and the receiver of the message's cost.
type Round = (Duration, Sender<Duration>);

// Belongs to the loop's thread.
thread_local!(static ROUND: RefCell<Option<Round>> = const { RefCell::new(None) });

/// Returns the CPU time that the calling thread has used.
fn cpu_time() -> Duration {
    clock_gettime(ClockId::ThreadCPUTime).try_into().expect("a time since the thread began")
}

/// Reports the cost of the round once the sweep is finished, and keeps the loop awake until then.
fn end_round(sessions: &mut Sessions) -> Option<Instant> {
    ROUND.with_borrow_mut(|round| {
        if sessions.is_sweeping() {
            return round.is_some().then(|| sessions.now());
        }
        if let Some((begun, cost)) = round.take() {
            // Refused once the test is over.
            let _ = cost.send(cpu_time().saturating_sub(begun));
        }
        None
    })
}

/// Returns the median of the CPU time that the loop spends from appending a message until it has
/// written the message to all members.
fn median_cost(server: &Loops, sealer: &mut RoomSealer, members: &mut [Peer], from: u64) -> Duration {
    let mut costs = Vec::new();
    for token in from..from + ROUNDS {
        let mut frame = Vec::new();
        sealer.seal(Class::Chat, &mut frame, |out| message(Scope::World, token).encode(out));
        let (sender, cost) = channel();
        server.run(0, move |sessions| {
            ROUND.set(Some((cpu_time(), sender)));
            let now = sessions.now();
            sessions.append(ROOM, Class::Chat, &frame, now);
        });
        costs.push(cost.recv_timeout(PATIENCE).expect("the sweep ends"));
        for member in &mut *members {
            assert_eq!(member.receive(), Received::Packet(message(Scope::World, token)));
        }
    }
    costs.sort_unstable();
    costs[costs.len() / 2]
}

/// Ends a flood, also when the test fails.
struct EndOfFlood<'a>(&'a AtomicBool);

impl Drop for EndOfFlood<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Floods with frames that the session consumes itself, because a full queue of the application
/// would hold the sender back.
#[test]
fn a_flood_of_small_frames_does_not_delay_a_room() {
    let server = Loops::start_with_turns(300, vec![server_rules()], echo, end_round);
    let mut sealer = RoomSealer::new(1, [1; 32]);
    let key = sealer.packet(ROOM);
    let join = |_| {
        let peer = server.connect();
        let id = server.next_opened();
        let key = key.clone();
        server.run(0, move |sessions| {
            sessions.send(id, &key);
            sessions.join(id, ROOM);
        });
        peer
    };
    let mut members: Vec<_> = (0..MEMBERS).map(join).collect();
    let connect = |_| {
        let peer = server.connect();
        server.next_opened();
        (peer, AtomicU64::new(0))
    };
    let mut flooders: Vec<_> = (0..FLOODERS).map(connect).collect();
    let quiet = median_cost(&server, &mut sealer, &mut members, 0);
    let is_over = AtomicBool::new(false);
    let flooded = std::thread::scope(|scope| {
        let _end = EndOfFlood(&is_over);
        let mut batches = Vec::new();
        for (flooder, sent) in &mut flooders {
            let (is_over, sent) = (&is_over, &*sent);
            batches.push(sent);
            scope.spawn(move || {
                while !is_over.load(Ordering::Relaxed) {
                    for token in 0..1_000 {
                        flooder.queue(&HeartbeatAnswer { token }.into());
                    }
                    let bytes = flooder.take_queued();
                    flooder.stream.write_all(&bytes).expect("the server reads");
                    sent.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        wait_until("all flooders flood", || batches.iter().all(|sent| sent.load(Ordering::Relaxed) >= 20));
        median_cost(&server, &mut sealer, &mut members, ROUNDS)
    });
    println!("{flooded:?} of CPU time a message instead of {quiet:?}");
    // With its read budget a loop reads up to 64 KiB in a turn, which costs about four quiet rounds
    // in all. Without the budget it reads all that the sockets hold: more than twenty rounds.
    assert!(flooded < 8 * quiet + Duration::from_millis(10), "{flooded:?} a message instead of {quiet:?}");
}
