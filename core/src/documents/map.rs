//! ARCHITECTURE.md is a true map: every path that it names exists, and its tables name every
//! top-level module of every crate.
//!
//! A path is a word in backticks, outside of code blocks, that contains a `/` or ends in `.rs`,
//! `.md` or `.toml`. It is relative to the root of the repository. In the row of a table it may
//! also be relative to a path in the row's first cell, or to the directory of a file there.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use super::{is_fence, root};

const MAP: &str = "ARCHITECTURE.md";

/// A path in the map.
struct Named<'a> {
    /// Line of the map, from 1.
    line: usize,
    path: &'a str,
    /// First cell of the table row that names the path.
    row: Option<&'a str>,
}

fn is_path(token: &str) -> bool {
    let has_suffix = [".rs", ".md", ".toml"].iter().any(|suffix| token.ends_with(suffix));
    token.contains('/') || has_suffix
}

/// Returns the paths in backticks.
fn paths_in(text: &str) -> impl Iterator<Item = &str> {
    text.split('`').skip(1).step_by(2).filter(|token| is_path(token))
}

fn named_in(map: &str) -> Vec<Named<'_>> {
    let mut is_code = false;
    let mut named = Vec::new();
    for (number, line) in map.lines().enumerate() {
        if is_fence(line) {
            is_code = !is_code;
        }
        if is_code {
            continue;
        }
        let row = line.strip_prefix('|').and_then(|rest| rest.split('|').next());
        named.extend(paths_in(line).map(|path| Named { line: number + 1, path, row }));
    }
    named
}

/// Resolves a path to one that exists, relative to `root`.
fn resolve(root: &Path, named: &Named<'_>) -> Option<PathBuf> {
    let at_root = Path::new(named.path);
    if root.join(at_root).exists() {
        return Some(at_root.to_owned());
    }
    paths_in(named.row?).find_map(|base| {
        let base = Path::new(base);
        let directory = if root.join(base).is_dir() { base } else { base.parent()? };
        let path = directory.join(named.path);
        root.join(&path).exists().then_some(path)
    })
}

/// Returns the directories of the workspace's crates.
fn crates(root: &Path) -> Vec<String> {
    let manifest: toml::Table = fs::read_to_string(root.join("Cargo.toml")).unwrap().parse().unwrap();
    let members = manifest["workspace"]["members"].as_array().expect("members are a list");
    members.iter().map(|member| member.as_str().expect("a member is a path").to_owned()).collect()
}

/// Returns the top-level modules of a crate, as `src/name` without an ending.
fn modules(root: &Path, member: &str) -> BTreeSet<PathBuf> {
    let source = Path::new(member).join("src");
    let entries = fs::read_dir(root.join(&source)).unwrap();
    let mut modules = BTreeSet::new();
    for entry in entries {
        let path = source.join(entry.unwrap().file_name());
        let is_module = root.join(&path).is_dir() || path.extension().is_some_and(|end| end == "rs");
        if is_module && !path.ends_with("lib.rs") && !path.ends_with("main.rs") {
            modules.insert(path.with_extension(""));
        }
    }
    modules
}

#[test]
fn every_path_in_the_map_exists() {
    let root = root();
    let map = fs::read_to_string(root.join(MAP)).unwrap();
    let missing: Vec<_> = named_in(&map)
        .iter()
        .filter(|named| resolve(&root, named).is_none())
        .map(|named| format!("{MAP}:{}: {}", named.line, named.path))
        .collect();
    assert!(missing.is_empty(), "{} paths do not exist:\n{}", missing.len(), missing.join("\n"));
}

#[test]
fn every_module_is_on_the_map() {
    let root = root();
    let map = fs::read_to_string(root.join(MAP)).unwrap();
    let named: BTreeSet<_> = named_in(&map)
        .iter()
        .filter(|named| named.row.is_some())
        .filter_map(|named| resolve(&root, named))
        // A module in a directory may be named by its file or by its directory.
        .map(|path| path.components().collect::<PathBuf>().with_extension(""))
        .map(|path| if path.ends_with("mod") { path.with_file_name("") } else { path })
        .map(|path| path.components().collect::<PathBuf>())
        .collect();
    let missing: Vec<_> = crates(&root)
        .iter()
        .flat_map(|member| modules(&root, member))
        .filter(|module| !named.contains(module))
        .map(|module| module.display().to_string())
        .collect();
    assert!(missing.is_empty(), "{} modules have no row:\n{}", missing.len(), missing.join("\n"));
}

#[test]
fn paths_resolve_from_the_root_and_from_the_row() {
    let root = root();
    let map = "See `core/src/wire/` and `Packet`.\n\
               ```text\n`no/path`\n```\n\
               | `core/src/wire/` | `frame.rs`, `packets`, `missing.rs` |\n\
               | `core/src/crypto/mod.rs` | `keys.rs` |\n";
    let found: Vec<_> =
        named_in(map).iter().map(|named| (named.line, named.path, resolve(&root, named))).collect();
    let path = |text: &str| Some(PathBuf::from(text));
    let wanted = [
        (1, "core/src/wire/", path("core/src/wire/")),
        (5, "core/src/wire/", path("core/src/wire/")),
        (5, "frame.rs", path("core/src/wire/frame.rs")),
        (5, "missing.rs", None),
        (6, "core/src/crypto/mod.rs", path("core/src/crypto/mod.rs")),
        (6, "keys.rs", path("core/src/crypto/keys.rs")),
    ];
    assert_eq!(found, wanted);
}
