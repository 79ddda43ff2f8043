//! Reports that the harness reads back, and the distributions in them.

use std::ffi::OsString;
use std::fs;
use std::io::{Read, Write};
use std::sync::LazyLock;

use flate2::Compression;
use flate2::read::ZlibDecoder;
use flate2::write::ZlibEncoder;
use serde_json::{Number, Value, json};
use throng_core::shutdown::Shutdown;
use throng_harness::app;
use throng_harness_model::exit::{EXIT_NOT_RUN, EXIT_OK};
use throng_harness_model::record::Latencies;

use crate::Target;
use crate::files::{assert_shown, file};
use crate::input::Input;

pub(crate) const REPORTS: Target = Target { name: "reports", check: reports, seeds, mutations: 50 };

pub(crate) const HISTOGRAMS: Target =
    Target { name: "histograms", check: histograms, seeds: histogram_seeds, mutations: 300 };

/// Reports as earlier versions wrote them.
const EARLIER: [&str; 5] = [
    include_str!("../../harness/report/src/earlier/broadcast-2026-11-26.json"),
    include_str!("../../harness/report/src/earlier/bots-2026-11-26.json"),
    include_str!("../../harness/report/src/earlier/login-2026-11-22.json"),
    include_str!("../../harness/report/src/earlier/churn-2026-11-26.json"),
    include_str!("../../harness/peers/src/earlier/peers-2026-11-26.json"),
];

/// [`EARLIER`], and one of several steps.
static BASES: LazyLock<Vec<Value>> = LazyLock::new(|| {
    let parse = |text: &&str| serde_json::from_str(text).expect("a report");
    let mut bases: Vec<Value> = EARLIER.iter().map(parse).collect();
    let mut steps = bases[0].clone();
    steps["limit"] = json!({
        "over": "clients", "good": 100, "bad": 200, "confirmed": true, "limited_by": "server", "because": ["p99"],
        "reported_step": 1, "summary": "100 clients were good",
    });
    let keys = ["clients", "rates", "deliveries", "latency_us", "last_recipient_us", "measured_s", "server"];
    let mut step = json!({ "number": 1, "size": 100, "phase": "climb", "good": true, "verdict": "PASS" });
    step["verdict"] = steps["verdict"].clone();
    for key in keys {
        step[key] = steps[key].clone();
    }
    steps["steps"] = json!([step, step]);
    bases.push(steps);
    bases
});

/// Each report unchanged, with changes, and as text.
fn seeds() -> Vec<Vec<u8>> {
    let mut seeds: Vec<_> = (0..BASES.len() as u8).map(|base| vec![base]).collect();
    for kind in 0..CHANGES {
        let text = b"\x1b[2J\n";
        seeds.push([&[kind % 6, kind, kind.wrapping_mul(37), 0][..], &[5, 0], text].concat());
    }
    // Texts that are none for a terminal, in place of each text: of bots, and of steps.
    for number in [1, BASES.len() - 1] {
        let base = &BASES[number];
        let mut paths = Vec::new();
        collect(base, &mut String::new(), &mut paths);
        let is_text = |path: &String| base.pointer(path).is_some_and(Value::is_string);
        for (at, _) in paths.iter().enumerate().filter(|(_, path)| is_text(path)) {
            let text = "\u{1b}[2J\n\u{202e}<b>\u{2028}";
            let [path, length] = [at, text.len()].map(|number| (number as u16).to_le_bytes());
            seeds.push([&[number as u8, 5], &path[..], &length[..], text.as_bytes()].concat());
        }
    }
    let raw = EARLIER.iter().map(|text| [b"\xff", text.as_bytes()].concat());
    seeds.extend(raw);
    seeds.push(b"\xff{\"format\":1,\"scenario\":\"x\",\"version\":\"\x1b\"}".to_vec());
    seeds
}

/// Kinds of changes.
const CHANGES: u8 = 9;

/// Changes one value of a report, as the input says.
fn change(report: &mut Value, input: &mut Input<'_>) {
    let (kind, path) = (input.u8() % CHANGES, input.u16());
    let mut paths = Vec::new();
    collect(report, &mut String::new(), &mut paths);
    let path = &paths[usize::from(path) % paths.len()];
    let new = match kind {
        0 => Value::Null,
        1 => [0, 1, -1, i64::MIN, i64::MAX].map(Value::from)[input.below(5)].clone(),
        2 => Value::from(u64::MAX),
        3 => [0.5, -0.0, 1e-308, 1e15, 1e308, -1e308].map(Value::from)[input.below(6)].clone(),
        4 => Number::from_f64(f64::from_bits(input.u64())).map_or(Value::Null, Value::Number),
        5 => String::from_utf8_lossy(input.piece()).into(),
        6 => [json!([]), json!({}), json!(""), json!(true)][input.below(4)].clone(),
        // A value from elsewhere in the report.
        7 => report.pointer(&paths[input.below(paths.len())]).cloned().unwrap_or_default(),
        _ => match report.pointer(path) {
            Some(Value::Array(items)) => items.iter().chain(items).cloned().collect(),
            _ => Value::from(input.u64()),
        },
    };
    if let Some(value) = report.pointer_mut(path) {
        *value = new;
    }
}

