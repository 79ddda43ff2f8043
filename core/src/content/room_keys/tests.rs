//! The registry against clients that keep every key they get: which frames each can open.

use std::cell::Cell;
use std::collections::{BTreeSet, HashMap, HashSet};

use proptest::prelude::*;

use super::*;
use crate::crypto::{RoomCipher, RoomKeys};
use crate::limits::FRAME_HEADER;
use crate::wire::packets::{PingRequest, RoomKey};

const ROOM: RoomId = RoomId(3);
const SHARDS: usize = 2;
const LIFETIME: Duration = Duration::from_mins(1);

thread_local!(static DRAWN: Cell<u8> = const { Cell::new(0) });

/// Returns another key at each call.
fn new_secret() -> [u8; 32] {
    DRAWN.set(DRAWN.get().wrapping_add(1));
    [DRAWN.get(); 32]
}

fn id(session: u32) -> SessionId {
    SessionId::new((session % SHARDS as u32) as u8, session, 0)
}

fn packet(number: u64) -> Packet {
    PingRequest { token: number }.into()
}

/// A client with its keys.
#[derive(Default)]
struct Client {
    /// Keys as an honest client keeps them.
    keys: RoomKeys,
    /// Every key that it ever got, as a hostile client keeps them.
    hoard: Vec<RoomKey>,
    received: Vec<u64>,
}

/// The shards, as far as commands go, with their clients.
#[derive(Default)]
struct World {
    clients: HashMap<SessionId, Client>,
    members: BTreeSet<SessionId>,
    /// Every frame, with its message.
    frames: Vec<(Arc<[u8]>, u64)>,
}

impl World {
    fn give(&mut self, id: SessionId, packet: &Packet) {
        let client = self.clients.entry(id).or_default();
        match packet {
            Packet::RoomKey(key) => {
                assert!(client.keys.add(key, RoomCipher::new(&key.secret)));
                client.hoard.push(key.clone());
            }
            Packet::PingRequest(ping) => client.received.push(ping.token),
            other => panic!("{other:?}"),
        }
    }

    fn execute(&mut self, shard: usize, command: Command, message: u64) {
        let here = |members: &BTreeSet<SessionId>| -> Vec<SessionId> {
            members.iter().copied().filter(|id| id.shard() == shard).collect()
        };
        match command {
            Command::ToSession(id, SessionCommand::Send(packet)) => self.give(id, &packet),
            Command::Join(id, _) => assert!(self.members.insert(id)),
            Command::Leave(id, _) => assert!(self.members.remove(&id)),
            Command::Rekey(_, key) => {
                for id in here(&self.members) {
                    self.give(id, &key);
                }
            }
            Command::Copies(_, _, encoded) => {
                let packet = Packet::decode(&encoded).unwrap();
                for id in here(&self.members) {
                    self.give(id, &packet);
                }
            }
            Command::Append(_, _, frame, _) => {
                for id in here(&self.members) {
                    let client = self.clients.get_mut(&id).expect("a member with a key");
                    let mut bytes = frame.to_vec();
                    let opened = client.keys.open(&mut bytes).expect("a frame that a member can open");
                    assert_eq!((opened.room, Packet::decode(opened.plain)), (ROOM.0, Ok(packet(message))));
                    client.received.push(message);
                }
                self.frames.push((frame, message));
            }
            _ => panic!("not a command for a room"),
        }
    }

    /// Returns true if any key that the client ever got opens the frame.
    fn can_open(&self, id: SessionId, frame: &[u8]) -> bool {
        self.clients.get(&id).is_some_and(|client| {
            client.hoard.iter().any(|key| {
                let mut keys = RoomKeys::default();
                let all = RoomKey { message: 0, notice: 1 << 63, ..key.clone() };
                keys.add(&all, RoomCipher::new(&key.secret)) && keys.open(&mut frame.to_vec()).is_ok()
            })
        })
    }
}

#[derive(Debug, Clone)]
enum Act {
    Join(u32),
    Leave(u32),
    Expel(u32),
    /// True for a message, false for a notice.
    Broadcast(bool),
    PassSeconds(u64),
}

fn act() -> impl Strategy<Value = Act> {
    prop_oneof![
        4 => (0u32..10).prop_map(Act::Join),
        1 => (0u32..10).prop_map(Act::Leave),
        1 => (0u32..10).prop_map(Act::Expel),
        4 => any::<bool>().prop_map(Act::Broadcast),
        1 => (0u64..100).prop_map(Act::PassSeconds),
    ]
}

