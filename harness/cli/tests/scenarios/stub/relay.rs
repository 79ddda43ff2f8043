//! A relay in front of the stub that cuts the byte stream into other pieces, and that can tear off
//! a frame.
//!
//! TCP keeps the order of bytes, not their division into reads, so that the pieces are no fault and
//! must not show in a report.

use std::collections::HashMap;
use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::ops::Range;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use rand::rngs::Xoshiro256PlusPlus;
use rand::{RngExt, SeedableRng};
use throng_core::limits::{FRAME_HEADER, SEAL_TAG};

/// Least bytes of a frame's body that [`Relay::tear`] counts; only messages with a payload of this
/// size are as long.
pub(crate) const LONG: usize = 400;

/// Time in which frames are collected for a glued piece.
const COLLECT: Duration = Duration::from_millis(15);

/// Pause between two pieces, so that the first is read before the second arrives.
const PAUSE: Duration = Duration::from_micros(100);

/// Counts of the relay.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Pieces {
    /// Frames sent in more than one piece.
    pub split: u64,
    /// Pieces with several whole frames.
    pub glued: u64,
    /// Frames torn off at the beginning or within.
    pub torn: u64,
}

/// Division of frames into pieces.
#[derive(Debug, Clone, Copy)]
enum Style {
    /// As received.
    Whole,
    /// Byte by byte.
    Bytes,
    /// Cut within the header.
    Header,
    /// Cut within the seal's tag.
    Tag,
    /// Several frames in one piece.
    Glued,
    /// Several frames, cut anywhere.
    Anywhere,
}

/// The place where a connection is torn: the number of a long frame, from 1, and the bytes of it to
/// pass on.
#[derive(Debug, Clone, Copy)]
struct Tear {
    frame: u64,
    keep: usize,
}

struct Shared {
    server: SocketAddr,
    /// Seed of the pieces; without one frames pass as received.
    seed: Option<u64>,
    is_over: AtomicBool,
    /// By the address of the relay's connection to the server.
    tears: Mutex<HashMap<SocketAddr, Tear>>,
    pieces: Mutex<Pieces>,
}

/// The relay in front of one server.
pub(super) struct Relay {
    pub(super) address: SocketAddr,
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

impl Relay {
    pub(super) fn start(server: SocketAddr, seed: Option<u64>) -> Arc<Self> {
        println!("pieces are drawn from the seed {seed:?}");
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let address = listener.local_addr().unwrap();
        let shared = Arc::new(Shared {
            server,
            seed,
            is_over: AtomicBool::new(false),
            tears: Mutex::default(),
            pieces: Mutex::default(),
        });
        let thread = {
            let shared = shared.clone();
            thread::spawn(move || accept(&listener, &shared))
        };
        Arc::new(Self { address, shared, thread: Some(thread) })
    }

    /// Ends the connection from `server_side` in its `frame`-th long frame from the server, which
    /// must be yet to come, after `keep` bytes, or at the last but one.
    pub(super) fn tear(&self, server_side: SocketAddr, frame: u64, keep: usize) {
        self.shared.tears.lock().unwrap().insert(server_side, Tear { frame, keep });
    }

