//! CPU time and memory of a process, from /proc.

use std::time::Duration;
use std::{fs, io};

use serde::{Deserialize, Serialize};
use thiserror::Error;

/// Clock ticks in a second of /proc's CPU times. It is 100 on every Linux that Rust runs on
/// (the kernel's USER_HZ is part of its interface and does not follow its own timer).
const TICKS_PER_SECOND: u64 = 100;

/// Why a process cannot be observed.
#[derive(Debug, Error)]
pub enum ProcError {
    /// Its files cannot be read.
    #[error("cannot read {path}: {source}; is process {pid} running, and on this machine?")]
    Read {
        /// The process.
        pid: u32,
        /// The file.
        path: String,
        /// What the system says.
        source: io::Error,
    },
    /// Its files have another form than Linux documents.
    #[error("{path} has no {field} where proc(5) says it is")]
    Form {
        /// The file.
        path: String,
        /// What was looked for.
        field: &'static str,
    },
}

impl ProcError {
    /// Whether there is no such process.
    pub fn is_gone(&self) -> bool {
        matches!(self, Self::Read { source, .. } if source.kind() == io::ErrorKind::NotFound)
    }
}

/// A process at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sample {
    /// CPU time used so far, user and system, to 10 ms.
    pub cpu: Duration,
    /// Resident memory in bytes.
    pub rss_bytes: u64,
    /// When it began, in ticks after boot: tells it from another process with its number.
    began: u64,
    /// Whether it has ended, and nobody has waited for it yet.
    has_ended: bool,
}

/// Looks at process `pid`.
pub fn sample(pid: u32) -> Result<Sample, ProcError> {
    let read = |name| {
        let path = format!("/proc/{pid}/{name}");
        match fs::read_to_string(&path) {
            Ok(text) => Ok((path, text)),
            Err(source) => Err(ProcError::Read { pid, path, source }),
        }
    };
    let (path, stat) = read("stat")?;
    let (cpu_ticks, began, has_ended) =
        parse_stat(&stat).ok_or(ProcError::Form { path, field: "utime, stime and starttime" })?;
    let (path, status) = read("status")?;
    let rss_bytes = parse_rss(&status).ok_or(ProcError::Form { path, field: "VmRSS" })?;
    let cpu = Duration::from_millis(cpu_ticks.saturating_mul(1000 / TICKS_PER_SECOND));
    Ok(Sample { cpu, rss_bytes, began, has_ended })
}

/// CPU ticks used, starting time, and whether the process has ended, in /proc/PID/stat.
fn parse_stat(stat: &str) -> Option<(u64, u64, bool)> {
    // The second field is the program's name in parentheses, which may itself hold spaces and
    // parentheses: everything after the last one is plain.
    let (_, rest) = stat.rsplit_once(')')?;
    let mut fields = rest.split_ascii_whitespace();
    // `rest` begins with field 3, the state; utime is 14, stime 15, starttime 22.
    let has_ended = matches!(fields.next()?, "Z" | "X" | "x");
    let mut number = |skip: usize| fields.nth(skip)?.parse::<u64>().ok();
    let (user, system, began) = (number(10)?, number(0)?, number(6)?);
    Some((user.saturating_add(system), began, has_ended))
}

/// Resident bytes in /proc/PID/status.
fn parse_rss(status: &str) -> Option<u64> {
    // A process that has exited but was not waited for has no memory lines.
    let Some(line) = status.lines().find_map(|line| line.strip_prefix("VmRSS:")) else {
        return status.contains("\nState:").then_some(0);
    };
    line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()?.checked_mul(1024)
}

/// A process's open files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Files {
    /// All of them, sockets included.
    pub open: u64,
    /// Of these, sockets.
    pub sockets: u64,
    /// How many it may have at a time; none for no limit.
    pub max: Option<u64>,
}

/// Looks at the open files of process `pid`, which must be this user's.
pub fn files(pid: u32) -> Result<Files, ProcError> {
    let path = format!("/proc/{pid}/fd");
    let failed = |path: &str| {
        let path = path.to_owned();
        move |source| ProcError::Read { pid, path, source }
    };
    let mut files = Files { open: 0, sockets: 0, max: None };
    for entry in fs::read_dir(&path).map_err(failed(&path))?.flatten() {
        files.open += 1;
        // One that has been closed since is no socket.
        let target = fs::read_link(entry.path()).unwrap_or_default();
        files.sockets += u64::from(target.as_os_str().as_encoded_bytes().starts_with(b"socket:"));
    }
    let path = format!("/proc/{pid}/limits");
    let limits = fs::read_to_string(&path).map_err(failed(&path))?;
    files.max = parse_files_max(&limits);
    Ok(files)
}

