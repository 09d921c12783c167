//! Bounded HTTP: every answer has a largest size, checked while it comes in, and every request a deadline.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use reqwest::header::HeaderMap;
use reqwest::{Client, RequestBuilder, Response, StatusCode};

/// Largest index of a repository, in bytes.
pub(super) const INDEX_BYTES_MAX: usize = 64 << 20;
/// Largest packed chart, in bytes.
pub(super) const CHART_BYTES_MAX: usize = 20 << 20;
/// Largest manifest, token or list of tags, in bytes.
pub(super) const DOCUMENT_BYTES_MAX: usize = 4 << 20;

/// A request takes no longer than this.
const DEADLINE: Duration = Duration::from_secs(60);
/// Nobody answers within this.
const CONNECT_DEADLINE: Duration = Duration::from_secs(10);

/// Why something was not fetched.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    /// The client cannot be made.
    #[error("failed to make an HTTP client: {0}")]
    MakeClient(#[source] reqwest::Error),
    /// Not an address.
    #[error("\"{url}\" is not a URL of a chart repository: expected http://, https:// or oci://")]
    Address {
        /// What was given.
        url: String,
    },
    /// Nobody there, or the connection broke.
    #[error("failed to fetch \"{url}\": {detail}")]
    Request {
        /// What was asked for.
        url: String,
        /// What happened.
        detail: String,
    },
    /// The server said no.
    #[error("failed to fetch \"{url}\": the server answers {status}")]
    Status {
        /// What was asked for.
        url: String,
        /// What it answered.
        status: StatusCode,
    },
    /// Larger than it may be.
    #[error("\"{url}\" exceeds the limit of {limit} bytes")]
    TooLarge {
        /// What was asked for.
        url: String,
        /// What is allowed.
        limit: usize,
    },
    /// Something else came out.
    #[error("\"{url}\" has the digest {got}, the index says {expected}")]
    Digest {
        /// What was asked for.
        url: String,
        /// What was announced.
        expected: String,
        /// What came.
        got: String,
    },
    /// The answer cannot be read.
    #[error("\"{url}\" cannot be read: {detail}")]
    Malformed {
        /// What was asked for.
        url: String,
        /// Why.
        detail: String,
    },
    /// The repository has no such chart.
    #[error("no chart \"{chart}\" in repository \"{url}\"")]
    NoChart {
        /// The chart.
        chart: String,
        /// The repository.
        url: String,
    },
    /// The repository has the chart, but no such version.
    #[error(
        "no version of chart \"{chart}\" in repository \"{url}\" satisfies \"{version}\"; the newest is {newest}"
    )]
    NoVersion {
        /// The chart.
        chart: String,
        /// The repository.
        url: String,
        /// What was asked for.
        version: String,
        /// What there is.
        newest: String,
    },
    /// The version asked for is none.
    #[error(transparent)]
    Version(super::version::ConstraintError),
    /// The chart cannot be read.
    #[error("chart \"{chart}\" version {version} cannot be read: {detail}")]
    Chart {
        /// The chart.
        chart: String,
        /// Its version.
        version: String,
        /// Why.
        detail: String,
    },
}

/// The client that all sources share.
pub(super) fn client() -> Result<Client, FetchError> {
    Client::builder()
        .connect_timeout(CONNECT_DEADLINE)
        .timeout(DEADLINE)
        .user_agent(concat!("skein-hub/", env!("CARGO_PKG_VERSION")))
        .build()
        .map_err(FetchError::MakeClient)
}

/// Sends a request; an answer that is not a success is an error unless it asks for credentials.
pub(super) async fn send(request: RequestBuilder, url: &str) -> Result<Response, FetchError> {
    let response = request.send().await.map_err(|error| failed(url, &error))?;
    let status = response.status();
    if status.is_success() || status == StatusCode::UNAUTHORIZED {
        Ok(response)
    } else {
        Err(FetchError::Status { url: url.to_owned(), status })
    }
}

/// The whole body, if it is a success and no larger than `limit` bytes.
pub(super) async fn body(
    mut response: Response,
    url: &str,
    limit: usize,
) -> Result<(HeaderMap, Bytes), FetchError> {
    let status = response.status();
    if !status.is_success() {
        return Err(FetchError::Status { url: url.to_owned(), status });
    }
    let too_large = || FetchError::TooLarge { url: url.to_owned(), limit };
    if response.content_length().is_some_and(|length| length > limit as u64) {
        return Err(too_large());
    }
    let mut body = BytesMut::new();
    while let Some(chunk) = response.chunk().await.map_err(|error| failed(url, &error))? {
        if body.len() + chunk.len() > limit {
            return Err(too_large());
        }
        body.extend_from_slice(&chunk);
    }
    Ok((response.headers().clone(), body.freeze()))
}

fn failed(url: &str, error: &reqwest::Error) -> FetchError {
    FetchError::Request { url: url.to_owned(), detail: crate::cache::causes(error) }
}
