//! The configuration file: what would otherwise stand on every command line.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use throng_client::escaped;

use crate::StartError;
use crate::args::Args;

/// Keys of the file. Each is the flag of the same name, which goes before it.
///
/// ```
/// use clap::Parser;
/// use throng_client_terminal::args::Args;
/// use throng_client_terminal::config::Config;
///
/// let file = "server = 'chat.example.org:9000'\nuser = 'bee'\nmouse = true";
/// let config = Config::parse(file).unwrap();
/// let args = config.complete(Args::parse_from(["throng-client", "--user", "ant"]));
/// assert_eq!(args.server.as_deref(), Some("chat.example.org:9000"));
/// assert!(args.user.as_deref() == Some("ant") && args.mouse);
/// ```
#[derive(Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Directory of servers on this machine.
    data: Option<PathBuf>,
    /// Address of the login server.
    server: Option<String>,
    /// Account to log in with.
    user: Option<String>,
    /// File with the password.
    password_file: Option<PathBuf>,
    /// Name of the character.
    character: Option<String>,
    /// File that all lines are appended to.
    log: Option<PathBuf>,
    /// True to use the mouse.
    #[serde(default)]
    mouse: bool,
}

impl Config {
    /// Reads the file that `--config` names, or else the user's own if there is one.
    pub fn load(args: &Args) -> Result<Self, StartError> {
        let path = args.config.clone().unwrap_or_else(|| directory().join("client.toml"));
        let text = match fs::read_to_string(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound && args.config.is_none() => String::new(),
            other => other.map_err(StartError::io(path.display().to_string()))?,
        };
        Self::parse(&text).map_err(|error| StartError::Config { path, error })
    }

    /// Parses a file. The error is fit for a terminal.
    pub fn parse(text: &str) -> Result<Self, String> {
        toml::from_str(text).map_err(|error| {
            let lines: Vec<_> = error.to_string().lines().map(|line| escaped(line).into_owned()).collect();
            lines.join("\n")
        })
    }

    /// Returns the command line with what it does not say itself.
    pub fn complete(self, mut args: Args) -> Args {
        if args.data.is_none() && args.server.is_none() {
            (args.data, args.server) = (self.data, self.server);
        }
        // The password is that of the account.
        if args.user.is_none() {
            args.user = self.user;
            args.password_file = args.password_file.or(self.password_file);
        }
        args.character = args.character.or(self.character);
        args.log = args.log.or(self.log);
        args.mouse |= self.mouse;
        args
    }
}

/// Returns the directory of the user's files.
pub(crate) fn directory() -> PathBuf {
    let directory = std::env::var_os("XDG_CONFIG_HOME").map(PathBuf::from).filter(|path| path.is_absolute());
    let home = || std::env::home_dir().unwrap_or_default().join(".config");
    directory.unwrap_or_else(home).join(Path::new("throng"))
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    fn args(flags: &str) -> Args {
        Args::parse_from(["throng-client"].into_iter().chain(flags.split_whitespace()))
    }

    #[test]
    fn flags_go_before_the_file() {
        let config = || Config::parse("data = 'here'\nuser = 'bee'\npassword_file = 'bee.txt'").unwrap();
        let completed = config().complete(args("--server there:1"));
        assert_eq!((completed.data, completed.server.as_deref()), (None, Some("there:1")));
        assert_eq!(completed.password_file, Some("bee.txt".into()));
        // Not the password of another account.
        let completed = config().complete(args("--user ant"));
        assert_eq!((completed.user.as_deref(), completed.password_file), (Some("ant"), None));
        assert_eq!(completed.data, Some("here".into()));
    }

    #[test]
    fn what_is_wrong_in_a_file_is_said_and_harmless() {
        let error = Config::parse("sever = 'chat.example.org:9000'").unwrap_err();
        assert!(error.contains("sever") && error.contains("server"), "{error}");
        let error = Config::parse("user = \"\u{9b}31m").unwrap_err();
        assert!(!error.contains('\u{9b}') && error.contains("\\u{9b}31m"), "{error}");
        let missing = Config::load(&args("--config /nowhere/client.toml"));
        assert!(matches!(missing, Err(StartError::Io { .. })), "{missing:?}");
    }
}