/// The soft limit on open files in /proc/PID/limits.
fn parse_files_max(limits: &str) -> Option<u64> {
    let line = limits.lines().find_map(|line| line.strip_prefix("Max open files"))?;
    line.split_ascii_whitespace().next()?.parse().ok()
}

/// What a process used during a run.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "testing", derive(schemars::JsonSchema))]
#[serde(default)]
pub struct Usage {
    /// The process.
    pub pid: u32,
    /// CPU seconds used between the first look and the last.
    pub cpu_s: f64,
    /// Resident bytes at the last look.
    pub rss_bytes: u64,
    /// Resident bytes at the first look.
    pub rss_start_bytes: u64,
    /// Most resident bytes at any look.
    pub rss_peak_bytes: u64,
    /// Whether the process was there to the end.
    pub alive: bool,
}

/// Follows one process through a run.
#[derive(Debug)]
pub struct Meter {
    pid: u32,
    first: Sample,
    last: Sample,
    rss_peak_bytes: u64,
    alive: bool,
}

impl Meter {
    /// Takes the first look at process `pid`.
    pub fn start(pid: u32) -> Result<Self, ProcError> {
        let first = sample(pid)?;
        Ok(Self { pid, first, last: first, rss_peak_bytes: first.rss_bytes, alive: true })
    }

    /// Takes the first look at this process itself.
    pub fn start_own() -> Result<Self, ProcError> {
        Self::start(std::process::id())
    }

    /// Looks again. A process that is gone keeps its last figures.
    pub fn look(&mut self) -> &Sample {
        match sample(self.pid) {
            Ok(now) if now.began == self.first.began && !now.has_ended => {
                self.last = now;
                self.rss_peak_bytes = self.rss_peak_bytes.max(now.rss_bytes);
            }
            _ => self.alive = false,
        }
        &self.last
    }

    /// CPU time between the first look and the last.
    pub fn cpu(&self) -> Duration {
        self.last.cpu.saturating_sub(self.first.cpu)
    }

    /// Begins anew, for the part of a run that counts.
    pub fn reset(&mut self) {
        self.first = *self.look();
        self.rss_peak_bytes = self.first.rss_bytes;
    }

    /// What was seen so far.
    pub fn usage(&self) -> Usage {
        Usage {
            pid: self.pid,
            cpu_s: self.cpu().as_secs_f64(),
            rss_bytes: self.last.rss_bytes,
            rss_start_bytes: self.first.rss_bytes,
            rss_peak_bytes: self.rss_peak_bytes,
            alive: self.alive,
        }
    }
}

/// Follows several processes as if they were one: the harness's own.
#[derive(Debug)]
pub struct Meters {
    /// This process first.
    meters: Vec<Meter>,
    rss_peak_bytes: u64,
}

impl Meters {
    /// Takes the first look at this process.
    pub fn start_own() -> Result<Self, ProcError> {
        let own = Meter::start_own()?;
        Ok(Self { rss_peak_bytes: own.last.rss_bytes, meters: vec![own] })
    }

    /// Follows process `pid` too, from its beginning.
    pub fn add(&mut self, pid: u32) -> Result<(), ProcError> {
        self.meters.push(Meter::start(pid)?);
        Ok(())
    }

    /// Looks again at all of them, and sums them up. One that is gone keeps its last figures.
    pub fn look(&mut self) -> Sample {
        let mut sum = Sample { cpu: Duration::ZERO, rss_bytes: 0, ..self.meters[0].first };
        for meter in &mut self.meters {
            let sample = meter.look();
            sum.cpu += sample.cpu;
            sum.rss_bytes += sample.rss_bytes;
        }
        self.rss_peak_bytes = self.rss_peak_bytes.max(sum.rss_bytes);
        sum
    }

    /// Begins anew, for the part of a run that counts.
    pub fn reset(&mut self) {
        self.meters.iter_mut().for_each(Meter::reset);
        self.rss_peak_bytes = self.meters.iter().map(|meter| meter.last.rss_bytes).sum();
    }

