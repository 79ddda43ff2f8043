//! A way to the stub on which bytes come in other pieces than they were sent in, and on which a frame can be torn off.
//!
//! TCP promises the order of bytes and nothing of how many come at a time. What is done here with the pieces is therefore no
//! fault, and nobody may notice it.

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

/// Bytes from which on a frame's body is counted for [`Relay::tear`]: only messages of runs with this payload are so long.
pub(crate) const LONG: usize = 400;

/// How long frames are collected that are to go together.
const COLLECT: Duration = Duration::from_millis(15);

/// Between two pieces, so that the first is read before the second comes.
const PAUSE: Duration = Duration::from_micros(100);

/// What was done.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Pieces {
    /// Frames that went in more than one piece.
    pub split: u64,
    /// Pieces with several whole frames.
    pub glued: u64,
    /// Frames of which only the beginning went, or not even that.
    pub torn: u64,
}

/// How frames go.
#[derive(Debug, Clone, Copy)]
enum Style {
    /// As they come.
    Whole,
    /// Byte by byte.
    Bytes,
    /// Cut in the header.
    Header,
    /// Cut in the seal's tag.
    Tag,
    /// Several together.
    Glued,
    /// Several together, cut anywhere.
    Anywhere,
}

/// Where a connection is to be torn: in which of its long frames, from 1, and after how many of the frame's bytes.
#[derive(Debug, Clone, Copy)]
struct Tear {
    frame: u64,
    keep: usize,
}

struct Shared {
    server: SocketAddr,
    /// Where pieces come from; without a seed frames go as they come.
    seed: Option<u64>,
    is_over: AtomicBool,
    /// By the address from which the connection comes to the server.
    tears: Mutex<HashMap<SocketAddr, Tear>>,
    pieces: Mutex<Pieces>,
}

/// The way to one server, in both directions.
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

    /// Has the connection that comes to the server from `way` end in its `frame`-th long frame from the server, which must still be to
    /// come: with its first `keep` bytes, or all but one.
    pub(super) fn tear(&self, way: SocketAddr, frame: u64, keep: usize) {
        self.shared.tears.lock().unwrap().insert(way, Tear { frame, keep });
    }

    pub(super) fn pieces(&self) -> Pieces {
        *self.shared.pieces.lock().unwrap()
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.shared.is_over.store(true, Ordering::Release);
        // So that it is looked at. Those under way end with their connections.
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
        let way = server.local_addr().unwrap();
        let pump = |from: &TcpStream, to: &TcpStream, number: u64, way| Pump {
            shared: shared.clone(),
            from: from.try_clone().unwrap(),
            to: to.try_clone().unwrap(),
            rng: shared.seed.map(|seed| Xoshiro256PlusPlus::seed_from_u64(seed ^ number << 32)),
            way,
            long: 0,
        };
        let pumps =
            [pump(&client, &server, 2 * number, None), pump(&server, &client, 2 * number + 1, Some(way))];
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
    /// None if nothing is done with the pieces.
    rng: Option<Xoshiro256PlusPlus>,
    /// By what its tear is known; none towards the server.
    way: Option<SocketAddr>,
    /// Long frames so far.
    long: u64,
}

/// The frames that are whole, one after the other from the beginning.
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

/// Where frames are cut, in order, their end included.
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
        // Whoever sees the other side end ends it there, too; and what cannot be passed on is still read, since a socket that is
        // closed with something to read takes back what was written to it.
        if !self.pass() {
            let mut unread = [0; 4096];
            while matches!(self.from.read(&mut unread), Ok(1..)) {}
        }
        let _ = self.to.shutdown(Shutdown::Write);
    }

    /// Passes on what comes until nothing more does. False if it is the other side that takes nothing more.
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

    /// Reads what there is, or comes before a time. False if that is nothing.
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

    /// Where these frames end too soon, if they are to.
    fn torn(&mut self, frames: &[Range<usize>]) -> Option<usize> {
        let tear = self.way.and_then(|way| self.shared.tears.lock().unwrap().get(&way).copied());
        for frame in frames.iter().filter(|frame| frame.len() >= FRAME_HEADER + LONG) {
            self.long += 1;
            if let Some(tear) = tear.filter(|tear| tear.frame == self.long) {
                return Some(frame.start + tear.keep.min(frame.len() - 1));
            }
        }
        None
    }

    /// False if nobody takes them.
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
                // A busy machine would take its time over every one of them.
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
