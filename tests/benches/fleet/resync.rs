//! Ten thousand light edges with ten services each, every one with values of its own: the hub is killed and started
//! again, and must know and tell the truth about all of them.
//!
//! The hub is a process of its own, killed with SIGKILL; the management API (kube-local over HTTP), the region and its
//! light edges are in this one.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use api::k0rdent::{MultiClusterService, ServiceSet};
use api::skein::Edge;
use futures::{StreamExt, TryStreamExt};
use identity::{Clock, SystemClock};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{Api, ApiResource, DynamicObject, ListParams, Patch, PatchParams, PostParams};
use kube::core::GroupVersionKind;
use link::Network;
use link::network::PooledNetwork;
use process::{Bound, Process};
use protocol::id::EdgeId;
use serde_json::{Value, json};
use skein_tests::fleet::parts::{self, SYSTEM};
use skein_tests::measure::{Aim, Table, Usage};
use skein_tests::process::Process as Program;

use crate::AS_HUB;
use crate::light::Light;

/// Services on each edge.
const SERVICES: usize = 10;
const DEADLINE: Duration = Duration::from_secs(600);
/// How often it is looked whether all is true; looking costs the API.
const LOOK: Duration = Duration::from_millis(250);
/// What the hub is given to come to rest before its memory is read.
const REST: Duration = Duration::from_secs(10);

pub(crate) async fn measure(edges: usize) -> Result<()> {
    let process = Process::embedded();
    let folder = tempfile::Builder::new().prefix("skein-bench-").tempdir()?;
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let network: Arc<dyn Network> = PooledNetwork::new(1);
    let (client, kubeconfig) = management(folder.path(), &process).await?;
    let ids = objects(&client, edges, folder.path(), &process).await?;
    let begun = Instant::now();
    let mut hub = Hub::start(folder.path(), &kubeconfig).await?;
    let running = parts::region(&client, folder.path(), &network, &clock, &process).await?;
    let light = Light::start(&ids, running.edges.clone(), &process);
    let stage = Stage { client, light, edges };
    let first = stage.wait(0, begun).await.with_context(|| hub.program.log_tail(20))?;
    let table = Table::new(
        "fleet",
        &format!("{edges} light edges with {SERVICES} services each, values of their own"),
    );
    row(&table, "first sync", &first, Aim::None);
    memory(&table, "first sync", &hub).await;
    hub.restart()?;
    let again = stage.wait(first.term, Instant::now()).await.with_context(|| hub.program.log_tail(20))?;
    row(&table, "resync after kill -9 of the hub", &again, Aim::AtMost(30.0));
    memory(&table, "resync", &hub).await;
    process.drain().await;
    Ok(())
}

fn row(table: &Table, of: &str, took: &Took, aim: Aim) {
    table.row(&format!("{of}: every edge has a plan of the new term"), took.plans, "s", aim);
    table.row(&format!("{of}: every status at the API is true"), took.statuses, "s", aim);
}

async fn memory(table: &Table, of: &str, hub: &Hub) {
    // Memory at rest, so time has to pass.
    tokio::time::sleep(REST).await;
    let usage = Usage::of(hub.program.id());
    let mib = 1_048_576.0;
    let aim = Aim::AtMost(1_024.0);
    table.row(&format!("{of}: memory of the hub afterwards"), usage.resident_bytes / mib, "MiB", aim);
    table.row(&format!("{of}: memory of the hub, highest"), usage.peak_bytes / mib, "MiB", aim);
    table.row(&format!("{of}: processor time of the hub"), usage.processor_seconds, "s", Aim::None);
}

/// How long it took, in seconds.
struct Took {
    term: usize,
    plans: f64,
    statuses: f64,
}

struct Stage {
    client: kube::Client,
    light: Light,
    edges: usize,
}

impl Stage {
    /// Waits until every edge has a plan of a newer term, and every status says so.
    async fn wait(&self, before: usize, begun: Instant) -> Result<Took> {
        let all = async {
            let term = loop {
                let (term, count) = self.light.newest();
                if term > before && count == self.edges {
                    break term;
                }
                tokio::time::sleep(LOOK).await;
            };
            let plans = begun.elapsed().as_secs_f64();
            while !self.is_told(term).await? {
                tokio::time::sleep(LOOK).await;
            }
            anyhow::Ok(Took { term, plans, statuses: begun.elapsed().as_secs_f64() })
        };
        tokio::time::timeout(DEADLINE, all).await.with_context(|| {
            format!("{:?} of {} edges have a plan after term {before}", self.light.newest(), self.edges)
        })?
    }

