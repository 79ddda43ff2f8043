//! The admin HTTP server: health, readiness, metrics, links and the log level.
//!
//! It runs on a thread of its own, `control`, and is never on the path of a packet. It asks for no
//! password and belongs on a loopback address; requests that a browser was tricked into are
//! refused.

mod connections;
mod guard;

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use axum::Router;
use axum::extract::{DefaultBodyLimit, Request, State};
use axum::http::{StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, put};
use thiserror::Error;
use throng_core::limits::ADMIN_BODY_MAX;
use throng_core::links::{Missing, quoted};
use throng_core::log::LogHandle;
use throng_core::shutdown::Shutdown;
use tokio::sync::oneshot;

use connections::LimitedListener;
use guard::Guard;

/// Time that pending requests get when the process ends.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(1);

/// Errors at the start of the admin server.
#[derive(Debug, Error)]
pub enum AdminError {
    /// The server cannot listen on the address.
    #[error(
        "cannot listen for admin requests on {address}: {source}; set admin.listen to another address, or to \"\" to disable the admin server"
    )]
    Listen {
        /// The address.
        address: SocketAddr,
        /// The system's error.
        source: io::Error,
    },
    /// The thread cannot be started.
    #[error("cannot start the control thread: {0}")]
    Thread(io::Error),
}

/// The state that the admin server shows and changes.
pub struct AdminSources {
    /// Names under which the server answers, besides its addresses: `admin.hosts`.
    pub hosts: Vec<String>,
    /// Renders all metrics in the text format of Prometheus.
    pub metrics: fn() -> String,
    /// Tells what is missing before players can get in.
    pub missing: Box<dyn Fn() -> Vec<Missing> + Send + Sync>,
    /// Renders the state of all server links as JSON.
    pub links: Box<dyn Fn() -> String + Send + Sync>,
    /// Reads and changes the log level.
    pub log: LogHandle,
    /// The shutdown of the process, which stops the server too.
    pub shutdown: Shutdown,
}

/// A running admin server.
#[derive(Debug)]
pub struct AdminHandle {
    /// The address on which it listens.
    pub address: SocketAddr,
    thread: JoinHandle<()>,
}

impl AdminHandle {
    /// Waits until the server has stopped, about a second after the shutdown request at most.
    pub fn join(self) {
        // A thread that panicked has written its crash report.
        let _ = self.thread.join();
    }
}

/// Starts the server on `listen`.
pub fn start(listen: SocketAddr, sources: AdminSources) -> Result<AdminHandle, AdminError> {
    let bind = || {
        let listener = TcpListener::bind(listen)?;
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        Ok((listener, address))
    };
    let (listener, address) = bind().map_err(|source| AdminError::Listen { address: listen, source })?;
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(AdminError::Thread)?;
    let listener = {
        let _context = runtime.enter();
        tokio::net::TcpListener::from_std(listener).map_err(AdminError::Thread)?
    };
    if !address.ip().is_loopback() {
        tracing::warn!(
            "the admin server on {address} asks for no password and can be reached from other machines"
        );
    }
    let (stop, stop_requested) = oneshot::channel();
    sources.shutdown.on_request(move |_| {
        // Fails if the server has stopped already.
        let _ = stop.send(());
    });
    let router = router(sources, address);
    let thread = thread::Builder::new()
        .name("control".into())
        .spawn(move || runtime.block_on(serve(listener, router, stop_requested)))
        .map_err(AdminError::Thread)?;
    Ok(AdminHandle { address, thread })
}

async fn serve(listener: tokio::net::TcpListener, router: Router, stop_requested: oneshot::Receiver<()>) {
    let (drain, drain_requested) = oneshot::channel();
    let serving = axum::serve(LimitedListener::new(listener), router).with_graceful_shutdown(async move {
        let _ = drain_requested.await;
    });
    let deadline = async {
        let _ = stop_requested.await;
        let _ = drain.send(());
        tokio::time::sleep(DRAIN_TIMEOUT).await;
    };
    tokio::select! {
        // Serving cannot fail; it goes on until the drain is requested.
        _ = serving => {}
        () = deadline => tracing::debug!("admin requests were cut off by the shutdown"),
    }
}

pub(crate) fn router(sources: AdminSources, address: SocketAddr) -> Router {
    let guard = Arc::new(Guard { listen: address.ip(), hosts: sources.hosts.clone() });
    Router::new()
        .route("/health", get(health))
        .route("/ready", get(ready))
        .route("/metrics", get(metrics))
        .route("/links", get(links))
        .route("/log", put(set_log_level).get(log_level))
        .layer(DefaultBodyLimit::max(ADMIN_BODY_MAX))
        .layer(middleware::from_fn_with_state(guard, admit))
        .with_state(Arc::new(sources))
}

async fn admit(State(guard): State<Arc<Guard>>, request: Request, next: Next) -> Response {
    match guard.refusal(request.uri(), request.headers()) {
        Some(reason) => (StatusCode::FORBIDDEN, reason).into_response(),
        None => next.run(request).await,
    }
}

type Sources = State<Arc<AdminSources>>;

const JSON: [(header::HeaderName, &str); 1] = [(header::CONTENT_TYPE, "application/json")];
const PROMETHEUS: [(header::HeaderName, &str); 1] = [(header::CONTENT_TYPE, "text/plain; version=0.0.4")];

async fn health(State(sources): Sources) -> impl IntoResponse {
    if sources.shutdown.is_requested() {
        (StatusCode::SERVICE_UNAVAILABLE, JSON, "{\"status\":\"stopping\"}\n")
    } else {
        (StatusCode::OK, JSON, "{\"status\":\"ok\"}\n")
    }
}

async fn ready(State(sources): Sources) -> impl IntoResponse {
    let mut reasons: Vec<String> = (sources.missing)().iter().map(ToString::to_string).collect();
    if sources.shutdown.is_requested() {
        reasons.push("the process is ending".into());
    }
    let status = if reasons.is_empty() { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    let missing: Vec<String> = reasons.iter().map(|reason| quoted(reason)).collect();
    let body = format!("{{\"ready\":{},\"missing\":[{}]}}\n", reasons.is_empty(), missing.join(","));
    (status, JSON, body)
}

async fn metrics(State(sources): Sources) -> impl IntoResponse {
    (PROMETHEUS, (sources.metrics)())
}

async fn links(State(sources): Sources) -> impl IntoResponse {
    (JSON, (sources.links)())
}

async fn log_level(State(sources): Sources) -> String {
    format!("{}\n", sources.log.level())
}

async fn set_log_level(State(sources): Sources, directives: String) -> impl IntoResponse {
    match sources.log.set_level(directives.trim()) {
        Ok(()) => {
            tracing::warn!("the log level is now {:?}", sources.log.level());
            (StatusCode::OK, format!("{}\n", sources.log.level()))
        }
        Err(error) => (StatusCode::BAD_REQUEST, format!("{error}\n")),
    }
}

#[cfg(test)]
mod tests;
