//! Report files: writing them, and reading those of this version or an earlier one.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::{fs, io};

use serde::Deserialize;
use serde::de::{self, DeserializeOwned, IgnoredAny};
use serde_json::Value;
use thiserror::Error;
use throng_core::text::{escaped, has_control, is_control};
use throng_harness_model::record::Latencies;

use super::{FORMAT, Report};

/// An error in writing a report.
#[derive(Debug, Error)]
#[error("cannot write the report to {}: {source}", path.display())]
pub struct ReportError {
    path: PathBuf,
    source: io::Error,
}

impl ReportError {
    /// A failure to write the file at `path`.
    pub fn new(path: &Path, source: io::Error) -> Self {
        Self { path: path.into(), source }
    }
}

/// An error in reading a report.
#[derive(Debug, Error)]
pub enum ReadError {
    /// The file cannot be read.
    #[error("cannot read {}: {source}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// The file is not a JSON report, or has invalid values.
    #[error("{} is no report of throng-harness: {source}; give a file written by `--json FILE`", path.display())]
    Form {
        /// The file.
        path: PathBuf,
        /// The error and its position.
        source: serde_json::Error,
    },
    /// The report has a format that this version does not know.
    #[error(
        "{} has form {format} and was written by throng-harness {version}; this is {}, which reads form {FORMAT}: \
         use a version that reads it",
        path.display(),
        env!("CARGO_PKG_VERSION")
    )]
    Format {
        /// The file.
        path: PathBuf,
        /// The report's format.
        format: u32,
        /// The version of the harness that wrote it.
        version: String,
    },
    /// The report is of a scenario with a format of its own.
    #[error(
        "{} is a report of `{scenario}`, which has a format of its own: give one that a scenario \
         (`broadcast`, `login` and so on), `ramp` or `bench` wrote with --json",
        path.display()
    )]
    Scenario {
        /// The file.
        path: PathBuf,
        /// The scenario.
        scenario: String,
    },
}

/// The fields that reports of all formats share.
#[derive(Deserialize)]
struct Head {
    format: u32,
    scenario: String,
    version: String,
    clients: Option<IgnoredAny>,
    limit: Option<IgnoredAny>,
}

/// A report file in the format of this version.
#[derive(Debug)]
pub struct ReportFile<'a> {
    path: &'a Path,
    text: String,
    has_steps: bool,
}

impl<'a> ReportFile<'a> {
    /// Reads the file and checks its format.
    pub fn open(path: &'a Path) -> Result<Self, ReadError> {
        let at = || path.to_owned();
        let text = read_text(path)?;
        let form = |source| ReadError::Form { path: at(), source };
        let Head { format, scenario, version, clients, limit } = serde_json::from_str(&text).map_err(form)?;
        if format != FORMAT {
            return Err(ReadError::Format { path: at(), format, version });
        }
        if clients.is_none() {
            return Err(ReadError::Scenario { path: at(), scenario });
        }
        Ok(Self { path, text, has_steps: limit.is_some() })
    }

    /// True if the report is of several steps.
    pub fn has_steps(&self) -> bool {
        self.has_steps
    }

    /// Parses the report.
    pub fn parse<T: DeserializeOwned>(&self) -> Result<T, ReadError> {
        let form = |source| ReadError::Form { path: self.path.to_owned(), source };
        serde_json::from_str(&self.text).map_err(form)
    }

    /// The error of a file whose contents are damaged.
    pub fn damaged(&self, message: &str) -> ReadError {
        ReadError::Form { path: self.path.to_owned(), source: de::Error::custom(message) }
    }
}

/// Reads the text of a JSON report, with the control characters in its strings escaped: a report is
/// a stranger's until it is shown.
pub fn read_text(path: &Path) -> Result<String, ReadError> {
    let text = fs::read_to_string(path).map_err(|source| ReadError::File { path: path.into(), source })?;
    // Without an escape, JSON has no control characters but those that every tool can show.
    let is_plain = |c: char| c != '\\' && (!is_control(c) || "\n\r\t".contains(c));
    if text.chars().all(is_plain) {
        return Ok(text);
    }
    let form = |source| ReadError::Form { path: path.into(), source };
    let mut json: Value = serde_json::from_str(&text).map_err(form)?;
    if !escape_strings(&mut json) {
        return Ok(text);
    }
    serde_json::to_string(&json).map_err(form)
}

