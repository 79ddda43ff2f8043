//! Throng's servers: the roles login server, chat server and DB agent, and the process around them.
//!
//! The binary `throng` is a thin shell over this crate.

pub mod admin;
pub mod chat;
pub mod cli;
pub mod datadir;
pub mod db;
pub mod dbagent;
mod fair_order;
pub mod fleet;
#[doc(hidden)]
pub mod fuzzing;
pub mod held_claims;
pub mod keygen;
pub mod launch;
pub mod login;
pub mod manifest;
mod memory;
pub mod node;
pub mod private_file;
pub mod process;
mod readiness;
pub mod role;
pub mod rules;

#[cfg(test)]
mod client_simulation_tests;
#[cfg(test)]
mod dice;
#[cfg(test)]
mod role_fixture;
#[cfg(test)]
mod simulation_tests;
#[cfg(test)]
mod start_order_tests;

/// The log belongs to the process, so tests that open it run one at a time.
#[cfg(test)]
static LOG_LOCK: parking_lot::Mutex<()> = parking_lot::Mutex::new(());
