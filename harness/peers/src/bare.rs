//! The least cost of a delivery: a process that does nothing but `write` to as many sockets.
//!
//! The writer runs unpaced, so that the reader never sleeps, and then at the pace of a case, as a
//! server does. The paced writer goes round its sockets, writes to each the messages due since its
//! last write, and sleeps when no socket lacks any. So both sides sleep and wake, and a write takes
//! along the messages due meanwhile.

use std::ffi::OsString;
use std::io::{self, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use rustix::time::{ClockId, clock_gettime};
use serde::{Deserialize, Serialize};
use throng_core::shutdown::Shutdown;
use throng_harness_model::clock::{Nanos, RunClock, nanos};

use super::clients::{Clients, Handler};
use super::process::{self, Server, ServerError};
use super::system::{Frame, Peer, Step};

/// First bytes written to each socket.
const WELCOME: &[u8] = b"J";
/// Byte written after that; not contained in [`WELCOME`].
const FILLING: u8 = b'x';
/// Prefixes of the lines with the port and with the result in the writer's output.
const PORT: &str = "port ";
const RESULT: &str = "result ";
/// Most messages in one paced write.
const BATCH_MAX: usize = 256;
/// Time beyond its planned duration after which the writer is abandoned.
const PATIENCE: Duration = Duration::from_secs(20);

/// Parameters of the hidden subcommand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Writer {
    /// Sockets to accept, and to write to in turn.
    pub sockets: u32,
    /// Bytes of each write, or of each message if there is an interval.
    pub bytes: usize,
    /// Milliseconds of writing.
    pub millis: u64,
    /// Microseconds between two messages to all sockets; 0 to write as fast as possible.
    pub interval_us: u64,
}

/// The cost of a `write`.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Bare {
    /// Sockets, written to in turn.
    pub sockets: u32,
    /// Bytes of each write, or of each message at the pace of a case.
    pub bytes: usize,
    /// The case whose pace was kept; null if unpaced.
    pub case: Option<char>,
    /// The repetition.
    pub repetition: u32,
    /// Writes made.
    pub writes: u64,
    /// Messages written, once for every socket; equal to `writes` if unpaced. 0 in reports of
    /// earlier versions, which lack it.
    #[serde(default)]
    pub deliveries: u64,
    /// CPU microseconds of the writing process for each write.
    pub cpu_us_per_write: f64,
    /// CPU microseconds of the writing process for each delivery; 0 in reports of earlier versions.
    #[serde(default)]
    pub cpu_us_per_delivery: f64,
    /// Microseconds of elapsed time for each write.
    pub us_per_write: f64,
}

/// A measurement to make.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Measure {
    /// The case whose pace is kept, and the interval of its messages.
    pub case: Option<(char, Duration)>,
    /// Sockets to write to.
    pub sockets: u32,
    /// Bytes of each write, or of each message at the pace of a case.
    pub bytes: usize,
    /// Milliseconds of writing.
    pub millis: u64,
    /// The repetition.
    pub repetition: u32,
}

impl Measure {
    fn writer(&self) -> Writer {
        let interval_us = self.case.map_or(0, |(_, interval)| interval.as_micros() as u64);
        Writer { sockets: self.sockets, bytes: self.bytes, millis: self.millis, interval_us }
    }
}

/// Numbers of writes and of messages written.
#[derive(Debug, Default)]
struct Written {
    writes: u64,
    deliveries: u64,
}

/// Runs the writer: prints the port, accepts the sockets, writes, and prints the result.
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
    let cpu_before = cpu();
    let begun = Instant::now();
    let time = Duration::from_millis(writer.millis);
    let Written { writes, deliveries } = match writer.interval_us {
        0 => write_unpaced(&mut sockets, writer.bytes, begun, time)?,
        micros => write_paced(&mut sockets, writer.bytes, begun, time, Duration::from_micros(micros))?,
    };
    let took = nanos(begun.elapsed());
    writeln!(out, "{RESULT}{writes} {deliveries} {took} {}", nanos(cpu().saturating_sub(cpu_before)))?;
    out.flush()
}

/// Writes to the sockets in turn without a pause.
fn write_unpaced(
    sockets: &mut [TcpStream],
    bytes: usize,
    begun: Instant,
    time: Duration,
) -> io::Result<Written> {
    let filling = vec![FILLING; bytes];
    let mut writes = 0;
    while begun.elapsed() < time {
        for socket in &mut *sockets {
            socket.write_all(&filling)?;
            writes += 1;
        }
    }
    Ok(Written { writes, deliveries: writes })
}

