//! Runs a command line and returns its exit code.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fmt::Display;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use throng_core::shutdown::Shutdown;
use throng_harness_abuse::{AbuseJob, AbuseReport};
use throng_harness_driver::steps::{self, StepsJob};
use throng_harness_driver::{crew, target};
use throng_harness_model::exit::{EXIT_NOT_RUN, EXIT_OK, EXIT_USAGE};
use throng_harness_model::record::Latencies;
use throng_harness_model::results::Findings;
use throng_harness_model::spec::Job;
use throng_harness_model::target::Target;
use throng_harness_model::text::Shown;
use throng_harness_monitor::{MonitorJob, MonitorReport};
use throng_harness_peers::{PeersJob, PeersReport, bare};
use throng_harness_report::{
    Document, Form, Machine, Origin, Report, Text, check_directory, check_writable, write_hgrm,
};

use crate::args::{self, Expanded, Task};
use crate::reload;

/// The flag whose value reports must not show, and the text they show instead.
const PASSWORD: &str = "--password";
const SECRET: &str = "[secret]";

/// Runs the command line `args` and returns the exit code. `drive` runs one scenario, after all
/// checks have passed; it is called for each step if there are several, and `shutdown` is checked
/// in between. The report goes to `out`, in lines of `columns`, and to the files of `--json` and
/// `--html`, errors go to `err`; both get no control characters.
pub fn run<E: Display>(
    args: impl IntoIterator<Item = OsString>,
    out: &mut impl Write,
    columns: usize,
    err: &mut impl Write,
    shutdown: &Shutdown,
    drive: impl FnMut(&Job, &Target) -> Result<Findings, E>,
) -> u8 {
    run_shown(args, (&mut Shown(out), columns), &mut Shown(err), shutdown, drive)
}

/// Output for a report as text.
struct Output<'a, W> {
    to: &'a mut W,
    form: Form,
}

impl<W: Write> Output<'_, W> {
    fn print(&mut self, document: &dyn Document) {
        let _ = write!(self.to, "{}", Text { document, form: self.form });
    }
}

fn run_shown<E: Display>(
    args: impl IntoIterator<Item = OsString>,
    (out, columns): (&mut impl Write, usize),
    err: &mut impl Write,
    shutdown: &Shutdown,
    mut drive: impl FnMut(&Job, &Target) -> Result<Findings, E>,
) -> u8 {
    let Expanded { args, file } = match args::expand(args.into_iter().collect()) {
        Ok(expanded) => expanded,
        Err(error) => {
            let _ = writeln!(err, "error: {error}");
            return EXIT_USAGE;
        }
    };
    let command = recorded(&args);
    let parsed = args::parse(args);
    let is_verbose = parsed.as_ref().is_ok_and(|parsed| parsed.is_verbose);
    let out = &mut Output { to: out, form: Form { columns, is_verbose } };
    let job = match parsed.map(|parsed| parsed.task) {
        Ok(Task::Run(job)) => job,
        Ok(Task::Steps(job)) => return run_steps(&job, (command, file), out, err, shutdown, drive),
        Ok(Task::Peers(job)) => {
            let ended = run_peers(&job, command, out, err);
            return ended.unwrap_or_else(|error| not_run(error, err));
        }
        Ok(Task::Monitor(job)) => {
            let ended = run_monitor(&job, command, file, out, err);
            return ended.unwrap_or_else(|error| not_run(error, err));
        }
        Ok(Task::Abuse(job)) => {
            let ended = run_abuse(&job, command, file, out, err);
            return ended.unwrap_or_else(|error| not_run(error, err));
        }
        Ok(Task::Report(job)) => return reload::run(&job, &here(command), (out.to, columns), err),
        Ok(Task::BareWriter(writer)) => {
            return match bare::write(writer, out.to) {
                Ok(()) => EXIT_OK,
                Err(error) => not_run(error, err),
            };
        }
        Ok(Task::Crew) => return crew::serve(),
        // Help and version are no error.
        Err(answer) if !answer.use_stderr() => {
            let _ = write!(out.to, "{answer}");
            return EXIT_OK;
        }
        Err(error) => {
            let _ = write!(err, "{error}");
            if let Some(file) = file {
                let _ = writeln!(err, "\nWith {} this is: {}", file.display(), command.join(" "));
            }
            return EXIT_USAGE;
        }
    };
    let origin = here(command);
    let findings =
        match prepare(&job).and_then(|target| drive(&job, &target).map_err(|error| error.to_string())) {
            Ok(findings) => findings,
            Err(error) => return not_run(error, err),
        };
    let mut report = Report::new(&job, origin, findings);
    report.scenario_file = file.map(|path| path.display().to_string());
    finish(&report, &files_of(&job, &report.histograms), out, err)
}