    /// The cheapest first.
    async fn is_told(&self, term: usize) -> Result<bool> {
        let services = Api::<MultiClusterService>::all(self.client.clone()).get("fleet").await?;
        let all = format!("{0}/{0}", self.edges);
        let counted = services.status.is_some_and(|status| {
            status
                .conditions
                .iter()
                .any(|one| one.type_ == "ClusterInReadyState" && one.message.starts_with(&all))
        });
        if !counted {
            return Ok(false);
        }
        let edges = Api::<Edge>::namespaced(self.client.clone(), SYSTEM).list(&ListParams::default()).await?;
        let applied = |edge: &Edge| {
            let generation = edge.status.as_ref()?.generation.as_ref()?;
            let applied = generation
                .applied
                .as_ref()
                .filter(|applied| generation.desired.as_ref() == Some(*applied))?;
            applied.split_once('.')?.0.parse().ok()
        };
        if !edges.items.iter().all(|edge| applied(edge) == Some(term)) {
            return Ok(false);
        }
        let sets = Api::<ServiceSet>::namespaced(self.client.clone(), SYSTEM);
        let sets = sets.list(&ListParams::default()).await?;
        let whole = |set: &ServiceSet| {
            set.status.as_ref().is_some_and(|status| {
                let collected = |one: &k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition| {
                    one.type_ == "ServiceSetStatusesCollected" && one.status == "True"
                };
                status.deployed
                    && status.services.len() == SERVICES
                    && status.conditions.iter().any(collected)
            })
        };
        Ok(sets.items.len() == self.edges && sets.items.iter().all(whole))
    }
}

/// The hub as a process of its own.
struct Hub {
    program: Program,
    folder: PathBuf,
    kubeconfig: PathBuf,
    listen: String,
}

impl Hub {
    async fn start(folder: &Path, kubeconfig: &Path) -> Result<Self> {
        let listen = "127.0.0.1:0".to_owned();
        let program = launch(folder, kubeconfig, &listen)?;
        let mut hub = Self { program, folder: folder.to_owned(), kubeconfig: kubeconfig.to_owned(), listen };
        // The region goes on dialling where it dialled before.
        hub.listen = hub.bound().await?;
        Ok(hub)
    }

    async fn bound(&self) -> Result<String> {
        let file = self.folder.join("hub.bound");
        let bound = async {
            loop {
                if let Ok(bound) = Bound::read(&file)
                    && let Some(address) = bound.addresses.get("link")
                {
                    return address.to_string();
                }
                tokio::time::sleep(LOOK).await;
            }
        };
        tokio::time::timeout(DEADLINE, bound).await.with_context(|| self.program.log_tail(20))
    }

    fn restart(&mut self) -> Result<()> {
        self.program.kill();
        std::fs::remove_file(self.folder.join("hub.bound"))?;
        self.program = launch(&self.folder, &self.kubeconfig, &self.listen)?;
        Ok(())
    }
}

fn launch(folder: &Path, kubeconfig: &Path, listen: &str) -> Result<Program> {
    let mut command = Command::new(std::env::current_exe()?);
    command.arg(AS_HUB).arg("--kubeconfig").arg(kubeconfig);
    command.args(["--listen", listen, "--http", "127.0.0.1:0", "--log", "warn", "--exit-with-parent"]);
    command.arg("--state").arg(folder.join("hub")).arg("--bound-file").arg(folder.join("hub.bound"));
    Program::spawn("hub", &mut command, &folder.join("hub.log"))
}

/// The management cluster, behind HTTP for the hub.
async fn management(folder: &Path, process: &Process) -> Result<(kube::Client, PathBuf)> {
    let cluster = parts::cluster("hub", process).await?;
    let client = cluster.client();
    parts::install(&client).await?;
    let definition =
        include_str!("../../../deploy/crds/third-party/helmrepositories.source.toolkit.fluxcd.io.yaml");
    let definition: CustomResourceDefinition = serde_json::from_value(render::parse_values(definition)?)?;
    Api::all(client.clone()).create(&PostParams::default(), &definition).await?;
    let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await?;
    let kubeconfig = folder.join("hub.kubeconfig");
    std::fs::write(&kubeconfig, cluster.kubeconfig(&format!("http://{}", listener.local_addr()?), None))?;
    let cancel = process.cancel.clone();
    process.tasks.spawn(async move { cluster.serve(listener, None, cancel).await });
    Ok((client, kubeconfig))
}

