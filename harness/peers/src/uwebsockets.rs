//! uWebSockets: its topics over WebSocket (RFC 6455), a binary frame for each message.
//!
//! The server is `uwebsockets.py` on the library of the Python package `socketify`. A text message,
//! or one in several frames, is a protocol error, because that server sends neither.

use std::ffi::OsString;
use std::path::Path;

use super::system::{Frame, Peer, Source, Step, line};

/// The library with a room, in Python.
#[derive(Debug)]
pub(super) struct UWebSockets;

const SERVER: &str = include_str!("uwebsockets.py");

/// First bytes of frames: the last one of its message, and its kind.
const BINARY: u8 = 0x82;
const CLOSE: u8 = 0x88;
const PING: u8 = 0x89;
const PONG: u8 = 0x8a;
/// Bits of the first byte that only extensions set.
const RESERVED: u8 = 0x70;
/// Bit of the second byte: the payload is masked.
const MASKED: u8 = 0x80;
/// The second byte if the length follows, in two bytes or in eight.
const LENGTH_OF_2: u8 = 126;
const LENGTH_OF_8: u8 = 127;

/// Most bytes of a payload.
const PAYLOAD_LIMIT: usize = u16::MAX as usize;
/// Most bytes of the answer to the upgrade.
const ANSWER_MAX: usize = 4 * 1024;
/// Most headers of it.
const HEADERS_MAX: usize = 16;

/// The key and its answer in RFC 6455, section 1.3. The key tells a server from a cache, so one for
/// all members suffices here.
const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";
const ACCEPT: &[u8] = b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";

impl Peer for UWebSockets {
    fn name(&self) -> &'static str {
        "uwebsockets"
    }

    fn package(&self) -> &'static str {
        "socketify"
    }

    fn source(&self) -> Source {
        Source::Python
    }

    fn program(&self) -> &'static str {
        "python3"
    }

    fn version_arguments(&self) -> &'static [&'static str] {
        &["-I", "-c", SERVER, "--version"]
    }

    fn configuration(&self, port: u16, _dir: &Path) -> String {
        format!(
            "host 127.0.0.1\n\
             port {port}\n\
             # 0: no extension is agreed on.\n\
             compression 0\n\
             maxPayloadLength {PAYLOAD_LIMIT}\n\
             # A slow member loses its connection, after 1 GB, rather than single messages.\n\
             maxBackpressure 1073741824\n\
             closeOnBackpressureLimit 1\n\
             # Without limit, and so without pings.\n\
             idleTimeout 0\n\
             maxLifetime 0\n"
        )
    }

    fn arguments(&self, config: &Path) -> Vec<OsString> {
        // Isolated: neither the environment nor the directory adds modules.
        vec!["-I".into(), "-c".into(), SERVER.into(), config.into()]
    }

    fn payload_max(&self) -> usize {
        PAYLOAD_LIMIT
    }

    fn greet(&self, _member: u32, out: &mut Vec<u8>) {
        let request = format!(
            "GET / HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Key: {KEY}\r\nSec-WebSocket-Version: 13\r\n\r\n"
        );
        out.extend_from_slice(request.as_bytes());
    }

    fn publish(&self, payload: &[u8], out: &mut Vec<u8>) {
        masked(BINARY, payload, rand::random(), out);
    }

    fn answer(&self, token: &[u8], out: &mut Vec<u8>) {
        masked(PONG, token, rand::random(), out);
    }

    fn parse<'a>(&self, bytes: &'a [u8]) -> Step<'a> {
        match bytes {
            // No frame begins so, since the letter has a reserved bit.
            [b'H', ..] => upgraded(bytes),
            [first, second, rest @ ..] => frame(*first, *second, rest),
            [_] | [] => Step::More,
        }
    }
}

/// Writes a frame of a client, whose payload is combined with `key`.
fn masked(first: u8, payload: &[u8], key: [u8; 4], out: &mut Vec<u8>) {
    out.push(first);
    match payload.len() {
        length @ ..126 => out.push(length as u8 | MASKED),
        length => {
            out.push(LENGTH_OF_2 | MASKED);
            let length = u16::try_from(length).expect("payload_max is less");
            out.extend_from_slice(&length.to_be_bytes());
        }
    }
    out.extend_from_slice(&key);
    out.extend(payload.iter().zip(key.iter().cycle()).map(|(byte, key)| byte ^ key));
}

