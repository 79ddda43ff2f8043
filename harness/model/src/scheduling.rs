//! CPU time that the machine withheld from the threads of a run.
//!
//! A thread that is ready and waits for a core delays messages as much as one that works, and no
//! clock of its own tells the two apart: the harness reads late, the server answers late, and both
//! look equally slow. The kernel keeps the difference for each thread, as its *run delay*
//! (`/proc/PID/task/TID/schedstat`, Documentation/scheduler/sched-stats.rst).
//!
//! Threads of the run also wait for each other, and that is theirs: a server pinned to one core
//! has its latency from there. So a thread's wait counts as withheld only up to the time that
//! everything else on the machine ran, or that the hypervisor took (`/proc/stat`).

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use procfs::process::Process;
use procfs::{Current, CurrentSI, KernelStats};
use serde::{Deserialize, Serialize};

/// A process and one of its threads.
type ThreadId = (u32, i32);

/// Times of one thread since it began.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct ThreadTimes {
    name: String,
    /// Time on a core.
    on_core: Duration,
    /// Time in which it was ready and waited for a core.
    waiting: Duration,
    /// Times that it got a core.
    turns: u64,
}

/// Times of the whole machine since it started.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct MachineTimes {
    /// Time of all processes on all cores, without that for interrupts.
    busy: Duration,
    /// Time that the hypervisor gave to other machines.
    steal: Duration,
    /// Time in which at least one thread was ready and waited for a core; none on a kernel without
    /// pressure stall information.
    pressure: Option<Duration>,
}

/// The threads of some processes and the machine at one moment.
#[derive(Debug, Clone)]
struct Sample {
    at: Instant,
    machine: MachineTimes,
    threads: BTreeMap<ThreadId, ThreadTimes>,
}

/// Waiting of the thread of a process that waited the most, as shares of the time.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "testing", derive(schemars::JsonSchema))]
#[serde(default)]
pub struct Waited {
    /// Name of the thread.
    pub thread: String,
    /// Share of the time in which it ran.
    pub on_core: f64,
    /// Share of the time in which it was ready and waited for a core.
    pub waiting: f64,
    /// The part of `waiting` that other processes or the hypervisor can have caused.
    pub withheld: f64,
    /// That part for each time that it got a core, in microseconds.
    pub withheld_us_per_turn: f64,
}

/// CPU time that others had, and that the run's threads waited for.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "testing", derive(schemars::JsonSchema))]
#[serde(default)]
pub struct Scheduling {
    /// CPU time of all processes that do not belong to the run, as a share of one core; above 1
    /// with several.
    pub others_cpu: f64,
    /// Time that the hypervisor gave to other machines, as a share of one core.
    pub steal: f64,
    /// Share of the time in which at least one thread of the machine waited for a core; null if the
    /// kernel does not tell.
    pub pressure: Option<f64>,
    /// The harness's thread that waited the most.
    pub harness: Waited,
    /// The server's thread that waited the most; null if its process cannot be observed.
    pub server: Option<Waited>,
    /// Share of the time in which the server's busiest thread ran, or waited for the server's and
    /// the harness's other threads; null if its process cannot be observed. Near 1, the server has
    /// no more to give on its cores.
    pub server_load: Option<f64>,
}

/// Samples the scheduling of the harness's and the server's threads throughout a run.
#[derive(Debug)]
pub struct SchedulingMeter {
    harness: Vec<u32>,
    server: Option<u32>,
    first: Option<Sample>,
    last: Option<Sample>,
}

impl SchedulingMeter {
    /// Takes the first sample of the `harness`'s processes and the `server`'s, if that one runs on
    /// this machine.
    pub fn start(harness: Vec<u32>, server: Option<u32>) -> Self {
        let mut meter = Self { harness, server, first: None, last: None };
        meter.reset();
        meter.last.clone_from(&meter.first);
        meter
    }

    /// Starts over with a new first sample, for the measured part of a run.
    pub fn reset(&mut self) {
        self.first = self.read();
    }

    /// Takes another sample, and returns what happened since the one before. None on a kernel that
    /// does not keep these times, or without time in between.
    pub fn sample(&mut self) -> Option<Scheduling> {
        let now = self.read();
        let before = std::mem::replace(&mut self.last, now);
        self.between(before.as_ref()?, self.last.as_ref()?)
    }

