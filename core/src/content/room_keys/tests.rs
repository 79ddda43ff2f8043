//! The book against clients who keep what they are given: who can open what, and who cannot.

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

/// Keys that differ.
fn draw() -> [u8; 32] {
    DRAWN.set(DRAWN.get().wrapping_add(1));
    [DRAWN.get(); 32]
}

fn id(session: u32) -> SessionId {
    SessionId::new((session % SHARDS as u32) as u8, session, 0)
}

fn packet(number: u64) -> Packet {
    PingRequest { token: number }.into()
}

/// A client, and all keys it was ever given.
#[derive(Default)]
struct Client {
    /// The keys that a good client keeps.
    keys: RoomKeys,
    /// All that it was ever given, with whatever numbers it likes: a bad one keeps them.
    hoard: Vec<RoomKey>,
    heard: Vec<u64>,
}

/// The shards, as far as commands go, and the clients behind them.
#[derive(Default)]
struct World {
    clients: HashMap<SessionId, Client>,
    members: BTreeSet<SessionId>,
    /// Frames that everybody can get hold of, with what they say.
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
            Packet::PingRequest(ping) => client.heard.push(ping.token),
            other => panic!("{other:?}"),
        }
    }

    fn carry_out(&mut self, shard: usize, command: Command, saying: u64) {
        let here = |members: &BTreeSet<SessionId>| -> Vec<SessionId> {
            members.iter().copied().filter(|id| id.shard() == shard).collect()
        };
        match command {
            Command::Send(id, packet) => self.give(id, &packet),
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
                    let client = self.clients.get_mut(&id).expect("was given a key");
                    let mut bytes = frame.to_vec();
                    let opened = client.keys.open(&mut bytes).expect("a member can open it");
                    assert_eq!((opened.room, Packet::decode(opened.plain)), (ROOM.0, Ok(packet(saying))));
                    client.heard.push(saying);
                }
                self.frames.push((frame, saying));
            }
            _ => panic!("not a room's"),
        }
    }

    /// Whether a client could read a frame with any key it was ever given.
    fn could_read(&self, id: SessionId, frame: &[u8]) -> bool {
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
    Say(bool),
    Pass(u64),
}

fn act() -> impl Strategy<Value = Act> {
    prop_oneof![
        4 => (0u32..10).prop_map(Act::Join),
        1 => (0u32..10).prop_map(Act::Leave),
        1 => (0u32..10).prop_map(Act::Expel),
        4 => any::<bool>().prop_map(Act::Say),
        1 => (0u64..100).prop_map(Act::Pass),
    ]
}

proptest! {
    #[test]
    fn members_read_everything_and_who_was_put_out_nothing_more(acts in prop::collection::vec(act(), 0..120)) {
        let policy = RoomPolicy { log_from: 4, key_lifetime: LIFETIME };
        let mut book = RoomRegistry::new(policy, SHARDS, draw);
        let (mut world, mut wanted) = (World::default(), HashMap::<SessionId, Vec<u64>>::new());
        // Who was put out, and how many frames there were then.
        let mut expelled: HashMap<SessionId, usize> = HashMap::new();
        let mut now = Instant::now();
        let mut saying = 0;
        for act in acts {
            let world = &mut world;
            match act {
                Act::Join(session) if !world.members.contains(&id(session)) => {
                    // It is given the key in use, and with that what was said before under it.
                    expelled.remove(&id(session));
                    book.join(id(session), ROOM, &mut |shard, command| world.carry_out(shard, command, 0));
                }
                Act::Leave(session) if world.members.contains(&id(session)) => {
                    book.leave(id(session), ROOM, &mut |shard, command| world.carry_out(shard, command, 0));
                }
                Act::Expel(session) if world.members.contains(&id(session)) => {
                    book.expel(id(session), ROOM, &mut |shard, command| world.carry_out(shard, command, 0));
                    expelled.insert(id(session), world.frames.len());
                }
                Act::Say(is_message) => {
                    saying += 1;
                    let class = if is_message { Class::Chat } else { Class::Notice };
                    for id in &world.members {
                        wanted.entry(*id).or_default().push(saying);
                    }
                    let mut carry_out = |shard, command| world.carry_out(shard, command, saying);
                    book.broadcast(ROOM, class, &packet(saying), now, &mut carry_out);
                }
                Act::Pass(seconds) => now += Duration::from_secs(seconds),
                _ => {}
            }
        }
        for (id, client) in &world.clients {
            prop_assert_eq!(&client.heard, &wanted.remove(id).unwrap_or_default());
        }
        for (id, frames) in &expelled {
            for (frame, _) in &world.frames[*frames..] {
                prop_assert!(!world.could_read(*id, frame), "{id} was put out and could read on");
            }
        }
        // One frame may go to several shards, but no two that differ have the same key and number.
        let mut nonces = HashMap::new();
        for (frame, saying) in &world.frames {
            let nonce = frame[FRAME_HEADER..FRAME_HEADER + 12].to_vec();
            prop_assert_eq!(nonces.entry(nonce).or_insert(*saying), saying);
        }
        // Nobody is left behind in the book.
        let members: Vec<_> = world.members.iter().copied().collect();
        for id in members {
            book.leave(id, ROOM, &mut |shard, command| world.carry_out(shard, command, 0));
        }
        prop_assert!(book.rooms.is_empty());
    }
}

#[test]
fn keys_wear_out_and_small_rooms_need_none() {
    let policy = RoomPolicy { log_from: 4, key_lifetime: LIFETIME };
    let mut book = RoomRegistry::new(policy, SHARDS, draw);
    let mut kinds: HashSet<&str> = HashSet::new();
    let start = Instant::now();
    let mut check = |book: &mut RoomRegistry, now, wanted: &[&str]| {
        kinds.clear();
        book.broadcast(ROOM, Class::Chat, &packet(1), now, &mut |_, command| {
            kinds.insert(match command {
                Command::Copies(..) => "copies",
                Command::Rekey(..) => "key",
                Command::Append(..) => "frame",
                _ => "other",
            });
        });
        assert_eq!(kinds, wanted.iter().copied().collect());
    };
    (0..3).for_each(|session| book.join(id(session), ROOM, &mut |_, _| {}));
    check(&mut book, start, &["copies"]);
    book.join(id(3), ROOM, &mut |_, _| {});
    check(&mut book, start, &["key", "frame"]);
    check(&mut book, start + LIFETIME / 2, &["frame"]);
    check(&mut book, start + LIFETIME, &["key", "frame"]);
    check(&mut book, start + LIFETIME, &["frame"]);
    (2..4).for_each(|session| book.leave(id(session), ROOM, &mut |_, _| {}));
    check(&mut book, start + LIFETIME, &["frame"]);
    book.leave(id(1), ROOM, &mut |_, _| {});
    check(&mut book, start + LIFETIME, &["copies"]);
}
