//! The DB agent's database side.

pub mod migrate;
pub mod password;
pub mod procedures;
pub mod rules;
pub mod sqlite;
pub mod suite;
