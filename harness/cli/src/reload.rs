//! The scenario `report`: shows a report that was written before, or compares several.

use std::fmt::Display;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use serde::Serialize;
use throng_harness_driver::steps::WrittenReport;
use throng_harness_model::exit::{EXIT_BROKEN, EXIT_NOT_RUN, EXIT_OK, EXIT_USAGE};
use throng_harness_peers::PeersReport;
use throng_harness_report::compare::{CompareError, Comparison, Named};
use throng_harness_report::{
    Document, Form, Machine, Origin, ReadError, ReportError, Text, file_name, merged, write_hgrm,
};

use crate::args::ReportJob;

/// Error text and exit code of a `report` without a result.
struct Failed {
    why: String,
    code: u8,
}

impl Failed {
    fn new(why: impl Display, code: u8) -> Self {
        Self { why: why.to_string(), code }
    }
}

impl From<ReadError> for Failed {
    fn from(error: ReadError) -> Self {
        Self::new(error, EXIT_NOT_RUN)
    }
}

impl From<ReportError> for Failed {
    fn from(error: ReportError) -> Self {
        Self::new(error, EXIT_NOT_RUN)
    }
}

impl From<CompareError> for Failed {
    fn from(error: CompareError) -> Self {
        Self::new(error, EXIT_USAGE)
    }
}

/// A comparison as it is written to `--json`, with its own command line, time and machine.
#[derive(Serialize)]
struct Written<'a> {
    #[serde(flatten)]
    comparison: &'a Comparison,
    command: &'a [String],
    started_unix_s: u64,
    machine: &'a Machine,
}

/// Runs `job` and returns the exit code. `origin` is the origin of a comparison; a report that is
/// shown again keeps its own, and has all figures, with an answer of `columns`.
pub(crate) fn run(
    job: &ReportJob,
    origin: &Origin,
    (out, columns): (&mut impl Write, usize),
    err: &mut impl Write,
) -> u8 {
    let form = Form { columns, is_verbose: true };
    let code = match &job.files[..] {
        [path] if job.baseline.is_empty() => show(job, path, out, form),
        _ => compare(job, origin, out),
    };
    code.unwrap_or_else(|Failed { why, code }| {
        let _ = writeln!(err, "error: {why}");
        code
    })
}

fn show(job: &ReportJob, path: &Path, out: &mut impl Write, form: Form) -> Result<u8, Failed> {
    let report = match WrittenReport::read(path) {
        Err(ReadError::Scenario { scenario, .. }) if scenario == throng_harness_peers::SCENARIO => {
            return show_peers(job, path, out, form);
        }
        report => report?,
    };
    let _ = write!(out, "{}", Text { document: report.document(), form });
    write_report(job, &report)?;
    Ok(EXIT_OK)
}

/// Shows a report of `peers`, which has a form of its own.
fn show_peers(job: &ReportJob, path: &Path, out: &mut impl Write, form: Form) -> Result<u8, Failed> {
    if job.hgrm.is_some() {
        let why = format_args!(
            "{} is a report of `peers`, which has no distributions: leave --hgrm out",
            path.display()
        );
        return Err(Failed::new(why, EXIT_USAGE));
    }
    let report = PeersReport::read(path)?;
    let _ = write!(out, "{}", Text { document: &report, form });
    job.json.as_ref().map_or(Ok(()), |path| report.write_json(path))?;
    job.html.as_ref().map_or(Ok(()), |path| report.write_html(path))?;
    Ok(EXIT_OK)
}

