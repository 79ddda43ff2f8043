//! Tests of the configuration as a whole.

use std::ffi::OsString;
use std::fs;
use std::time::Duration;

use proptest::prelude::*;

use super::load::Loader;
use super::table::{Settings, settings};
use super::*;

/// Returns the problems of a file, variables and `--set` flags, one a line.
fn problems(file: &str, variables: &[(&str, &str)], sets: &[&str]) -> String {
    load(file, variables, sets).expect_err("this configuration must be refused").to_string()
}

fn load(file: &str, variables: &[(&str, &str)], sets: &[&str]) -> Result<Config, ConfigError> {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("throng.toml");
    fs::write(&path, file).unwrap();
    let sources = Sources::default()
        .file(&path)
        .environment(variables.iter().map(|(name, value)| (OsString::from(name), OsString::from(value))));
    Config::load(&sets.iter().fold(sources, |sources, set| sources.set(*set)))
}

#[test]
fn defaults_are_valid_and_load_from_nothing() {
    let config = Config::load(&Sources::default()).unwrap();
    assert_eq!(config, Config::default());
    for key in Config::keys() {
        let mut config = Config::default();
        let table: toml::Table = format!("value = {}", (key.toml)(&config)).parse().unwrap();
        assert!(table.contains_key("value"), "{} does not render as TOML", key.name);
        (key.set)(&mut config, &value::Raw::Text(key.default.into()))
            .unwrap_or_else(|reason| panic!("the default of {} breaks its own rule: {reason}", key.name));
        assert!(!key.docs.is_empty(), "{} is not documented", key.name);
    }
}

#[test]
fn later_sources_win() {
    let file = "[net]\nshards = 2\nheartbeat = \"1.5s\"\n[login]\nduplicate = \"kick\"\n";
    let config = load(
        file,
        &[("THRONG_NET_SHARDS", "3"), ("THRONG_LOGIN_MAX_SESSIONS", "7"), ("PATH", "/bin")],
        &["net.shards=4", "login.chat=127.0.0.1:1, 127.0.0.1:2", "admin.listen="],
    )
    .unwrap();
    assert_eq!(config.net.shards, 4);
    assert_eq!(config.net.heartbeat, Duration::from_millis(1500));
    assert_eq!(config.login.duplicate, Duplicate::Kick);
    assert_eq!(config.login.max_sessions, 7);
    assert_eq!(config.login.chat.len(), 2);
    assert_eq!(config.admin.listen, None);
    assert_eq!(config.origin("net.shards"), Origin::Flag("--set".into()));
    assert_eq!(config.origin("login.max_sessions"), Origin::Environment("THRONG_LOGIN_MAX_SESSIONS".into()));
    assert!(matches!(config.origin("net.heartbeat"), Origin::File { line: 3, .. }));
    assert_eq!(config.origin("net.linger"), Origin::Default);
}

#[test]
fn problems_name_the_place_and_the_allowed_values() {
    let check = |file: &str, wanted: &[&str]| {
        let message = problems(file, &[], &[]);
        for wanted in wanted {
            assert!(message.contains(wanted), "{wanted:?} is not in:\n{message}");
        }
    };
    check(
        "[net]\nshards = 99",
        &["net.shards = 99", "line 2", "out of range", "a whole number, from 1 to 64"],
    );
    check("[net]\nshards = \"2\"", &["net.shards = \"2\"", "a string in quotes"]);
    check("[net]\nshards = 0x_ff", &["line 2"]);
    check("[net]\nshards = 0xff", &["net.shards = 255"]);
    check("[net]\nheartbeat = 15", &["net.heartbeat = 15", "15 has no unit: write 15s", "from 10ms to 10m"]);
    check("[net]\nheartbeat = 1.5", &["a fraction without quotes"]);
    check("[log]\nfile = false", &["log.file = false", "or \"\" for none"]);
    check("[log]\nlevel = \"inof\"", &["log.level = \"inof\"", "TARGET=LEVEL"]);
    check("[login]\nduplicate = \"ban\"", &["login.duplicate = \"ban\"", "\"refuse\" or \"kick\""]);
    check("[login]\nchat = []", &["login.chat = []", "0 items"]);
    check("[login]\nchat = \"127.0.0.1:1\"", &["a list in [ ]"]);
    check("\n[netz]\nshards = 1", &["no section \"netz\"", "line 2", "did you mean \"net\"?"]);
    check("[net]\nshard = 1", &["no key \"net.shard\"", "line 2", "did you mean \"net.shards\"?"]);
    check("[net]\nheart-beat = \"1s\"", &["did you mean \"net.heartbeat\"?"]);
    check("[login]\nfrobnicate = 1", &["no key \"login.frobnicate\"", "`throng config print`"]);
    check("[login]\nshards = 1", &["did you mean \"net.shards\"?"]);
    check("shards = 1", &["no key \"shards\"", "did you mean \"net.shards\"?"]);
    check("[net.shards]\nx = 1", &["net.shards = {..}", "a table"]);
    check("[net]\nshards = = 1\n", &["throng.toml\", line 2"]);
    check("[net]\nshards = 1\nshards = 2", &["line 3", "duplicate key"]);
}

