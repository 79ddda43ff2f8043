//! Fingerprints by which two runs can be seen to have sent the same traffic.

use sha2::{Digest, Sha256};

use crate::audiences::{Audiences, WHISPERS};
use crate::clock::Nanos;
use crate::plan::Churn;
use crate::schedule::Traffic;

/// Bytes that are hashed at a time. A call for each of many short messages would cost more than the
/// hashing.
const CHUNK: usize = 8 * 1024;

/// The plan of a run's traffic, joins, leaves and moves. Results of the run have no part in it.
#[derive(Debug, Clone, Copy)]
pub struct Planned<'a> {
    /// The sender and the audience of each message, and the recipient of each whisper.
    pub traffic: &'a Traffic,
    /// The channel and the position of each client.
    pub audiences: &'a Audiences,
    /// Clients of the run.
    pub clients: u32,
    /// Bytes of a message; 0 if messages differ in length.
    pub payload: usize,
    /// Seed of the turns of `churn` and `moves`.
    pub seed: u64,
    /// Clients that join and leave channels.
    pub churn: Option<Churn>,
    /// Clients that move.
    pub moves: Option<Churn>,
}

impl Planned<'_> {
    /// Hashes the plan and the given messages to 32 hexadecimal digits. `messages` are the numbers
    /// of those that are sent, ascending; `due` is the time of each since the first. Runs with
    /// equal fingerprints sent the same traffic.
    pub fn fingerprint(
        &self,
        messages: impl Iterator<Item = u32> + Clone,
        due: impl Fn(u32) -> Nanos,
    ) -> String {
        let Self { traffic, audiences, clients, payload, seed, churn, moves } = *self;
        let mut hash = Hash::default();
        hash.add(&[clients, messages.clone().count() as u32, payload as u32]);
        for client in 0..clients {
            // No channel or audience has the largest number, so it stands for none.
            hash.add(
                &[audiences.home(client), audiences.around(client)].map(|number| number.unwrap_or(u32::MAX)),
            );
        }
        for index in messages {
            let (audience, number) = traffic.place(index);
            hash.add(&[traffic.sender(index).unwrap_or(u32::MAX), audience]);
            hash.bytes(&due(index).to_le_bytes());
            if audience == WHISPERS {
                hash.add(&[traffic.whispered_to(number).unwrap_or(u32::MAX)]);
            }
        }
        // A plan with neither keeps the fingerprint it had before churn and moves existed.
        for (churn, kind) in [(churn, 1), (moves, 2)] {
            if let Some(Churn { per_second, first, count }) = churn {
                // The destinations of a turn depend on the number of channels and sectors.
                hash.add(&[kind, per_second, first, count, audiences.sizes().len() as u32]);
                hash.bytes(&seed.to_le_bytes());
            }
        }
        hash.finish()
    }
}

#[derive(Default)]
struct Hash {
    state: Sha256,
    buffer: Vec<u8>,
}

impl Hash {
    fn add(&mut self, numbers: &[u32]) {
        for number in numbers {
            self.bytes(&number.to_le_bytes());
        }
    }

    fn bytes(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
        if self.buffer.len() >= CHUNK {
            self.state.update(&self.buffer);
            self.buffer.clear();
        }
    }

    fn finish(mut self) -> String {
        self.state.update(&self.buffer);
        hex::encode(&self.state.finalize()[..16])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audiences::ScopeMix;

    const MS: Nanos = 1_000_000;

    fn planned<'a>(
        traffic: &'a Traffic,
        audiences: &'a Audiences,
        clients: u32,
        payload: usize,
    ) -> Planned<'a> {
        Planned { traffic, audiences, clients, payload, seed: 1, churn: None, moves: None }
    }

    fn of(seed: u64, speech: ScopeMix, clients: u32, interval: Nanos, payload: usize) -> String {
        let audiences = Audiences::new(clients, speech, 4, 3, 100, seed);
        let traffic = Traffic::draw(seed, clients, clients, 3_000).among(&audiences, seed);
        planned(&traffic, &audiences, clients, payload)
            .fingerprint(0..3_000, |index| interval * u64::from(index))
    }

    #[test]
    fn only_equal_traffic_has_equal_fingerprints() {
        for speech in
            [ScopeMix::World, ScopeMix::Channel, ScopeMix::Nearby, ScopeMix::Whisper, ScopeMix::Mixed]
        {
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
        assert_ne!(of(7, ScopeMix::World, 30, MS, 128), of(7, ScopeMix::Mixed, 30, MS, 128));
    }

    #[test]
    fn unsent_messages_count_and_messages_drawn_for_higher_rates_do_not() {
        let of = |drawn, left_out| {
            let traffic = Traffic::draw(7, 30, 30, drawn);
            let messages = (0..100).filter(|index| Some(*index) != left_out);
            planned(&traffic, &Audiences::world(30), 30, 128)
                .fingerprint(messages, |index| MS * u64::from(index))
        };
        assert_eq!(of(100, None), of(800, None));
        let all = [of(100, None), of(100, Some(99)), of(100, Some(98)), of(100, Some(0))];
        assert!(all.iter().enumerate().all(|(at, one)| !all[..at].contains(one)), "{all:?}");
    }

    #[test]
    fn churn_and_moves_count() {
        let (traffic, audiences) = (Traffic::draw(7, 5, 5, 10), Audiences::world(5));
        let plain = planned(&traffic, &audiences, 5, 128);
        let turns = |per_second, first| Some(Churn { per_second, first, count: 2 });
        let all = [
            plain,
            Planned { churn: turns(5, 3), ..plain },
            Planned { churn: turns(6, 3), ..plain },
            Planned { churn: turns(5, 2), ..plain },
            Planned { churn: turns(5, 3), seed: 2, ..plain },
            Planned { moves: turns(5, 3), ..plain },
            Planned { churn: turns(5, 3), moves: turns(5, 3), ..plain },
        ];
        let print = |planned: Planned<'_>| planned.fingerprint(0..10, |index| MS * u64::from(index));
        let mut prints = all.map(print).to_vec();
        // The five clients have the same channels in both plans; only the number of audiences
        // differs.
        let of_channels = |channels| {
            let audiences = Audiences::new(5, ScopeMix::Channel, channels, 1, 100, 1);
            print(Planned { churn: turns(5, 3), audiences: &audiences, ..plain })
        };
        prints.extend([of_channels(6), of_channels(7)]);
        assert!(prints.iter().enumerate().all(|(at, one)| !prints[..at].contains(one)), "{prints:?}");
    }

    #[test]
    fn another_message_or_sender_changes_the_fingerprint() {
        let of = |senders: &[u32]| {
            let traffic = Traffic::of(senders.to_vec(), 3);
            let messages = 0..traffic.messages();
            planned(&traffic, &Audiences::world(3), 3, 64)
                .fingerprint(messages, |index| MS * u64::from(index))
        };
        let first = of(&[0, 1, 2]);
        assert!([of(&[0, 1, 1]), of(&[0, 1]), of(&[1, 0, 2])].iter().all(|other| *other != first));
        // Regression guard: reports of different versions are only comparable while this holds.
        assert_eq!(first, "747db3468df4d123973cb3e8bbce6b4f");
    }
}
