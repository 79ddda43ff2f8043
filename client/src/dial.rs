//! Connecting to a host by name, over whichever address answers first.
//!
//! In the spirit of [RFC 8305](https://www.rfc-editor.org/rfc/rfc8305): addresses of both families
//! take turns, and a further one is tried each quarter of a second until one is connected.

use std::io;
use std::net::{SocketAddr, TcpStream, ToSocketAddrs};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags};
use socket2::{Domain, Protocol, Socket, Type};

/// Pause before the next address is tried.
const ATTEMPT_DELAY: Duration = Duration::from_millis(250);

/// Attempts to connect to one host.
#[derive(Default)]
pub(crate) struct Dial {
    /// Addresses to try, the next one last.
    addresses: Vec<SocketAddr>,
    attempts: Vec<Socket>,
    next: Option<Instant>,
}

/// State of a [`Dial`].
pub(crate) enum Progress {
    /// Not decided yet.
    Pending,
    /// The first connection.
    Connected(TcpStream),
    /// No address answers.
    Failed,
}

/// Resolves `host:port`. Blocks for as long as the system's resolver does.
pub(crate) fn resolve(address: &str) -> Vec<SocketAddr> {
    address.to_socket_addrs().map(Iterator::collect).unwrap_or_default()
}

impl Dial {
    /// Begins to connect to these addresses, of which the system prefers the first.
    pub(crate) fn new(resolved: Vec<SocketAddr>, now: Instant) -> Self {
        let mut addresses = take_turns(resolved);
        addresses.reverse();
        Self { addresses, attempts: Vec::new(), next: Some(now) }
    }

    pub(crate) fn next_timeout(&self) -> Option<Instant> {
        self.next
    }

    /// Adds what is to be polled.
    pub(crate) fn poll_fds<'a>(&'a self, fds: &mut Vec<PollFd<'a>>) {
        fds.extend(self.attempts.iter().map(|socket| PollFd::new(socket, PollFlags::OUT)));
    }

    /// Goes on. `is_ready` tells for each polled descriptor, in their order, whether something has
    /// happened to it.
    pub(crate) fn advance(&mut self, mut is_ready: impl FnMut(usize) -> bool, now: Instant) -> Progress {
        let mut at = 0;
        let mut connected = None;
        self.attempts.retain(|socket| {
            at += 1;
            if connected.is_some() || !is_ready(at - 1) {
                return true;
            }
            let is_connected = matches!(socket.take_error(), Ok(None)) && socket.peer_addr().is_ok();
            if is_connected {
                connected = socket.try_clone().ok();
            }
            false
        });
        if let Some(socket) = connected {
            return Progress::Connected(socket.into());
        }
        while self.attempts.is_empty() || self.next.is_some_and(|at| at <= now) {
            let Some(address) = self.addresses.pop() else {
                self.next = None;
                break;
            };
            if let Ok(socket) = begin(address) {
                self.attempts.push(socket);
                self.next = Some(now + ATTEMPT_DELAY);
            }
        }
        if self.attempts.is_empty() { Progress::Failed } else { Progress::Pending }
    }
}

/// Returns the addresses with both families in turns, beginning with that of the first.
fn take_turns(addresses: Vec<SocketAddr>) -> Vec<SocketAddr> {
    let begins_v6 = addresses.first().is_some_and(SocketAddr::is_ipv6);
    let (first, second): (Vec<_>, Vec<_>) = addresses.into_iter().partition(|it| it.is_ipv6() == begins_v6);
    let (mut first, mut second) = (first.into_iter(), second.into_iter());
    let mut turns = Vec::new();
    loop {
        let pair = [first.next(), second.next()];
        if pair == [None, None] {
            return turns;
        }
        turns.extend(pair.into_iter().flatten());
    }
}

/// Begins to connect, without waiting.
fn begin(address: SocketAddr) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_nonblocking(true)?;
    socket.set_tcp_nodelay(true)?;
    match socket.connect(&address.into()) {
        Ok(()) => Ok(socket),
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(socket),
        #[cfg(unix)]
        Err(error) if error.raw_os_error() == Some(rustix::io::Errno::INPROGRESS.raw_os_error()) => {
            Ok(socket)
        }
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    fn run(addresses: Vec<SocketAddr>) -> Progress {
        let mut dial = Dial::new(addresses, Instant::now());
        loop {
            let fds_ready: Vec<bool> = {
                let mut fds = Vec::new();
                dial.poll_fds(&mut fds);
                let pause = rustix::event::Timespec { tv_sec: 0, tv_nsec: 10_000_000 };
                rustix::event::poll(&mut fds, Some(&pause)).unwrap();
                fds.iter().map(|fd| !fd.revents().is_empty()).collect()
            };
            match dial.advance(|at| fds_ready[at], Instant::now()) {
                Progress::Pending => {}
                progress => return progress,
            }
        }
    }

    #[test]
    fn families_take_turns() {
        let of = |text: &str| text.parse::<SocketAddr>().unwrap();
        let [a, b, c, d] = ["[::1]:1", "[::2]:1", "1.1.1.1:1", "[::3]:1"].map(of);
        assert_eq!(take_turns(vec![a, b, d, c]), [a, c, b, d]);
        assert_eq!(take_turns(vec![c]), [c]);
    }

    #[test]
    fn a_closed_port_does_not_keep_the_next_address_from_being_tried() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let open = listener.local_addr().unwrap();
        let closed = {
            let listener = TcpListener::bind("127.0.0.2:0").unwrap();
            listener.local_addr().unwrap()
        };
        let Progress::Connected(stream) = run(vec![closed, open]) else { panic!("not connected") };
        assert_eq!(stream.peer_addr().unwrap(), open);
        assert!(matches!(run(vec![closed]), Progress::Failed));
        assert!(matches!(run(vec![]), Progress::Failed));
    }
}
