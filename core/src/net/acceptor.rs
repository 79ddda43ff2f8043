//! Acceptor: the thread that accepts connections and deals them to the shards.
//!
//! It takes a bounded number of connections from each listener in a pass, and never waits for a
//! shard: a connection for which no shard has room is told that the server is full. Without file
//! descriptors it closes what waits.

use std::fs::File;
use std::io::{self, Write};
use std::net::{Shutdown, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use mio::net::{TcpListener, TcpStream};
use mio::{Events, Interest, Poll, Token, Waker};
use rustix::io::Errno;
use socket2::{Domain, Protocol, Socket, Type};
use thiserror::Error;

use super::addresses::Addresses;
use super::mail::{Accepted, Accepts, Mailbox};
use super::shard::Shard;
use crate::limits::ACCEPTS_PER_TURN;
use crate::log::Outage;
use crate::metrics;
use crate::session::endpoint::{Endpoint, PeerKind};
use crate::wire::{CloseReason, frame};

const WAKER: Token = Token(usize::MAX);

/// Pause of the acceptor when the system has no file descriptors or memory to give.
const EXHAUSTED_PAUSE: Duration = Duration::from_millis(100);

/// Failure to bind a listener.
#[derive(Debug, Error)]
#[error("cannot listen on {address} ({purpose}): {source}{}", hint(source))]
pub struct ListenError {
    address: SocketAddr,
    purpose: &'static str,
    source: io::Error,
}

fn hint(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::AddrInUse => "; another process has the port: stop it, or set another port",
        io::ErrorKind::PermissionDenied => "; ports below 1024 need a privilege: set a higher port",
        io::ErrorKind::AddrNotAvailable => "; this machine does not have the address",
        _ => "",
    }
}

/// A bound port, with the rules for its connections.
pub struct Listener {
    socket: TcpListener,
    address: SocketAddr,
    endpoint: Arc<Endpoint>,
    addresses: Option<Arc<Addresses>>,
}

impl Listener {
    /// Binds `address`; port 0 chooses a free port. `purpose` names the listener in errors.
    /// `backlog` is the most connections that the system holds before they are accepted.
    pub fn bind(
        address: SocketAddr,
        purpose: &'static str,
        backlog: i32,
        endpoint: Arc<Endpoint>,
    ) -> Result<Self, ListenError> {
        let bind = || {
            let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
            socket.set_reuse_address(true)?;
            socket.set_nonblocking(true)?;
            socket.bind(&address.into())?;
            socket.listen(backlog)?;
            let socket = TcpListener::from_std(socket.into());
            let address = socket.local_addr()?;
            Ok((socket, address))
        };
        let (socket, address) = bind().map_err(|source| ListenError { address, purpose, source })?;
        Ok(Self { socket, address, endpoint, addresses: None })
    }

    /// Holds the addresses of peers to limits.
    #[must_use]
    pub fn limited_by(mut self, addresses: Arc<Addresses>) -> Self {
        self.addresses = Some(addresses);
        self
    }

