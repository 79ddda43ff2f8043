//! Sealing with a room's key: AES-256-GCM, once for all members.
//!
//! A frame of kind 3 has a little-endian body of
//! ```text
//! key (u32) | number (u64) | fan-out (u32) | sealed packet | tag (16 bytes)
//! ```
//! The number counts the key's frames, messages and notices apart because they travel apart;
//! notices have the highest bit set. It makes the nonce, as in a session: four zero bytes, then the
//! number as 8 bytes big-endian. Header, key and number are authenticated. The fan-out time is not:
//! each shard writes it when it begins to send the frame.
//!
//! No nonce is used twice: the counter belongs to the key and only goes up, and every key is drawn
//! at random. Members see increasing numbers, with gaps while they were not members or too slow. A
//! number that does not increase is a replay.

use std::sync::Arc;

use byteorder::{ByteOrder, LittleEndian};

use super::cipher::Cipher;
use super::frame_cache::{FrameCache, OpenedFrames, Outcome};
use super::session::{SealBroken, nonce};
use crate::limits::{FRAME_HEADER, ROOM_AUTHENTICATED, ROOM_KEYS_PER_SESSION, ROOM_SEALED, SEAL_TAG};
use crate::room::{Class, RoomId};
use crate::wire::SecretBytes;
use crate::wire::frame::{self, Kind};
use crate::wire::packets::{Packet, RoomKey};

/// Position of the fan-out time in a frame.
const FAN_OUT: std::ops::Range<usize> = ROOM_AUTHENTICATED..ROOM_AUTHENTICATED + 4;

/// A room's key on the sealing side.
pub struct RoomSealer {
    number: u32,
    secret: SecretBytes<32>,
    /// Kept expanded: half a kilobyte a room saves some hundred nanoseconds a message.
    cipher: Cipher,
    /// Numbers of the next message and the next notice.
    next: [u64; 2],
}

/// Bit set in the numbers of notices.
const NOTICE: u64 = 1 << 63;

/// First number of each class.
const FIRST: [u64; 2] = [0, NOTICE];

impl RoomSealer {
    /// Returns an unused key. `secret` must be drawn at random.
    pub fn new(number: u32, secret: [u8; 32]) -> Self {
        let cipher = Cipher::new(&secret);
        Self { number, secret: SecretBytes::new(secret), cipher, next: FIRST }
    }

    /// Returns the packet that gives the key to members of `room`.
    pub fn packet(&self, room: RoomId) -> Packet {
        let [message, notice] = self.next;
        RoomKey { room: room.0, key: self.number, secret: self.secret.clone(), message, notice }.into()
    }

    /// Returns the number of frames sealed so far.
    pub fn sealed(&self) -> u64 {
        self.next.iter().map(|next| next & !NOTICE).sum()
    }

    /// Appends one sealed frame to `out`; `write` appends its plaintext. The frame's fan-out time
    /// is 0.
    pub fn seal(&mut self, class: Class, out: &mut Vec<u8>, write: impl FnOnce(&mut Vec<u8>)) {
        let number = self.next[class as usize];
        let start = out.len();
        out.resize(start + ROOM_SEALED, 0);
        write(out);
        let body = out.len() - start - FRAME_HEADER + SEAL_TAG;
        let (head, plain) = out[start..].split_at_mut(ROOM_SEALED);
        head[..FRAME_HEADER].copy_from_slice(&frame::header(Kind::Room, body));
        LittleEndian::write_u32(&mut head[FRAME_HEADER..], self.number);
        LittleEndian::write_u64(&mut head[FRAME_HEADER + 4..], number);
        let tag = self.cipher.seal(nonce(number), &head[..ROOM_AUTHENTICATED], plain);
        out.extend_from_slice(&tag);
        self.next[class as usize] += 1;
    }
}

/// Sets the fan-out time of a whole frame: microseconds from its sealing to its first byte sent.
pub fn stamp_fan_out(frame: &mut [u8], micros: u32) {
    LittleEndian::write_u32(&mut frame[FAN_OUT], micros);
}

/// A room's key on the opening side, expanded; sessions of one process can share it.
#[derive(Clone)]
pub struct RoomCipher {
    aes: Arc<Cipher>,
    /// Frames opened by any session that shares the key, if they are shared as well.
    opened: Option<OpenedFrames>,
}

impl RoomCipher {
    /// Expands a key.
    pub fn new(secret: &SecretBytes<32>) -> Self {
        Self { aes: Arc::new(Cipher::new(secret.expose())), opened: None }
    }

