//! The members of a room: plain sockets on one event loop.
//!
//! ```text
//!   poll ──▶ for each readable socket:
//!              read into the one scratch buffer ──▶ frames, in place ──▶ payloads to the handler
//!              message due? ──▶ send it, then read on
//! ```
//! A member keeps only the bytes of an incomplete frame, or of a message that its socket did not
//! take. A timerfd wakes the loop when a message is due, because the timeout of a poll is in whole
//! milliseconds.

use std::borrow::Cow;
use std::io::{self, Read, Write};
use std::net::SocketAddr;
use std::os::fd::{AsRawFd, OwnedFd};
use std::time::Duration;

use mio::net::TcpStream;
use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token};
use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create, timerfd_settime,
};
use throng_harness_model::clock::{NEVER, Nanos, RunClock};
use throng_harness_model::results::{Event, Reasons};
use throng_harness_model::text::one_line;

use super::system::{Frame, Peer, Step};

/// Most bytes of one read. A longer frame closes the connection.
const SCRATCH: usize = 256 * 1024;
/// Most bytes buffered for one member's socket.
const OUTBOX_MAX: usize = 1024 * 1024;
/// Longest sleep, so that a shutdown is noticed while no message is due.
const SLEEP_MAX: Duration = Duration::from_millis(50);
/// The timer's token; members have their index.
const TIMER: Token = Token(usize::MAX - 1);

/// Source of the messages to send, and sink of the received ones. Times are of the run's clock.
pub(super) trait Handler {
    /// Time of the next due message, [`NEVER`] for none. Called after every read.
    fn next_due(&self) -> Nanos {
        NEVER
    }
    /// Takes a message due at `now`: writes it to `payload`, which is empty, and returns its
    /// sender. None if no message is due.
    fn pop_due(&mut self, _now: Nanos, _payload: &mut Vec<u8>) -> Option<usize> {
        None
    }
    /// A member has received a message.
    fn received(&mut self, member: usize, payload: &[u8], now: Nanos);
    /// A member's connection is closed for good.
    fn disconnected(&mut self, _member: usize, _now: Nanos) {}
    /// All sockets that were readable at `since` have been read at `now`.
    fn turn_ended(&mut self, _since: Nanos, _now: Nanos) {}
}

/// The state of a member.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// On its way into the room.
    Joining,
    /// In the room.
    Joined,
    /// Closed, before or after it joined.
    Closed,
}

struct Member {
    socket: TcpStream,
    state: State,
    /// An incomplete frame.
    partial: Vec<u8>,
    /// Bytes that the socket did not take; almost always empty.
    outbox: Vec<u8>,
}

/// The members of one room of one server.
pub(super) struct Clients<'a> {
    peer: &'a dyn Peer,
    clock: RunClock,
    poll: Poll,
    events: Events,
    timer: OwnedFd,
    /// The time that the timer is set to.
    timer_at: Nanos,
    wire: Wire<'a>,
    members: Vec<Member>,
    scratch: Box<[u8]>,
}

/// State shared by all members, apart from the loop's.
struct Wire<'a> {
    peer: &'a dyn Peer,
    /// Bytes being written; empty in between.
    out: Vec<u8>,
    payload: Vec<u8>,
    joined: usize,
    joining: usize,
    /// The reasons of closed members.
    reasons: Reasons,
}

impl<'a> Clients<'a> {
    /// An empty room for at most `most` members.
    pub(super) fn new(peer: &'a dyn Peer, clock: RunClock, most: usize) -> io::Result<Self> {
        let poll = Poll::new()?;
        let timer =
            timerfd_create(TimerfdClockId::Monotonic, TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC)?;
        poll.registry().register(&mut SourceFd(&timer.as_raw_fd()), TIMER, Interest::READABLE)?;
        let wire = Wire {
            peer,
            out: Vec::new(),
            payload: Vec::new(),
            joined: 0,
            joining: 0,
            reasons: Reasons::default(),
        };
        Ok(Self {
            peer,
            clock,
            poll,
            // One poll returns all readable sockets, so that a turn serves every member.
            events: Events::with_capacity(most + 1),
            timer,
            timer_at: NEVER,
            wire,
            members: Vec::with_capacity(most),
            scratch: vec![0; SCRATCH].into(),
        })
    }

    /// Members in the room.
    pub(super) fn joined(&self) -> usize {
        self.wire.joined
    }

