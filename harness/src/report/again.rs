//! `report`: reports that were written before, shown again or held against each other.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use super::compare::{Comparison, Named};
use super::{EXIT_BROKEN, EXIT_NOT_RUN, EXIT_OK, EXIT_USAGE, Report, ReportError};
use crate::cli::ReportJob;
use crate::record::Latencies;

/// Does what `job` asks for and gives the exit code.
pub(crate) fn run(job: &ReportJob, out: &mut impl Write, err: &mut impl Write) -> u8 {
    let mut failed = |error: &dyn Display, code| {
        let _ = writeln!(err, "error: {error}");
        code
    };
    let read = |path: &PathBuf| Report::read(path).map(|report| Named { path: path.clone(), report });
    let [baseline, new] = match [&job.baseline, &job.files].map(|side| side.iter().map(read).collect()) {
        [Ok(baseline), Ok(new)] => [baseline, new],
        [Err(error), _] | [_, Err(error)] => return failed(&error, EXIT_NOT_RUN),
    };
    let baseline: Vec<Named> = baseline;
    let new: Vec<Named> = new;
    let (code, written) = match &new[..] {
        [Named { report, .. }] if baseline.is_empty() => {
            let _ = write!(out, "{report}");
            (EXIT_OK, write_report(job, report))
        }
        _ => {
            let comparison = match Comparison::new(&baseline, &new, job.noise) {
                Ok(comparison) => comparison,
                Err(error) => return failed(&error, EXIT_USAGE),
            };
            let _ = write!(out, "{comparison}");
            let code = if comparison.is_worse() { EXIT_BROKEN } else { EXIT_OK };
            (code, write_comparison(job, &comparison, &baseline, &new))
        }
    };
    match written {
        Ok(()) => code,
        Err(error) => failed(&error, EXIT_NOT_RUN),
    }
}

fn write_report(job: &ReportJob, report: &Report) -> Result<(), ReportError> {
    job.json.as_ref().map_or(Ok(()), |path| report.write_json(path))?;
    job.html.as_ref().map_or(Ok(()), |path| report.write_html(path))?;
    job.hgrm.as_ref().map_or(Ok(()), |directory| report.write_hgrm(directory))
}

fn write_comparison(
    job: &ReportJob,
    comparison: &Comparison,
    baseline: &[Named],
    new: &[Named],
) -> Result<(), ReportError> {
    let write =
        |path: &Path, text: String| fs::write(path, text).map_err(|source| ReportError::new(path, source));
    if let Some(path) = &job.json {
        let json = serde_json::to_string_pretty(comparison);
        let json = json.map_err(|error| ReportError::new(path, error.into()))?;
        write(path, json + "\n")?;
    }
    if let Some(path) = &job.html {
        write(path, comparison.to_html(baseline, new))?;
    }
    if let Some(directory) = &job.hgrm {
        for (name, side) in [("baseline", baseline), ("new", new)] {
            super::file::write_hgrm(&directory.join(name), &merged(side))?;
        }
    }
    Ok(())
}

/// The distributions of several runs put together.
pub(super) fn merged(side: &[Named]) -> BTreeMap<String, Latencies> {
    let mut all: BTreeMap<String, Latencies> = BTreeMap::new();
    for (name, latencies) in side.iter().flat_map(|named| &named.report.histograms) {
        all.entry(name.clone()).or_default().merge(latencies);
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::tests::{findings, job, origin};

    /// Runs `report` with words for files in a directory that has the reports a, b and c, of which c lost a delivery, and d, of another scenario.
    fn report(line: &str) -> (u8, String, String, tempfile::TempDir) {
        let dir = tempfile::tempdir().expect("a temporary directory");
        for (name, lost, scenario) in
            [("a", 0, "broadcast"), ("b", 0, "broadcast"), ("c", 1, "broadcast"), ("d", 0, "bots")]
        {
            let mut report = Report::new(&job(""), origin(), findings(lost));
            report.scenario = scenario.into();
            report.write_json(&dir.path().join(name)).expect("writable");
        }
        let path = |name: &str| dir.path().join(name);
        let mut job = ReportJob {
            baseline: Vec::new(),
            files: Vec::new(),
            noise: 0.05,
            json: None,
            html: None,
            hgrm: None,
        };
        for word in line.split_whitespace() {
            match word.strip_prefix('-') {
                Some(baseline) => job.baseline.push(path(baseline)),
                None if word == "out" => {
                    job.json = Some(path("o.json"));
                    job.html = Some(path("o.html"));
                    job.hgrm = Some(path("o"));
                }
                None => job.files.push(path(word)),
            }
        }
        let (mut out, mut err) = (Vec::new(), Vec::new());
        let code = run(&job, &mut out, &mut err);
        let text = |bytes| String::from_utf8(bytes).expect("text");
        (code, text(out), text(err), dir)
    }

    #[test]
    fn one_is_shown_and_written_again() {
        let (code, out, err, dir) = report("c out");
        assert_eq!((code, err.as_str()), (EXIT_OK, ""));
        assert!(out.contains("BROKEN  missing=0"), "{out}");
        let read = |name: &str| fs::read_to_string(dir.path().join(name)).expect("written");
        assert_eq!(read("o.json"), read("c"));
        assert!(read("o.html").contains("FAIL") && read("o/latency.hgrm").contains("Percentile"));
    }

    #[test]
    fn several_are_compared() {
        let (code, out, _, dir) = report("-a -b c out");
        assert_eq!(code, EXIT_BROKEN, "{out}");
        assert!(out.contains("faulty deliveries"), "{out}");
        let read = |name: &str| fs::read_to_string(dir.path().join(name)).expect("written");
        let json: serde_json::Value = serde_json::from_str(&read("o.json")).expect("JSON");
        assert_eq!((&json["outcome"], &json["of"]), (&"worse".into(), &"broadcast".into()));
        assert!(read("o.html").contains("WORSE"));
        // Two runs of 20 deliveries.
        assert!(read("o/baseline/latency.hgrm").contains("Total count    =           40]"));
        assert!(read("o/new/latency.hgrm").contains("Total count    =           19]"));
        assert_eq!(report("-a b").0, EXIT_OK);
    }

    #[test]
    fn what_cannot_be_done_is_said() {
        let check = |line, code, part: &str| {
            let (found, out, err, _dir) = report(line);
            assert!(found == code && err.contains(part) && out.is_empty(), "{line}: {found}\n{out}\n{err}");
        };
        check("none", EXIT_NOT_RUN, "cannot read ");
        check("-none a", EXIT_NOT_RUN, "cannot read ");
        check("-a d", EXIT_USAGE, "compare reports of one scenario");
    }
}
