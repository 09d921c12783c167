//! Bounded HTTP: every answer has a largest size, checked while it comes in, every request a deadline, and every host
//! a number of requests at a time.

use std::collections::HashMap;
use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use base64::Engine as _;
use bytes::{Bytes, BytesMut};
use lru::LruCache;
use reqwest::header::{AUTHORIZATION, ETAG, HeaderMap, HeaderValue, IF_NONE_MATCH};
use reqwest::redirect::{Action, Attempt, Policy};
use reqwest::{Certificate, Client, Identity, RequestBuilder, Response, StatusCode, Url};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::access::{Access, Credentials, Proxy, Tls};
use crate::error::{SourceError, causes};
use crate::url::{host, shown};

/// Nobody answers within this.
const CONNECT_DEADLINE: Duration = Duration::from_secs(10);
/// Clients that are kept, one for each set of certificates and proxy.
const CLIENTS_MAX: NonZeroUsize = NonZeroUsize::new(128).expect("not zero");
/// Redirections of one request.
const REDIRECTIONS_MAX: usize = 10;
/// Entity tags are sent back; a longer one is none.
const ETAG_BYTES_MAX: usize = 512;

/// Makes clients and counts requests by host.
pub(crate) struct Http {
    clients: Mutex<LruCache<(Tls, Option<Proxy>), Client>>,
    hosts: Mutex<HashMap<String, Arc<Semaphore>>>,
    host_requests_max: usize,
}

/// A whole answer.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl Answer {
    /// What to send back to hear of changes only.
    pub(crate) fn etag(&self) -> Option<String> {
        let etag = self.headers.get(ETAG)?.to_str().ok()?;
        (etag.len() <= ETAG_BYTES_MAX).then(|| etag.to_owned())
    }
}

impl Http {
    pub(crate) fn new(host_requests_max: usize) -> Self {
        Self { clients: Mutex::new(LruCache::new(CLIENTS_MAX)), hosts: Mutex::default(), host_requests_max }
    }

    /// A client with these certificates and this proxy.
    pub(crate) fn client(&self, access: &Access) -> Result<Client, SourceError> {
        let key = (access.tls.clone(), access.proxy.clone());
        let mut clients = self.clients.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(client) = clients.get(&key) {
            return Ok(client.clone());
        }
        let client = build(access)?;
        clients.put(key, client.clone());
        Ok(client)
    }

    /// Sends a request and reads the whole answer. Anything but a success, "not modified" and "unauthorized" is an
    /// error.
    pub(crate) async fn send(
        &self,
        request: RequestBuilder,
        access: &Access,
        limit: usize,
    ) -> Result<Answer, SourceError> {
        let (client, request) = request.timeout(access.timeout).build_split();
        let request = request.map_err(|error| SourceError::Prepare { detail: causes(&error) })?;
        let address = request.url().clone();
        let _permit = self.permit(&address).await;
        let url = shown(address.as_str());
        let response = client.execute(request).await.map_err(|error| failed(&url, error))?;
        let status = response.status();
        if !status.is_success() && !matches!(status, StatusCode::UNAUTHORIZED | StatusCode::NOT_MODIFIED) {
            return Err(SourceError::Status { url, status });
        }
        body(response, &url, limit).await
    }

    /// Sends a request that must succeed.
    pub(crate) async fn get(
        &self,
        request: RequestBuilder,
        access: &Access,
        limit: usize,
        url: &Url,
    ) -> Result<Answer, SourceError> {
        let answer = self.send(request, access, limit).await?;
        if answer.status == StatusCode::UNAUTHORIZED {
            return Err(SourceError::Status { url: shown(url.as_str()), status: answer.status });
        }
        Ok(answer)
    }

    /// A place among the requests to a host.
    pub(crate) async fn permit(&self, url: &Url) -> Option<OwnedSemaphorePermit> {
        let semaphore = {
            let mut hosts = self.hosts.lock().unwrap_or_else(PoisonError::into_inner);
            // Hosts that nobody asks now are forgotten, so that the map follows what is in use.
            if hosts.len() > 1024 {
                hosts.retain(|_, semaphore| Arc::strong_count(semaphore) > 1);
            }
            hosts.entry(host(url)).or_insert_with(|| Arc::new(Semaphore::new(self.host_requests_max))).clone()
        };
        semaphore.acquire_owned().await.ok()
    }
}

