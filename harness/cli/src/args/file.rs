//! A scenario as a TOML file. The file is turned into the equivalent command line, so that the
//! command line makes every check and every error message.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::{fs, io};

use clap::{Arg, ArgAction, Args, Command, CommandFactory};
use thiserror::Error;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::Cli;

/// The subcommand that takes a scenario file.
const RUN: &str = "run";

/// The key that names the scenario.
const SCENARIO: &str = "scenario";

/// Longest name that is compared with the known ones to suggest a correction.
const NAME_MAX: usize = 64;

/// `run` as `--help` shows it. [`expand`] replaces every complete `run` before parsing, so parsing
/// one is an error.
#[derive(Debug, Args)]
pub(super) struct RawRun {
    /// The scenario's file
    #[arg(value_name = "FILE.toml")]
    file: PathBuf,
    /// Flags of the scenario; they override the file's
    #[arg(value_name = "FLAGS", trailing_var_arg = true, allow_hyphen_values = true)]
    flags: Vec<OsString>,
}

impl RawRun {
    pub(super) fn check(&self) -> String {
        let file = self.file.display();
        format!("the file comes first: `run {file} ...`, and the flags after it")
    }
}

/// A place in a scenario file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    path: PathBuf,
    line: usize,
}

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}, line {}", self.path.display(), self.line)
    }
}

/// An unusable scenario file.
#[derive(Debug, Error)]
pub enum FileError {
    /// The file cannot be read.
    #[error("cannot read the scenario file {}: {source}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// The file is not TOML.
    #[error("{place}: {message}")]
    Syntax {
        /// The place of the fault.
        place: Place,
        /// The parser's message.
        message: String,
    },
    /// The file names no scenario.
    #[error("{} names no scenario: add a line such as scenario = \"broadcast\"", path.display())]
    NoScenario {
        /// The file.
        path: PathBuf,
    },
    /// The scenario is unknown.
    #[error("{place}: there is no scenario {name:?}; {}", advice(hint.as_deref(), "`throng-harness --help` lists them all"))]
    UnknownScenario {
        /// The place of the name.
        place: Place,
        /// The name in the file.
        name: String,
        /// The known name nearest to it.
        hint: Option<String>,
    },
    /// The scenario has no such flag.
    #[error("{place}: {scenario} has no flag --{key}; {}", advice(hint.as_deref(), &format!("`throng-harness {scenario} --help` lists them all")))]
    UnknownKey {
        /// The place of the key.
        place: Place,
        /// The key as given.
        key: String,
        /// The scenario.
        scenario: String,
        /// The known flag nearest to it.
        hint: Option<String>,
    },
    /// The flag cannot take the value.
    #[error("{place}: {key} {reason}")]
    BadValue {
        /// The place of the value.
        place: Place,
        /// The key.
        key: String,
        /// The fault, and a valid form.
        reason: &'static str,
    },
}

fn advice(hint: Option<&str>, otherwise: &str) -> String {
    hint.map_or_else(|| otherwise.to_owned(), |hint| format!("did you mean {hint:?}?"))
}

/// A command line without `run`.
#[derive(Debug, PartialEq, Eq)]
pub struct Expanded {
    /// The program's name, the scenario, the file's flags and then the typed flags.
    pub args: Vec<OsString>,
    /// The file that `run` named.
    pub file: Option<PathBuf>,
}

/// Replaces `run FILE` by the file's scenario and flags, except for flags that are typed as well.
/// Returns any other command line unchanged.
pub fn expand(args: Vec<OsString>) -> Result<Expanded, FileError> {
    match &args[..] {
        [program, run, file, typed @ ..]
            if run == RUN && !file.to_string_lossy().starts_with('-') && file != "help" =>
        {
            let path = PathBuf::from(file);
            let text = fs::read_to_string(&path)
                .map_err(|source| FileError::Unreadable { path: path.clone(), source })?;
            let words = Document { path: &path, text: &text }.words(typed)?;
            let words = words.into_iter().map(OsString::from);
            let args = std::iter::once(program.clone()).chain(words).chain(typed.iter().cloned()).collect();
            Ok(Expanded { args, file: Some(path) })
        }
        _ => Ok(Expanded { args, file: None }),
    }
}

/// A scenario file in memory.
struct Document<'a> {
    path: &'a Path,
    text: &'a str,
}

