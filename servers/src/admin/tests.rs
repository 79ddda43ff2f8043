//! Tests of the admin server over plain HTTP.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Instant;

use parking_lot::MutexGuard;
use throng_core::config;
use throng_core::limits::ADMIN_CONNECTIONS_MAX;
use throng_core::log::{self, LogGuard};
use throng_core::shutdown::Cause;

use super::*;
use crate::LOG_LOCK;

struct Running {
    shutdown: Shutdown,
    /// True while a need of the process is not met.
    is_missing: Arc<AtomicBool>,
    handle: AdminHandle,
    _log_lock: MutexGuard<'static, ()>,
    log: LogGuard,
    _dir: tempfile::TempDir,
}

fn sources(log: &LogGuard) -> AdminSources {
    AdminSources {
        hosts: vec!["ops.example.org".into()],
        metrics: || "throng_sessions 5\n".into(),
        missing: Box::new(Vec::new),
        links: Box::new(|| "[]".into()),
        log: log.handle(),
        shutdown: Shutdown::new(),
    }
}

fn start_server() -> Running {
    start_server_with(|_| {})
}

fn start_server_with(change: impl FnOnce(&mut AdminSources)) -> Running {
    let log_lock = LOG_LOCK.lock();
    let dir = tempfile::tempdir().unwrap();
    let log = config::Log { console: false, file: None, ..config::Log::default() };
    let log = log::init(&log, dir.path()).unwrap();
    let is_missing = Arc::new(AtomicBool::new(false));
    let missing = is_missing.clone();
    let need = || Missing { what: "x has no \"link\"".into(), detail: "1.2.3.4:5: down".into() };
    let mut sources = AdminSources {
        missing: Box::new(move || missing.load(Relaxed).then(need).into_iter().collect()),
        ..sources(&log)
    };
    change(&mut sources);
    let shutdown = sources.shutdown.clone();
    let handle = start(([127, 0, 0, 1], 0).into(), sources).unwrap();
    Running { shutdown, is_missing, handle, _log_lock: log_lock, log, _dir: dir }
}

/// Sends a request and returns the whole response.
fn ask(address: SocketAddr, method: &str, path: &str, body: &str) -> String {
    ask_as(address, &format!("Host: {address}\r\n"), method, path, body)
}

/// Sends a request with these headers and returns the whole response.
fn ask_as(address: SocketAddr, headers: &str, method: &str, path: &str, body: &str) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    let length = body.len();
    write!(
        stream,
        "{method} {path} HTTP/1.1\r\n{headers}Connection: close\r\nContent-Length: {length}\r\n\r\n{body}"
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
    check("GET", "/ready", "", "200", "{\"ready\":true,\"missing\":[]}");
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
fn a_process_that_is_not_ready_says_why_and_lives() {
    let running = start_server();
    running.is_missing.store(true, Relaxed);
    let answer = ask(running.handle.address, "GET", "/ready", "");
    assert!(answer.starts_with("HTTP/1.1 503 "), "{answer}");
    let body = "{\"ready\":false,\"missing\":[\"x has no \\\"link\\\" (1.2.3.4:5: down)\"]}\n";
    assert!(answer.ends_with(body), "{answer}");
    assert!(ask(running.handle.address, "GET", "/health", "").starts_with("HTTP/1.1 200 "));
}

#[test]
fn a_page_of_another_name_or_origin_does_not_change_the_log_level() {
    let running = start_server();
    let address = running.handle.address;
    let check = |headers: &str, status: &str| {
        let answer = ask_as(address, headers, "PUT", "/log", "debug");
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{headers}: {answer}");
    };
    check("Host: evil.example\r\n", "403");
    check(&format!("Host: {address}\r\nOrigin: http://evil.example\r\n"), "403");
    assert_ne!(running.log.handle().level(), "debug");
    check("Host: ops.example.org\r\nOrigin: http://ops.example.org\r\n", "200");
    let answer = ask_as(address, "Host: evil\u{202e}.example\r\n", "GET", "/metrics", "");
    assert!(answer.starts_with("HTTP/1.1 403 ") && !answer.contains('\u{202e}'), "{answer}");
}

#[test]
fn silent_connections_neither_exhaust_the_server_nor_delay_its_end() {
    let running = start_server();
    let address = running.handle.address;
    let connect = |begin: &str| {
        let mut stream = TcpStream::connect(address).unwrap();
        stream.write_all(begin.as_bytes()).unwrap();
        stream
    };
    let silent: Vec<_> = (0..3 * ADMIN_CONNECTIONS_MAX)
        .map(|number| connect(["", "GET /health HTTP/1.1\r\n"][number % 2]))
        .collect();
    for _ in 0..3 {
        let answer = ask(address, "GET", "/health", "");
        assert!(answer.contains("ok"), "{answer}");
    }
    // The oldest were evicted.
    assert_eq!((&silent[0]).read(&mut [0]).unwrap_or(0), 0);
    running.shutdown.request(Cause::Done);
    running.handle.join();
    drop(silent);
}

#[test]
fn a_request_that_does_not_end_and_an_idle_connection_are_closed() {
    let running = start_server();
    for begin in [
        "",
        "GET /health HTTP/1.1\r\nHost: 127.0.0.1\r\n",
        "PUT /log HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 9\r\n\r\nd",
    ] {
        let mut stream = TcpStream::connect(running.handle.address).unwrap();
        stream.write_all(begin.as_bytes()).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(50))).unwrap();
        let mut answer = Vec::new();
        // A reset is an end as well.
        if let Err(error) = stream.read_to_end(&mut answer) {
            assert_eq!(error.kind(), io::ErrorKind::ConnectionReset, "{begin:?}");
        }
        assert!(!answer.starts_with(b"HTTP/1.1 200"), "{begin:?}");
    }
}

#[test]
fn a_response_that_is_not_read_times_out() {
    // More than the sockets' buffers hold.
    let running = start_server_with(|sources| sources.metrics = || "x".repeat(64 << 20));
    let mut stream = TcpStream::connect(running.handle.address).unwrap();
    stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n").unwrap();
    let deadline = Instant::now() + Duration::from_secs(50);
    // A write to a closed connection fails, once the reset has come.
    while stream.write_all(b"\r\n").is_ok() {
        assert!(Instant::now() < deadline, "the connection is still open");
        thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn an_address_in_use_is_named_in_the_error() {
    let running = start_server();
    let sources = sources(&running.log);
    let error = start(running.handle.address, sources).unwrap_err().to_string();
    assert!(error.contains(&running.handle.address.to_string()) && error.contains("admin.listen"), "{error}");
}