    /// Returns the address, with the port that was bound.
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

/// One shard, as the acceptor sees it.
struct Target<C> {
    mailbox: Arc<Mailbox<C>>,
    accepts: Arc<Accepts>,
    load: Arc<AtomicUsize>,
    /// True if a socket was queued since the shard was last woken.
    must_ring: bool,
}

/// An acceptor, built and ready to run.
pub struct Acceptor<C> {
    poll: Poll,
    listeners: Vec<Listener>,
    targets: Vec<Target<C>>,
    stop: Arc<AtomicBool>,
    waker: Arc<Waker>,
    /// An open file that is closed when file descriptors run out, so that waiting connections can
    /// be accepted and closed instead of left hanging.
    spare: Option<File>,
}

/// Tells a new peer the reason and closes the socket, without a wait for either.
fn refuse(mut socket: TcpStream, reason: CloseReason) {
    // A new socket has room for four bytes. Whether the peer reads them is its affair.
    let _ = socket.write(&frame::refusal(reason));
    let _ = socket.shutdown(Shutdown::Write);
}

/// Handle of a running acceptor.
pub struct AcceptorHandle {
    thread: JoinHandle<()>,
    stop: Arc<AtomicBool>,
    waker: Arc<Waker>,
}

impl AcceptorHandle {
    /// Closes the listeners and ends the thread, and waits for it.
    pub fn stop(self) {
        self.stop.store(true, Ordering::Release);
        if let Err(error) = self.waker.wake() {
            tracing::warn!(%error, "cannot wake the acceptor");
        }
        // The panic hook has reported a panic of the thread.
        let _ = self.thread.join();
    }
}

impl<C: Send + 'static> Acceptor<C> {
    /// Creates an acceptor that deals the connections of `listeners` to `shards`. Fails if the
    /// system has no poller or waker to give.
    pub fn new(mut listeners: Vec<Listener>, shards: &[Shard<C>]) -> io::Result<Self> {
        let poll = Poll::new()?;
        let waker = Arc::new(Waker::new(poll.registry(), WAKER)?);
        for (token, listener) in listeners.iter_mut().enumerate() {
            poll.registry().register(&mut listener.socket, Token(token), Interest::READABLE)?;
        }
        let targets = shards
            .iter()
            .map(|shard| Target {
                mailbox: shard.mailbox(),
                accepts: shard.accepts(),
                load: shard.load(),
                must_ring: false,
            })
            .collect();
        let stop = Arc::new(AtomicBool::new(false));
        Ok(Self { poll, listeners, targets, stop, waker, spare: File::open("/dev/null").ok() })
    }

    /// Starts the thread. Fails if the system has no thread to give.
    pub fn spawn(self, name: String) -> io::Result<AcceptorHandle> {
        let stop = self.stop.clone();
        let waker = self.waker.clone();
        let run = metrics::in_same_role(move || self.run());
        let thread = std::thread::Builder::new().name(name).spawn(run)?;
        Ok(AcceptorHandle { thread, stop, waker })
    }

    fn run(mut self) {
        let mut events = Events::with_capacity(16);
        // Listeners that may have connections left over, for which no further event comes.
        let mut pending = vec![true; self.listeners.len()];
        let outage = Outage::new();
        while !self.stop.load(Ordering::Acquire) {
            let mut timeout = pending.contains(&true).then_some(Duration::ZERO);
            for (at, pending) in pending.iter_mut().enumerate().filter(|(_, pending)| **pending) {
                let accepted = Self::accept(&self.listeners[at], &mut self.targets);
                Self::log(&outage, &self.listeners[at], &accepted, Instant::now());
                match accepted {
                    Ok((drained, _)) => *pending = !drained,
                    Err(error) => {
                        metrics::ACCEPT_ERRORS.inc();
                        if matches!(Errno::from_io_error(&error), Some(Errno::MFILE | Errno::NFILE)) {
                            Self::close_waiting(&mut self.spare, &self.listeners[at]);
                        }
                        timeout = Some(EXHAUSTED_PAUSE);
                    }
                }
            }
            if !pending.contains(&true) {
                timeout = None;
            }
            if let Err(error) = self.poll.poll(&mut events, timeout)
                && error.kind() != io::ErrorKind::Interrupted
            {
                tracing::error!(%error, "the acceptor's poller failed");
                std::thread::sleep(EXHAUSTED_PAUSE);
            }
            for event in events.iter().filter(|event| event.token() != WAKER) {
                pending[event.token().0] = true;
            }
        }
    }

    /// Logs that accepting fails, or works again once a connection was accepted.
    fn log(outage: &Outage, listener: &Listener, accepted: &io::Result<(bool, usize)>, now: Instant) {
        let listener = listener.address;
        match accepted {
            Err(error) => {
                if let Some(lasting) = outage.occurs(now) {
                    tracing::warn!(%error, %listener, "cannot accept{lasting}");
                }
            }
            Ok((_, 1..)) => {
                if let Some(lasting) = outage.ends(now) {
                    tracing::info!(%listener, "can accept again{lasting}");
                }
            }
            Ok((_, 0)) => {}
        }
    }

