//! Whether runs can be compared: in what else than the server they differ.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use crate::report::{Report, format_bytes};

/// Flags that decide where a run's results go, where its server is or what it must hold to, and not what it does.
const ASIDE: [&str; 12] = [
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
    "--password",
];

/// Something in which two sides differ. Values of several runs are put together.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Differing {
    /// What it is.
    pub what: String,
    /// The baseline's.
    pub baseline: String,
    /// The new side's.
    pub new: String,
}

/// Whether both sides have runs of the same traffic; none if not all reports say.
pub(super) fn same_traffic(sides: &[Vec<&Report>; 2]) -> Option<bool> {
    let prints = |side: &Vec<&Report>| -> Option<BTreeSet<String>> {
        side.iter().map(|report| report.traffic.clone()).collect()
    };
    let [baseline, new] = sides.each_ref().map(prints);
    Some(baseline? == new?)
}

/// In what the sides differ.
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
    }
    compare("messages sent", &|report| report.sent.to_string());
    compare("harness version", &|report| report.version.clone());
    compare("processor", &|report| report.machine.cpu.clone());
    compare("cores for the harness", &|report| report.machine.cores.to_string());
    // It varies by some kilobytes from one boot to the next.
    compare("memory", &|report| format_bytes(report.machine.memory_bytes));
    compare("kernel", &|report| report.machine.kernel.clone());
    found
}

fn settings_of(report: &Report, flag: &str) -> Option<String> {
    settings(report).remove(flag)
}

/// The flags of a report's command line with their values, as they were written.
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
        if !ASIDE.contains(&flag) {
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
    fn what_differs_is_found() {
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
    }
}
