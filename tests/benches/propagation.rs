//! From an API write at the hub to the applied object at the edge, and back to status at the hub.
//!
//! One process holds the hub, one region and all edges, each with a Kubernetes API of its own (kube-local), over
//! QUIC on loopback; nothing on the path is left out or mocked:
//! API write -> watch -> resolve -> render -> plan -> sign -> link -> region -> link -> store -> apply -> report -> status.
//!
//! `cargo bench -p skein-tests --bench propagation [-- EDGES ...]` (default 100 and 1000). Prints a table and a line
//! `BENCH {..}` for each measure; aims are judged, not enforced.

#![expect(clippy::print_stdout, reason = "a benchmark prints its table")]

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
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
use tokio::sync::mpsc;

const SYSTEM: &str = "kcm-system";
/// Changes that concern one edge.
const SINGLE_CHANGES: u32 = 60;
/// Changes that concern all edges.
const FLEET_CHANGES: u32 = 5;
const DEADLINE: Duration = Duration::from_secs(300);

/// Something happened: which edge, and the number it now shows.
struct Seen {
    edge: usize,
    number: u32,
    at: Instant,
}

struct Fleet {
    hub: kube::Client,
    applied: mpsc::UnboundedReceiver<Seen>,
    status: mpsc::UnboundedReceiver<Seen>,
    process: Process,
    _folder: tempfile::TempDir,
}

fn main() -> Result<()> {
    let counts: Vec<usize> = std::env::args().skip(1).filter_map(|argument| argument.parse().ok()).collect();
    let counts = if counts.is_empty() { vec![100, 1_000] } else { counts };
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    for count in counts {
        runtime.block_on(measure(count)).with_context(|| format!("with {count} edges"))?;
    }
    Ok(())
}

async fn measure(count: usize) -> Result<()> {
    let begun = Instant::now();
    let mut fleet = Fleet::start(count).await?;
    println!("\n{count} edges linked and synced in {:.1} s", begun.elapsed().as_secs_f64());
    let (before, processor) = (resident(), processor_seconds());
    let (mut applied, mut back) = (Vec::new(), Vec::new());
    for number in 1..=SINGLE_CHANGES {
        let edge = (number as usize * 7_919) % count;
        let written = fleet.write(&format!("single-{edge}"), number).await?;
        applied.push(wait(&mut fleet.applied, number, &BTreeSet::from([edge])).await? - written);
        back.push(wait(&mut fleet.status, number, &BTreeSet::from([edge])).await? - written);
    }
    let (mut all_applied, mut all_back) = (Vec::new(), Vec::new());
    let everybody: BTreeSet<usize> = (0..count).collect();
    for number in 1_001..=1_000 + FLEET_CHANGES {
        let written = fleet.write("all", number).await?;
        all_applied.push(wait(&mut fleet.applied, number, &everybody).await? - written);
        all_back.push(wait(&mut fleet.status, number, &everybody).await? - written);
    }
    let judged = count >= 1_000;
    println!("{:<44} {:>10} {:>10}", "measure", "value", "aim");
    report(count, "one edge: applied, p50", quantile(&mut applied, 0.5), "ms", judged.then_some(10.0));
    report(count, "one edge: applied, p99", quantile(&mut applied, 0.99), "ms", judged.then_some(40.0));
    report(count, "one edge: status back, p50", quantile(&mut back, 0.5), "ms", judged.then_some(15.0));
    report(count, "one edge: status back, p99", quantile(&mut back, 0.99), "ms", judged.then_some(60.0));
    report(count, "all edges: applied, p50", quantile(&mut all_applied, 0.5), "ms", None);
    report(
        count,
        "all edges: status back, p50",
        quantile(&mut all_back, 0.5),
        "ms",
        judged.then_some(1_000.0),
    );
    report(count, "processor time of all changes", (processor_seconds() - processor) * 1_000.0, "ms", None);
    report(count, "resident memory per edge, its API included", before / 1_024.0 / count as f64, "KiB", None);
    fleet.process.drain().await;
    Ok(())
}

/// Waits until every edge of `wanted` has shown `number`; when the last one did.
async fn wait(
    seen: &mut mpsc::UnboundedReceiver<Seen>,
    number: u32,
    wanted: &BTreeSet<usize>,
) -> Result<Instant> {
    let mut missing = wanted.clone();
    let mut last = Instant::now();
    while !missing.is_empty() {
        let next = tokio::time::timeout(DEADLINE, seen.recv()).await;
        let next = next.with_context(|| format!("{} edges did not show {number}", missing.len()))?;
        let Seen { edge, number: shown, at } = next.context("the fleet ended")?;
        if shown == number && missing.remove(&edge) {
            last = at;
        }
    }
    Ok(last)
}

