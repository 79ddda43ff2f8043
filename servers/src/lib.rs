//! x

pub mod dbagent;
