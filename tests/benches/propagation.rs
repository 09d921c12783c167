//! From an API write at the hub to the applied object at the edge, and back to status at the hub.
//!
//! One process holds the hub, one region and all edges, each with a Kubernetes API of its own (kube-local), over
//! QUIC on loopback; nothing on the path is left out or mocked:
//! API write -> watch -> resolve -> render -> plan -> sign -> link -> region -> link -> store -> apply -> report -> status.
//!
//! `cargo bench -p skein-tests --bench propagation [-- EDGES ...]` (default 100 and 1000). Prints a table and a line
//! `BENCH {..}` for each measure; aims are judged, not enforced.

use std::collections::{BTreeMap, HashMap};
use std::net::SocketAddr;
use std::ops::Range;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use api::k0rdent::{Region, RegionSpec, ServiceSet};
use api::skein::{JoinRole, JoinToken, JoinTokenSpec};
use base64::Engine as _;
use clap::Parser;
use futures::{StreamExt, TryStreamExt};
use identity::token::TokenScope;
use identity::{Clock, SystemClock, SystemEntropy, TokenRole};
use k8s_openapi::api::core::v1::{ConfigMap, Namespace};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::api::{Api, ObjectMeta, Patch, PatchParams, PostParams};
use kube::runtime::{WatchStreamExt, watcher};
use kube_local::{Cluster, Options, Simulate, Storage};
use link::Network;
use link::network::PooledNetwork;
use process::Process;
use serde_json::json;
use skein_tests::measure::{Aim, Table, Usage, quantile};
use skein_tests::spans::Spans;
use tokio::sync::mpsc;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{EnvFilter, Layer as _};

const SYSTEM: &str = "kcm-system";
/// Changes that concern one edge.
const SINGLE_CHANGES: usize = 60;
/// Changes that concern all edges.
const FLEET_CHANGES: u32 = 5;
const DEADLINE: Duration = Duration::from_secs(300);

/// Whose change it is.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
enum Service {
    /// Of one edge.
    Own,
    /// Of all edges.
    All,
}

/// An edge shows the n-th edit of a service.
struct Seen {
    edge: usize,
    service: Service,
    edit: u32,
    at: Instant,
}

/// What the edges show: as applied objects, or as status at the hub.
struct Board {
    news: mpsc::UnboundedReceiver<Seen>,
    shown: HashMap<(usize, Service), (u32, Instant)>,
}

impl Board {
    fn new() -> (mpsc::UnboundedSender<Seen>, Self) {
        let (teller, news) = mpsc::unbounded_channel();
        (teller, Self { news, shown: HashMap::new() })
    }

    /// Waits until each of the edges shows the edit; when the last one did.
    async fn wait(&mut self, edges: Range<usize>, service: Service, edit: u32) -> Result<Instant> {
        let mut last = None;
        for edge in edges {
            let at = loop {
                match self.shown.get(&(edge, service)) {
                    Some((shown, at)) if *shown >= edit => break *at,
                    _ => {}
                }
                let next = tokio::time::timeout(DEADLINE, self.news.recv()).await;
                let next = next.with_context(|| format!("edge {edge} did not show edit {edit}"))?;
                let Seen { edge, service, edit, at } = next.context("the fleet ended")?;
                self.shown.insert((edge, service), (edit, at));
            };
            last = last.max(Some(at));
        }
        last.context("no edges")
    }
}

struct Fleet {
    hub: kube::Client,
    applied: Board,
    status: Board,
    network: Arc<PooledNetwork>,
    process: Process,
    _folder: tempfile::TempDir,
}

fn main() -> Result<()> {
    let counts: Vec<usize> = std::env::args().skip(1).filter_map(|argument| argument.parse().ok()).collect();
    let counts = if counts.is_empty() { vec![100, 1_000] } else { counts };
    let filter = EnvFilter::try_from_env("SKEIN_LOG").unwrap_or_else(|_| EnvFilter::new("off"));
    let spans = Spans::default();
    let log = tracing_subscriber::fmt::layer().with_writer(std::io::stderr).with_filter(filter);
    tracing_subscriber::registry().with(log).with(spans.layer()).init();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    for count in counts {
        runtime.block_on(measure(count, &spans)).with_context(|| format!("with {count} edges"))?;
    }
    Ok(())
}

