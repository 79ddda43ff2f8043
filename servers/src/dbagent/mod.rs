//! The DB agent's database side.
//!
//! ```text
//!   content threads --try_submit--> pool: control | quick | hashing    (bounded)
//!        ^                                 |
//!        |                             db-0 .. db-K   rules, password, then
//!        +-------- sink(Reply) ------------+          Procedures over one connection each
//! ```

pub mod database;
mod dialect;
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