    /// Expands a key whose opened frames are kept among `frames`. Sessions that share this cipher
    /// decrypt a frame once; copies of it that are equal in every authenticated byte and in their
    /// tag take the plaintext from there.
    pub fn sharing(secret: &SecretBytes<32>, frames: &mut FrameCache) -> Self {
        Self { opened: Some(frames.of_new_key()), ..Self::new(secret) }
    }

    /// Opens a frame with this number in place.
    fn open(&self, number: u64, frame: &mut [u8]) -> Outcome {
        // One holder keeps the key for further sessions. A single session sees each frame once.
        match self.opened.as_ref().filter(|_| Arc::strong_count(&self.aes) > 2) {
            Some(opened) => opened.open(number, frame, |frame| self.decrypt(number, frame)),
            None if self.decrypt(number, frame) => Outcome::Opened(None),
            None => Outcome::Broken,
        }
    }

    fn decrypt(&self, number: u64, frame: &mut [u8]) -> bool {
        let (head, sealed) = frame.split_at_mut(ROOM_SEALED);
        self.aes.open(nonce(number), &head[..ROOM_AUTHENTICATED], sealed).is_some()
    }
}

/// The room keys of one session.
#[derive(Default)]
pub struct RoomKeys(Vec<Opener>);

/// A session's key of one room.
struct Opener {
    room: u32,
    key: u32,
    /// Lowest valid numbers of the next message and the next notice.
    next: [u64; 2],
    cipher: RoomCipher,
}

/// A frame that has been opened.
#[derive(Debug, PartialEq, Eq)]
pub struct Opened<'a> {
    /// The room that the frame's key belongs to.
    pub room: u32,
    /// Microseconds from the frame's sealing to its first byte sent, as the server states it; not
    /// authenticated.
    pub fan_out_us: u32,
    /// Number of the frame, if other sessions may receive copies: theirs have the same number, and
    /// no other frame has it.
    pub serial: Option<u64>,
    /// The decrypted packet.
    pub plain: &'a [u8],
}

impl RoomKeys {
    /// Sets the key of a room, in place of its older key, or of that of the sector's room that had
    /// its [place](RoomId::key_place). Returns false if the session already has
    /// a key for each of the rooms that it can be in.
    #[must_use]
    pub fn add(&mut self, key: &RoomKey, cipher: RoomCipher) -> bool {
        let opener = Opener { room: key.room, key: key.key, next: [key.message, key.notice], cipher };
        let place = |room: u32| RoomId(room).key_place();
        match self.0.iter().position(|opener| place(opener.room) == place(key.room)) {
            Some(at) => self.0[at] = opener,
            None if self.0.len() == ROOM_KEYS_PER_SESSION => return false,
            None => {
                // Most sessions are in one or two rooms, and a harness has thousands of sessions.
                self.0.reserve_exact(1);
                self.0.push(opener);
            }
        }
        true
    }

    /// Drops the key of a room that the session has left.
    pub fn forget(&mut self, room: u32) {
        self.0.retain(|opener| opener.room != room);
    }

