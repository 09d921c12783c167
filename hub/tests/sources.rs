//! Charts from servers that are played: an index with digests, credentials, an OCI registry that wants a token, and
//! servers that lie or go away.
#![allow(clippy::unwrap_used, clippy::panic, clippy::expect_used)]

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use hub::cache::Cache;
use hub::plans::system_clock;
use hub::source::{ChartRequest, ChartState, Repository, Sources};
use process::Process;
use serde_json::json;
use sha2::{Digest, Sha256};

/// Files by path, and what the server wants to see in `authorization`.
#[derive(Clone, Default)]
struct Server {
    files: Arc<Mutex<BTreeMap<String, Bytes>>>,
    wanted: Option<&'static str>,
    challenge: Arc<Mutex<String>>,
}

impl Server {
    async fn start(&self, process: &Process) -> String {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let router = axum::Router::new().fallback(answer).with_state(self.clone());
        let cancel = process.cancel.clone();
        let serving =
            axum::serve(listener, router).with_graceful_shutdown(async move { cancel.cancelled().await });
        process.tasks.spawn(async move { serving.await.unwrap() });
        address
    }

    fn put(&self, path: &str, content: impl Into<Bytes>) {
        self.files.lock().unwrap().insert(path.to_owned(), content.into());
    }
}

async fn answer(State(server): State<Server>, uri: Uri, headers: HeaderMap) -> Response {
    let given = headers.get("authorization").and_then(|value| value.to_str().ok());
    if !uri.path().starts_with("/token") && server.wanted.is_some() && given != server.wanted {
        let challenge = server.challenge.lock().unwrap().clone();
        return (StatusCode::UNAUTHORIZED, [("www-authenticate", challenge)]).into_response();
    }
    match server.files.lock().unwrap().get(uri.path()) {
        Some(content) => content.clone().into_response(),
        None => StatusCode::NOT_FOUND.into_response(),
    }
}

fn chart(name: &str, version: &str) -> Bytes {
    let encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    let mut archive = tar::Builder::new(encoder);
    let text = format!("apiVersion: v2\nname: {name}\nversion: {version}\n");
    let mut header = tar::Header::new_gnu();
    header.set_size(text.len() as u64);
    header.set_mode(0o644);
    header.set_cksum();
    archive.append_data(&mut header, format!("{name}/Chart.yaml"), text.as_bytes()).unwrap();
    Bytes::from(archive.into_inner().unwrap().finish().unwrap())
}

fn sha256(content: &[u8]) -> String {
    hex::encode(Sha256::digest(content))
}

fn request(version: &str) -> ChartRequest {
    ChartRequest {
        namespace: "kcm-system".into(),
        repository: "charts".into(),
        chart: "web".into(),
        version: version.into(),
    }
}

struct Hub {
    process: Process,
    cache: Cache,
    sources: Sources,
    folder: tempfile::TempDir,
}

impl Hub {
    fn new() -> Self {
        let (process, cache) = (Process::embedded(), Cache::default());
        let folder = tempfile::tempdir().unwrap();
        let sources =
            Sources::new(folder.path().to_owned(), cache.clone(), system_clock(), &process).unwrap();
        Self { process, cache, sources, folder }
    }

    /// Waits until what is known of the chart is as `holds` says.
    async fn until(
        &self,
        request: &ChartRequest,
        repository: &Repository,
        holds: impl Fn(&ChartState) -> bool,
    ) -> ChartState {
        let mut changes = self.cache.subscribe();
        loop {
            let state = self.sources.chart(request, repository);
            if holds(&state) {
                return state;
            }
            let changed = tokio::time::timeout(Duration::from_secs(20), changes.next()).await;
            assert!(changed.is_ok(), "still {state:?}");
        }
    }
}

