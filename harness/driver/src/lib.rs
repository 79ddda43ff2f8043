//! Drives the clients of a run: workers and their accounting, processes, scenarios, steps and the
//! live view.

pub mod command;
pub mod crew;
pub mod incoming;
pub mod live;
pub mod own_exe;
pub mod pacer;
pub mod preflight;
pub mod results;
pub mod resumption;
pub mod roster;
pub mod scenario;
pub mod steps;
pub mod target;
pub mod verify;
pub mod window;
pub mod worker;