proptest! {
    #[test]
    fn members_open_every_frame_and_expelled_sessions_no_later_one(acts in prop::collection::vec(act(), 0..120)) {
        let policy = RoomPolicy { log_from: 4, key_lifetime: LIFETIME };
        let mut registry = RoomRegistry::new(policy, SHARDS, new_secret);
        let mut world = World::default();
        let mut wanted = HashMap::<SessionId, Vec<u64>>::new();
        // Number of frames at the time when each session was expelled.
        let mut expelled: HashMap<SessionId, usize> = HashMap::new();
        let mut now = Instant::now();
        let mut message = 0;
        for act in acts {
            let world = &mut world;
            match act {
                Act::Join(session) if !world.members.contains(&id(session)) => {
                    // The key in use also opens earlier frames.
                    expelled.remove(&id(session));
                    registry.join(id(session), ROOM, &mut |shard, command| world.execute(shard, command, 0));
                }
                Act::Leave(session) if world.members.contains(&id(session)) => {
                    registry.leave(id(session), ROOM, &mut |shard, command| world.execute(shard, command, 0));
                }
                Act::Expel(session) if world.members.contains(&id(session)) => {
                    registry.expel(id(session), ROOM, &mut |shard, command| world.execute(shard, command, 0));
                    expelled.insert(id(session), world.frames.len());
                }
                Act::Broadcast(is_message) => {
                    message += 1;
                    let class = if is_message { Class::Chat } else { Class::Notice };
                    for id in &world.members {
                        wanted.entry(*id).or_default().push(message);
                    }
                    let mut execute = |shard, command| world.execute(shard, command, message);
                    registry.broadcast(ROOM, class, &packet(message), now, &mut execute);
                }
                Act::PassSeconds(seconds) => now += Duration::from_secs(seconds),
                _ => {}
            }
        }
        for (id, client) in &world.clients {
            prop_assert_eq!(&client.received, &wanted.remove(id).unwrap_or_default());
        }
        for (id, frames) in &expelled {
            for (frame, _) in &world.frames[*frames..] {
                prop_assert!(!world.can_open(*id, frame), "{id} was expelled and can still read");
            }
        }
        // A frame may go to several shards, but no two different frames have one key and number.
        let mut nonces = HashMap::new();
        for (frame, message) in &world.frames {
            let nonce = frame[FRAME_HEADER..FRAME_HEADER + 12].to_vec();
            prop_assert_eq!(nonces.entry(nonce).or_insert(*message), message);
        }
        // The registry keeps no room without members.
        let members: Vec<_> = world.members.iter().copied().collect();
        for id in members {
            registry.leave(id, ROOM, &mut |shard, command| world.execute(shard, command, 0));
        }
        prop_assert!(registry.rooms.is_empty());
    }
}

#[test]
fn keys_are_replaced_after_their_lifetime_and_small_rooms_have_none() {
    let policy = RoomPolicy { log_from: 4, key_lifetime: LIFETIME };
    let mut registry = RoomRegistry::new(policy, SHARDS, new_secret);
    let mut kinds: HashSet<&str> = HashSet::new();
    let start = Instant::now();
    let mut check = |registry: &mut RoomRegistry, now, wanted: &[&str]| {
        kinds.clear();
        registry.broadcast(ROOM, Class::Chat, &packet(1), now, &mut |_, command| {
            kinds.insert(match command {
                Command::Copies(..) => "copies",
                Command::Rekey(..) => "key",
                Command::Append(..) => "frame",
                _ => "other",
            });
        });
        assert_eq!(kinds, wanted.iter().copied().collect());
    };
    (0..3).for_each(|session| registry.join(id(session), ROOM, &mut |_, _| {}));
    check(&mut registry, start, &["copies"]);
    registry.join(id(3), ROOM, &mut |_, _| {});
    check(&mut registry, start, &["key", "frame"]);
    check(&mut registry, start + LIFETIME / 2, &["frame"]);
    check(&mut registry, start + LIFETIME, &["key", "frame"]);
    check(&mut registry, start + LIFETIME, &["frame"]);
    (2..4).for_each(|session| registry.leave(id(session), ROOM, &mut |_, _| {}));
    check(&mut registry, start + LIFETIME, &["frame"]);
    registry.leave(id(1), ROOM, &mut |_, _| {});
    check(&mut registry, start + LIFETIME, &["copies"]);
}
