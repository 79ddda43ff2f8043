//! Room for labels: a browser clips what exceeds the picture, and draws one text over another.

/// The font size that room is made for. It is that of a phone in the style sheet, in the pixels of
/// the picture; on larger screens labels are smaller.
const FONT: f64 = 13.0;
/// Least space between two labels.
const GAP: f64 = 8.0;

/// The width of a text in pixels, at least. The reader's fonts are unknown, so the widths are those
/// of a wide one, DejaVu Sans, rounded up.
pub(super) fn width(text: &str) -> f64 {
    let em = |c| match c {
        ' ' | '.' | ',' | 'i' | 'l' | 'j' => 0.35,
        'm' | 'M' | 'w' | 'W' | '%' | '@' => 1.0,
        'a'..='z' | '0'..='9' | '-' | '/' => 0.66,
        'A'..='Z' => 0.85,
        _ => 1.0,
    };
    text.chars().map(em).sum::<f64>() * FONT
}

/// A label with its place.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Placed<'a> {
    /// The position that is labeled.
    pub(super) at: f64,
    /// The middle of the label.
    pub(super) middle: f64,
    pub(super) label: &'a str,
}

/// Those of the labels that do not overlap the one before, each moved so far that all of it is
/// within a picture of this width.
pub(super) fn placed<'a>(
    labels: impl Iterator<Item = (f64, &'a str)>,
    picture: f64,
) -> impl Iterator<Item = Placed<'a>> {
    let mut end = f64::NEG_INFINITY;
    labels.filter_map(move |(at, label)| {
        let half = width(label) / 2.0;
        let middle = at.min(picture - half).max(half);
        let is_free = middle - half >= end;
        if is_free {
            end = middle + half + GAP;
        }
        is_free.then_some(Placed { at, middle, label })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_inside_and_apart() {
        let labels = [(0.0, "1,000"), (20.0, "2,000"), (60.0, "3,000"), (100.0, "4,000")];
        let half = width("1,000") / 2.0;
        let check = |picture, expected: [(f64, f64, &str); 2]| {
            let found: Vec<_> = placed(labels.into_iter(), picture).collect();
            assert_eq!(found, expected.map(|(at, middle, label)| Placed { at, middle, label }));
        };
        check(110.0, [(0.0, half, "1,000"), (100.0, 110.0 - half, "4,000")]);
        check(200.0, [(0.0, half, "1,000"), (100.0, 100.0, "4,000")]);
    }
}