fn compare(job: &ReportJob, origin: &Origin, out: &mut impl Write) -> Result<u8, Failed> {
    let read = |path: &PathBuf| {
        WrittenReport::read(path).map(|written| Named { path: path.clone(), report: written.into_report() })
    };
    let side = |files: &[PathBuf]| files.iter().map(read).collect::<Result<Vec<_>, _>>();
    let (baseline, new) = (side(&job.baseline)?, side(&job.files)?);
    let comparison = Comparison::new(&baseline, &new, job.noise)?;
    let _ = write!(out, "{comparison}");
    write_comparison(job, origin, &comparison, &baseline, &new)?;
    match &comparison.untested_because {
        _ if comparison.is_worse() => Ok(EXIT_BROKEN),
        // A build must not pass for lack of evidence.
        Some(why) => Err(Failed::new(format_args!("nothing was tested: {why}"), EXIT_NOT_RUN)),
        None => Ok(EXIT_OK),
    }
}

fn write_report(job: &ReportJob, report: &WrittenReport) -> Result<(), ReportError> {
    let document = report.document();
    job.json.as_ref().map_or(Ok(()), |path| document.write_json(path))?;
    job.html.as_ref().map_or(Ok(()), |path| document.write_html(path))?;
    job.hgrm.as_ref().map_or(Ok(()), |directory| write_hgrm(directory, report.histograms()))
}

