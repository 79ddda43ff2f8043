//! Tickets: each admits one account to one chat server, once.
//!
//! A ticket is `serial (16 random bytes) | sealed fields | tag`. Its key is HKDF-SHA256(cluster
//! key, salt = serial, info = "throng ticket v1"). Every ticket has a key of its own, so the nonce
//! can be zero. A chat server recognizes a used ticket by its serial.

use rand::TryRng;
use rand::rngs::SysRng;

use super::cipher::Cipher;
use super::keys::{ClusterKey, PublicKey};
use crate::limits::{TICKET_LIFETIME_MAX, TICKET_SKEW_MAX};
use crate::wire::packets::{Name, TicketBytes};
use crate::wire::table::wire_struct;
use crate::wire::{CloseReason, Field, Reader, Writer};

/// Unique number of a ticket.
pub type TicketSerial = [u8; 16];

wire_struct! {
    /// Content of a ticket.
    Ticket {
        /// The account that it admits.
        account: u64,
        /// The account's claim; 0 for a ticket that the load harness minted.
        claim: u64,
        /// The character.
        character: u64,
        /// The character's name.
        name: Name,
        /// The public key of the one chat server that accepts it.
        chat_key: PublicKey,
        /// Time of issue, in milliseconds since 1970 UTC.
        issued_ms: u64,
        /// Time of expiry, in milliseconds since 1970 UTC.
        expires_ms: u64,
    }
}

impl Ticket {
    /// Seals the ticket. Fails only if the system has no randomness to give.
    pub fn mint(&self, key: &ClusterKey) -> std::io::Result<TicketBytes> {
        let mut serial = TicketSerial::default();
        SysRng.try_fill_bytes(&mut serial).map_err(std::io::Error::other)?;
        Ok(self.seal(key, serial))
    }

    fn seal(&self, key: &ClusterKey, serial: TicketSerial) -> TicketBytes {
        let mut out = serial.to_vec();
        self.put(&mut Writer::new(&mut out));
        let tag = cipher(key, &serial).seal([0; 12], &[], &mut out[serial.len()..]);
        out.extend_from_slice(&tag);
        TicketBytes::new(out).expect("every field of a ticket is bounded, and TICKET_MAX holds them all")
    }

    /// Opens a ticket that a client presents at the time `now_ms` to the chat server with the key
    /// `chat_key`. The caller checks by the serial that it has not been used before.
    ///
    /// A ticket issued later than [`TICKET_SKEW_MAX`] from now is invalid: it would outlive every
    /// restart of the server, and with it the memory of its use.
    pub fn open(
        key: &ClusterKey,
        bytes: &TicketBytes,
        chat_key: &PublicKey,
        now_ms: u64,
    ) -> Result<(TicketSerial, Self), CloseReason> {
        let invalid = CloseReason::TicketInvalid;
        let (serial, sealed) = bytes.split_first_chunk::<16>().ok_or(invalid)?;
        let mut sealed = sealed.to_vec();
        let fields = cipher(key, serial).open([0; 12], &[], &mut sealed).ok_or(invalid)?;
        let mut reader = Reader::new(fields);
        let ticket = Self::take(&mut reader).map_err(|_| invalid)?;
        reader.finish().map_err(|_| invalid)?;
        if ticket.chat_key != *chat_key {
            return Err(invalid);
        }
        if ticket.expires_ms <= now_ms {
            return Err(CloseReason::TicketExpired);
        }
        let is_from_the_future = ticket.issued_ms > now_ms.saturating_add(TICKET_SKEW_MAX.as_millis() as u64);
        let lifetime_ms = ticket.expires_ms.saturating_sub(ticket.issued_ms);
        if is_from_the_future || lifetime_ms > TICKET_LIFETIME_MAX.as_millis() as u64 {
            return Err(invalid);
        }
        Ok((*serial, ticket))
    }
}

