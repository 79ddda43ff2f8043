//! The command line of `report`.

use std::path::PathBuf;

use clap::Args;

use super::examples;

/// Largest `--noise`, in percent.
const NOISE_MAX: f64 = 100.0;

#[derive(Debug, Args)]
#[command(after_help = examples::REPORT)]
pub(super) struct RawReport {
    /// Reports written by `--json`: one to show again, or the runs of the new side of a comparison
    #[arg(value_name = "FILE", required = true)]
    files: Vec<PathBuf>,
    /// Run of the baseline, repeatable; the first FILE if left out
    #[arg(long, value_name = "FILE")]
    baseline: Vec<PathBuf>,
    /// Changes of the median up to this are not called different, however significant
    #[arg(long, value_name = "PERCENT", default_value = "5%", value_parser = parse_percent)]
    noise: f64,
    /// Write the report, or the comparison, to this file as JSON
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Write it to this file as a self-contained HTML page
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
    /// Write each distribution to a file in this directory, for HdrHistogram's plotters (in
    /// milliseconds)
    #[arg(long, value_name = "DIR")]
    hgrm: Option<PathBuf>,
}

/// Reports to show or to compare.
#[derive(Debug, Clone, PartialEq)]
pub struct ReportJob {
    /// Runs of the baseline; empty if one report is to be shown.
    pub baseline: Vec<PathBuf>,
    /// The report to show, or the runs of the new side; never empty.
    pub files: Vec<PathBuf>,
    /// Share up to which a change of the median is noise, from 0 to 1.
    pub noise: f64,
    /// Output file for JSON.
    pub json: Option<PathBuf>,
    /// Output file for the page.
    pub html: Option<PathBuf>,
    /// Output directory for distributions.
    pub hgrm: Option<PathBuf>,
}

impl RawReport {
    pub(super) fn check(self) -> Result<ReportJob, String> {
        let Self { mut files, mut baseline, noise, json, html, hgrm } = self;
        for output in json.iter().chain(&html) {
            if files.iter().chain(&baseline).any(|input| input == output) {
                return Err(format!(
                    "{} is both an input and an output: the report in it would be lost",
                    output.display()
                ));
            }
        }
        if json.is_some() && json == html {
            return Err("--json and --html name the same file: one would overwrite the other".into());
        }
        if baseline.is_empty() && files.len() > 1 {
            baseline.push(files.remove(0));
        }
        if let Some(both) = baseline.iter().find(|file| files.contains(file)) {
            return Err(format!("{} is on both sides: there is nothing to compare", both.display()));
        }
        Ok(ReportJob { baseline, files, noise, json, html, hgrm })
    }
}

/// Parses a percentage, with or without its sign, into a share.
fn parse_percent(text: &str) -> Result<f64, String> {
    match text.trim_end_matches('%').trim().parse() {
        Ok(percent) if (0.0..=NOISE_MAX).contains(&percent) => Ok(percent / 100.0),
        _ => Err(format!("`{text}` is not a percentage from 0% to {NOISE_MAX}%")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::args::{Cli, Task};
    use clap::Parser;

    fn parse(line: &str) -> Result<ReportJob, String> {
        let words = ["throng-harness", "report"].into_iter().chain(line.split_whitespace());
        match Cli::try_parse_from(words).map_err(|error| error.to_string())?.check()? {
            Task::Report(job) => Ok(job),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn one_file_is_shown_and_several_are_compared() {
        let check = |line: &str, baseline: &[&str], files: &[&str], noise: f64| {
            let job = parse(line).expect("complete");
            let paths = |names: &[&str]| names.iter().map(PathBuf::from).collect::<Vec<_>>();
            assert_eq!((job.baseline, job.files), (paths(baseline), paths(files)), "{line}");
            assert!((job.noise - noise).abs() < 1e-9, "{line}");
        };
        check("a.json", &[], &["a.json"], 0.05);
        check("a.json b.json", &["a.json"], &["b.json"], 0.05);
        check("a b c --noise 2.5%", &["a"], &["b", "c"], 0.025);
        check("--baseline a --baseline b c d --noise 0", &["a", "b"], &["c", "d"], 0.0);
        check("--baseline a c", &["a"], &["c"], 0.05);
    }

    #[test]
    fn contradictions_are_refused() {
        let check = |line: &str, part: &str| {
            let error = parse(line).expect_err(line);
            assert!(error.contains(part), "{line}: {error}");
        };
        check("", "<FILE>...");
        check("a --json a", "a is both an input and an output");
        check("a --json x --html x", "name the same file");
        check("a a", "a is on both sides");
        check("a --noise much", "not a percentage from 0% to 100%");
        check("a --noise=-1%", "not a percentage from 0% to 100%");
    }
}
