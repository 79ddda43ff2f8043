//! Frames and packets.

use throng_core::limits::{CLIENT_BODY_MAX, FRAME_HEADER, HANDSHAKE_BODY_MAX, SERVER_BODY_MAX};
use throng_core::room::RoomId;
use throng_core::session::room_packet;
use throng_core::wire::Packet;
use throng_core::wire::frame::{self, Split};
use throng_core::wire::packets::TABLE;

use crate::{Target, vectors};

pub(crate) const FRAMES: Target =
    Target { name: "frames", check: frames, seeds: frame_seeds, mutations: 20_000 };

pub(crate) const PACKETS: Target =
    Target { name: "packets", check: packets, seeds: || vectors::all("packet "), mutations: 20_000 };

fn frame_seeds() -> Vec<Vec<u8>> {
    let frames = ["client ", "link ", "sealed ", "room ", "refusal"].map(vectors::all).concat();
    frames.into_iter().flat_map(|frame| (0..3).map(move |limit| [&[limit], &frame[..]].concat())).collect()
}

/// Splits a stream as the event loop does. A frame is found in the same way however much of it has
/// arrived.
fn frames(input: &[u8]) {
    let Some((limit, mut bytes)) = input.split_first() else { return };
    let body_max = [HANDSHAKE_BODY_MAX, CLIENT_BODY_MAX, SERVER_BODY_MAX][usize::from(limit % 3)];
    loop {
        match frame::split(bytes, body_max) {
            Split::Frame(kind, whole) => {
                let body = whole - FRAME_HEADER;
                assert!(whole <= bytes.len() && body <= body_max);
                assert_eq!(frame::header(kind, body), bytes[..FRAME_HEADER]);
                for cut in
                    [0, FRAME_HEADER - 1, FRAME_HEADER, whole - 1].into_iter().filter(|cut| *cut < whole)
                {
                    let wanted = if cut < FRAME_HEADER { FRAME_HEADER } else { whole };
                    assert_eq!(frame::split(&bytes[..cut], body_max), Split::NeedMore(wanted));
                }
                bytes = &bytes[whole..];
            }
            Split::NeedMore(wanted) => {
                assert!(wanted > bytes.len() && wanted <= FRAME_HEADER + body_max);
                return;
            }
            Split::Bad(reason) => {
                assert!(reason.is_sent());
                assert_eq!(frame::split(&bytes[..FRAME_HEADER], body_max), Split::Bad(reason));
                return;
            }
        }
    }
}

/// Decodes a packet. Every packet has one encoding.
fn packets(bytes: &[u8]) {
    let Ok(packet) = Packet::decode(bytes) else { return };
    let mut again = Vec::with_capacity(bytes.len());
    packet.encode(&mut again);
    assert_eq!(again, bytes, "{} has two encodings", packet.name());
    let info = TABLE.iter().find(|info| info.number == packet.number()).expect("a packet of the table");
    assert_eq!(info.name, packet.name());
    for room in [RoomId::WORLD, RoomId(3), RoomId(1 << 31)] {
        if let Ok(of_room) = room_packet(room.0, bytes) {
            assert!(matches!(of_room, Packet::ChatMessage(_) | Packet::UsersChanged(_)), "{}", packet.name());
            assert_eq!(of_room, packet);
        }
    }
}