impl Fleet {
    async fn start(count: usize) -> Result<Self> {
        let folder = tempfile::Builder::new().prefix("skein-bench-").tempdir()?;
        let process = Process::embedded();
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let network: Arc<dyn Network> = PooledNetwork::new(8);
        let management = cluster("hub", &process).await?;
        let hub = management.client();
        prepare(&hub, count).await?;
        let arguments = ["hub", "--listen", "127.0.0.1:0", "--http", "127.0.0.1:0", "--state"];
        let state = folder.path().join("hub").display().to_string();
        let arguments = hub::arguments::Arguments::parse_from(arguments.into_iter().chain([state.as_str()]));
        hub::app::serve(hub.clone(), "bench", network.clone(), clock.clone(), arguments, process.clone())
            .await?;
        let endpoint = region(&hub, &folder, &network, &clock, &process).await?;
        let token = mint(&hub, TokenRole::Edge, vec![endpoint], i32::try_from(count)?).await?;
        let (seen, applied) = mpsc::unbounded_channel();
        let (told, status) = mpsc::unbounded_channel();
        watch_status(&hub, told, &process);
        let starts = futures::stream::iter(0..count).map(|edge| {
            let (seen, token, folder) =
                (seen.clone(), token.clone(), folder.path().join(format!("edge-{edge}")));
            let (network, clock, process) = (network.clone(), clock.clone(), process.clone());
            async move { start_edge(edge, &token, &folder, network, clock, seen, process).await }
        });
        starts.buffer_unordered(16).try_collect::<Vec<()>>().await?;
        let mut fleet = Self { hub, applied, status, process, _folder: folder };
        // Everything that is there from the beginning shows 0.
        wait(&mut fleet.applied, 0, &(0..count).collect()).await?;
        Ok(fleet)
    }

    /// Edits what a service is made of. Returns when the write was begun.
    async fn write(&self, name: &str, number: u32) -> Result<Instant> {
        let maps = Api::<ConfigMap>::namespaced(self.hub.clone(), SYSTEM);
        let patch = json!({"data": {"object.yaml": object(name, number)}});
        let written = Instant::now();
        maps.patch(name, &PatchParams::default(), &Patch::Merge(patch)).await?;
        Ok(written)
    }
}

/// What a service puts on an edge.
fn object(name: &str, number: u32) -> String {
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, "namespace": "bench"},
        "data": {"number": number.to_string()}})
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
    let services = (0..count).map(|edge| (format!("single-{edge}"), json!({"edge": edge.to_string()})));
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
            let number = map.ok().and_then(|map| map.data?.get("number")?.parse().ok());
            if let Some(number) = number {
                let _ = seen.send(Seen { edge, number, at: Instant::now() });
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

/// Tells each number that a ServiceSet's status at the hub stands for: the hash of what is deployed changes with it.
fn watch_status(hub: &kube::Client, told: mpsc::UnboundedSender<Seen>, process: &Process) {
    let sets = Api::<ServiceSet>::namespaced(hub.clone(), SYSTEM);
    let cancel = process.cancel.clone();
    process.tasks.spawn(async move {
        let mut hashes = BTreeMap::<String, (String, u32)>::new();
        let mut changes = watcher(sets, watcher::Config::default()).applied_objects().boxed();
        while let Some(set) =
            tokio::select! { next = changes.next() => next, () = cancel.cancelled() => None }
        {
            let Ok(set) = set else { continue };
            let name = set.metadata.name.clone().unwrap_or_default();
            let state = set.status.as_ref().and_then(|status| status.services.first());
            let Some(hash) = state.and_then(|state| state.last_deployed_hash.clone()) else { continue };
            let edge: Option<usize> =
                set.spec.cluster.strip_prefix("edge-").and_then(|edge| edge.parse().ok());
            let known = hashes.entry(name).or_default();
            if known.0 == hash {
                continue;
            }
            known.0 = hash;
            known.1 += 1;
            let of_all = set.spec.multi_cluster_service.as_deref() == Some("all");
            let Some(edge) = edge else { continue };
            // The first hash is that of the beginning.
            let number = known.1 - 1;
            let number = if of_all { 1_000 + number } else { number };
            let _ = told.send(Seen { edge, number, at: Instant::now() });
        }
    });
}

fn quantile(times: &mut [Duration], share: f64) -> f64 {
    times.sort();
    let index = ((times.len() as f64 * share).ceil() as usize).clamp(1, times.len()) - 1;
    times[index].as_secs_f64() * 1_000.0
}

fn report(edges: usize, measure: &str, value: f64, unit: &str, aim: Option<f64>) {
    let measure = format!("{measure} ({edges} edges)");
    let shown = aim.map_or_else(String::new, |aim| format!("<= {aim}"));
    println!("{measure:<44} {value:>7.1} {unit} {shown:>10}");
    let line = json!({"bench": "propagation", "measure": measure, "value": value, "unit": unit,
        "aim": aim.map(|aim| format!("<= {aim}")), "holds": aim.map(|aim| value <= aim)});
    println!("BENCH {line}");
}

/// Resident memory of this process, in bytes.
fn resident() -> f64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let kib = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:")?.trim().strip_suffix(" kB")?.trim().parse::<f64>().ok());
    kib.unwrap_or_default() * 1_024.0
}

/// Processor time of this process, in seconds.
fn processor_seconds() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let fields: Vec<f64> = stat
        .rsplit_once(") ")
        .map(|(_, rest)| rest.split(' ').skip(11).take(2).filter_map(|field| field.parse().ok()).collect())
        .unwrap_or_default();
    fields.iter().sum::<f64>() / 100.0
}