    pub(super) fn pieces(&self) -> Pieces {
        *self.shared.pieces.lock().unwrap()
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.shared.is_over.store(true, Ordering::Release);
        // Wakes the accepting thread. Pumps end with their connections.
        let _ = TcpStream::connect(self.address);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn accept(listener: &TcpListener, shared: &Arc<Shared>) {
    for (client, number) in listener.incoming().zip(0..) {
        let Ok(client) = client else { continue };
        if shared.is_over.load(Ordering::Acquire) {
            return;
        }
        let Ok(server) = TcpStream::connect(shared.server) else { continue };
        for socket in [&client, &server] {
            socket.set_nodelay(true).unwrap();
        }
        let server_side = server.local_addr().unwrap();
        let pump = |from: &TcpStream, to: &TcpStream, number: u64, server_side| Pump {
            shared: shared.clone(),
            from: from.try_clone().unwrap(),
            to: to.try_clone().unwrap(),
            rng: shared.seed.map(|seed| Xoshiro256PlusPlus::seed_from_u64(seed ^ number << 32)),
            server_side,
            long: 0,
        };
        let pumps = [
            pump(&client, &server, 2 * number, None),
            pump(&server, &client, 2 * number + 1, Some(server_side)),
        ];
        for pump in pumps {
            thread::spawn(move || pump.run());
        }
    }
}

/// One direction of a connection.
struct Pump {
    shared: Arc<Shared>,
    from: TcpStream,
    to: TcpStream,
    /// `None` if frames pass as received.
    rng: Option<Xoshiro256PlusPlus>,
    /// The key of its tear; `None` toward the server.
    server_side: Option<SocketAddr>,
    /// Long frames so far.
    long: u64,
}

/// The ranges of the complete frames in `bytes`.
fn frames(bytes: &[u8]) -> Vec<Range<usize>> {
    let mut found = Vec::new();
    let mut at = 0;
    while let Some([low, high]) = bytes.get(at..at + 2) {
        let end = at + FRAME_HEADER + usize::from(u16::from_le_bytes([*low, *high]));
        if end > bytes.len() {
            break;
        }
        found.push(at..end);
        at = end;
    }
    found
}

/// The ends of the pieces, in order, the last frame's end included.
fn cuts(style: Style, frames: &[Range<usize>], rng: &mut Xoshiro256PlusPlus) -> Vec<usize> {
    let end = frames.last().map_or(0, |frame| frame.end);
    let mut cuts = match style {
        Style::Whole | Style::Glued => Vec::new(),
        Style::Bytes => (1..end).collect(),
        Style::Header => {
            frames.iter().map(|frame| frame.start + rng.random_range(1..=FRAME_HEADER)).collect()
        }
        Style::Tag => frames
            .iter()
            .map(|frame| frame.end - rng.random_range(1..=SEAL_TAG.min(frame.len() - 1)))
            .collect(),
        Style::Anywhere => {
            let mut cuts = vec![rng.random_range(1..300)];
            while cuts[cuts.len() - 1] < end {
                cuts.push(cuts[cuts.len() - 1] + rng.random_range(1..300));
            }
            cuts
        }
    };
    cuts.retain(|cut| *cut < end);
    cuts.push(end);
    cuts
}

impl Pump {
    fn run(mut self) {
        // The end of one side is passed on to the other. Input that cannot be passed on is still
        // read: closing a socket with unread input discards the output.
        if !self.pass() {
            let mut unread = [0; 4096];
            while matches!(self.from.read(&mut unread), Ok(1..)) {}
        }
        let _ = self.to.shutdown(Shutdown::Write);
    }

    /// Passes on bytes until the input ends, or returns false when the output is closed.
    fn pass(&mut self) -> bool {
        let mut waiting = Vec::new();
        loop {
            let style = self.draw();
            if !self.read(&mut waiting, None) {
                return self.to.write_all(&waiting).is_ok();
            }
            if matches!(style, Style::Glued | Style::Anywhere) {
                let until = Instant::now() + COLLECT;
                while self.read(&mut waiting, Some(until)) {}
            }
            let frames = frames(&waiting);
            if let Some(end) = self.torn(&frames) {
                let _ = self.to.write_all(&waiting[..end]);
                let _ = self.to.shutdown(Shutdown::Write);
                let _ = self.from.shutdown(Shutdown::Both);
                self.shared.pieces.lock().unwrap().torn += 1;
                return false;
            }
            let Some(last) = frames.last() else { continue };
            if !self.write(style, &waiting, &frames) {
                return false;
            }
            waiting.drain(..last.end);
        }
    }

    fn draw(&mut self) -> Style {
        let Some(rng) = &mut self.rng else { return Style::Whole };
        let styles = [Style::Whole, Style::Bytes, Style::Header, Style::Tag, Style::Glued, Style::Anywhere];
        styles[rng.random_range(0..styles.len())]
    }

    /// Reads what is available, or arrives before `until`. Returns false at the end or on timeout.
    fn read(&mut self, into: &mut Vec<u8>, until: Option<Instant>) -> bool {
        let left = until.map(|until| until.saturating_duration_since(Instant::now()));
        if left == Some(Duration::ZERO) {
            return false;
        }
        self.from.set_read_timeout(left).unwrap();
        let mut buffer = [0; 16 * 1024];
        loop {
            match self.from.read(&mut buffer) {
                Ok(count) => {
                    into.extend_from_slice(&buffer[..count]);
                    return count > 0;
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(_) => return false,
            }
        }
    }

    /// The offset at which the connection is to be torn within `frames`, if it is.
    fn torn(&mut self, frames: &[Range<usize>]) -> Option<usize> {
        let tear = self
            .server_side
            .and_then(|server_side| self.shared.tears.lock().unwrap().get(&server_side).copied());
        for frame in frames.iter().filter(|frame| frame.len() >= FRAME_HEADER + LONG) {
            self.long += 1;
            if let Some(tear) = tear.filter(|tear| tear.frame == self.long) {
                return Some(frame.start + tear.keep.min(frame.len() - 1));
            }
        }
        None
    }

    /// Writes `frames` in pieces. Returns false when the output is closed.
    fn write(&mut self, style: Style, bytes: &[u8], frames: &[Range<usize>]) -> bool {
        let cuts = match &mut self.rng {
            Some(rng) => cuts(style, frames, rng),
            None => frames.last().map(|frame| frame.end).into_iter().collect(),
        };
        let is_cut =
            |frame: &&Range<usize>| cuts.iter().any(|cut| (frame.start + 1..frame.end).contains(cut));
        let split = frames.iter().filter(is_cut).count() as u64;
        let mut glued = 0;
        let mut from = 0;
        for cut in cuts {
            let whole = frames.iter().filter(|frame| frame.start >= from && frame.end <= cut).count();
            glued += u64::from(whole > 1);
            match style {
                _ if from == 0 => {}
                // One yield for eight bytes: a busy machine takes long over each.
                Style::Bytes if cut % 8 > 0 => {}
                Style::Bytes => thread::yield_now(),
                _ => thread::sleep(PAUSE),
            }
            if self.to.write_all(&bytes[from..cut]).is_err() {
                return false;
            }
            from = cut;
        }
        let mut pieces = self.shared.pieces.lock().unwrap();
        (pieces.split, pieces.glued) = (pieces.split + split, pieces.glued + glued);
        true
    }
}