    /// Accepts a bounded number of connections. Returns true if no more wait, and their number.
    fn accept(listener: &Listener, targets: &mut [Target<C>]) -> io::Result<(bool, usize)> {
        let (mut drained, mut accepted) = (false, 0);
        for _ in 0..ACCEPTS_PER_TURN {
            match listener.socket.accept() {
                Ok((socket, peer)) => {
                    accepted += 1;
                    Self::deal(listener, targets, socket, peer);
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    drained = true;
                    break;
                }
                // The peer gave up while it waited, or a signal interrupted the call.
                Err(error)
                    if matches!(
                        error.kind(),
                        io::ErrorKind::ConnectionAborted
                            | io::ErrorKind::ConnectionReset
                            | io::ErrorKind::Interrupted
                    ) => {}
                Err(error) => {
                    Self::ring(targets);
                    return Err(error);
                }
            }
        }
        Self::ring(targets);
        Ok((drained, accepted))
    }

    /// Passes a socket to the shard with the fewest clients.
    fn deal(listener: &Listener, targets: &mut [Target<C>], socket: TcpStream, peer: SocketAddr) {
        metrics::ACCEPTED.inc();
        let place = match &listener.addresses {
            Some(addresses) => match addresses.admit(peer.ip(), Instant::now()) {
                Ok(place) => place,
                Err(reason) => {
                    metrics::REFUSED_ADDRESS.inc();
                    return refuse(socket, reason);
                }
            },
            None => None,
        };
        // With Nagle's algorithm a small packet would wait for the acknowledgment of the one
        // before. If the system refuses, packets are only late.
        let _ = socket.set_nodelay(true);
        let least = targets.iter_mut().min_by_key(|target| target.load.load(Ordering::Relaxed));
        if let Some(target) = least {
            // Counted before the shard adopts it. Otherwise a busy shard would look empty, and
            // could refuse clients while another shard has room.
            let count = usize::from(listener.endpoint.peer == PeerKind::Client);
            target.load.fetch_add(count, Ordering::Relaxed);
            target.must_ring = true;
            // With a full queue the shard is far behind, and waiting for it would let the whole
            // backlog go stale.
            let accepted = Accepted { socket, peer, endpoint: listener.endpoint.clone(), place };
            if let Err(Accepted { socket, .. }) = target.accepts.push(accepted) {
                target.load.fetch_sub(count, Ordering::Relaxed);
                metrics::REFUSED_BUSY.inc();
                refuse(socket, CloseReason::ServerFull);
            }
        }
    }

    fn ring(targets: &mut [Target<C>]) {
        for target in targets.iter_mut().filter(|target| target.must_ring) {
            target.must_ring = false;
            target.mailbox.ring();
        }
    }

    /// Accepts and closes waiting connections with the spare file descriptor.
    fn close_waiting(spare: &mut Option<File>, listener: &Listener) {
        drop(spare.take());
        for _ in 0..ACCEPTS_PER_TURN {
            if listener.socket.accept().is_err() {
                break;
            }
        }
        *spare = File::open("/dev/null").ok();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crypto::{Credentials, StaticKey};
    use crate::log::fixture::captured;

    #[test]
    fn failures_to_accept_are_logged_once_and_so_is_their_end() {
        let endpoint = Endpoint {
            peer: PeerKind::Client,
            credentials: Credentials::Server(Arc::new(StaticKey::from_private([7; 32]))),
            body_max: 1,
            outbox_max: 1,
            handshake_timeout: Duration::ZERO,
            first_packet_timeout: None,
            heartbeat: None,
            idle_timeout: None,
            linger: Duration::ZERO,
        };
        let listener = Listener::bind(([127, 0, 0, 1], 0).into(), "test", 1, Arc::new(endpoint)).unwrap();
        let (start, outage) = (Instant::now(), Outage::new());
        let log = |tenths: u32, accepted| {
            Acceptor::<()>::log(&outage, &listener, &accepted, start + EXHAUSTED_PAUSE * tenths);
        };
        let failed = || Err(Errno::MFILE.into());
        let lines = captured(|| {
            log(0, Ok((true, 3)));
            for tenths in 0..=900 {
                log(tenths, failed());
                // No connection waited, which does not tell that there are descriptors.
                log(tenths, Ok((true, 0)));
            }
            log(901, Ok((true, 1)));
            log(902, Ok((true, 1)));
        });
        let address = listener.address;
        let error = io::Error::from(Errno::MFILE);
        assert_eq!(
            lines,
            [
                format!("WARN cannot accept error={error} listener={address}"),
                format!("WARN cannot accept (601 times in 60 s) error={error} listener={address}"),
                format!("INFO can accept again (901 times in 90 s) listener={address}"),
            ]
        );
    }
}
