//! The HTTP endpoint: `/healthz`, `/readyz`, `/metrics` and what the program adds.

use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};

use axum::Router;
use axum::extract::Request;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;
use tokio::net::TcpListener;
use tower::ServiceExt as _;

use crate::{Process, metrics};

/// Why the endpoint could not be opened.
#[derive(Debug, thiserror::Error)]
#[error("failed to listen for HTTP on {address}; is another program using that port?")]
pub struct BindHttp {
    address: SocketAddr,
    #[source]
    source: std::io::Error,
}

/// An endpoint that is open.
#[derive(Debug, Clone)]
pub struct Http {
    /// Where.
    pub address: SocketAddr,
    own: Arc<OnceLock<Router>>,
}

impl Http {
    /// From now on it answers these, too. Until then they are not there yet (503).
    pub fn answer(&self, own: Router) {
        if self.own.set(own).is_err() {
            tracing::error!("the program's own pages are told twice");
        }
    }
}

/// Opens the endpoint and serves it until the process ends. Returns the address that was bound.
///
/// # Errors
/// [`BindHttp`] when the address cannot be bound.
pub async fn serve(process: &Process, address: SocketAddr, own: Router) -> Result<SocketAddr, BindHttp> {
    let http = open(process, address).await?;
    http.answer(own);
    Ok(http.address)
}

/// The same for a program that waits for something before it has pages of its own: who looks after it sees that it is
/// alive, and what it waits for.
///
/// # Errors
/// As [`serve`].
pub async fn open(process: &Process, address: SocketAddr) -> Result<Http, BindHttp> {
    let listener = TcpListener::bind(address).await.map_err(|source| BindHttp { address, source })?;
    let bound = listener.local_addr().map_err(|source| BindHttp { address, source })?;
    let http = Http { address: bound, own: Arc::default() };
    let own = Arc::clone(&http.own);
    let router = standard(process).fallback(move |request| answered(own.get().cloned(), request));
    let cancel = process.cancel.clone();
    process.tasks.spawn(async move {
        let served =
            axum::serve(listener, router).with_graceful_shutdown(async move { cancel.cancelled().await });
        if let Err(error) = served.await {
            tracing::error!(%error, "the HTTP endpoint failed");
        }
    });
    Ok(http)
}

async fn answered(own: Option<Router>, request: Request) -> Response {
    match own {
        Some(own) => own.oneshot(request).await.into_response(),
        None => (StatusCode::SERVICE_UNAVAILABLE, "this program has not started yet\n").into_response(),
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    async fn asked(http: &Http, path: &str) -> (u16, String) {
        let answer = reqwest::get(format!("http://{}{path}", http.address)).await.unwrap();
        (answer.status().as_u16(), answer.text().await.unwrap())
    }

    #[tokio::test]
    async fn a_program_that_waits_is_alive_and_its_pages_come_when_it_has_some() {
        let process = Process::embedded();
        let starting = process.readiness.guard("start");
        let http = open(&process, SocketAddr::from(([127, 0, 0, 1], 0))).await.unwrap();
        assert_eq!(asked(&http, "/healthz").await, (200, "ok\n".to_owned()));
        assert_eq!(asked(&http, "/readyz").await, (503, "waiting for start\n".to_owned()));
        assert_eq!(asked(&http, "/own").await.0, 503);
        http.answer(Router::new().route("/own", get(async || "mine\n")));
        drop(starting);
        assert_eq!(asked(&http, "/readyz").await, (200, "ready\n".to_owned()));
        assert_eq!(asked(&http, "/own").await, (200, "mine\n".to_owned()));
        assert_eq!(asked(&http, "/nowhere").await.0, 404);
        process.drain().await;
    }
}