fn cipher(key: &ClusterKey, serial: &TicketSerial) -> Cipher {
    Cipher::new(&key.derive(b"throng ticket v1", serial))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> (ClusterKey, Ticket) {
        let ticket = Ticket {
            account: 42,
            claim: 7,
            character: 43,
            name: Name::new("스롱🐝").unwrap(),
            chat_key: [5; 32],
            issued_ms: 1_000,
            expires_ms: 31_000,
        };
        (ClusterKey::from_bytes([9; 32]), ticket)
    }

    #[test]
    fn a_ticket_opens_at_its_server_until_it_expires() {
        let (key, ticket) = sample();
        let bytes = ticket.mint(&key).unwrap();
        let (serial, opened) = Ticket::open(&key, &bytes, &[5; 32], 30_999).unwrap();
        assert_eq!(opened, ticket);
        assert_eq!(serial[..], bytes[..16]);
        let check = |key: &ClusterKey, chat, now, reason| {
            assert_eq!(Ticket::open(key, &bytes, &chat, now).err(), Some(reason));
        };
        check(&key, [5; 32], 31_000, CloseReason::TicketExpired);
        check(&key, [6; 32], 1_000, CloseReason::TicketInvalid);
        check(&ClusterKey::from_bytes([8; 32]), [5; 32], 1_000, CloseReason::TicketInvalid);
    }

    #[test]
    fn a_ticket_from_the_future_or_for_ever_is_refused() {
        let (key, ticket) = sample();
        let skew_ms = TICKET_SKEW_MAX.as_millis() as u64;
        let lifetime_ms = TICKET_LIFETIME_MAX.as_millis() as u64;
        let now_ms = 1_000_000;
        let check = |issued_ms: u64, expires_ms: u64, wanted: Option<CloseReason>| {
            let bytes = Ticket { issued_ms, expires_ms, ..ticket.clone() }.mint(&key).unwrap();
            let opened = Ticket::open(&key, &bytes, &[5; 32], now_ms);
            assert_eq!(opened.err(), wanted, "issued {issued_ms}, expires {expires_ms}");
        };
        let invalid = Some(CloseReason::TicketInvalid);
        check(now_ms + skew_ms, now_ms + skew_ms + 1, None);
        check(now_ms + skew_ms + 1, now_ms + skew_ms + 2, invalid);
        check(now_ms + 3_600_000, now_ms + 3_630_000, invalid);
        check(u64::MAX - 1, u64::MAX, invalid);
        check(now_ms, now_ms + lifetime_ms, None);
        check(now_ms, now_ms + lifetime_ms + 1, invalid);
        check(0, u64::MAX, invalid);
        let bytes = ticket.mint(&key).unwrap();
        assert!(Ticket::open(&key, &bytes, &[5; 32], 1_000 - 1).is_ok(), "the clocks differ a little");
        let late = Ticket { issued_ms: 10_000, ..ticket.clone() }.mint(&key).unwrap();
        assert_eq!(Ticket::open(&key, &late, &[5; 32], 0).err(), invalid);
    }

    #[test]
    fn a_changed_or_cut_ticket_is_refused() {
        let (key, ticket) = sample();
        let bytes = ticket.mint(&key).unwrap();
        let check = |changed: Vec<u8>| {
            let changed = TicketBytes::new(changed).unwrap();
            assert_eq!(Ticket::open(&key, &changed, &[5; 32], 0).err(), Some(CloseReason::TicketInvalid));
        };
        for bit in 0..bytes.len() * 8 {
            let mut changed = bytes.to_vec();
            changed[bit / 8] ^= 1 << (bit % 8);
            check(changed);
        }
        for length in 0..bytes.len() {
            check(bytes[..length].to_vec());
        }
    }

    #[test]
    fn the_longest_ticket_fits_its_packet() {
        let (key, mut ticket) = sample();
        ticket.name = Name::new("🐝".repeat(24)).unwrap();
        assert!(ticket.mint(&key).unwrap().len() <= crate::limits::TICKET_MAX);
    }

    #[test]
    fn vector_of_the_protocol_document() {
        let (key, ticket) = sample();
        assert_eq!(hex::encode(&*ticket.seal(&key, [3; 16])), crate::wire::doc_vector("ticket"));
    }
}
