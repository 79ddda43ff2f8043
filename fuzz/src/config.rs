//! The configuration, from a file's text and from flags, and the quantities in it.

use std::fmt::{Debug, Display};
use std::str::FromStr;

use throng_core::config::{ByteSize, Config, Rate, Sources, format_duration, parse_duration};

use crate::Target;
use crate::files::{assert_shown, file};

pub(crate) const CONFIG: Target =
    Target { name: "config", check: config, seeds: config_seeds, mutations: 400 };

pub(crate) const UNITS: Target = Target { name: "units", check: units, seeds: unit_seeds, mutations: 20_000 };

/// The effective configuration, whole and by lines; flags begin with `-`.
fn config_seeds() -> Vec<Vec<u8>> {
    let whole = Config::default().render();
    let mut section = "";
    let mut seeds = Vec::new();
    for line in whole.lines().filter(|line| !line.starts_with('#') && !line.is_empty()) {
        match line.split_once(" = ") {
            Some((key, value)) => {
                let name = section.trim_matches(['[', ']']);
                seeds.push(format!("{section}\n{line}\n").into_bytes());
                seeds.push(format!("-{name}.{key}={}", value.trim_matches('"')).into_bytes());
            }
            None => section = line,
        }
    }
    let texts = [
        "[limits]\nexempt = [\"10.0.0.0/8\", \"fe80::/10\", \"192.0.2.1\"]\n",
        "[login]\nchat = [\"127.0.0.1:9201\", \"chat.example.org:9201\"]\nmax_sessions = 0x10\n",
        "[net]\nhandshake_timeout = \"1.5s\"\nlog_pool = \"64MiB\"\n[admin]\nhosts = [\"a.b\"]\nlisten = \"\"\n",
        "-limits.exempt=10.0.0.0/8,::1\nadmin.hosts=a,b\nnames.reserved=x, y",
        "[odbc]\npassword = \"\\u001b\"\n[x]\ny = 1\nz = 1979-05-27\n",
    ];
    seeds.extend(texts.iter().map(|text| text.as_bytes().to_vec()));
    seeds.push(whole.into_bytes());
    seeds
}

/// Loads a configuration. One that loads is loaded again from its rendering; the problems with any
/// other can be shown.
fn config(input: &[u8]) {
    let sources = match input.split_first() {
        Some((b'-', flags)) => {
            let Ok(flags) = std::str::from_utf8(flags) else { return };
            flags.split('\n').take(8).fold(Sources::default(), Sources::set)
        }
        _ => Sources::default().file(file("throng.toml", input)),
    };
    match Config::load(&sources) {
        Ok(config) => {
            let rendered = config.render();
            let again = Config::load(&Sources::default().file(file("again.toml", rendered.as_bytes())));
            let again = again.unwrap_or_else(|error| panic!("{error}\n{rendered}"));
            assert!(again == config, "{rendered}");
        }
        Err(error) => {
            assert!(!error.problems.is_empty());
            for problem in &error.problems {
                assert_shown(&problem.to_string());
            }
        }
    }
}

fn unit_seeds() -> Vec<Vec<u8>> {
    let texts = [
        "500us",
        "11.25ms",
        "1.5s",
        "2m",
        "1h",
        "0s",
        "584y",
        "1µs",
        "4096",
        "64KiB",
        "1.5MiB",
        "2GiB",
        "20/5s",
        "1000000/1h",
        "off",
        "18446744073709551615ns",
        "0.000000001s",
        "17179869183.99GiB",
    ];
    texts.iter().map(|text| text.as_bytes().to_vec()).collect()
}

/// Reads a text as each quantity. What is read is written so that it is read again.
fn units(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else { return };
    match parse_duration(text) {
        Ok(duration) => assert_eq!(parse_duration(&format_duration(duration)), Ok(duration)),
        Err(error) => assert_shown(&error.to_string()),
    }
    check_unit::<ByteSize>(text);
    check_unit::<Rate>(text);
}

fn check_unit<T: FromStr<Err: Display + Debug + PartialEq> + Display + Debug + PartialEq>(text: &str) {
    match text.parse::<T>() {
        Ok(value) => assert_eq!(value.to_string().parse(), Ok(value)),
        Err(error) => assert_shown(&error.to_string()),
    }
}
