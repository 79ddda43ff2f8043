//! The page of `monitor`.

use maud::{Markup, html};
use throng_core::clock::utc_text;
use throng_harness_model::text::{format_bytes, format_count, format_nanos};
use throng_harness_report::html::{
    Chart, Judgment, Line, Unit, XAxis, header, how_it_was_run, page, run_verdict, table, target,
    thresholds_list, title, verdict_text,
};

use crate::MonitorReport;
use crate::follow::Sample;

/// A figure of a sample, if it is known.
type Figure = fn(&Sample) -> Option<f64>;

/// All charts, each with a line per server. Those with nothing above zero are left out.
const CHARTS: [(&str, Unit, Figure); 9] = [
    ("CPU, of one core", Unit::Share, |sample| sample.cpu),
    ("Memory", Unit::Bytes, |sample| sample.rss_bytes),
    ("Sessions, including links", Unit::Count, |sample| sample.sessions),
    ("Users in the chat", Unit::Count, |sample| sample.users),
    ("Open files", Unit::Count, |sample| sample.files),
    ("Bytes sent per second", Unit::Bytes, |sample| sample.bytes_out_per_s),
    ("Packets queued for content threads", Unit::Count, |sample| sample.content_queue),
    ("Requests queued for a database", Unit::Count, |sample| sample.db_queue),
    ("Memory of undelivered room messages", Unit::Bytes, |sample| sample.log_pool_bytes),
];

impl MonitorReport {
    /// The report as a page of HTML that needs no other file. `file` is the name of its file, for
    /// the title.
    pub(super) fn page(&self, file: &str) -> String {
        let measured = format_nanos(self.measured_s * 1e9);
        let target = target(&self.command).unwrap_or_default();
        let of = if target.is_empty() { String::new() } else { format!("{target}, ") };
        let subtitle =
            format!("{of}{measured} watched, {} samples, {}", format_count(self.samples), self.began());
        let thresholds = self.thresholds.iter();
        let thresholds = thresholds
            .map(|judged| (Judgment::of(judged.held), judged.threshold.as_str(), judged.found.clone()));
        let content = html! {
            (header("monitor", &subtitle))
            (run_verdict(self.verdict, &thresholds_list(thresholds)))
            (self.html_servers())
            (self.html_charts())
            (self.html_warnings())
            (self.html_origin())
        };
        let verdict = format!("monitor: {}", verdict_text(self.verdict).0);
        page(&title(&[&verdict, target, file]), &content)
    }

    fn html_servers(&self) -> Markup {
        let rows = self.servers.iter().map(|server| {
            let pids: Vec<_> = server.pids.iter().map(ToString::to_string).collect();
            vec![
                server.name.clone(),
                server.shown_cpu(),
                server.rss_max_bytes.map_or("-".into(), format_bytes),
                pids.join(", "),
                format_count(server.samples_down),
                format_count(server.went_down),
            ]
        });
        let heads = ["", "CPU", "peak memory", "processes", "samples DOWN", "times gone"];
        html! { section { h2 { "Servers" } (table(&heads, rows)) } }
    }

    fn html_charts(&self) -> Markup {
        let axis = XAxis::seconds(self.measured_s.max(f64::MIN_POSITIVE));
        let chart = |(title, unit, figure): (&'static str, Unit, Figure)| {
            let lines = self.servers.iter().map(|server| {
                Line::new(&server.name, server.samples.iter().map(|sample| (sample.at_s, figure(sample))))
            });
            Chart::small(title, unit, axis.clone(), lines)
        };
        html! {
            section {
                h2 { "Samples" }
                .charts { @for plan in CHARTS { (chart(plan)) } }
            }
        }
    }

    fn html_warnings(&self) -> Markup {
        let rows = self.warnings.iter().map(|told| vec![format!("{:.0} s", told.at_s), told.text.clone()]);
        html! {
            @if !self.warnings.is_empty() {
                section { h2 { "Events" } (table(&["", ""], rows)) }
            }
        }
    }

    fn html_origin(&self) -> Markup {
        let facts = [
            ("Version", format!("throng-harness {}", self.version)),
            ("Started", self.began()),
            ("Machine", self.machine.to_string()),
        ];
        how_it_was_run(&self.command, facts)
    }

    fn began(&self) -> String {
        utc_text(self.started_unix_s.saturating_mul(1_000))
    }
}