async fn measure(count: usize, spans: &Spans) -> Result<()> {
    let begun = Instant::now();
    let mut fleet = Fleet::start(count).await?;
    let linked = begun.elapsed().as_secs_f64();
    let own = std::process::id();
    let idle = Usage::of(own);
    let (mut applied, mut back) = (Vec::new(), Vec::new());
    for change in 0..SINGLE_CHANGES.min(count) {
        // A prime step: no edge is met twice.
        let edge = (change * 7_919) % count;
        let written = fleet.write(&format!("own-{edge}"), 1).await?;
        applied.push(milliseconds(fleet.applied.wait(edge..edge + 1, Service::Own, 1).await? - written));
        back.push(milliseconds(fleet.status.wait(edge..edge + 1, Service::Own, 1).await? - written));
    }
    let (mut all_applied, mut all_back) = (Vec::new(), Vec::new());
    let (begun, bytes) = (Usage::of(own), fleet.network.dialled_bytes());
    for edit in 1..=FLEET_CHANGES {
        let written = fleet.write("all", edit).await?;
        all_applied.push(milliseconds(fleet.applied.wait(0..count, Service::All, edit).await? - written));
        all_back.push(milliseconds(fleet.status.wait(0..count, Service::All, edit).await? - written));
    }
    let changes = f64::from(FLEET_CHANGES) * count as f64;
    let spent = (Usage::of(own).processor_seconds - begun.processor_seconds) / changes;
    let bytes = (fleet.network.dialled_bytes() - bytes) as f64 / changes;
    // Once more, watched: that costs time of its own, so it is not among the others.
    spans.watch(true);
    fleet.write("all", FLEET_CHANGES + 1).await?;
    fleet.status.wait(0..count, Service::All, FLEET_CHANGES + 1).await?;
    spans.watch(false);
    let aim = |most: f64| if count >= 1_000 { Aim::AtMost(most) } else { Aim::None };
    let table = Table::new("propagation", &format!("{count} edges, linked and in sync after {linked:.1} s"));
    let row = |measure: &str, value: f64, unit: &str, aim: Aim| {
        table.row(&format!("{measure} ({count} edges)"), value, unit, aim);
    };
    row("one edge: applied, p50", quantile(&mut applied, 0.5), "ms", aim(10.0));
    row("one edge: applied, p99", quantile(&mut applied, 0.99), "ms", aim(40.0));
    row("one edge: status back, p50", quantile(&mut back, 0.5), "ms", aim(15.0));
    row("one edge: status back, p99", quantile(&mut back, 0.99), "ms", aim(60.0));
    row("all edges: applied, p50", quantile(&mut all_applied, 0.5), "ms", Aim::None);
    row("all edges: status back, p50", quantile(&mut all_back, 0.5), "ms", aim(1_000.0));
    row("all edges: processor time per edge, its API included", spent * 1_000.0, "ms", Aim::None);
    row("all edges: bytes per edge, both ways", bytes, "B", aim(1_024.0));
    for (name, busy) in spans.take() {
        row(
            &format!("all edges: busy per edge in {name}"),
            milliseconds(busy) / count as f64,
            "ms",
            Aim::None,
        );
    }
    let share = idle.resident_bytes / 1_024.0 / count as f64;
    row("resident memory per edge, its API included", share, "KiB", Aim::None);
    fleet.process.drain().await;
    Ok(())
}

fn milliseconds(time: Duration) -> f64 {
    time.as_secs_f64() * 1_000.0
}

