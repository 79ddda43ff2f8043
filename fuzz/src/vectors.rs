//! The test vectors of docs/protocol.md, as seeds.

const DOCUMENT: &str = include_str!("../../docs/protocol.md");

/// Returns every vector whose name begins with `prefix`. The document writes one as "`name`:
/// `hex`", with line breaks among the digits allowed.
pub(crate) fn all(prefix: &str) -> Vec<Vec<u8>> {
    let mut found = Vec::new();
    for (start, _) in DOCUMENT.match_indices(&format!("`{prefix}")) {
        let mut quoted = DOCUMENT[start..].split('`').skip(1);
        let (Some(name), Some(": "), Some(digits)) = (quoted.next(), quoted.next(), quoted.next()) else {
            continue;
        };
        let digits: String = digits.chars().filter(|c| !c.is_whitespace()).collect();
        found.push(hex::decode(digits).unwrap_or_else(|error| panic!("the vector {name}: {error}")));
    }
    assert!(!found.is_empty(), "docs/protocol.md has no vector {prefix}");
    found
}

/// Returns the vector with this name.
pub(crate) fn one(name: &str) -> Vec<u8> {
    all(&format!("{name}`")).swap_remove(0)
}