/// Edges as they are once they joined, a chart, and a MultiClusterService with ten releases of it for all of them.
async fn objects(
    client: &kube::Client,
    edges: usize,
    folder: &Path,
    process: &Process,
) -> Result<Vec<EdgeId>> {
    let url = charts(folder, process).await?;
    let repository = json!({"apiVersion": "source.toolkit.fluxcd.io/v1", "kind": "HelmRepository",
        "metadata": {"name": "charts", "labels": {"k0rdent.mirantis.com/managed": "true"}},
        "spec": {"url": url, "interval": "10m"}});
    put(
        client,
        ("source.toolkit.fluxcd.io", "v1", "HelmRepository", "helmrepositories"),
        Some(SYSTEM),
        repository,
    )
    .await?;
    let template = json!({"apiVersion": "k0rdent.mirantis.com/v1beta1", "kind": "ServiceTemplate",
        "metadata": {"name": "web"}, "spec": {"helm": {"chartSpec": {"chart": "web", "version": "0.1.0",
            "interval": "10m", "sourceRef": {"kind": "HelmRepository", "name": "charts"}}}}});
    put(
        client,
        ("k0rdent.mirantis.com", "v1beta1", "ServiceTemplate", "servicetemplates"),
        Some(SYSTEM),
        template,
    )
    .await?;
    let services: Vec<Value> = (0..SERVICES)
        .map(|service| {
            let values = format!(
                "title: \"Page {service} of {{{{ .Cluster.metadata.name }}}}\"\nreplicaCount: 2\npodLabels:\n  \
                 site: \"{{{{ .Cluster.metadata.name }}}}\"\n"
            );
            json!({"name": format!("web-{service}"), "namespace": "shop", "template": "web", "values": values})
        })
        .collect();
    let service = json!({"apiVersion": "k0rdent.mirantis.com/v1beta1", "kind": "MultiClusterService",
        "metadata": {"name": "fleet"}, "spec": {"clusterSelector": {"matchLabels": {"fleet": "bench"}},
        "serviceSpec": {"services": services}}});
    put(
        client,
        ("k0rdent.mirantis.com", "v1beta1", "MultiClusterService", "multiclusterservices"),
        None,
        service,
    )
    .await?;
    let api = Api::<Edge>::namespaced(client.clone(), SYSTEM);
    let ids = futures::stream::iter(0..edges).map(|number| {
        let api = api.clone();
        async move {
            let mut id = [0; 16];
            id[8..].copy_from_slice(&(number as u64).to_be_bytes());
            (id[0], id[6], id[8]) = (1, 0x40, 0x80);
            let id = EdgeId(id);
            let mut edge =
                Edge::new(&format!("edge-{number}"), serde_json::from_value(json!({"region": "eu"}))?);
            edge.metadata.labels = Some(BTreeMap::from([("fleet".to_owned(), "bench".to_owned())]));
            api.create(&PostParams::default(), &edge).await?;
            let status = json!({"status": {"agentId": id.to_string()}});
            api.patch_status(&format!("edge-{number}"), &PatchParams::default(), &Patch::Merge(status))
                .await?;
            anyhow::Ok(id)
        }
    });
    ids.buffered(8).try_collect().await
}

/// Makes an object of a kind: group, version, name, plural.
async fn put(
    client: &kube::Client,
    (group, version, kind, plural): (&str, &str, &str, &str),
    namespace: Option<&str>,
    object: Value,
) -> Result<()> {
    let resource = ApiResource::from_gvk_with_plural(&GroupVersionKind::gvk(group, version, kind), plural);
    let api: Api<DynamicObject> = match namespace {
        Some(namespace) => Api::namespaced_with(client.clone(), namespace, &resource),
        None => Api::all_with(client.clone(), &resource),
    };
    api.create(&PostParams::default(), &serde_json::from_value(object)?).await?;
    Ok(())
}

/// The chart `web` that comes with Skein, behind HTTP.
async fn charts(folder: &Path, process: &Process) -> Result<String> {
    let charts = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/charts");
    let packed = folder.join("web-0.1.0.tgz");
    let mut tar = Command::new("tar");
    let status = tar.arg("-czf").arg(&packed).arg("-C").arg(charts).arg("web").status()?;
    anyhow::ensure!(status.success(), "failed to pack the chart");
    let archive = std::fs::read(&packed)?;
    let index = "apiVersion: v1\nentries:\n  web:\n  - {name: web, version: 0.1.0, urls: [web-0.1.0.tgz]}\n";
    let router = axum::Router::new()
        .route("/index.yaml", axum::routing::get(index))
        .route("/web-0.1.0.tgz", axum::routing::get(move || std::future::ready(archive.clone())));
    let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await?;
    let url = format!("http://{}/", listener.local_addr()?);
    let cancel = process.cancel.clone();
    process.tasks.spawn(async move {
        axum::serve(listener, router).with_graceful_shutdown(cancel.cancelled_owned()).await
    });
    Ok(url)
}
