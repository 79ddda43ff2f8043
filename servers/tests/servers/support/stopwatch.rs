//! Limits on durations that hold on a busy machine too.
//!
//! A limit is for an idle machine. When a duration exceeds it, the limit is stretched by the
//! slowdown of the machine: the wall-clock time of a computation divided by its CPU time.

use std::time::{Duration, Instant};

use rustix::time::{ClockId, clock_gettime};

/// CPU time of the sample at the start of a measurement.
const SHORT_SAMPLE: Duration = Duration::from_millis(10);

/// CPU time of the sample after a limit was exceeded.
const LONG_SAMPLE: Duration = Duration::from_millis(300);

/// Measures a duration, and the slowdown of the machine meanwhile.
pub(crate) struct Stopwatch {
    started: Instant,
    slowdown: f64,
}

impl Stopwatch {
    pub(crate) fn start() -> Self {
        let slowdown = slowdown_over(SHORT_SAMPLE);
        Self { started: Instant::now(), slowdown }
    }

    pub(crate) fn elapsed(&self) -> Duration {
        self.started.elapsed()
    }

    /// Asserts that no more than `limit` has passed since the start.
    pub(crate) fn assert_within(&self, what: &str, limit: Duration) {
        let took = self.elapsed();
        if took > limit {
            check(what, took, limit, self.slowdown.max(slowdown()));
        }
    }
}

/// Returns the slowdown of the machine now, after a third of a second of computing.
pub(crate) fn slowdown() -> f64 {
    slowdown_over(LONG_SAMPLE)
}

/// Asserts that a measured duration, which ended just now, is no longer than `limit`.
pub(crate) fn assert_took(what: &str, took: Duration, limit: Duration) {
    if took > limit {
        check(what, took, limit, slowdown());
    }
}

fn check(what: &str, took: Duration, limit: Duration, slowdown: f64) {
    assert!(
        took <= limit.mul_f64(slowdown),
        "{what}: took {took:?}, limit {limit:?} on a machine that is {slowdown:.1} times slower than idle"
    );
}

/// Computes until the thread has used `sample` of CPU time. Returns wall-clock time by CPU time, at
/// least 1.
fn slowdown_over(sample: Duration) -> f64 {
    let started = Instant::now();
    let cpu_at_start = cpu_time();
    loop {
        let cpu = cpu_time().saturating_sub(cpu_at_start);
        if cpu >= sample {
            return (started.elapsed().as_secs_f64() / cpu.as_secs_f64()).max(1.0);
        }
        std::hint::spin_loop();
    }
}

fn cpu_time() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec.unsigned_abs(), time.tv_nsec.unsigned_abs() as u32)
}
