//! The binary `throng`.

use std::io::{self, Write};
use std::panic::{self, AssertUnwindSafe};
use std::process::ExitCode;

use clap::Parser;
use thiserror::Error;
use throng_core::config::{Config, ConfigError};
use throng_core::shutdown::{Cause, EXIT_CLEAN, EXIT_CRASH, EXIT_FAILED};
use throng_core::text::escaped_lines;
use throng_servers::cli::{Cli, Command, ConfigCommand};
use throng_servers::db::{self, DbCommandError};
use throng_servers::keygen::{self, KeygenError};
use throng_servers::launch::{self, LaunchError};
use throng_servers::manifest::{Manifest, ManifestError};
use throng_servers::process::{Process, StartError};
use throng_servers::role::{Role, set_role_defaults};

/// Exit code for an error on the command line or in the configuration; the same as clap's.
const EXIT_USAGE: u8 = 2;

/// Errors that end `throng`.
#[derive(Debug, Error)]
enum Failure {
    #[error("the configuration is not valid:\n{0}")]
    Config(#[from] ConfigError),
    #[error(transparent)]
    Keygen(#[from] KeygenError),
    #[error(transparent)]
    Start(#[from] StartError),
    #[error("cannot write to standard output: {0}")]
    Output(#[from] io::Error),
    #[error(transparent)]
    Launch(#[from] LaunchError),
    #[error(transparent)]
    Db(#[from] DbCommandError),
    #[error(transparent)]
    Manifest(#[from] ManifestError),
}

impl Failure {
    fn exit_code(&self) -> u8 {
        match self {
            Self::Config(_) => EXIT_USAGE,
            _ => EXIT_FAILED,
        }
    }
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    // The panic hook has written the crash report; only the exit code is left to set.
    let outcome = panic::catch_unwind(AssertUnwindSafe(|| run(&cli.command)));
    ExitCode::from(match outcome {
        Ok(Ok(code)) => code,
        Ok(Err(failure)) => {
            // It may quote a file or a database.
            let _ = writeln!(io::stderr(), "throng: {}", escaped_lines(&failure.to_string()));
            failure.exit_code()
        }
        Err(_) => EXIT_CRASH,
    })
}

fn run(command: &Command) -> Result<u8, Failure> {
    if let Some((roles, settings)) = command.roles() {
        let mut config = settings.load()?;
        set_role_defaults(&mut config, roles);
        return run_roles(&config, roles);
    }
    match command {
        Command::Keygen(settings) => {
            for key in keygen::ensure(&settings.load()?)? {
                print(&format!("{key}\n"))?;
            }
        }
        Command::Config(ConfigCommand::Print(settings)) => print(&settings.load()?.render())?,
        Command::Config(ConfigCommand::Check(settings)) => {
            settings.load()?;
            print("the configuration is valid\n")?;
        }
        Command::Db(command) => {
            let config = command.settings().load()?;
            let manifest = Manifest::of_database(&config);
            manifest.check()?;
            let succeeded = db::run(command, &config, &mut |text| print(text));
            manifest.after_command()?;
            let succeeded = succeeded?;
            return Ok(if succeeded { EXIT_CLEAN } else { EXIT_FAILED });
        }
        Command::Up(_) | Command::Login(_) | Command::Chat(_) | Command::DbAgent(_) => {}
    }
    Ok(EXIT_CLEAN)
}

/// Runs the roles until the process is asked to end, and returns the exit code. `up` creates
/// missing keys; single roles require them.
fn run_roles(config: &Config, roles: &[Role]) -> Result<u8, Failure> {
    let mut process = Process::start(config, roles)?;
    Manifest::of_roles(config, roles).check()?;
    if roles.len() == Role::ALL.len() {
        keygen::ensure(config)?;
    }
    match launch::run(config, roles, &mut process) {
        // After a crash the exit code says so, whatever else fails during the shutdown.
        Err(error) if process.shutdown.cause() != Some(Cause::Crash) => Err(error.into()),
        Err(error) => {
            tracing::error!("{error}");
            Ok(process.shutdown.exit_code())
        }
        Ok(()) => Ok(process.shutdown.exit_code()),
    }
}

/// Prints to standard output. A reader that has gone away is no failure.
fn print(text: &str) -> io::Result<()> {
    match io::stdout().write_all(text.as_bytes()).and_then(|()| io::stdout().flush()) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        result => result,
    }
}
