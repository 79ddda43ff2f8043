//! Forms of a report as text, and the wrapping of its lines.

use std::fmt;

/// Columns of a text that is not for a terminal.
pub const COLUMNS: usize = 80;

/// Marks the omission of the rest of a text.
const MORE: &str = " ...";

/// The form of a report as text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Form {
    /// Most columns of the answer's lines.
    pub columns: usize,
    /// True for all figures before the answer, false for the answer and what was broken or unusual.
    pub is_verbose: bool,
}

impl Form {
    /// All figures, for no terminal.
    pub const FULL: Self = Self { columns: COLUMNS, is_verbose: true };
}

/// Puts pieces with spaces between them into lines of `columns`, unless a piece alone is longer.
/// The first line begins with `title`, the others with `indent` spaces.
pub fn wrapped<'a>(
    title: &str,
    indent: usize,
    pieces: impl IntoIterator<Item = &'a str>,
    columns: usize,
) -> Vec<String> {
    let mut lines = Vec::new();
    let mut line = title.to_owned();
    for piece in pieces {
        let is_begun = line.len() > if lines.is_empty() { title.len() } else { indent };
        if is_begun && line.chars().count() + piece.chars().count() > columns {
            lines.push(std::mem::replace(&mut line, " ".repeat(indent)).trim_end().to_owned());
        }
        line.push_str(piece);
        line.push(' ');
    }
    lines.push(line.trim_end().to_owned());
    lines
}

/// The words of a sentence in at most `most` lines of `columns`, as by [`wrapped`]; if there are
/// more, the last one says so.
pub fn few_lines(title: &str, indent: usize, sentence: &str, columns: usize, most: usize) -> Vec<String> {
    let mut lines = wrapped(title, indent, sentence.split(' '), columns);
    if lines.len() > most {
        lines.truncate(most);
        if let Some(last) = lines.last_mut() {
            while last.chars().count() + MORE.len() > columns
                && let Some(word) = last.trim_end().rfind(' ')
            {
                last.truncate(word);
            }
            last.push_str(MORE);
        }
    }
    lines
}

/// Writes each line.
pub fn write_lines(f: &mut fmt::Formatter<'_>, lines: &[String]) -> fmt::Result {
    lines.iter().try_for_each(|line| writeln!(f, "{line}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_keep_to_the_columns() {
        let check = |most, columns, lines: &[&str]| {
            assert_eq!(few_lines("  BROKEN  ", 4, "one two three four", columns, most), lines);
        };
        check(9, 80, &["  BROKEN  one two three four"]);
        check(9, 18, &["  BROKEN  one two", "    three four"]);
        check(9, 14, &["  BROKEN  one", "    two three", "    four"]);
        check(2, 14, &["  BROKEN  one", "    two ..."]);
        // A word that is longer than a line stays whole.
        check(9, 7, &["  BROKEN  one", "    two", "    three", "    four"]);
        assert_eq!(wrapped("  a  ", 8, ["b c", "d"], 80), ["  a  b c d"]);
        assert_eq!(wrapped("  a  ", 8, ["b c", "d"], 8), ["  a  b c", "        d"]);
        assert_eq!(wrapped("  a", 8, [], 12), ["  a"]);
    }
}
