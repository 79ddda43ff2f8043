//! Starts servers, talks to them, and waits for conditions.

mod chat_group;
mod client;
mod cluster;
mod nats;
mod player;
mod postgres;
mod process;
mod proxy;
pub(crate) mod stopwatch;

use std::thread;
use std::time::{Duration, Instant};

pub(crate) use chat_group::ChatGroup;
pub(crate) use client::{Client, End, RawClient};
pub(crate) use cluster::{Cluster, spare_port};
pub(crate) use nats::Nats;
pub(crate) use player::{Player, TicketHolder, answer, exit};
pub(crate) use postgres::{Database, Postgres};
pub(crate) use process::{Home, Server, ServerAddr};
pub(crate) use proxy::Proxy;
pub(crate) use stopwatch::{Stopwatch, assert_took};

/// Time after which a wait has failed; far longer than any wait on a busy machine.
///
/// A test that must tell a fast path from a timeout sets the timeout to more than this, so that
/// only the fast path ends in time, however busy the machine is.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// Calls `poll` until it returns a value.
pub(crate) fn wait_for<T>(what: &str, mut poll: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(value) = poll() {
            return value;
        }
        assert!(Instant::now() < deadline, "waited {PATIENCE:?} in vain until {what}");
        thread::sleep(Duration::from_millis(5));
    }
}

/// Calls `is_true` until it returns true.
pub(crate) fn wait_until(what: &str, mut is_true: impl FnMut() -> bool) {
    wait_for(what, || is_true().then_some(()));
}
