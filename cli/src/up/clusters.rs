//! The Kubernetes APIs of a mesh on this machine: one kube-local per cluster, in this process.
//!
//! They outlive the agents, as real control planes would: an agent can be killed, and what it looks after stays.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use include_dir::{Dir, include_dir};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{Api, Patch, PatchParams};
use kube_local::{Cluster, Options, Simulate, Storage};
use tokio::sync::Mutex;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::ports::Ports;
use crate::state_dir::StateDir;

static THIRD_PARTY: Dir<'_> = include_dir!("$CARGO_MANIFEST_DIR/../deploy/crds/third-party");

/// The Kubernetes version that the clusters speak unless told otherwise.
pub(crate) const KUBERNETES_VERSION: &str = "v1.36.3";

/// All clusters of the mesh.
#[derive(Clone)]
pub(crate) struct Clusters {
    state: StateDir,
    ports: Ports,
    tasks: TaskTracker,
    cancel: CancellationToken,
    running: Arc<Mutex<BTreeMap<String, Running>>>,
}

struct Running {
    cluster: Cluster,
    url: String,
    cancel: CancellationToken,
}

/// A cluster that answers.
pub(crate) struct Ready {
    /// Talks to it without a socket.
    pub(crate) client: kube::Client,
    /// Its address.
    pub(crate) url: String,
    /// The file that lets anyone else talk to it.
    pub(crate) kubeconfig: PathBuf,
}

impl Clusters {
    /// No clusters yet.
    pub(crate) fn new(state: StateDir, ports: Ports, tasks: TaskTracker, cancel: CancellationToken) -> Self {
        Self { state, ports, tasks, cancel, running: Arc::default() }
    }

    /// Makes sure that the cluster of a part (`hub`, `region/NAME`, `edge/NAME`) runs, with what it had before.
    ///
    /// # Errors
    /// When its storage cannot be opened or no port can be bound.
    pub(crate) async fn ensure(&self, part: &str, version: &str) -> Result<Ready> {
        let mut running = self.running.lock().await;
        let kubeconfig = self.state.kubeconfig(part);
        if let Some(there) = running.get(part) {
            return Ok(Ready { client: there.cluster.client(), url: there.url.clone(), kubeconfig });
        }
        let options = Options {
            name: part.replace('/', "-"),
            kubernetes_version: version.to_owned(),
            storage: Storage::Disk(self.state.cluster(part)),
            simulate: Simulate {
                workloads: true,
                node_cpu_cores: 4,
                node_memory_gib: 8,
                pod_start: Duration::from_millis(300),
            },
        };
        let cluster =
            Cluster::open(options).await.with_context(|| format!("failed to open the cluster of {part}"))?;
        let listener = self.ports.listen(&format!("cluster/{part}")).await?;
        let address: SocketAddr = listener.local_addr()?;
        let (url, cancel) = (format!("http://{address}"), self.cancel.child_token());
        let token = self.token(part)?;
        write_private(&kubeconfig, &cluster.kubeconfig(&url, Some(&token)))?;
        cluster.run_controllers(&self.tasks, cancel.clone());
        let serve = {
            let (cluster, cancel, part) = (cluster.clone(), cancel.clone(), part.to_owned());
            async move {
                if let Err(error) = cluster.serve(listener, Some(token), cancel).await {
                    tracing::error!(part, %error, "the cluster's API stopped");
                }
            }
        };
        self.tasks.spawn(serve);
        let ready = Ready { client: cluster.client(), url: url.clone(), kubeconfig };
        running.insert(part.to_owned(), Running { cluster, url, cancel });
        Ok(ready)
    }

    /// Ends a cluster and removes what it kept.
    ///
    /// # Errors
    /// When its folder cannot be removed.
    pub(crate) async fn remove(&self, part: &str) -> Result<()> {
        if let Some(gone) = self.running.lock().await.remove(part) {
            gone.cancel.cancel();
        }
        let _ = std::fs::remove_file(self.state.kubeconfig(part));
        let folder = self.state.cluster(part);
        match std::fs::remove_dir_all(&folder) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                Err(error).with_context(|| format!("failed to remove {}", folder.display()))
            }
            _ => Ok(()),
        }
    }

    /// The bearer token of a cluster: drawn once, kept in its folder.
    fn token(&self, part: &str) -> Result<String> {
        let folder = self.state.cluster(part);
        let path = folder.join("token");
        if let Ok(token) = std::fs::read_to_string(&path) {
            return Ok(token);
        }
        std::fs::create_dir_all(&folder).with_context(|| format!("failed to make {}", folder.display()))?;
        let mut random = [0; 24];
        getrandom::fill(&mut random).context("the operating system gave no random bytes")?;
        let token = hex::encode(random);
        write_private(&path, &token)?;
        Ok(token)
    }
}

/// Writes a file that only this user may read.
fn write_private(path: &std::path::Path, text: &str) -> Result<()> {
    use std::io::Write;
    use std::os::unix::fs::OpenOptionsExt;
    let mut open = std::fs::OpenOptions::new();
    open.create(true).truncate(true).write(true).mode(0o600);
    open.open(path)
        .and_then(|mut file| file.write_all(text.as_bytes()))
        .with_context(|| format!("failed to write {}", path.display()))
}

/// Definitions of the kinds of other projects that Skein reads and writes.
///
/// # Errors
/// When one cannot be read, which is a fault of the build.
pub(crate) fn third_party() -> Result<Vec<CustomResourceDefinition>> {
    THIRD_PARTY
        .files()
        .map(|file| {
            let text =
                file.contents_utf8().with_context(|| format!("{} is not text", file.path().display()))?;
            serde_saphyr::from_str(text).with_context(|| format!("failed to read {}", file.path().display()))
        })
        .collect()
}

/// Applies definitions to a cluster.
///
/// # Errors
/// When the cluster refuses one.
pub(crate) async fn install(client: &kube::Client, definitions: &[CustomResourceDefinition]) -> Result<()> {
    let api = Api::<CustomResourceDefinition>::all(client.clone());
    let parameters = PatchParams::apply("skein-up").force();
    for definition in definitions {
        let name = definition.metadata.name.as_deref().unwrap_or_default();
        api.patch(name, &parameters, &Patch::Apply(definition))
            .await
            .with_context(|| format!("failed to install the definition {name}"))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_definitions_of_other_projects_can_be_read() {
        let names: Vec<_> = third_party().unwrap().into_iter().filter_map(|crd| crd.metadata.name).collect();
        assert!(names.contains(&"helmrepositories.source.toolkit.fluxcd.io".to_owned()), "{names:?}");
        assert!(names.contains(&"clusters.cluster.x-k8s.io".to_owned()), "{names:?}");
    }
}
