//! Generates docs/report.md and docs/report.schema.json from the report's types, and tests that the
//! files are current.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt::Write;
use std::path::Path;

use serde_json::Value;
use throng_harness_driver::steps::SteppedReport;
use throng_harness_model::breakdown::ServerClockUs;
use throng_harness_model::results::{Findings, Second};
use throng_harness_report::Report;
use throng_harness_report::fixture::{findings, job, origin};

/// Environment variable that, set to 1, makes the test write the documents instead of comparing
/// them.
const BLESS: &str = "THRONG_BLESS";

/// Columns of the text outside tables.
const COLUMNS: usize = 100;

/// Longest example in characters.
const EXAMPLE_MAX: usize = 40;

/// The schema of a report file. `limit`, `forecast` and `steps` appear in runs of several steps.
fn schema() -> Value {
    let mut schema = schemars::schema_for!(Report).to_value();
    let stepped = schemars::schema_for!(SteppedReport).to_value().to_string();
    // The report within a step has the schema of the whole file.
    let stepped: Value = serde_json::from_str(&stepped.replace("#/$defs/Report", "#")).expect("JSON");
    for key in ["limit", "forecast", "steps"] {
        schema["properties"][key] = stepped["properties"][key].clone();
    }
    let types = stepped["$defs"].as_object().into_iter().flatten().filter(|(name, _)| *name != "Report");
    for (name, definition) in types {
        schema["$defs"][name] = definition.clone();
    }
    schema
}

/// A report with as many keys as possible.
fn example() -> Report {
    let row = Second { at_s: 1.0, connected: 2, sent: 10, received: 19, ..Second::default() };
    let server_clock = Some(ServerClockUs { offset_us: -1_250, error_us: 40, pings: 18 });
    let phase = findings(0).recorder.corrected;
    let found = Findings {
        timeline: vec![row],
        server_clock,
        phases: BTreeMap::from([("enter".into(), phase)]),
        traffic: Some("649aa61652ffdef94efe859b84e6f93e".into()),
        measured_from: 100_000_000,
        ..findings(1)
    };
    Report::new(&job("--threshold p99=4ms"), origin(), found)
}

/// The readable name of a property's type, and the report type it refers to, if any.
fn type_text(schema: &Value) -> (String, Option<String>) {
    if let Some(reference) = schema["$ref"].as_str() {
        // The root of the schema, which is the page's first section.
        if reference == "#" {
            return ("[Report](#report)".to_owned(), None);
        }
        let name = reference.rsplit('/').next().unwrap_or(reference).to_owned();
        return (format!("[{name}](#{})", name.to_lowercase()), Some(name));
    }
    if let Some([one, _null]) = schema["anyOf"].as_array().map(Vec::as_slice) {
        let (text, name) = type_text(one);
        return (format!("{text} or null"), name);
    }
    match &schema["type"] {
        Value::Array(types) => {
            (types.iter().filter_map(Value::as_str).collect::<Vec<_>>().join(" or "), None)
        }
        Value::String(kind) if kind == "array" => {
            let (text, name) = type_text(&schema["items"]);
            (format!("list of {text}"), name)
        }
        Value::String(kind) if kind == "object" => {
            let (text, name) = type_text(&schema["additionalProperties"]);
            (format!("{text} by name"), name)
        }
        kind => (kind.as_str().unwrap_or("value").to_owned(), None),
    }
}

/// The first item of a list or map, or the value itself.
fn inner(value: &Value, text: &str) -> Value {
    let first = match value {
        Value::Array(list) => list.first(),
        Value::Object(map) if text.ends_with("by name") => map.values().next(),
        other => Some(other),
    };
    first.cloned().unwrap_or(Value::Null)
}

fn example_text(value: &Value) -> String {
    if value.is_null()
        || value.is_object()
        || value.as_array().is_some_and(|list| list.iter().any(Value::is_object))
    {
        return String::new();
    }
    let text = value.to_string();
    if text.chars().count() <= EXAMPLE_MAX {
        return format!("`{text}`");
    }
    format!("`{}...`", text.chars().take(EXAMPLE_MAX).collect::<String>())
}

