//! Lines that people read are at most [`COLUMNS`] characters long: comments of Rust, TOML, Python
//! and shell, and Markdown outside of tables and code blocks.

use std::fs;
use std::path::{Path, PathBuf};

use super::{is_fence, root};

const COLUMNS: usize = 100;

/// Marks a directory of build products: <https://bford.info/cachedir/>.
const CACHE_TAG: &str = "CACHEDIR.TAG";

/// Kind of text, which determines the lines that are checked.
#[derive(Clone, Copy)]
enum Kind {
    Markdown,
    /// Code whose comments begin with this text.
    Code(&'static str),
}

fn kind_of(path: &Path, text: &str) -> Option<Kind> {
    match path.extension().and_then(|extension| extension.to_str()) {
        Some("md") => Some(Kind::Markdown),
        Some("rs") => Some(Kind::Code("//")),
        Some("toml" | "sh" | "py") => Some(Kind::Code("#")),
        // Scripts have a first line instead of an extension.
        None if text.starts_with("#!") => Some(Kind::Code("#")),
        _ => None,
    }
}

/// Returns the numbers of the lines that are too long, from 1.
fn too_long(text: &str, kind: Kind) -> Vec<usize> {
    let mut is_code = false;
    let mut found = Vec::new();
    for (number, line) in text.lines().enumerate() {
        let is_checked = match kind {
            Kind::Code(comment) => line.trim_start().starts_with(comment),
            Kind::Markdown if is_fence(line) => {
                is_code = !is_code;
                false
            }
            Kind::Markdown => !is_code && !line.trim_start().starts_with('|'),
        };
        if is_checked && line.chars().count() > COLUMNS && can_be_broken(line) {
            found.push(number + 1);
        }
    }
    found
}

/// Returns true unless the line is a single word, such as an address, behind its marker.
fn can_be_broken(line: &str) -> bool {
    let marks = |c: char| c.is_whitespace() || "/!#*->".contains(c);
    line.trim_start_matches(marks).trim_end().contains(char::is_whitespace)
}

/// Adds the files below `path`, without hidden ones and build products.
fn collect(path: &Path, files: &mut Vec<PathBuf>) {
    if path.is_file() {
        files.push(path.to_owned());
        return;
    }
    if path.join(CACHE_TAG).exists() {
        return;
    }
    let entries = fs::read_dir(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    for entry in entries {
        let entry = entry.unwrap();
        let name = entry.file_name().into_string().unwrap();
        if !name.starts_with('.') {
            collect(&entry.path(), files);
        }
    }
}

#[test]
fn comments_and_markdown_keep_to_the_columns() {
    let root = root();
    let mut files = Vec::new();
    collect(&root, &mut files);
    files.sort();
    let mut violations = Vec::new();
    for file in files {
        // A file that is not UTF-8 is not source.
        let Ok(text) = fs::read_to_string(&file) else { continue };
        let Some(kind) = kind_of(&file, &text) else { continue };
        let name = file.strip_prefix(&root).unwrap().display();
        violations.extend(too_long(&text, kind).iter().map(|line| format!("{name}:{line}")));
    }
    assert!(
        violations.is_empty(),
        "{} lines are longer than {COLUMNS} columns:\n{}",
        violations.len(),
        violations.join("\n")
    );
}

#[test]
fn the_right_lines_are_checked() {
    let words = "word ".repeat(30);
    let check = |kind: Kind, text: &str, wanted: &[usize]| {
        assert_eq!(too_long(&text.replace("WORDS", &words), kind), wanted, "{text}");
    };
    check(Kind::Code("//"), "let a = WORDS;\n    /// WORDS\n//! short\n// WORDS", &[2, 4]);
    check(Kind::Code("#"), "a = WORDS\n# WORDS", &[2]);
    check(Kind::Markdown, "WORDS\n\n| WORDS |\n* WORDS\n```text\nWORDS\n```\n> WORDS", &[1, 4, 8]);
    let address = format!("https://example.org/{}", "x".repeat(COLUMNS));
    check(Kind::Code("//"), &format!("/// {address}\n/// see {address}"), &[2]);
    let wide = "\u{00fc}".repeat(COLUMNS - "// a ".len());
    check(Kind::Code("//"), &format!("// a {wide}\n// a {wide}x"), &[2]);
}
