//! Pages of HTML for reports: each is one file, without scripts, that fetches nothing.
//!
//! All text passes through maud's escaping, so that neither a run nor a file can add markup.

mod chart;
mod comparison;
mod facts;
mod fairness;
#[cfg(any(test, feature = "testing"))]
pub mod fixture;
mod histogram;
mod latency;
mod limits;
mod timeline;

use maud::{DOCTYPE, Markup, PreEscaped, html};
use throng_core::clock::utc_text;
use throng_core::text::escaped_lines;
use throng_harness_model::text::{format_count, format_nanos};

pub use self::chart::{Chart, Limit, Line, Mark, Marked, Unit, XAxis};
pub use self::facts::{Tone, how_it_was_run, target, tile};
pub use self::limits::{TimeLimit, time_limits};
pub use super::sections::{micros, verdict_text};
use super::{Report, Verdict};

const STYLE: &str = include_str!("style.css");

impl Report {
    /// The report as a page of HTML that needs no other file. `file` is the name of its file, for
    /// the title.
    pub fn to_html(&self, file: &str) -> String {
        self.page_with(file, &Markup::default())
    }

    /// The page, with `steps` below the verdict.
    pub fn page_with(&self, file: &str, steps: &Markup) -> String {
        let sections = self.sections();
        let content = html! {
            (self.html_verdict())
            (steps)
            (self.html_tiles(&sections))
            (self.html_latencies())
            (self.html_timeline())
            (self.html_fairness())
            (facts::facts(&sections))
            (self.html_origin())
        };
        let verdict = format!("{}: {}", self.scenario, self.headline().0);
        page(&title(&[&verdict, &self.size(), target(&self.command).unwrap_or_default(), file]), &content)
    }

    fn size(&self) -> String {
        let clients = self.clients.requested;
        format!("{} {}", format_count(clients), if clients == 1 { "client" } else { "clients" })
    }

    fn html_verdict(&self) -> Markup {
        let measured = format!("{} measured", format_nanos(self.measured_s * 1e9));
        let thresholds = self.applicable_thresholds();
        let thresholds = thresholds.map(|checked| {
            (Judgment::of(checked.held), checked.threshold.as_str(), format!("found {}", checked.found))
        });
        let details = html! {
            @if let Some(changes) = self.rate_change_warning() { p { (changes) } }
            @for reason in &self.incomplete_because { p { span.broken { "BROKEN" } " " (reason) } }
            (thresholds_list(thresholds))
            @if !self.valid {
                p { span.doubtful { "INVALID" } " " (sentence(self.invalid_text())) }
                ul { @for reason in &self.invalid_because { li { (reason) } } }
            }
        };
        let (word, meaning) = self.headline();
        let class = match self.verdict {
            Verdict::Pass if !self.valid => "invalid".to_owned(),
            verdict => verdict_text(verdict).0.to_lowercase(),
        };
        let seed = format!("seed {}", self.seed);
        let target = target(&self.command).unwrap_or_default();
        html! {
            (header(&self.scenario, &joined(&[&self.size(), target, &measured, &seed, &self.began()], ", ")))
            (banner(&class, word, &sentence(meaning), &details))
        }
    }

    fn began(&self) -> String {
        utc_text(self.started_unix_s.saturating_mul(1_000))
    }
}

/// A page's title of these parts, without the empty ones.
pub fn title(parts: &[&str]) -> String {
    joined(parts, " \u{b7} ")
}

/// The parts that are not empty.
fn joined(parts: &[&str], separator: &str) -> String {
    parts.iter().copied().filter(|part| !part.is_empty()).collect::<Vec<_>>().join(separator)
}

/// The markup with `µs` in place of the terminal's `us` after each number, but not in commands,
/// which are to be copied.
fn with_micro_signs(markup: &str) -> String {
    let mut text = String::with_capacity(markup.len());
    let mut rest = markup;
    while let Some((prose, code)) = rest.split_once("<code>") {
        let (code, after) = code.split_once("</code>").unwrap_or((code, ""));
        text.push_str(&signed(prose));
        text.extend(["<code>", code, "</code>"]);
        rest = after;
    }
    text + &signed(rest)
}