/// Reads a frame of the server, whose first two bytes are apart.
fn frame(first: u8, second: u8, rest: &[u8]) -> Step<'_> {
    if first & RESERVED != 0 {
        return Step::Bad("a frame of an extension that was not agreed on");
    }
    if second & MASKED != 0 {
        return Step::Bad("a masked frame, which only clients write");
    }
    let is_control = first & 0x08 != 0;
    let (digits, length) = match (second, rest) {
        (LENGTH_OF_2.., _) if is_control => return Step::Bad("a control frame that is too long"),
        (LENGTH_OF_8.., _) => return Step::Bad("a frame that is too long"),
        (LENGTH_OF_2, [high, low, ..]) => (2, usize::from(u16::from_be_bytes([*high, *low]))),
        (LENGTH_OF_2, _) => return Step::More,
        (length, _) => (0, usize::from(length)),
    };
    if digits > 0 && length < usize::from(LENGTH_OF_2) {
        return Step::Bad("a length in more bytes than it needs");
    }
    let Some(payload) = rest.get(digits..digits + length) else { return Step::More };
    let frame = match (first, payload) {
        (BINARY, _) => Frame::Payload(payload),
        (PING, _) => Frame::Ask(payload),
        (PONG, _) => Frame::Other,
        (CLOSE, [] | [_, _]) => Frame::Refused(b"a close frame without a reason"),
        (CLOSE, [_, _, reason @ ..]) => Frame::Refused(reason),
        (CLOSE, [_]) => return Step::Bad("a close frame with half a code"),
        _ => return Step::Bad("a frame that is no binary message in one piece"),
    };
    Step::Frame(2 + digits + length, frame)
}

