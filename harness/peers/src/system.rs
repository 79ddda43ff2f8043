//! The interface to a chat or pub/sub system, text and bytes only: program, configuration, and the
//! bytes that a member writes and reads.
//!
//! `process` starts processes, and `clients` owns the sockets. A further system is a file with an
//! implementation of [`Peer`] and an entry in `registry`.

use std::ffi::OsString;
use std::path::Path;

/// The one room of a run.
pub(super) const ROOM: &str = "room";

/// A system with one room, or channel, or subject, in which each member's message goes to all.
///
/// Members are numbered from 0. Methods with `out` append to it.
pub trait Peer: Sync {
    /// The name on the command line and in reports.
    fn name(&self) -> &'static str;
    /// The package.
    fn package(&self) -> &'static str;
    /// The kind of the package.
    fn source(&self) -> Source {
        Source::Debian
    }
    /// The program in the package, or the one that runs it.
    fn program(&self) -> &'static str;
    /// The arguments that make the program print its version.
    fn version_arguments(&self) -> &'static [&'static str] {
        &["--version"]
    }
    /// The configuration of a server on `port` of the loopback address, with its files in `dir`.
    fn configuration(&self, port: u16, dir: &Path) -> String;
    /// The program's arguments for the configuration file `config`; it must stay in the foreground.
    fn arguments(&self, config: &Path) -> Vec<OsString>;
    /// Most bytes of a message.
    fn payload_max(&self) -> usize {
        usize::MAX
    }
    /// Most members that may be joining at a time; at most the server's backlog.
    fn in_flight(&self) -> usize {
        64
    }

    /// Writes the first bytes of a member.
    fn greet(&self, member: u32, out: &mut Vec<u8>);
    /// Writes the request to join the room, after [`Frame::Greeted`]; empty if the greeting joins
    /// already.
    fn join(&self, _member: u32, _out: &mut Vec<u8>) {}
    /// Writes a message to the room, whose sender receives it too.
    fn publish(&self, payload: &[u8], out: &mut Vec<u8>);
    /// Writes the answer to [`Frame::Ask`].
    fn answer(&self, _token: &[u8], _out: &mut Vec<u8>) {}

    /// Parses the first frame of the received bytes. Runs for every delivery, so it must not
    /// allocate. Called again with the same bytes and more after [`Step::More`].
    fn parse<'a>(&self, bytes: &'a [u8]) -> Step<'a>;
}

/// The kind of a package.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// A Debian package.
    Debian,
    /// A Python package in `.venv`.
    Python,
}

/// Result of parsing received bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step<'a> {
    /// The frame is incomplete.
    More,
    /// A frame, and its length in bytes.
    Frame(usize, Frame<'a>),
    /// A protocol error.
    Bad(&'static str),
}

/// A frame from the server to a member.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Frame<'a> {
    /// The member may join now.
    Greeted,
    /// The member is in the room.
    Joined,
    /// A message of the room.
    Payload(&'a [u8]),
    /// A keep-alive request, to be answered with these bytes.
    Ask(&'a [u8]),
    /// The member is refused, for this reason.
    Refused(&'a [u8]),
    /// Needs no answer.
    Other,
}

/// Parses ASCII digits; none for other bytes or on overflow.
pub(super) fn number(digits: &[u8]) -> Option<usize> {
    if digits.is_empty() {
        return None;
    }
    digits.iter().try_fold(0_usize, |number, digit| match digit {
        b'0'..=b'9' => number.checked_mul(10)?.checked_add(usize::from(digit - b'0')),
        _ => None,
    })
}

/// The first line of `bytes` without its end, and its length with it; none if it is incomplete.
/// Both CR LF and LF end a line.
pub(super) fn line(bytes: &[u8]) -> Option<(&[u8], usize)> {
    let end = memchr::memchr(b'\n', bytes)?;
    let line = &bytes[..end];
    Some((line.strip_suffix(b"\r").unwrap_or(line), end + 1))
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// A frame as a member sees it, however the stream is cut.
    #[derive(Debug, Clone, PartialEq, Eq)]
    pub(crate) enum Seen {
        Greeted,
        Joined,
        Payload(Vec<u8>),
        Ask(Vec<u8>),
        Refused(Vec<u8>),
        Bad(&'static str),
    }

    /// Feeds `pieces` in turn, as the event loop does -> frames, and the length of an incomplete
    /// one.
    fn feed<'a>(peer: &dyn Peer, pieces: impl IntoIterator<Item = &'a [u8]>) -> (Vec<Seen>, usize) {
        let (mut rest, mut seen) = (Vec::new(), Vec::new());
        for piece in pieces {
            rest.extend_from_slice(piece);
            let mut at = 0;
            while at < rest.len() {
                match peer.parse(&rest[at..]) {
                    Step::More => break,
                    Step::Bad(why) => {
                        seen.push(Seen::Bad(why));
                        return (seen, 0);
                    }
                    Step::Frame(used, frame) => {
                        assert!(used > 0 && at + used <= rest.len(), "{used} of {}", rest.len() - at);
                        at += used;
                        match frame {
                            Frame::Greeted => seen.push(Seen::Greeted),
                            Frame::Joined => seen.push(Seen::Joined),
                            Frame::Payload(payload) => seen.push(Seen::Payload(payload.into())),
                            Frame::Ask(token) => seen.push(Seen::Ask(token.into())),
                            Frame::Refused(why) => seen.push(Seen::Refused(why.into())),
                            Frame::Other => {}
                        }
                    }
                }
            }
            rest.drain(..at);
        }
        (seen, rest.len())
    }

    /// Checks the frames of a stream cut in two at every place, and byte by byte.
    #[track_caller]
    pub(crate) fn check(peer: &dyn Peer, stream: &[u8], expected: &[Seen]) {
        for cut in 0..=stream.len() {
            let (seen, rest) = feed(peer, [&stream[..cut], &stream[cut..]]);
            assert_eq!((seen.as_slice(), rest), (expected, 0), "cut at {cut}");
        }
        assert_eq!(feed(peer, stream.chunks(1)), (expected.to_vec(), 0), "byte by byte");
    }

    /// Checks that a stream ends with a protocol error.
    #[track_caller]
    pub(crate) fn check_bad(peer: &dyn Peer, stream: &[u8], why: &'static str) {
        assert_eq!(feed(peer, [stream]).0.last(), Some(&Seen::Bad(why)), "{:?}", stream.escape_ascii());
    }

    /// Checks that any bytes parse without panic, and equally whole and in pieces.
    pub(crate) fn check_any(peer: &dyn Peer, stream: &[u8], piece: usize) {
        let whole = feed(peer, [stream]);
        let pieces = feed(peer, stream.chunks(piece.max(1)));
        assert_eq!(whole, pieces, "{:?}", stream.escape_ascii().to_string());
    }

    #[test]
    fn numbers_and_lines() {
        assert_eq!(
            [number(b"0"), number(b"128"), number(b""), number(b"-1")],
            [Some(0), Some(128), None, None]
        );
        assert_eq!(number(b"99999999999999999999999"), None);
        assert_eq!(line(b"a\r\nb"), Some((&b"a"[..], 3)));
        assert_eq!(line(b"a\nb"), Some((&b"a"[..], 2)));
        assert_eq!(line(b"a\r"), None);
    }
}