#[tokio::test]
async fn a_chart_comes_by_its_index_and_stays_while_the_repository_fails() {
    let hub = Hub::new();
    let server = Server { wanted: Some("Basic dXNlcjpzZWNyZXQ="), ..Server::default() };
    let address = server.start(&hub.process).await;
    let archive = chart("web", "1.2.0");
    server.put("/charts/web-1.2.0.tgz", archive.clone());
    let index = |digest: &str| {
        json!({"apiVersion": "v1", "entries": {"web": [
            {"version": "1.2.0", "urls": ["web-1.2.0.tgz"], "digest": digest}, {"version": "1.1.0", "urls": ["x.tgz"]},
        ]}})
        .to_string()
    };
    server.put("/charts/index.yaml", index(&sha256(&archive)));
    let repository = Repository {
        url: format!("http://{address}/charts"),
        credentials: Some(("user".into(), "secret".into())),
        ..Repository::default()
    };
    let state = hub.until(&request("^1"), &repository, |state| state.chart.is_some()).await;
    assert_eq!(state.chart.unwrap().version, "1.2.0");

    // Another repository of the same name fails: what was good stays, and the failure is told.
    let gone = Repository { url: format!("http://{address}/nowhere"), ..repository.clone() };
    let state = hub.until(&request("^1"), &gone, |state| state.failure.is_some()).await;
    assert!(state.chart.is_some());
    assert!(state.failure.unwrap().message.contains("the server answers 404"));

    // A hub that starts while the server lies has the archive of before.
    server.put("/charts/index.yaml", index("00ff"));
    let again =
        Sources::new(hub.folder.path().to_owned(), Cache::default(), system_clock(), &hub.process).unwrap();
    assert!(again.chart(&request("^1"), &repository).chart.is_some());
    // One that never had it gets nothing.
    let fresh = Hub::new();
    let state = fresh.until(&request("^1"), &repository, |state| state.failure.is_some()).await;
    assert!(state.chart.is_none());
    assert!(state.failure.unwrap().message.contains("the index says 00ff"));
}

#[tokio::test]
async fn an_oci_registry_is_asked_with_the_token_that_it_demands() {
    let hub = Hub::new();
    let server = Server { wanted: Some("Bearer t0ken"), ..Server::default() };
    let address = server.start(&hub.process).await;
    *server.challenge.lock().unwrap() = format!(
        "Bearer realm=\"http://{address}/token\",service=\"registry\",scope=\"repository:team/web:pull\""
    );
    let archive = chart("web", "2.0.0+build.1");
    let digest = format!("sha256:{}", sha256(&archive));
    server.put("/token", json!({"token": "t0ken"}).to_string());
    server.put("/v2/team/web/tags/list", json!({"tags": ["1.0.0", "2.0.0_build.1", "latest"]}).to_string());
    let manifest = json!({"layers": [
        {"mediaType": "application/vnd.cncf.helm.chart.content.v1.tar+gzip", "digest": digest, "size": archive.len()},
    ]});
    server.put("/v2/team/web/manifests/2.0.0_build.1", manifest.to_string());
    server.put(&format!("/v2/team/web/blobs/{digest}"), archive);
    let repository =
        Repository { url: format!("oci://{address}/team"), insecure: true, ..Repository::default() };
    let state = hub.until(&request(">=1"), &repository, |state| state.chart.is_some()).await;
    assert_eq!(state.chart.unwrap().version, "2.0.0+build.1");
    let state = hub.until(&request("9.x"), &repository, |state| state.failure.is_some()).await;
    let message = state.failure.unwrap().message;
    assert!(message.contains("satisfies \"9.x\"; the newest is 2.0.0+build.1"), "{message}");
}

#[tokio::test]
async fn what_is_no_chart_is_said_to_be_none() {
    let hub = Hub::new();
    let server = Server::default();
    let address = server.start(&hub.process).await;
    server.put("/index.yaml", "entries: {web: [{version: 1.0.0, urls: [web.tgz]}]}");
    server.put("/web.tgz", "not a chart");
    let repository = Repository { url: format!("http://{address}"), ..Repository::default() };
    let state = hub.until(&request("*"), &repository, |state| state.failure.is_some()).await;
    let message = state.failure.unwrap().message;
    assert!(message.starts_with("chart \"web\" version 1.0.0 cannot be read"), "{message}");
    let nowhere = Repository { url: "ftp://x".into(), ..Repository::default() };
    let state = hub.until(&request("1"), &nowhere, |state| state.failure.is_some()).await;
    assert!(state.failure.unwrap().message.contains("expected http://, https:// or oci://"));
}