/// Adds the credentials.
pub(crate) fn authorized(request: RequestBuilder, credentials: Option<&Credentials>) -> RequestBuilder {
    let text = match credentials {
        Some(Credentials::Basic { username, password }) => {
            let pair = format!("{username}:{}", password.reveal());
            format!("Basic {}", base64::engine::general_purpose::STANDARD.encode(pair))
        }
        Some(Credentials::Bearer(token)) => format!("Bearer {}", token.reveal()),
        None => return request,
    };
    let Ok(mut value) = HeaderValue::from_str(&text) else { return request };
    value.set_sensitive(true);
    // In place of a name and password in the address itself.
    request.headers(HeaderMap::from_iter([(AUTHORIZATION, value)]))
}

/// Asks only for what is newer.
pub(crate) fn unless(request: RequestBuilder, etag: Option<&str>) -> RequestBuilder {
    match etag {
        Some(etag) => request.header(IF_NONE_MATCH, etag),
        None => request,
    }
}

fn build(access: &Access) -> Result<Client, SourceError> {
    let wrong = |what: &str, error: reqwest::Error| SourceError::Prepare {
        detail: format!("{what}: {}", causes(&error)),
    };
    let mut builder = Client::builder()
        .connect_timeout(CONNECT_DEADLINE)
        .redirect(Policy::custom(followed))
        .user_agent(concat!("skein/", env!("CARGO_PKG_VERSION")));
    if let Some(authorities) = &access.tls.authorities {
        let certificates = Certificate::from_pem_bundle(authorities.reveal().as_bytes())
            .map_err(|error| wrong("ca.crt holds no PEM certificates", error))?;
        if certificates.is_empty() {
            return Err(SourceError::Prepare { detail: "ca.crt holds no PEM certificate".to_owned() });
        }
        builder = builder.tls_certs_merge(certificates);
    }
    match (&access.tls.certificate, &access.tls.key) {
        (Some(certificate), Some(key)) => {
            let pem = format!("{}\n{}", certificate.reveal(), key.reveal());
            let identity = Identity::from_pem(pem.as_bytes()).map_err(|error| {
                wrong("tls.crt and tls.key are not a PEM certificate with its key", error)
            })?;
            builder = builder.identity(identity);
        }
        (None, None) => {}
        (Some(_), None) | (None, Some(_)) => {
            return Err(SourceError::Prepare {
                detail: "a client certificate needs both tls.crt and tls.key".to_owned(),
            });
        }
    }
    if let Some(proxy) = &access.proxy {
        let mut through = reqwest::Proxy::all(&proxy.address)
            .map_err(|error| wrong("the proxy's address is not a URL", error))?;
        if let Some((username, password)) = &proxy.credentials {
            through = through.basic_auth(username, password.reveal());
        }
        builder = builder.proxy(through);
    }
    builder.build().map_err(|error| wrong("the certificates are not accepted", error))
}

/// A few redirections, and none from an encrypted address to one in clear. (Credentials go to the first host only.)
fn followed(attempt: Attempt<'_>) -> Action {
    let before = attempt.previous().last().map(Url::scheme);
    if before == Some("https") && attempt.url().scheme() != "https" {
        return attempt.error("it redirects from https to http, which is refused");
    }
    if attempt.previous().len() > REDIRECTIONS_MAX {
        return attempt.error("it redirects too often");
    }
    attempt.follow()
}

async fn body(mut response: Response, url: &str, limit: usize) -> Result<Answer, SourceError> {
    let too_large =
        || SourceError::TooLarge { what: format!("\"{url}\""), limit: limit as u64, unit: "bytes" };
    if response.content_length().is_some_and(|length| length > limit as u64) {
        return Err(too_large());
    }
    let mut body = BytesMut::new();
    while let Some(chunk) = response.chunk().await.map_err(|error| failed(url, error))? {
        if body.len() + chunk.len() > limit {
            return Err(too_large());
        }
        body.extend_from_slice(&chunk);
    }
    Ok(Answer { status: response.status(), headers: response.headers().clone(), body: body.freeze() })
}

fn failed(url: &str, error: reqwest::Error) -> SourceError {
    let timed_out = error.is_timeout();
    // The address is said once, and without what must not be seen.
    let mut detail = causes(&error.without_url());
    if timed_out {
        detail.push_str(" (see timeout)");
    }
    if detail.contains("UnknownIssuer") {
        detail.push_str(
            " (the server's certificate authority is not known: give it as ca.crt in certSecretRef)",
        );
    }
    SourceError::Request { url: url.to_owned(), detail }
}
