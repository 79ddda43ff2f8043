//! The page of `abuse`.

use maud::{Markup, html};
use throng_core::clock::utc_text;
use throng_harness_model::text::format_count;
use throng_harness_report::html::{
    Judgment, header, how_it_was_run, page, run_verdict, table, target, thresholds_list, title, verdict_text,
};

use crate::report::{AbuseReport, SCENARIO, cells, traffic};
use crate::row::Row;

impl AbuseReport {
    /// The report as a page of HTML that needs no other file. `file` is the name of its file, for
    /// the title.
    pub(crate) fn page(&self, file: &str) -> String {
        let began = utc_text(self.started_unix_s.saturating_mul(1_000));
        let broken = self.attacks.iter().filter(|row| !row.held());
        let details = html! { ul { @for row in broken { li { (row.attack) ": " (row.description) } } } };
        let facts = [
            ("Version", format!("throng-harness {}", self.version)),
            ("Started", began.clone()),
            ("Machine", self.machine.to_string()),
        ];
        let content = html! {
            (header(SCENARIO, &format!("{}, {began}", self.settings())))
            (run_verdict(self.verdict, &details))
            section { h2 { "Attacks" } (self.overview()) }
            @for row in &self.attacks { (section_of(row)) }
            (how_it_was_run(&self.command, facts))
        };
        let verdict = format!("{SCENARIO}: {}", verdict_text(self.verdict).0);
        let clients = format!("{} clients", format_count(self.clients.into()));
        page(&title(&[&verdict, &clients, target(&self.command).unwrap_or_default(), file]), &content)
    }

    fn overview(&self) -> Markup {
        let heads = [
            "",
            "",
            "other p50",
            "other p99",
            "same p50",
            "same p99",
            "newcomers in",
            "their p99",
            "server CPU",
            "missing",
            "announced",
        ];
        let rows = self.attacks.iter().flat_map(|row| {
            let invalid = if row.valid { "" } else { " INVALID" };
            let [missing, told] = [row.missing, row.told].map(format_count);
            let line = |name: String, kind: &str, figures, ends: [String; 2]| {
                [name, kind.to_owned()].into_iter().chain(cells(figures)).chain(ends).collect::<Vec<_>>()
            };
            [
                line(row.attack.to_owned(), "without", &row.quiet, [String::new(), String::new()]),
                line(invalid.to_owned(), "with", &row.attacked, [missing, told]),
            ]
        });
        table(&heads, rows)
    }
}

fn section_of(row: &Row) -> Markup {
    let checks = row.thresholds.iter();
    let checks = checks.map(|check| {
        let mark = if check.unclear { Judgment::Unclear } else { Judgment::of(check.held) };
        (mark, check.threshold.as_str(), format!("found {}", check.found))
    });
    html! {
        section {
            h2 { (row.attack) }
            p { (row.description) ". Attacker: " (traffic(&row.attacker)) "." }
            (thresholds_list(checks))
            @if let Some(why) = &row.failed { p { span.broken { "BROKEN" } " not measured to the end: " (why) } }
            @if !row.valid {
                p { "INVALID: latencies may describe the harness rather than the server." }
                ul { @for reason in &row.invalid_because { li { (reason) } } }
            }
        }
    }
}
