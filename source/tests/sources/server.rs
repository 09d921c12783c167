//! A server of files that remembers what it was asked, and one who follows sources.
#![allow(dead_code)] // Each test file uses its part.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use serde_json::json;
use sha2::{Digest, Sha256};
use source::{Limits, Name, Settings, Source, Sources};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// Nothing takes longer; a test that waits longer has failed.
const PATIENCE: Duration = Duration::from_secs(60);

/// Files by path, and what the server wants to see in `authorization`.
#[derive(Clone, Default)]
pub(crate) struct Server {
    pub files: Arc<Mutex<BTreeMap<String, Bytes>>>,
    pub redirections: Arc<Mutex<BTreeMap<String, String>>>,
    pub wanted: Option<&'static str>,
    pub challenge: Arc<Mutex<String>>,
    /// Answer only after others had time to ask.
    pub slow: bool,
    /// Questions that are being answered, and the most there were at a time.
    pub busy: Arc<AtomicUsize>,
    pub most: Arc<AtomicUsize>,
    /// Questions that were answered.
    pub asked: Arc<AtomicUsize>,
    /// Path and credentials of questions that had some.
    pub authorized: Arc<Mutex<Vec<String>>>,
    /// Path and form of questions that had one.
    pub posted: Arc<Mutex<Vec<String>>>,
    /// Send entity tags, and answer "not modified".
    pub etags: Arc<AtomicBool>,
    pub unmodified: Arc<AtomicUsize>,
    pub changed: Arc<Notify>,
}

impl Server {
    pub(crate) async fn start(&self, follower: &Follower) -> String {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let cancel = follower.cancel.clone();
        let serving = axum::serve(listener, self.router())
            .with_graceful_shutdown(async move { cancel.cancelled().await });
        follower.tasks.spawn(async move { serving.await.unwrap() });
        address
    }

    pub(crate) fn router(&self) -> axum::Router {
        axum::Router::new().fallback(answer).with_state(self.clone())
    }

    /// Sends who asks for the path to another address.
    pub(crate) fn redirect(&self, path: &str, to: &str) {
        self.redirections.lock().unwrap().insert(path.to_owned(), to.to_owned());
    }

    pub(crate) fn put(&self, path: &str, content: impl Into<Bytes>) {
        self.files.lock().unwrap().insert(path.to_owned(), content.into());
    }

    /// Puts an artifact of one layer under a tag; returns the manifest's digest.
    pub(crate) fn image(&self, repository: &str, tag: &str, media_type: &str, layer: &[u8]) -> String {
        self.layers(repository, tag, &[(media_type, layer)])
    }

    /// Puts an artifact of several layers under a tag.
    pub(crate) fn layers(&self, repository: &str, tag: &str, layers: &[(&str, &[u8])]) -> String {
        let put = |(media_type, layer): &(&str, &[u8])| {
            let digest = format!("sha256:{}", sha256(layer));
            self.put(&format!("/v2/{repository}/blobs/{digest}"), layer.to_vec());
            json!({"mediaType": media_type, "digest": digest, "size": layer.len()})
        };
        let layers: Vec<_> = layers.iter().map(put).collect();
        self.manifest(repository, tag, &json!(layers))
    }

    /// Puts a cosign signature of a manifest.
    pub(crate) fn signature(&self, repository: &str, signed: &str, payload: &[u8], signature: &str) {
        let digest = format!("sha256:{}", sha256(payload));
        let layers = json!([{
            "mediaType": "application/vnd.dev.cosign.simplesigning.v1+json", "digest": digest, "size": payload.len(),
            "annotations": {"dev.cosignproject.cosign/signature": signature},
        }]);
        self.put(&format!("/v2/{repository}/blobs/{digest}"), payload.to_vec());
        self.manifest(repository, &format!("{}.sig", signed.replace(':', "-")), &layers);
    }

    fn manifest(&self, repository: &str, tag: &str, layers: &serde_json::Value) -> String {
        let manifest = json!({"schemaVersion": 2, "layers": layers}).to_string();
        let digest = format!("sha256:{}", sha256(manifest.as_bytes()));
        for reference in [tag, digest.as_str()] {
            self.put(&format!("/v2/{repository}/manifests/{reference}"), manifest.clone());
        }
        digest
    }

    /// Waits until so many questions were answered.
    pub(crate) async fn until_asked(&self, count: usize) {
        let waiting = async {
            loop {
                let changed = self.changed.notified();
                if self.asked.load(Ordering::SeqCst) >= count {
                    return;
                }
                changed.await;
            }
        };
        tokio::time::timeout(PATIENCE, waiting).await.expect("nobody asks");
    }
}

