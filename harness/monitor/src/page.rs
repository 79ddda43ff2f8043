//! The page of `monitor`.

use throng_core::clock::utc_text;
use throng_harness_model::text::{format_bytes, format_count, format_nanos};
use throng_harness_report::html::{
    Chart, Line, Markup, Unit, how_it_was_run, page, table, time_name, time_ticks, verdict,
};

use crate::MonitorReport;
use crate::follow::Look;

/// One of a look's figures, if it is known.
type Figure = fn(&Look) -> Option<f64>;

/// All charts, each with a line for every server. Those with nothing above zero are left out.
const CHARTS: [(&str, Unit, Figure); 9] = [
    ("CPU, of one core", Unit::Share, |look| look.cpu),
    ("Memory", Unit::Bytes, |look| look.rss_bytes),
    ("Sessions, links included", Unit::Count, |look| look.sessions),
    ("Users in the chat", Unit::Count, |look| look.users),
    ("Open files", Unit::Count, |look| look.files),
    ("Bytes sent a second", Unit::Bytes, |look| look.bytes_out_per_s),
    ("Packets that wait for content threads", Unit::Count, |look| look.content_queue),
    ("Requests that wait for a database", Unit::Count, |look| look.db_queue),
    ("Memory that holds what rooms have not got", Unit::Bytes, |look| look.log_pool_bytes),
];

impl MonitorReport {
    /// The report as a page of HTML that needs nothing besides itself.
    pub(super) fn page(&self) -> String {
        page(&format!("monitor: {}", verdict(self.verdict).word), |html| {
            self.html_verdict(html);
            self.html_servers(html);
            self.html_charts(html);
            self.html_warnings(html);
            self.html_origin(html);
        })
    }

    fn html_verdict(&self, html: &mut Markup) {
        let verdict = verdict(self.verdict);
        html.element("header", &[], |html| {
            html.leaf("h1", &[], "monitor");
            let measured = format_nanos(self.measured_s * 1e9);
            html.leaf(
                "p",
                &[],
                format_args!("{measured} watched, {} looks, {}", format_count(self.looks), self.began()),
            );
        });
        html.element("section", &[("class", &format_args!("verdict {}", verdict.class))], |html| {
            html.element("p", &[], |html| {
                html.leaf("strong", &[], verdict.word);
                html.text(format_args!(" {}", verdict.meaning));
            });
            html.element("ul", &[("class", &"thresholds")], |html| {
                for judged in &self.thresholds {
                    let (class, sign) = if judged.held { ("held", "held") } else { ("broken", "BROKEN") };
                    html.element("li", &[], |html| {
                        html.leaf("span", &[("class", &class)], sign);
                        html.leaf("code", &[], &judged.threshold);
                        html.leaf("span", &[], &judged.found);
                    });
                }
            });
        });
    }

    fn html_servers(&self, html: &mut Markup) {
        let rows = self.servers.iter().map(|server| {
            let pids: Vec<_> = server.pids.iter().map(ToString::to_string).collect();
            vec![
                server.name.clone(),
                server.shown_cpu(),
                server.rss_max_bytes.map_or("-".into(), format_bytes),
                pids.join(", "),
                format_count(server.looks_down),
                format_count(server.went_down),
            ]
        });
        html.element("section", &[], |html| {
            html.leaf("h2", &[], "Servers");
            table(html, &["", "CPU", "most memory", "processes", "looks DOWN", "went away"], rows);
        });
    }

    fn html_charts(&self, html: &mut Markup) {
        html.element("section", &[], |html| {
            html.leaf("h2", &[], "Look by look");
            html.element("div", &[("class", &"charts")], |html| {
                for (title, unit, figure) in CHARTS {
                    let lines = self.servers.iter().map(|server| {
                        Line::new(
                            &server.name,
                            server.looks.iter().map(|look| (look.at_s, figure(look))).collect(),
                        )
                    });
                    let (lines, size) = (lines.collect(), (430.0, 190.0));
                    let x_end = self.measured_s.max(f64::MIN_POSITIVE);
                    let (x_ticks, x_name) = (time_ticks(x_end), time_name);
                    Chart { title, size, unit, x_ticks, x_end, x_name, shade: None, lines }.draw(html);
                }
            });
        });
    }

    fn html_warnings(&self, html: &mut Markup) {
        if self.warnings.is_empty() {
            return;
        }
        let rows = self.warnings.iter().map(|told| vec![format!("{:.0} s", told.at_s), told.text.clone()]);
        html.element("section", &[], |html| {
            html.leaf("h2", &[], "What happened");
            table(html, &["", ""], rows);
        });
    }

    fn html_origin(&self, html: &mut Markup) {
        let facts = [
            ("Version", format!("throng-harness {}", self.version)),
            ("Began", self.began()),
            ("Machine", self.machine.to_string()),
        ];
        how_it_was_run(html, &self.command, facts);
    }

    fn began(&self) -> String {
        utc_text(self.started_unix_s.saturating_mul(1_000))
    }
}
