//! What a delivery cannot cost less than: a process that does nothing but `write` to as many sockets.

use std::ffi::OsString;
use std::io::{self, Write};
use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use serde::Serialize;
use throng_core::shutdown::Shutdown;

use super::process::{self, Server, ServerError};
use super::swarm::{Guest, Swarm};
use super::system::{Frame, Peer, Step};
use crate::clock::{Nanos, RunClock, nanos};
use crate::procstat::Meter;

/// What the writer says to each socket first.
const WELCOME: &[u8] = b"J";
/// What it writes; never the same as [`WELCOME`].
const FILLING: u8 = b'x';
/// Before the port, and before the result, in what the writer prints.
const PORT: &str = "port ";
const RESULT: &str = "result ";
/// Added to how long the writer takes before it is given up.
const PATIENCE: Duration = Duration::from_secs(20);

/// What the hidden subcommand is to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::Args)]
pub struct Writer {
    /// Sockets to accept and to write to, one after the other.
    #[arg(long)]
    pub sockets: u32,
    /// Bytes of each write.
    #[arg(long)]
    pub bytes: usize,
    /// Milliseconds of writing.
    #[arg(long)]
    pub millis: u64,
}

/// What a `write` costs.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Bare {
    /// Sockets, written to one after the other.
    pub sockets: u32,
    /// Bytes of each write.
    pub bytes: usize,
    /// The repetition.
    pub repetition: u32,
    /// Writes made.
    pub writes: u64,
    /// CPU microseconds of the writing process for each.
    pub cpu_us_per_write: f64,
    /// Microseconds that passed for each.
    pub us_per_write: f64,
}

/// The writer itself: prints where it listens, takes its sockets, writes, and prints what it did.
pub fn write(writer: Writer, out: &mut impl Write) -> io::Result<()> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    writeln!(out, "{PORT}{}", listener.local_addr()?.port())?;
    out.flush()?;
    let mut sockets = Vec::new();
    for _ in 0..writer.sockets {
        let (mut socket, _) = listener.accept()?;
        socket.set_nodelay(true)?;
        socket.write_all(WELCOME)?;
        sockets.push(socket);
    }
    let filling = vec![FILLING; writer.bytes];
    let mut meter = Meter::start_own().map_err(io::Error::other)?;
    let begun = Instant::now();
    let mut writes = 0_u64;
    while begun.elapsed() < Duration::from_millis(writer.millis) {
        for socket in &mut sockets {
            socket.write_all(&filling)?;
            writes += 1;
        }
    }
    let took = nanos(begun.elapsed());
    meter.look();
    writeln!(out, "{RESULT}{writes} {took} {}", nanos(meter.cpu()))?;
    out.flush()
}

/// Starts the writer, the subcommand of `program`, on `core`, and reads what it writes.
pub(super) fn measure(
    program: &Path,
    core: usize,
    writer: Writer,
    repetition: u32,
    shutdown: &Shutdown,
) -> Result<Option<Bare>, ServerError> {
    let failed = |what| move |source| ServerError::System { what, name: "bare", source };
    let mut command = Command::new(program);
    command.arg(SUBCOMMAND);
    for (flag, value) in
        [("--sockets", writer.sockets.into()), ("--bytes", writer.bytes as u64), ("--millis", writer.millis)]
    {
        command.arg(flag).arg(value.to_string());
    }
    let dir = process::directory("bare")?;
    let mut server = Server::launch("bare", &command, core, (Ipv4Addr::LOCALHOST, 0).into(), dir)?
        .until_ready(|server| port(&server.log()).is_some())?;
    let address = (Ipv4Addr::LOCALHOST, port(&server.log()).unwrap_or_default()).into();
    let clock = RunClock::start();
    let mut swarm =
        Swarm::new(&Reader, clock, writer.sockets as usize).map_err(failed("make an event loop"))?;
    let until = nanos(PATIENCE + Duration::from_millis(writer.millis));
    while server.ended().is_none() && clock.now() < until && !shutdown.is_requested() {
        swarm.invite(address, writer.sockets as usize).map_err(failed("connect"))?;
        swarm.turn(&mut Deaf).map_err(failed("read"))?;
    }
    Ok(result(&server.log(), writer, repetition))
}

