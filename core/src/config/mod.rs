//! The configuration: defaults, then a TOML file, then environment variables
//! (`THRONG_<SECTION>_<KEY>`), then flags (`--set section.key=value`).
//!
//! The table in `keys.rs` is the only place that knows the keys. Whatever is
//! wrong is reported at once, with the key's name, where the value came from
//! and what is allowed; there is no such thing as an ignored key.

mod checks;
mod keys;
mod load;
mod problem;
mod render;
mod table;
mod units;
mod value;

use std::path::{Path, PathBuf};

pub use keys::{
    Admin, Chat, Config, Content, Data, DbAgent, Duplicate, Engine, Link, Log, Login, Net, Odbc, Shutdown,
    Ticket,
};
pub use load::Sources;
pub use problem::{ConfigError, Problem, ValueError};
pub use table::Origin;
pub use units::{ByteSize, UnitError, format_duration, parse_duration};
pub use value::Secret;

use crate::log;
use load::Loader;
use table::Settings;

impl Config {
    /// Reads the sources and checks everything; the error has all that is wrong.
    pub fn load(sources: &Sources) -> Result<Self, ConfigError> {
        let mut loader = Loader::read(sources);
        checks::run(&mut loader);
        loader.finish()
    }

    /// Where a file is that a key names: a relative path is relative to `data.dir`.
    pub fn resolve(&self, path: &Path) -> PathBuf {
        self.data.dir.join(path)
    }

    /// Where the value of `name` (`section.key`) came from.
    pub fn origin(&self, name: &str) -> Origin {
        Settings::origin(self, name)
    }

    /// The effective configuration as commented TOML: each key with what it is for, what is
    /// allowed, its default and where its value came from. It loads to the same configuration.
    pub fn render(&self) -> String {
        format!(
            "# The effective configuration of Throng {}.\n\n{}",
            env!("CARGO_PKG_VERSION"),
            render::toml(self)
        )
    }

    /// The table of all keys, for docs/operations.md.
    pub fn markdown() -> String {
        render::markdown::<Self>()
    }

    /// A command line for reports: the values of secret keys are left out.
    pub fn redact(arguments: impl IntoIterator<Item = String>) -> String {
        redact::<Self>(arguments)
    }
}

impl From<&Log> for log::Options {
    fn from(config: &Log) -> Self {
        Self {
            filter: config.level.clone(),
            console: config.console,
            file: config.file.clone(),
            file_size: config.file_size.as_u64(),
            files: config.files,
        }
    }
}

fn redact<C: Settings>(arguments: impl IntoIterator<Item = String>) -> String {
    let redacted = arguments.into_iter().map(|argument| {
        let secret = C::keys().filter(|key| key.secret).find_map(|key| {
            let at = argument.find(&format!("{}=", key.name))?;
            Some(at + key.name.len() + 1)
        });
        match secret {
            Some(end) => format!("{}[secret]", &argument[..end]),
            None => argument,
        }
    });
    redacted.collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests;
