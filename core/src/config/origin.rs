//! The origin of a key's value: a source and its place there.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;

/// Origin of a key's value.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Origin {
    /// The default; no source set the key.
    #[default]
    Default,
    /// A line of the configuration file.
    File {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
    },
    /// An environment variable, by name.
    Environment(String),
    /// A flag of the command line, such as `--set` or `--data`.
    Flag(String),
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            // Quoted and escaped, because it also occurs in comments of the rendered configuration.
            Self::File { path, line } => write!(f, "{:?}, line {line}", path.to_string_lossy()),
            Self::Environment(name) => write!(f, "environment variable {name}"),
            Self::Flag(name) => write!(f, "flag {name}"),
        }
    }
}

/// Origins by key; a key without an entry has its default.
pub(super) type Origins = BTreeMap<&'static str, Origin>;
