//! Requests to a server's admin port.

use std::io::Read;
use std::net::SocketAddr;

use serde_json::Value;
use throng_harness_model::text::one_line;

use super::metrics::Metrics;

/// Timeout of a request, in whole seconds.
const PATIENCE_S: u64 = 1;

/// Most bytes of an answer that are read; Throng's answers have some kilobytes.
const ANSWER_MAX: u64 = 1 << 20;

/// The answers of a server's admin port.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Answers {
    /// The status of `/health`, `ok` or `stopping`; `no answer` without one, `unknown` if it cannot
    /// be read.
    pub health: String,
    /// Links that accept requests, and all links.
    pub links: Option<(usize, usize)>,
    /// All metrics; empty without an answer.
    pub metrics: Metrics,
}

/// Queries the server at `address`. The first timeout ends the query.
pub fn ask(address: SocketAddr) -> Answers {
    let Some(health) = get(address, "/health") else {
        return Answers { health: "no answer".into(), ..Answers::default() };
    };
    let health: Value = serde_json::from_str(&health).unwrap_or_default();
    Answers {
        health: one_line(health["status"].as_str().unwrap_or("unknown").as_bytes()),
        links: get(address, "/links").as_deref().and_then(links),
        metrics: get(address, "/metrics").map(|text| Metrics::parse(&text)).unwrap_or_default(),
    }
}

/// Counts the links that are `up`, and all links, in a JSON object of states.
fn links(text: &str) -> Option<(usize, usize)> {
    let states: serde_json::Map<String, Value> = serde_json::from_str(text).ok()?;
    Some((states.values().filter(|state| **state == "up").count(), states.len()))
}

fn get(address: SocketAddr, path: &str) -> Option<String> {
    let request = minreq::get(format!("http://{address}{path}")).with_follow_redirects(false);
    let answer = request.with_timeout(PATIENCE_S).send_lazy().ok()?;
    let mut bytes = Vec::new();
    answer.take(ANSWER_MAX).read_to_end(&mut bytes).ok()?;
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::net::TcpListener;
    use std::thread;

    use super::*;

    /// Serves `count` requests with the answer to each path.
    fn serve(count: usize, answer: impl Fn(&str) -> String + Send + 'static) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("bound");
        thread::spawn(move || {
            for socket in listener.incoming().take(count) {
                let mut socket = socket.expect("accepted");
                let mut request = [0; 1024];
                let read = socket.read(&mut request).expect("a request");
                let request = String::from_utf8_lossy(&request[..read]).into_owned();
                let path = request.split(' ').nth(1).unwrap_or_default();
                // The client may have read enough.
                let _ = socket.write_all(answer(path).as_bytes());
            }
        });
        address
    }

    fn ok(body: &str) -> String {
        format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}", body.len())
    }

    #[test]
    fn the_answers_of_a_server_are_parsed() {
        let address = serve(3, |path| match path {
            "/health" => ok("{\"status\":\"ok\"}\n"),
            "/links" => ok("{\"a -> b\":\"up\",\n \"c -> d\":\"connecting\"}\n"),
            _ => ok("throng_net_sessions 5\n"),
        });
        let answers = ask(address);
        assert_eq!((answers.health.as_str(), answers.links), ("ok", Some((1, 2))));
        assert_eq!(answers.metrics.get("throng_net_sessions"), Some(5.0));
    }

    #[test]
    fn a_status_commands_no_terminal() {
        let status = r#"{"status":"ok\u001b[2J\u0007\u0000\nPASS \u202e"}"#;
        let address = serve(3, move |_| ok(status));
        assert_eq!(ask(address).health, "ok\\u{1b}[2J\\u{7}\\u{0}\\nPASS \\u{202e}");
    }

    #[test]
    fn missing_and_bad_answers_are_tolerated() {
        let silent = TcpListener::bind("127.0.0.1:0").expect("a free port");
        assert_eq!(ask(silent.local_addr().expect("bound")).health, "no answer");
        let address = serve(3, |_| ok("what?"));
        assert_eq!(ask(address), Answers { health: "unknown".into(), ..Answers::default() });
        let address = serve(1, |_| "what?\r\n\r\n".into());
        assert_eq!(ask(address).links, None);
    }
}
