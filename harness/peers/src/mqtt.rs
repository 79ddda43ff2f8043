//! Mosquitto: MQTT 3.1.1 with quality of service 0.

use std::ffi::OsString;
use std::path::Path;

use super::system::{Frame, Peer, ROOM, Step};

/// `mosquitto`.
#[derive(Debug)]
pub(super) struct Mosquitto;

/// Packet types, in the upper half of the first byte.
const CONNECT: u8 = 1;
const CONNACK: u8 = 2;
const PUBLISH: u8 = 3;
const SUBSCRIBE: u8 = 8;
const SUBACK: u8 = 9;
const PINGRESP: u8 = 13;

/// Most bytes of a packet.
const PACKET_MAX: usize = 64 * 1024;

impl Peer for Mosquitto {
    fn name(&self) -> &'static str {
        "mosquitto"
    }

    fn package(&self) -> &'static str {
        "mosquitto"
    }

    fn program(&self) -> &'static str {
        "mosquitto"
    }

    fn version_arguments(&self) -> &'static [&'static str] {
        &["-h"]
    }

    fn configuration(&self, port: u16, _dir: &Path) -> String {
        format!(
            "listener {port} 127.0.0.1\n\
             # Otherwise root becomes `mosquitto`, which may not look into the directory of a run.\n\
             user root\n\
             allow_anonymous true\n\
             persistence false\n\
             # No client is cut off for being slow, and no connection is too many.\n\
             max_connections -1\n\
             max_queued_messages 0\n\
             max_queued_bytes 0\n\
             # A message goes out at once; this is what the other systems do by themselves.\n\
             set_tcp_nodelay true\n\
             # No statistics of its own as messages.\n\
             sys_interval 0\n\
             log_type error\n"
        )
    }

    fn arguments(&self, config: &Path) -> Vec<OsString> {
        vec!["-c".into(), config.into()]
    }

    fn greet(&self, member: u32, out: &mut Vec<u8>) {
        let id = format!("member-{member}");
        // Protocol level 4, a clean session, no keep-alive.
        let mut body = text("MQTT");
        body.extend_from_slice(&[4, 0b10, 0, 0]);
        body.extend_from_slice(&text(&id));
        packet(CONNECT << 4, &body, out);
    }

    fn join(&self, _member: u32, out: &mut Vec<u8>) {
        let mut body = vec![0, 1];
        body.extend_from_slice(&text(ROOM));
        body.push(0);
        packet(SUBSCRIBE << 4 | 0b10, &body, out);
    }

    fn publish(&self, payload: &[u8], out: &mut Vec<u8>) {
        let mut body = text(ROOM);
        body.extend_from_slice(payload);
        packet(PUBLISH << 4, &body, out);
    }

    fn parse<'a>(&self, bytes: &'a [u8]) -> Step<'a> {
        let [first, rest @ ..] = bytes else { return Step::More };
        let (length, digits) = match remaining_length(rest) {
            Ok(Some(length)) => length,
            Ok(None) => return Step::More,
            Err(why) => return Step::Bad(why),
        };
        if length > PACKET_MAX {
            return Step::Bad("a packet that is too long");
        }
        let Some(body) = rest.get(digits..digits + length) else { return Step::More };
        let used = 1 + digits + length;
        match (first >> 4, body) {
            (PUBLISH, [high, low, rest @ ..]) => {
                let topic = usize::from(u16::from_be_bytes([*high, *low]));
                match rest.get(topic..) {
                    // Without a quality of service the payload follows the topic directly.
                    Some(payload) if first & 0b110 == 0 => Step::Frame(used, Frame::Payload(payload)),
                    Some(_) => Step::Bad("a message with a quality of service that was not asked for"),
                    None => Step::Bad("a message that is shorter than its topic"),
                }
            }
            (CONNACK, [_, 0]) => Step::Frame(used, Frame::Greeted),
            (CONNACK, [_, _]) => Step::Frame(used, Frame::Refused(b"CONNACK with an error")),
            (SUBACK, [_, _, 0..=2]) => Step::Frame(used, Frame::Joined),
            (SUBACK, [_, _, _]) => Step::Frame(used, Frame::Refused(b"SUBACK with an error")),
            (PINGRESP, []) => Step::Frame(used, Frame::Other),
            _ => Step::Bad("a packet that a member does not expect"),
        }
    }
}

