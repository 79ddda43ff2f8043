//! The command line of `throng`.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};
use throng_core::config::{Config, ConfigError, Sources};

use crate::role::Role;

/// Login server, DB agent and chat server for online games.
#[derive(Debug, Parser)]
#[command(
    name = "throng",
    version,
    after_help = "Exit codes: 0 success, 1 failure, 2 usage or configuration error, 70 crash."
)]
pub struct Cli {
    /// The command to run.
    #[command(subcommand)]
    pub command: Command,
}

/// The commands of `throng`.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run all servers in one process; the first start creates keys and database
    Up(Settings),
    /// Run the login server
    Login(Settings),
    /// Run the chat server
    Chat(Settings),
    /// Run the DB agent
    #[command(name = "dbagent")]
    DbAgent(Settings),
    /// Create missing keys; existing keys are never overwritten
    Keygen(Settings),
    /// Show or check the configuration
    #[command(subcommand)]
    Config(ConfigCommand),
    /// Maintain the database
    #[command(subcommand)]
    Db(DbCommand),
}

/// The commands of `throng config`.
#[derive(Debug, Subcommand)]
pub enum ConfigCommand {
    /// Print the effective configuration and the source of each value
    Print(Settings),
    /// Check that the configuration is valid
    Check(Settings),
}

/// The commands of `throng db`.
#[derive(Debug, Subcommand)]
pub enum DbCommand {
    /// Migrate the database to the newest schema
    Migrate(Settings),
    /// Show the migrations of the database
    Status(Settings),
    /// Check the driver, the connection, the schema, and the permission to execute each procedure
    Check {
        /// Also test every procedure; needs an empty database, and empties it afterwards
        #[arg(long)]
        full: bool,
        /// The configuration
        #[command(flatten)]
        settings: Settings,
    },
    /// Import accounts and characters from a CSV file
    ImportAccounts {
        /// CSV file: a header line, then `id,password[,name]` or `id,password_hash[,name]`
        file: PathBuf,
        /// The configuration
        #[command(flatten)]
        settings: Settings,
    },
    /// Create accounts with characters for tests
    Seed {
        /// Number of accounts
        #[arg(long, value_name = "N")]
        count: u64,
        /// Prefix of ids and names, before a number
        #[arg(long, default_value = "seed", value_name = "TEXT")]
        prefix: String,
        /// Password of every account
        #[arg(long, default_value = "seed-password", value_name = "TEXT")]
        password: String,
        /// The configuration
        #[command(flatten)]
        settings: Settings,
    },
}

impl DbCommand {
    /// Returns the settings of the command.
    pub fn settings(&self) -> &Settings {
        match self {
            Self::Migrate(settings)
            | Self::Status(settings)
            | Self::Check { settings, .. }
            | Self::ImportAccounts { settings, .. }
            | Self::Seed { settings, .. } => settings,
        }
    }
}

/// Sources of the configuration: defaults, then the file, then THRONG_SECTION_KEY variables, then
/// flags.
#[derive(Debug, Clone, Default, Args)]
pub struct Settings {
    /// Configuration file (TOML)
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Data directory; the same as --set data.dir=DIR [default: throng-data]
    #[arg(long, value_name = "DIR")]
    pub data: Option<String>,
    /// Set one configuration key; may be repeated
    #[arg(long = "set", value_name = "SECTION.KEY=VALUE")]
    pub set: Vec<String>,
}

impl Settings {
    /// Loads the configuration from the file, the environment and the flags.
    pub fn load(&self) -> Result<Config, ConfigError> {
        Config::load(&self.sources().environment(std::env::vars_os()))
    }

    fn sources(&self) -> Sources {
        let mut sources = Sources::default();
        if let Some(path) = &self.config {
            sources = sources.file(path);
        }
        if let Some(dir) = &self.data {
            sources = sources.flag("--data", "data.dir", dir);
        }
        self.set.iter().fold(sources, Sources::set)
    }
}

impl Command {
    /// Returns the roles that the command runs, and its settings; `None` if it runs no role.
    pub fn roles(&self) -> Option<(&'static [Role], &Settings)> {
        match self {
            Self::Up(settings) => Some((Role::ALL, settings)),
            Self::Login(settings) => Some((&[Role::Login], settings)),
            Self::Chat(settings) => Some((&[Role::Chat], settings)),
            Self::DbAgent(settings) => Some((&[Role::DbAgent], settings)),
            Self::Keygen(_) | Self::Config(_) | Self::Db(_) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_well_formed() {
        Cli::command().debug_assert();
    }

    #[test]
    fn commands_run_their_roles() {
        let check = |line: &str, wanted: Option<&[Role]>| {
            let cli = Cli::try_parse_from(line.split(' ')).unwrap();
            assert_eq!(cli.command.roles().map(|(roles, _)| roles), wanted, "{line}");
        };
        check("throng up", Some(Role::ALL));
        check("throng up --config a.toml --data d --set net.shards=2 --set admin.listen=", Some(Role::ALL));
        check("throng login --config a.toml", Some(&[Role::Login]));
        check("throng chat", Some(&[Role::Chat]));
        check("throng dbagent", Some(&[Role::DbAgent]));
        check("throng keygen --data d", None);
        check("throng config print", None);
        check("throng config check --config a.toml", None);
        check("throng db migrate", None);
        check("throng db status", None);
        check("throng db check --full --set dbagent.engine=postgres", None);
        check("throng db import-accounts accounts.csv --data d", None);
        check("throng db seed --count 500 --prefix bot", None);
    }

    #[test]
    fn later_flags_override_earlier_ones() {
        let settings = Settings {
            config: None,
            data: Some("here".into()),
            set: vec!["net.shards=2".into(), "net.shards=3".into()],
        };
        let config = Config::load(&settings.sources()).unwrap();
        assert_eq!((config.data.dir, config.net.shards), (PathBuf::from("here"), 3));
    }
}