/// Writes a table of the keys of a type, in the order of declaration; returns the types it refers
/// to.
fn table(out: &mut String, schema: &Value, value: &Value) -> Vec<(String, Value)> {
    let mut types = Vec::new();
    let _ = writeln!(out, "\n| key | is | for example | |\n|---|---|---|---|");
    for (key, property) in schema["properties"].as_object().into_iter().flatten() {
        let (text, name) = type_text(property);
        let here = &value[key];
        let meaning = property["description"].as_str().unwrap_or("").replace('\n', " ");
        assert!(!meaning.is_empty(), "`{key}` has no doc comment");
        let _ = writeln!(out, "| `{key}` | {text} | {} | {meaning} |", example_text(here));
        types.extend(name.map(|name| (name, inner(here, &text))));
    }
    types
}

/// Breaks a paragraph at [`COLUMNS`], between words only; further lines begin with `indent`.
fn paragraph(text: &str, indent: &str) -> String {
    let options = textwrap::Options::new(COLUMNS).break_words(false).subsequent_indent(indent);
    let words = text.split_whitespace().collect::<Vec<_>>().join(" ");
    textwrap::fill(&words, options.word_splitter(textwrap::WordSplitter::NoHyphenation))
}

fn document(schema: &Value) -> String {
    let origin = "The format of the file that `throng-harness SCENARIO --json FILE` writes and `report` reads. \
        This page is generated from the types in the code (`THRONG_BLESS=1 cargo test -p throng-harness --lib \
        schema`), as is [report.schema.json](report.schema.json), its JSON Schema.";
    let rules = "Later versions add keys; no key changes its meaning without another `format`. A reader should \
        take a missing key for 0 or empty, and ignore keys that it does not know. Names carry the unit: `_us` \
        microseconds, `_s` seconds, `_bytes` bytes, `_per_s` per second; shares go from 0 to 1.";
    let [origin, rules] = [origin, rules].map(|text| paragraph(text, ""));
    let mut out = format!("# The report as JSON\n\n{origin}\n\n{rules}\n\n## Report\n");
    let example = serde_json::to_value(example()).expect("JSON");
    let mut seen = BTreeSet::new();
    let mut waiting: VecDeque<_> = table(&mut out, schema, &example).into();
    while let Some((name, value)) = waiting.pop_front() {
        if !seen.insert(name.clone()) {
            continue;
        }
        let of = &schema["$defs"][&name];
        let description = paragraph(of["description"].as_str().unwrap_or(""), "");
        let _ = write!(out, "\n## {name}\n\n{description}\n");
        if of["properties"].is_object() {
            waiting.extend(table(&mut out, of, &value));
        } else if let Some(kinds) = of["oneOf"].as_array() {
            out.push('\n');
            for kind in kinds {
                let meaning = kind["description"].as_str().unwrap_or("");
                let item = format!("- `{}`: {meaning}", kind["const"]);
                let _ = writeln!(out, "{}", paragraph(&item, "  "));
            }
        }
    }
    out
}

#[test]
fn the_report_documents_are_current() {
    let schema = schema();
    let json = serde_json::to_string_pretty(&schema).expect("JSON") + "\n";
    for (name, wanted) in [("report.md", document(&schema)), ("report.schema.json", json)] {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs").join(name);
        if std::env::var_os(BLESS).is_some_and(|value| value == "1") {
            std::fs::write(&path, wanted).expect("writable");
            continue;
        }
        let has = std::fs::read_to_string(&path).unwrap_or_default();
        for (number, (has, wanted)) in has.lines().zip(wanted.lines()).enumerate() {
            assert_eq!(has, wanted, "docs/{name}, line {}: write it with {BLESS}=1", number + 1);
        }
        assert_eq!(has.len(), wanted.len(), "docs/{name} is incomplete: write it with {BLESS}=1");
    }
}
