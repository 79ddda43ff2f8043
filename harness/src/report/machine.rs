//! The machine that a run was made on.

use std::fmt;
use std::fs;

use serde::{Deserialize, Serialize};

use super::format_bytes;

/// What a reader of a report must know about the machine. What cannot be found out is empty or 0.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(default)]
pub struct Machine {
    /// The processor's name.
    pub cpu: String,
    /// Processors that this process may use.
    pub cores: usize,
    /// The kernel's release.
    pub kernel: String,
    /// Memory in bytes.
    pub memory_bytes: u64,
}

impl fmt::Display for Machine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let memory = format_bytes(self.memory_bytes);
        write!(f, "{} x {}, {memory}, Linux {}", self.cores, self.cpu, self.kernel)
    }
}

impl Machine {
    /// This machine.
    pub fn this() -> Self {
        let read = |path| fs::read_to_string(path).unwrap_or_default();
        Self {
            cpu: value(&read("/proc/cpuinfo"), "model name").unwrap_or(std::env::consts::ARCH).into(),
            cores: std::thread::available_parallelism().map_or(1, std::num::NonZero::get),
            kernel: read("/proc/sys/kernel/osrelease").trim().into(),
            memory_bytes: value(&read("/proc/meminfo"), "MemTotal").and_then(kilobytes).unwrap_or(0),
        }
    }
}

/// The value of the first `key : value` line.
fn value<'a>(text: &'a str, key: &str) -> Option<&'a str> {
    text.lines()
        .filter_map(|line| line.split_once(':'))
        .find(|(name, _)| name.trim() == key)
        .map(|(_, value)| value.trim())
}

fn kilobytes(text: &str) -> Option<u64> {
    text.strip_suffix("kB")?.trim().parse::<u64>().ok()?.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_proc() {
        let cpuinfo = "processor\t: 0\nmodel name\t: Some CPU @ 2.00GHz\n\nmodel name\t: other\n";
        assert_eq!(value(cpuinfo, "model name"), Some("Some CPU @ 2.00GHz"));
        assert_eq!(value(cpuinfo, "model"), None);
        assert_eq!(kilobytes("2048 kB"), Some(2 << 20));
        assert_eq!(kilobytes("much"), None);
    }

    #[test]
    fn this_machine_has_a_core_a_kernel_and_memory() {
        let machine = Machine::this();
        assert!(machine.cores > 0 && !machine.kernel.is_empty() && machine.memory_bytes > 0, "{machine:?}");
    }
}