/// Files of a report, besides the output.
struct Files<'a> {
    json: Option<&'a Path>,
    html: Option<&'a Path>,
    /// The directory for full distributions, and the distributions.
    hgrm: Option<(&'a Path, &'a BTreeMap<String, Latencies>)>,
}

/// Prints `report`, writes it to `files` and returns the exit code.
fn finish(
    report: &dyn Document,
    files: &Files<'_>,
    out: &mut Output<'_, impl Write>,
    err: &mut impl Write,
) -> u8 {
    out.print(report);
    let json = files.json.map(|path| report.write_json(path));
    let html = files.html.map(|path| report.write_html(path));
    let hgrm = files.hgrm.map(|(directory, histograms)| write_hgrm(directory, histograms));
    // One failed file does not prevent the others.
    let mut code = report.exit_code();
    for error in [json, html, hgrm].into_iter().flatten().filter_map(Result::err) {
        let _ = writeln!(err, "error: {error}");
        code = EXIT_NOT_RUN;
    }
    code
}

/// The files of `job`.
fn files_of<'a>(job: &'a Job, histograms: &'a BTreeMap<String, Latencies>) -> Files<'a> {
    let hgrm = job.hgrm.as_deref().map(|directory| (directory, histograms));
    Files { json: job.json.as_deref(), html: job.html.as_deref(), hgrm }
}

/// The origin of a report: the command, started now on this machine.
fn here(command: Vec<String>) -> Origin {
    Origin { command, started: SystemTime::now(), machine: Machine::this() }
}

fn not_run(error: impl Display, err: &mut impl Write) -> u8 {
    let _ = writeln!(err, "error: {error}");
    EXIT_NOT_RUN
}

/// Runs the steps of `job` in turn.
fn run_steps<E: Display>(
    job: &StepsJob,
    (command, file): (Vec<String>, Option<PathBuf>),
    out: &mut Output<'_, impl Write>,
    err: &mut impl Write,
    shutdown: &Shutdown,
    drive: impl FnMut(&Job, &Target) -> Result<Findings, E>,
) -> u8 {
    let origin = here(command);
    let first = job.factory.job(job.first());
    let prepared = first.and_then(|first| prepare(&first).map(|target| (first, target)));
    let report = prepared.and_then(|(first, target)| {
        let mut print = |text: &str| {
            let _ = writeln!(err, "{text}");
        };
        steps::run(job, &origin, &target, shutdown, &mut print, drive).map(|report| (report, first))
    });
    match report {
        Ok((mut report, first)) => {
            report.report.scenario_file = file.map(|path| path.display().to_string());
            finish(&report, &files_of(&first, &report.report.histograms), out, err)
        }
        Err(error) => not_run(error, err),
    }
}

/// Checks that the report's files can be written, and listens for Ctrl+C.
fn ready<'a>(files: impl IntoIterator<Item = &'a PathBuf>) -> Result<Shutdown, String> {
    for path in files {
        check_writable(path).map_err(|error| error.to_string())?;
    }
    let shutdown = Shutdown::new();
    shutdown.install_signals().map_err(|error| format!("cannot listen for Ctrl+C: {error}"))?;
    Ok(shutdown)
}

