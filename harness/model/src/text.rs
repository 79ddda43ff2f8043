//! Numbers for people, and quotations of strangers. `throng_core::config` formats durations as
//! users write them.
//!
//! Bytes of sockets, child processes and files become text through [`one_line`], which makes them
//! one line. All that the harness prints passes through [`Shown`] besides, so that nothing that
//! was forgotten commands a terminal.

use std::io::{self, Write};

use throng_core::text::{escaped, escaped_lines};

/// Most characters that [`one_line`] shows.
pub const LINE_MAX: usize = 400;

/// Quotes a stranger's bytes in one line: control characters are escaped, bytes that are no UTF-8
/// replaced, and an ellipsis ends a text that is longer than [`LINE_MAX`].
pub fn one_line(bytes: &[u8]) -> String {
    // No character has more than four bytes, so that nothing beyond is shown.
    let head = &bytes[..bytes.len().min(4 * LINE_MAX)];
    let text = String::from_utf8_lossy(head);
    let mut text = escaped(text.trim());
    if let Some((end, _)) = text.char_indices().nth(LINE_MAX) {
        text.to_mut().truncate(end);
        text.to_mut().push('…');
    } else if head.len() < bytes.len() {
        text.to_mut().push('…');
    }
    text.into_owned()
}

/// A terminal or a file of lines: control characters but line feeds are escaped. Each write is
/// whole characters, as those of `write!` are.
#[derive(Debug)]
pub struct Shown<W>(pub W);

impl<W: Write> Write for Shown<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let text = String::from_utf8_lossy(bytes);
        self.0.write_all(escaped_lines(&text).as_bytes())?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

/// Formats a duration with three significant digits and a suitable unit.
pub fn format_nanos(nanos: f64) -> String {
    let (value, unit) = match nanos {
        n if n < 1e3 => (n, "ns"),
        n if n < 1e6 => (n / 1e3, "us"),
        n if n < 1e9 => (n / 1e6, "ms"),
        n if n < 120e9 => (n / 1e9, "s"),
        n if n < 7200e9 => (n / 60e9, "min"),
        n => (n / 3600e9, "h"),
    };
    match value {
        v if v >= 100.0 || v.fract() == 0.0 => format!("{v:.0} {unit}"),
        v if v >= 10.0 => format!("{v:.1} {unit}"),
        v => format!("{v:.2} {unit}"),
    }
}

/// Formats a count with commas between thousands.
pub fn format_count(count: u64) -> String {
    let digits = count.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// Formats a rate, which is never negative, as a whole number with commas between thousands.
#[allow(clippy::cast_sign_loss)] // a negative rate would become 0
pub fn format_rate(rate: f64) -> String {
    format_count(rate.round() as u64)
}

/// Formats a size in bytes with a decimal unit.
pub fn format_bytes(bytes: u64) -> String {
    match bytes as f64 {
        b if b < 1e6 => format!("{:.0} kB", b / 1e3),
        b if b < 1e9 => format!("{:.1} MB", b / 1e6),
        b => format!("{:.2} GB", b / 1e9),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_have_a_suitable_unit() {
        let check = |nanos: f64, shown: &str| assert_eq!(format_nanos(nanos), shown);
        check(0.0, "0 ns");
        check(850.0, "850 ns");
        check(11_250_000.0, "11.2 ms");
        check(1_234_000.0, "1.23 ms");
        check(10e9, "10 s");
        check(600e9, "10 min");
    }

    #[test]
    fn strangers_are_quoted_in_one_line_and_command_no_terminal() {
        let check = |bytes: &[u8], shown: &str| assert_eq!(one_line(bytes), shown);
        check(b" ok\n", "ok");
        check(b"\x1b[2J\x1b]52;c;eA==\x07\0\xff", "\\u{1b}[2J\\u{1b}]52;c;eA==\\u{7}\\u{0}\u{fffd}");
        check("a\nPASS \u{202E}gpj\u{9b}m".as_bytes(), "a\\nPASS \\u{202e}gpj\\u{9b}m");
        let long = one_line("한".repeat(10_000).as_bytes());
        assert!(long.ends_with('…') && long.chars().count() == LINE_MAX + 1);
        assert_eq!(one_line("한".repeat(LINE_MAX).as_bytes()).chars().count(), LINE_MAX);
    }

    #[test]
    fn shown_lines_stay_lines() {
        let mut shown = Shown(Vec::new());
        let escape = '\u{1b}';
        writeln!(shown, "a{escape}[2J").expect("a Vec takes everything");
        shown.write_all("\u{202E}\0\n".as_bytes()).expect("a Vec takes everything");
        assert_eq!(String::from_utf8(shown.0).expect("text"), "a\\u{1b}[2J\n\\u{202e}\\u{0}\n");
    }

    #[test]
    fn thousands_are_separated() {
        let check = |count, text| assert_eq!(format_count(count), text);
        check(0, "0");
        check(999, "999");
        check(1_000, "1,000");
        check(1_234_567, "1,234,567");
        assert_eq!(format_bytes(45_200_000), "45.2 MB");
        assert_eq!(format_bytes(900_000), "900 kB");
    }
}
