//! The members of a room: plain sockets on one event loop.
//!
//! ```text
//!   poll ──▶ for each socket with something to read:
//!              read into the one scratch buffer ──▶ frames, in place ──▶ the guest hears the payloads
//!              is something due meanwhile? ──▶ send it, then go on reading
//! ```
//! A member keeps bytes only of a frame whose end has not come, or of a message that its socket did not take.
//! A timer of the system's wakes the loop when something is due, because a poll's own time-out comes in
//! whole milliseconds.

use std::collections::BTreeMap;
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

use super::system::{Frame, Peer, Step};

/// Bytes that one read may bring. A longer frame breaks the connection.
const SCRATCH: usize = 256 * 1024;
/// Bytes that may wait for one member's socket.
const OUTBOX_MAX: usize = 1024 * 1024;
/// Longest sleep: nothing is due, but somebody may want the run to end.
const SLEEP_MAX: Duration = Duration::from_millis(50);
/// The timer's token; members have their numbers.
const TIMER: Token = Token(usize::MAX - 1);

/// What is said and heard in the room. Times are of the run's clock.
pub(super) trait Handler {
    /// When something is due; [`NEVER`] for nothing. Asked after every read.
    fn next_due(&self) -> Nanos {
        NEVER
    }
    /// What is due at `now`: its sender, with the message in `payload`, which is empty before. None for nothing.
    fn due(&mut self, _now: Nanos, _payload: &mut Vec<u8>) -> Option<usize> {
        None
    }
    /// A member has read a message.
    fn heard(&mut self, member: usize, payload: &[u8], now: Nanos);
    /// A member is gone for good.
    fn lost(&mut self, _member: usize, _now: Nanos) {}
    /// Everything that could be read at `since` has been read at `now`.
    fn turned(&mut self, _since: Nanos, _now: Nanos) {}
}

/// Where a member is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// On its way into the room.
    Coming,
    /// In the room.
    Here,
    /// It was on the way or there, and is no more.
    Gone,
}

struct Member {
    socket: TcpStream,
    state: State,
    /// The beginning of a frame.
    rest: Vec<u8>,
    /// What the socket did not take; almost always empty.
    outbox: Vec<u8>,
}

/// The members of one room of one server.
pub(super) struct Clients<'a> {
    peer: &'a dyn Peer,
    clock: RunClock,
    poll: Poll,
    events: Events,
    timer: OwnedFd,
    /// What the timer is set to.
    timer_at: Nanos,
    wire: Wire<'a>,
    members: Vec<Member>,
    scratch: Box<[u8]>,
}

/// What everything that deals with a member needs.
struct Wire<'a> {
    peer: &'a dyn Peer,
    /// What is being written; empty in between.
    out: Vec<u8>,
    payload: Vec<u8>,
    here: usize,
    coming: usize,
    /// Of all that are gone, how many for which reason.
    reasons: BTreeMap<String, u64>,
}

impl<'a> Clients<'a> {
    /// No member yet; `most` may come.
    pub(super) fn new(peer: &'a dyn Peer, clock: RunClock, most: usize) -> io::Result<Self> {
        let poll = Poll::new()?;
        let timer =
            timerfd_create(TimerfdClockId::Monotonic, TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC)?;
        poll.registry().register(&mut SourceFd(&timer.as_raw_fd()), TIMER, Interest::READABLE)?;
        let wire =
            Wire { peer, out: Vec::new(), payload: Vec::new(), here: 0, coming: 0, reasons: BTreeMap::new() };
        Ok(Self {
            peer,
            clock,
            poll,
            // So that one poll brings all that can be read: a turn is then a turn for everybody.
            events: Events::with_capacity(most + 1),
            timer,
            timer_at: NEVER,
            wire,
            members: Vec::with_capacity(most),
            scratch: vec![0; SCRATCH].into(),
        })
    }

    /// Members in the room.
    pub(super) fn here(&self) -> usize {
        self.wire.here
    }

    /// Whether a member is in the room.
    pub(super) fn is_here(&self, member: usize) -> bool {
        self.members.get(member).is_some_and(|member| member.state == State::Here)
    }

    /// Why members are gone.
    pub(super) fn reasons(&self) -> &BTreeMap<String, u64> {
        &self.wire.reasons
    }