    /// Takes a sample, and returns what has happened since the first. The next row begins where it
    /// would have begun without this.
    pub fn since_first(&self) -> Option<Scheduling> {
        self.between(self.first.as_ref()?, &self.read()?)
    }

    fn read(&self) -> Option<Sample> {
        let machine = MachineTimes::now()?;
        let mut threads = BTreeMap::new();
        for pid in self.harness.iter().chain(&self.server) {
            threads.extend(threads_of(*pid));
        }
        Some(Sample { at: Instant::now(), machine, threads })
    }

    fn between(&self, first: &Sample, last: &Sample) -> Option<Scheduling> {
        let elapsed = last.at.saturating_duration_since(first.at);
        let share = |time: Duration| time.as_secs_f64() / elapsed.as_secs_f64();
        if elapsed.is_zero() {
            return None;
        }
        let threads: Vec<_> = last
            .threads
            .iter()
            .map(|(id, now)| (id.0, now.since(first.threads.get(id).unwrap_or(&ThreadTimes::default()))))
            .collect();
        let own: Duration = threads.iter().map(|(_, times)| times.on_core).sum();
        let busy = last.machine.busy.saturating_sub(first.machine.busy);
        let others = busy.saturating_sub(own);
        let steal = last.machine.steal.saturating_sub(first.machine.steal);
        let withheld = |times: &ThreadTimes| times.waiting.min(others + steal);
        let load = |times: &ThreadTimes| share(times.on_core + times.waiting.saturating_sub(withheld(times)));
        let waited = |is_of: &dyn Fn(u32) -> bool| {
            let of = threads.iter().filter(|(pid, _)| is_of(*pid)).map(|(_, times)| times);
            of.max_by_key(|times| times.waiting).map(|times| {
                let withheld = withheld(times);
                Waited {
                    thread: times.name.clone(),
                    on_core: share(times.on_core),
                    waiting: share(times.waiting),
                    withheld: share(withheld),
                    withheld_us_per_turn: withheld.as_secs_f64() * 1e6 / times.turns.max(1) as f64,
                }
            })
        };
        let pressure = last.machine.pressure.zip(first.machine.pressure);
        Some(Scheduling {
            others_cpu: share(others),
            steal: share(steal),
            pressure: pressure.map(|(last, first)| share(last.saturating_sub(first))),
            harness: waited(&|pid| self.harness.contains(&pid))?,
            server: self.server.and_then(|server| waited(&|pid| pid == server)),
            server_load: threads
                .iter()
                .filter(|(pid, _)| self.server == Some(*pid))
                .map(|(_, times)| load(times))
                .reduce(f64::max),
        })
    }
}

impl ThreadTimes {
    fn since(&self, before: &Self) -> Self {
        Self {
            name: self.name.clone(),
            on_core: self.on_core.saturating_sub(before.on_core),
            waiting: self.waiting.saturating_sub(before.waiting),
            turns: self.turns.saturating_sub(before.turns),
        }
    }
}

impl MachineTimes {
    fn now() -> Option<Self> {
        let total = KernelStats::current().ok()?.total;
        let time =
            |ticks: u64| Duration::from_millis(ticks.saturating_mul(1000 / procfs::ticks_per_second()));
        // A guest's time is part of `user`.
        let busy = total.user.saturating_add(total.nice).saturating_add(total.system);
        let pressure = procfs::CpuPressure::current().ok();
        Some(Self {
            busy: time(busy),
            steal: time(total.steal.unwrap_or(0)),
            pressure: pressure.map(|pressure| Duration::from_micros(pressure.some.total)),
        })
    }
}

