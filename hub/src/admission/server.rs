//! TLS and HTTP: takes questions of the API server, and keeps it told where to ask and whom to trust.

use std::net::SocketAddr;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use jiff::Timestamp;
use kube::api::{Api, ApiResource, DeleteParams, DynamicObject, Patch, PatchParams};
use kube::core::GroupVersionKind;
use process::Process;
use serde_json::Value;
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use super::certificate::{self, CertificateError, Showing, VALID_HOURS};
use super::configuration::{self, MUTATE, NAME, Told, VALIDATE};
use super::review::{self, QUESTION_BYTES_MAX, Request, Verdict};
use super::world::{Others, World};
use super::{defaults, rules};
use crate::cache::Cache;

/// How long a handshake, and one question, may take.
const PATIENCE: Duration = Duration::from_secs(10);
/// Connections at once; an API server keeps a handful open.
const CONNECTIONS: usize = 256;
/// How long until a failed write of the configurations is tried again.
const TRY_AGAIN: Duration = Duration::from_secs(5);
/// How long a new certificate waits for the API server to have learnt of its authority.
const LEARN: Duration = Duration::from_secs(60);

/// Where the API server finds the webhooks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// At `HOST:PORT`.
    Url(String),
    /// Behind a Service.
    Service {
        /// Its namespace.
        namespace: String,
        /// Its name.
        name: String,
        /// Its port.
        port: u16,
    },
}

impl FromStr for Place {
    type Err = String;

    /// `NAMESPACE/NAME` or `NAMESPACE/NAME:PORT` is a Service, `HOST:PORT` an address.
    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("\"{text}\" is neither HOST:PORT nor NAMESPACE/SERVICE[:PORT]");
        let Some((namespace, rest)) = text.split_once('/') else {
            let (host, port) = text.rsplit_once(':').ok_or_else(wrong)?;
            let good = !host.is_empty() && port.parse::<u16>().is_ok();
            return if good { Ok(Self::Url(text.to_owned())) } else { Err(wrong()) };
        };
        let (name, port) = match rest.split_once(':') {
            Some((name, port)) => (name, port.parse().map_err(|_| wrong())?),
            None => (rest, 443),
        };
        if namespace.is_empty() || name.is_empty() {
            return Err(wrong());
        }
        Ok(Self::Service { namespace: namespace.to_owned(), name: name.to_owned(), port })
    }
}

impl Place {
    /// The names that the certificate must have.
    fn names(&self) -> Vec<String> {
        match self {
            Self::Url(address) => {
                let host = address.rsplit_once(':').map_or(address.as_str(), |(host, _)| host);
                vec![host.trim_matches(['[', ']']).to_owned()]
            }
            Self::Service { namespace, name, .. } => {
                let short = format!("{name}.{namespace}.svc");
                vec![format!("{short}.cluster.local"), short]
            }
        }
    }
}

/// What is served, and how the API server learns of it.
#[derive(Debug, Clone)]
pub struct Webhooks {
    /// Where to listen.
    pub listen: SocketAddr,
    /// Where the API server finds it; where it listens when absent.
    pub place: Option<Place>,
    /// What the API server does when nobody answers: `Fail` or `Ignore`.
    pub failure_policy: String,
}

