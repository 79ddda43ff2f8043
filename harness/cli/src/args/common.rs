//! Flags shared by all scenarios with Throng's clients.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ValueEnum};
use throng_core::config::{Config, parse_duration};
use throng_core::crypto::PublicKey;
use throng_core::limits::SHARDS_MAX;
use throng_harness_model::limits::{CLIENTS_MAX, PROCESSES_MAX, SOURCES_MAX};
use throng_harness_model::spec::Lists;
use throng_harness_model::target::{Entrance, TargetSource};
use throng_harness_model::threshold::Threshold;

/// Clients, unless `--clients` says otherwise.
const CLIENTS: u32 = 100;

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum RawLists {
    /// All clients; each keeps a list of all, so at most a few thousand clients
    All,
    /// About 32 clients; the others fetch all pages once
    Sample,
    /// No client; none fetches a page after the first
    None,
}

impl From<RawLists> for Lists {
    fn from(lists: RawLists) -> Self {
        match lists {
            RawLists::All => Self::All,
            RawLists::Sample => Self::Sample,
            RawLists::None => Self::None,
        }
    }
}

#[derive(Debug, Args)]
pub(super) struct Common {
    /// Data directory of a running `throng up`, for its addresses and keys [default: throng-data];
    /// or those of the chat servers of a fleet, over which clients are spread
    #[arg(long, value_name = "DIR[,DIR...]", value_delimiter = ',', conflicts_with_all = ["server", "server_key", "cluster_key"], help_heading = "Server")]
    pub(super) data: Vec<PathBuf>,
    /// Server to connect to: the login server for `login` and with --login, else the chat server
    #[arg(long, value_name = "HOST:PORT", requires = "server_key", help_heading = "Server")]
    pub(super) server: Option<String>,
    /// Public key of the server, 64 hexadecimal digits
    #[arg(long, value_name = "HEX", requires = "server", value_parser = parse_key, help_heading = "Server")]
    pub(super) server_key: Option<PublicKey>,
    /// File with the cluster's key, for making tickets (not for `login`)
    #[arg(long, value_name = "FILE", requires = "server", help_heading = "Server")]
    pub(super) cluster_key: Option<PathBuf>,
    /// Process whose CPU time and memory are recorded; found by itself with --data
    #[arg(long, value_name = "PID", help_heading = "Server")]
    pub(super) server_pid: Option<u32>,
    // No default for the parser: `take_largest` must tell a given number from the default.
    #[arg(long, value_name = "N", help = format!("Clients [default: {CLIENTS}]"), value_parser = clap::value_parser!(u32).range(1..=i64::from(CLIENTS_MAX)), help_heading = "Clients")]
    pub(super) clients: Option<u32>,
    /// Time between the starts of two connections
    #[arg(long, value_name = "TIME", default_value = "1ms", value_parser = parse_duration, help_heading = "Clients")]
    pub(super) connect_interval: Duration,
    /// Longest time of a client from connecting to being in the chat
    #[arg(long, value_name = "TIME", default_value = "30s", value_parser = parse_duration, help_heading = "Clients")]
    pub(super) connect_timeout: Duration,
    /// Event-loop threads of each process; clients are spread over them evenly
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=SHARDS_MAX as i64), help_heading = "Clients")]
    pub(super) workers: u32,
    /// Processes over which clients are spread evenly, for more clients than one process may have
    /// open files
    #[arg(long, value_name = "P", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=i64::from(PROCESSES_MAX)), help_heading = "Clients")]
    pub(super) processes: u32,
    /// Loopback addresses, from 127.0.0.1 on, that clients connect from, for a server on this
    /// machine; each has one range of ephemeral ports [default: as many as the clients need]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=i64::from(SOURCES_MAX)), help_heading = "Clients")]
    pub(super) sources: Option<u32>,
    /// Clients that keep the user list from pages and notices, to be checked against the clients
    /// present
    #[arg(long, value_name = "WHO", default_value = "sample", help_heading = "Clients")]
    pub(super) lists: RawLists,
    /// Seed of every random choice; drawn, and reported, unless given
    #[arg(long, value_name = "N", help_heading = "Clients")]
    pub(super) seed: Option<u64>,
    /// Write the report to this file as JSON
    #[arg(long, value_name = "FILE", help_heading = "Result")]
    pub(super) json: Option<PathBuf>,
    /// Write the report to this file as a self-contained web page
    #[arg(long, value_name = "FILE", help_heading = "Result")]
    pub(super) html: Option<PathBuf>,
    /// Write full distributions to files in this directory, for HdrHistogram plotters
    /// (milliseconds)
    #[arg(long, value_name = "DIR", help_heading = "Result")]
    pub(super) hgrm: Option<PathBuf>,
    /// Limit that fails the run, as in 'p99<=20ms', 'last_recipient.p99<=50ms', 'connected>=95%',
    /// or missing=off; repeatable. = stands for either
    #[arg(long, value_name = "NAME=LIMIT", help_heading = "Result")]
    pub(super) threshold: Vec<Threshold>,
    /// Print a line a second instead of the live view, also in a terminal
    #[arg(long, help_heading = "Result")]
    pub(super) plain: bool,
    /// Exit with 4 if the latencies are not valid evidence (harness overloaded or late)
    #[arg(long, help_heading = "Result")]
    pub(super) require_valid: bool,
}

impl Common {
    /// The number of clients, given or default.
    pub(super) fn clients(&self) -> u32 {
        self.clients.unwrap_or(CLIENTS)
    }

    pub(super) fn target(&self, entrance: Entrance) -> Result<TargetSource, String> {
        let (server, server_key) = match (&self.data[..], &self.server, self.server_key) {
            ([data], _, _) => return Ok(TargetSource::Data(data.clone())),
            ([_, ..], _, _) if entrance == Entrance::Login => {
                return Err("clients that log in are sent to the chat servers by the login server: \
                     give --data one directory"
                    .into());
            }
            ([_, ..], _, _) => return Ok(TargetSource::Fleet(self.data.clone())),
            ([], Some(server), Some(server_key)) => (server.clone(), server_key),
            _ => return Ok(TargetSource::Data(default_data())),
        };
        match (entrance, &self.cluster_key) {
            (Entrance::Ticket, None) => {
                Err("this scenario makes its own tickets, for which it needs the cluster's key: \
                 add --cluster-key FILE (or use --data DIR, or the scenario `login`)"
                    .into())
            }
            (Entrance::Login, Some(_)) => {
                Err("the login server hands out the tickets here: leave --cluster-key out".into())
            }
            (_, cluster_key) => {
                Ok(TargetSource::Flags { server, server_key, cluster_key: cluster_key.clone() })
            }
        }
    }
}

/// The data directory of `throng up`, unless its settings name another.
pub(super) fn default_data() -> PathBuf {
    Config::default().data.dir
}

/// Reads a public key: 64 hexadecimal digits.
pub(super) fn parse_key(text: &str) -> Result<PublicKey, String> {
    let mut key = PublicKey::default();
    hex::decode_to_slice(text.trim(), &mut key)
        .map_err(|_| format!("is not 64 hexadecimal digits ({} characters)", text.trim().chars().count()))?;
    Ok(key)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_64_digits() {
        assert_eq!(parse_key(&"ab".repeat(32)), Ok([0xab; 32]));
        assert!(parse_key("abcd").unwrap_err().contains("4 characters"));
    }
}