    /// Opens one whole frame in place.
    pub fn open<'a>(&mut self, frame: &'a mut [u8]) -> Result<Opened<'a>, SealBroken> {
        if frame.len() < ROOM_SEALED + SEAL_TAG {
            return Err(SealBroken);
        }
        let key = LittleEndian::read_u32(&frame[FRAME_HEADER..]);
        let number = LittleEndian::read_u64(&frame[FRAME_HEADER + 4..]);
        let fan_out_us = LittleEndian::read_u32(&frame[FAN_OUT]);
        let at = self.0.iter().position(|opener| opener.key == key).ok_or(SealBroken)?;
        let opener = &mut self.0[at];
        let class = usize::from(number >= NOTICE);
        let next = &mut opener.next[class];
        if number < *next {
            return Err(SealBroken);
        }
        let Outcome::Opened(serial) = opener.cipher.open(number, frame) else { return Err(SealBroken) };
        *next = number.checked_add(1).ok_or(SealBroken)?;
        Ok(Opened {
            room: opener.room,
            fan_out_us,
            serial,
            plain: &frame[ROOM_SEALED..frame.len() - SEAL_TAG],
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(sealers: &[(u32, &RoomSealer)]) -> RoomKeys {
        let mut keys = RoomKeys::default();
        for (room, sealer) in sealers {
            assert!(add(&mut keys, *room, sealer));
        }
        keys
    }

    fn add(keys: &mut RoomKeys, room: u32, sealer: &RoomSealer) -> bool {
        let Packet::RoomKey(key) = sealer.packet(RoomId(room)) else { unreachable!("it is one") };
        keys.add(&key, RoomCipher::new(&key.secret))
    }

    fn sealed(sealer: &mut RoomSealer, text: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        sealer.seal(Class::Chat, &mut out, |out| out.extend_from_slice(text));
        out
    }

    fn open(keys: &mut RoomKeys, frame: &[u8]) -> Result<(u32, Vec<u8>), SealBroken> {
        keys.open(&mut frame.to_vec()).map(|opened| (opened.room, opened.plain.to_vec()))
    }

    #[test]
    fn members_open_frames_in_order_once_and_with_gaps() {
        let mut sealer = RoomSealer::new(5, [1; 32]);
        let mut alice = keys(&[(0, &sealer)]);
        let mut bob = keys(&[(0, &sealer)]);
        let frames: Vec<_> = [b"one", b"two", b"six"].iter().map(|text| sealed(&mut sealer, *text)).collect();
        assert_eq!(open(&mut alice, &frames[0]), Ok((0, b"one".to_vec())));
        assert_eq!(open(&mut alice, &frames[0]), Err(SealBroken), "a replay");
        assert_eq!(open(&mut alice, &frames[2]), Ok((0, b"six".to_vec())), "a gap");
        assert_eq!(open(&mut alice, &frames[1]), Err(SealBroken), "out of order");
        assert_eq!(open(&mut bob, &frames[1]), Ok((0, b"two".to_vec())), "a missed frame");
        assert_eq!(sealer.sealed(), 3);
    }

    #[test]
    fn any_flipped_bit_outside_the_fan_out_time_breaks_the_seal() {
        let mut sealer = RoomSealer::new(7, [2; 32]);
        let before = keys(&[(3, &sealer)]).0.remove(0);
        let opener = || RoomKeys(vec![Opener { cipher: before.cipher.clone(), ..before }]);
        let frame = sealed(&mut sealer, b"hello");
        for bit in 0..frame.len() * 8 {
            let mut changed = frame.clone();
            changed[bit / 8] ^= 1 << (bit % 8);
            let opened = open(&mut opener(), &changed);
            assert_eq!(opened.is_ok(), FAN_OUT.contains(&(bit / 8)), "bit {bit}");
        }
        for length in 0..frame.len() {
            assert_eq!(open(&mut opener(), &frame[..length]), Err(SealBroken));
        }
        let mut stamped = frame.clone();
        stamp_fan_out(&mut stamped, 4242);
        assert_eq!(opener().open(&mut stamped).unwrap().fan_out_us, 4242);
    }

    #[test]
    fn a_newer_key_replaces_the_older_key_of_its_room() {
        let mut old = RoomSealer::new(1, [1; 32]);
        let mut new = RoomSealer::new(2, [2; 32]);
        let mut other = RoomSealer::new(9, [9; 32]);
        let mut member = keys(&[(0, &old), (4, &other)]);
        assert!(open(&mut member, &sealed(&mut old, b"a")).is_ok());
        let on_its_way = sealed(&mut old, b"b");
        assert!(add(&mut member, 0, &new));
        assert_eq!(open(&mut member, &on_its_way), Err(SealBroken));
        assert!(open(&mut member, &sealed(&mut new, b"c")).is_ok());
        assert_eq!(open(&mut member, &sealed(&mut other, b"d")), Ok((4, b"d".to_vec())));
        member.forget(4);
        assert_eq!(open(&mut member, &sealed(&mut other, b"e")), Err(SealBroken));
    }

    #[test]
    fn frames_older_than_the_membership_do_not_open() {
        let mut sealer = RoomSealer::new(1, [1; 32]);
        let mut notice = Vec::new();
        sealer.seal(Class::Notice, &mut notice, |out| out.extend_from_slice(b"notice"));
        let message = sealed(&mut sealer, b"message");
        let mut member = keys(&[(0, &sealer)]);
        assert_eq!(open(&mut member, &message), Err(SealBroken));
        assert_eq!(open(&mut member, &notice), Err(SealBroken));
        assert!(open(&mut member, &sealed(&mut sealer, b"next")).is_ok());
    }

    /// Members whose ciphers share what they have opened.
    fn sharing(sealer: &RoomSealer, members: usize) -> Vec<RoomKeys> {
        let Packet::RoomKey(key) = sealer.packet(RoomId(0)) else { unreachable!("it is one") };
        let cipher = RoomCipher::sharing(&key.secret, &mut FrameCache::default());
        let member = || {
            let mut keys = RoomKeys::default();
            assert!(keys.add(&key, cipher.clone()));
            keys
        };
        (0..members).map(|_| member()).collect()
    }

    #[test]
    fn a_frame_that_was_opened_is_compared_and_a_changed_copy_is_refused() {
        let mut sealer = RoomSealer::new(7, [2; 32]);
        let frame = sealed(&mut sealer, b"hello");
        for bit in 0..frame.len() * 8 {
            let mut members = sharing(&sealer, 3);
            for member in &mut members {
                member.0[0].next = FIRST;
            }
            assert_eq!(open(&mut members[0], &frame), Ok((0, b"hello".to_vec())));
            let mut changed = frame.clone();
            changed[bit / 8] ^= 1 << (bit % 8);
            let opened = open(&mut members[1], &changed);
            assert_eq!(opened.is_ok(), FAN_OUT.contains(&(bit / 8)), "bit {bit}");
            assert_eq!(open(&mut members[2], &frame), Ok((0, b"hello".to_vec())));
            assert_eq!(open(&mut members[2], &frame), Err(SealBroken), "a replay");
        }
    }

    #[test]
    fn keys_of_one_number_do_not_share_frames() {
        let (mut sealer, mut other) = (RoomSealer::new(7, [2; 32]), RoomSealer::new(7, [3; 32]));
        let mut frames = FrameCache::default();
        let mut members = |sealer: &RoomSealer| {
            let Packet::RoomKey(key) = sealer.packet(RoomId(0)) else { unreachable!("it is one") };
            let cipher = RoomCipher::sharing(&key.secret, &mut frames);
            [(); 3].map(|()| {
                let mut keys = RoomKeys::default();
                assert!(keys.add(&key, cipher.clone()));
                keys
            })
        };
        let ([mut a, mut b, _], [mut c, mut d, _]) = (members(&sealer), members(&other));
        let (frame, others) = (sealed(&mut sealer, b"ours"), sealed(&mut other, b"theirs"));
        assert!(open(&mut a, &frame).is_ok() && open(&mut c, &others).is_ok());
        assert_eq!(open(&mut d, &frame), Err(SealBroken), "a frame of the other key");
        assert_eq!(open(&mut b, &frame), Ok((0, b"ours".to_vec())));
        assert_eq!(open(&mut d, &others), Ok((0, b"theirs".to_vec())));
    }

    #[test]
    fn messages_and_notices_are_numbered_apart() {
        let mut sealer = RoomSealer::new(1, [1; 32]);
        let mut member = keys(&[(0, &sealer)]);
        let message = sealed(&mut sealer, b"message");
        let mut notice = Vec::new();
        sealer.seal(Class::Notice, &mut notice, |out| out.extend_from_slice(b"notice"));
        assert_eq!(open(&mut member, &notice), Ok((0, b"notice".to_vec())), "it overtook the message");
        assert_eq!(open(&mut member, &message), Ok((0, b"message".to_vec())));
        assert_eq!(open(&mut member, &notice), Err(SealBroken), "a replay");
    }

    #[test]
    fn a_session_keeps_a_bounded_number_of_keys() {
        let sealer = RoomSealer::new(1, [1; 32]);
        let mut member = RoomKeys::default();
        for room in 0..ROOM_KEYS_PER_SESSION as u32 {
            assert!(add(&mut member, room, &sealer) && add(&mut member, room, &sealer));
        }
        assert!(!add(&mut member, u32::MAX, &sealer));
    }

    #[test]
    fn vectors_of_the_protocol_document() {
        let mut sealer = RoomSealer::new(7, std::array::from_fn(|i| i as u8));
        assert_eq!(hex::encode(sealed(&mut sealer, b"throng")), crate::wire::doc_vector("room frame 0"));
        assert_eq!(hex::encode(sealed(&mut sealer, b"throng")), crate::wire::doc_vector("room frame 1"));
        let mut late = sealed(&mut sealer, b"throng");
        let mut notice = Vec::new();
        sealer.seal(Class::Notice, &mut notice, |out| out.extend_from_slice(b"throng"));
        assert_eq!(hex::encode(notice), crate::wire::doc_vector("room notice 0"));
        stamp_fan_out(&mut late, 1234);
        assert_eq!(hex::encode(late), crate::wire::doc_vector("room frame 2 after 1234 us"));
        let Packet::RoomKey(packet) = sealer.packet(RoomId(3)) else { unreachable!("it is one") };
        assert_eq!((packet.room, packet.key), (3, 7));
    }
}
