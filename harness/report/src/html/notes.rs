//! What the page says about its figures.

use throng_harness_model::breakdown::SAMPLE;
use throng_harness_model::text::{format_count, format_nanos};

use super::markup::Markup;
use crate::Report;

impl Report {
    /// What the parts of the latency rest on.
    pub(super) fn html_clock(&self, html: &mut Markup) {
        let Some(clock) = &self.server_clock else { return };
        let error = format_nanos(clock.error_us as f64 * 1e3);
        let text = format_args!(
            "Network in, queue, processing, fan-out and network out: of one delivery in {SAMPLE}, chosen at random, from \
             the time it was sent. The server's clock is known to {error} from {} pings; what a recipient waits in the \
             sweep over all of them is part of network out.",
            format_count(clock.pings)
        );
        html.leaf("p", &[("class", &"note")], text);
    }
}
