//! Differences between the sides besides the server: flags, seed, traffic, version, machine.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;
use throng_harness_model::text::format_bytes;

use crate::Report;

/// Flags that do not change the load: outputs, the server's address, thresholds. The seed is
/// compared by its value.
const IGNORED_FLAGS: [&str; 14] = [
    "--json",
    "--html",
    "--hgrm",
    "--data",
    "--server",
    "--server-key",
    "--cluster-key",
    "--server-pid",
    "--seed",
    "--threshold",
    "--require-valid",
    "--plain",
    "--verbose",
    "--password",
];

/// A property in which the sides differ, with the values of all runs of a side.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Differing {
    /// The property.
    pub what: String,
    /// The baseline's values.
    pub baseline: String,
    /// The new side's values.
    pub new: String,
}

/// Returns true if both sides had the same traffic: `traffic` is the same, and so is `traffic_sent`
/// if all reports have it. None if a report has no `traffic`.
pub(super) fn same_traffic(sides: &[Vec<&Report>; 2]) -> Option<bool> {
    let same = |print: fn(&Report) -> &Option<String>| {
        let prints = |side: &Vec<&Report>| -> Option<BTreeSet<String>> {
            side.iter().map(|report| print(report).clone()).collect()
        };
        let [baseline, new] = sides.each_ref().map(prints);
        Some(baseline? == new?)
    };
    // Reports of earlier versions have no `traffic_sent`.
    Some(same(|report| &report.traffic)? && same(|report| &report.traffic_sent).unwrap_or(true))
}

/// Returns the properties in which the sides differ.
pub(super) fn differing(sides: &[Vec<&Report>; 2]) -> Vec<Differing> {
    let mut found = Vec::new();
    let mut compare = |what: &str, value: &dyn Fn(&Report) -> String| {
        let [baseline, new] = sides.each_ref().map(|side| {
            let values: BTreeSet<String> = side.iter().map(|report| value(report)).collect();
            values.into_iter().collect::<Vec<_>>().join(", ")
        });
        if baseline != new {
            found.push(Differing { what: what.into(), baseline, new });
        }
    };
    let settings: BTreeSet<String> =
        sides.iter().flatten().flat_map(|report| settings(report).into_keys()).collect();
    for flag in &settings {
        compare(flag, &|report| settings_of(report, flag).unwrap_or_else(|| "its default".to_owned()));
    }
    compare("seed", &|report| report.seed.to_string());
    if same_traffic(sides) == Some(false) {
        compare("traffic", &|report| report.traffic.clone().unwrap_or_default());
        if sides.iter().flatten().all(|report| report.traffic_sent.is_some()) {
            compare("traffic sent", &|report| report.traffic_sent.clone().unwrap_or_default());
        }
    }
    compare("messages sent", &|report| report.sent.to_string());
    compare("harness version", &|report| report.version.clone());
    compare("processor", &|report| report.machine.cpu.clone());
    compare("cores for the harness", &|report| report.machine.cores.to_string());
    // Reports of earlier versions have 0.
    if sides.iter().flatten().all(|report| report.machine.cores_online > 0) {
        compare("cores of the machine", &|report| report.machine.cores_online.to_string());
    }
    // Rounded, as it varies by some kilobytes from boot to boot.
    compare("memory", &|report| format_bytes(report.machine.memory_bytes));
    compare("kernel", &|report| report.machine.kernel.clone());
    found
}

fn settings_of(report: &Report, flag: &str) -> Option<String> {
    settings(report).remove(flag)
}

/// Returns the flags of a report's command line with their values, as they were written.
fn settings(report: &Report) -> BTreeMap<String, String> {
    let mut words = report.command.iter().skip(1).peekable();
    let mut settings = BTreeMap::new();
    while let Some(word) = words.next() {
        if !word.starts_with("--") {
            continue;
        }
        let (flag, value) = word.split_once('=').unwrap_or_else(|| {
            let value = words.next_if(|next| !next.starts_with("--"));
            (word, value.map_or("given", String::as_str))
        });
        if !IGNORED_FLAGS.contains(&flag) {
            settings.insert(flag.to_owned(), value.to_owned());
        }
    }
    settings
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(command: &str, seed: u64, traffic: Option<&str>) -> Report {
        Report {
            command: command.split_whitespace().map(str::to_owned).collect(),
            seed,
            traffic: traffic.map(str::to_owned),
            ..Report::default()
        }
    }

    #[test]
    fn differing_flags_seeds_and_machines_are_listed() {
        let a = report("h broadcast --clients 5 --json a.json --churn 5/s --leave --seed 1", 1, Some("x"));
        let b = report("h broadcast --leave --json=b.json --clients=7 --data d --interval 5ms", 2, Some("y"));
        let differing = |baseline: &[&Report], new: &[&Report]| {
            let found = super::differing(&[baseline.to_vec(), new.to_vec()]);
            found.iter().map(|d| format!("{}: {} | {}", d.what, d.baseline, d.new)).collect::<Vec<_>>()
        };
        assert_eq!(
            differing(&[&a], &[&b]),
            [
                "--churn: 5/s | its default",
                "--clients: 5 | 7",
                "--interval: its default | 5ms",
                "seed: 1 | 2",
                "traffic: x | y",
            ]
        );
        assert_eq!(differing(&[&a, &b], &[&b, &a]), [""; 0]);
        let other = Report { version: "9".into(), sent: 3, ..a.clone() };
        assert_eq!(differing(&[&a], &[&other]), ["messages sent: 0 | 3", "harness version:  | 9"]);
        assert_eq!(same_traffic(&[vec![&a, &b], vec![&b, &a]]), Some(true));
        assert_eq!(same_traffic(&[vec![&a], vec![&b]]), Some(false));
        assert_eq!(same_traffic(&[vec![&a], vec![&Report::default()]]), None);
        // `traffic_sent` decides too, if all reports have it.
        let sent = |print: &str| Report { traffic_sent: Some(print.into()), ..a.clone() };
        let (all, part) = (sent("x"), sent("w"));
        assert_eq!(same_traffic(&[vec![&all], vec![&all]]), Some(true));
        assert_eq!(same_traffic(&[vec![&all], vec![&a]]), Some(true));
        assert_eq!(same_traffic(&[vec![&all], vec![&part]]), Some(false));
        assert_eq!(differing(&[&all], &[&part]), ["traffic sent: x | w"]);
        let on = |cores_online| {
            let mut report = a.clone();
            report.machine.cores_online = cores_online;
            report
        };
        assert_eq!(differing(&[&on(2)], &[&on(8)]), ["cores of the machine: 2 | 8"]);
        assert_eq!(differing(&[&on(0)], &[&on(8)]), [""; 0]);
    }
}