/// Runs `peers`, which starts its own servers.
fn run_peers(
    job: &PeersJob,
    command: Vec<String>,
    out: &mut Output<'_, impl Write>,
    err: &mut impl Write,
) -> Result<u8, String> {
    let origin = here(command);
    let shutdown = ready(job.json.iter().chain(&job.html))?;
    let results = throng_harness_peers::run(job, &shutdown, &mut |text| {
        let _ = writeln!(err, "{text}");
    });
    let report = PeersReport::new(job, origin, results.map_err(|error| error.to_string())?);
    let files = Files { json: job.json.as_deref(), html: job.html.as_deref(), hgrm: None };
    Ok(finish(&report, &files, out, err))
}

/// Runs `abuse`.
fn run_abuse(
    job: &AbuseJob,
    command: Vec<String>,
    file: Option<PathBuf>,
    out: &mut Output<'_, impl Write>,
    err: &mut impl Write,
) -> Result<u8, String> {
    let origin = here(command);
    let shutdown = ready(job.json.iter().chain(&job.html))?;
    let results = throng_harness_abuse::run(job, &shutdown, &mut |line| {
        // The attacks go on if the output is closed.
        let _ = writeln!(err, "{line}");
    });
    let mut report = AbuseReport::new(job, origin, results.map_err(|error| error.to_string())?);
    report.scenario_file = file.map(|path| path.display().to_string());
    let files = Files { json: job.json.as_deref(), html: job.html.as_deref(), hgrm: None };
    Ok(finish(&report, &files, out, err))
}

/// Runs `monitor`.
fn run_monitor(
    job: &MonitorJob,
    command: Vec<String>,
    file: Option<PathBuf>,
    out: &mut Output<'_, impl Write>,
    err: &mut impl Write,
) -> Result<u8, String> {
    let origin = here(command);
    let shutdown = ready(job.json.iter().chain(&job.html))?;
    let watched = throng_harness_monitor::run(job, &shutdown, &mut |line| {
        // Watching goes on if the output is closed.
        let _ = writeln!(err, "{line}");
    });
    let mut report = MonitorReport::new(job, origin, watched.map_err(|error| error.to_string())?);
    report.scenario_file = file.map(|path| path.display().to_string());
    let files = Files { json: job.json.as_deref(), html: job.html.as_deref(), hgrm: None };
    Ok(finish(&report, &files, out, err))
}

/// The command line as reports show it: without passwords.
fn recorded(args: &[OsString]) -> Vec<String> {
    let mut is_secret = false;
    let word = |arg: &OsString| match (std::mem::take(&mut is_secret), arg.to_string_lossy()) {
        (true, _) => SECRET.to_owned(),
        (false, arg) if arg.starts_with(&format!("{PASSWORD}=")) => format!("{PASSWORD}={SECRET}"),
        (false, arg) => {
            is_secret = arg == PASSWORD;
            arg.into_owned()
        }
    };
    args.iter().map(word).collect()
}

/// Finds the server and checks the output files, so that a run does not fail at its end.
fn prepare(job: &Job) -> Result<Target, String> {
    let target = target::resolve(&job.target, job.scenario.entrance(), job.server_pid)
        .map_err(|error| error.to_string())?;
    for path in job.json.iter().chain(&job.html) {
        check_writable(path).map_err(|error| error.to_string())?;
    }
    if let Some(directory) = &job.hgrm {
        check_directory(directory).map_err(|error| error.to_string())?;
    }
    Ok(target)
}

#[cfg(test)]
mod tests {

    use throng_harness_model::exit::{EXIT_BROKEN, EXIT_INTERRUPTED};
    use throng_harness_model::results::Clients;
    use throng_harness_report::form::COLUMNS;

    use super::*;

    const KEY: &str = "0102030405060708090a0b0c0d0e0f100102030405060708090a0b0c0d0e0f10";

    /// Runs a line whose run returns `findings` -> exit code, stdout and stderr.
    fn run_line(line: &str, findings: Result<Findings, &str>) -> (u8, String, String) {
        let args = std::iter::once("throng-harness").chain(line.split_whitespace()).map(OsString::from);
        let (mut out, mut err) = (Vec::new(), Vec::new());
        let mut findings = Some(findings);
        let code = run(args, &mut out, COLUMNS, &mut err, &Shutdown::new(), |_, _| {
            findings.take().expect("it is run once")
        });
        (code, String::from_utf8_lossy(&out).into_owned(), String::from_utf8_lossy(&err).into_owned())
    }

