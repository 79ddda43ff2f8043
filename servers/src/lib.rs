//! Throng's servers: login server, chat server and DB agent, and what a process of
//! them needs around it. The binary `throng` is a thin shell over this.

pub mod admin;
pub mod chat;
pub mod cli;
pub mod datadir;
pub mod db;
pub mod dbagent;
pub mod held_claims;
pub mod keygen;
pub mod launch;
pub mod login;
mod memory;
pub mod node;
pub mod process;
pub mod role;
pub mod rules;

#[cfg(test)]
mod role_fixture;
#[cfg(test)]
mod simulation_tests;

/// The log belongs to the process: tests that open it take turns.
#[cfg(test)]
static LOG_TURN: parking_lot::Mutex<()> = parking_lot::Mutex::new(());
