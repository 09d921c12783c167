//! What a fleet is made of: clusters, definitions, services, tokens, a region, edges.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use api::k0rdent::{Region, RegionSpec};
use api::skein::{JoinRole, JoinToken, JoinTokenSpec};
use base64::Engine as _;
use clap::Parser;
use futures::StreamExt;
use identity::token::TokenScope;
use identity::{Clock, SystemEntropy, TokenRole};
use k8s_openapi::api::core::v1::{ConfigMap, Namespace};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::ResourceExt;
use kube::api::{Api, ObjectMeta, Patch, PatchParams, PostParams};
use kube::runtime::wait::{await_condition, conditions};
use kube::runtime::{WatchStreamExt, watcher};
use kube_local::{Cluster, Options, Simulate, Storage};
use link::Network;
use process::Process;
use serde_json::{Value, json};
use tokio::sync::mpsc;

use super::DEADLINE;
use super::board::{Seen, Service};

/// Where edges, templates and tokens are.
pub const SYSTEM: &str = "kcm-system";

/// What a service puts on an edge.
#[must_use]
pub fn object(name: &str, edit: u32) -> String {
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, "namespace": "bench"},
        "data": {"edit": edit.to_string()}})
    .to_string()
}

/// A cluster in this process, without workloads.
///
/// # Errors
/// When it cannot be made.
pub async fn cluster(name: &str, process: &Process) -> Result<Cluster> {
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

/// Definitions, the system namespace and region `eu`.
///
/// # Errors
/// When the API refuses.
pub async fn install(hub: &kube::Client) -> Result<()> {
    let definitions = Api::<CustomResourceDefinition>::all(hub.clone());
    for definition in api::all_crds() {
        let name = definition.name_any();
        definitions.create(&PostParams::default(), &definition).await?;
        let established = await_condition(definitions.clone(), &name, conditions::is_crd_established());
        tokio::time::timeout(DEADLINE, established)
            .await
            .with_context(|| format!("{name} is not established"))??;
    }
    let namespace = Namespace { metadata: named(SYSTEM), ..Namespace::default() };
    Api::<Namespace>::all(hub.clone()).create(&PostParams::default(), &namespace).await?;
    Api::<Region>::all(hub.clone())
        .create(&PostParams::default(), &Region::new("eu", RegionSpec::default()))
        .await?;
    Ok(())
}

/// The same, one service for all edges and one for each, and what a service is made of that nobody has yet.
pub(super) async fn prepare(hub: &kube::Client, count: usize) -> Result<()> {
    install(hub).await?;
    let own = (0..count).map(|edge| format!("own-{edge}"));
    for name in own.chain(["all".to_owned(), "new".to_owned()]) {
        template(hub, &name).await?;
    }
    for edge in 0..count {
        service(hub, &format!("own-{edge}"), &json!({"edge": edge.to_string()})).await?;
    }
    service(hub, "all", &json!({"fleet": "bench"})).await
}

/// What a service is made of.
async fn template(hub: &kube::Client, name: &str) -> Result<()> {
    let parameters = PatchParams::apply("bench").force();
    let map = ConfigMap {
        metadata: named(name),
        data: Some(BTreeMap::from([("object.yaml".to_owned(), object(name, 0))])),
        ..ConfigMap::default()
    };
    Api::<ConfigMap>::namespaced(hub.clone(), SYSTEM).patch(name, &parameters, &Patch::Apply(&map)).await?;
    let source = json!({"deploymentType": "Remote", "localSourceRef": {"kind": "ConfigMap", "name": name}});
    let template = json!({"apiVersion": "k0rdent.mirantis.com/v1beta1", "kind": "ServiceTemplate",
        "metadata": {"name": name}, "spec": {"resources": source}});
    Api::<api::k0rdent::ServiceTemplate>::namespaced(hub.clone(), SYSTEM)
        .patch(name, &parameters, &Patch::Apply(&template))
        .await?;
    Ok(())
}

/// A MultiClusterService of one service for the edges with these labels.
pub(super) async fn service(hub: &kube::Client, name: &str, labels: &Value) -> Result<()> {
    let service = json!({"apiVersion": "k0rdent.mirantis.com/v1beta1", "kind": "MultiClusterService",
        "metadata": {"name": name}, "spec": {"clusterSelector": {"matchLabels": labels},
        "serviceSpec": {"services": [{"name": name, "namespace": "bench", "template": name}]}}});
    Api::<api::k0rdent::MultiClusterService>::all(hub.clone())
        .patch(name, &PatchParams::apply("bench").force(), &Patch::Apply(&service))
        .await?;
    Ok(())
}

fn named(name: &str) -> ObjectMeta {
    ObjectMeta { name: Some(name.to_owned()), ..ObjectMeta::default() }
}

/// Starts the agent of region `eu`.
///
/// # Errors
/// When it cannot join or begin.
pub async fn region(
    hub: &kube::Client,
    folder: &Path,
    network: &Arc<dyn Network>,
    clock: &Arc<dyn Clock>,
    process: &Process,
) -> Result<regional_agent::app::Running> {
    let trust =
        Api::<ConfigMap>::namespaced(hub.clone(), SYSTEM).get("skein-trust").await?.data.unwrap_or_default();
    let endpoints = trust.get("hubEndpoints").context("the hub told no endpoint")?.clone();
    let token = mint(hub, TokenRole::Region, vec![endpoints], 1).await?;
    let state = folder.join("region");
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
    Ok(running)
}

/// A token for so many agents of region `eu`.
///
/// # Errors
/// When the hub has not told whom to trust.
pub async fn mint(
    hub: &kube::Client,
    role: TokenRole,
    endpoints: Vec<String>,
    max_uses: i32,
) -> Result<String> {
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

/// Starts an edge on a cluster; its API.
pub(super) async fn edge(
    (edge, child): (usize, kube::Client),
    token: &str,
    folder: &std::path::Path,
    network: Arc<dyn Network>,
    clock: Arc<dyn Clock>,
    seen: mpsc::UnboundedSender<Seen>,
    process: Process,
) -> Result<kube::Client> {
    let maps = Api::<ConfigMap>::namespaced(child.clone(), "bench");
    let cancel = process.cancel.clone();
    process.tasks.spawn(async move {
        let mut changes = watcher(maps, watcher::Config::default()).applied_objects().boxed();
        while let Some(map) =
            tokio::select! { next = changes.next() => next, () = cancel.cancelled() => None }
        {
            let Ok(map) = map else { continue };
            let service = Service::named(map.metadata.name.as_deref().unwrap_or_default());
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
    edge_agent::app::serve(child.clone(), network, clock, run, own).await?;
    Ok(child)
}