/// Writes to every socket all messages that become due within `time`.
fn write_paced(
    sockets: &mut [TcpStream],
    bytes: usize,
    begun: Instant,
    time: Duration,
    interval: Duration,
) -> io::Result<Written> {
    let filling = vec![FILLING; bytes * BATCH_MAX];
    let messages = time.as_nanos().div_ceil(interval.as_nanos()) as usize;
    let mut written_to = vec![0; sockets.len()];
    let mut written = Written::default();
    // Consecutive sockets that lacked no message.
    let mut quiet = 0;
    for at in (0..sockets.len()).cycle() {
        let due = ((begun.elapsed().as_nanos() / interval.as_nanos()) as usize + 1).min(messages);
        let lacks = (due - written_to[at]).min(BATCH_MAX);
        if lacks > 0 {
            sockets[at].write_all(&filling[..lacks * bytes])?;
            written_to[at] += lacks;
            written.writes += 1;
            written.deliveries += lacks as u64;
            quiet = 0;
            continue;
        }
        quiet += 1;
        if quiet == sockets.len() {
            if due == messages {
                break;
            }
            std::thread::sleep((interval * due as u32).saturating_sub(begun.elapsed()));
            quiet = 0;
        }
    }
    Ok(written)
}

/// CPU time of this process, to the nanosecond.
fn cpu() -> Duration {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    Duration::new(time.tv_sec.unsigned_abs(), u32::try_from(time.tv_nsec).unwrap_or(0))
}

/// Starts the writer, a subcommand of `program`, on `core`, and reads what it writes. Returns none
/// if the writer prints no result in time.
pub(super) fn measure(
    program: &Path,
    core: usize,
    measure: Measure,
    shutdown: &Shutdown,
) -> Result<Option<Bare>, ServerError> {
    let writer = measure.writer();
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
    let mut clients =
        Clients::new(&Reader, clock, writer.sockets as usize).map_err(failed("make an event loop"))?;
    let until = nanos(PATIENCE + Duration::from_millis(writer.millis));
    while server.exit_status().is_none() && clock.now() < until && !shutdown.is_requested() {
        clients.connect(address, writer.sockets as usize).map_err(failed("connect"))?;
        clients.turn(&mut NullHandler).map_err(failed("read"))?;
    }
    Ok(result(&server.log(), measure))
}

/// The name of the hidden subcommand.
pub const SUBCOMMAND: &str = "bare-writer";

fn after<'a>(log: &'a str, word: &str) -> Option<&'a str> {
    // Only whole lines: the last one may be cut off.
    let text = &log[..log.rfind('\n')?];
    text.lines().find_map(|line| line.strip_prefix(word))
}

fn port(log: &str) -> Option<u16> {
    after(log, PORT)?.parse().ok()
}

fn result(log: &str, measure: Measure) -> Option<Bare> {
    let mut numbers = after(log, RESULT)?.split(' ').map(str::parse::<u64>);
    let mut next = || numbers.next()?.ok();
    let (writes, deliveries, took, cpu) = (next()?, next()?, next()?, next()?);
    let micros = |nanos: u64, count: u64| nanos as f64 / 1e3 / count.max(1) as f64;
    Some(Bare {
        sockets: measure.sockets,
        bytes: measure.bytes,
        case: measure.case.map(|(letter, _)| letter),
        repetition: measure.repetition,
        writes,
        deliveries,
        cpu_us_per_write: micros(cpu, writes),
        cpu_us_per_delivery: micros(cpu, deliveries),
        us_per_write: micros(took, writes),
    })
}

/// A handler that ignores everything.
pub(super) struct NullHandler;

impl Handler for NullHandler {
    fn received(&mut self, _member: usize, _payload: &[u8], _now: Nanos) {}
}

/// The protocol of the writer's sockets.
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_writers_output_is_parsed() {
        let measure = Measure { case: None, sockets: 2, bytes: 128, millis: 10, repetition: 2 };
        assert_eq!(port("port 123"), None, "not the whole line");
        assert_eq!(port("port 1234\n"), Some(1234));
        assert_eq!(result("port 1\n", measure), None);
        let bare = result("port 1\nresult 1000 4000 6000000 5000000\n", measure).expect("complete");
        assert_eq!(
            (
                bare.writes,
                bare.us_per_write,
                bare.cpu_us_per_write,
                bare.cpu_us_per_delivery,
                bare.repetition
            ),
            (1000, 6.0, 5.0, 1.25, 2)
        );
    }

    /// Runs the writer with three sockets and returns the bytes that each received.
    fn written(millis: u64, interval_us: u64) -> [usize; 3] {
        let (mut reader, mut out) = io::pipe().expect("a pipe");
        let thread = std::thread::spawn(move || {
            write(Writer { sockets: 3, bytes: 10, millis, interval_us }, &mut out).expect("the pipe is read");
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
    fn a_paced_writer_writes_what_is_due() {
        // Messages are due at 0, 10 and 20 ms, after the welcome.
        assert_eq!(written(30, 10_000), [3 * 10 + WELCOME.len(); 3]);
        assert_eq!(written(30, 10), [3_000 * 10 + WELCOME.len(); 3]);
    }
}
