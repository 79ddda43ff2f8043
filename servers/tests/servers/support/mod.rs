//! Starts servers, talks to them, and waits for things to become true.

mod chat_group;
mod client;
mod cluster;
mod player;
mod postgres;
mod process;

use std::thread;
use std::time::{Duration, Instant};

pub(crate) use chat_group::ChatGroup;
pub(crate) use client::{Client, End, RawClient};
pub(crate) use cluster::{Cluster, spare_port};
pub(crate) use player::{Player, TicketHolder, answer, exit};
pub(crate) use postgres::{Database, Postgres};
pub(crate) use process::{Home, Server, ServerAddr};

/// After this long a test has failed. Far longer than anything takes on a busy machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// Asks again and again until there is an answer.
pub(crate) fn wait_for<T>(what: &str, mut answer: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(answer) = answer() {
            return answer;
        }
        assert!(Instant::now() < deadline, "waited {PATIENCE:?} in vain: {what}");
        thread::sleep(Duration::from_millis(5));
    }
}

/// Asks again and again until the answer is yes.
pub(crate) fn wait_until(what: &str, mut is_so: impl FnMut() -> bool) {
    wait_for(what, || is_so().then_some(()));
}
