//! Properties that hold for every packet.

use proptest::prelude::*;
use proptest::test_runner::TestRunner;

use super::shape::{self, Violation};
use crate::wire::packets::TABLE;
use crate::wire::{Malformed, Packet, PacketInfo};

/// Cases for each packet of the table.
const CASES: u32 = 24;

/// Runs `check` for each packet of the table, with random bytes that encode it.
fn for_all(check: fn(&PacketInfo, Vec<u8>) -> Result<(), TestCaseError>) {
    for packet in TABLE {
        let mut runner = TestRunner::new(ProptestConfig { cases: CASES, ..ProptestConfig::default() });
        let number = packet.number.to_le_bytes();
        let bytes = shape::of(packet).any().prop_map(move |fields| [number.to_vec(), fields].concat());
        if let Err(error) = runner.run(&bytes, |bytes| check(packet, bytes)) {
            panic!("{}: {error}", packet.name);
        }
    }
}

fn encoded(packet: &Packet) -> Vec<u8> {
    let mut out = Vec::new();
    packet.encode(&mut out);
    out
}

#[test]
fn every_packet_comes_back() {
    for_all(|info, bytes| {
        let packet = Packet::decode(&bytes).map_err(|error| TestCaseError::fail(error.to_string()))?;
        prop_assert_eq!((packet.number(), packet.name()), (info.number, info.name));
        let again = encoded(&packet);
        prop_assert_eq!(&again, &bytes, "a packet has more than one encoding");
        prop_assert_eq!(Packet::decode(&again), Ok(packet));
        Ok(())
    });
}

#[test]
fn a_cut_or_lengthened_packet_is_refused() {
    for_all(|_, bytes| {
        for length in 0..bytes.len() {
            let cut = Packet::decode(&bytes[..length]);
            prop_assert!(matches!(cut, Err(Malformed::Truncated { .. })), "{length}: {cut:?}");
        }
        let longer = [bytes, vec![0]].concat();
        prop_assert_eq!(Packet::decode(&longer), Err(Malformed::Trailing { extra: 1 }));
        Ok(())
    });
}

#[test]
fn a_changed_byte_yields_a_packet_of_these_bytes_or_an_error() {
    for_all(|_, bytes| {
        for at in 0..bytes.len() {
            let mut changed = bytes.clone();
            changed[at] = changed[at].wrapping_add(1);
            if let Ok(packet) = Packet::decode(&changed) {
                prop_assert_eq!(encoded(&packet), changed);
            }
        }
        Ok(())
    });
}

#[test]
fn every_rule_of_every_field_is_enforced() {
    for info in TABLE {
        for (violation, fields) in shape::of(info).violations() {
            let bytes = [info.number.to_le_bytes().to_vec(), fields].concat();
            let error = Packet::decode(&bytes).expect_err(info.name);
            // A value beyond its limit is reported as too long although its bytes are missing too:
            // the limit is checked before anything is reserved or read.
            let is_right = match violation {
                Violation::TooLong => {
                    matches!(error, Malformed::TooLong { length, limit } if length == limit + 1)
                }
                Violation::NotUtf8 => error == Malformed::NotUtf8,
                Violation::ControlCharacter => matches!(error, Malformed::ControlCharacter(_)),
                Violation::UnknownValue => matches!(error, Malformed::UnknownValue { .. }),
            };
            assert!(is_right, "{}: {violation:?} was reported as {error:?}", info.name);
        }
    }
}

#[test]
fn the_limits_themselves_are_allowed() {
    use crate::limits::{CHAT_TEXT_MAX, CLAIM_PAGE};
    use crate::wire::packets::{ChatRequest, ChatText, Claim, DbHeldClaims, Scope};
    use crate::wire::{List, Text, TooLong};
    let check = |packet: Packet| assert_eq!(Packet::decode(&encoded(&packet)), Ok(packet));
    check(
        ChatRequest {
            scope: Scope::World,
            target: 0,
            stamp: 0,
            text: Text::new("x".repeat(CHAT_TEXT_MAX)).unwrap(),
        }
        .into(),
    );
    let claims = vec![Claim { account: 1, id: 2 }; CLAIM_PAGE];
    check(DbHeldClaims { list: 1, claims: List::new(claims).unwrap(), last: true }.into());
    let too_long = TooLong { length: CHAT_TEXT_MAX + 1, limit: CHAT_TEXT_MAX };
    assert_eq!(ChatText::new("x".repeat(too_long.length)), Err(too_long));
}

proptest! {
    #[test]
    fn any_bytes_are_judged_without_panic(bytes: Vec<u8>) {
        if let Ok(packet) = Packet::decode(&bytes) {
            prop_assert_eq!(encoded(&packet), bytes);
        }
    }

    #[test]
    fn any_bytes_behind_a_real_number_are_judged_without_panic(
        info in prop::sample::select(TABLE),
        fields in prop::collection::vec(prop_oneof![Just(0u8), Just(1u8), any::<u8>()], 0..200),
    ) {
        let bytes = [info.number.to_le_bytes().to_vec(), fields].concat();
        if let Ok(packet) = Packet::decode(&bytes) {
            prop_assert_eq!(encoded(&packet), bytes);
        }
    }
}
