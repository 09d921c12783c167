//! The API on a listener: HTTP/1.1 and h2c, with a bearer token where one is set.
//!
//! # Why
//! client-go (kubectl, Helm) sends a kubeconfig's credentials only over TLS. Over plain HTTP the token may
//! therefore also stand at the start of the path, `/token/<token>/api/...`, as a kubeconfig's `server` can say it.

use std::sync::Arc;
use std::time::Duration;

use ::http::header::AUTHORIZATION;
use ::http::{Request, Response, Uri};
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

/// Paths that anybody may read, as on a real cluster.
const OPEN_PATHS: [&str; 4] = ["/healthz", "/livez", "/readyz", "/version"];
/// What stands before a token in a path.
pub(crate) const TOKEN_PATH: &str = "/token/";
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
    let guarded = service_fn(move |mut request: Request<Incoming>| {
        let presented = take_token(&mut request);
        let allowed =
            token.as_deref().is_none_or(|token| presented.as_deref().is_some_and(|it| equal(it, token)))
                || OPEN_PATHS.contains(&request.uri().path());
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

/// The token of a request: its bearer token, or the one in its path, which is cut off.
fn take_token(request: &mut Request<Incoming>) -> Option<String> {
    let in_path = request.uri().path_and_query().and_then(|path| {
        let (token, rest) = path.as_str().strip_prefix(TOKEN_PATH)?.split_once('/')?;
        Some((token.to_owned(), format!("/{rest}")))
    });
    if let Some((token, rest)) = in_path {
        let mut parts = std::mem::take(request.uri_mut()).into_parts();
        parts.path_and_query = rest.parse().ok();
        *request.uri_mut() = Uri::from_parts(parts).unwrap_or_default();
        return Some(token);
    }
    let header = request.headers().get(AUTHORIZATION)?.to_str().ok()?;
    header.strip_prefix("Bearer ").map(str::to_owned)
}

/// Compares every byte, so that the time taken tells nothing of where they differ.
fn equal(presented: &str, token: &str) -> bool {
    let pairs = presented.bytes().zip(token.bytes());
    presented.len() == token.len() && pairs.fold(0, |sum, (one, other)| sum | (one ^ other)) == 0
}
