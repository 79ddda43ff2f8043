//! Reads reports of `peers` back.

use std::path::Path;
use std::time::Duration;

use serde::Deserialize;
use serde::de::Error as _;
use throng_harness_report::{ReadError, read_text};

use super::case::{AHEAD, CASES, Case, Load};
use super::report::{FORMAT, PeersReport, SCENARIO};
use super::row::Row;

/// The keys that identify a report and its format.
#[derive(Deserialize)]
struct Head {
    format: u32,
    scenario: String,
    version: String,
}

impl PeersReport {
    /// Reads a report written by
    /// [`Document::write_json`](throng_harness_report::Document::write_json), in this version or an
    /// earlier one.
    /// Keys that an earlier version lacks are empty or 0.
    pub fn read(path: &Path) -> Result<Self, ReadError> {
        let at = || path.to_owned();
        let text = read_text(path)?;
        let form = |source| ReadError::Form { path: at(), source };
        let Head { format, scenario, version } = serde_json::from_str(&text).map_err(form)?;
        if scenario != SCENARIO {
            return Err(form(serde_json::Error::custom(format_args!(
                "it is a report of `{scenario}`, not of `{SCENARIO}`"
            ))));
        }
        if format != FORMAT {
            return Err(ReadError::Format { path: at(), format, version });
        }
        let mut report: Self = serde_json::from_str(&text).map_err(form)?;
        report.cases = report.cases_measured().map_err(form)?;
        Ok(report)
    }

    /// The cases of the medians and of the failures.
    fn cases_measured(&self) -> Result<Vec<Case>, serde_json::Error> {
        let of_failures = self.failures.iter().map(|failure| failure.case);
        let mut letters: Vec<char> = Vec::new();
        for letter in self.medians.iter().map(|summary| summary.case).chain(of_failures) {
            if !letters.contains(&letter) {
                letters.push(letter);
            }
        }
        letters.sort_unstable();
        let case = |letter| match self.rows.iter().find(|row| row.case == letter) {
            Some(row) => case_of(row).map(Some),
            // A case without rows has no table; its letter is enough.
            None => Ok(CASES.into_iter().find(|case| case.letter == letter)),
        };
        letters.into_iter().filter_map(|letter| case(letter).transpose()).collect()
    }
}

/// The case of a row.
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
    use std::fs;

    use serde_json::{Value, json};
    use throng_harness_report::Document;

    use super::*;
    use crate::Failure;
    use crate::fixture::report as test_report;

    /// Reads a report with `failures`, after `change` has been applied to the file.
    fn read(failures: Vec<Failure>, change: impl FnOnce(&mut Value)) -> Result<PeersReport, String> {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let path = dir.path().join("r.json");
        test_report(false, failures).write_json(&path).expect("writable");
        let mut json = serde_json::from_slice(&fs::read(&path).expect("written")).expect("JSON");
        change(&mut json);
        fs::write(&path, json.to_string()).expect("writable");
        PeersReport::read(&path).map_err(|error| error.to_string())
    }

    fn failure(case: char) -> Failure {
        Failure { system: "redis".into(), case, repetition: 1, why: "it fell over".into() }
    }

    #[test]
    fn a_written_report_is_read_back() {
        let written = test_report(false, vec![failure('F')]);
        let back = read(vec![failure('F')], |_| {}).expect("its own");
        assert_eq!(
            (back.to_string(), back.to_html("run.html")),
            (written.to_string(), written.to_html("run.html"))
        );
        assert_eq!(back.cases, written.cases);
        assert_eq!(serde_json::to_value(&back).expect("JSON"), serde_json::to_value(&written).expect("JSON"));
    }

    #[test]
    fn keys_that_an_earlier_version_lacks_are_empty() {
        let earlier = read(Vec::new(), |json| {
            for (list, keys) in [
                ("bare", &["case", "deliveries", "cpu_us_per_delivery"][..]),
                ("bare_medians", &["case", "deliveries_per_write", "cpu_us_per_delivery"]),
            ] {
                for bare in json[list].as_array_mut().expect("a list") {
                    bare.as_object_mut().expect("one").retain(|key, _| !keys.contains(&key.as_str()));
                }
            }
        });
        let earlier = earlier.expect("an earlier one");
        assert!(earlier.bare.iter().all(|bare| bare.case.is_none() && bare.deliveries == 0));
        let text = earlier.to_string();
        assert!(text.contains("3.50 us of CPU") && !text.contains("at the pace"), "{text}");
    }

    #[test]
    fn cases_come_from_rows_or_their_letter() {
        let report = read(vec![failure('E'), failure('X')], |json| {
            for row in json["rows"].as_array_mut().expect("a list") {
                (row["members"], row["interval_ms"]) = (json!(7), json!(11.25));
            }
        });
        let report = report.expect("valid");
        let shown: Vec<_> = report.cases.iter().map(ToString::to_string).collect();
        assert_eq!(
            shown,
            [
                "A: 7 members, a message every 11.25ms, 622 deliveries/s",
                "E: 9,000 members, a message every 11.25ms, 800,000 deliveries/s"
            ]
        );
        assert!(report.to_string().contains("NOT MEASURED  X redis #1: it fell over"), "{report}");
        let closed = read(Vec::new(), |json| json["rows"][0]["interval_ms"] = Value::Null);
        assert_eq!(closed.expect("valid").cases[0].interval(), None);
    }

    #[test]
    fn texts_of_a_file_command_no_terminal() {
        let report = read(vec![failure('A')], |json| {
            json["failures"][0]["why"] = json!("\u{1b}]52;c;eA==\u{7}\nPASS\0\u{202E}\u{9b}");
        });
        let report = report.expect("valid");
        let shown = "\\u{1b}]52;c;eA==\\u{7}\\nPASS\\u{0}\\u{202e}\\u{9b}";
        assert!(report.to_string().contains(shown) && report.to_html("run.html").contains(shown), "{report}");
    }

    #[test]
    fn bad_files_are_refused() {
        let check = |change: fn(&mut Value), part: &str| {
            let error = read(Vec::new(), change).expect_err(part);
            assert!(error.contains(part) && error.contains("r.json"), "{error}");
        };
        check(|json| json["format"] = json!(7), "has form 7 and was written by throng-harness ");
        check(|json| json["scenario"] = json!("bots"), "it is a report of `bots`, not of `peers`");
        check(
            |json| json["rows"][0]["interval_ms"] = json!(-1.0),
            "`interval_ms` of case A is -1, which is no time",
        );
        check(|json| json["rows"][0]["members"] = json!("many"), "invalid type");
        check(|json| json["rows"] = Value::Null, "is no report of throng-harness");
        let error = PeersReport::read(Path::new("/nonexistent/r.json")).expect_err("not there").to_string();
        assert!(error.starts_with("cannot read /nonexistent/r.json"), "{error}");
    }
}
