//! The clients' user lists.

use throng_harness_model::text::{format_count, format_nanos};

use super::markup::Markup;
use super::table;
use crate::Report;

impl Report {
    /// How many lists became what they should be, and when.
    pub(super) fn html_lists(&self, html: &mut Markup) {
        let lists = &self.lists;
        if lists.kept == 0 {
            return;
        }
        let time = |seconds: f64| format_nanos(seconds * 1e9);
        let mut rows = vec![
            ("clients that kept their list", format_count(lists.kept)),
            ("of these, exactly who was there", format_count(lists.exact)),
            ("from the first way in to the last client in", time(lists.entered_s)),
            ("to the last page of a list", time(lists.complete_s)),
            ("to all lists exact", lists.exact_s.map_or_else(|| "never".to_owned(), time)),
        ];
        let counts = [
            ("notices of who came and went", lists.notices),
            ("of these, without all names", lists.incomplete),
            ("lists fetched anew", lists.resyncs),
            ("lists of another length than the server said", lists.head_count_mismatches),
        ];
        rows.extend(counts.map(|(name, count)| (name, format_count(count))));
        html.element("section", &[], |html| {
            html.leaf("h2", &[], "User lists");
            table(html, &["", ""], rows.into_iter().map(|(name, value)| vec![name.to_owned(), value]));
        });
    }
}