async fn answer(State(server): State<Server>, uri: Uri, headers: HeaderMap, form: Bytes) -> Response {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    let given = text("authorization");
    if let Some(given) = given {
        server.authorized.lock().unwrap().push(format!("{} {given}", uri.path()));
    }
    if !form.is_empty() {
        server.posted.lock().unwrap().push(format!("{} {}", uri.path(), String::from_utf8_lossy(&form)));
    }
    if !uri.path().starts_with("/token") && server.wanted.is_some() && given != server.wanted {
        let challenge = server.challenge.lock().unwrap().clone();
        return (StatusCode::UNAUTHORIZED, [("www-authenticate", challenge)]).into_response();
    }
    if let Some(to) = server.redirections.lock().unwrap().get(uri.path()) {
        return (StatusCode::FOUND, [("location", to.clone())]).into_response();
    }
    if server.slow {
        let now = server.busy.fetch_add(1, Ordering::SeqCst) + 1;
        server.most.fetch_max(now, Ordering::SeqCst);
        for _ in 0..200 {
            tokio::task::yield_now().await;
        }
        server.busy.fetch_sub(1, Ordering::SeqCst);
    }
    // A page of a list by its token, as it is before it is encoded.
    let page = uri
        .query()
        .and_then(|query| query.split('&').find_map(|pair| pair.strip_prefix("continuation-token=")));
    let path = page.map_or(uri.path().to_owned(), |page| {
        format!("{}?{}", uri.path(), page.replace("%20", " ").replace("%2B", "+"))
    });
    let found = server.files.lock().unwrap().get(&path).cloned();
    server.asked.fetch_add(1, Ordering::SeqCst);
    server.changed.notify_one();
    let Some(content) = found else { return StatusCode::NOT_FOUND.into_response() };
    if !server.etags.load(Ordering::SeqCst) {
        return content.into_response();
    }
    let etag = format!("\"{}\"", sha256(&content));
    if text("if-none-match") == Some(&etag) {
        server.unmodified.fetch_add(1, Ordering::SeqCst);
        return StatusCode::NOT_MODIFIED.into_response();
    }
    ([("etag", etag)], content).into_response()
}

/// One who follows sources, with a clock that stands still.
pub(crate) struct Follower {
    pub sources: Sources,
    pub tasks: TaskTracker,
    pub cancel: CancellationToken,
    folder: Arc<tempfile::TempDir>,
    changed: Arc<Notify>,
}

impl Drop for Follower {
    fn drop(&mut self) {
        self.cancel.cancel();
    }
}

impl Follower {
    pub(crate) fn new() -> Self {
        Self::at_time(7)
    }

    /// One whose clock stands at this time, in milliseconds since 1970.
    pub(crate) fn at_time(now: u64) -> Self {
        Self::at(Arc::new(tempfile::tempdir().unwrap()), now)
    }

    /// Another one that finds what this one left on disk.
    pub(crate) fn restarted(&self) -> Self {
        Self::at(self.folder.clone(), 7)
    }

    fn at(folder: Arc<tempfile::TempDir>, now: u64) -> Self {
        let (tasks, cancel, changed) =
            (TaskTracker::new(), CancellationToken::new(), Arc::new(Notify::new()));
        let announced = changed.clone();
        let settings = Settings {
            folder: folder.path().to_owned(),
            limits: Limits::default(),
            clock: Arc::new(move || now),
            announce: Arc::new(move |_| announced.notify_one()),
            inspect: Arc::new(|_, _| Ok(())),
        };
        Self { sources: Sources::new(settings, &tasks, &cancel), tasks, cancel, folder, changed }
    }

    /// Waits until what is known of the source is as `holds` says.
    pub(crate) async fn until(
        &self,
        name: &Name,
        source: &Source,
        holds: impl Fn(&source::State) -> bool,
    ) -> source::State {
        loop {
            let changed = self.changed.notified();
            let state = self.sources.ask(name, source);
            if holds(&state) {
                return state;
            }
            let told = tokio::time::timeout(PATIENCE, changed).await;
            assert!(told.is_ok(), "still {state:?}");
        }
    }
}

pub(crate) fn named(name: &str) -> Name {
    Name { namespace: "default".into(), name: name.into() }
}

/// A packed chart.
pub(crate) fn chart(name: &str, version: &str) -> Bytes {
    let text = format!("apiVersion: v2\nname: {name}\nversion: {version}\n");
    archive(&[(&format!("{name}/Chart.yaml"), &text)])
}

/// A packed archive of these files, whatever they are called.
pub(crate) fn archive(files: &[(&str, &str)]) -> Bytes {
    let encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    let mut archive = tar::Builder::new(encoder);
    for (path, text) in files {
        let mut header = tar::Header::new_gnu();
        header.as_mut_bytes()[..path.len()].copy_from_slice(path.as_bytes());
        header.set_size(text.len() as u64);
        header.set_mode(0o644);
        header.set_cksum();
        archive.append(&header, text.as_bytes()).unwrap();
    }
    Bytes::from(archive.into_inner().unwrap().finish().unwrap())
}

pub(crate) fn sha256(content: &[u8]) -> String {
    hex::encode(Sha256::digest(content))
}
