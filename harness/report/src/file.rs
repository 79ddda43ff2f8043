//! Reports as files: writing them, and reading those of this version or an earlier one.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::{fs, io};

use serde::Deserialize;
use serde::de::{self, DeserializeOwned, IgnoredAny};
use thiserror::Error;
use throng_harness_model::record::Latencies;

use super::{FORMAT, Report};

/// Why a report could not be written.
#[derive(Debug, Error)]
#[error("cannot write the report to {}: {source}", path.display())]
pub struct ReportError {
    path: PathBuf,
    source: io::Error,
}

impl ReportError {
    /// The file at `path` could not be written.
    pub fn new(path: &Path, source: io::Error) -> Self {
        Self { path: path.into(), source }
    }
}

/// Why a file could not be read as a report.
#[derive(Debug, Error)]
pub enum ReadError {
    /// The system does not give it.
    #[error("cannot read {}: {source}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// It is no JSON report, or one with values that make no sense.
    #[error("{} is no report of throng-harness: {source}; give what `--json FILE` wrote", path.display())]
    Form {
        /// The file.
        path: PathBuf,
        /// What is wrong where.
        source: serde_json::Error,
    },
    /// It has another form than this version knows.
    #[error(
        "{} has form {format} and was written by throng-harness {version}; this is {}, which reads form {FORMAT}: \
         use a version that reads it",
        path.display(),
        env!("CARGO_PKG_VERSION")
    )]
    Format {
        /// The file.
        path: PathBuf,
        /// Its form.
        format: u32,
        /// Who wrote it.
        version: String,
    },
    /// It is a report of something that has a form of its own.
    #[error(
        "{} is a report of `{scenario}`, which has a form of its own: give one that a scenario (`broadcast`, `login` and so on), `ramp` or \
         `bench` wrote with --json",
        path.display()
    )]
    Scenario {
        /// The file.
        path: PathBuf,
        /// The scenario.
        scenario: String,
    },
}

/// What every report of every form has.
#[derive(Deserialize)]
struct Head {
    format: u32,
    scenario: String,
    version: String,
    clients: Option<IgnoredAny>,
    limit: Option<IgnoredAny>,
}

/// A file that has a report in the form of this version.
#[derive(Debug)]
pub struct ReportFile<'a> {
    path: &'a Path,
    text: String,
    has_steps: bool,
}

impl<'a> ReportFile<'a> {
    /// Reads the file and looks at its form.
    pub fn open(path: &'a Path) -> Result<Self, ReadError> {
        let at = || path.to_owned();
        let text = fs::read_to_string(path).map_err(|source| ReadError::File { path: at(), source })?;
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

    /// Whether the report is of several steps.
    pub fn has_steps(&self) -> bool {
        self.has_steps
    }

    /// The report.
    pub fn parse<T: DeserializeOwned>(&self) -> Result<T, ReadError> {
        let form = |source| ReadError::Form { path: self.path.to_owned(), source };
        serde_json::from_str(&self.text).map_err(form)
    }

    /// The error that says what is wrong with it.
    pub fn damaged(&self, why: &str) -> ReadError {
        ReadError::Form { path: self.path.to_owned(), source: de::Error::custom(why) }
    }
}

impl Report {
    /// Reads what [`Document::write_json`](super::Document::write_json) wrote, in this version or an earlier one. What an earlier one did not have is empty or 0; what a
    /// later one added is left out, and so is what several steps came to.
    pub fn read(path: &Path) -> Result<Self, ReadError> {
        ReportFile::open(path)?.parse()
    }

    /// Writes each distribution to a file `NAME.hgrm` in `directory`, in the form that plotters of HdrHistogram read. Times are in
    /// milliseconds.
    pub fn write_hgrm(&self, directory: &Path) -> Result<(), ReportError> {
        write_hgrm(directory, &self.histograms)
    }
}

/// Writes distributions as [`Report::write_hgrm`] does.
pub fn write_hgrm(directory: &Path, histograms: &BTreeMap<String, Latencies>) -> Result<(), ReportError> {
    fs::create_dir_all(directory).map_err(|source| ReportError::new(directory, source))?;
    for (name, latencies) in histograms {
        let path = directory.join(format!("{}.hgrm", plain(name)));
        fs::write(&path, super::hgrm::text(latencies)).map_err(|source| ReportError::new(&path, source))?;
    }
    Ok(())
}

/// A name that is one of a file in the directory: a report from elsewhere may have any.
fn plain(name: &str) -> String {
    let one = |c: char| if c.is_ascii_alphanumeric() || "._-".contains(c) { c } else { '_' };
    name.trim_start_matches('.').chars().map(one).collect()
}

/// Makes sure, before a run that may take hours, that its report can be written. An older one is removed: after a run that failed
/// nobody must take it for its result.
pub fn check_writable(path: &Path) -> Result<(), ReportError> {
    let failed = |source| ReportError::new(path, source);
    let file = fs::OpenOptions::new().append(true).create(true).open(path).map_err(failed)?;
    // What is not a file, like a pipe, stays what it is.
    if file.metadata().is_ok_and(|metadata| metadata.is_file()) {
        fs::remove_file(path).map_err(failed)?;
    }
    Ok(())
}

/// Makes sure that files can be written in a directory, which is made if need be.
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
    fn what_was_written_is_read() {
        let report = Report::new(&job("--threshold p99=4ms"), origin(), findings(1));
        let dir = tempfile::tempdir().expect("a temporary directory");
        let [path, again] = ["a.json", "b.json"].map(|name| dir.path().join(name));
        report.write_json(&path).expect("writable");
        let back = Report::read(&path).expect("its own");
        back.write_json(&again).expect("writable");
        let [first, second] = [path, again].map(|path| fs::read_to_string(path).expect("written"));
        first.lines().zip(second.lines()).for_each(|(first, second)| assert_eq!(first, second));
        assert_eq!(first, second);
        assert_eq!((back.to_string(), back.to_html()), (report.to_string(), report.to_html()));
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
    fn what_is_no_report_is_said() {
        let check = |text: &str, part: &str| {
            let error = read(text).expect_err("no report");
            assert!(error.contains(part) && error.contains("r.json"), "{error}");
        };
        check("", "is no report of throng-harness");
        check("{}", "missing field `format`");
        let newer = r#"{"format": 2, "scenario": "broadcast", "version": "9.9.9", "clients": 7}"#;
        check(newer, "has form 2 and was written by throng-harness 9.9.9");
        check(
            r#"{"format": 1, "scenario": "peers", "version": "0.1.0"}"#,
            "is a report of `peers`, which has a form of its own: give one that",
        );
        let wrong =
            r#"{"format": 1, "scenario": "broadcast", "version": "0.1.0", "clients": {}, "sent": "x"}"#;
        check(wrong, "invalid type");
        let wrong = r#"{"format": 1, "scenario": "broadcast", "version": "0.1.0", "clients": {}, "histograms": {"latency": "AAAA"}}"#;
        check(wrong, "no histogram in HdrHistogram's form");
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
            assert!(report.entries_requested() > 0 && report.to_html().contains("</html>"), "{text}");
        }
    }

    #[test]
    fn a_directory_is_made_and_tried() {
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
