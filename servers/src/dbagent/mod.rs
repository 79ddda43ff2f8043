//! The DB agent: its role, its DB threads and the databases that they use.
//!
//! ```text
//!   content threads --try_submit--> pool: control | quick | hashing    (bounded; hashing is fair)
//!        ^                                 |
//!        |                             db-0 .. db-K   rules and passwords, then
//!        +-------- sink(Reply) ------------+          Procedures over one connection each
//! ```

#[cfg(test)]
pub(crate) mod cpu_time_fixture;
mod crew;
pub mod database;
#[cfg(test)]
pub(crate) mod database_fixture;
pub(crate) mod db_clock;
mod dialect;
mod fair;
mod fault_log;
mod gate;
// A test fixture of core, which exports none.
pub mod inserts;
#[cfg(test)]
#[path = "../../../core/src/log/fixture.rs"]
mod log_fixture;
pub mod migrate;
pub mod odbc;
pub mod password;
pub mod pool;
pub mod procedures;
pub mod query;
mod queue;
pub mod request;
pub mod role;
pub mod schema;
pub mod sqlite;
mod stats;
pub mod suite;
mod worker;