impl Fleet {
    async fn start(count: usize) -> Result<Self> {
        let folder = tempfile::Builder::new().prefix("skein-bench-").tempdir()?;
        let process = Process::embedded();
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        // The edges' traffic is counted, and not the region's with the hub.
        let pooled = PooledNetwork::new(8);
        let network: Arc<dyn Network> = Arc::clone(&pooled) as Arc<dyn Network>;
        let uplink: Arc<dyn Network> = PooledNetwork::new(1);
        let management = cluster("hub", &process).await?;
        let hub = management.client();
        prepare(&hub, count).await?;
        let arguments = ["hub", "--listen", "127.0.0.1:0", "--http", "127.0.0.1:0", "--state"];
        let state = folder.path().join("hub").display().to_string();
        let arguments = hub::arguments::Arguments::parse_from(arguments.into_iter().chain([state.as_str()]));
        hub::app::serve(hub.clone(), "bench", network.clone(), clock.clone(), arguments, process.clone())
            .await?;
        let endpoint = region(&hub, &folder, &uplink, &clock, &process).await?;
        let token = mint(&hub, TokenRole::Edge, vec![endpoint], i32::try_from(count)?).await?;
        let (seen, applied) = Board::new();
        let (told, status) = Board::new();
        watch_status(&hub, told, &process);
        let starts = futures::stream::iter(0..count).map(|edge| {
            let (seen, token, folder) =
                (seen.clone(), token.clone(), folder.path().join(format!("edge-{edge}")));
            let (network, clock, process) = (network.clone(), clock.clone(), process.clone());
            async move { start_edge(edge, &token, &folder, network, clock, seen, process).await }
        });
        starts.buffer_unordered(16).try_collect::<Vec<()>>().await?;
        let mut fleet = Self { hub, applied, status, network: pooled, process, _folder: folder };
        for service in [Service::Own, Service::All] {
            fleet.applied.wait(0..count, service, 0).await.context("applied")?;
            fleet.status.wait(0..count, service, 0).await.context("status")?;
        }
        Ok(fleet)
    }

    /// Edits what a service is made of. Returns when the write was begun.
    async fn write(&self, name: &str, edit: u32) -> Result<Instant> {
        let maps = Api::<ConfigMap>::namespaced(self.hub.clone(), SYSTEM);
        let patch = json!({"data": {"object.yaml": object(name, edit)}});
        let written = Instant::now();
        maps.patch(name, &PatchParams::default(), &Patch::Merge(patch)).await?;
        Ok(written)
    }
}

/// What a service puts on an edge.
fn object(name: &str, edit: u32) -> String {
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, "namespace": "bench"},
        "data": {"edit": edit.to_string()}})
    .to_string()
}

async fn cluster(name: &str, process: &Process) -> Result<Cluster> {
    let cluster = Cluster::open(Options {
        name: name.to_owned(),
        kubernetes_version: "v1.36.3".to_owned(),
        storage: Storage::Memory,
        simulate: Simulate {
            workloads: false,
            node_cpu_cores: 4,
            node_memory_gib: 8,
            pod_start: Duration::ZERO,
        },
    })
    .await?;
    cluster.run_controllers(&process.tasks, process.cancel.clone());
    Ok(cluster)
}