#[test]
fn problems_name_variables_and_flags() {
    let check = |variables: &[(&str, &str)], sets: &[&str], wanted: &str| {
        let message = problems("", variables, sets);
        assert!(message.contains(wanted), "{wanted:?} is not in:\n{message}");
    };
    check(&[("THRONG_NET_SHARDS", "0")], &[], "net.shards = \"0\" (environment variable THRONG_NET_SHARDS)");
    check(
        &[("THRONG_NET_SHARD", "1")],
        &[],
        "no key \"net.shard\" (environment variable THRONG_NET_SHARD); did you mean",
    );
    check(&[("THRONG_", "1")], &[], "no key \"\"");
    check(&[], &["net.shards"], "flag --set \"net.shards\": write SECTION.KEY=VALUE");
    check(&[], &["net.shards=x"], "net.shards = \"x\" (flag --set)");
    check(&[], &["=x"], "no key \"\"");
    let message = Config::load(&Sources::default().flag("--data", "data.dir", "")).unwrap_err().to_string();
    assert!(message.contains("data.dir = \"\" (flag --data): it is empty"), "{message}");
    let message = Config::load(&Sources::default().file("/nonexistent/throng.toml")).unwrap_err().to_string();
    assert!(message.contains("cannot read the configuration file /nonexistent/throng.toml"), "{message}");
}

#[test]
fn every_problem_is_reported_at_once() {
    let error = load(
        "[net]\nshards = 0\nshardz = 1\n[nett]\n[link]\nretry_min = \"2s\"\n",
        &[("THRONG_LOG_LEVEL", "=")],
        &["chat.name=a b"],
    )
    .unwrap_err();
    assert_eq!(error.problems.len(), 6, "{error}");
    assert_eq!(error.to_string().lines().count(), 6);
}

#[test]
fn keys_must_agree_with_each_other() {
    let check = |sets: &[&str], wanted: &str| {
        let message = problems("", &[], sets);
        assert!(message.contains(wanted), "{wanted:?} is not in:\n{message}");
        assert_eq!(message.lines().count(), 1, "{message}");
    };
    check(
        &["net.heartbeat=2m"],
        "net.idle_timeout = \"100s\" (default) must be longer than net.heartbeat = \"2m\" (flag --set)",
    );
    check(&["link.timeout=1s"], "must be longer than link.heartbeat");
    check(&["link.retry_min=3s"], "must be at most link.retry_max");
    check(&["dbagent.lease=4s"], "must be longer than link.timeout");
    check(&["dbagent.lease_grace=15s"], "must be shorter than dbagent.lease");
    check(&["chat.listen=127.0.0.1:9201"], "must be different from chat.link_listen");
    // A refused value is not compared.
    check(&["net.idle_timeout=1ms"], "out of range");
    assert!(load("", &[], &["chat.listen=127.0.0.1:0", "chat.link_listen=127.0.0.1:0"]).is_ok());
}

#[test]
fn the_rendered_configuration_loads_to_the_same() {
    let config = load(
        "[login]\nname = \"eu.login_1\"\n",
        &[("THRONG_NET_OUTBOX", "1536KiB")],
        &[
            "log.file=",
            "log.console=false",
            "data.dir=a \"b\"\\c\nd",
            "login.chat=[::1]:5,10.0.0.1:6",
            "link.retry_min=1.001ms",
        ],
    )
    .unwrap();
    let rendered = config.render();
    assert_eq!(load(&rendered, &[], &[]).unwrap(), config, "{rendered}");
    assert!(rendered.contains("# From: flag --set.\nconsole = false"), "{rendered}");
    assert!(rendered.contains("# From: environment variable THRONG_NET_OUTBOX.\noutbox = \"1536KiB\""));
    assert!(
        rendered.contains(
            "# Allowed: a whole number, from 1 to 64. Default: \"1\".\n# From: default.\nshards = 1"
        )
    );
    assert_eq!(load(&Config::default().render(), &[], &[]).unwrap(), Config::default());
}

#[test]
fn the_markdown_has_every_key_once() {
    let markdown = Config::markdown();
    for key in Config::keys() {
        assert_eq!(markdown.matches(&format!("| `{}` |", key.name)).count(), 1, "{}", key.name);
    }
    assert!(
        markdown.contains("| `log.file` | `throng.log` |")
            && markdown.contains("| `chat.public_address` | (empty) |")
    );
}

#[test]
fn paths_are_relative_to_the_data_directory() {
    let mut config = Config::default();
    config.data.dir = "/srv/throng".into();
    assert_eq!(config.resolve(&config.login.key_file), Path::new("/srv/throng/login.key"));
    assert_eq!(config.resolve(Path::new("/etc/throng.key")), Path::new("/etc/throng.key"));
}

settings! {
    /// A table with a secret key.
    Sample {
        /// The only section.
        vault: Vault {
            /// The only key.
            password: String = "none" in value::Name, secret;
        }
    }
}

#[test]
fn a_secret_is_shown_nowhere() {
    let sources = Sources::default().set("vault.password=hunter2");
    let sample = Loader::<Sample>::read(&sources).finish().unwrap();
    assert_eq!(sample.vault.password, "hunter2");
    let rendered = render::toml(&sample);
    assert!(rendered.contains("# password = [secret]") && !rendered.contains("hunter2"), "{rendered}");
    let error =
        Loader::<Sample>::read(&Sources::default().set("vault.password=hunter 2")).finish().err().unwrap();
    assert!(error.to_string().contains("[secret]") && !error.to_string().contains("hunter"), "{error}");
    let line = redact::<Sample>(
        ["throng", "up", "--set", "vault.password=hunter2", "--set=net.shards=1"].map(String::from),
    );
    assert_eq!(line, "throng up --set vault.password=[secret] --set=net.shards=1");
}

proptest! {
    #[test]
    fn no_file_panics(text in "(\\[[a-z.]{0,8}\\]|[a-z_.]{0,12} ?= ?[-0-9a-z\"\\[\\]{}, ]{0,12}|\\PC{0,8}|\n){0,12}") {
        let _ = load(&text, &[], &[]);
    }

    #[test]
    fn no_assignment_panics(text in "\\PC{0,40}|(net|log|login)\\.[a-z_]{0,10}=\\PC{0,10}") {
        let _ = Config::load(&Sources::default().set(text));
    }
}