    /// What was seen so far, of all together; the process is this one.
    pub fn usage(&self) -> Usage {
        let usages = || self.meters.iter().map(Meter::usage);
        Usage {
            pid: std::process::id(),
            cpu_s: usages().map(|usage| usage.cpu_s).sum(),
            rss_bytes: usages().map(|usage| usage.rss_bytes).sum(),
            rss_start_bytes: usages().map(|usage| usage.rss_start_bytes).sum(),
            rss_peak_bytes: self.rss_peak_bytes,
            alive: usages().all(|usage| usage.alive),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::hint::black_box;
    use std::time::Instant;

    use super::*;

    #[test]
    fn stat_lines() {
        let check = |stat: &str, parsed| assert_eq!(parse_stat(stat), parsed, "{stat}");
        let rest = "S 1 2 3 4 5 6 7 8 9 10 70 30 0 0 20 0 4 0 12345 999 1";
        check(&format!("42 (throng) {rest}"), Some((100, 12_345, false)));
        check(&format!("42 (a) b (c)) {rest}"), Some((100, 12_345, false)));
        check(&format!("42 (throng) {}", rest.replace('S', "Z")), Some((100, 12_345, true)));
        check("42 (throng) S 1 2", None);
        check("", None);
        check(&format!("42 (x) {}", rest.replace("70", "x")), None);
    }

    #[test]
    fn memory_lines() {
        let check = |status: &str, parsed| assert_eq!(parse_rss(status), parsed, "{status}");
        check("Name:\tx\nVmRSS:\t   5012 kB\nThreads:\t1\n", Some(5012 * 1024));
        check("Name:\tx\nState:\tZ (zombie)\n", Some(0));
        check("VmRSS:\tmuch\n", None);
        check("", None);
    }

    #[test]
    fn limits_on_files() {
        let check = |limits: &str, parsed| assert_eq!(parse_files_max(limits), parsed, "{limits}");
        check(
            "Limit  Soft  Hard  Units\nMax open files            1024                 4096  files\n",
            Some(1024),
        );
        check("Max open files            unlimited            unlimited            files\n", None);
        check("Max processes 5 5\n", None);
    }

    #[test]
    fn this_process_has_files_and_a_socket_more_when_it_listens() {
        let own = || files(std::process::id()).expect("this process runs");
        let before = own();
        // Other tests open and close sockets meanwhile; not so many.
        let listeners: Vec<_> =
            (0..200).map(|_| std::net::TcpListener::bind("127.0.0.1:0").expect("a free port")).collect();
        let now = own();
        assert!(now.sockets > before.sockets + 50 && now.open >= now.sockets, "{before:?} {now:?}");
        assert!(now.max.is_none_or(|max| max >= now.open), "{now:?}");
        drop(listeners);
        assert!(files(u32::MAX).is_err());
    }

    #[test]
    fn this_process_uses_cpu_and_memory() {
        let mut meter = Meter::start_own().expect("this process runs");
        let begun = Instant::now();
        while meter.cpu().is_zero() && begun.elapsed() < Duration::from_secs(10) {
            black_box((0..100_000_u64).map(black_box).sum::<u64>());
            meter.look();
        }
        let usage = meter.usage();
        assert!(usage.alive && usage.cpu_s > 0.0, "{usage:?}");
        assert!(usage.rss_bytes > 100_000 && usage.rss_peak_bytes >= usage.rss_bytes, "{usage:?}");
    }

    #[test]
    fn several_processes_are_summed_up() {
        let mut child = std::process::Command::new("sleep").arg("60").spawn().expect("sleep is everywhere");
        let mut meters = Meters::start_own().expect("this process runs");
        let alone = meters.look().rss_bytes;
        meters.add(child.id()).expect("it runs");
        let both = meters.look().rss_bytes;
        let usage = meters.usage();
        assert!(both > alone / 2 && usage.rss_peak_bytes >= both, "{alone} {usage:?}");
        assert_eq!((usage.pid, usage.rss_bytes, usage.alive), (std::process::id(), both, true));
        child.kill().expect("it is ours");
        child.wait().expect("it is ours");
        meters.reset();
        assert!(!meters.usage().alive && meters.usage().cpu_s < 1.0);
    }

    #[test]
    fn a_process_that_ends_keeps_its_figures() {
        let mut child = std::process::Command::new("sleep").arg("60").spawn().expect("sleep is everywhere");
        let mut meter = Meter::start(child.id()).expect("it runs");
        meter.look();
        child.kill().expect("it is ours");
        child.wait().expect("it is ours");
        meter.look();
        assert!(!meter.usage().alive && meter.usage().rss_bytes > 0, "{:?}", meter.usage());
        let error = Meter::start(child.id()).unwrap_err().to_string();
        assert!(error.contains("is process"), "{error}");
    }
}