/// Definitions, and one service for all edges and one for each.
async fn prepare(hub: &kube::Client, count: usize) -> Result<()> {
    let parameters = PatchParams::apply("bench").force();
    let definitions = Api::<
        k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition,
    >::all(hub.clone());
    for definition in api::all_crds() {
        definitions.create(&PostParams::default(), &definition).await?;
    }
    let namespace = Namespace { metadata: named(SYSTEM), ..Namespace::default() };
    Api::<Namespace>::all(hub.clone()).create(&PostParams::default(), &namespace).await?;
    Api::<Region>::all(hub.clone())
        .create(&PostParams::default(), &Region::new("eu", RegionSpec::default()))
        .await?;
    let services = (0..count).map(|edge| (format!("own-{edge}"), json!({"edge": edge.to_string()})));
    for (name, labels) in services.chain([("all".to_owned(), json!({"fleet": "bench"}))]) {
        let map = ConfigMap {
            metadata: named(&name),
            data: Some(BTreeMap::from([("object.yaml".to_owned(), object(&name, 0))])),
            ..ConfigMap::default()
        };
        Api::<ConfigMap>::namespaced(hub.clone(), SYSTEM)
            .patch(&name, &parameters, &Patch::Apply(&map))
            .await?;
        let source =
            json!({"deploymentType": "Remote", "localSourceRef": {"kind": "ConfigMap", "name": name}});
        let template = json!({"apiVersion": "k0rdent.mirantis.com/v1beta1", "kind": "ServiceTemplate",
            "metadata": {"name": name}, "spec": {"resources": source}});
        Api::<api::k0rdent::ServiceTemplate>::namespaced(hub.clone(), SYSTEM)
            .patch(&name, &parameters, &Patch::Apply(&template))
            .await?;
        let service = json!({"apiVersion": "k0rdent.mirantis.com/v1beta1", "kind": "MultiClusterService",
            "metadata": {"name": name}, "spec": {"clusterSelector": {"matchLabels": labels},
            "serviceSpec": {"services": [{"name": name, "namespace": "bench", "template": name}]}}});
        Api::<api::k0rdent::MultiClusterService>::all(hub.clone())
            .patch(&name, &parameters, &Patch::Apply(&service))
            .await?;
    }
    Ok(())
}

fn named(name: &str) -> ObjectMeta {
    ObjectMeta { name: Some(name.to_owned()), ..ObjectMeta::default() }
}

/// Starts the region's agent; where its edges dial.
async fn region(
    hub: &kube::Client,
    folder: &tempfile::TempDir,
    network: &Arc<dyn Network>,
    clock: &Arc<dyn Clock>,
    process: &Process,
) -> Result<String> {
    let trust =
        Api::<ConfigMap>::namespaced(hub.clone(), SYSTEM).get("skein-trust").await?.data.unwrap_or_default();
    let endpoints = trust.get("hubEndpoints").context("the hub told no endpoint")?.clone();
    let token = mint(hub, TokenRole::Region, vec![endpoints], 1).await?;
    let state = folder.path().join("region");
    std::fs::create_dir_all(&state)?;
    let identity = regional_agent::enrolment::ensure(
        &state,
        Some(&token),
        network.clone(),
        clock.clone(),
        &mut SystemEntropy,
    )
    .await?;
    let listen: SocketAddr = "127.0.0.1:0".parse()?;
    let settings = regional_agent::app::Settings::new(state, listen);
    let world = regional_agent::app::World {
        client: cluster("eu", process).await?.client(),
        network: network.clone(),
        clock: clock.clone(),
        entropy: Arc::new(|| Box::new(SystemEntropy)),
    };
    let (_, running) = regional_agent::app::serve(settings, identity, world, process.clone()).await?;
    Ok(running.downlink.local_addr().to_string())
}

async fn mint(hub: &kube::Client, role: TokenRole, endpoints: Vec<String>, max_uses: i32) -> Result<String> {
    let trust =
        Api::<ConfigMap>::namespaced(hub.clone(), SYSTEM).get("skein-trust").await?.data.unwrap_or_default();
    let mut pin = [0; 32];
    hex::decode_to_slice(trust.get("pins").context("the hub told no pin")?, &mut pin)?;
    let not_after = jiff::Timestamp::now() + Duration::from_secs(3_600);
    let scope = TokenScope {
        endpoints,
        pins: vec![pin],
        not_after: u64::try_from(not_after.as_millisecond())?,
        region: "eu".parse()?,
        role,
    };
    let (token, public_key) = identity::JoinToken::mint(scope, &mut SystemEntropy);
    let id = hex::encode(token.id.0);
    let object = JoinToken {
        metadata: ObjectMeta {
            labels: Some(BTreeMap::from([("skein.dev/token-id".to_owned(), id.clone())])),
            ..named(&format!("bench-{}", &id[..8]))
        },
        spec: JoinTokenSpec {
            max_uses,
            not_after: Time(not_after),
            public_key: base64::engine::general_purpose::STANDARD.encode(public_key),
            region: "eu".to_owned(),
            role: if role == TokenRole::Region { JoinRole::Region } else { JoinRole::Edge },
            token_id: Some(id),
            ..JoinTokenSpec::default()
        },
        status: None,
    };
    Api::<JoinToken>::namespaced(hub.clone(), SYSTEM).create(&PostParams::default(), &object).await?;
    Ok(token.to_string())
}

