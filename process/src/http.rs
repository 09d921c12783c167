//! The HTTP endpoint: `/healthz`, `/readyz`, `/metrics` and what the program adds.

use std::net::SocketAddr;

use axum::Router;
use axum::http::{StatusCode, header};
use axum::routing::get;
use tokio::net::TcpListener;

use crate::{Process, metrics};

/// Why the endpoint could not be opened.
#[derive(Debug, thiserror::Error)]
#[error("failed to listen for HTTP on {address}; is another program using that port?")]
pub struct BindHttp {
    address: SocketAddr,
    #[source]
    source: std::io::Error,
}

/// Opens the endpoint and serves it until the process ends. Returns the address that was bound.
///
/// # Errors
/// [`BindHttp`] when the address cannot be bound.
pub async fn serve(process: &Process, address: SocketAddr, own: Router) -> Result<SocketAddr, BindHttp> {
    let listener = TcpListener::bind(address).await.map_err(|source| BindHttp { address, source })?;
    let bound = listener.local_addr().map_err(|source| BindHttp { address, source })?;
    let router = own.merge(standard(process));
    let cancel = process.cancel.clone();
    process.tasks.spawn(async move {
        let served =
            axum::serve(listener, router).with_graceful_shutdown(async move { cancel.cancelled().await });
        if let Err(error) = served.await {
            tracing::error!(%error, "the HTTP endpoint failed");
        }
    });
    Ok(bound)
}

fn standard(process: &Process) -> Router {
    let readiness = process.readiness.clone();
    let registry = process.metrics.clone();
    Router::new()
        .route("/healthz", get(async || "ok\n"))
        .route("/readyz", get(async move || ready(&readiness.missing())))
        .route(
            "/metrics",
            get(async move || {
                (
                    [(header::CONTENT_TYPE, "text/plain; version=0.0.4")],
                    metrics::exposition(&registry.gather()),
                )
            }),
        )
}

fn ready(missing: &[&str]) -> (StatusCode, String) {
    if missing.is_empty() {
        (StatusCode::OK, "ready\n".to_owned())
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, format!("waiting for {}\n", missing.join(", ")))
    }
}