/// Prose with `µs` in place of `us` after each number.
fn signed(prose: &str) -> String {
    let mut text = String::with_capacity(prose.len());
    let mut end = 0;
    for (at, unit) in prose.match_indices(" us") {
        let is_after_number = prose[..at].ends_with(|c: char| c.is_ascii_digit());
        let is_whole = !prose[at + unit.len()..].starts_with(char::is_alphanumeric);
        if is_after_number && is_whole {
            text.extend([&prose[end..at], " \u{b5}s"]);
            end = at + unit.len();
        }
    }
    text + &prose[end..]
}

/// A page with this title. Times in microseconds are written with their sign. Control characters
/// are escaped: HTML allows most of them neither raw nor as references, and others would show a
/// text in another order than it has.
pub fn page(title: &str, content: &Markup) -> String {
    let page = html! {
        (DOCTYPE) "\n"
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                title { (title) }
                style { (PreEscaped(STYLE)) }
            }
            body { main { (content) } }
        }
        "\n"
    };
    escaped_lines(&with_micro_signs(&page.0)).into_owned()
}

/// The top of a page.
pub fn header(title: &str, subtitle: &str) -> Markup {
    html! { header { h1 { (title) } p { (subtitle) } } }
}

/// A box with an outcome in a word and a sentence, and `details` below. `class` gives it its color.
pub fn banner(class: &str, word: &str, meaning: &str, details: &Markup) -> Markup {
    html! {
        section class={ "verdict " (class) } {
            p { strong { (word) } " " (meaning) }
            (details)
        }
    }
}

/// The banner of a verdict, with `details` below.
pub fn run_verdict(verdict: Verdict, details: &Markup) -> Markup {
    let (word, meaning) = verdict_text(verdict);
    banner(&word.to_lowercase(), word, &sentence(meaning), details)
}

/// Outcome of a threshold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Judgment {
    /// It held.
    Held,
    /// It did not hold.
    Broken,
    /// It did not hold, and chance may explain it.
    Unclear,
}

impl Judgment {
    /// Returns the outcome of a threshold that is never unclear.
    pub fn of(held: bool) -> Self {
        if held { Self::Held } else { Self::Broken }
    }
}

/// Thresholds, each with its outcome before it and the finding after it.
pub fn thresholds_list<'a>(thresholds: impl Iterator<Item = (Judgment, &'a str, String)>) -> Markup {
    html! {
        ul.thresholds {
            @for (mark, threshold, found) in thresholds {
                li {
                    @match mark {
                        Judgment::Held => span.held { "held" },
                        Judgment::Broken => span.broken { "BROKEN" },
                        Judgment::Unclear => span.doubtful { "unclear" },
                    }
                    code { (threshold) }
                    span { (found) }
                }
            }
        }
    }
}

/// A table whose rows begin with their names.
pub fn table(heads: &[&str], rows: impl IntoIterator<Item = Vec<String>>) -> Markup {
    let body = html! {
        @for row in rows {
            tr {
                @for (column, cell) in row.iter().enumerate() {
                    @if column == 0 { th { (cell) } } @else { td { (cell) } }
                }
            }
        }
    };
    table_of(heads, &body)
}

/// A table with a body of its own.
pub fn table_of(heads: &[&str], body: &Markup) -> Markup {
    html! {
        .scroll {
            table {
                thead { tr { @for head in heads { th { (head) } } } }
                tbody { (body) }
            }
        }
    }
}

/// The text with a capital letter and a full stop.
pub fn sentence(text: &str) -> String {
    let mut characters = text.chars();
    let first = characters.next().map(|first| first.to_uppercase().to_string()).unwrap_or_default();
    format!("{first}{}.", characters.as_str())
}

#[cfg(test)]
mod tests;