impl Document<'_> {
    /// The scenario's name and the file's flags, without those that `typed` replaces.
    fn words(&self, typed: &[OsString]) -> Result<Vec<String>, FileError> {
        let table = DeTable::parse(self.text).map_err(|error| FileError::Syntax {
            place: self.place(error.span().map_or(0, |span| span.start)),
            message: error.message().to_owned(),
        })?;
        let table = table.get_ref();
        let Some(value) = table.get(SCENARIO) else {
            return Err(FileError::NoScenario { path: self.path.into() });
        };
        let cli = Cli::command();
        let scenario = self.scenario(&cli, value)?;
        let flags: Vec<&Arg> = scenario.get_arguments().chain(cli.get_arguments()).collect();
        let replaced = replaced_by(scenario, &flags, typed);
        let mut words = vec![scenario.get_name().to_owned()];
        for (key, value) in table.iter().filter(|(key, _)| key.get_ref() != SCENARIO) {
            let Some(flag) = flag_named(&flags, key.get_ref()) else {
                return Err(FileError::UnknownKey {
                    place: self.place(key.span().start),
                    key: key.get_ref().to_string(),
                    scenario: scenario.get_name().into(),
                    hint: nearest(key.get_ref(), flags.iter().filter_map(|flag| flag.get_long())),
                });
            };
            if replaced.contains(&flag.get_id().as_str()) {
                continue;
            }
            let name = flag.get_long().unwrap_or_default();
            let bad = |reason| FileError::BadValue {
                place: self.place(value.span().start),
                key: key.get_ref().to_string(),
                reason,
            };
            for value in values(flag, value).map_err(bad)? {
                words.push(value.map_or_else(|| format!("--{name}"), |value| format!("--{name}={value}")));
            }
        }
        Ok(words)
    }

    fn scenario<'c>(&self, cli: &'c Command, value: &Spanned<DeValue<'_>>) -> Result<&'c Command, FileError> {
        let place = self.place(value.span().start);
        let DeValue::String(name) = value.get_ref() else {
            let reason = "must be a name: write it in quotes";
            return Err(FileError::BadValue { place, key: SCENARIO.into(), reason });
        };
        let scenarios =
            || cli.get_subcommands().filter(|known| !known.is_hide_set() && known.get_name() != RUN);
        scenarios().find(|known| known.get_name() == name).ok_or_else(|| FileError::UnknownScenario {
            place,
            name: name.to_string(),
            hint: nearest(name, scenarios().map(Command::get_name)),
        })
    }

    fn place(&self, offset: usize) -> Place {
        let before = self.text.as_bytes().iter().take(offset);
        Place { path: self.path.into(), line: 1 + before.filter(|byte| **byte == b'\n').count() }
    }
}

fn flag_named<'c>(flags: &[&'c Arg], name: &str) -> Option<&'c Arg> {
    let is_named = |flag: &&&Arg| {
        flag.get_long() == Some(name) || flag.get_all_aliases().is_some_and(|all| all.contains(&name))
    };
    flags.iter().find(is_named).copied()
}

/// Flags of the file that a typed flag overrides: the same flag, or one that conflicts with it.
/// Repeatable flags accumulate instead.
fn replaced_by<'c>(scenario: &Command, flags: &[&'c Arg], typed: &[OsString]) -> Vec<&'c str> {
    let words = typed.iter().map(|word| word.to_string_lossy());
    let names = words.filter_map(|word| Some(word.strip_prefix("--")?.split('=').next()?.to_owned()));
    let typed: Vec<&Arg> = names.filter_map(|name| flag_named(flags, &name)).collect();
    let conflict = |a: &Arg, b: &Arg| {
        let of = |arg: &Arg| if arg.is_global_set() { vec![] } else { scenario.get_arg_conflicts_with(arg) };
        of(a).iter().any(|other| other.get_id() == b.get_id())
            || of(b).iter().any(|other| other.get_id() == a.get_id())
    };
    let is_replaced = |flag: &&Arg| {
        typed.iter().any(|given| {
            if given.get_id() == flag.get_id() { !is_repeatable(flag) } else { conflict(given, flag) }
        })
    };
    flags.iter().copied().filter(is_replaced).map(|flag| flag.get_id().as_str()).collect()
}

/// True if each further value of the flag is added to the earlier ones, not put in place of a
/// default list.
fn is_repeatable(flag: &Arg) -> bool {
    matches!(flag.get_action(), ArgAction::Append) && flag.get_value_delimiter().is_none()
}

