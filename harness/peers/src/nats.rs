//! NATS: its text protocol, core subjects without streams.

use std::ffi::OsString;
use std::io::Write;
use std::path::Path;

use super::system::{Frame, Peer, ROOM, Step, line, number};

/// `nats-server`.
#[derive(Debug)]
pub(super) struct Nats;

/// Most bytes of a payload.
const PAYLOAD_LIMIT: usize = 64 * 1024;
/// Most bytes of a line; the server's first one, INFO, is the longest.
const LINE_MAX: usize = 16 * 1024;

impl Peer for Nats {
    fn name(&self) -> &'static str {
        "nats"
    }

    fn package(&self) -> &'static str {
        "nats-server"
    }

    fn program(&self) -> &'static str {
        "nats-server"
    }

    fn configuration(&self, port: u16, _dir: &Path) -> String {
        format!(
            "listen: \"127.0.0.1:{port}\"\n\
             max_connections: 15000\n\
             # No client is cut off for being slow.\n\
             max_pending: 1073741824\n\
             write_deadline: \"120s\"\n\
             # A run is shorter than this, so no pings are in the figures.\n\
             ping_interval: \"30m\"\n\
             debug: false\n\
             trace: false\n\
             logtime: false\n"
        )
    }

    fn arguments(&self, config: &Path) -> Vec<OsString> {
        vec!["--config".into(), config.into()]
    }

    fn greet(&self, _member: u32, out: &mut Vec<u8>) {
        // Not verbose: no +OK for each command. The answer to PING confirms the subscription.
        out.extend_from_slice(b"CONNECT {\"verbose\":false,\"pedantic\":false,\"echo\":true}\r\n");
        let _ = write!(out, "SUB {ROOM} 1\r\nPING\r\n");
    }

    fn publish(&self, payload: &[u8], out: &mut Vec<u8>) {
        let _ = write!(out, "PUB {ROOM} {}\r\n", payload.len());
        out.extend_from_slice(payload);
        out.extend_from_slice(b"\r\n");
    }

    fn answer(&self, _token: &[u8], out: &mut Vec<u8>) {
        out.extend_from_slice(b"PONG\r\n");
    }

    fn parse<'a>(&self, bytes: &'a [u8]) -> Step<'a> {
        let Some((text, used)) = line(bytes) else {
            return if bytes.len() < LINE_MAX { Step::More } else { Step::Bad("a line without an end") };
        };
        if text.starts_with(b"MSG ") {
            return message(bytes, text, used);
        }
        match text {
            b"PING" => Step::Frame(used, Frame::Ask(b"")),
            b"PONG" => Step::Frame(used, Frame::Joined),
            b"+OK" => Step::Frame(used, Frame::Other),
            _ if text.starts_with(b"INFO ") => Step::Frame(used, Frame::Other),
            _ => match text.strip_prefix(b"-ERR ") {
                Some(why) => Step::Frame(used, Frame::Refused(why)),
                None => Step::Bad("a line that is no operation of NATS"),
            },
        }
    }
}

/// `MSG subject sid [reply] size`, and the payload on the next line.
fn message<'a>(bytes: &'a [u8], head: &[u8], used: usize) -> Step<'a> {
    let size = head.rsplit(|byte| *byte == b' ').next().and_then(number);
    let Some(size) = size.filter(|size| *size <= PAYLOAD_LIMIT) else {
        return Step::Bad("a message without a size");
    };
    match bytes.get(used..used + size + 2) {
        None => Step::More,
        Some(text) if text.ends_with(b"\r\n") => Step::Frame(used + size + 2, Frame::Payload(&text[..size])),
        Some(_) => Step::Bad("a payload that is longer than its size"),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::system::tests::{Seen, check, check_any, check_bad};

    fn delivery(payload: &[u8]) -> Vec<u8> {
        let head = format!("MSG room 1 {}\r\n", payload.len());
        [head.as_bytes(), payload, b"\r\n"].concat()
    }

    #[test]
    fn commands_are_encoded() {
        let mut out = Vec::new();
        Nats.greet(1, &mut out);
        assert!(out.ends_with(b"}\r\nSUB room 1\r\nPING\r\n"), "{:?}", out.escape_ascii().to_string());
        out.clear();
        Nats.publish(b"hi", &mut out);
        Nats.answer(b"", &mut out);
        assert_eq!(out, b"PUB room 2\r\nhi\r\nPONG\r\n");
    }

    #[test]
    fn frames_are_parsed() {
        let stream = [
            b"INFO {\"server_id\":\"x\"}\r\nPONG\r\n".as_slice(),
            &delivery(b"one\r\ntwo"),
            b"+OK\r\nPING\r\n",
            &delivery(b""),
            b"MSG room 1 reply 3\r\nabc\r\n",
            b"-ERR 'Slow Consumer'\r\n",
        ]
        .concat();
        let expected = [
            Seen::Joined,
            Seen::Payload(b"one\r\ntwo".into()),
            Seen::Ask(b"".into()),
            Seen::Payload(b"".into()),
            Seen::Payload(b"abc".into()),
            Seen::Refused(b"'Slow Consumer'".into()),
        ];
        check(&Nats, &stream, &expected);
    }

    #[test]
    fn bad_nats_is_refused() {
        check_bad(&Nats, b"hello\r\n", "a line that is no operation of NATS");
        check_bad(&Nats, b"MSG room 1 x\r\n", "a message without a size");
        check_bad(&Nats, b"MSG room 1 99999999\r\n", "a message without a size");
        check_bad(&Nats, b"MSG room 1 1\r\nabc", "a payload that is longer than its size");
        check_bad(&Nats, &[b'x'; LINE_MAX], "a line without an end");
    }

    proptest! {
        #[test]
        fn any_payload_comes_through(payload: Vec<u8>, piece in 1_usize..40) {
            let stream = [delivery(&payload), delivery(&payload)].concat();
            check_any(&Nats, &stream, piece);
            let used = delivery(&payload).len();
            prop_assert_eq!(Nats.parse(&stream), Step::Frame(used, Frame::Payload(&payload)));
        }

        #[test]
        fn any_bytes_parse_without_panic(bytes: Vec<u8>, head in "(MSG room 1 )?", piece in 1_usize..9) {
            check_any(&Nats, &[head.as_bytes(), &bytes].concat(), piece);
        }
    }
}
