//! What all scenarios with Throng's clients have in common.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ValueEnum};
use throng_core::config::parse_duration;
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
    /// All clients; for a few thousand of them, as each list has them all
    All,
    /// Some 32; the others fetch its pages once
    Sample,
    /// Nobody, and the others do not ask for a page after the first
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
    /// Data directory of a running `throng up`: addresses and keys are read from it
    #[arg(long, value_name = "DIR", required_unless_present = "server", conflicts_with_all = ["server", "server_key", "cluster_key"])]
    pub(super) data: Option<PathBuf>,
    /// Server to connect to: the login server for `login` and with --login, else the chat server
    #[arg(long, value_name = "HOST:PORT", requires = "server_key")]
    pub(super) server: Option<String>,
    /// That server's public key, 64 hexadecimal digits
    #[arg(long, value_name = "HEX", requires = "server", value_parser = parse_key)]
    pub(super) server_key: Option<PublicKey>,
    /// File with the cluster's key, to make tickets with (not for `login`)
    #[arg(long, value_name = "FILE", requires = "server")]
    pub(super) cluster_key: Option<PathBuf>,
    /// Process whose CPU time and memory are recorded; known with --data
    #[arg(long, value_name = "PID")]
    pub(super) server_pid: Option<u32>,
    /// How many, if that was said. There is no default for the parser, so that what was not given can be told from what was.
    #[arg(long, value_name = "N", help = format!("Clients [default: {CLIENTS}]"), value_parser = clap::value_parser!(u32).range(1..=i64::from(CLIENTS_MAX)))]
    pub(super) clients: Option<u32>,
    /// Time between the beginnings of two connections
    #[arg(long, value_name = "TIME", default_value = "1ms", value_parser = parse_duration)]
    pub(super) connect_interval: Duration,
    /// How long a client may take from connecting to being in the chat
    #[arg(long, value_name = "TIME", default_value = "30s", value_parser = parse_duration)]
    pub(super) connect_timeout: Duration,
    /// Event-loop threads in each process; clients are dealt to them evenly
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=SHARDS_MAX as i64))]
    pub(super) workers: u32,
    /// Processes that clients are dealt to, evenly: for more clients than one may have open files
    #[arg(long, value_name = "P", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=i64::from(PROCESSES_MAX)))]
    pub(super) processes: u32,
    /// Addresses, from 127.0.0.1 on, that clients connect from, for a server on this machine's loopback: each has as many
    /// ports as the system gives out [default: as many as the clients need]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=i64::from(SOURCES_MAX)))]
    pub(super) sources: Option<u32>,
    /// Who keeps the user list by pages and notices, and has it held against who is there
    #[arg(long, value_name = "WHO", default_value = "sample")]
    pub(super) lists: RawLists,
    /// What decides who sends what; drawn (and reported) unless given
    #[arg(long, value_name = "N")]
    pub(super) seed: Option<u64>,
    /// Write the report to this file as JSON
    #[arg(long, value_name = "FILE")]
    pub(super) json: Option<PathBuf>,
    /// Write the report to this file as a page for a browser, which needs no other file
    #[arg(long, value_name = "FILE")]
    pub(super) html: Option<PathBuf>,
    /// Write each whole distribution to a file in this directory, for plotters of HdrHistogram (milliseconds)
    #[arg(long, value_name = "DIR")]
    pub(super) hgrm: Option<PathBuf>,
    /// Limit that makes the run fail, as in p99=20ms, last_recipient.p99=50ms, connected=95%, missing=off; repeatable
    #[arg(long, value_name = "NAME=LIMIT")]
    pub(super) threshold: Vec<Threshold>,
    /// A line a second instead of a picture, also in a terminal
    #[arg(long)]
    pub(super) plain: bool,
    /// Exit 3 when the run's latencies are not valid evidence (harness overloaded or late)
    #[arg(long)]
    pub(super) require_valid: bool,
}

impl Common {
    /// How many clients there are.
    pub(super) fn clients(&self) -> u32 {
        self.clients.unwrap_or(CLIENTS)
    }

    pub(super) fn target(&self, entrance: Entrance) -> Result<TargetSource, String> {
        let (server, server_key) = match (&self.data, &self.server, self.server_key) {
            (Some(data), _, _) => return Ok(TargetSource::Data(data.clone())),
            (None, Some(server), Some(server_key)) => (server.clone(), server_key),
            _ => return Err("where to? Give --data DIR, or --server HOST:PORT and --server-key HEX".into()),
        };
        match (entrance, &self.cluster_key) {
            (Entrance::Ticket, None) => {
                Err("this scenario makes its own tickets and needs the cluster's key: \
                 add --cluster-key FILE (or use --data DIR, or the scenario `login`)"
                    .into())
            }
            (Entrance::Login, Some(_)) => {
                Err("tickets come from the login server here: leave --cluster-key out".into())
            }
            (_, cluster_key) => {
                Ok(TargetSource::Flags { server, server_key, cluster_key: cluster_key.clone() })
            }
        }
    }
}

/// Reads a public key: 64 hexadecimal digits.
fn parse_key(text: &str) -> Result<PublicKey, String> {
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
