//! `throng-client`: a chat client for people.
//!
//! [`model`] is what one sees, without a screen: [tabs](tab), lines, unread counts. [`screen`]
//! shows it in a terminal, [`plain`] as lines, for pipes, screen readers and bots.

#![forbid(unsafe_code)]

mod app;
pub mod args;
pub mod command;
pub mod config;
pub mod door;
mod keys;
mod layout;
pub mod model;
pub mod plain;
pub mod screen;
pub mod servers;
pub mod tab;
mod text;
pub mod transcript;
mod users;
mod view;

use std::io;
use std::path::PathBuf;

use thiserror::Error;

/// Reasons for which the program ends before it has chatted.
#[derive(Debug, Error)]
pub enum StartError {
    /// The server or its key is not known.
    #[error(transparent)]
    Server(#[from] servers::ServerError),
    /// A file or the terminal cannot be used.
    #[error("cannot use {what}: {source}")]
    Io {
        /// The file, or the terminal.
        what: String,
        /// The system's error.
        source: io::Error,
    },
    /// The configuration file is not what it should be.
    #[error("{}: {error}", path.display())]
    Config {
        /// The file.
        path: PathBuf,
        /// The error, fit for a terminal.
        error: String,
    },
    /// A file with a password, or with whispers, may be read by others.
    #[error("{path} can be read by other users (mode {mode:04o}): `chmod 600` it")]
    Exposed {
        /// The file.
        path: String,
        /// Its permission bits.
        mode: u32,
    },
    /// A flag is missing.
    #[error("{0}")]
    Usage(&'static str),
}

impl StartError {
    /// Adds what it was that could not be used.
    pub fn io(what: impl Into<String>) -> impl FnOnce(io::Error) -> Self {
        let what = what.into();
        |source| Self::Io { what, source }
    }
}