/// Reads the answer to the upgrade.
fn upgraded(bytes: &[u8]) -> Step<'_> {
    let mut headers = [httparse::EMPTY_HEADER; HEADERS_MAX];
    let mut answer = httparse::Response::new(&mut headers);
    let used = match answer.parse(&bytes[..bytes.len().min(ANSWER_MAX)]) {
        Ok(httparse::Status::Complete(used)) => used,
        Ok(httparse::Status::Partial) if bytes.len() < ANSWER_MAX => return Step::More,
        Ok(httparse::Status::Partial) => return Step::Bad("an answer without an end"),
        Err(_) => return Step::Bad("an answer that is not HTTP"),
    };
    if answer.code != Some(101) {
        let status = line(bytes).map_or(bytes, |(status, _)| status);
        return Step::Frame(used, Frame::Refused(status));
    }
    let has = |name: &str, is: fn(&[u8]) -> bool| {
        answer.headers.iter().any(|header| header.name.eq_ignore_ascii_case(name) && is(header.value))
    };
    if !has("Upgrade", |value| value.eq_ignore_ascii_case(b"websocket"))
        || !has("Connection", |value| value.eq_ignore_ascii_case(b"upgrade"))
        || !has("Sec-WebSocket-Accept", |value| value == ACCEPT)
    {
        return Step::Bad("an upgrade that is not the one asked for");
    }
    if has("Sec-WebSocket-Extensions", |_| true) || has("Sec-WebSocket-Protocol", |_| true) {
        return Step::Bad("an extension that was not asked for");
    }
    Step::Frame(used, Frame::Joined)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::system::tests::{Seen, check, check_any, check_bad};

    /// The answer of uWebSockets 20.
    const UPGRADED: &str = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
        Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\nDate: Mon, 30 Nov 2026 06:58:01 GMT\r\n\
        Server: uWebSockets_20\r\n\r\n";
    /// RFC 6455, section 5.7: "Hello" in a frame of a client.
    const MASKED_HELLO: &[u8] = b"\x85\x37\xfa\x21\x3d\x7f\x9f\x4d\x51\x58";

    fn delivery(payload: &[u8]) -> Vec<u8> {
        let head = match u16::try_from(payload.len()).expect("ours are short") {
            length @ ..126 => vec![BINARY, length as u8],
            length => [&[BINARY, 126], length.to_be_bytes().as_slice()].concat(),
        };
        [head.as_slice(), payload].concat()
    }

    #[test]
    fn frames_are_masked_as_in_the_rfc() {
        let written = |first, payload: &[u8]| {
            let mut out = Vec::new();
            masked(first, payload, [0x37, 0xfa, 0x21, 0x3d], &mut out);
            out
        };
        assert_eq!(written(0x81, b"Hello"), [b"\x81", MASKED_HELLO].concat());
        assert_eq!(written(PONG, b"Hello"), [b"\x8a", MASKED_HELLO].concat());
        assert_eq!(written(BINARY, &[0; 256])[..10], *b"\x82\xfe\x01\x00\x37\xfa\x21\x3d\x37\xfa");
    }

    #[test]
    fn an_upgrade_is_asked_for_without_extensions() {
        let mut out = Vec::new();
        UWebSockets.greet(7, &mut out);
        let request = String::from_utf8(out).expect("text");
        assert!(
            request.starts_with("GET / HTTP/1.1\r\nHost: localhost\r\n") && request.ends_with("\r\n\r\n")
        );
        assert!(request.contains("\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"), "{request}");
        assert!(!request.contains("Extensions"), "{request}");
    }

    #[test]
    fn frames_are_parsed() {
        let stream = [
            UPGRADED.as_bytes(),
            // RFC 6455, section 5.7: a ping, and 256 bytes of binary data.
            b"\x89\x05Hello",
            b"\x82\x7e\x01\x00",
            &[b'x'; 256],
            &delivery(b""),
            &delivery(&[0x82; 125]),
            b"\x8a\x00\x88\x02\x03\xe8\x88\x00\x88\x06\x03\xf1gone",
        ]
        .concat();
        let expected = [
            Seen::Joined,
            Seen::Ask(b"Hello".into()),
            Seen::Payload(vec![b'x'; 256]),
            Seen::Payload(b"".into()),
            Seen::Payload(vec![0x82; 125]),
            Seen::Refused(b"a close frame without a reason".into()),
            Seen::Refused(b"a close frame without a reason".into()),
            Seen::Refused(b"gone".into()),
        ];
        check(&UWebSockets, &stream, &expected);
    }

    #[test]
    fn the_longest_frame_is_parsed() {
        let payload = vec![7; PAYLOAD_LIMIT];
        let longest = delivery(&payload);
        assert_eq!(UWebSockets.parse(&longest), Step::Frame(longest.len(), Frame::Payload(&payload)));
        assert_eq!(UWebSockets.parse(&longest[..longest.len() - 1]), Step::More);
    }

    #[test]
    fn bad_frames_are_refused() {
        let piece = "a frame that is no binary message in one piece";
        // RFC 6455, section 5.7: a text, a text in two pieces, 64 KiB of binary data.
        check_bad(&UWebSockets, b"\x81\x05Hello", piece);
        check_bad(&UWebSockets, b"\x01\x03Hel", piece);
        check_bad(&UWebSockets, b"\x80\x02lo", piece);
        check_bad(&UWebSockets, b"\x82\x7f\0\0\0\0\0\x01\0\0", "a frame that is too long");
        check_bad(&UWebSockets, b"\x82\x7f\xff\xff\xff\xff\xff\xff\xff\xff", "a frame that is too long");
        check_bad(&UWebSockets, b"\x02\x01x", piece);
        check_bad(&UWebSockets, b"\x83\x00", piece);
        check_bad(&UWebSockets, b"\x09\x00", piece);
        check_bad(&UWebSockets, b"\x8b\x00", piece);
        check_bad(&UWebSockets, b"\xc2\x01x", "a frame of an extension that was not agreed on");
        check_bad(
            &UWebSockets,
            &[b"\x82", MASKED_HELLO].concat(),
            "a masked frame, which only clients write",
        );
        check_bad(&UWebSockets, b"\x89\x7e\x00\x7e", "a control frame that is too long");
        check_bad(&UWebSockets, b"\x82\x7e\x00\x7d", "a length in more bytes than it needs");
        check_bad(&UWebSockets, b"\x88\x01\x03", "a close frame with half a code");
    }

    #[test]
    fn other_answers_are_no_upgrade() {
        let refused = b"HTTP/1.1 503 Full\r\nContent-Length: 0\r\n\r\n";
        check(&UWebSockets, refused, &[Seen::Refused(b"HTTP/1.1 503 Full".into())]);
        let other = |from: &str, to: &str, why| {
            assert!(UPGRADED.contains(from), "{from}");
            check_bad(&UWebSockets, UPGRADED.replace(from, to).as_bytes(), why);
        };
        let wrong = "an upgrade that is not the one asked for";
        other("websocket", "h2c", wrong);
        other("Connection: Upgrade", "Connection: close", wrong);
        other("s3pPLM", "S3PPLM", wrong);
        other("Sec-WebSocket-Accept", "Sec-WebSocket-Reject", wrong);
        let unasked = "an extension that was not asked for";
        other("Date:", "sec-websocket-extensions: permessage-deflate\r\nDate:", unasked);
        other("Date:", "Sec-WebSocket-Protocol: chat\r\nDate:", unasked);
        other("HTTP/1.1", "HTTQ/1.1", "an answer that is not HTTP");
        other("Date:", &"A: b\r\n".repeat(HEADERS_MAX), "an answer that is not HTTP");
        let endless = format!("HTTP/1.1 101 {}", "x".repeat(ANSWER_MAX));
        check_bad(&UWebSockets, endless.as_bytes(), "an answer without an end");
    }

    proptest! {
        #[test]
        fn any_payload_comes_through(payload: Vec<u8>, piece in 1_usize..40) {
            let stream = [UPGRADED.as_bytes(), &delivery(&payload), &delivery(&payload)].concat();
            check_any(&UWebSockets, &stream, piece);
            let used = delivery(&payload).len();
            let step = UWebSockets.parse(&stream[UPGRADED.len()..]);
            prop_assert_eq!(step, Step::Frame(used, Frame::Payload(&payload)));
        }

        #[test]
        fn any_key_unmasks_what_it_masked(payload: Vec<u8>, key: [u8; 4]) {
            let mut out = Vec::new();
            masked(BINARY, &payload, key, &mut out);
            let body = &out[out.len() - payload.len()..];
            let clear: Vec<u8> = body.iter().enumerate().map(|(at, byte)| byte ^ key[at % 4]).collect();
            prop_assert_eq!(clear, payload);
        }

        #[test]
        fn any_bytes_are_judged_without_panic(
            bytes: Vec<u8>,
            head in "(HTTP/1.1 101 .\r\n)?",
            is_frame: bool,
            piece in 1_usize..9,
        ) {
            let first: &[u8] = if is_frame { &[BINARY] } else { head.as_bytes() };
            check_any(&UWebSockets, &[first, &bytes].concat(), piece);
        }
    }
}