async fn start_edge(
    edge: usize,
    token: &str,
    folder: &std::path::Path,
    network: Arc<dyn Network>,
    clock: Arc<dyn Clock>,
    seen: mpsc::UnboundedSender<Seen>,
    process: Process,
) -> Result<()> {
    let child = cluster(&format!("edge-{edge}"), &process).await?;
    let maps = Api::<ConfigMap>::namespaced(child.client(), "bench");
    let cancel = process.cancel.clone();
    process.tasks.spawn(async move {
        let mut changes = watcher(maps, watcher::Config::default()).applied_objects().boxed();
        while let Some(map) =
            tokio::select! { next = changes.next() => next, () = cancel.cancelled() => None }
        {
            let Ok(map) = map else { continue };
            let service =
                if map.metadata.name.as_deref() == Some("all") { Service::All } else { Service::Own };
            let edit = map.data.and_then(|data| data.get("edit")?.parse().ok());
            if let Some(edit) = edit {
                let _ = seen.send(Seen { edge, service, edit, at: Instant::now() });
            }
        }
    });
    let (name, label) = (format!("edge-{edge}"), format!("edge={edge}"));
    let state = folder.display().to_string();
    let arguments = [
        "edge-agent",
        "run",
        "--token",
        token,
        "--name",
        &name,
        "--label",
        &label,
        "--label",
        "fleet=bench",
        "--state",
        &state,
        "--otlp-grpc",
        "127.0.0.1:0",
        "--otlp-http",
        "127.0.0.1:0",
        "--http",
        "127.0.0.1:0",
        "--metrics-interval",
        "3600",
        "--cost-interval",
        "3600",
    ];
    let edge_agent::arguments::Command::Run(run) =
        edge_agent::arguments::Arguments::parse_from(arguments).command
    else {
        anyhow::bail!("the arguments ask to run");
    };
    // Each agent has metrics and readiness of its own, and ends with the fleet.
    let own = Process { tasks: process.tasks.clone(), cancel: process.cancel.clone(), ..Process::embedded() };
    edge_agent::app::serve(child.client(), network, clock, run, own).await.map(|_| ())
}

/// Tells each edit that a ServiceSet's status shows: the hash of what is deployed changes with it.
fn watch_status(hub: &kube::Client, told: mpsc::UnboundedSender<Seen>, process: &Process) {
    let sets = Api::<ServiceSet>::namespaced(hub.clone(), SYSTEM);
    let cancel = process.cancel.clone();
    process.tasks.spawn(async move {
        let mut hashes = HashMap::<(usize, Service), (String, u32)>::new();
        let mut changes = watcher(sets, watcher::Config::default()).applied_objects().boxed();
        while let Some(set) =
            tokio::select! { next = changes.next() => next, () = cancel.cancelled() => None }
        {
            let Ok(set) = set else { continue };
            let edge = set.spec.cluster.strip_prefix("edge-").and_then(|edge| edge.parse().ok());
            let state = set.status.as_ref().and_then(|status| status.services.first());
            let hash = state.and_then(|state| state.last_deployed_hash.clone());
            let (Some(edge), Some(hash)) = (edge, hash) else { continue };
            let of_all = set.spec.multi_cluster_service.as_deref() == Some("all");
            let service = if of_all { Service::All } else { Service::Own };
            let edit = match hashes.get(&(edge, service)) {
                Some((known, _)) if *known == hash => continue,
                Some((_, edit)) => edit + 1,
                None => 0,
            };
            hashes.insert((edge, service), (hash, edit));
            let _ = told.send(Seen { edge, service, edit, at: Instant::now() });
        }
    });
}
