//! The chart of latency by order of entry.

use maud::{Markup, html};

use super::chart::{Chart, Line, Unit, XAxis};
use crate::Report;

impl Report {
    pub(super) fn html_fairness(&self) -> Markup {
        let Some(fairness) = self.fairness.as_ref().filter(|fairness| fairness.by_entry.len() > 1) else {
            return Markup::default();
        };
        // Groups of few clients have one client each.
        let is_single = fairness.by_entry.len() as u64 == fairness.clients;
        let group = if is_single { "client" } else { "tenth" };
        let groups = || (1_u32..).map(f64::from).zip(&fairness.by_entry);
        let axis = XAxis {
            ticks: groups().map(|(at, _)| (at, at.to_string())).collect(),
            start: 0.0,
            end: fairness.by_entry.len() as f64 + 0.1,
            name: |at| format!("group {at:.0}"),
        };
        let line = Line::new("mean", groups().map(|(at, group)| (at, Some(group.mean_us))));
        let title = format!("Mean latency by order of entry, first {group} to last");
        html! {
            section {
                h2 { "Fairness" }
                (Chart::small(title, Unit::Micros, axis, [line]).wide(190.0))
            }
        }
    }
}
