//! CPU time, memory and open files of a process, from /proc.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use procfs::process::{LimitValue, Process};
use serde::{Deserialize, Serialize};
use thiserror::Error;

/// An error in observing a process.
#[derive(Debug, Error)]
#[error("cannot observe process {pid}: {source}; is it running, and on this machine?")]
pub struct ProcError {
    /// The process.
    pid: u32,
    /// The file in question, and the system's error.
    source: procfs::ProcError,
}

impl ProcError {
    /// True if there is no such process.
    pub fn is_gone(&self) -> bool {
        matches!(self.source, procfs::ProcError::NotFound(_))
    }
}

/// Reads from the directory of process `pid` in /proc.
fn read<T>(pid: u32, read: impl FnOnce(&Process) -> procfs::ProcResult<T>) -> Result<T, ProcError> {
    let process = Process::new_with_root(PathBuf::from(format!("/proc/{pid}")));
    process.and_then(|process| read(&process)).map_err(|source| ProcError { pid, source })
}

/// The state of a process at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sample {
    /// CPU time used, user and system, in steps of 10 ms.
    pub cpu: Duration,
    /// Resident memory in bytes.
    pub rss_bytes: u64,
    /// Start time in ticks since boot; tells the process from a later one with the same number.
    start_ticks: u64,
    /// True for a process that has exited and has not been reaped.
    has_ended: bool,
}

/// Samples process `pid`.
pub fn sample(pid: u32) -> Result<Sample, ProcError> {
    let (stat, status) = read(pid, |process| Ok((process.stat()?, process.status()?)))?;
    let ticks = stat.utime.saturating_add(stat.stime);
    Ok(Sample {
        cpu: Duration::from_millis(ticks.saturating_mul(1000 / procfs::ticks_per_second())),
        // A process that has exited and has not been reaped has no memory lines.
        rss_bytes: status.vmrss.unwrap_or(0).saturating_mul(1024),
        start_ticks: stat.starttime,
        has_ended: matches!(stat.state, 'Z' | 'X' | 'x'),
    })
}

/// The open files of a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Files {
    /// All open files, sockets included.
    pub open: u64,
    /// Open sockets.
    pub sockets: u64,
    /// The limit on open files; none if there is none.
    pub max: Option<u64>,
}

/// Counts the open files of process `pid`, which must belong to this user.
pub fn files(pid: u32) -> Result<Files, ProcError> {
    let limits = read(pid, Process::limits)?;
    let max = match limits.max_open_files.soft_limit {
        LimitValue::Value(max) => Some(max),
        LimitValue::Unlimited => None,
    };
    let mut files = Files { open: 0, sockets: 0, max };
    // `Process::fd` opens each file and asks for its mode too, which takes twice as long:
    // noticeable with 10,000 sockets.
    let entries = fs::read_dir(format!("/proc/{pid}/fd"));
    for entry in entries.map_err(|error| ProcError { pid, source: error.into() })?.flatten() {
        files.open += 1;
        // A file that has been closed meanwhile does not count as a socket.
        let target = fs::read_link(entry.path()).unwrap_or_default();
        files.sockets += u64::from(target.as_os_str().as_encoded_bytes().starts_with(b"socket:"));
    }
    Ok(files)
}

/// Resources that a process used during a run.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "testing", derive(schemars::JsonSchema))]
#[serde(default)]
pub struct Usage {
    /// The process.
    pub pid: u32,
    /// CPU seconds used between the first sample and the last.
    pub cpu_s: f64,
    /// Resident bytes at the last sample.
    pub rss_bytes: u64,
    /// Resident bytes at the first sample.
    pub rss_start_bytes: u64,
    /// The most resident bytes at any sample.
    pub rss_peak_bytes: u64,
    /// True if the process ran until the end.
    pub alive: bool,
}

/// Samples one process throughout a run.
#[derive(Debug)]
pub struct Meter {
    pid: u32,
    first: Sample,
    last: Sample,
    rss_peak_bytes: u64,
    alive: bool,
}

impl Meter {
    /// Takes the first sample of process `pid`.
    pub fn start(pid: u32) -> Result<Self, ProcError> {
        let first = sample(pid)?;
        Ok(Self { pid, first, last: first, rss_peak_bytes: first.rss_bytes, alive: true })
    }

    /// Takes the first sample of this process.
    pub fn start_own() -> Result<Self, ProcError> {
        Self::start(std::process::id())
    }