/// The values that a key gives to its flag; `None` is a flag without a value.
fn values(flag: &Arg, value: &Spanned<DeValue<'_>>) -> Result<Vec<Option<String>>, &'static str> {
    let takes_value = flag.get_action().takes_values();
    match value.get_ref() {
        DeValue::Boolean(is_on) if !takes_value => Ok(if *is_on { vec![None] } else { Vec::new() }),
        _ if !takes_value => Err("is a switch: write true or false"),
        DeValue::Array(items) if matches!(flag.get_action(), ArgAction::Append) => {
            items.iter().map(|item| scalar(item).map(Some)).collect()
        }
        DeValue::Array(_) => Err("takes one value, not a list"),
        _ => Ok(vec![Some(scalar(value)?)]),
    }
}

/// The value as it would be typed.
fn scalar(value: &Spanned<DeValue<'_>>) -> Result<String, &'static str> {
    match value.get_ref() {
        DeValue::String(text) => Ok(text.clone().into_owned()),
        DeValue::Integer(integer) => {
            let decimal = i128::from_str_radix(integer.as_str(), integer.radix());
            Ok(decimal.map_or_else(|_| integer.as_str().to_owned(), |value| value.to_string()))
        }
        DeValue::Float(float) => Ok(float.as_str().to_owned()),
        DeValue::Boolean(value) => Ok(value.to_string()),
        DeValue::Datetime(_) => Err("cannot be a date: write a string in quotes, or a number"),
        DeValue::Array(_) | DeValue::Table(_) => {
            Err("is nested too deeply: write a string in quotes, a number, or a list of them")
        }
    }
}

/// The candidate that `name` is probably a misspelling of.
fn nearest<'a>(name: &str, candidates: impl Iterator<Item = &'a str>) -> Option<String> {
    let name: String = name.chars().take(NAME_MAX).collect::<String>().to_lowercase().replace('_', "-");
    candidates
        .map(|candidate| (strsim::damerau_levenshtein(&name, candidate), candidate))
        .filter(|(distance, candidate)| *distance <= (candidate.len() / 3).clamp(1, 4))
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate.to_owned())
}

#[cfg(test)]
mod tests {
    use std::fmt::Write as _;

    use clap::Parser;

    use super::*;

    /// Expands a file with flags typed after it -> the command line, or the error.
    fn expanded(text: &str, typed: &str) -> Result<String, String> {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let path = dir.path().join("s.toml");
        fs::write(&path, text).expect("written");
        let typed = typed.split_whitespace().map(OsString::from);
        let args = ["throng-harness".into(), "run".into(), path.clone().into()].into_iter().chain(typed);
        let shown = path.display().to_string();
        let found = expand(args.collect()).map_err(|error| error.to_string().replace(&shown, "s.toml"))?;
        assert_eq!(found.file, Some(path));
        let mut line = String::new();
        for word in found.args {
            write!(line, "{} ", word.display()).expect("a String takes everything");
        }
        Ok(line.trim_end().to_owned())
    }

    #[test]
    fn keys_are_flag_names() {
        let text = r#"
            # A room.
            scenario = "broadcast"
            data = "throng data"
            clients = 1_000
            interval = "2ms"
            threshold = ["p99=20ms", "missing=3"]
            require-valid = true
        "#;
        assert_eq!(
            expanded(text, "").as_deref(),
            Ok("throng-harness broadcast --clients=1000 --data=throng data --interval=2ms --require-valid \
                --threshold=p99=20ms --threshold=missing=3")
        );
        let text = "scenario = 'connect'\nhold = '7s'\nstorm = false\nseed = 0xff\n";
        assert_eq!(expanded(text, ""), Ok("throng-harness connect --duration=7s --seed=255".into()));
        let text = "scenario = 'monitor'\nverbose = true";
        assert_eq!(expanded(text, ""), Ok("throng-harness monitor --verbose".into()));
        assert_eq!(expanded(text, "--verbose"), Ok("throng-harness monitor --verbose".into()));
        let text = "scenario = 'peers'\nsystems = ['redis', 'throng']";
        assert_eq!(
            expanded(text, "").as_deref(),
            Ok("throng-harness peers --systems=redis --systems=throng")
        );
    }

