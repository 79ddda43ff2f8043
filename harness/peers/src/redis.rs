//! Redis: pub/sub over RESP3, in which a subscribed connection may also publish.

use std::ffi::OsString;
use std::io::Write;
use std::path::Path;

use super::system::{Frame, Peer, ROOM, Step, line, number};

/// `redis-server`.
#[derive(Debug)]
pub(super) struct Redis;

/// Most bytes of a string.
const STRING_MAX: usize = 64 * 1024;

/// Most elements of a push or an array; answers to the harness's commands have few.
const ELEMENTS_MAX: usize = 64;

impl Peer for Redis {
    fn name(&self) -> &'static str {
        "redis"
    }

    fn package(&self) -> &'static str {
        "redis-server"
    }

    fn program(&self) -> &'static str {
        "redis-server"
    }

    fn configuration(&self, port: u16, dir: &Path) -> String {
        let dir = dir.display();
        format!(
            "bind 127.0.0.1\n\
             port {port}\n\
             dir {dir}\n\
             daemonize no\n\
             # Nothing is kept, so no process is forked to write it.\n\
             save \"\"\n\
             appendonly no\n\
             # No client is cut off for being slow, and no connection is too many.\n\
             client-output-buffer-limit pubsub 0 0 0\n\
             client-output-buffer-limit normal 0 0 0\n\
             maxclients 15000\n\
             tcp-backlog 4096\n\
             timeout 0\n\
             # One thread on one core; more of them would only take turns.\n\
             io-threads 1\n\
             loglevel warning\n"
        )
    }

    fn arguments(&self, config: &Path) -> Vec<OsString> {
        vec![config.into()]
    }

    fn greet(&self, _member: u32, out: &mut Vec<u8>) {
        // HELLO 3 switches to RESP3; its answer, a map, needs no wait.
        command(&[b"HELLO", b"3"], out);
        command(&[b"SUBSCRIBE", ROOM.as_bytes()], out);
    }

    fn publish(&self, payload: &[u8], out: &mut Vec<u8>) {
        command(&[b"PUBLISH", ROOM.as_bytes(), payload], out);
    }

    fn parse<'a>(&self, bytes: &'a [u8]) -> Step<'a> {
        match bytes.first() {
            None => Step::More,
            Some(b'>') => match Strings::read(bytes) {
                Read::Done(used, Strings { kind: b"message", last }) => {
                    Step::Frame(used, Frame::Payload(last))
                }
                Read::Done(used, Strings { kind: b"subscribe", .. }) => Step::Frame(used, Frame::Joined),
                Read::Done(used, _) => Step::Frame(used, Frame::Other),
                Read::More => Step::More,
                Read::Bad(why) => Step::Bad(why),
            },
            Some(b'-') => match line(bytes) {
                Some((line, used)) => Step::Frame(used, Frame::Refused(&line[1..])),
                None => Step::More,
            },
            Some(_) => match skip(bytes, 0) {
                Read::Done(used, ()) => Step::Frame(used, Frame::Other),
                Read::More => Step::More,
                Read::Bad(why) => Step::Bad(why),
            },
        }
    }
}

/// Writes a command: an array of strings.
fn command(words: &[&[u8]], out: &mut Vec<u8>) {
    // Writing to a Vec cannot fail.
    let _ = write!(out, "*{}\r\n", words.len());
    for word in words {
        let _ = write!(out, "${}\r\n", word.len());
        out.extend_from_slice(word);
        out.extend_from_slice(b"\r\n");
    }
}

enum Read<T> {
    Done(usize, T),
    More,
    Bad(&'static str),
}

/// The first element of a push, and the last one if it is a string.
struct Strings<'a> {
    kind: &'a [u8],
    last: &'a [u8],
}

impl<'a> Strings<'a> {
    fn read(bytes: &'a [u8]) -> Read<Self> {
        let Some((head, mut at)) = line(bytes) else { return Read::More };
        let Some(count) = number(&head[1..]).filter(|count| (1..=ELEMENTS_MAX).contains(count)) else {
            return Read::Bad("a push without a number of elements");
        };
        let mut strings = Self { kind: b"", last: b"" };
        for element in 0..count {
            let (used, text): (usize, &[u8]) = match bytes.get(at) {
                None => return Read::More,
                Some(b'$') => match bulk(&bytes[at..]) {
                    Read::Done(used, text) => (used, text),
                    Read::More => return Read::More,
                    Read::Bad(why) => return Read::Bad(why),
                },
                Some(_) => match skip(&bytes[at..], 0) {
                    Read::Done(used, ()) => (used, b""),
                    Read::More => return Read::More,
                    Read::Bad(why) => return Read::Bad(why),
                },
            };
            at += used;
            strings.last = text;
            if element == 0 {
                strings.kind = text;
            }
        }
        Read::Done(at, strings)
    }
}