/// Lists the JSON pointers of all values but the whole.
fn collect(value: &Value, path: &mut String, paths: &mut Vec<String>) {
    let length = path.len();
    let mut visit = |name: &str, value: &Value| {
        path.push('/');
        *path += &name.replace('~', "~0").replace('/', "~1");
        paths.push(path.clone());
        collect(value, path, paths);
        path.truncate(length);
    };
    match value {
        Value::Object(fields) => fields.iter().for_each(|(name, value)| visit(name, value)),
        Value::Array(items) => {
            items.iter().enumerate().for_each(|(at, value)| visit(&at.to_string(), value));
        }
        _ => {}
    }
}

/// Reads a report, and shows it again as text, page and JSON. An input of 255 and more is the file
/// itself; others change one that is real.
fn reports(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    let base = input.u8();
    let content = if base == 0xff {
        input.rest().to_vec()
    } else {
        let mut report = BASES[usize::from(base) % BASES.len()].clone();
        for _ in 0..8 {
            if input.is_empty() {
                break;
            }
            change(&mut report, &mut input);
        }
        report.to_string().into_bytes()
    };
    let path = file("report.json", &content).display().to_string();
    let [json, page] = ["o.json", "o.html"].map(|name| file(name, b"").display().to_string());
    let show = |words: &[&str]| run(&[words, &["--json", &json, "--html", &page]].concat());
    let (code, text) = show(&["report", &path]);
    if code != EXIT_OK {
        return;
    }
    let kept = fs::read_to_string(&json).expect("written");
    assert!(!kept.chars().any(|c| c < ' ' && c != '\n'), "{kept:?}");
    assert_shown(&fs::read_to_string(&page).expect("written"));
    let again = file("again.json", kept.as_bytes()).display().to_string();
    assert_eq!(show(&["report", &again]), (EXIT_OK, text));
    // A single run a side is shown, and not tested. There is no comparison of reports on peers.
    let (code, _) = show(&["report", "--baseline", &again, &path]);
    assert_eq!(code, EXIT_NOT_RUN);
    assert_shown(&fs::read_to_string(&page).expect("written"));
}

/// Runs the command line of the harness; returns its exit code and output.
fn run(words: &[&str]) -> (u8, String) {
    let args = ["throng-harness"].iter().chain(words).map(OsString::from);
    let (mut out, mut err) = (Vec::new(), Vec::new());
    let never = |_: &_, _: &_| -> Result<_, &str> { unreachable!("`report` runs nothing") };
    let code = app::run(args, &mut out, 80, &mut err, &Shutdown::new(), never);
    assert!(!out.is_empty() || !err.is_empty(), "nothing is told");
    let [out, err] = [out, err].map(|bytes| String::from_utf8(bytes).expect("text"));
    assert_shown(&(out.clone() + &err));
    (code, out)
}

fn histogram_seeds() -> Vec<Vec<u8>> {
    let mut latencies = Latencies::new();
    (1..200_u64).for_each(|step| latencies.record(step * step * 1_000_000));
    let packed = latencies.to_v2_deflate();
    let mut plain = Vec::new();
    ZlibDecoder::new(&packed[8..]).read_to_end(&mut plain).expect("its own");
    let counts = plain.split_off(HEADER);
    vec![
        [&[0], &counts[..]].concat(),
        [&[1], &packed[..]].concat(),
        vec![0, 2, 4, 1, 0xfe, 0xff, 0xff, 0xff, 0x0f],
    ]
}

/// Bytes of an HdrHistogram V2 before its counts.
const HEADER: usize = 40;

/// Reads a distribution, from bytes (1) or from counts that are packed rightly (0). What is read
/// can be shown, merged and written.
fn histograms(input: &[u8]) {
    let Some((is_packed, bytes)) = input.split_first() else { return };
    let packed = if is_packed & 1 == 1 { bytes.to_vec() } else { pack(bytes) };
    let Ok(mut latencies) = Latencies::from_v2_deflate(&packed) else { return };
    let again = Latencies::from_v2_deflate(&latencies.to_v2_deflate()).expect("its own");
    assert_eq!(again.histogram(), latencies.histogram());
    let summary = latencies.summary();
    assert!(summary.p50 <= summary.p99 && summary.p99 <= summary.max, "{summary:?}");
    latencies.merge(&again);
    assert!(latencies.count() >= again.count());
    let lines = latencies.histogram().iter_quantiles(5).count();
    assert!(lines < 10_000, "{lines} lines of percentiles");
    let _ = latencies.summary();
    assert_eq!(latencies.since(&latencies.clone()).count(), 0);
}

/// Packs counts as a distribution of the harness.
fn pack(counts: &[u8]) -> Vec<u8> {
    static HEAD: LazyLock<Vec<u8>> = LazyLock::new(|| {
        let mut plain = Vec::new();
        let empty = Latencies::new().to_v2_deflate();
        ZlibDecoder::new(&empty[8..]).read_to_end(&mut plain).expect("its own");
        plain.truncate(HEADER);
        plain
    });
    let mut plain = HEAD.clone();
    plain[4..8].copy_from_slice(&(counts.len() as u32).to_be_bytes());
    plain.extend_from_slice(counts);
    let mut packer = ZlibEncoder::new(Vec::new(), Compression::none());
    packer.write_all(&plain).expect("a vector takes all");
    let packed = packer.finish().expect("a vector takes all");
    let length = (packed.len() as u32).to_be_bytes();
    [&0x1c84_9314_u32.to_be_bytes(), &length[..], &packed].concat()
}
