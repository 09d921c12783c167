//! The API on a listener: HTTP/1.1 and h2c, with a bearer token where one is set.

use std::sync::Arc;
use std::time::Duration;

use ::http::header::AUTHORIZATION;
use ::http::{Request, Response};
use futures::future::Either;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::{ApiBody, ApiService, respond};
use crate::error::ApiError;

/// Connections get this long to finish what they do when the server stops.
const GRACE: Duration = Duration::from_millis(500);
/// A listener that fails, for want of file descriptors for example, is tried again after this.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Serves until cancelled.
pub(crate) async fn serve(
    service: ApiService,
    listener: TcpListener,
    token: Option<String>,
    cancel: CancellationToken,
) {
    let token: Option<Arc<str>> = token.map(Into::into);
    let connections = TaskTracker::new();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = cancel.cancelled() => break,
        };
        match accepted {
            Ok((stream, _)) => {
                connections.spawn(connection(service.clone(), stream, token.clone(), cancel.clone()));
            }
            Err(error) => {
                tracing::warn!(%error, "failed to accept a connection");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
    connections.close();
    connections.wait().await;
}

async fn connection(
    service: ApiService,
    stream: TcpStream,
    token: Option<Arc<str>>,
    cancel: CancellationToken,
) {
    // Small answers must not wait for a full segment.
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "failed to set TCP_NODELAY");
    }
    let guarded = service_fn(move |request: Request<Incoming>| {
        let allowed = token.as_deref().is_none_or(|token| bears(&request, token));
        if allowed {
            Either::Left(hyper::service::Service::call(&TowerToHyperService::new(service.clone()), request))
        } else {
            let refused: Response<ApiBody> = respond::status(&ApiError::unauthorized());
            Either::Right(std::future::ready(Ok(refused)))
        }
    });
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder.http1().keep_alive(true);
    let serving = builder.serve_connection(TokioIo::new(stream), guarded);
    tokio::pin!(serving);
    let served = tokio::select! {
        served = &mut serving => served,
        () = cancel.cancelled() => {
            serving.as_mut().graceful_shutdown();
            // Watches do not end by themselves: dropping the connection ends them.
            tokio::time::timeout(GRACE, &mut serving).await.unwrap_or(Ok(()))
        }
    };
    if let Err(error) = served {
        tracing::debug!(error, "a connection ended with an error");
    }
}

fn bears(request: &Request<Incoming>, token: &str) -> bool {
    let header = request.headers().get(AUTHORIZATION).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let presented = header.strip_prefix("Bearer ").unwrap_or_default().as_bytes();
    // Compares every byte, so that the time taken tells nothing of where they differ.
    let difference = presented.iter().zip(token.as_bytes()).fold(0, |sum, (one, other)| sum | (one ^ other));
    presented.len() == token.len() && difference == 0
}
