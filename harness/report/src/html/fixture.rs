//! A check of pages for tests.

/// Checks that every tag is closed, in order, and that the page fetches and runs nothing.
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
            None if tag.starts_with("meta ") => {}
            None => open.extend(tag.split(' ').next()),
        }
    }
    assert!(open.is_empty(), "{open:?} not closed");
    for outside in ["http", "//", "@import", "url(", "<script"] {
        assert!(!page.contains(outside), "`{outside}` in the page");
    }
    assert!(!page.contains("NaN") && !page.contains("inf "), "{page}");
}