/// The name of the hidden subcommand.
pub const SUBCOMMAND: &str = "bare-writer";

fn after<'a>(log: &'a str, word: &str) -> Option<&'a str> {
    // Only a whole line: what is being printed may be cut anywhere.
    let text = &log[..log.rfind('\n')?];
    text.lines().find_map(|line| line.strip_prefix(word))
}

fn port(log: &str) -> Option<u16> {
    after(log, PORT)?.parse().ok()
}

fn result(log: &str, writer: Writer, repetition: u32) -> Option<Bare> {
    let mut numbers = after(log, RESULT)?.split(' ').map(str::parse::<u64>);
    let mut next = || numbers.next()?.ok();
    let (writes, took, cpu) = (next()?, next()?, next()?);
    let each = |nanos: u64| nanos as f64 / 1e3 / writes.max(1) as f64;
    Some(Bare {
        sockets: writer.sockets,
        bytes: writer.bytes,
        repetition,
        writes,
        cpu_us_per_write: each(cpu),
        us_per_write: each(took),
    })
}

/// Hears nothing of interest.
pub(super) struct Deaf;

impl Guest for Deaf {
    fn heard(&mut self, _member: usize, _payload: &[u8], _now: Nanos) {}
}

/// The other end of the writer's sockets.
pub(super) struct Reader;

impl Peer for Reader {
    fn name(&self) -> &'static str {
        "bare"
    }

    fn package(&self) -> &'static str {
        ""
    }

    fn program(&self) -> &'static str {
        ""
    }

    fn configuration(&self, _port: u16, _dir: &Path) -> String {
        String::new()
    }

    fn arguments(&self, _config: &Path) -> Vec<OsString> {
        Vec::new()
    }

    fn greet(&self, _member: u32, _out: &mut Vec<u8>) {}

    fn publish(&self, _payload: &[u8], _out: &mut Vec<u8>) {}

    fn parse<'a>(&self, bytes: &'a [u8]) -> Step<'a> {
        match bytes {
            [] => Step::More,
            _ if bytes.starts_with(WELCOME) => Step::Frame(WELCOME.len(), Frame::Joined),
            _ => Step::Frame(bytes.len(), Frame::Other),
        }
    }
}

/// This program, whose subcommand the writer is.
pub fn own_program() -> io::Result<PathBuf> {
    std::env::current_exe()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_writer_prints_is_understood() {
        let writer = Writer { sockets: 2, bytes: 128, millis: 10 };
        assert_eq!(port("port 123"), None, "not the whole line");
        assert_eq!(port("port 1234\n"), Some(1234));
        assert_eq!(result("port 1\n", writer, 1), None);
        let bare = result("port 1\nresult 1000 6000000 5000000\n", writer, 2).expect("complete");
        assert_eq!(
            (bare.writes, bare.us_per_write, bare.cpu_us_per_write, bare.repetition),
            (1000, 6.0, 5.0, 2)
        );
    }

    #[test]
    fn the_writer_writes_to_all_its_sockets() {
        let (mut reader, mut out) = io::pipe().expect("a pipe");
        let thread = std::thread::spawn(move || {
            write(Writer { sockets: 3, bytes: 10, millis: 30 }, &mut out).expect("somebody reads");
        });
        let mut line = String::new();
        io::BufRead::read_line(&mut io::BufReader::new(&mut reader), &mut line).expect("it prints");
        let address = (Ipv4Addr::LOCALHOST, port(&line).expect("the port"));
        let sockets = [(); 3].map(|()| std::net::TcpStream::connect(address).expect("it listens"));
        let read = sockets.map(|mut socket| {
            std::thread::spawn(move || {
                let mut all = Vec::new();
                io::Read::read_to_end(&mut socket, &mut all).expect("it closes in order");
                all.len()
            })
        });
        let lengths = read.map(|thread| thread.join().expect("it reads"));
        thread.join().expect("it ends");
        assert!(lengths.iter().all(|length| *length > 10 && *length == lengths[0]), "{lengths:?}");
    }
}
