//! docs/report.md and docs/report.schema.json are made here of the report's types, and are what stands there.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt::Write;
use std::path::Path;

use serde_json::Value;
use throng_harness_driver::steps::SteppedReport;
use throng_harness_model::breakdown::ServerClockUs;
use throng_harness_model::results::{Findings, Second};
use throng_harness_report::Report;
use throng_harness_report::fixture::{findings, job, origin};

/// Set to 1, it makes the test write the documents instead of comparing them.
const BLESS: &str = "THRONG_BLESS";

/// Longest example.
const EXAMPLE_MAX: usize = 40;

/// The schema of a report as a file has it. `limit`, `forecast` and `steps` are those of a run of several steps.
fn schema() -> Value {
    let mut schema = schemars::schema_for!(Report).to_value();
    let stepped = schemars::schema_for!(SteppedReport).to_value().to_string();
    // Within a step the report is the whole schema.
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

/// A report in which as much as possible is there.
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

/// A type for people, with the name of the type of the report's that it is or has, if it is one.
fn type_text(schema: &Value) -> (String, Option<String>) {
    if let Some(reference) = schema["$ref"].as_str() {
        // The whole schema, which the page begins with.
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

/// The first thing in a list or a map, or the thing itself.
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

/// A table of the keys of a type in the order of their declaration, and what it refers to.
fn table(out: &mut String, schema: &Value, value: &Value) -> Vec<(String, Value)> {
    let mut types = Vec::new();
    let _ = writeln!(out, "\n| key | is | for example | |\n|---|---|---|---|");
    for (key, property) in schema["properties"].as_object().into_iter().flatten() {
        let (text, name) = type_text(property);
        let here = &value[key];
        let meaning = property["description"].as_str().unwrap_or("").replace('\n', " ");
        assert!(!meaning.is_empty(), "`{key}` is not explained");
        let _ = writeln!(out, "| `{key}` | {text} | {} | {meaning} |", example_text(here));
        types.extend(name.map(|name| (name, inner(here, &text))));
    }
    types
}

fn document(schema: &Value) -> String {
    let mut out = String::from(
        "# The report as JSON\n\n\
         What `throng-harness SCENARIO --json FILE` writes; `report` reads it again. This page is made of the types in the code\n\
         (`THRONG_BLESS=1 cargo test -p throng-harness --lib schema`), as is [report.schema.json](report.schema.json), the same for programs.\n\
         Keys are added in later versions, and none changes what it means without another `format`: a reader should take what is missing for\n\
         0 or empty, and pass over what it does not know. Names say the unit: `_us` microseconds, `_s` seconds, `_bytes` bytes, `_per_s` so many a\n\
         second; shares go from 0 to 1.\n\n## Report\n",
    );
    let example = serde_json::to_value(example()).expect("JSON");
    let mut seen = BTreeSet::new();
    let mut waiting: VecDeque<_> = table(&mut out, schema, &example).into();
    while let Some((name, value)) = waiting.pop_front() {
        if !seen.insert(name.clone()) {
            continue;
        }
        let of = &schema["$defs"][&name];
        let _ =
            write!(out, "\n## {name}\n\n{}\n", of["description"].as_str().unwrap_or("").replace('\n', " "));
        if of["properties"].is_object() {
            waiting.extend(table(&mut out, of, &value));
        } else if let Some(kinds) = of["oneOf"].as_array() {
            out.push('\n');
            for kind in kinds {
                let meaning = kind["description"].as_str().unwrap_or("");
                let _ = writeln!(out, "- `{}`: {meaning}", kind["const"]);
            }
        }
    }
    out
}

#[test]
fn the_documents_say_what_the_report_has() {
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
        assert_eq!(has.len(), wanted.len(), "docs/{name} is not whole: write it with {BLESS}=1");
    }
}