/// A length-prefixed string.
fn text(text: &str) -> Vec<u8> {
    let length = u16::try_from(text.len()).expect("ours are short");
    [&length.to_be_bytes(), text.as_bytes()].concat()
}

fn packet(first: u8, body: &[u8], out: &mut Vec<u8>) {
    out.push(first);
    let mut length = body.len();
    loop {
        let digit = (length % 128) as u8;
        length /= 128;
        out.push(if length > 0 { digit | 0x80 } else { digit });
        if length == 0 {
            break;
        }
    }
    out.extend_from_slice(body);
}

/// Reads a length in base-128 digits, the lowest first -> length, number of digits; none if
/// incomplete.
fn remaining_length(bytes: &[u8]) -> Result<Option<(usize, usize)>, &'static str> {
    let mut length = 0;
    for (place, digit) in bytes.iter().take(4).enumerate() {
        length |= usize::from(digit & 0x7f) << (7 * place);
        if digit & 0x80 == 0 {
            return Ok(Some((length, place + 1)));
        }
    }
    if bytes.len() < 4 { Ok(None) } else { Err("a length of more than four digits") }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::system::tests::{Seen, check, check_any, check_bad};

    fn delivery(payload: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        Mosquitto.publish(payload, &mut out);
        out
    }

    #[test]
    fn packets_are_encoded() {
        let mut out = Vec::new();
        Mosquitto.greet(7, &mut out);
        assert_eq!(out, b"\x10\x14\x00\x04MQTT\x04\x02\x00\x00\x00\x08member-7");
        out.clear();
        Mosquitto.join(7, &mut out);
        assert_eq!(out, b"\x82\x09\x00\x01\x00\x04room\x00");
        out.clear();
        Mosquitto.publish(b"hi", &mut out);
        assert_eq!(out, b"\x30\x08\x00\x04roomhi");
        assert_eq!(delivery(&[0; 200])[..3], [0x30, 206 - 128 + 0x80, 1]);
    }

    #[test]
    fn packets_are_parsed() {
        let stream = [
            b"\x20\x02\x00\x00\x90\x03\x00\x01\x00".as_slice(),
            &delivery(b"abc"),
            b"\xd0\x00",
            &delivery(&[b'x'; 300]),
            b"\x20\x02\x00\x05\x90\x03\x00\x01\x80",
        ]
        .concat();
        let expected = [
            Seen::Greeted,
            Seen::Joined,
            Seen::Payload(b"abc".into()),
            Seen::Payload(vec![b'x'; 300]),
            Seen::Refused(b"CONNACK with an error".into()),
            Seen::Refused(b"SUBACK with an error".into()),
        ];
        check(&Mosquitto, &stream, &expected);
    }

    #[test]
    fn bad_mqtt_is_refused() {
        check_bad(&Mosquitto, b"\x30\xff\xff\xff\xff", "a length of more than four digits");
        check_bad(&Mosquitto, b"\x30\xff\xff\x7f", "a packet that is too long");
        check_bad(&Mosquitto, b"\x30\x03\x00\x04r", "a message that is shorter than its topic");
        check_bad(
            &Mosquitto,
            b"\x32\x04\x00\x00\x00\x01",
            "a message with a quality of service that was not asked for",
        );
        check_bad(&Mosquitto, b"\x00\x00", "a packet that a member does not expect");
    }

    proptest! {
        #[test]
        fn any_payload_comes_through(payload: Vec<u8>, piece in 1_usize..40) {
            let stream = [delivery(&payload), delivery(&payload)].concat();
            check_any(&Mosquitto, &stream, piece);
            let used = delivery(&payload).len();
            prop_assert_eq!(Mosquitto.parse(&stream), Step::Frame(used, Frame::Payload(&payload)));
        }

        #[test]
        fn any_bytes_are_judged_without_panic(mut bytes: Vec<u8>, message: bool, piece in 1_usize..9) {
            if message {
                bytes.insert(0, 0x30);
            }
            check_any(&Mosquitto, &bytes, piece);
        }
    }
}
