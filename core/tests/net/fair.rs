//! Fairness: a session that floods the server must not delay others.

use std::io::Write;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use throng_core::crypto::RoomSealer;
use throng_core::room::{Class, RoomId};
use throng_core::wire::packets::{HeartbeatAnswer, Scope};

use crate::support::*;

const ROOM: RoomId = RoomId::WORLD;
const MEMBERS: usize = 200;
const FLOODERS: usize = 4;
const ROUNDS: u64 = 20;

/// Returns the mean time from appending a message until all members have received it.
fn mean_round(server: &Loops, sealer: &mut RoomSealer, members: &mut [Peer], from: u64) -> Duration {
    let begun = Instant::now();
    for token in from..from + ROUNDS {
        let mut frame = Vec::new();
        sealer.seal(Class::Chat, &mut frame, |out| message(Scope::World, token).encode(out));
        server.run(0, move |sessions| {
            let now = sessions.now();
            sessions.append(ROOM, Class::Chat, &frame, now);
        });
        for member in &mut *members {
            assert_eq!(member.receive(), Received::Packet(message(Scope::World, token)));
        }
    }
    begun.elapsed() / ROUNDS as u32
}

/// Floods with frames that the session consumes itself, because a full queue of the application
/// would hold the sender back.
#[test]
fn a_flood_of_small_frames_does_not_delay_a_room() {
    let server = Loops::start(1, 300, vec![server_rules()], echo);
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
        peer
    };
    let mut flooders: Vec<_> = (0..FLOODERS).map(connect).collect();
    let quiet = mean_round(&server, &mut sealer, &mut members, 0);
    let is_over = AtomicBool::new(false);
    let flooded = std::thread::scope(|scope| {
        for flooder in &mut flooders {
            let is_over = &is_over;
            scope.spawn(move || {
                while !is_over.load(Ordering::Relaxed) {
                    for token in 0..1_000 {
                        flooder.queue(&HeartbeatAnswer { token }.into());
                    }
                    let bytes = flooder.take_queued();
                    flooder.stream.write_all(&bytes).expect("the server reads");
                }
            });
        }
        let flooded = mean_round(&server, &mut sealer, &mut members, ROUNDS);
        is_over.store(true, Ordering::Relaxed);
        flooded
    });
    // Rooms get half of the loop's time, and the flooding threads take part of the processors.
    assert!(flooded < 15 * quiet + Duration::from_millis(20), "{flooded:?} a round instead of {quiet:?}");
}
