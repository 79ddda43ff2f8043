//! The configuration: defaults, then a TOML file, then environment variables
//! (`THRONG_<SECTION>_<KEY>`), then flags (`--set section.key=value`).
//!
//! The table in `keys.rs` is the only place that knows the keys. All problems are reported at once,
//! each with the key's name, the origin of the value and the allowed values. No key is ever
//! ignored.

mod checks;
mod keys;
mod load;
mod origin;
mod problem;
mod rate;
mod render;
mod table;
mod units;
mod value;

use std::net::IpAddr;
use std::path::{Path, PathBuf};

pub use keys::{
    Admin, Chat, Config, Content, ControlCharacters, Data, DbAgent, Duplicate, Engine, Limits, Link, Log,
    Login, Names, Net, Odbc, Shutdown, Ticket,
};
pub use load::Sources;
pub use origin::Origin;
pub use problem::{ConfigError, Problem, ValueError};
pub use rate::{Rate, RateError};
pub use units::{ByteSize, UnitError, format_duration, parse_duration};
pub use value::Secret;

use crate::log;
use load::Loader;

impl Limits {
    /// Returns true if no limit holds clients of this address.
    pub fn is_exempt(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        self.exempt.iter().any(|network| network.contains(&address))
    }
}
use table::Settings;

impl Config {
    /// Reads and checks all sources; the error lists every problem.
    pub fn load(sources: &Sources) -> Result<Self, ConfigError> {
        let mut loader = Loader::read(sources);
        checks::run(&mut loader);
        loader.finish()
    }

    /// Resolves the path in a key: a relative path is relative to `data.dir`.
    pub fn resolve(&self, path: &Path) -> PathBuf {
        self.data.dir.join(path)
    }

    /// Returns the origin of the value of `name` (`section.key`).
    pub fn origin(&self, name: &str) -> Origin {
        Settings::origin(self, name)
    }

    /// Renders the effective configuration as commented TOML: each key with its meaning, the
    /// allowed values, its default and the origin of its value. The text loads to the same
    /// configuration.
    pub fn render(&self) -> String {
        format!(
            "# The effective configuration of Throng {}.\n\n{}",
            env!("CARGO_PKG_VERSION"),
            render::toml(self)
        )
    }

    /// Renders the table of all keys for docs/operations.md.
    pub fn markdown() -> String {
        render::markdown::<Self>()
    }

    /// Joins a command line for reports, without the values of secret keys.
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
