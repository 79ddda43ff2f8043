//! Fitting of text into a number of columns.

use ratatui::text::Span;

/// Marks an omission.
const ELLIPSIS: char = '…';

/// Returns true if `text` fits into `columns`.
pub fn fits(text: &str, columns: u16) -> bool {
    Span::raw(text).width() <= usize::from(columns)
}

/// The first of `variants` that fits, or else the beginning of the last.
pub fn fitting<const N: usize>(columns: u16, variants: [String; N]) -> String {
    let last = variants.last().map_or(String::new(), |text| beginning(text, columns));
    variants.into_iter().find(|text| fits(text, columns)).unwrap_or(last)
}

/// Returns `text`, or the longest beginning that fits with an ellipsis behind it.
pub fn beginning(text: &str, columns: u16) -> String {
    if fits(text, columns) {
        return text.to_owned();
    }
    let Some(room) = columns.checked_sub(1) else { return String::new() };
    let mut kept = text.to_owned();
    while !fits(&kept, room) {
        kept.pop();
    }
    kept.push(ELLIPSIS);
    kept
}

/// Returns `text`, or the longest end that fits with an ellipsis before it.
pub fn end(text: &str, columns: u16) -> String {
    if fits(text, columns) {
        return text.to_owned();
    }
    let Some(room) = columns.checked_sub(1) else { return String::new() };
    format!("{ELLIPSIS}{}", suffix(text, room))
}

/// Returns `text`, or its beginning and its end: names often differ by either.
pub fn ends(text: &str, columns: u16) -> String {
    if fits(text, columns) {
        return text.to_owned();
    }
    let first = beginning(text, columns.div_ceil(2));
    let taken = u16::try_from(Span::raw(first.as_str()).width()).unwrap_or(columns);
    let last = suffix(text, columns.saturating_sub(taken));
    first + last
}

/// Returns the longest end of `text` that fits.
fn suffix(text: &str, columns: u16) -> &str {
    let mut rest = text.chars();
    while !fits(rest.as_str(), columns) {
        rest.next();
    }
    rest.as_str()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn omissions_are_marked() {
        let check = |cut: fn(&str, u16) -> String, columns, shown: &str| {
            assert_eq!(cut("login+dbagent", columns), shown);
        };
        check(beginning, 13, "login+dbagent");
        check(beginning, 6, "login…");
        check(end, 8, "…dbagent");
        check(ends, 13, "login+dbagent");
        check(ends, 9, "logi…gent");
        check(ends, 2, "…t");
        check(beginning, 1, "…");
        check(end, 0, "");
        check(ends, 0, "");
        // A single column once took the whole text where there was none.
        assert_eq!(ends(" ", 0), "");
        // Two columns each.
        assert_eq!((beginning("가나다", 5).as_str(), end("가나다", 4).as_str()), ("가나…", "…다"));
    }

    #[test]
    fn the_first_variant_that_fits_is_used() {
        let variants = || ["1,000 deliveries", "1,000", "1000"].map(String::from);
        assert_eq!(fitting(16, variants()), "1,000 deliveries");
        assert_eq!(fitting(15, variants()), "1,000");
        assert_eq!(fitting(3, variants()), "10…");
    }

    proptest! {
        #[test]
        fn no_result_is_too_wide(text in "[a-z가-힣 ]{0,30}", columns in 0_u16..40) {
            for cut in [beginning, end, ends] {
                prop_assert!(fits(&cut(&text, columns), columns), "{:?}", cut(&text, columns));
            }
        }
    }
}
