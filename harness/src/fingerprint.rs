//! What tells whether two runs sent the same traffic.

use sha2::{Digest, Sha256};

use crate::clock::Nanos;
use crate::crowd::{Crowd, WHISPERS};
use crate::schedule::Traffic;

/// Bytes that are hashed at a time: messages are many, and a call for each would take longer than the hashing.
const CHUNK: usize = 8 * 1024;

/// 32 hexadecimal digits that stand for who sends what to whom and when: each message's sender and audience, the other client of
/// each whisper, the channel and place of each of `clients` clients, the bytes of a message, and when each is `due` after the first. Of the
/// messages drawn only the first `messages` count: the others are for rates that nobody asked for. Runs that have the same were to send the
/// same; nothing that a run finds out is in it.
pub fn fingerprint(
    traffic: &Traffic,
    messages: u32,
    crowd: &Crowd,
    clients: u32,
    payload: usize,
    due: impl Fn(u32) -> Nanos,
) -> String {
    let mut hash = Hash::default();
    let messages = messages.min(traffic.messages());
    hash.add(&[clients, messages, payload as u32]);
    for client in 0..clients {
        // No number is the largest, so that it can stand for none.
        hash.add(&[crowd.home(client), crowd.around(client)].map(|number| number.unwrap_or(u32::MAX)));
    }
    for index in 0..messages {
        let (audience, number) = traffic.place(index);
        hash.add(&[traffic.sender(index).unwrap_or(u32::MAX), audience]);
        hash.bytes(&due(index).to_le_bytes());
        if audience == WHISPERS {
            hash.add(&[traffic.whispered_to(number).unwrap_or(u32::MAX)]);
        }
    }
    hash.finish()
}

#[derive(Default)]
struct Hash {
    state: Sha256,
    waiting: Vec<u8>,
}

impl Hash {
    fn add(&mut self, numbers: &[u32]) {
        for number in numbers {
            self.bytes(&number.to_le_bytes());
        }
    }

    fn bytes(&mut self, bytes: &[u8]) {
        self.waiting.extend_from_slice(bytes);
        if self.waiting.len() >= CHUNK {
            self.state.update(&self.waiting);
            self.waiting.clear();
        }
    }

    fn finish(mut self) -> String {
        self.state.update(&self.waiting);
        hex::encode(&self.state.finalize()[..16])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crowd::Speech;

    const MS: Nanos = 1_000_000;

    fn of(seed: u64, speech: Speech, clients: u32, interval: Nanos, payload: usize) -> String {
        let crowd = Crowd::new(clients, speech, 4, 3, 100, seed);
        let traffic = Traffic::draw(seed, clients, clients, 3_000).among(&crowd, seed);
        fingerprint(&traffic, 3_000, &crowd, clients, payload, |index| interval * u64::from(index))
    }

    #[test]
    fn only_the_same_traffic_has_the_same() {
        for speech in [Speech::World, Speech::Channel, Speech::Nearby, Speech::Whisper, Speech::Mixed] {
            let first = of(7, speech, 30, MS, 128);
            assert_eq!(first, of(7, speech, 30, MS, 128), "{speech:?}");
            assert_eq!(first.len(), 32);
            for other in [
                of(8, speech, 30, MS, 128),
                of(7, speech, 31, MS, 128),
                of(7, speech, 30, 2 * MS, 128),
                of(7, speech, 30, MS, 129),
            ] {
                assert_ne!(first, other, "{speech:?}");
            }
        }
        assert_ne!(of(7, Speech::World, 30, MS, 128), of(7, Speech::Mixed, 30, MS, 128));
    }

    #[test]
    fn messages_for_rates_that_nobody_asked_for_do_not_count() {
        let of = |drawn| {
            let traffic = Traffic::draw(7, 30, 30, drawn);
            fingerprint(&traffic, 100, &Crowd::world(30), 30, 128, |index| MS * u64::from(index))
        };
        assert_eq!(of(100), of(800));
        assert_ne!(of(100), of(99));
    }

    #[test]
    fn one_message_more_or_by_another_is_another() {
        let of = |senders: &[u32]| {
            fingerprint(&Traffic::of(senders.to_vec(), 3), u32::MAX, &Crowd::world(3), 3, 64, |index| {
                MS * u64::from(index)
            })
        };
        let first = of(&[0, 1, 2]);
        assert!([of(&[0, 1, 1]), of(&[0, 1]), of(&[1, 0, 2])].iter().all(|other| *other != first));
        // Reports of different versions are only comparable while this holds.
        assert_eq!(first, "747db3468df4d123973cb3e8bbce6b4f");
    }
}