/// Reads a length-prefixed string.
fn bulk(bytes: &[u8]) -> Read<&[u8]> {
    let Some((head, at)) = line(bytes) else { return Read::More };
    let Some(length) = number(&head[1..]).filter(|length| *length <= STRING_MAX) else {
        return Read::Bad("a string without a length");
    };
    match bytes.get(at..at + length + 2) {
        None => Read::More,
        Some(text) if text.ends_with(b"\r\n") => Read::Done(at + length + 2, &text[..length]),
        Some(_) => Read::Bad("a string that is longer than its length"),
    }
}

/// Skips a value of any kind.
fn skip(bytes: &[u8], depth: u32) -> Read<()> {
    let Some((head, mut at)) = line(bytes) else { return Read::More };
    let elements = match head.first() {
        Some(b'$') => {
            return match bulk(bytes) {
                Read::Done(used, _) => Read::Done(used, ()),
                Read::More => Read::More,
                Read::Bad(why) => Read::Bad(why),
            };
        }
        Some(b':' | b'+' | b'-' | b'_' | b'#' | b',') => return Read::Done(at, ()),
        Some(b'*' | b'>' | b'~') => number(&head[1..]),
        Some(b'%') => number(&head[1..]).map(|pairs| pairs.saturating_mul(2)),
        _ => return Read::Bad("a value of a kind unknown in RESP3"),
    };
    let Some(elements) = elements.filter(|elements| *elements <= ELEMENTS_MAX && depth < 4) else {
        return Read::Bad("a collection without a sensible number of elements");
    };
    for _ in 0..elements {
        match skip(&bytes[at..], depth + 1) {
            Read::Done(used, ()) => at += used,
            other => return other,
        }
    }
    Read::Done(at, ())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::system::tests::{Seen, check, check_any, check_bad};

    const HELLO: &[u8] = b"%3\r\n$6\r\nserver\r\n$5\r\nredis\r\n$5\r\nproto\r\n:3\r\n$7\r\nmodules\r\n*0\r\n";
    const SUBSCRIBED: &[u8] = b">3\r\n$9\r\nsubscribe\r\n$4\r\nroom\r\n:1\r\n";

    fn message(payload: &[u8]) -> Vec<u8> {
        let head = format!(">3\r\n$7\r\nmessage\r\n$4\r\nroom\r\n${}\r\n", payload.len());
        [head.as_bytes(), payload, b"\r\n"].concat()
    }

    #[test]
    fn commands_are_encoded() {
        let written = |write: fn(&mut Vec<u8>)| {
            let mut out = Vec::new();
            write(&mut out);
            String::from_utf8(out).expect("text")
        };
        assert_eq!(
            written(|out| Redis.greet(7, out)),
            "*2\r\n$5\r\nHELLO\r\n$1\r\n3\r\n*2\r\n$9\r\nSUBSCRIBE\r\n$4\r\nroom\r\n"
        );
        assert_eq!(
            written(|out| Redis.publish(b"hi", out)),
            "*3\r\n$7\r\nPUBLISH\r\n$4\r\nroom\r\n$2\r\nhi\r\n"
        );
    }

    #[test]
    fn frames_are_parsed() {
        let stream =
            [HELLO, SUBSCRIBED, &message(b"a\r\nb"), b":12\r\n", &message(b""), b"-ERR no\r\n"].concat();
        let expected = [
            Seen::Joined,
            Seen::Payload(b"a\r\nb".into()),
            Seen::Payload(b"".into()),
            Seen::Refused(b"ERR no".into()),
        ];
        check(&Redis, &stream, &expected);
    }

    #[test]
    fn bad_resp_is_refused() {
        check_bad(&Redis, b">x\r\n", "a push without a number of elements");
        check_bad(&Redis, b">0\r\n", "a push without a number of elements");
        check_bad(&Redis, b">1\r\n$99999999\r\n", "a string without a length");
        check_bad(&Redis, b">1\r\n$1\r\nabc", "a string that is longer than its length");
        check_bad(&Redis, b"hello\r\n", "a value of a kind unknown in RESP3");
        check_bad(&Redis, b"*9999\r\n", "a collection without a sensible number of elements");
        check_bad(
            &Redis,
            b"*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n",
            "a collection without a sensible number of elements",
        );
    }

    proptest! {
        #[test]
        fn any_payload_comes_through(payload: Vec<u8>, piece in 1_usize..40) {
            let stream = [SUBSCRIBED, &message(&payload), &message(&payload)].concat();
            check_any(&Redis, &stream, piece);
            let used = SUBSCRIBED.len();
            prop_assert_eq!(
                Redis.parse(&stream[used..]),
                Step::Frame(message(&payload).len(), Frame::Payload(&payload))
            );
        }

        #[test]
        fn any_bytes_parse_without_panic(bytes: Vec<u8>, kind in "[>$*%:+-]", piece in 1_usize..9) {
            check_any(&Redis, &[kind.as_bytes(), &bytes].concat(), piece);
        }
    }
}
