//! Tests of the admin server over plain HTTP.

use std::io::{Read, Write};
use std::net::TcpStream;

use parking_lot::MutexGuard;
use throng_core::config;
use throng_core::limits::ADMIN_CONNECTIONS_MAX;
use throng_core::log::{self, LogGuard};
use throng_core::shutdown::Cause;

use super::*;
use crate::LOG_LOCK;

struct Running {
    shutdown: Shutdown,
    handle: AdminHandle,
    _log_lock: MutexGuard<'static, ()>,
    log: LogGuard,
    _dir: tempfile::TempDir,
}

fn start_server() -> Running {
    let log_lock = LOG_LOCK.lock();
    let dir = tempfile::tempdir().unwrap();
    let log = config::Log { console: false, file: None, ..config::Log::default() };
    let log = log::init(&log, dir.path()).unwrap();
    let shutdown = Shutdown::new();
    let sources = AdminSources {
        metrics: || "throng_sessions 5\n".into(),
        links: Box::new(|| "[]".into()),
        log: log.handle(),
        shutdown: shutdown.clone(),
    };
    let handle = start(([127, 0, 0, 1], 0).into(), sources).unwrap();
    Running { shutdown, handle, _log_lock: log_lock, log, _dir: dir }
}

/// Sends a request and returns the whole response.
fn ask(address: SocketAddr, method: &str, path: &str, body: &str) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    let length = body.len();
    write!(
        stream,
        "{method} {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n{body}"
    )
    .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

#[test]
fn requests_are_answered_until_the_shutdown() {
    let running = start_server();
    let address = running.handle.address;
    let check = |method: &str, path: &str, body: &str, status: &str, wanted: &str| {
        let answer = ask(address, method, path, body);
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{method} {path}: {answer}");
        assert!(answer.contains(wanted), "{method} {path}: {answer}");
    };
    check("GET", "/health", "", "200", "{\"status\":\"ok\"}");
    check("GET", "/metrics", "", "200", "throng_sessions 5");
    check("GET", "/metrics", "", "200", "content-type: text/plain; version=0.0.4");
    check("GET", "/links", "", "200", "[]");
    check("GET", "/links", "", "200", "content-type: application/json");
    check("PUT", "/log", "warn,throng_servers=debug\n", "200", "throng_servers=debug");
    check("GET", "/log", "", "200", "throng_servers=debug");
    check("PUT", "/log", "loud", "400", "TARGET=LEVEL");
    check("PUT", "/log", &"x".repeat(ADMIN_BODY_MAX + 1), "413", "");
    check("POST", "/log", "info", "405", "");
    check("GET", "/", "", "404", "");

    running.shutdown.request(Cause::Done);
    running.handle.join();
    assert!(TcpStream::connect(address).is_err(), "the server still listens");
}

#[test]
fn silent_connections_neither_exhaust_the_server_nor_delay_its_end() {
    let running = start_server();
    let silent: Vec<_> =
        (0..ADMIN_CONNECTIONS_MAX - 1).map(|_| TcpStream::connect(running.handle.address).unwrap()).collect();
    let answer = ask(running.handle.address, "GET", "/health", "");
    assert!(answer.contains("ok"), "{answer}");
    running.shutdown.request(Cause::Done);
    running.handle.join();
    drop(silent);
}

#[test]
fn an_address_in_use_is_named_in_the_error() {
    let running = start_server();
    let sources = AdminSources {
        metrics: String::new,
        links: Box::new(String::new),
        log: running.log.handle(),
        shutdown: Shutdown::new(),
    };
    let error = start(running.handle.address, sources).unwrap_err().to_string();
    assert!(error.contains(&running.handle.address.to_string()) && error.contains("admin.listen"), "{error}");
}
