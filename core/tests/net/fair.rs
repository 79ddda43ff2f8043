//! Who sends as much as it can holds up nobody else.

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

/// The mean time in which a room hears a message.
fn round(server: &Loops, sealer: &mut RoomSealer, members: &mut [Peer], from: u64) -> Duration {
    let begun = Instant::now();
    for token in from..from + ROUNDS {
        let mut frame = Vec::new();
        sealer.seal(Class::Chat, &mut frame, |out| message(Scope::World, token).encode(out));
        server.run(0, move |sessions| {
            let now = sessions.now();
            sessions.append(ROOM, Class::Chat, &frame, now);
        });
        for member in &mut *members {
            assert_eq!(member.hear(), Heard::Packet(message(Scope::World, token)));
        }
    }
    begun.elapsed() / ROUNDS as u32
}

/// Frames that the loop deals with itself, so that no application's queue is full at some time and keeps their sender back.
#[test]
fn a_flood_of_small_frames_leaves_the_room_its_time() {
    let server = Loops::start(1, 300, vec![server_rules()], echo);
    let mut sealer = RoomSealer::new(1, [1; 32]);
    let key = sealer.packet(ROOM);
    let join = |_| {
        let (peer, id, key) = (server.connect(), server.next_opened(), key.clone());
        server.run(0, move |sessions| {
            sessions.send(id, &key);
            sessions.join(id, ROOM);
        });
        peer
    };
    let mut members: Vec<_> = (0..MEMBERS).map(join).collect();
    let mut flooders: Vec<_> = (0..FLOODERS).map(|_| (server.connect(), server.next_opened()).0).collect();
    let quiet = round(&server, &mut sealer, &mut members, 0);
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
        let flooded = round(&server, &mut sealer, &mut members, ROUNDS);
        is_over.store(true, Ordering::Relaxed);
        flooded
    });
    // The rooms' half of the loop, of which the processors are shared with those who flood.
    assert!(flooded < 15 * quiet + Duration::from_millis(20), "{flooded:?} a round instead of {quiet:?}");
}