    fn login(more: &str) -> String {
        format!("login --server 127.0.0.1:9 --server-key {KEY} --clients 3 {more}")
    }

    fn connected(connected: u64) -> Findings {
        Findings { clients: Clients { requested: 3, connected, ..Clients::default() }, ..Findings::default() }
    }

    #[test]
    fn exit_codes_are_the_documented_ones() {
        let check = |line: &str, findings: Result<Findings, &str>, code, shown: &str| {
            let (found, out, err) = run_line(line, findings);
            assert_eq!(found, code, "{line}\n{out}\n{err}");
            assert!(out.contains(shown) || err.contains(shown), "{line}\n{out}\n{err}");
        };
        check(&login(""), Ok(connected(3)), EXIT_OK, "PASS");
        check(&login(""), Ok(connected(2)), EXIT_BROKEN, "BROKEN  connected=100%");
        check(&login("--threshold connected=50%"), Ok(connected(2)), EXIT_OK, "login: PASS");
        let line = login("--threshold connected=50% --verbose");
        check(&line, Ok(connected(2)), EXIT_OK, "held    connected=50%");
        check(
            &login(""),
            Ok(Findings { interrupted: true, ..connected(1) }),
            EXIT_INTERRUPTED,
            "INTERRUPTED",
        );
        check(&login(""), Err("the server is gone"), EXIT_NOT_RUN, "error: the server is gone");
        check(
            &login(""),
            Err("\u{1b}]52;c;eA==\u{7}\u{202E}\0"),
            EXIT_NOT_RUN,
            "error: \\u{1b}]52;c;eA==\\u{7}\\u{202e}\\u{0}\n",
        );
        check("\u{202E}x", Ok(connected(3)), EXIT_USAGE, "'\\u{202e}x'");
        check(&login("--workers 9"), Ok(connected(3)), EXIT_USAGE, "error: --workers 9 for --clients 3");
        check(&login("--workers 9"), Ok(connected(3)), EXIT_USAGE, "Usage: throng-harness login");
        check("--help", Ok(connected(3)), EXIT_OK, "Exit codes: 0 all thresholds held");
        check("broadcast --help", Ok(connected(3)), EXIT_OK, "--interval <TIME>");
        let none = "no servers' data in throng-data: start `throng up`, or pass --data DIR";
        check("connect", Ok(connected(3)), EXIT_NOT_RUN, none);
        check("--version", Ok(connected(3)), EXIT_OK, env!("CARGO_PKG_VERSION"));
        check(
            "connect --data /nonexistent",
            Ok(connected(3)),
            EXIT_NOT_RUN,
            "no servers' data in /nonexistent: start `throng up --data /nonexistent`, or pass --data DIR",
        );
    }

