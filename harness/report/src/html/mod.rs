//! The report as one page that a browser shows: no other file, no script, nothing fetched.

mod bots;
mod chart;
mod comparison;
mod facts;
mod fairness;
#[cfg(any(test, feature = "testing"))]
pub mod fixture;
mod latency;
mod lists;
mod markup;
mod notes;
mod tiles;
mod timeline;

use throng_core::clock::utc_text;
use throng_harness_model::text::format_nanos;

pub use self::chart::{Chart, Line, Unit, time_name, time_ticks};
pub use self::facts::how_it_was_run;
pub use self::markup::Markup;
use super::{Report, Verdict};

const STYLE: &str = include_str!("style.css");

impl Report {
    /// The report as a page of HTML that needs nothing besides itself.
    pub fn to_html(&self) -> String {
        self.page_with(|_| {})
    }

    /// The same page, with what `steps` adds below the verdict.
    pub fn page_with(&self, steps: impl FnOnce(&mut Markup)) -> String {
        page(&format!("{}: {}", self.scenario, verdict(self.verdict).word), |html| {
            self.html_verdict(html);
            steps(html);
            self.html_tiles(html);
            self.html_latencies(html);
            self.html_timeline(html);
            self.html_fairness(html);
            self.html_bots(html);
            self.html_lists(html);
            self.html_counts(html);
            self.html_processes(html);
            self.html_origin(html);
        })
    }

    /// What held, and what did not.
    fn html_verdict(&self, html: &mut Markup) {
        let verdict = verdict(self.verdict);
        html.element("header", &[], |html| {
            html.leaf("h1", &[], &self.scenario);
            let measured = format_nanos(self.measured_s * 1e9);
            html.leaf("p", &[], format_args!("{measured} measured, seed {}, {}", self.seed, self.began()));
        });
        html.element("section", &[("class", &format_args!("verdict {}", verdict.class))], |html| {
            html.element("p", &[], |html| {
                html.leaf("strong", &[], verdict.word);
                html.text(format_args!(" {}", verdict.meaning));
            });
            if !self.rate_changes.is_empty() {
                html.leaf(
                    "p",
                    &[],
                    format_args!("This is not the planned run: {}.", self.shown_rate_changes()),
                );
            }
            for reason in &self.incomplete_because {
                html.element("p", &[], |html| {
                    html.leaf("span", &[("class", &"broken")], "BROKEN");
                    html.text(format_args!(" {reason}"));
                });
            }
            if self.telling_thresholds().next().is_some() {
                self.html_thresholds(html);
            }
        });
        if !self.valid {
            html.element("section", &[("class", &"verdict invalid")], |html| self.html_doubts(html));
        }
    }

    fn html_thresholds(&self, html: &mut Markup) {
        html.element("ul", &[("class", &"thresholds")], |html| {
            for checked in self.telling_thresholds() {
                let (class, sign) = if checked.held { ("held", "held") } else { ("broken", "BROKEN") };
                html.element("li", &[], |html| {
                    html.leaf("span", &[("class", &class)], sign);
                    html.leaf("code", &[], &checked.threshold);
                    html.leaf("span", &[], format_args!("found {}", checked.found));
                });
            }
        });
    }

    fn html_doubts(&self, html: &mut Markup) {
        html.element("p", &[], |html| {
            html.leaf("strong", &[], "INVALID");
            let weight = if self.require_valid {
                "and --require-valid is set"
            } else {
                "deliveries are exact all the same"
            };
            html.text(format_args!(" These latencies are no evidence about the server ({weight})."));
        });
        html.element("ul", &[], |html| {
            self.invalid_because.iter().for_each(|reason| html.leaf("li", &[], reason));
        });
    }

    fn began(&self) -> String {
        utc_text(self.started_unix_s.saturating_mul(1_000))
    }
}

/// A page with this title, around what `content` adds.
pub fn page(title: &str, content: impl FnOnce(&mut Markup)) -> String {
    let mut html = Markup::default();
    html.verbatim("<!DOCTYPE html>\n");
    html.element("html", &[("lang", &"en")], |html| {
        html.element("head", &[], |html| {
            html.void("meta", &[("charset", &"utf-8")]);
            html.void("meta", &[("name", &"viewport"), ("content", &"width=device-width, initial-scale=1")]);
            html.leaf("title", &[], title);
            html.element("style", &[], |html| html.verbatim(STYLE));
        });
        html.element("body", &[], |html| html.element("main", &[], content));
    });
    let mut page = html.into_string();
    page.push('\n');
    page
}

/// How a verdict is shown.
pub struct Shown {
    /// The class of its section.
    pub class: &'static str,
    /// The word.
    pub word: &'static str,
    /// What it means.
    pub meaning: &'static str,
}

/// How a verdict is shown.
pub fn verdict(verdict: Verdict) -> Shown {
    let (class, word, meaning) = match verdict {
        Verdict::Pass => ("pass", "PASS", "All thresholds held."),
        Verdict::Fail => ("fail", "FAIL", "See what is broken."),
        Verdict::Interrupted => ("interrupted", "INTERRUPTED", "The results cover what was done until then."),
    };
    Shown { class, word, meaning }
}

/// A time in microseconds, for people.
pub fn micros(micros: f64) -> String {
    format_nanos(micros * 1e3)
}

/// Adds a table; each row's first cell names the row.
pub fn table(html: &mut Markup, heads: &[&str], rows: impl IntoIterator<Item = Vec<String>>) {
    html.element("div", &[("class", &"scroll")], |html| {
        html.element("table", &[], |html| {
            html.element("thead", &[], |html| {
                html.element("tr", &[], |html| heads.iter().for_each(|head| html.leaf("th", &[], head)));
            });
            html.element("tbody", &[], |html| {
                for row in rows {
                    html.element("tr", &[], |html| {
                        for (column, cell) in row.iter().enumerate() {
                            html.leaf(if column == 0 { "th" } else { "td" }, &[], cell);
                        }
                    });
                }
            });
        });
    });
}

#[cfg(test)]
mod tests;