fn write_comparison(
    job: &ReportJob,
    origin: &Origin,
    comparison: &Comparison,
    baseline: &[Named],
    new: &[Named],
) -> Result<(), ReportError> {
    let write =
        |path: &Path, text: String| fs::write(path, text).map_err(|source| ReportError::new(path, source));
    if let Some(path) = &job.json {
        let started = origin.started.duration_since(SystemTime::UNIX_EPOCH);
        let json = serde_json::to_string_pretty(&Written {
            comparison,
            command: &origin.command,
            started_unix_s: started.map_or(0, |since| since.as_secs()),
            machine: &origin.machine,
        });
        let json = json.map_err(|error| ReportError::new(path, error.into()))?;
        write(path, json + "\n")?;
    }
    if let Some(path) = &job.html {
        write(path, comparison.to_html(&file_name(path), baseline, new))?;
    }
    if let Some(directory) = &job.hgrm {
        for (name, side) in [("baseline", baseline), ("new", new)] {
            write_hgrm(&directory.join(name), &merged(side))?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use throng_harness_peers::Failure;
    use throng_harness_peers::fixture::report as test_report;
    use throng_harness_report::fixture::{findings, job, origin};
    use throng_harness_report::form::COLUMNS;
    use throng_harness_report::{Document, Report};

    use super::*;

    /// Runs `report` with the words of `line` in a directory with the reports `a` and `b`, which
    /// are alike, `lossy`, which lost a delivery, and `bots`, of another scenario. A word with a
    /// `-` in front is a file of the baseline, one with `*5` stands for five such files, and `out`
    /// for all outputs.
    fn report(line: &str) -> (u8, String, String, tempfile::TempDir) {
        let dir = tempfile::tempdir().expect("a temporary directory");
        for (name, lost, scenario) in
            [("a", 0, "broadcast"), ("b", 0, "broadcast"), ("lossy", 1, "broadcast"), ("bots", 0, "bots")]
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
            if word == "out" {
                (job.json, job.html, job.hgrm) =
                    (Some(path("o.json")), Some(path("o.html")), Some(path("o")));
                continue;
            }
            let name = word.trim_start_matches('-').trim_end_matches("*5");
            let side = if word.starts_with('-') { &mut job.baseline } else { &mut job.files };
            side.extend(vec![path(name); if word.ends_with("*5") { 5 } else { 1 }]);
        }
        let (mut out, mut err) = (Vec::new(), Vec::new());
        let code = run(&job, &origin(), (&mut out, COLUMNS), &mut err);
        let text = |bytes| String::from_utf8(bytes).expect("text");
        (code, text(out), text(err), dir)
    }

    #[test]
    fn a_single_report_is_shown_and_written_again() {
        let (code, out, err, dir) = report("lossy out");
        assert_eq!((code, err.as_str()), (EXIT_OK, ""));
        assert!(out.contains("BROKEN  missing=0"), "{out}");
        let read = |name: &str| fs::read_to_string(dir.path().join(name)).expect("written");
        assert_eq!(read("o.json"), read("lossy"));
        assert!(read("o.html").contains("FAIL") && read("o/latency.hgrm").contains("Percentile"));
    }

    #[test]
    fn five_runs_a_side_are_compared() {
        let (code, out, _, dir) = report("-a*5 lossy*5 out");
        assert_eq!(code, EXIT_BROKEN, "{out}");
        assert!(out.contains("faulty deliveries"), "{out}");
        let read = |name: &str| fs::read_to_string(dir.path().join(name)).expect("written");
        let json: serde_json::Value = serde_json::from_str(&read("o.json")).expect("JSON");
        assert_eq!((&json["outcome"], &json["of"]), (&"worse".into(), &"broadcast".into()));
        assert_eq!(
            (&json["command"], &json["machine"]["cpu"]),
            (&json!(origin().command), &"Test CPU".into())
        );
        assert_eq!(
            (&json["started_unix_s"], &json["version"]),
            (&77.into(), &env!("CARGO_PKG_VERSION").into())
        );
        assert!(read("o.html").contains("WORSE"));
        // Five runs of 20 deliveries.
        assert!(read("o/baseline/latency.hgrm").contains("Total count    =          100]"));
        assert!(read("o/new/latency.hgrm").contains("Total count    =           95]"));
        let (code, out, err, _dir) = report("-a*5 b*5");
        assert!(
            code == EXIT_OK && out.contains("NO SIGNIFICANT DIFFERENCE") && err.is_empty(),
            "{out}\n{err}"
        );
        let (code, out, err, _dir) = report("-lossy*5 b*5");
        assert!(code == EXIT_OK && out.contains("BETTER") && err.is_empty(), "{out}\n{err}");
    }

    #[test]
    fn with_fewer_runs_both_sides_are_shown_and_nothing_is_different() {
        for (line, counts) in [
            ("-a b out", "baseline has 1 and the new side 1"),
            ("-a -b lossy*5 out", "baseline has 2 and the new side 5"),
        ] {
            let (code, out, err, dir) = report(line);
            assert!(code == EXIT_NOT_RUN && out.contains("NOT TESTED"), "{code}\n{out}");
            assert!(
                out.contains("latency p50") && !out.contains("WORSE") && !out.contains("better"),
                "{out}"
            );
            assert!(err.starts_with("error: nothing was tested: a comparison takes 5 runs a side"), "{err}");
            assert!(err.contains(counts), "{err}");
            let json = fs::read_to_string(dir.path().join("o.json")).expect("written");
            assert!(json.contains("\"outcome\": \"untested\""), "{json}");
        }
    }

    #[test]
    fn a_report_on_peers_is_shown_again() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let [kept, json, html] = ["kept.json", "o.json", "o.html"].map(|name| dir.path().join(name));
        let why = "it crashed".into();
        let failure = Failure { system: "redis".into(), case: 'F', repetition: 1, why };
        let report = test_report(false, vec![failure]);
        report.write_json(&kept).expect("writable");
        let shown = |hgrm| {
            let (json, html) = (Some(json.clone()), Some(html.clone()));
            let job =
                ReportJob { baseline: Vec::new(), files: vec![kept.clone()], noise: 0.0, json, html, hgrm };
            let (mut out, mut err) = (Vec::new(), Vec::new());
            let code = run(&job, &origin(), (&mut out, COLUMNS), &mut err);
            (code, String::from_utf8_lossy(&out).into_owned(), String::from_utf8_lossy(&err).into_owned())
        };
        let (code, out, err) = shown(Some(dir.path().into()));
        assert!(
            code == EXIT_USAGE && out.is_empty() && err.contains("leave --hgrm out"),
            "{code}\n{out}{err}"
        );
        let (code, out, err) = shown(None);
        assert_eq!((code, err.as_str()), (EXIT_OK, ""));
        assert_eq!(out, report.to_string());
        let read = |path: &Path| fs::read_to_string(path).expect("there");
        assert_eq!(read(&json), read(&kept));
        assert_eq!(read(&html), report.to_html(&file_name(&html)));
    }

    /// Every string and key of a report may be a stranger's.
    #[test]
    fn texts_of_a_report_command_neither_a_terminal_nor_a_page() {
        const BAD: &str = "\u{1b}[2J\u{1b}]52;c;eA==\u{7}\u{9b}m\0\nPASS\u{202E}";
        const SHOWN: &str = "\\u{1b}[2J\\u{1b}]52;c;eA==\\u{7}\\u{9b}m\\u{0}\\nPASS\\u{202e}";
        fn spoil(json: &mut serde_json::Value, path: &str) {
            match json {
                // These have a few possible values, and are refused with another one.
                serde_json::Value::String(_) if ["verdict", "histograms"].contains(&path) => {}
                serde_json::Value::String(text) => text.push_str(BAD),
                serde_json::Value::Array(items) => items.iter_mut().for_each(|item| spoil(item, path)),
                serde_json::Value::Object(map) => {
                    for (key, value) in map.iter_mut() {
                        spoil(value, if path == "histograms" { path } else { key });
                    }
                    if ["reasons", "retries", "phases_us"].contains(&path) {
                        *map =
                            std::mem::take(map).into_iter().map(|(key, value)| (key + BAD, value)).collect();
                    }
                }
                _ => {}
            }
        }
        let dir = tempfile::tempdir().expect("a temporary directory");
        let path = dir.path().join("bad.json");
        let mut report = Report::new(&job(""), origin(), findings(1));
        report.clients.reasons.insert("a reason".into(), 1);
        report.invalid_because.push("a reason".into());
        (report.valid, report.incomplete_because) = (false, vec!["a reason".into()]);
        let mut json = serde_json::to_value(&report).expect("JSON");
        spoil(&mut json, "");
        fs::write(&path, json.to_string()).expect("writable");
        let job = ReportJob {
            baseline: Vec::new(),
            files: vec![path],
            noise: 0.0,
            json: None,
            html: Some(dir.path().join("bad.html")),
            hgrm: None,
        };
        let (mut out, mut err) = (Vec::new(), Vec::new());
        assert_eq!(
            run(&job, &origin(), (&mut out, COLUMNS), &mut err),
            EXIT_OK,
            "{}",
            String::from_utf8_lossy(&err)
        );
        let out = String::from_utf8(out).expect("text");
        let html = fs::read_to_string(dir.path().join("bad.html")).expect("written");
        for text in [&out, &html] {
            assert!(text.matches(SHOWN).count() >= 5, "{text}");
            assert!(!text.chars().any(|c| c != '\n' && throng_core::text::is_control(c)), "{text:?}");
            assert!(!text.lines().any(|line| line.starts_with("PASS")), "{text}");
        }
        json["scenario"] = BAD.into();
        json["clients"] = serde_json::Value::Null;
        fs::write(&job.files[0], json.to_string()).expect("writable");
        err.clear();
        assert_eq!(run(&job, &origin(), (&mut Vec::new(), COLUMNS), &mut err), EXIT_NOT_RUN);
        assert!(String::from_utf8_lossy(&err).contains(SHOWN), "{}", String::from_utf8_lossy(&err));
    }

    #[test]
    fn errors_name_their_cause() {
        let check = |line, code, part: &str| {
            let (found, out, err, _dir) = report(line);
            assert!(found == code && err.contains(part) && out.is_empty(), "{line}: {found}\n{out}\n{err}");
        };
        check("none", EXIT_NOT_RUN, "cannot read ");
        check("-none a", EXIT_NOT_RUN, "cannot read ");
        check("-a bots", EXIT_USAGE, "compare reports of one scenario");
    }
}
