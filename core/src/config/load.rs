//! Loading: defaults, then the file, then the environment, then the flags, each value checked.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::origin::Origin;
use super::problem::{ConfigError, Problem, ValueError};
use super::table::{Key, Settings};
use super::value::{Kind, Raw};

/// Prefix of Throng's environment variables.
const PREFIX: &str = "THRONG_";

/// Sources of a configuration.
#[derive(Debug, Clone, Default)]
pub struct Sources {
    file: Option<PathBuf>,
    environment: Vec<(OsString, OsString)>,
    flags: Vec<Flag>,
}

/// An assignment by a flag.
#[derive(Debug, Clone)]
struct Flag {
    /// The flag as typed, for messages.
    flag: String,
    /// `section.key=value`.
    assignment: String,
}

impl Sources {
    /// Adds a TOML file.
    #[must_use]
    pub fn file(mut self, path: impl Into<PathBuf>) -> Self {
        self.file = Some(path.into());
        self
    }

    /// Adds environment variables ([`std::env::vars_os`]): `THRONG_NET_SHARDS` sets `net.shards`. A
    /// variable that begins with `THRONG_` and names no key is refused.
    #[must_use]
    pub fn environment(mut self, variables: impl IntoIterator<Item = (OsString, OsString)>) -> Self {
        self.environment.extend(variables);
        self
    }

    /// Adds `section.key=value`, as the flag `--set` takes it. The last assignment of a key wins.
    #[must_use]
    pub fn set(mut self, assignment: impl Into<String>) -> Self {
        self.flags.push(Flag { flag: "--set".into(), assignment: assignment.into() });
        self
    }

    /// Adds a dedicated flag, such as `--data`, that sets the key `name`.
    #[must_use]
    pub fn flag(mut self, flag: &str, name: &str, value: &str) -> Self {
        self.flags.push(Flag { flag: flag.into(), assignment: format!("{name}={value}") });
        self
    }
}

/// A configuration that is being loaded.
pub(super) struct Loader<C> {
    pub(super) config: C,
    pub(super) problems: Vec<Problem>,
    /// Keys whose value was refused.
    pub(super) bad: Vec<&'static str>,
}

impl<C: Settings> Loader<C> {
    /// Reads all sources.
    pub(super) fn read(sources: &Sources) -> Self {
        let mut loader = Self { config: C::default(), problems: Vec::new(), bad: Vec::new() };
        if let Some(path) = &sources.file {
            match fs::read_to_string(path) {
                Ok(text) => loader.read_file(path, &text),
                Err(source) => loader.problems.push(Problem::Unreadable { path: path.clone(), source }),
            }
        }
        for (name, value) in &sources.environment {
            loader.read_variable(name, value);
        }
        for flag in &sources.flags {
            loader.read_flag(flag);
        }
        loader
    }

    /// Returns the configuration, or every problem with it.
    pub(super) fn finish(self) -> Result<C, ConfigError> {
        if self.problems.is_empty() { Ok(self.config) } else { Err(ConfigError { problems: self.problems }) }
    }

    fn read_file(&mut self, path: &Path, text: &str) {
        let origin = |offset: usize| {
            let line = 1 + text
                .char_indices()
                .take_while(|(at, _)| *at < offset)
                .filter(|(_, c)| *c == '\n')
                .count();
            Origin::File { path: path.into(), line }
        };
        let (document, errors) = DeTable::parse_recoverable(text);
        for error in &errors {
            let offset = error.span().map_or(0, |span| span.start);
            self.problems
                .push(Problem::Syntax { origin: origin(offset), message: error.message().to_owned() });
        }
        if !errors.is_empty() {
            // The parser guesses the rest of the file: problems with the guess would confuse.
            return;
        }
        for (name, value) in document.get_ref() {
            let DeValue::Table(keys) = value.get_ref() else {
                self.refuse("key", name.get_ref(), origin(name.span().start));
                continue;
            };
            if !C::SECTIONS.iter().any(|section| section.name == name.get_ref().as_ref()) {
                self.refuse("section", name.get_ref(), origin(name.span().start));
                continue;
            }
            for (key, value) in keys {
                let full_name = format!("{}.{}", name.get_ref(), key.get_ref());
                self.set(&full_name, &raw(value), origin(key.span().start));
            }
        }
    }