/// The threads of process `pid`, without those that gave way to its main thread on purpose (a
/// higher nice value): they are to wait. Empty for a process that has ended.
fn threads_of(pid: u32) -> Vec<(ThreadId, ThreadTimes)> {
    let Ok(process) = Process::new_with_root(PathBuf::from(format!("/proc/{pid}"))) else {
        return Vec::new();
    };
    let (Ok(main), Ok(tasks)) = (process.stat(), process.tasks()) else { return Vec::new() };
    let times = tasks.flatten().filter_map(|task| {
        let (stat, times) = (task.stat().ok()?, task.schedstat().ok()?);
        let gives_way = stat.nice > main.nice;
        let waiting = if gives_way { 0 } else { times.run_delay };
        let times = ThreadTimes {
            name: stat.comm,
            on_core: Duration::from_nanos(times.sum_exec_runtime),
            waiting: Duration::from_nanos(waiting),
            turns: times.pcount,
        };
        Some(((pid, task.tid), times))
    });
    times.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    /// A second in which the machine's processes ran for `busy` milliseconds, and these threads of
    /// the processes 1 (the harness) and 2 (the server) ran and waited for so many milliseconds, in
    /// ten turns.
    #[track_caller]
    fn check(busy: u64, steal: u64, threads: &[(u32, u64, u64)], withheld: [f64; 2]) -> Scheduling {
        let time = Duration::from_millis;
        let meter = SchedulingMeter { harness: vec![1], server: Some(2), first: None, last: None };
        let at = Instant::now();
        let machine = MachineTimes { pressure: Some(Duration::ZERO), ..MachineTimes::default() };
        let first = Sample { at, machine, threads: BTreeMap::new() };
        let threads = threads.iter().zip(1..).map(|((pid, on_core, waiting), tid)| {
            let (on_core, waiting) = (time(*on_core), time(*waiting));
            ((*pid, tid), ThreadTimes { name: format!("thread {tid}"), on_core, waiting, turns: 10 })
        });
        let machine = MachineTimes { busy: time(busy), steal: time(steal), pressure: Some(SECOND / 4) };
        let last = Sample { at: at + SECOND, machine, threads: threads.collect() };
        let found = meter.between(&first, &last).expect("a second has passed");
        let server = found.server.clone().expect("it is observed");
        let near = |left: f64, right: f64| (left - right).abs() < 1e-9;
        assert!(near(found.harness.withheld, withheld[0]), "{found:?}");
        assert!(near(server.withheld, withheld[1]), "{found:?}");
        assert!(near(server.withheld_us_per_turn, withheld[1] * 1e5), "{found:?}");
        assert_eq!(found.pressure, Some(0.25));
        found
    }

    #[test]
    fn a_wait_for_the_runs_own_threads_is_not_withheld() {
        // Both processes on one core, and nothing else on the machine.
        let found = check(1_000, 0, &[(1, 400, 600), (2, 600, 400)], [0.0, 0.0]);
        assert_eq!((found.others_cpu, found.harness.waiting, found.server_load), (0.0, 0.6, Some(1.0)));
    }

    #[test]
    fn a_wait_for_others_is_withheld_up_to_their_time() {
        let found = check(1_800, 0, &[(1, 200, 700), (2, 600, 300)], [0.7, 0.3]);
        assert!((found.others_cpu - 1.0).abs() < 1e-9);
        assert_eq!(found.server_load, Some(0.6));
        check(850, 0, &[(1, 200, 700), (2, 600, 300)], [0.05, 0.05]);
    }

    #[test]
    fn time_that_the_hypervisor_took_is_withheld() {
        check(800, 500, &[(1, 200, 700), (2, 600, 300)], [0.5, 0.3]);
    }

    #[test]
    fn the_thread_that_waited_the_most_counts() {
        let found = check(2_000, 0, &[(1, 10, 5), (1, 100, 400), (2, 100, 0), (2, 50, 100)], [0.4, 0.1]);
        assert_eq!(found.harness.thread, "thread 2");
        assert_eq!(found.server.map(|server| server.thread).as_deref(), Some("thread 4"));
    }

    #[test]
    fn the_kernel_tells_the_times_of_this_process() {
        let mut meter = SchedulingMeter::start(vec![std::process::id()], None);
        let begun = Instant::now();
        while begun.elapsed() < Duration::from_millis(20) {
            std::hint::black_box((0..1_000_u64).sum::<u64>());
        }
        let found = meter.sample().expect("this kernel keeps these times");
        assert!(found.harness.on_core >= 0.0 && found.server.is_none(), "{found:?}");
        assert!(found.harness.waiting >= found.harness.withheld, "{found:?}");
        assert!(SchedulingMeter::start(vec![u32::MAX], None).since_first().is_none());
    }
}