    #[test]
    fn typed_flags_override_the_file() {
        let text = "scenario = 'connect'\ndata = 'd'\nclients = 5\nrate = 100\nthreshold = 'p99=1s'\n";
        assert_eq!(
            expanded(text, "--clients 7 --threshold p99=2s").as_deref(),
            Ok(
                "throng-harness connect --data=d --rate=100 --threshold=p99=1s --clients 7 --threshold p99=2s"
            )
        );
        // A flag of the file that conflicts with a typed one is dropped.
        assert_eq!(
            expanded(text, "--connect-interval=2ms --server a:1 --server-key k").as_deref(),
            Ok(
                "throng-harness connect --clients=5 --threshold=p99=1s --connect-interval=2ms --server a:1 --server-key k"
            )
        );
        assert_eq!(
            expanded("scenario = 'peers'\ncases = 'A'", "--cases B").as_deref(),
            Ok("throng-harness peers --cases B")
        );
    }

    #[test]
    fn errors_name_the_line() {
        let check = |text: &str, wanted: &str| assert_eq!(expanded(text, "").unwrap_err(), wanted, "{text}");
        check("clients = 5", "s.toml names no scenario: add a line such as scenario = \"broadcast\"");
        check(
            "\nscenario = 'broadcats'",
            "s.toml, line 2: there is no scenario \"broadcats\"; did you mean \"broadcast\"?",
        );
        check(
            "scenario = 'run'",
            "s.toml, line 1: there is no scenario \"run\"; `throng-harness --help` lists them all",
        );
        check("scenario = 5", "s.toml, line 1: scenario must be a name: write it in quotes");
        check(
            "scenario = 'connect'\n\nclient = 5",
            "s.toml, line 3: connect has no flag --client; did you mean \"clients\"?",
        );
        check(
            "scenario = 'connect'\nconnect_interval = '1ms'",
            "s.toml, line 2: connect has no flag --connect_interval; did you mean \"connect-interval\"?",
        );
        check(
            "scenario = 'connect'\nwings = 2",
            "s.toml, line 2: connect has no flag --wings; `throng-harness connect --help` lists them all",
        );
        check(
            "scenario = 'connect'\nstorm = 'yes'",
            "s.toml, line 2: storm is a switch: write true or false",
        );
        check(
            "scenario = 'connect'\nclients = [1, 2]",
            "s.toml, line 2: clients takes one value, not a list",
        );
        check(
            "scenario = 'connect'\nthreshold = [[1]]",
            "s.toml, line 2: threshold is nested too deeply: write a string in quotes, a number, or a list of them",
        );
        check(
            "scenario = 'connect'\nseed = 2026-01-01",
            "s.toml, line 2: seed cannot be a date: write a string in quotes, or a number",
        );
        assert!(expanded("scenario = 'connect\n", "").unwrap_err().starts_with("s.toml, line 1: "));
        let absent = expand(["h", "run", "absent.toml"].map(OsString::from).into()).unwrap_err().to_string();
        assert!(absent.starts_with("cannot read the scenario file absent.toml: No such file"), "{absent}");
    }

    #[test]
    fn other_command_lines_are_unchanged() {
        for line in ["h", "h run", "h run --help", "h connect --data run", "h run --seed 5 a.toml"] {
            let args: Vec<OsString> = line.split(' ').map(OsString::from).collect();
            assert_eq!(expand(args.clone()).expect("nothing to read"), Expanded { args, file: None });
        }
        let cli = Cli::try_parse_from(["h", "run", "a.toml", "--seed", "5"]).expect("complete");
        assert_eq!(
            cli.check().unwrap_err(),
            "the file comes first: `run a.toml ...`, and the flags after it"
        );
    }

    #[test]
    fn shipped_scenario_files_are_complete_command_lines() {
        let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../scenarios");
        let mut count = 0;
        for entry in fs::read_dir(&dir).expect("the directory is there") {
            let path = entry.expect("readable").path();
            let args = ["throng-harness".into(), "run".into(), path.clone().into_os_string()];
            let args = expand(args.into()).unwrap_or_else(|error| panic!("{error}")).args;
            let parsed = Cli::try_parse_from(args).map_err(|error| error.to_string());
            let task = parsed.and_then(Cli::check);
            assert!(task.is_ok(), "{}: {task:?}", path.display());
            count += 1;
        }
        assert!(count >= 5, "{count} files in {}", dir.display());
    }
}
