//! Reports of `peers` that were written before.

use std::fs;
use std::path::Path;
use std::time::Duration;

use serde::Deserialize;
use serde::de::Error as _;

use super::case::{AHEAD, CASES, Case, Load};
use super::report::{FORMAT, PeersReport, SCENARIO};
use super::row::Row;
use crate::report::ReadError;

/// What tells a report of one form from those of others.
#[derive(Deserialize)]
struct Head {
    format: u32,
    scenario: String,
    version: String,
}

impl PeersReport {
    /// Reads what [`PeersReport::write_json`] wrote, in this version or an earlier one. What an earlier one did not have is empty or 0.
    pub fn read(path: &Path) -> Result<Self, ReadError> {
        let at = || path.to_owned();
        let text = fs::read_to_string(path).map_err(|source| ReadError::File { path: at(), source })?;
        let form = |source| ReadError::Form { path: at(), source };
        let Head { format, scenario, version } = serde_json::from_str(&text).map_err(form)?;
        if scenario != SCENARIO {
            return Err(form(serde_json::Error::custom(format_args!(
                "it is of `{scenario}`, not of `{SCENARIO}`"
            ))));
        }
        if format != FORMAT {
            return Err(ReadError::Format { path: at(), format, version });
        }
        let mut report: Self = serde_json::from_str(&text).map_err(form)?;
        report.cases = report.cases_measured().map_err(form)?;
        Ok(report)
    }

    /// The cases of what was measured, and of what should have been.
    fn cases_measured(&self) -> Result<Vec<Case>, serde_json::Error> {
        let of_failures = self.failures.iter().map(|failure| failure.case);
        let mut letters: Vec<char> = Vec::new();
        for letter in self.medians.iter().map(|summary| summary.case).chain(of_failures) {
            if !letters.contains(&letter) {
                letters.push(letter);
            }
        }
        let place = |letter: &char| CASES.iter().position(|case| case.letter == *letter);
        letters.sort_by_key(|letter| place(letter).unwrap_or(CASES.len()));
        let case = |letter| match self.rows.iter().find(|row| row.case == letter) {
            Some(row) => case_of(row).map(Some),
            // Nothing was measured, so it has no table, and is known by its letter if at all.
            None => Ok(CASES.into_iter().find(|case| case.letter == letter)),
        };
        letters.into_iter().filter_map(|letter| case(letter).transpose()).collect()
    }
}

/// The case that a row is of.
fn case_of(row: &Row) -> Result<Case, serde_json::Error> {
    let load = match row.interval_ms {
        None => Load::Closed { ahead: AHEAD },
        Some(ms) => Load::Paced(Duration::try_from_secs_f64(ms / 1e3).map_err(|_| {
            serde_json::Error::custom(format_args!(
                "`interval_ms` of case {} is {ms}, which is no time",
                row.case
            ))
        })?),
    };
    Ok(Case { letter: row.case, members: row.members, load })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A report that was kept, changed by `change` and read again.
    fn kept(name: &str, change: impl FnOnce(String) -> String) -> Result<PeersReport, String> {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../results").join(name).join("peers.json");
        let text = change(fs::read_to_string(path).expect("kept"));
        let dir = tempfile::tempdir().expect("a temporary directory");
        let path = dir.path().join("r.json");
        fs::write(&path, text).expect("writable");
        PeersReport::read(&path).map_err(|error| error.to_string())
    }

    #[test]
    fn what_was_shown_then_is_shown_again() {
        let report = kept("2026-11-26-peers-paced", |text| text).expect("its own");
        let shown = include_str!("../../../results/2026-11-26-peers-paced/summary.txt");
        assert_eq!(report.to_string(), shown);
        // One from before the bare writer kept a case's pace.
        let report = kept("2026-11-26-peers", |text| text).expect("an earlier one");
        let letters: String = report.cases.iter().map(|case| case.letter).collect();
        assert_eq!((letters.as_str(), report.cases[1].interval()), ("AFBCDE", None));
        let (text, shown) =
            (report.to_string(), include_str!("../../../results/2026-11-26-peers/summary.txt"));
        let tables = |text: &str| text.split_once("what one write").map(|(tables, _)| tables.to_owned());
        assert_eq!(tables(&text).expect("the bare writer"), tables(shown).expect("the bare writer"));
        assert!(
            report.bare.iter().all(|bare| bare.deliveries == 0) && !text.contains("at the pace"),
            "{text}"
        );
    }

    #[test]
    fn what_makes_no_sense_is_said() {
        let check = |from: &str, to: &str, part: &str| {
            let error = kept("2026-11-26-peers-paced", |text| {
                assert!(text.contains(from), "{from}");
                text.replacen(from, to, 1)
            });
            let error = error.expect_err(to);
            assert!(error.contains(part) && error.contains("r.json"), "{error}");
        };
        check("\"format\": 1", "\"format\": 7", "has form 7 and was written by throng-harness 0.1.0");
        check("\"scenario\": \"peers\"", "\"scenario\": \"bots\"", "it is of `bots`, not of `peers`");
        check(
            "\"interval_ms\": 10.0",
            "\"interval_ms\": -1.0",
            "`interval_ms` of case A is -1, which is no time",
        );
        check("\"members\": 1000", "\"members\": \"many\"", "invalid type");
        check("{", "", "is no report of throng-harness");
        let error = PeersReport::read(Path::new("/nonexistent/r.json")).expect_err("not there").to_string();
        assert!(error.starts_with("cannot read /nonexistent/r.json"), "{error}");
    }

    #[test]
    fn a_case_of_which_nothing_was_measured_is_known_by_its_letter() {
        let failure =
            r#""failures": [{"system": "redis", "case": "E", "repetition": 1, "why": "it fell over"}]"#;
        let report = kept("2026-11-26-peers-paced", |text| text.replacen("\"failures\": []", failure, 1));
        let report = report.expect("valid");
        let letters: String = report.cases.iter().map(|case| case.letter).collect();
        assert_eq!(letters, "ABCE");
        assert!(report.to_string().contains("NOT MEASURED  E redis #1: it fell over"), "{report}");
    }
}
