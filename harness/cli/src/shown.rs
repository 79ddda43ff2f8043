//! Text for a terminal. Reports and errors quote files, servers and other systems, and a terminal
//! obeys control characters.

use std::io::{self, Write};

use throng_core::text::escaped_line;

/// Writes text with its control characters escaped, but for the ends of lines.
pub(crate) struct Shown<W>(pub(crate) W);

impl<W: Write> Write for Shown<W> {
    /// Writes all of `text`, which `write!` cuts between characters.
    fn write(&mut self, text: &[u8]) -> io::Result<usize> {
        for line in text.split_inclusive(|byte| *byte == b'\n') {
            self.0.write_all(&escaped_line(line))?;
        }
        Ok(text.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_characters_are_escaped_and_lines_stay() {
        let mut shown = Shown(Vec::new());
        write!(shown, "a {}\n\nb{}", "\u{1b}[2J\u{202e}\n한글\t", "\u{9b}").expect("a vector takes all");
        assert_eq!(String::from_utf8(shown.0).expect("text"), "a \\u{1b}[2J\\u{202e}\n한글\\t\n\nb\\u{9b}");
    }
}