    fn read_variable(&mut self, name: &OsString, value: &OsString) {
        let shown = name.to_string_lossy();
        let Some(rest) = shown.strip_prefix(PREFIX) else { return };
        let full_name = rest.to_lowercase().replacen('_', ".", 1);
        let origin = Origin::Environment(shown.clone().into_owned());
        match value.to_str() {
            Some(text) => self.set(&full_name, &Raw::Text(text.to_owned()), origin),
            None => {
                self.set(&full_name, &Raw::Toml(Kind::Other("text that is not UTF-8"), "..".into()), origin);
            }
        }
    }

    fn read_flag(&mut self, flag: &Flag) {
        match flag.assignment.split_once('=') {
            Some((name, value)) => {
                let origin = Origin::Flag(flag.flag.clone());
                self.set(name.trim(), &Raw::Text(value.to_owned()), origin);
            }
            None => self
                .problems
                .push(Problem::NoAssignment { flag: flag.flag.clone(), text: flag.assignment.clone() }),
        }
    }

    /// Sets the key `name`, or reports the reason why not.
    fn set(&mut self, name: &str, raw: &Raw, origin: Origin) {
        let Some(key) = C::keys().find(|key| key.name == name) else {
            return self.refuse("key", name, origin);
        };
        match (key.set)(&mut self.config, raw) {
            Ok(()) => {
                self.config.origins_mut().insert(key.name, origin);
            }
            Err(reason) => self.refuse_value(key, raw, origin, reason),
        }
    }

    fn refuse_value(&mut self, key: &Key<C>, raw: &Raw, origin: Origin, reason: ValueError) {
        self.bad.push(key.name);
        // The reason may quote the value.
        let (value, reason) =
            if key.secret { ("[secret]".into(), ValueError::Hidden) } else { (raw.show(), reason) };
        self.problems.push(Problem::BadValue {
            name: key.name,
            value,
            origin,
            reason,
            allowed: (key.allowed)(),
        });
    }

    fn refuse(&mut self, what: &'static str, name: &str, origin: Origin) {
        let hint = match what {
            "section" => nearest(name, C::SECTIONS.iter().map(|section| section.name)),
            _ => same_key_elsewhere::<C>(name).or_else(|| nearest(name, C::keys().map(|key| key.name))),
        };
        self.problems.push(Problem::Unknown { what, name: name.into(), origin, hint });
    }
}

/// Copies a TOML value out of its document.
fn raw(value: &Spanned<DeValue<'_>>) -> Raw {
    match value.get_ref() {
        DeValue::String(text) => Raw::Toml(Kind::String, text.clone().into_owned()),
        DeValue::Integer(integer) => {
            // A number written in another base is shown in decimal.
            let decimal =
                i128::from_str_radix(integer.as_str(), integer.radix()).map(|value| value.to_string());
            Raw::Toml(Kind::Integer, decimal.unwrap_or_else(|_| integer.as_str().to_owned()))
        }
        DeValue::Boolean(value) => Raw::Toml(Kind::Boolean, value.to_string()),
        DeValue::Float(float) => {
            Raw::Toml(Kind::Other("a fraction without quotes"), float.as_str().to_owned())
        }
        DeValue::Datetime(datetime) => Raw::Toml(Kind::Other("a date"), datetime.to_string()),
        DeValue::Array(items) => Raw::Array(items.iter().map(raw).collect()),
        DeValue::Table(_) => Raw::Toml(Kind::Other("a table"), "{..}".into()),
    }
}

/// Returns the only key that has this short name in another section.
fn same_key_elsewhere<C: Settings>(name: &str) -> Option<String> {
    let short_name = name.rsplit('.').next().unwrap_or(name);
    let mut found = C::keys().filter(|key| key.short_name() == short_name);
    let only = found.next()?;
    found.next().is_none().then(|| only.name.to_owned())
}

/// Returns the candidate that `name` is probably a typing error of.
fn nearest<'a>(name: &str, candidates: impl Iterator<Item = &'a str>) -> Option<String> {
    // A name longer than any candidate is no typing error, and the comparison costs the product of
    // the lengths.
    let name: String = name.chars().take(64).collect::<String>().to_lowercase().replace('-', "_");
    candidates
        .map(|candidate| (strsim::damerau_levenshtein(&name, candidate), candidate))
        .filter(|(distance, candidate)| *distance <= (candidate.len() / 3).clamp(1, 4))
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate.to_owned())
}