    /// Has members begin their way in to the server at `address`, as many as may be on it, until there
    /// are `wanted` of them, dead or alive. False when all of them have come, or will not.
    pub(super) fn invite(&mut self, address: SocketAddr, wanted: usize) -> io::Result<bool> {
        while self.members.len() < wanted && self.wire.coming < self.peer.in_flight() {
            let mut socket = TcpStream::connect(address)?;
            socket.set_nodelay(true)?;
            let token = Token(self.members.len());
            // Once for both: a socket that is writable tells it together with what it has to read.
            self.poll.registry().register(&mut socket, token, Interest::READABLE | Interest::WRITABLE)?;
            let mut outbox = Vec::new();
            self.peer.greet(self.members.len() as u32, &mut outbox);
            self.members.push(Member { socket, state: State::Coming, rest: Vec::new(), outbox });
            self.wire.coming += 1;
        }
        Ok(self.members.len() < wanted || self.wire.coming > 0)
    }

    /// One turn of the loop: waits until something comes or is due, and deals with all of it.
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
        handler.turned(since, self.clock.now());
        Ok(())
    }

    /// Has the system wake the loop at `due`.
    fn set_timer(&mut self, due: Nanos, now: Nanos) -> io::Result<()> {
        if due == self.timer_at || due <= now {
            return Ok(());
        }
        self.timer_at = due;
        // Zero would switch it off, and so does never.
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
            let Some(sender) = handler.due(now, &mut self.wire.payload) else { return };
            let Some(member) = self.members.get_mut(sender).filter(|member| member.state == State::Here)
            else {
                continue;
            };
            self.wire.peer.publish(&self.wire.payload, &mut self.wire.out);
            self.wire.write(sender, member, handler, now);
        }
    }

    /// Reads what there is: until a read brings less than it could, or to the end if that `is_near`.
    fn read(&mut self, index: usize, is_near: bool, handler: &mut impl Handler) {
        loop {
            let member = &mut self.members[index];
            if member.state == State::Gone {
                return;
            }
            let kept = member.rest.len();
            self.scratch[..kept].copy_from_slice(&member.rest);
            let read = member.socket.read(&mut self.scratch[kept..]);
            let now = self.clock.now();
            let count = match read {
                Ok(0) if kept == SCRATCH => {
                    return self.wire.lose(index, member, "a frame that has no end", handler, now);
                }
                Ok(0) => return self.wire.lose(index, member, "the server has hung up", handler, now),
                Ok(count) => count,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return self.wire.lose(index, member, &error.to_string(), handler, now),
            };
            self.wire.take(index, member, &self.scratch[..kept + count], handler, now);
            if count < SCRATCH - kept && !is_near {
                return;
            }
        }
    }
}

