//! The DB agent's database side.

pub mod password;
pub mod rules;
