//! Throng's servers: login, chat and DB agent, behind the binary `throng`.

pub mod chat;
pub mod holdings;
pub mod login;
pub mod node;
