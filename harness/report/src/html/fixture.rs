//! A check of pages for tests.

/// Font size of the labels of a picture in its own pixels, at most; see the style sheet.
const FONT: f64 = 13.0;

/// Checks that every tag is closed, in order, that the page fetches and runs nothing, and that
/// every label of a picture is inside of it and apart from others.
#[track_caller]
pub fn check_page(page: &str) {
    let body = page.strip_prefix("<!DOCTYPE html>\n").expect("a document type");
    let mut open = Vec::new();
    for piece in body.split('<').skip(1) {
        let (tag, text) = piece.split_once('>').unwrap_or_else(|| panic!("`<{piece}` has no end"));
        assert!(!text.contains('>'), "`{piece}`");
        assert_eq!(tag.matches('"').count() % 2, 0, "`{tag}`");
        assert!(tag.matches(" class=").count() < 2, "`{tag}`");
        match tag.strip_prefix('/') {
            Some(closed) => assert_eq!(open.pop(), Some(closed), "in {open:?}"),
            None if tag.starts_with("meta ") || tag == "br" => {}
            None => open.extend(tag.split(' ').next()),
        }
    }
    assert!(open.is_empty(), "{open:?} not closed");
    for outside in ["http", "//", "@import", "url(", "<script"] {
        assert!(!page.contains(outside), "`{outside}` in the page");
    }
    assert!(!page.contains("NaN") && !page.contains("inf "), "{page}");
    for picture in page.split("<svg ").skip(1) {
        check_picture(picture.split("</svg>").next().unwrap_or_default());
    }
}

/// An attribute of the tag that begins here.
fn attribute<'a>(tag: &'a str, name: &str) -> Option<&'a str> {
    let tag = tag.split('>').next()?;
    tag.split_once(&format!("{name}=\""))?.1.split('"').next()
}

#[track_caller]
fn check_picture(picture: &str) {
    let size = attribute(picture, "viewBox").expect("a size");
    let size: Vec<f64> = size.split(' ').map(|side| side.parse().expect("a number")).collect();
    let [0.0, 0.0, width, height] = size[..] else { panic!("{size:?}") };
    let mut labels: Vec<[f64; 4]> = Vec::new();
    for text in picture.split("<text").skip(1) {
        let label = text.split(['>', '<']).nth(1).expect("a label");
        let [x, y] = [" x", " y"].map(|name| {
            attribute(text, name)
                .unwrap_or_else(|| panic!("no place: {text}"))
                .parse::<f64>()
                .expect("a number")
        });
        let long = label.chars().map(advance).sum::<f64>() * FONT;
        let left = if text.contains("class=\"y\"") { x - long } else { x - long / 2.0 };
        let edges = [left, left + long, y - 0.8 * FONT, y + 0.25 * FONT];
        let [left, right, top, bottom] = edges;
        let is_inside = left >= 0.0 && right <= width && top >= 0.0 && bottom <= height;
        assert!(is_inside, "`{label}` at {edges:?} exceeds {width} x {height} in:\n{picture}");
        let is_over =
            |other: &&[f64; 4]| left < other[1] && other[0] < right && top < other[3] && other[2] < bottom;
        assert_eq!(labels.iter().find(is_over), None, "`{label}` at {edges:?} in:\n{picture}");
        labels.push(edges);
    }
    for dot in picture.split("<circle").skip(1) {
        let [x, y] =
            ["cx", "cy"].map(|name| attribute(dot, name).expect("a place").parse::<f64>().expect("a number"));
        assert!((0.0..=width).contains(&x) && (0.0..=height).contains(&y), "{x} {y} in:\n{picture}");
    }
}

/// The width of a character of a label in the font DejaVu Sans, a wide one, by the font's size.
fn advance(character: char) -> f64 {
    match character {
        ' ' | '.' | ',' => 0.32,
        'i' => 0.278,
        's' => 0.521,
        'k' => 0.579,
        '0'..='9' | 'n' | 'h' | 'u' | 'p' => 0.636,
        'B' => 0.686,
        'G' => 0.775,
        'M' => 0.863,
        '%' => 0.951,
        _ => 0.974,
    }
}
