//! Tickets: none opens but those that were sealed, and these only as their fields allow.

use std::sync::LazyLock;

use throng_core::crypto::{ClusterKey, PublicKey, Ticket};
use throng_core::limits::{TICKET_LIFETIME_MAX, TICKET_SKEW_MAX};
use throng_core::wire::CloseReason;
use throng_core::wire::packets::{Name, TicketBytes};

use crate::input::Input;
use crate::{Target, vectors};

pub(crate) const TICKETS: Target = Target { name: "tickets", check, seeds, mutations: 3_000 };

/// The ticket of docs/protocol.md.
static REAL: LazyLock<Vec<u8>> = LazyLock::new(|| vectors::one("ticket"));

const CHAT_KEY: PublicKey = [5; 32];

fn seeds() -> Vec<Vec<u8>> {
    let raw = [&[0], &REAL[..]].concat();
    let times = |now: u64, issued: u64, lifetime: u64| {
        let numbers = [now, issued, lifetime].map(u64::to_le_bytes).concat();
        [&[2, 0], &numbers[..], "이름".as_bytes()].concat()
    };
    vec![raw, vec![1], vec![1, 0, 20, 0, 1], times(5_000, 1_000, 30_000), times(1_000_000, 1_005_001, 1)]
}

fn check(input: &[u8]) {
    let mut input = Input::new(input);
    let key = ClusterKey::from_bytes([9; 32]);
    let received = match input.u8() % 3 {
        0 => input.rest().to_vec(),
        1 => input.damage(&REAL),
        _ => return minted(&key, &mut input),
    };
    let is_real = received == *REAL;
    let Ok(bytes) = TicketBytes::new(received) else { return };
    match Ticket::open(&key, &bytes, &CHAT_KEY, 1_000) {
        Ok((serial, ticket)) => {
            assert!(is_real, "a forged ticket opens");
            assert_eq!((serial, ticket.account), ([3; 16], 42));
        }
        Err(reason) => assert!(!is_real && reason == CloseReason::TicketInvalid, "{reason:?}"),
    }
}

/// Seals fields, and opens the ticket at some time: the rules of docs/protocol.md decide.
fn minted(key: &ClusterKey, input: &mut Input<'_>) {
    let chat_key = [input.u8(); 32];
    let (now_ms, issued_ms, lifetime_ms) = (input.u64(), input.u64(), input.u64());
    let expires_ms = issued_ms.wrapping_add(lifetime_ms);
    let name = Name::truncated(&String::from_utf8_lossy(input.rest()));
    let ticket =
        Ticket { account: now_ms, claim: lifetime_ms, character: 0, name, chat_key, issued_ms, expires_ms };
    let bytes = ticket.mint(key).expect("randomness");
    let [skew_ms, lifetime_max] = [TICKET_SKEW_MAX, TICKET_LIFETIME_MAX].map(|time| time.as_millis() as u64);
    let wanted = if chat_key != CHAT_KEY {
        Some(CloseReason::TicketInvalid)
    } else if expires_ms <= now_ms {
        Some(CloseReason::TicketExpired)
    } else if i128::from(issued_ms) - i128::from(now_ms) > i128::from(skew_ms)
        || i128::from(expires_ms) - i128::from(issued_ms) > i128::from(lifetime_max)
    {
        Some(CloseReason::TicketInvalid)
    } else {
        None
    };
    match Ticket::open(key, &bytes, &CHAT_KEY, now_ms) {
        Ok((serial, opened)) => {
            assert_eq!((wanted, opened, &serial[..]), (None, ticket, &bytes[..16]));
        }
        Err(reason) => assert_eq!(Some(reason), wanted),
    }
}