/// Why the webhooks are not served.
#[derive(Debug, thiserror::Error)]
pub enum WebhookError {
    /// The address.
    #[error("failed to listen for webhooks on {address}; is another program using that port?")]
    Bind {
        /// The address.
        address: SocketAddr,
        /// Why not.
        #[source]
        source: std::io::Error,
    },
    /// The certificate.
    #[error(transparent)]
    Certificate(#[from] CertificateError),
    /// The TLS stack.
    #[error("failed to set up TLS for the webhooks")]
    Tls(#[source] rustls::Error),
}

/// Whoever answers.
#[derive(Clone)]
struct Judge {
    client: kube::Client,
    cache: Cache,
    system_namespace: String,
}

/// Serves the webhooks until the process ends, and keeps the API server told. Returns the address that was bound.
///
/// # Errors
/// [`WebhookError`] when nothing can be served.
pub async fn start(
    client: &kube::Client,
    cache: &Cache,
    system_namespace: &str,
    webhooks: Webhooks,
    process: &Process,
) -> Result<SocketAddr, WebhookError> {
    let address = webhooks.listen;
    let listener =
        TcpListener::bind(address).await.map_err(|source| WebhookError::Bind { address, source })?;
    let bound = listener.local_addr().map_err(|source| WebhookError::Bind { address, source })?;
    let place = webhooks.place.clone().unwrap_or_else(|| Place::Url(bound.to_string()));
    let issued = certificate::issue(&place.names(), Timestamp::now())?;
    let showing = Arc::new(Showing::new(issued.shown));
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(WebhookError::Tls)?
        .with_no_client_auth()
        .with_cert_resolver(showing.clone());
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    let judge =
        Judge { client: client.clone(), cache: cache.clone(), system_namespace: system_namespace.to_owned() };
    let acceptor = TlsAcceptor::from(Arc::new(config));
    process.tasks.spawn(accept(listener, acceptor, judge.router(), process.clone()));
    let told = process.readiness.guard("webhooks told");
    let keep = Keep {
        client: client.clone(),
        place,
        failure_policy: webhooks.failure_policy,
        authority: issued.authority,
        showing,
    };
    let cancel = process.cancel.clone();
    process.tasks.spawn(async move {
        cancel.run_until_cancelled(keep.run(told)).await;
    });
    Ok(bound)
}

/// Takes the configurations of an earlier hub away: nobody answers them here.
///
/// # Errors
/// When the API server does not answer.
pub async fn withdraw(client: &kube::Client) -> kube::Result<()> {
    for kind in ["ValidatingWebhookConfiguration", "MutatingWebhookConfiguration"] {
        match api(client, kind).delete(NAME, &DeleteParams::default()).await {
            Ok(_) => tracing::info!(kind, "the configuration of an earlier hub's webhooks is taken away"),
            // Nothing is there, or it is none of our business.
            Err(kube::Error::Api(status)) if status.code == 404 || status.code == 403 => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

fn api(client: &kube::Client, kind: &str) -> Api<DynamicObject> {
    let kind = GroupVersionKind::gvk("admissionregistration.k8s.io", "v1", kind);
    Api::all_with(client.clone(), &ApiResource::from_gvk(&kind))
}

async fn accept(listener: TcpListener, acceptor: TlsAcceptor, router: Router, process: Process) {
    let permits = Arc::new(tokio::sync::Semaphore::new(CONNECTIONS));
    let accepting = async {
        loop {
            let Ok(permit) = permits.clone().acquire_owned().await else { return };
            let stream = match listener.accept().await {
                Ok((stream, _)) => stream,
                Err(error) => {
                    tracing::warn!(%error, "a connection for the webhooks was not accepted");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                    continue;
                }
            };
            let (acceptor, service) = (acceptor.clone(), TowerToHyperService::new(router.clone()));
            let cancel = process.cancel.clone();
            process.tasks.spawn(async move {
                let _permit = permit;
                let serving = async {
                    let Ok(Ok(stream)) = tokio::time::timeout(PATIENCE, acceptor.accept(stream)).await else {
                        return;
                    };
                    let mut builder = hyper_util::server::conn::auto::Builder::new(TokioExecutor::new());
                    builder.http1().timer(TokioTimer::new()).header_read_timeout(PATIENCE);
                    builder.http2().timer(TokioTimer::new()).keep_alive_interval(PATIENCE);
                    // A peer that ends early is its own business.
                    let _ = builder.serve_connection(TokioIo::new(stream), service).await;
                };
                cancel.run_until_cancelled(serving).await;
            });
        }
    };
    process.cancel.run_until_cancelled(accepting).await;
}

impl Judge {
    fn router(self) -> Router {
        Router::new()
            .route(VALIDATE, post(validate))
            .route(MUTATE, post(mutate))
            .layer(DefaultBodyLimit::max(QUESTION_BYTES_MAX))
            .with_state(self)
    }

    async fn asked(
        &self,
        body: &Bytes,
        judge: impl Fn(&Request, &World<'_>) -> Verdict,
    ) -> Result<Value, (StatusCode, String)> {
        let request = review::read(body).map_err(|why| (StatusCode::BAD_REQUEST, why))?;
        let gathered = tokio::time::timeout(PATIENCE, Others::gather(&self.client, &request)).await;
        let others = match gathered {
            Ok(Ok(others)) => others,
            Ok(Err(error)) => return Err((StatusCode::SERVICE_UNAVAILABLE, error.to_string())),
            Err(_) => {
                let why = "the API server does not answer in time".to_owned();
                return Err((StatusCode::SERVICE_UNAVAILABLE, why));
            }
        };
        let world = World { cache: &self.cache, system_namespace: &self.system_namespace, others: &others };
        let verdict = judge(&request, &world);
        if let Some(why) = &verdict.refused {
            tracing::debug!(kind = request.kind.kind, operation = ?request.operation, why, "refused");
        }
        Ok(review::answer(&request.uid, &verdict))
    }
}

async fn validate(State(judge): State<Judge>, body: Bytes) -> Response {
    answered(judge.asked(&body, rules::judge).await)
}

async fn mutate(State(judge): State<Judge>, body: Bytes) -> Response {
    answered(judge.asked(&body, defaults::fill).await)
}

fn answered(answer: Result<Value, (StatusCode, String)>) -> Response {
    match answer {
        Ok(answer) => axum::Json(answer).into_response(),
        Err(refusal) => refusal.into_response(),
    }
}

/// Keeps the API server told, and the certificate fresh.
struct Keep {
    client: kube::Client,
    place: Place,
    failure_policy: String,
    authority: String,
    showing: Arc<Showing>,
}

impl Keep {
    async fn run(mut self, told: impl Drop + Send) {
        self.tell(&self.authority).await;
        drop(told);
        loop {
            // Half of its life, so that a hub that cannot write for a week still serves.
            tokio::time::sleep(Duration::from_secs(VALID_HOURS * 3600 / 2)).await;
            let issued = match certificate::issue(&self.place.names(), Timestamp::now()) {
                Ok(issued) => issued,
                Err(error) => {
                    tracing::error!(%error, "the webhooks' certificate is not renewed");
                    continue;
                }
            };
            // Both are trusted while the new one takes over.
            self.tell(&format!("{}{}", self.authority, issued.authority)).await;
            tokio::time::sleep(LEARN).await;
            self.showing.replace(issued.shown);
            self.authority = issued.authority;
            self.tell(&self.authority).await;
            tracing::info!("the webhooks' certificate is renewed");
        }
    }

    /// Writes both configurations, however long that takes.
    async fn tell(&self, authorities: &str) {
        let told = Told { place: &self.place, authorities, failure_policy: &self.failure_policy };
        let parameters = PatchParams::apply(NAME).force();
        for object in [configuration::validating(told), configuration::mutating(told)] {
            let kind = object["kind"].as_str().unwrap_or_default().to_owned();
            loop {
                let written = api(&self.client, &kind).patch(NAME, &parameters, &Patch::Apply(&object)).await;
                match written {
                    Ok(_) => break,
                    Err(error) => {
                        tracing::warn!(kind, %error, "the API server was not told of the webhooks; tried again");
                        tokio::time::sleep(TRY_AGAIN).await;
                    }
                }
            }
        }
    }
}
