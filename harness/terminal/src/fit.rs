//! Text for as many columns as there are.

use ratatui::text::Span;

/// What stands for what was left out.
const LEFT_OUT: char = '…';

/// Whether `text` fits into so many columns.
pub fn fits(text: &str, columns: u16) -> bool {
    Span::raw(text).width() <= usize::from(columns)
}

/// The first of several ways to say something that fits, or the beginning of the last.
pub fn fitting<const N: usize>(columns: u16, ways: [String; N]) -> String {
    let shortest = ways.last().map_or(String::new(), |way| beginning(way, columns));
    ways.into_iter().find(|way| fits(way, columns)).unwrap_or(shortest)
}

/// `text`, or as much of its beginning as there is room for.
pub fn beginning(text: &str, columns: u16) -> String {
    if fits(text, columns) {
        return text.to_owned();
    }
    let mut kept = text.to_owned();
    while !kept.is_empty() && !fits(&kept, columns.saturating_sub(1)) {
        kept.pop();
    }
    if columns > 0 {
        kept.push(LEFT_OUT);
    }
    kept
}

/// `text`, or as much of its end as there is room for.
pub fn end(text: &str, columns: u16) -> String {
    if fits(text, columns) {
        return text.to_owned();
    }
    let mut rest = text.chars();
    while !rest.as_str().is_empty() && !fits(rest.as_str(), columns.saturating_sub(1)) {
        rest.next();
    }
    let mut kept = String::new();
    if columns > 0 {
        kept.push(LEFT_OUT);
    }
    kept + rest.as_str()
}

/// `text`, or its beginning and its end: names often differ by either.
pub fn ends(text: &str, columns: u16) -> String {
    if fits(text, columns) {
        return text.to_owned();
    }
    if columns == 0 {
        return String::new();
    }
    let first = beginning(text, columns.div_ceil(2));
    let taken = u16::try_from(Span::raw(first.as_str()).width()).unwrap_or(columns);
    // One more than there is room for: what was left out is marked by the beginning already.
    let last = end(text, columns.saturating_sub(taken).saturating_add(1));
    first + last.strip_prefix(LEFT_OUT).unwrap_or(&last)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_is_left_out_is_marked() {
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
        // Two columns each.
        assert_eq!((beginning("가나다", 5).as_str(), end("가나다", 4).as_str()), ("가나…", "…다"));
    }

    #[test]
    fn the_longest_way_that_fits_is_taken() {
        let ways = || ["1,000 deliveries", "1,000", "1000"].map(String::from);
        assert_eq!(fitting(16, ways()), "1,000 deliveries");
        assert_eq!(fitting(15, ways()), "1,000");
        assert_eq!(fitting(3, ways()), "10…");
    }

    proptest! {
        #[test]
        fn nothing_is_too_wide(text in "[a-z가-힣 ]{0,30}", columns in 0_u16..40) {
            for cut in [beginning, end, ends] {
                prop_assert!(fits(&cut(&text, columns), columns), "{:?}", cut(&text, columns));
            }
        }
    }
}