    /// True if a member is in the room.
    pub(super) fn is_joined(&self, member: usize) -> bool {
        self.members.get(member).is_some_and(|member| member.state == State::Joined)
    }

    /// The reasons of closed members.
    pub(super) fn reasons(&self) -> &Reasons {
        &self.wire.reasons
    }

    /// Starts connecting members to the server at `address`, within the peer's limit of concurrent
    /// joins, until there are `wanted`, including closed ones. Returns false when no more are to
    /// come.
    pub(super) fn connect(&mut self, address: SocketAddr, wanted: usize) -> io::Result<bool> {
        while self.members.len() < wanted && self.wire.joining < self.peer.in_flight() {
            let mut socket = TcpStream::connect(address)?;
            socket.set_nodelay(true)?;
            let token = Token(self.members.len());
            // Both interests at once: one event then reports a writable socket together with its
            // input.
            self.poll.registry().register(&mut socket, token, Interest::READABLE | Interest::WRITABLE)?;
            let mut outbox = Vec::new();
            self.peer.greet(self.members.len() as u32, &mut outbox);
            self.members.push(Member { socket, state: State::Joining, partial: Vec::new(), outbox });
            self.wire.joining += 1;
        }
        Ok(self.members.len() < wanted || self.wire.joining > 0)
    }

    /// Runs one turn of the loop: waits for events or a due message, and handles all of them.
    pub(super) fn turn(&mut self, handler: &mut impl Handler) -> io::Result<()> {
        self.send_due(handler);
        let due = handler.next_due();
        let now = self.clock.now();
        let sleep = if due <= now { Duration::ZERO } else { SLEEP_MAX };
        self.set_timer(due, now)?;
        match self.poll.poll(&mut self.events, Some(sleep)) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => return Ok(()),
            polled => polled?,
        }
        let since = self.clock.now();
        let events = std::mem::replace(&mut self.events, Events::with_capacity(0));
        for event in &events {
            let index = event.token().0;
            if index >= self.members.len() {
                continue;
            }
            if event.is_writable() && !self.members[index].outbox.is_empty() {
                self.wire.flush(index, &mut self.members[index], handler, since);
            }
            if event.is_readable() || event.is_read_closed() || event.is_error() {
                self.read(index, event.is_read_closed() || event.is_error(), handler);
                self.send_due(handler);
            }
        }
        self.events = events;
        handler.turn_ended(since, self.clock.now());
        Ok(())
    }

    /// Sets the timer to `due`.
    fn set_timer(&mut self, due: Nanos, now: Nanos) -> io::Result<()> {
        if due == self.timer_at || due <= now {
            return Ok(());
        }
        self.timer_at = due;
        // Zero disarms the timer, as is right for NEVER.
        let wait = if due == NEVER { Duration::ZERO } else { Duration::from_nanos(due - now) };
        let value = Timespec { tv_sec: wait.as_secs().cast_signed(), tv_nsec: wait.subsec_nanos().into() };
        let interval = Timespec { tv_sec: 0, tv_nsec: 0 };
        let timer = Itimerspec { it_interval: interval, it_value: value };
        timerfd_settime(&self.timer, TimerfdTimerFlags::empty(), &timer)?;
        Ok(())
    }

    fn send_due(&mut self, handler: &mut impl Handler) {
        while handler.next_due() < NEVER {
            let now = self.clock.now();
            self.wire.payload.clear();
            let Some(sender) = handler.pop_due(now, &mut self.wire.payload) else { return };
            let Some(member) = self.members.get_mut(sender).filter(|member| member.state == State::Joined)
            else {
                continue;
            };
            self.wire.peer.publish(&self.wire.payload, &mut self.wire.out);
            self.wire.write(sender, member, handler, now);
        }
    }

    /// Reads until a read is shorter than the buffer, or to the end of the stream if `is_near`.
    fn read(&mut self, index: usize, is_near: bool, handler: &mut impl Handler) {
        loop {
            let member = &mut self.members[index];
            if member.state == State::Closed {
                return;
            }
            let kept = member.partial.len();
            self.scratch[..kept].copy_from_slice(&member.partial);
            let read = member.socket.read(&mut self.scratch[kept..]);
            let now = self.clock.now();
            let count = match read {
                Ok(0) if kept == SCRATCH => {
                    return self.wire.close(index, member, "a frame is too long".into(), handler, now);
                }
                Ok(0) => {
                    let why = "the server closed the connection".into();
                    return self.wire.close(index, member, why, handler, now);
                }
                Ok(count) => count,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return self.wire.close(index, member, error.to_string().into(), handler, now),
            };
            self.wire.handle_frames(index, member, &self.scratch[..kept + count], handler, now);
            if count < SCRATCH - kept && !is_near {
                return;
            }
        }
    }
}