    #[test]
    fn a_report_is_written_also_when_a_threshold_is_broken() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let [path, html] = ["out.json", "out.html"].map(|name| dir.path().join(name));
        let line = login(&format!("--json {} --html {} --seed 4", path.display(), html.display()));
        assert_eq!(run_line(&line, Ok(connected(0))).0, EXIT_BROKEN);
        let json: serde_json::Value =
            serde_json::from_slice(&std::fs::read(&path).expect("written")).expect("JSON");
        assert_eq!(
            (&json["verdict"], &json["seed"], &json["scenario"]),
            (&"fail".into(), &4.into(), &"login".into())
        );
        assert_eq!(json["command"][1], "login");
        let page = std::fs::read_to_string(&html).expect("written");
        assert!(page.contains("FAIL") && page.contains("connected=100%"), "{page}");
    }

    #[test]
    fn a_scenario_file_is_a_command_line() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let [file, json] = ["s.toml", "out.json"].map(|name| dir.path().join(name));
        let write = |more: &str| {
            let text = format!(
                "scenario = 'login'\nserver = '127.0.0.1:9'\nserver-key = '{KEY}'\nclients = 2\n{more}"
            );
            std::fs::write(&file, text).expect("written");
        };
        let run = |flags: &str| run_line(&format!("run {} {flags}", file.display()), Ok(connected(3)));
        write("seeded = 's'\npassword = 'hunter-hunter'");
        let (code, out, err) = run(&format!("--clients 3 --json {}", json.display()));
        assert_eq!(code, EXIT_OK, "{out}{err}");
        let text = std::fs::read_to_string(&json).expect("written");
        assert!(!text.contains("hunter") && text.contains("--password=[secret]"), "{text}");
        let report: serde_json::Value = serde_json::from_str(&text).expect("JSON");
        assert_eq!(report["scenario_file"], file.display().to_string());
        assert_eq!(report["command"].as_array().expect("words")[1..3], ["login", "--password=[secret]"]);
        // A bad value is reported as on the command line, together with its file.
        write("rounds = 2");
        let (code, _, err) = run("");
        assert_eq!(code, EXIT_USAGE, "{err}");
        let whole = format!("With {} this is: throng-harness login --clients=2 --rounds=2", file.display());
        assert!(err.contains("--leave") && err.contains(&whole), "{err}");
        write("round = 2");
        let (code, _, err) = run("");
        assert!(code == EXIT_USAGE && err.contains("line 5: login has no flag --round;"), "{err}");
    }

    #[test]
    fn a_password_is_not_in_the_report() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let [path, html] = ["out.json", "out.html"].map(|name| dir.path().join(name));
        let check = |password: &str, words: &[&str]| {
            let files = format!("--json {} --html {}", path.display(), html.display());
            let (code, out, err) =
                run_line(&login(&format!("--seeded s {password} {files}")), Ok(connected(3)));
            assert_eq!(code, EXIT_OK, "{err}");
            let read = |path| std::fs::read_to_string(path).expect("written");
            let (json, page) = (read(&path), read(&html));
            for text in [&out, &err, &json, &page] {
                assert!(!text.contains("hunter"), "{text}");
            }
            assert!(page.contains("[secret]"), "{page}");
            let json: serde_json::Value = serde_json::from_str(&json).expect("JSON");
            let command = json["command"].as_array().expect("words");
            let at = command.iter().position(|word| word == words[0]).expect("the flag");
            assert_eq!(&command[at..at + words.len()], words);
        };
        check("--password hunter-hunter", &["--password", "[secret]", "--json"]);
        check("--password=hunter-hunter", &["--password=[secret]", "--json"]);
    }

    #[test]
    fn a_failed_report_file_does_not_prevent_the_other() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let [json, html] = ["json", "html"].map(|name| dir.path().join(name).join("out"));
        let line = login(&format!("--json {} --html {}", json.display(), html.display()));
        let args = std::iter::once("throng-harness").chain(line.split_whitespace()).map(OsString::from);
        std::fs::create_dir(dir.path().join("json")).expect("a directory");
        std::fs::create_dir(dir.path().join("html")).expect("a directory");
        let mut err = Vec::new();
        let code = run(
            args,
            &mut Vec::new(),
            COLUMNS,
            &mut err,
            &Shutdown::new(),
            |_, _| -> Result<Findings, &str> {
                std::fs::remove_dir_all(dir.path().join("json")).expect("it is there");
                Ok(connected(3))
            },
        );
        let err = String::from_utf8_lossy(&err);
        assert_eq!(code, EXIT_NOT_RUN, "{err}");
        assert!(err.contains("json/out: ") && !err.contains("html/out: "), "{err}");
        assert!(std::fs::read_to_string(&html).expect("written").contains("PASS"));
    }

    #[test]
    fn an_unwritable_report_file_stops_the_run_before_it_begins() {
        for flag in ["--json", "--html"] {
            let line = login(&format!("{flag} /nonexistent/out"));
            let args = std::iter::once("throng-harness").chain(line.split_whitespace()).map(OsString::from);
            let mut err = Vec::new();
            let code = run(
                args,
                &mut Vec::new(),
                COLUMNS,
                &mut err,
                &Shutdown::new(),
                |_, _| -> Result<Findings, &str> {
                    panic!("must not run");
                },
            );
            let err = String::from_utf8_lossy(&err);
            assert_eq!(code, EXIT_NOT_RUN, "{err}");
            assert!(err.contains("cannot write the report to /nonexistent/out: No such file"), "{err}");
        }
    }
}
