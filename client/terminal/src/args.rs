//! The command line.

use std::path::PathBuf;

use clap::Parser;

const EXAMPLES: &str = "\
Examples:
  throng-client --data throng-data
      the servers of `throng up` on this machine
  throng-client --server chat.example.org:9000 --key 3b6a27bc...
      a server for the first time; later without --key
  echo hello | throng-client --data throng-data --plain --user bee --password-file bee.txt
      says a line and leaves";

/// Chats on a Throng server.
#[expect(clippy::struct_excessive_bools, reason = "each is a flag")]
#[derive(Debug, Parser)]
#[command(version, after_help = EXAMPLES)]
pub struct Args {
    /// Directory of servers on this machine, which tells their address and key
    #[arg(long, value_name = "DIR", conflicts_with_all = ["server", "key"])]
    pub data: Option<PathBuf>,
    /// Address of the login server
    #[arg(long, value_name = "HOST:PORT")]
    pub server: Option<String>,
    /// Public key of the login server, which its operator has published; remembered
    #[arg(long, value_name = "HEX", requires = "server")]
    pub key: Option<String>,
    /// Forget the key that is remembered for the server, and take --key instead
    #[arg(long, requires = "key")]
    pub replace_key: bool,
    /// Account to log in with
    #[arg(long, value_name = "ID")]
    pub user: Option<String>,
    /// File with the password, readable by its owner only; without it the password is asked for
    #[arg(long, value_name = "FILE", requires = "user")]
    pub password_file: Option<PathBuf>,
    /// Make the account first
    #[arg(long, requires = "user")]
    pub sign_up: bool,
    /// Name of the character, if the account has none [default: the account's id]
    #[arg(long, value_name = "NAME")]
    pub character: Option<String>,
    /// Read lines from stdin and print lines to stdout, without colors and cursor movements
    #[arg(long)]
    pub plain: bool,
    /// Append all lines to this file, which only its owner can read
    #[arg(long, value_name = "FILE")]
    pub log: Option<PathBuf>,
    /// Use the mouse: the wheel scrolls, a click opens a tab. The terminal's own selection then
    /// needs Shift
    #[arg(long)]
    pub mouse: bool,
    /// Configuration file [default: throng/client.toml in the configuration directory of the user]
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// File with the keys of known servers [default: throng/known_servers in the configuration
    /// directory of the user]
    #[arg(long, value_name = "FILE")]
    pub known_servers: Option<PathBuf>,
}