impl Wire<'_> {
    /// Handles the frames in `bytes`, and keeps an incomplete one for the next read.
    fn handle_frames(
        &mut self,
        index: usize,
        member: &mut Member,
        bytes: &[u8],
        handler: &mut impl Handler,
        now: Nanos,
    ) {
        let mut at = 0;
        while at < bytes.len() {
            let frame = match self.peer.parse(&bytes[at..]) {
                Step::More => break,
                Step::Bad(why) => return self.close(index, member, why.into(), handler, now),
                Step::Frame(used, frame) => {
                    at += used;
                    frame
                }
            };
            match frame {
                Frame::Payload(payload) => handler.received(index, payload, now),
                Frame::Greeted => {
                    self.peer.join(index as u32, &mut self.out);
                    self.write(index, member, handler, now);
                }
                Frame::Joined if member.state == State::Joining => {
                    member.state = State::Joined;
                    self.joining -= 1;
                    self.joined += 1;
                }
                Frame::Joined | Frame::Other => {}
                Frame::Ask(token) => {
                    self.peer.answer(token, &mut self.out);
                    self.write(index, member, handler, now);
                }
                Frame::Refused(why) => {
                    return self.close(index, member, one_line(why).into(), handler, now);
                }
            }
            if member.state == State::Closed {
                return;
            }
        }
        member.partial.clear();
        member.partial.extend_from_slice(&bytes[at..]);
    }

    /// Writes `out` to the member's socket.
    fn write(&mut self, index: usize, member: &mut Member, handler: &mut impl Handler, now: Nanos) {
        let mut written = 0;
        if member.outbox.is_empty() {
            while written < self.out.len() {
                match member.socket.write(&self.out[written..]) {
                    Ok(count) => written += count,
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                    Err(error) => {
                        self.out.clear();
                        return self.close(index, member, error.to_string().into(), handler, now);
                    }
                }
            }
        }
        member.outbox.extend_from_slice(&self.out[written..]);
        self.out.clear();
        if member.outbox.len() > OUTBOX_MAX {
            self.close(index, member, "the server does not read".into(), handler, now);
        }
    }

    /// Writes the bytes buffered for the member's socket.
    fn flush(&mut self, index: usize, member: &mut Member, handler: &mut impl Handler, now: Nanos) {
        if member.state != State::Closed {
            self.out.append(&mut member.outbox);
            self.write(index, member, handler, now);
        }
    }

    fn close(
        &mut self,
        index: usize,
        member: &mut Member,
        why: Cow<'static, str>,
        handler: &mut impl Handler,
        now: Nanos,
    ) {
        let (event, count) = match member.state {
            State::Joining => (Event::Failed, &mut self.joining),
            State::Joined => (Event::Disconnected, &mut self.joined),
            State::Closed => return,
        };
        *count -= 1;
        member.state = State::Closed;
        self.reasons.count(event, why, 1);
        // The socket stays registered until the clients are dropped; its input is discarded.
        let _ = member.socket.shutdown(std::net::Shutdown::Both);
        handler.disconnected(index, now);
    }
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, TcpListener, TcpStream as Plain};
    use std::time::Instant;

    use super::*;
    use crate::bare::Reader;
    use crate::redis::Redis;

    /// Records the calls of the handler; sends one message when it is due.
    struct Recording {
        due: Nanos,
        received: Vec<(usize, Vec<u8>)>,
        lost: Vec<usize>,
    }

    impl Handler for Recording {
        fn next_due(&self) -> Nanos {
            self.due
        }

        fn pop_due(&mut self, now: Nanos, payload: &mut Vec<u8>) -> Option<usize> {
            if now < self.due {
                return None;
            }
            self.due = NEVER;
            payload.extend_from_slice(b"hello");
            Some(0)
        }

        fn received(&mut self, member: usize, payload: &[u8], _now: Nanos) {
            self.received.push((member, payload.into()));
        }

        fn disconnected(&mut self, member: usize, _now: Nanos) {
            self.lost.push(member);
        }
    }

    fn recording() -> Recording {
        Recording { due: NEVER, received: Vec::new(), lost: Vec::new() }
    }

    fn turn_until(
        clients: &mut Clients<'_>,
        recording: &mut Recording,
        done: impl Fn(&Clients<'_>, &Recording) -> bool,
    ) {
        let begun = Instant::now();
        while !done(clients, recording) {
            clients.turn(recording).expect("the loop runs");
            assert!(begun.elapsed() < Duration::from_secs(20), "timed out");
        }
    }

    /// A listener and clients with `members` connections -> the clients and the server's sockets.
    fn open(peer: &dyn Peer, members: usize) -> (Clients<'_>, Vec<Plain>) {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
        let mut clients = Clients::new(peer, RunClock::start(), members).expect("a loop");
        let address = listener.local_addr().expect("bound");
        assert!(clients.connect(address, members).expect("it listens"));
        (clients, (0..members).map(|_| listener.accept().expect("a client connects").0).collect())
    }

    #[test]
    fn a_closed_member_is_lost_and_the_others_stay() {
        let (mut clients, mut sockets) = open(&Reader, 3);
        let mut recording = recording();
        for socket in &mut sockets {
            socket.write_all(b"J").expect("connected");
        }
        turn_until(&mut clients, &mut recording, |clients, _| clients.joined() == 3);
        // Input before the end of the stream is read first.
        sockets[1].write_all(b"xxx").expect("connected");
        drop(sockets.remove(1));
        turn_until(&mut clients, &mut recording, |clients, _| clients.joined() == 2);
        assert_eq!(recording.lost.len(), 1);
        assert!(!clients.is_joined(recording.lost[0]));
        let reasons = clients.reasons();
        assert_eq!(reasons.only(), Some((Event::Disconnected, "the server closed the connection")));
        assert_eq!(reasons.total(), 1);
    }

    #[test]
    fn frames_arrive_in_pieces_and_a_message_is_sent_on_time() {
        let (mut clients, mut sockets) = open(&Redis, 1);
        let mut recording = recording();
        sockets[0].write_all(b">3\r\n$9\r\nsubscribe\r\n$4\r\nroom\r\n:1\r\n").expect("connected");
        turn_until(&mut clients, &mut recording, |clients, _| clients.joined() == 1);
        let message = b">3\r\n$7\r\nmessage\r\n$4\r\nroom\r\n$2\r\nhi\r\n";
        for piece in message.chunks(7) {
            sockets[0].write_all(piece).expect("connected");
            clients.turn(&mut recording).expect("the loop runs");
        }
        turn_until(&mut clients, &mut recording, |_, recording| !recording.received.is_empty());
        assert_eq!(recording.received, [(0, b"hi".to_vec())]);
        recording.due = clients.clock.now() + 5_000_000;
        let due = recording.due;
        turn_until(&mut clients, &mut recording, |_, recording| recording.due == NEVER);
        assert!(clients.clock.now() >= due);
        let mut read = vec![0; 1000];
        let mut written = Vec::new();
        while !written.ends_with(b"$5\r\nhello\r\n") {
            let count = sockets[0].read(&mut read).expect("connected");
            written.extend_from_slice(&read[..count]);
        }
    }

    #[test]
    fn a_refusal_commands_no_terminal() {
        let (mut clients, mut sockets) = open(&Redis, 1);
        let mut recording = recording();
        let refusal = "-ERR \u{1b}]52;c;eA==\u{7}\u{9b}2J\0\u{202E}PASS\r\n";
        sockets[0].write_all(refusal.as_bytes()).expect("connected");
        turn_until(&mut clients, &mut recording, |_, recording| recording.lost.len() == 1);
        let expected = "ERR \\u{1b}]52;c;eA==\\u{7}\\u{9b}2J\\u{0}\\u{202e}PASS";
        assert_eq!(clients.reasons().only(), Some((Event::Failed, expected)));
    }

    #[test]
    fn a_protocol_error_closes_the_connection() {
        let (mut clients, mut sockets) = open(&Redis, 2);
        let mut recording = recording();
        sockets[0].write_all(b"hello?\r\n").expect("connected");
        sockets[1].write_all(b"-ERR max number of clients reached\r\n").expect("connected");
        turn_until(&mut clients, &mut recording, |_, recording| recording.lost.len() == 2);
        let reasons: Vec<_> = clients.reasons().named().into_keys().collect();
        let expected =
            ["failed: ERR max number of clients reached", "failed: a value of a kind unknown in RESP3"];
        assert_eq!(reasons, expected);
    }
}
