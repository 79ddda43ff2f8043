//! What a run is, and what it found: plans, results, limits and text. No socket, no command line and no terminal.

pub mod exit;
pub mod text;