impl Wire<'_> {
    /// Deals with the frames in `bytes`; the member keeps what is left of them.
    fn take(
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
                Step::Bad(why) => return self.lose(index, member, why, handler, now),
                Step::Frame(used, frame) => {
                    at += used;
                    frame
                }
            };
            match frame {
                Frame::Payload(payload) => handler.heard(index, payload, now),
                Frame::Greeted => {
                    self.peer.join(index as u32, &mut self.out);
                    self.write(index, member, handler, now);
                }
                Frame::Joined if member.state == State::Coming => {
                    member.state = State::Here;
                    self.coming -= 1;
                    self.here += 1;
                }
                Frame::Joined | Frame::Other => {}
                Frame::Ask(token) => {
                    self.peer.answer(token, &mut self.out);
                    self.write(index, member, handler, now);
                }
                Frame::Refused(why) => {
                    let why = String::from_utf8_lossy(why).into_owned();
                    return self.lose(index, member, &why, handler, now);
                }
            }
            if member.state == State::Gone {
                return;
            }
        }
        member.rest.clear();
        member.rest.extend_from_slice(&bytes[at..]);
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
                        return self.lose(index, member, &error.to_string(), handler, now);
                    }
                }
            }
        }
        member.outbox.extend_from_slice(&self.out[written..]);
        self.out.clear();
        if member.outbox.len() > OUTBOX_MAX {
            self.lose(index, member, "the server did not read what it said", handler, now);
        }
    }

    /// Writes what waits for the member's socket.
    fn flush(&mut self, index: usize, member: &mut Member, handler: &mut impl Handler, now: Nanos) {
        if member.state != State::Gone {
            self.out.append(&mut member.outbox);
            self.write(index, member, handler, now);
        }
    }

    fn lose(&mut self, index: usize, member: &mut Member, why: &str, handler: &mut impl Handler, now: Nanos) {
        let (how, count) = match member.state {
            State::Coming => ("failed", &mut self.coming),
            State::Here => ("disconnected", &mut self.here),
            State::Gone => return,
        };
        *count -= 1;
        member.state = State::Gone;
        *self.reasons.entry(format!("{how}: {why}")).or_default() += 1;
        // The socket stays until the swarm goes: what is still in it is not wanted.
        let _ = member.socket.shutdown(std::net::Shutdown::Both);
        handler.lost(index, now);
    }
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, TcpListener, TcpStream as Plain};
    use std::time::Instant;

    use super::*;
    use crate::bare::Reader;
    use crate::redis::Redis;

    /// Remembers what happened; says one thing when it is due.
    struct Ear {
        due: Nanos,
        heard: Vec<(usize, Vec<u8>)>,
        lost: Vec<usize>,
    }

    impl Handler for Ear {
        fn next_due(&self) -> Nanos {
            self.due
        }

        fn due(&mut self, now: Nanos, payload: &mut Vec<u8>) -> Option<usize> {
            if now < self.due {
                return None;
            }
            self.due = NEVER;
            payload.extend_from_slice(b"hello");
            Some(0)
        }

        fn heard(&mut self, member: usize, payload: &[u8], _now: Nanos) {
            self.heard.push((member, payload.into()));
        }

        fn lost(&mut self, member: usize, _now: Nanos) {
            self.lost.push(member);
        }
    }

    fn ear() -> Ear {
        Ear { due: NEVER, heard: Vec::new(), lost: Vec::new() }
    }

    fn turn_until(clients: &mut Clients<'_>, ear: &mut Ear, done: impl Fn(&Clients<'_>, &Ear) -> bool) {
        let begun = Instant::now();
        while !done(clients, ear) {
            clients.turn(ear).expect("the loop runs");
            assert!(begun.elapsed() < Duration::from_secs(20), "waited in vain");
        }
    }

    /// A server by hand: its listener, and a swarm of so many members whose sockets it has.
    fn open(peer: &dyn Peer, members: usize) -> (Clients<'_>, Vec<Plain>) {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
        let mut clients = Clients::new(peer, RunClock::start(), members).expect("a loop");
        let address = listener.local_addr().expect("bound");
        assert!(clients.invite(address, members).expect("it listens"));
        (clients, (0..members).map(|_| listener.accept().expect("somebody comes").0).collect())
    }

    #[test]
    fn who_is_hung_up_on_is_lost_and_the_others_stay() {
        let (mut clients, mut sockets) = open(&Reader, 3);
        let mut ear = ear();
        for socket in &mut sockets {
            socket.write_all(b"J").expect("the other end is there");
        }
        turn_until(&mut clients, &mut ear, |clients, _| clients.here() == 3);
        // The last words are read before the end is seen.
        sockets[1].write_all(b"xxx").expect("the other end is there");
        drop(sockets.remove(1));
        turn_until(&mut clients, &mut ear, |clients, _| clients.here() == 2);
        assert_eq!(ear.lost.len(), 1);
        assert!(!clients.is_here(ear.lost[0]));
        let reasons: Vec<_> = clients.reasons().iter().collect();
        assert_eq!(reasons, [(&"disconnected: the server has hung up".to_owned(), &1)]);
    }

    #[test]
    fn frames_in_pieces_and_a_message_at_its_time() {
        let (mut clients, mut sockets) = open(&Redis, 1);
        let mut ear = ear();
        sockets[0].write_all(b">3\r\n$9\r\nsubscribe\r\n$4\r\nroom\r\n:1\r\n").expect("it is there");
        turn_until(&mut clients, &mut ear, |clients, _| clients.here() == 1);
        let message = b">3\r\n$7\r\nmessage\r\n$4\r\nroom\r\n$2\r\nhi\r\n";
        for piece in message.chunks(7) {
            sockets[0].write_all(piece).expect("it is there");
            clients.turn(&mut ear).expect("the loop runs");
        }
        turn_until(&mut clients, &mut ear, |_, ear| !ear.heard.is_empty());
        assert_eq!(ear.heard, [(0, b"hi".to_vec())]);
        ear.due = clients.clock.now() + 5_000_000;
        let due = ear.due;
        turn_until(&mut clients, &mut ear, |_, ear| ear.due == NEVER);
        assert!(clients.clock.now() >= due);
        let mut read = vec![0; 1000];
        let mut said = Vec::new();
        while !said.ends_with(b"$5\r\nhello\r\n") {
            let count = sockets[0].read(&mut read).expect("it is there");
            said.extend_from_slice(&read[..count]);
        }
    }

    #[test]
    fn what_is_no_protocol_ends_the_connection() {
        let (mut clients, mut sockets) = open(&Redis, 2);
        let mut ear = ear();
        sockets[0].write_all(b"hello?\r\n").expect("it is there");
        sockets[1].write_all(b"-ERR max number of clients reached\r\n").expect("it is there");
        turn_until(&mut clients, &mut ear, |_, ear| ear.lost.len() == 2);
        let reasons: Vec<_> = clients.reasons().keys().map(String::as_str).collect();
        let expected =
            ["failed: ERR max number of clients reached", "failed: a value of a kind that RESP3 has not"];
        assert_eq!(reasons, expected);
    }
}
