//! The admin port, on a connection in memory: hyper, axum and the rules of ours.

use std::future::pending;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, LazyLock, Mutex};
use std::task::{Context, Poll};

use axum::Router;
use axum::serve::Listener;
use throng_core::config;
use throng_core::links::Missing;
use throng_core::log::{self, LogGuard};
use throng_core::metrics;
use throng_core::shutdown::Shutdown;
use throng_servers::admin::AdminSources;
use throng_servers::fuzzing::admin_router;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::runtime::{Builder, Runtime};
use tokio::sync::oneshot;

use crate::Target;
use crate::files::assert_shown;

pub(crate) const ADMIN: Target = Target { name: "admin", check, seeds, mutations: 1_000 };

const ADDRESS: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 9400);

/// The log level before each input.
const LEVEL: &str = "info";

static LOG: LazyLock<LogGuard> = LazyLock::new(|| {
    let options = config::Log { console: false, file: None, ..config::Log::default() };
    log::init(&options, &std::env::temp_dir()).expect("the log starts")
});

thread_local! {
    static RUNTIME: Runtime = Builder::new_current_thread().enable_all().build().expect("a runtime");
    static ROUTER: Router = admin_router(
        AdminSources {
            hosts: vec!["ops.example.org".into()],
            metrics: metrics::render,
            missing: Box::new(|| vec![Missing { what: "a \"link\"".into(), detail: "\u{1b}[2J\n".into() }]),
            links: Box::new(|| "{}".into()),
            log: LOG.handle(),
            shutdown: Shutdown::new(),
        },
        ADDRESS,
    );
}

fn seeds() -> Vec<Vec<u8>> {
    let mut seeds = Vec::new();
    for path in ["/health", "/ready", "/metrics", "/links", "/log", "/none", "http://evil.example/log", "*"] {
        seeds.push(format!("\0GET {path} HTTP/1.1\r\nHost: 127.0.0.1:9400\r\n\r\n"));
    }
    for level in
        ["debug", "info,throng_core::net=trace", "[span{field=\"x\"}]=warn", "off", "x=y=z", "\u{1b}"]
    {
        let length = level.len();
        seeds.push(format!(
            "\x05PUT /log HTTP/1.1\r\nHost: localhost\r\nContent-Length: {length}\r\n\r\n{level}"
        ));
    }
    for headers in
        ["Host: evil.example", "Host: ops.example.org\r\nOrigin: null", "Host: [::1]\r\nHost: \u{e9}"]
    {
        seeds.push(format!("\x20GET /log HTTP/1.0\r\n{headers}\r\nConnection: keep-alive\r\n\r\n"));
    }
    seeds.push(
        "\0PUT /log HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nExpect: 100-continue\r\n\r\n\
         4;x\r\ninfo\r\n0\r\nA: b\r\n\r\nHEAD /ready HTTP/1.1\r\n\r\nOPTIONS * HTTP/1.1\r\n\r\n"
            .into(),
    );
    seeds.into_iter().map(String::into_bytes).collect()
}

/// Sends requests, in reads of the size of the first byte. Answers are whole and can be shown.
fn check(input: &[u8]) {
    let Some((piece, requests)) = input.split_first() else { return };
    let output = Arc::new(Mutex::new(Vec::new()));
    let (ended, end) = oneshot::channel();
    let socket = Socket {
        input: requests.to_vec(),
        at: 0,
        piece: if *piece == 0 { usize::MAX } else { usize::from(*piece) },
        output: output.clone(),
        _ended: ended,
    };
    let router = ROUTER.with(Router::clone);
    RUNTIME.with(|runtime| {
        runtime.block_on(async {
            tokio::select! {
                _ = axum::serve(Once(Some(socket)), router) => {}
                // The connection was dropped.
                _ = end => {}
            }
        });
    });
    let answers = String::from_utf8(std::mem::take(&mut output.lock().expect("no thread panicked")));
    let answers = answers.expect("answers are text");
    if !answers.is_empty() {
        assert!(answers.starts_with("HTTP/1.") && answers.contains("\r\n\r\n"), "{answers:?}");
        assert_shown(&answers.replace("\r\n", "\n"));
    }
    if LOG.handle().level() != LEVEL {
        LOG.handle().set_level(LEVEL).expect("a level");
    }
}

/// A listener with one connection.
struct Once(Option<Socket>);

impl Listener for Once {
    type Io = Socket;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Socket, SocketAddr) {
        match self.0.take() {
            Some(socket) => (socket, ADDRESS),
            None => pending().await,
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        Ok(ADDRESS)
    }
}

/// A connection whose peer has sent everything and closed its side.
struct Socket {
    input: Vec<u8>,
    at: usize,
    /// Most bytes of a read.
    piece: usize,
    output: Arc<Mutex<Vec<u8>>>,
    /// Tells of the drop.
    _ended: oneshot::Sender<()>,
}

impl AsyncRead for Socket {
    fn poll_read(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let count = self.piece.min(buffer.remaining()).min(self.input.len() - self.at);
        buffer.put_slice(&self.input[self.at..self.at + count]);
        self.at += count;
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Socket {
    fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.output.lock().expect("no thread panicked").extend_from_slice(bytes);
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}