    /// Takes another sample. A process that has ended keeps its last one.
    pub fn sample(&mut self) -> &Sample {
        match sample(self.pid) {
            Ok(now) if now.start_ticks == self.first.start_ticks && !now.has_ended => {
                self.last = now;
                self.rss_peak_bytes = self.rss_peak_bytes.max(now.rss_bytes);
            }
            _ => self.alive = false,
        }
        &self.last
    }

    /// CPU time between the first sample and the last.
    pub fn cpu(&self) -> Duration {
        self.last.cpu.saturating_sub(self.first.cpu)
    }

    /// Starts over with a new first sample, for the measured part of a run.
    pub fn reset(&mut self) {
        self.first = *self.sample();
        self.rss_peak_bytes = self.first.rss_bytes;
    }

    /// The resources used between the first sample and the last.
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

/// Samples several processes and adds them up: those of the harness.
#[derive(Debug)]
pub struct Meters {
    /// The meters of all processes, this one first.
    meters: Vec<Meter>,
    rss_peak_bytes: u64,
}

impl Meters {
    /// Takes the first sample of this process.
    pub fn start_own() -> Result<Self, ProcError> {
        let own = Meter::start_own()?;
        Ok(Self { rss_peak_bytes: own.last.rss_bytes, meters: vec![own] })
    }

    /// Adds process `pid` and takes its first sample.
    pub fn add(&mut self, pid: u32) -> Result<(), ProcError> {
        self.meters.push(Meter::start(pid)?);
        Ok(())
    }

    /// Takes another sample of all processes and returns the sum. A process that has ended keeps
    /// its last sample.
    pub fn sample(&mut self) -> Sample {
        let mut sum = Sample { cpu: Duration::ZERO, rss_bytes: 0, ..self.meters[0].first };
        for meter in &mut self.meters {
            let sample = meter.sample();
            sum.cpu += sample.cpu;
            sum.rss_bytes += sample.rss_bytes;
        }
        self.rss_peak_bytes = self.rss_peak_bytes.max(sum.rss_bytes);
        sum
    }

    /// Starts over with new first samples, for the measured part of a run.
    pub fn reset(&mut self) {
        self.meters.iter_mut().for_each(Meter::reset);
        self.rss_peak_bytes = self.meters.iter().map(|meter| meter.last.rss_bytes).sum();
    }

    /// The resources used by all processes together; `pid` is this one's.
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
    fn listening_opens_a_socket_more() {
        let own = || files(std::process::id()).expect("this process runs");
        let before = own();
        // Other tests open and close sockets meanwhile, but fewer than the margin.
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
        let started = Instant::now();
        while meter.cpu().is_zero() && started.elapsed() < Duration::from_secs(10) {
            black_box((0..100_000_u64).map(black_box).sum::<u64>());
            meter.sample();
        }
        let usage = meter.usage();
        assert!(usage.alive && usage.cpu_s > 0.0, "{usage:?}");
        assert!(usage.rss_bytes > 100_000 && usage.rss_peak_bytes >= usage.rss_bytes, "{usage:?}");
    }

    #[test]
    fn several_processes_are_added_up() {
        let mut child = std::process::Command::new("sleep").arg("60").spawn().expect("sleep exists");
        let mut meters = Meters::start_own().expect("this process runs");
        let alone = meters.sample().rss_bytes;
        meters.add(child.id()).expect("the child runs");
        let both = meters.sample().rss_bytes;
        let usage = meters.usage();
        assert!(both > alone / 2 && usage.rss_peak_bytes >= both, "{alone} {usage:?}");
        assert_eq!((usage.pid, usage.rss_bytes, usage.alive), (std::process::id(), both, true));
        child.kill().expect("our child");
        child.wait().expect("our child");
        meters.reset();
        assert!(!meters.usage().alive && meters.usage().cpu_s < 1.0);
    }

    #[test]
    fn a_process_that_ends_keeps_its_figures() {
        let mut child = std::process::Command::new("sleep").arg("60").spawn().expect("sleep exists");
        let mut meter = Meter::start(child.id()).expect("the child runs");
        meter.sample();
        child.kill().expect("our child");
        child.wait().expect("our child");
        meter.sample();
        assert!(!meter.usage().alive && meter.usage().rss_bytes > 0, "{:?}", meter.usage());
        let error = Meter::start(child.id()).unwrap_err();
        assert!(error.is_gone() && error.to_string().contains("is it running"), "{error}");
    }
}
