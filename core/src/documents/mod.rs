//! Tests of the documentation: the tables in docs/ are generated from the code ([`tables`]),
//! comments and Markdown keep to 100 columns ([`columns`]), and ARCHITECTURE.md is a true map
//! ([`map`]).

mod columns;
mod map;
mod tables;

use std::path::{Path, PathBuf};

/// Returns the root of the repository.
fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// Opening or closing line of a fenced code block in Markdown.
fn is_fence(line: &str) -> bool {
    let text = line.trim_start().trim_start_matches("> ");
    text.starts_with("```") || text.starts_with("~~~")
}
