//! What bots said.

use throng_harness_model::results::Reactions;
use throng_harness_model::text::format_count;

use super::markup::Markup;
use super::table;
use crate::Report;

impl Report {
    /// What the bots of each personality said, and in which languages and about what all of them did.
    pub(super) fn html_bots(&self, html: &mut Markup) {
        let Some(bots) = &self.bots else { return };
        html.element("section", &[], |html| {
            html.leaf("h2", &[], "Bots");
            let rows = bots.personalities.iter().map(|(name, spoken)| {
                let counts = [spoken.bots, spoken.messages, spoken.reactions].map(format_count);
                [name.replace('_', " ")].into_iter().chain(counts).collect()
            });
            table(html, &["personality", "bots", "messages", "of these, answers"], rows);
            for (head, counts) in [("topic", &bots.topics), ("language", &bots.languages)] {
                let said: u64 = counts.values().sum();
                let rows = counts.iter().filter(|(_, count)| **count > 0).map(|(name, count)| {
                    let share = *count as f64 / said as f64 * 100.0;
                    vec![name.replace('_', " "), format_count(*count), format!("{share:.1}%")]
                });
                table(html, &[head, "messages", "share"], rows);
            }
            let Reactions { sent, unprovoked } = bots.reactions;
            let [sent, unprovoked] = [sent, unprovoked].map(format_count);
            let text = format_args!(
                "Answers to others: {sent}; {unprovoked} were not given, as what they answer had not been heard in time."
            );
            html.leaf("p", &[("class", &"note")], text);
        });
    }
}
