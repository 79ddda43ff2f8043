//! The headline numbers.

use throng_harness_model::record::LatencyUs;
use throng_harness_model::text::{format_bytes, format_count, format_rate};

use super::markup::Markup;
use super::micros;
use crate::Report;
use crate::summary::planned;

/// A headline number.
struct Tile {
    label: &'static str,
    value: String,
    note: String,
    /// Whether it is nothing that one hopes for.
    bad: bool,
}

impl Tile {
    fn new(label: &'static str, value: impl Into<String>, note: impl Into<String>) -> Self {
        Self { label, value: value.into(), note: note.into(), bad: false }
    }

    fn bad_if(self, bad: bool) -> Self {
        Self { bad, ..self }
    }
}

impl Report {
    pub(super) fn html_tiles(&self, html: &mut Markup) {
        html.element("section", &[("class", &"tiles")], |html| {
            for tile in self.tiles() {
                let class = if tile.bad { "tile bad" } else { "tile" };
                html.element("div", &[("class", &class)], |html| {
                    html.leaf("span", &[("class", &"label")], tile.label);
                    html.leaf("strong", &[], tile.value);
                    html.leaf("span", &[], tile.note);
                });
            }
        });
    }

    fn tiles(&self) -> Vec<Tile> {
        let (clients, rates) = (&self.clients, &self.rates);
        let connected = Tile::new(
            "Clients connected",
            format_count(clients.connected),
            format!(
                "of {}{}, {} lost again",
                format_count(self.entries_requested()),
                self.in_rounds(),
                format_count(clients.disconnected)
            ),
        );
        let mut tiles =
            vec![connected.bad_if(clients.connected < self.entries_requested() || clients.disconnected > 0)];
        if let Some(logins) = rates.logins_per_s {
            let note = "from the first beginning to the last entry";
            tiles.push(Tile::new("Logins a second", format!("{logins:.1}/s"), note));
        }
        if self.sent > 0 {
            tiles.extend(self.delivery_tiles());
        } else {
            let note = planned(rates.offered_per_s);
            tiles.push(Tile::new("Rate of entering", format!("{:.1}/s", rates.achieved_per_s), note));
        }
        let mut time = |label, latency: &LatencyUs| {
            if latency.count > 0 {
                let [p50, p99, max] = [latency.p50, latency.p99, latency.max].map(micros);
                tiles.push(Tile::new(label, p99, format!("median {p50}, max {max}")));
            }
        };
        time("Latency, p99", &self.latency_us);
        time("Last recipient, p99", &self.last_recipient_us);
        if let Some(way_in) = self.phases_us.get("way_in") {
            time("The way in, p99", way_in);
        }
        if let Some(server) = &self.server {
            let note = self
                .shown_cpu_per_delivery()
                .unwrap_or_else(|| if server.alive { "" } else { "the process is gone" }.to_owned());
            let cpu = Tile::new("Server's CPU time", format!("{:.2} s", server.cpu_s), note);
            tiles.push(cpu.bad_if(!server.alive));
            let note = format!("{} at the start", format_bytes(server.rss_start_bytes));
            tiles.push(Tile::new("Server's memory", format_bytes(server.rss_bytes), note));
        }
        tiles
    }

    fn delivery_tiles(&self) -> [Tile; 3] {
        let (deliveries, rates) = (&self.deliveries, &self.rates);
        let faults = deliveries.missing
            + deliveries.duplicated
            + deliveries.reordered
            + deliveries.leaked
            + deliveries.corrupted;
        [
            Tile::new(
                "Messages sent",
                format_count(self.sent),
                format!("{:.1}/s of {:.1}/s offered", rates.achieved_per_s, rates.offered_per_s),
            ),
            Tile::new(
                "Deliveries received",
                format_count(deliveries.received),
                format!(
                    "of {}, {}/s",
                    format_count(deliveries.expected),
                    format_rate(rates.deliveries_per_s)
                ),
            ),
            Tile::new(
                "Faulty deliveries",
                format_count(faults),
                "missing, duplicated, reordered, leaked, corrupted",
            )
            .bad_if(faults > 0),
        ]
    }
}
