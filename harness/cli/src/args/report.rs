//! `report`.

use std::path::PathBuf;

use clap::Args;

/// Largest change that may count as noise.
const NOISE_MAX: f64 = 100.0;

#[derive(Debug, Args)]
#[command(after_help = "\
Exit codes: 0 shown, or nothing got significantly worse; 1 nothing could be tested, or a file cannot be read or written; \
2 usage, or the runs are not of one scenario; 3 something got significantly worse.")]
pub(super) struct RawReport {
    /// What `--json` wrote. One is shown again; of several, the first is what the others are compared with
    #[arg(value_name = "FILE", required = true)]
    files: Vec<PathBuf>,
    /// What to compare with, in place of the first FILE; repeatable, as several runs a side tell more than one
    #[arg(long, value_name = "FILE")]
    baseline: Vec<PathBuf>,
    /// Changes up to this are not called differences, however certain: what two runs of the same server differ by on this machine
    #[arg(long, value_name = "PERCENT", default_value = "5%", value_parser = parse_percent)]
    noise: f64,
    /// Write the report, or the comparison, to this file as JSON
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Write it to this file as a page for a browser, which needs no other file
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
    /// Write each whole distribution to a file in this directory, for plotters of HdrHistogram (milliseconds)
    #[arg(long, value_name = "DIR")]
    hgrm: Option<PathBuf>,
}

/// Reports that were written before, and what to make of them.
#[derive(Debug, Clone, PartialEq)]
pub struct ReportJob {
    /// What to compare with; empty if one report is to be shown.
    pub baseline: Vec<PathBuf>,
    /// One to be shown, or those to be compared; never empty.
    pub files: Vec<PathBuf>,
    /// Changes up to this share are noise.
    pub noise: f64,
    /// Where the result goes as JSON.
    pub json: Option<PathBuf>,
    /// Where it goes as a page.
    pub html: Option<PathBuf>,
    /// The directory for the distributions.
    pub hgrm: Option<PathBuf>,
}

impl RawReport {
    pub(super) fn check(self) -> Result<ReportJob, String> {
        let Self { mut files, mut baseline, noise, json, html, hgrm } = self;
        for output in json.iter().chain(&html) {
            if files.iter().chain(&baseline).any(|input| input == output) {
                return Err(format!(
                    "{} is to be read and written: the report in it would be lost",
                    output.display()
                ));
            }
        }
        if json.is_some() && json == html {
            return Err("--json and --html name the same file: one would replace the other".into());
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

/// A percentage, with or without its sign, as a share.
fn parse_percent(text: &str) -> Result<f64, String> {
    match text.trim_end_matches('%').trim().parse() {
        Ok(percent) if (0.0..=NOISE_MAX).contains(&percent) => Ok(percent / 100.0),
        _ => Err(format!("`{text}` is no share from 0% to {NOISE_MAX}%")),
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
    fn one_is_shown_and_several_are_compared() {
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
    fn what_makes_no_sense_is_said() {
        let check = |line: &str, part: &str| {
            let error = parse(line).expect_err(line);
            assert!(error.contains(part), "{line}: {error}");
        };
        check("", "<FILE>...");
        check("a --json a", "a is to be read and written");
        check("a --json x --html x", "name the same file");
        check("a a", "a is on both sides");
        check("a --noise much", "no share from 0% to 100%");
        check("a --noise=-1%", "no share from 0% to 100%");
    }
}