/// Escapes the control characters of all strings and keys. Returns false if there were none. The
/// depth of the recursion is that of the parser, 128.
fn escape_strings(json: &mut Value) -> bool {
    let mut is_changed = false;
    match json {
        Value::String(text) => {
            if let Cow::Owned(escaped) = escaped(text) {
                *text = escaped;
                is_changed = true;
            }
        }
        Value::Array(items) => items.iter_mut().for_each(|item| is_changed |= escape_strings(item)),
        Value::Object(map) => {
            map.values_mut().for_each(|value| is_changed |= escape_strings(value));
            if map.keys().any(|key| has_control(key)) {
                let entries = std::mem::take(map).into_iter();
                map.extend(entries.map(|(key, value)| (escaped(&key).into_owned(), value)));
                is_changed = true;
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
    is_changed
}

impl Report {
    /// Reads a report that [`Document::write_json`](super::Document::write_json) wrote, in this
    /// version or an earlier one.
    /// Fields that an earlier version did not have are empty or 0. Fields of a later version are
    /// ignored, as are the results of several steps.
    pub fn read(path: &Path) -> Result<Self, ReadError> {
        ReportFile::open(path)?.parse()
    }

    /// Writes each distribution to a file `NAME.hgrm` in `directory`, in the format that
    /// HdrHistogram's plotters read. Times are in milliseconds.
    pub fn write_hgrm(&self, directory: &Path) -> Result<(), ReportError> {
        write_hgrm(directory, &self.histograms)
    }
}

/// Writes distributions as [`Report::write_hgrm`] does.
pub fn write_hgrm(directory: &Path, histograms: &BTreeMap<String, Latencies>) -> Result<(), ReportError> {
    fs::create_dir_all(directory).map_err(|source| ReportError::new(directory, source))?;
    for (name, latencies) in histograms {
        let path = directory.join(format!("{}.hgrm", file_name(name)));
        fs::write(&path, super::hgrm::text(latencies)).map_err(|source| ReportError::new(&path, source))?;
    }
    Ok(())
}

/// Turns a distribution's name into a plain file name; a report of another origin may contain any
/// name.
fn file_name(name: &str) -> String {
    let allowed = |c: char| if c.is_ascii_alphanumeric() || "._-".contains(c) { c } else { '_' };
    name.trim_start_matches('.').chars().map(allowed).collect()
}

/// Checks, before a run that may take hours, that its report can be written. An older report is
/// removed, so that it cannot be mistaken for the result of a run that failed.
pub fn check_writable(path: &Path) -> Result<(), ReportError> {
    let failed = |source| ReportError::new(path, source);
    let file = fs::OpenOptions::new().append(true).create(true).open(path).map_err(failed)?;
    // A pipe or a device is left in place.
    if file.metadata().is_ok_and(|metadata| metadata.is_file()) {
        fs::remove_file(path).map_err(failed)?;
    }
    Ok(())
}

/// Creates the directory if necessary, and checks that files can be written in it.
pub fn check_directory(path: &Path) -> Result<(), ReportError> {
    let failed = |source| ReportError::new(path, source);
    fs::create_dir_all(path).map_err(failed)?;
    tempfile::tempfile_in(path).map(drop).map_err(failed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Document;
    use crate::fixture::{findings, job, origin};

    fn read(text: &str) -> Result<Report, String> {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let path = dir.path().join("r.json");
        fs::write(&path, text).expect("writable");
        Report::read(&path).map_err(|error| error.to_string())
    }

    #[test]
    fn a_written_report_is_read_back() {
        let report = Report::new(&job("--threshold p99=4ms"), origin(), findings(1));
        let dir = tempfile::tempdir().expect("a temporary directory");
        let [path, again] = ["a.json", "b.json"].map(|name| dir.path().join(name));
        report.write_json(&path).expect("writable");
        let back = Report::read(&path).expect("readable");
        back.write_json(&again).expect("writable");
        let [first, second] = [path, again].map(|path| fs::read_to_string(path).expect("written"));
        first.lines().zip(second.lines()).for_each(|(first, second)| assert_eq!(first, second));
        assert_eq!(first, second);
        assert_eq!(
            (back.to_string(), back.to_html("run.html")),
            (report.to_string(), report.to_html("run.html"))
        );
        assert_eq!(back.histograms["latency"].summary(), report.latency_us);
        assert_eq!(
            back.histograms.keys().collect::<Vec<_>>(),
            [
                "first_recipient",
                "last_recipient",
                "latency",
                "latency_uncorrected",
                "recipient_skew",
                "sender_delay",
            ]
        );
    }

    #[test]
    fn errors_name_the_file_and_the_mistake() {
        let check = |text: &str, part: &str| {
            let error = read(text).expect_err("not a report");
            assert!(error.contains(part) && error.contains("r.json"), "{error}");
        };
        check("", "is no report of throng-harness");
        check("{}", "missing field `format`");
        let newer = r#"{"format": 2, "scenario": "broadcast", "version": "9.9.9", "clients": 7}"#;
        check(newer, "has form 2 and was written by throng-harness 9.9.9");
        check(
            r#"{"format": 1, "scenario": "peers", "version": "0.1.0"}"#,
            "is a report of `peers`, which has a format of its own: give one that",
        );
        let wrong =
            r#"{"format": 1, "scenario": "broadcast", "version": "0.1.0", "clients": {}, "sent": "x"}"#;
        check(wrong, "invalid type");
        let wrong = r#"{"format": 1, "scenario": "broadcast", "version": "0.1.0", "clients": {}, "histograms": {"latency": "AAAA"}}"#;
        check(wrong, "not a compressed HdrHistogram");
        let dir = tempfile::tempdir().expect("a temporary directory");
        let error = Report::read(&dir.path().join("none.json")).expect_err("not there").to_string();
        assert!(error.starts_with("cannot read ") && error.contains("none.json"), "{error}");
    }

    /// Reports of measurements, each the first of its form: cut to three seconds and one histogram.
    const EARLIER: [(&str, &str); 9] = [
        ("broadcast", include_str!("earlier/broadcast-2026-11-22.json")),
        ("login", include_str!("earlier/login-2026-11-22.json")),
        ("login", include_str!("earlier/login-2026-11-25.json")),
        ("login", include_str!("earlier/login-2026-11-26.json")),
        ("connect", include_str!("earlier/connect-2026-11-26.json")),
        ("broadcast", include_str!("earlier/long-2026-11-26.json")),
        ("broadcast", include_str!("earlier/broadcast-2026-11-26.json")),
        ("broadcast", include_str!("earlier/churn-2026-11-26.json")),
        ("bots", include_str!("earlier/bots-2026-11-26.json")),
    ];

    #[test]
    fn reports_of_earlier_versions_can_be_read() {
        for (scenario, text) in EARLIER {
            let report = read(text).unwrap_or_else(|error| panic!("{error}"));
            let json: serde_json::Value = serde_json::from_str(text).expect("JSON");
            assert_eq!((report.scenario.as_str(), json["scenario"].as_str()), (scenario, Some(scenario)));
            assert_eq!(json["latency_us"]["count"], report.latency_us.count, "{text}");
            let histograms = json["histograms"].as_object().map_or(0, serde_json::Map::len);
            assert_eq!(report.histograms.len(), histograms, "{text}");
            assert!(
                report.entries_requested() > 0 && report.to_html("run.html").contains("</html>"),
                "{text}"
            );
        }
    }

    #[test]
    fn a_directory_is_created_and_checked() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let report = Report::new(&job(""), origin(), findings(0));
        let inner = dir.path().join("a/b");
        check_directory(&inner).expect("made");
        report.write_hgrm(&inner).expect("written");
        assert!(fs::read_to_string(inner.join("latency.hgrm")).expect("written").contains("#[Mean"));
        assert_eq!(fs::read_dir(&inner).expect("there").count(), report.histograms.len());
        let file = dir.path().join("file");
        fs::write(&file, "").expect("writable");
        let error = check_directory(&file).expect_err("a file").to_string();
        assert!(error.contains("cannot write the report to "), "{error}");
    }
}
