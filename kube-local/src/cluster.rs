//! One cluster: opening it, talking to it, serving it, running its controllers.

use std::path::PathBuf;
use std::sync::Arc;

use serde_json::json;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::controllers;
use crate::engine::{Engine, WriteOptions};
use crate::http::{self, Api, ApiService};
use crate::object;
use crate::simulate::{Settings, Simulate};
use crate::storage::{DiskError, OpenedDisk, Store};

const NAMESPACES: [&str; 4] = ["default", "kube-node-lease", "kube-public", "kube-system"];

/// How a cluster is made.
#[derive(Debug, Clone)]
pub struct Options {
    /// The cluster's name, in kubeconfigs and in the name of its node.
    pub name: String,
    /// What `/version` says, such as `v1.36.3`.
    pub kubernetes_version: String,
    /// Where objects live.
    pub storage: Storage,
    /// What is simulated.
    pub simulate: Simulate,
}

impl Default for Options {
    /// A cluster `local` in memory, without simulated workloads.
    fn default() -> Self {
        Self {
            name: "local".to_owned(),
            kubernetes_version: "v1.36.3".to_owned(),
            storage: Storage::Memory,
            simulate: Simulate::default(),
        }
    }
}

/// Where objects live.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Storage {
    /// In memory: gone with the process.
    Memory,
    /// In SQLite in this directory: an answered write survives `kill -9`. One process at a time.
    Disk(PathBuf),
}

/// Why a cluster could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The storage could not be opened; another process may hold it.
    #[error("failed to open the storage of cluster \"{cluster}\": {reason}")]
    Storage {
        /// The cluster's name.
        cluster: String,
        /// What is wrong, naming the path.
        reason: String,
    },
    /// The objects every cluster starts with could not be created.
    #[error("failed to create {object} in cluster \"{cluster}\": {reason}")]
    Bootstrap {
        /// The cluster's name.
        cluster: String,
        /// The object.
        object: String,
        /// What the API answered.
        reason: String,
    },
}

/// Why serving stopped.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The listener has no address: it is not bound.
    #[error("failed to serve cluster \"{cluster}\": the listener has no local address")]
    Listener {
        /// The cluster's name.
        cluster: String,
        /// What the operating system said.
        source: std::io::Error,
    },
}

#[derive(Debug)]
struct Inner {
    name: String,
    simulate: Simulate,
    api: Arc<Api>,
}

/// A Kubernetes API in this process. Cloning is cheap; the last clone closes the storage.
#[derive(Debug, Clone)]
pub struct Cluster {
    inner: Arc<Inner>,
}

impl Cluster {
    /// Opens a cluster, with the namespaces every cluster has.
    ///
    /// # Errors
    /// When the storage cannot be opened, or another process holds it.
    pub async fn open(options: Options) -> Result<Self, OpenError> {
        let storage_error = |reason: String| OpenError::Storage { cluster: options.name.clone(), reason };
        let store = match options.storage.clone() {
            Storage::Memory => Store::in_memory(),
            Storage::Disk(directory) => {
                let opened = tokio::task::spawn_blocking(move || OpenedDisk::open(&directory)).await;
                let opened = opened.map_err(|error| storage_error(error.to_string()))?;
                Store::on_disk(opened.map_err(|error| storage_error(with_source(&error)))?)
            }
        };
        let engine = Arc::new(Engine::new(store));
        let api = Arc::new(Api { engine, version: options.kubernetes_version });
        let inner = Inner { name: options.name, simulate: options.simulate, api };
        let cluster = Self { inner: Arc::new(inner) };
        cluster.bootstrap().await?;
        Ok(cluster)
    }

    async fn bootstrap(&self) -> Result<(), OpenError> {
        let engine = &self.inner.api.engine;
        let failed = |object: &str, reason: String| OpenError::Bootstrap {
            cluster: self.inner.name.clone(),
            object: object.to_owned(),
            reason,
        };
        let kind = engine.kind("v1", "Namespace");
        let kind = kind.ok_or_else(|| failed("namespaces", "the kind is not served".to_owned()))?;
        for name in NAMESPACES {
            if engine.find(&kind, "", name).is_some() {
                continue;
            }
            let mut namespace = json!({"apiVersion": "v1", "kind": "Namespace"});
            object::set(&mut namespace, &["metadata", "name"], json!(name));
            let options = WriteOptions::controller("kube-apiserver");
            let created = engine.create(&kind, "", namespace, &options);
            created.map_err(|error| failed(&format!("namespace \"{name}\""), error.to_string()))?;
        }
        let revision = engine.store.revision();
        engine.durable(revision).await.map_err(|error| failed("namespaces", error.to_string()))
    }

    /// The cluster's name.
    pub fn name(&self) -> &str {
        &self.inner.name
    }

    /// A kube-rs client that calls the cluster in process: no sockets, no serialisation beyond the API's own.
    /// Must be called inside a tokio runtime.
    pub fn client(&self) -> kube::Client {
        kube::Client::new(self.service(), "default")
    }

    /// The API as a `tower::Service`.
    pub fn service(&self) -> ApiService {
        ApiService::new(self.inner.api.clone())
    }

    /// Serves HTTP/1.1 and h2c until cancelled. With a token, requests without it get 401.
    ///
    /// # Errors
    /// When the listener is not bound.
    pub async fn serve(
        &self,
        listener: tokio::net::TcpListener,
        token: Option<String>,
        cancel: CancellationToken,
    ) -> Result<(), ServeError> {
        let address = listener
            .local_addr()
            .map_err(|source| ServeError::Listener { cluster: self.inner.name.clone(), source })?;
        tracing::debug!(cluster = self.inner.name, %address, "serving");
        http::serve(self.service(), listener, token, cancel).await;
        Ok(())
    }

    /// Runs what a control plane runs beside its API: garbage collection by owner references, namespace deletion,
    /// default service accounts, and, when simulated, workloads. One task for all of it, on `tasks`.
    pub fn run_controllers(&self, tasks: &TaskTracker, cancel: CancellationToken) {
        let settings = Settings {
            cluster: self.inner.name.clone(),
            kubernetes_version: self.inner.api.version.clone(),
            simulate: self.inner.simulate.clone(),
        };
        tasks.spawn(controllers::run(self.inner.api.engine.clone(), settings, cancel));
    }

    /// A kubeconfig (YAML) for this cluster behind a URL.
    ///
    /// kubectl sends a user's token only over TLS, so behind an `http` URL the token also stands in the path of
    /// the `server`, where `serve` accepts it as well.
    pub fn kubeconfig(&self, url: &str, token: Option<&str>) -> String {
        let name = &self.inner.name;
        let user = token.map_or_else(|| json!({}), |token| json!({"token": token}));
        let server = match token {
            Some(token) if url.starts_with("http://") => {
                format!("{}{}{token}", url.trim_end_matches('/'), http::TOKEN_PATH)
            }
            _ => url.to_owned(),
        };
        let config = json!({
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": name, "cluster": {"server": server}}],
            "users": [{"name": name, "user": user}],
            "contexts": [{"name": name, "context": {"cluster": name, "user": name, "namespace": "default"}}],
            "current-context": name,
        });
        // JSON is YAML too, should the writer ever refuse.
        serde_saphyr::to_string(&config).unwrap_or_else(|_| config.to_string())
    }
}

fn with_source(error: &DiskError) -> String {
    match std::error::Error::source(error) {
        Some(source) => format!("{error}: {source}"),
        None => error.to_string(),
    }
}
