//! What a delivery cannot cost less than: a process that does nothing but `write` to as many sockets.
//!
//! Once as fast as it can, so that the reader never sleeps; and once at the pace of a case, as a server has to, with pauses in
//! which both sides fall asleep and have to be woken up again.

use std::ffi::OsString;
use std::io::{self, Write};
use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use rustix::time::{ClockId, clock_gettime};
use serde::Serialize;
use throng_core::shutdown::Shutdown;

use super::process::{self, Server, ServerError};
use super::swarm::{Guest, Swarm};
use super::system::{Frame, Peer, Step};
use crate::clock::{Nanos, RunClock, nanos};

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
    /// Microseconds from one round over all sockets to the next, by an absolute schedule; 0 for none.
    #[arg(long, default_value_t = 0)]
    pub interval_us: u64,
}

/// What a `write` costs.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Bare {
    /// Sockets, written to one after the other.
    pub sockets: u32,
    /// Bytes of each write.
    pub bytes: usize,
    /// The case whose pace it kept; null when it wrote as fast as it could.
    pub case: Option<char>,
    /// Messages in each write.
    pub batch: usize,
    /// The repetition.
    pub repetition: u32,
    /// Writes made.
    pub writes: u64,
    /// CPU microseconds of the writing process for each.
    pub cpu_us_per_write: f64,
    /// Microseconds that passed for each.
    pub us_per_write: f64,
}

/// What is to be measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Round {
    /// The pace: that of a case, or none.
    pub case: Option<(char, Duration)>,
    /// Sockets to write to.
    pub sockets: u32,
    /// Messages in each write.
    pub batch: usize,
    /// Bytes of each message.
    pub payload: usize,
    /// Milliseconds of writing.
    pub millis: u64,
    /// The repetition.
    pub repetition: u32,
}

impl Round {
    fn writer(&self) -> Writer {
        let interval = self.case.map_or(Duration::ZERO, |(_, interval)| interval * self.batch as u32);
        Writer {
            sockets: self.sockets,
            bytes: self.batch * self.payload,
            millis: self.millis,
            interval_us: interval.as_micros() as u64,
        }
    }
}

/// How many messages a write must take with it for the rounds over all sockets to keep up with the messages: as many as come
/// while one round is under way.
pub(super) fn batch_for(interval: Duration, sockets: u32, us_per_write: f64) -> usize {
    let round = Duration::from_secs_f64(us_per_write.max(0.0) * f64::from(sockets) / 1e6);
    usize::try_from(round.as_nanos().div_ceil(interval.as_nanos().max(1))).unwrap_or(usize::MAX).max(1)
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
    let interval = Duration::from_micros(writer.interval_us);
    let cpu_before = cpu();
    let begun = Instant::now();
    let mut writes = 0_u64;
    for round in 0_u32.. {
        // A round that is late follows at once, as messages do that have waited.
        std::thread::sleep((interval * round).saturating_sub(begun.elapsed()));
        if begun.elapsed() >= Duration::from_millis(writer.millis) {
            break;
        }
        for socket in &mut sockets {
            socket.write_all(&filling)?;
            writes += 1;
        }
    }
    let took = nanos(begun.elapsed());
    writeln!(out, "{RESULT}{writes} {took} {}", nanos(cpu().saturating_sub(cpu_before)))?;
    out.flush()
}

/// CPU time that this process has used, to the nanosecond.
fn cpu() -> Duration {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    Duration::new(time.tv_sec.unsigned_abs(), u32::try_from(time.tv_nsec).unwrap_or(0))
}

/// Starts the writer, the subcommand of `program`, on `core`, and reads what it writes.
pub(super) fn measure(
    program: &Path,
    core: usize,
    round: Round,
    shutdown: &Shutdown,
) -> Result<Option<Bare>, ServerError> {
    let writer = round.writer();
    let failed = |what| move |source| ServerError::System { what, name: "bare", source };
    let mut command = Command::new(program);
    command.arg(SUBCOMMAND);
    for (flag, value) in [
        ("--sockets", writer.sockets.into()),
        ("--bytes", writer.bytes as u64),
        ("--millis", writer.millis),
        ("--interval-us", writer.interval_us),
    ] {
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
    Ok(result(&server.log(), round))
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

fn result(log: &str, round: Round) -> Option<Bare> {
    let mut numbers = after(log, RESULT)?.split(' ').map(str::parse::<u64>);
    let mut next = || numbers.next()?.ok();
    let (writes, took, cpu) = (next()?, next()?, next()?);
    let each = |nanos: u64| nanos as f64 / 1e3 / writes.max(1) as f64;
    Some(Bare {
        sockets: round.sockets,
        bytes: round.batch * round.payload,
        case: round.case.map(|(letter, _)| letter),
        batch: round.batch,
        repetition: round.repetition,
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
        let round = Round { case: None, sockets: 2, batch: 1, payload: 128, millis: 10, repetition: 2 };
        assert_eq!(port("port 123"), None, "not the whole line");
        assert_eq!(port("port 1234\n"), Some(1234));
        assert_eq!(result("port 1\n", round), None);
        let bare = result("port 1\nresult 1000 6000000 5000000\n", round).expect("complete");
        assert_eq!(
            (bare.writes, bare.us_per_write, bare.cpu_us_per_write, bare.repetition),
            (1000, 6.0, 5.0, 2)
        );
    }

    #[test]
    fn a_write_takes_as_many_messages_as_come_during_a_round() {
        let millis = Duration::from_millis;
        assert_eq!(batch_for(millis(10), 1_000, 7.0), 1);
        assert_eq!(batch_for(millis(4), 1_000, 7.0), 2);
        assert_eq!(batch_for(millis(30), 9_000, 9.8), 3);
        assert_eq!((batch_for(millis(1), 1_000, 0.0), batch_for(millis(1), 1_000, f64::NAN)), (1, 1));
    }

    /// How much each of three sockets was written.
    fn written(millis: u64, interval_us: u64) -> [usize; 3] {
        let (mut reader, mut out) = io::pipe().expect("a pipe");
        let thread = std::thread::spawn(move || {
            write(Writer { sockets: 3, bytes: 10, millis, interval_us }, &mut out).expect("somebody reads");
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
        lengths
    }

    #[test]
    fn the_writer_writes_to_all_its_sockets() {
        let lengths = written(30, 0);
        assert!(lengths.iter().all(|length| *length > 10 && *length == lengths[0]), "{lengths:?}");
    }

    #[test]
    fn a_paced_writer_keeps_its_pace() {
        // Rounds at 0, 10 and 20 ms, and the welcome.
        assert!(written(30, 10_000).iter().all(|length| *length <= 3 * 10 + WELCOME.len()));
    }
}
