//! What a chat or pub/sub system must say about itself to be measured.
//!
//! All of it is text and bytes: which program, which configuration, what a member writes, and what it
//! reads. Starting processes is `process`'s, sockets are `swarm`'s. A further system is a file with an
//! implementation of [`Peer`] and a line in [`PEERS`].

use std::ffi::OsString;
use std::path::Path;

use super::{irc::InspIrcd, mqtt::Mosquitto, nats::Nats, redis::Redis};

/// All systems of others, in the order of reports.
pub const PEERS: [&dyn Peer; 4] = [&Redis, &Nats, &InspIrcd, &Mosquitto];

/// The name under which Throng itself takes part.
pub const THRONG: &str = "throng";

/// The one room of a run.
pub(super) const ROOM: &str = "room";

/// A system with one room, or channel, or subject, in which each member's message goes to all.
///
/// Members are numbered from 0. Everything that writes appends to `out`.
pub trait Peer: Sync {
    /// Its name on the command line and in reports.
    fn name(&self) -> &'static str;
    /// The Debian package that brings it.
    fn package(&self) -> &'static str;
    /// The program in it.
    fn program(&self) -> &'static str;
    /// What makes the program tell its version.
    fn version_argument(&self) -> &'static str {
        "--version"
    }
    /// The configuration of a server on `port` of the loopback address that keeps its files in `dir`.
    fn configuration(&self, port: u16, dir: &Path) -> String;
    /// The program's arguments for the configuration in the file `config`; it must stay in the foreground.
    fn arguments(&self, config: &Path) -> Vec<OsString>;
    /// Most bytes that a message may have.
    fn payload_max(&self) -> usize {
        usize::MAX
    }
    /// Members that may be on their way in at a time: no more than connections wait for the server.
    fn in_flight(&self) -> usize {
        64
    }

    /// The first thing that a member writes.
    fn greet(&self, member: u32, out: &mut Vec<u8>);
    /// What it writes to join the room, after [`Frame::Greeted`]; nothing if greeting does that too.
    fn join(&self, _member: u32, _out: &mut Vec<u8>) {}
    /// A message to the room, which goes to its sender too.
    fn publish(&self, payload: &[u8], out: &mut Vec<u8>);
    /// The answer to [`Frame::Ask`].
    fn answer(&self, _token: &[u8], _out: &mut Vec<u8>) {}

    /// What the bytes that a member has received begin with. Runs for every delivery, so it must not
    /// allocate; called again with the same bytes and more of them after [`Step::More`].
    fn parse<'a>(&self, bytes: &'a [u8]) -> Step<'a>;
}

/// What received bytes begin with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step<'a> {
    /// Something of which the end is not there yet.
    More,
    /// So many bytes are this.
    Frame(usize, Frame<'a>),
    /// Nothing that the protocol knows.
    Bad(&'static str),
}

/// What a server says to a member.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Frame<'a> {
    /// It may join now.
    Greeted,
    /// It is in the room.
    Joined,
    /// A message of the room.
    Payload(&'a [u8]),
    /// Whether it is still there; it answers with these bytes.
    Ask(&'a [u8]),
    /// It is not wanted, for this reason.
    Refused(&'a [u8]),
    /// What needs no answer.
    Other,
}

/// The number that ASCII digits make; none for anything else, or for more than fits.
pub(super) fn number(digits: &[u8]) -> Option<usize> {
    if digits.is_empty() {
        return None;
    }
    digits.iter().try_fold(0_usize, |number, digit| match digit {
        b'0'..=b'9' => number.checked_mul(10)?.checked_add(usize::from(digit - b'0')),
        _ => None,
    })
}

/// The line that `bytes` begin with, without its end, and how many bytes it is with it; none if its
/// end is not there. Both CR LF and LF end a line.
pub(super) fn line(bytes: &[u8]) -> Option<(&[u8], usize)> {
    let end = memchr::memchr(b'\n', bytes)?;
    let line = &bytes[..end];
    Some((line.strip_suffix(b"\r").unwrap_or(line), end + 1))
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// What a member sees of a stream, whatever its pieces are.
    #[derive(Debug, Clone, PartialEq, Eq)]
    pub(crate) enum Seen {
        Greeted,
        Joined,
        Payload(Vec<u8>),
        Ask(Vec<u8>),
        Refused(Vec<u8>),
        Bad(&'static str),
    }

    /// Feeds `pieces` one after the other, as the event loop does.
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

    /// A stream -> what is seen, cut in two at every place, and byte by byte.
    #[track_caller]
    pub(crate) fn check(peer: &dyn Peer, stream: &[u8], expected: &[Seen]) {
        for cut in 0..=stream.len() {
            let (seen, rest) = feed(peer, [&stream[..cut], &stream[cut..]]);
            assert_eq!((seen.as_slice(), rest), (expected, 0), "cut at {cut}");
        }
        assert_eq!(feed(peer, stream.chunks(1)), (expected.to_vec(), 0), "byte by byte");
    }

    /// The first thing wrong with a stream.
    #[track_caller]
    pub(crate) fn check_bad(peer: &dyn Peer, stream: &[u8], why: &'static str) {
        assert_eq!(feed(peer, [stream]).0.last(), Some(&Seen::Bad(why)), "{:?}", stream.escape_ascii());
    }

    /// Any bytes, in pieces: no panic, and the pieces change nothing.
    pub(crate) fn check_any(peer: &dyn Peer, stream: &[u8], piece: usize) {
        let whole = feed(peer, [stream]);
        let pieces = feed(peer, stream.chunks(piece.max(1)));
        assert_eq!(whole, pieces, "{:?}", stream.escape_ascii().to_string());
    }

    #[test]
    fn names_are_different_and_programs_are_named() {
        let names: std::collections::BTreeSet<_> = PEERS.iter().map(|peer| peer.name()).collect();
        assert_eq!(names.len(), PEERS.len());
        assert!(!names.contains(THRONG));
        for peer in PEERS {
            assert!(!peer.package().is_empty() && !peer.program().contains('/'));
            let config = peer.configuration(4321, Path::new("/some/dir"));
            assert!(config.contains("4321") && config.contains("127.0.0.1"), "{config}");
        }
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
