//! Pictures for terminals whose locale is not UTF-8.

use ratatui::buffer::Buffer;

/// True if the locale's encoding is UTF-8: that of the first of LC_ALL, LC_CTYPE and LANG that is
/// set.
pub fn is_utf8(variable: impl Fn(&str) -> Option<String>) -> bool {
    let names = ["LC_ALL", "LC_CTYPE", "LANG"].into_iter();
    let locale = names.filter_map(variable).find(|locale| !locale.is_empty()).unwrap_or_default();
    let locale = locale.to_ascii_lowercase();
    locale.ends_with("utf-8")
        || locale.ends_with("utf8")
        || locale.contains("utf-8@")
        || locale.contains("utf8@")
}

/// Replaces all symbols by similar ones of ASCII.
pub fn replace(buffer: &mut Buffer) {
    for cell in &mut buffer.content {
        let Some(symbol) = cell.symbol().chars().next().filter(|symbol| !symbol.is_ascii()) else { continue };
        cell.set_symbol(match symbol {
            '▁' | '▂' => ".",
            '▃' | '▄' | '▅' => ":",
            '▆' | '▇' | '█' => "#",
            '░' | '─' => "-",
            '│' => "|",
            '┌' | '┐' | '└' | '┘' => "+",
            '…' => "~",
            'µ' => "u",
            _ => "?",
        });
    }
}

#[cfg(test)]
mod tests {
    use ratatui::layout::Rect;

    use super::*;

    #[test]
    fn the_first_variable_that_is_set_decides() {
        let check = |variables: &[(&str, &str)], expected| {
            let variable = |name: &str| {
                variables.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned())
            };
            assert_eq!(is_utf8(variable), expected, "{variables:?}");
        };
        check(&[("LANG", "en_US.UTF-8")], true);
        check(&[("LANG", "de_DE.utf8@euro")], true);
        check(&[("LC_ALL", ""), ("LC_CTYPE", "C.UTF-8"), ("LANG", "C")], true);
        check(&[("LC_ALL", "C"), ("LANG", "en_US.UTF-8")], false);
        check(&[("LANG", "ko_KR.eucKR")], false);
        check(&[], false);
    }

    #[test]
    fn symbols_become_ascii() {
        let mut buffer = Buffer::empty(Rect::new(0, 0, 9, 1));
        buffer.set_string(0, 0, "a█▁─…가é", ratatui::style::Style::new());
        replace(&mut buffer);
        let text: String = buffer.content().iter().map(ratatui::buffer::Cell::symbol).collect();
        assert!(text.starts_with("a#.-~?") && text.is_ascii(), "{text:?}");
    }
}
