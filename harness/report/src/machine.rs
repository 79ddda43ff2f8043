//! The machine that a run was made on.

use std::{fmt, fs};

use serde::{Deserialize, Serialize};
use throng_harness_model::text::format_bytes;

/// The machine that the harness ran on. Fields that cannot be determined are empty or 0.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "testing", derive(schemars::JsonSchema))]
#[serde(default)]
pub struct Machine {
    /// The processor's name.
    pub cpu: String,
    /// Processors that this process may use.
    pub cores: usize,
    /// Processors that are online, including those this process may not use; 0 in reports of
    /// earlier versions.
    pub cores_online: usize,
    /// The kernel's release.
    pub kernel: String,
    /// Memory in bytes.
    pub memory_bytes: u64,
}

impl fmt::Display for Machine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let memory = format_bytes(self.memory_bytes);
        write!(f, "{} x {}", self.cores, self.cpu)?;
        if self.cores_online > self.cores {
            write!(f, " (of {})", self.cores_online)?;
        }
        write!(f, ", {memory}, Linux {}", self.kernel)
    }
}

impl Machine {
    /// This machine.
    pub fn this() -> Self {
        let read = |path| fs::read_to_string(path).unwrap_or_default();
        Self {
            cpu: value(&read("/proc/cpuinfo"), "model name").unwrap_or(std::env::consts::ARCH).into(),
            cores: std::thread::available_parallelism().map_or(1, std::num::NonZero::get),
            cores_online: count_in(&read("/sys/devices/system/cpu/online")).unwrap_or(0),
            kernel: read("/proc/sys/kernel/osrelease").trim().into(),
            memory_bytes: value(&read("/proc/meminfo"), "MemTotal").and_then(kilobytes).unwrap_or(0),
        }
    }
}

/// The value of the first `key : value` line with this key.
fn value<'a>(text: &'a str, key: &str) -> Option<&'a str> {
    text.lines()
        .filter_map(|line| line.split_once(':'))
        .find(|(name, _)| name.trim() == key)
        .map(|(_, value)| value.trim())
}

/// The number of processors in a list of numbers and ranges, as the kernel writes it.
fn count_in(list: &str) -> Option<usize> {
    list.trim().split(',').try_fold(0, |count, part| {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let [first, last] = [first, last].map(str::parse::<usize>);
        Some(count + (last.ok()? + 1).checked_sub(first.ok()?)?)
    })
}

fn kilobytes(text: &str) -> Option<u64> {
    text.strip_suffix("kB")?.trim().parse::<u64>().ok()?.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_of_proc_are_parsed() {
        let cpuinfo = "processor\t: 0\nmodel name\t: Some CPU @ 2.00GHz\n\nmodel name\t: other\n";
        assert_eq!(value(cpuinfo, "model name"), Some("Some CPU @ 2.00GHz"));
        assert_eq!(value(cpuinfo, "model"), None);
        assert_eq!(kilobytes("2048 kB"), Some(2 << 20));
        assert_eq!(kilobytes("much"), None);
    }

    #[test]
    fn lists_of_processors_are_counted() {
        for (list, count) in [
            ("0\n", Some(1)),
            ("0-1\n", Some(2)),
            ("0,2-5,9", Some(6)),
            ("", None),
            ("3-1", None),
            ("a", None),
        ] {
            assert_eq!(count_in(list), count, "{list:?}");
        }
    }

    #[test]
    fn a_restriction_to_some_cores_is_shown() {
        let machine =
            Machine { cpu: "CPU".into(), cores: 1, cores_online: 2, kernel: "6".into(), memory_bytes: 1 };
        assert!(machine.to_string().starts_with("1 x CPU (of 2), "), "{machine}");
        for cores_online in [0, 1] {
            let machine = Machine { cores_online, ..machine.clone() };
            assert!(machine.to_string().starts_with("1 x CPU, "), "{machine}");
        }
    }

    #[test]
    fn this_machine_is_described() {
        let machine = Machine::this();
        assert!(machine.cores_online >= machine.cores, "{machine:?}");
        assert!(machine.cores > 0 && !machine.kernel.is_empty() && machine.memory_bytes > 0, "{machine:?}");
    }
}
