//! Refusal of requests that a page in a browser was made to send.
//!
//! A page of another origin says so in `Origin`. A page whose name was pointed at this machine
//! after it was loaded (DNS rebinding) is of the same origin, and gives itself away by its name in
//! `Host`.

use std::net::IpAddr;

use axum::http::header::{HOST, ORIGIN};
use axum::http::uri::Authority;
use axum::http::{HeaderMap, HeaderValue, Uri};

/// The names under which the admin port answers.
#[derive(Debug, Clone)]
pub(super) struct Guard {
    /// Address that the server listens on.
    pub(super) listen: IpAddr,
    /// `admin.hosts`.
    pub(super) hosts: Vec<String>,
}

impl Guard {
    /// Returns the reason for refusing a request, or `None` to admit it. No browser leaves `Host`
    /// out, so that a request without it is admitted.
    pub(super) fn refusal(&self, uri: &Uri, headers: &HeaderMap) -> Option<String> {
        let hosts = headers.get_all(HOST).into_iter().map(HeaderValue::as_bytes);
        for host in hosts.chain(uri.authority().map(|authority| authority.as_str().as_bytes())) {
            if !Authority::try_from(host).is_ok_and(|host| self.is_ours(host.host())) {
                return Some(format!(
                    "Host {} is not a name of this admin port: ask by its IP address, or list the name in admin.hosts\n",
                    String::from_utf8_lossy(host).escape_debug(),
                ));
            }
        }
        let host = headers.get(HOST).map(HeaderValue::as_bytes).unwrap_or_default();
        let is_same = |origin: &HeaderValue| origin.as_bytes().strip_prefix(b"http://") == Some(host);
        headers
            .get_all(ORIGIN)
            .into_iter()
            .any(|origin| !is_same(origin))
            .then(|| "pages of another origin may not use the admin port\n".into())
    }

    fn is_ours(&self, host: &str) -> bool {
        let bare = host.trim_start_matches('[').trim_end_matches(']');
        if let Ok(address) = bare.parse::<IpAddr>() {
            // No page gets to have an IP address of this machine as its name, except from it.
            return address.is_loopback() || self.listen == address || self.listen.is_unspecified();
        }
        let mut names = self.hosts.iter().map(String::as_str).chain(["localhost"]);
        names.any(|name| name.eq_ignore_ascii_case(host))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(listen: &str, host: Option<&str>, origin: Option<&str>) -> Option<String> {
        let guard = Guard { listen: listen.parse().unwrap(), hosts: vec!["ops.example.org".into()] };
        let mut headers = HeaderMap::new();
        for (name, value) in [(HOST, host), (ORIGIN, origin)] {
            if let Some(value) = value {
                headers.append(name, value.parse().unwrap());
            }
        }
        guard.refusal(&"/log".parse().unwrap(), &headers)
    }

    #[test]
    fn only_names_of_this_machine_are_answered() {
        let check = |listen: &str, host: Option<&str>, is_admitted: bool| {
            let refusal = refusal(listen, host, None);
            assert_eq!(refusal.is_none(), is_admitted, "{host:?} on {listen}: {refusal:?}");
        };
        for host in
            ["127.0.0.1:9400", "127.0.0.1", "127.9.9.9:1", "[::1]:9400", "localhost:9400", "LOCALHOST"]
        {
            check("127.0.0.1", Some(host), true);
        }
        check("127.0.0.1", None, true);
        check("127.0.0.1", Some("ops.example.org:9400"), true);
        for host in
            ["evil.example", "localhost.evil.example", "", "10.0.0.1", "127.0.0.1.evil.example", "a b"]
        {
            check("127.0.0.1", Some(host), false);
        }
        check("10.0.0.1", Some("10.0.0.1:9400"), true);
        check("10.0.0.1", Some("10.0.0.2:9400"), false);
        check("0.0.0.0", Some("10.0.0.2:9400"), true);
        check("0.0.0.0", Some("evil.example"), false);
    }

    #[test]
    fn a_name_in_the_request_line_counts_too() {
        let guard = Guard { listen: "127.0.0.1".parse().unwrap(), hosts: Vec::new() };
        let mut headers = HeaderMap::new();
        headers.append(HOST, "127.0.0.1".parse().unwrap());
        assert!(guard.refusal(&"http://evil.example/log".parse().unwrap(), &headers).is_some());
        headers.append(HOST, "evil.example".parse().unwrap());
        assert!(guard.refusal(&"/log".parse().unwrap(), &headers).is_some(), "the second Host header");
    }

    #[test]
    fn pages_of_other_origins_are_refused() {
        let host = Some("127.0.0.1:9400");
        assert_eq!(refusal("127.0.0.1", host, Some("http://127.0.0.1:9400")), None);
        for origin in ["http://evil.example", "null", "http://127.0.0.1:1", "https://127.0.0.1:9400"] {
            assert!(refusal("127.0.0.1", host, Some(origin)).is_some(), "{origin}");
        }
        assert!(refusal("127.0.0.1", None, Some("http://evil.example")).is_some());
    }
}
