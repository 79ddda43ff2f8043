//! How alike clients were served.

use throng_harness_model::text::format_count;

use super::chart::{Chart, Line, Unit};
use super::markup::Markup;
use super::{micros, table};
use crate::Report;

impl Report {
    /// Mean latencies by the order of entry and by the server's event loop.
    pub(super) fn html_fairness(&self, html: &mut Markup) {
        let Some(fairness) = self.fairness.as_ref().filter(|fairness| fairness.by_entry.len() > 1) else {
            return;
        };
        let groups = fairness.by_entry.iter().enumerate();
        let points = groups.clone().map(|(at, group)| (at as f64 + 1.0, Some(group.mean_us))).collect();
        html.element("section", &[], |html| {
            html.leaf("h2", &[], "Fairness");
            // Few clients make groups of one.
            let group = if fairness.by_entry.len() as u64 == fairness.clients { "client" } else { "tenth" };
            Chart {
                title: &format!("Mean latency by order of entry, first {group} to last"),
                size: (860.0, 190.0),
                unit: Unit::Micros,
                x_ticks: groups.map(|(at, _)| (at as f64 + 1.0, (at + 1).to_string())).collect(),
                x_end: fairness.by_entry.len() as f64 + 0.1,
                x_name: |at| format!("group {at:.0}"),
                shade: None,
                lines: vec![Line::new("mean", points)],
            }
            .draw(html);
            let slowest = &fairness.slowest;
            let mut rows = vec![
                vec![
                    "Jain's index of the clients' means (1: all alike)".into(),
                    format!("{:.3}", fairness.jain),
                ],
                vec![
                    "slowest group by order of entry to the fastest".into(),
                    format!("{:.2}", fairness.by_entry_ratio),
                ],
                vec![
                    format!("means of {} clients, p5 / p50 / p95", format_count(fairness.clients)),
                    [fairness.p5_us, fairness.p50_us, fairness.p95_us].map(micros).join(" / "),
                ],
                vec![format!("longest mean (client {})", slowest.client), micros(slowest.mean_us)],
            ];
            rows.extend(fairness.by_shard.iter().map(|shard| {
                let name = format!("mean on event loop {} of the server", shard.shard);
                vec![
                    name,
                    format!(
                        "{} ({} clients)",
                        micros(shard.group.mean_us),
                        format_count(shard.group.clients)
                    ),
                ]
            }));
            table(html, &["", ""], rows);
        });
    }
}
