//! A listener that bounds the number of its connections, and the time of each of their phases.
//!
//! At most `ADMIN_CONNECTIONS_MAX` connections are open. A further one evicts the one that has been
//! silent longest, so that no number of silent connections keeps a request out.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use axum::serve::Listener;
use parking_lot::Mutex;
use throng_core::limits::ADMIN_CONNECTIONS_MAX;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use tokio::time::{Sleep, sleep};

/// Phase of a connection, which lasts no longer than [`Phase::limit`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// Between two requests, or before the first one.
    Idle,
    /// From the first byte of a request to the first byte of its response.
    Request,
    /// From the first byte of a response to its last.
    Response,
}

impl Phase {
    fn limit(self) -> Duration {
        let (limit, in_tests) = match self {
            Self::Idle => (30, 3),
            Self::Request => (5, 2),
            Self::Response => (10, 2),
        };
        Duration::from_secs(if cfg!(test) { in_tests } else { limit })
    }
}

/// A connection as the listener knows it.
#[derive(Debug)]
struct Seat {
    number: u64,
    phase: Phase,
    since: Instant,
    /// Dropped to evict the connection.
    _keep: oneshot::Sender<()>,
}

#[derive(Debug, Default)]
struct Seats {
    next: u64,
    taken: Vec<Seat>,
}

impl Seats {
    /// Seats a new connection. If none is free, evicts the connection that has been in its phase
    /// longest; one that is getting a response only if all are.
    fn take(&mut self) -> (u64, oneshot::Receiver<()>) {
        if self.taken.len() >= ADMIN_CONNECTIONS_MAX {
            let seats = self.taken.iter().enumerate();
            let oldest = seats.min_by_key(|(_, seat)| (seat.phase == Phase::Response, seat.since));
            if let Some(at) = oldest.map(|(at, _)| at) {
                self.taken.swap_remove(at);
            }
        }
        let (keep, evicted) = oneshot::channel();
        self.next += 1;
        self.taken.push(Seat { number: self.next, phase: Phase::Idle, since: Instant::now(), _keep: keep });
        (self.next, evicted)
    }

    fn enter(&mut self, number: u64, phase: Phase) {
        if let Some(seat) = self.taken.iter_mut().find(|seat| seat.number == number) {
            seat.phase = phase;
            seat.since = Instant::now();
        }
    }

    fn leave(&mut self, number: u64) {
        self.taken.retain(|seat| seat.number != number);
    }
}

/// The listener of the admin port.
pub(super) struct LimitedListener {
    listener: TcpListener,
    seats: Arc<Mutex<Seats>>,
}

impl LimitedListener {
    pub(super) fn new(listener: TcpListener) -> Self {
        Self { listener, seats: Arc::default() }
    }
}

impl Listener for LimitedListener {
    type Io = Connection;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Connection, SocketAddr) {
        let (stream, address) = Listener::accept(&mut self.listener).await;
        let (number, evicted) = self.seats.lock().take();
        let connection = Connection {
            stream,
            number,
            seats: self.seats.clone(),
            evicted: Some(evicted),
            phase: Phase::Idle,
            timer: Box::pin(sleep(Phase::Idle.limit())),
        };
        (connection, address)
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }
}

/// A connection with its seat.
pub(super) struct Connection {
    stream: TcpStream,
    number: u64,
    seats: Arc<Mutex<Seats>>,
    /// Resolves when the seat is lost; none after that.
    evicted: Option<oneshot::Receiver<()>>,
    phase: Phase,
    /// The end of the phase.
    timer: Pin<Box<Sleep>>,
}

impl Connection {
    /// Returns the socket, or an error if the connection has lost its seat or its phase is over.
    fn stream(&mut self, context: &mut Context<'_>) -> io::Result<Pin<&mut TcpStream>> {
        let Some(evicted) = &mut self.evicted else { return Err(io::ErrorKind::ConnectionAborted.into()) };
        if Pin::new(evicted).poll(context).is_ready() {
            self.evicted = None;
            return Err(io::ErrorKind::ConnectionAborted.into());
        }
        match self.timer.as_mut().poll(context) {
            Poll::Ready(()) => Err(io::ErrorKind::TimedOut.into()),
            Poll::Pending => Ok(Pin::new(&mut self.stream)),
        }
    }

    fn enter(&mut self, phase: Phase) {
        self.phase = phase;
        self.timer.as_mut().reset(tokio::time::Instant::now() + phase.limit());
        self.seats.lock().enter(self.number, phase);
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.seats.lock().leave(self.number);
    }
}

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let read = self.stream(context)?.poll_read(context, buffer);
        if self.phase == Phase::Idle && buffer.filled().len() > before {
            self.enter(Phase::Request);
        }
        read
    }
}

impl AsyncWrite for Connection {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        if self.phase != Phase::Response {
            self.enter(Phase::Response);
        }
        self.stream(context)?.poll_write(context, bytes)
    }

    /// Called when all bytes of a response are written.
    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = self.stream(context)?.poll_flush(context);
        if self.phase == Phase::Response && matches!(flushed, Poll::Ready(Ok(()))) {
            self.enter(Phase::Idle);
        }
        flushed
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.stream(context)?.poll_shutdown(context)
    }
}
