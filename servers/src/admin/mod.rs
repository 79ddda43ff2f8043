//! The admin HTTP server: health, metrics, links and the log level.
//!
//! It has a thread of its own, `control`, and is never on a packet's way. It asks for no
//! password and belongs on a loopback address; a browser cannot be tricked into
//! `PUT /log`, because no page of another origin may send a PUT.

mod connections;

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use axum::Router;
use axum::extract::{DefaultBodyLimit, State};
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::{get, put};
use thiserror::Error;
use throng_core::limits::ADMIN_BODY_MAX;
use throng_core::log::LogHandle;
use throng_core::shutdown::Shutdown;
use tokio::sync::oneshot;

use connections::LimitedListener;

/// How long requests under way may take once the process ends.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(1);

/// The admin server cannot start.
#[derive(Debug, Error)]
pub enum AdminError {
    /// The address cannot be listened on.
    #[error(
        "cannot listen for admin requests on {address}: {source}; set admin.listen to another address, or to \"\" to do without"
    )]
    Listen {
        /// The address.
        address: SocketAddr,
        /// What the system says.
        source: io::Error,
    },
    /// The thread cannot be started.
    #[error("cannot start the control thread: {0}")]
    Thread(io::Error),
}

/// What the admin server shows and changes.
pub struct AdminSources {
    /// All metrics in the text format of Prometheus.
    pub metrics: fn() -> String,
    /// The state of all server links, as JSON.
    pub links: Box<dyn Fn() -> String + Send + Sync>,
    /// The log, to change its level.
    pub log: LogHandle,
    /// The end of the process, which ends the server, too.
    pub shutdown: Shutdown,
}

/// A running admin server.
#[derive(Debug)]
pub struct AdminHandle {
    /// The address that it listens on.
    pub address: SocketAddr,
    thread: JoinHandle<()>,
}

impl AdminHandle {
    /// Waits until the server has ended, which it does within about a second of the request for the
    /// end of the process.
    pub fn join(self) {
        // A panic of the thread has left its crash report.
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
            "the admin server on {address} can be reached from elsewhere and asks for no password"
        );
    }
    let (stop, stop_requested) = oneshot::channel();
    sources.shutdown.on_request(move |_| {
        // Nobody listens any more when the server has ended before.
        let _ = stop.send(());
    });
    let router = router(sources);
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
        // Serving has no failure of its own: it goes on until it is asked to end.
        _ = serving => {}
        () = deadline => tracing::debug!("admin requests were cut off at the end of the process"),
    }
}

fn router(sources: AdminSources) -> Router {
    Router::new()
        .route("/health", get(health))
        .route("/metrics", get(metrics))
        .route("/links", get(links))
        .route("/log", put(set_log_level).get(log_level))
        .layer(DefaultBodyLimit::max(ADMIN_BODY_MAX))
        .with_state(Arc::new(sources))
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
