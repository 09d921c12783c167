//! What an idle edge costs its device: memory and processor of one `edge-agent` that has state, telemetry and cost to
//! look after, and nothing that changes.
//!
//! `cargo build --release && cargo build --profile edge -p edge-agent && cargo bench -p skein-tests --bench footprint
//! [-- SECONDS]` (default 120). The hub and the region are those of `skein up`; the agent is the program for devices
//! (`target/edge/edge-agent`, else the one of `cargo build --release -p edge-agent`; the table says which), against a
//! cluster in this process that it reaches over HTTP. It is measured with a few objects to manage and with 1,000.
//! Prints a table and a line `BENCH {..}` for each measure; aims are judged, not enforced.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};
use k8s_openapi::api::core::v1::{ConfigMap, Pod};
use kube::api::{Api, ListParams};
use kube_local::{Cluster, Options, Simulate, Storage};
use serde_json::json;
use skein_tests::measure::{Aim, Table, Usage};
use skein_tests::mesh::{Mesh, PATIENCE, program as skein};
use skein_tests::process::Process;
use skein_tests::wait;

/// Services on the edge, and the pods that they become.
const SERVICES: usize = 10;
const PODS: usize = 30;
/// Objects that are managed: of each service a Deployment, the others ConfigMaps.
const OBJECTS: [usize; 2] = [20, 1_000];
/// What the agent is told to settle before it is measured.
const SETTLED: Duration = Duration::from_secs(20);

fn main() -> Result<()> {
    let seconds = std::env::args().skip(1).find_map(|argument| argument.parse().ok()).unwrap_or(120);
    tokio::runtime::Runtime::new()?.block_on(measure(Duration::from_secs(seconds)))
}

async fn measure(span: Duration) -> Result<()> {
    let mesh = Mesh::start(&["--regions", "eu", "--edges", "0"]).await?;
    let program = edge_agent()?;
    for objects in OBJECTS {
        idle(&mesh, &program, objects, span).await?;
    }
    Ok(())
}

/// One agent with so many objects.
async fn idle(mesh: &Mesh, program: &Path, objects: usize, span: Duration) -> Result<()> {
    let owner = process::Process::embedded();
    let name = format!("device-{objects}");
    let (child, kubeconfig) = child(mesh, &name, &owner).await?;
    let label = format!("fleet={name}");
    let token = mesh.skein(&["token", "create", "--region", "eu", "--label", &label])?;
    let state = mesh.state().join(&name);
    let mut command = Command::new(program);
    command.args(["run", "--name", &name, "--token", token.trim()]);
    command.arg("--state").arg(&state).arg("--kubeconfig").arg(&kubeconfig);
    command.args(["--otlp-grpc", "127.0.0.1:0", "--otlp-http", "127.0.0.1:0", "--http", "127.0.0.1:0"]);
    let agent = Process::spawn("edge-agent", &mut command, &mesh.state().join(format!("{name}.log")))?;
    mesh.apply("hub", &services(&name, objects))?;
    let (pods, maps) = (Api::<Pod>::all(child.clone()), Api::<ConfigMap>::namespaced(child, "bench"));
    wait::until("the objects of all services, and their pods", PATIENCE, || async {
        let pods = pods.list_metadata(&ListParams::default()).await?.items.len();
        let maps = maps.list_metadata(&ListParams::default()).await?.items.len();
        Ok((pods >= PODS && maps >= objects - SERVICES).then_some(()))
    })
    .await
    .with_context(|| agent.log_tail(20))?;
    // Idle is what this measures, so time has to pass.
    tokio::time::sleep(SETTLED).await;
    let before = Usage::of(agent.id());
    tokio::time::sleep(span).await;
    let after = Usage::of(agent.id());
    let seconds = span.as_secs_f64();
    let profile = program.parent().and_then(Path::file_name).unwrap_or_default().display();
    let title = format!(
        "one idle edge agent (profile {profile}), {objects} objects in {SERVICES} services, {PODS} pods, {seconds} s"
    );
    let table = Table::new("footprint", &title);
    let row = |measure: &str, value: f64, unit: &str, aim: Aim| {
        table.row(&format!("{measure} ({objects} objects)"), value, unit, aim);
    };
    let mib = 1_048_576.0;
    row("resident memory", after.resident_bytes / mib, "MiB", Aim::AtMost(12.0));
    row("of it heap and stacks", after.anonymous_bytes / mib, "MiB", Aim::None);
    row("the most it ever was", after.peak_bytes / mib, "MiB", Aim::None);
    let share = (after.processor_seconds - before.processor_seconds) / seconds * 1_000.0;
    row("processor", share, "mCPU", Aim::AtMost(1.0));
    drop(agent);
    owner.drain().await;
    Ok(())
}

/// A cluster behind HTTP, and the kubeconfig file for it.
async fn child(mesh: &Mesh, name: &str, owner: &process::Process) -> Result<(kube::Client, PathBuf)> {
    let cluster = Cluster::open(Options {
        name: name.to_owned(),
        kubernetes_version: "v1.36.3".to_owned(),
        storage: Storage::Memory,
        simulate: Simulate {
            workloads: true,
            node_cpu_cores: 4,
            node_memory_gib: 8,
            pod_start: Duration::ZERO,
        },
    })
    .await?;
    cluster.run_controllers(&owner.tasks, owner.cancel.clone());
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    let url = format!("http://{}", listener.local_addr()?);
    let file = mesh.state().join(format!("{name}.kubeconfig"));
    std::fs::write(&file, cluster.kubeconfig(&url, None))?;
    let client = cluster.client();
    let cancel = owner.cancel.clone();
    owner.tasks.spawn(async move { cluster.serve(listener, None, cancel).await });
    Ok((client, file))
}

/// The agent's own binary: as it is built for devices, else beside `skein`.
fn edge_agent() -> Result<PathBuf> {
    let beside = skein()?.with_file_name("edge-agent");
    let small = beside.parent().and_then(Path::parent).map(|target| target.join("edge/edge-agent"));
    let found = small.into_iter().chain([beside]).find(|program| program.is_file());
    found.context("no edge-agent is built: run `cargo build --profile edge -p edge-agent`")
}

/// Services of raw manifests for the edges of this fleet, each a Deployment with a few pods and ConfigMaps.
fn services(fleet: &str, objects: usize) -> String {
    let mut all = Vec::new();
    let mut named = Vec::new();
    for index in 0..SERVICES {
        let name = format!("app-{index}");
        let labels = json!({"app": name});
        let deployment = json!({"apiVersion": "apps/v1", "kind": "Deployment",
            "metadata": {"name": name, "namespace": "bench"},
            "spec": {"replicas": PODS / SERVICES, "selector": {"matchLabels": labels}, "template": {
                "metadata": {"labels": labels},
                "spec": {"containers": [{"name": "app", "image": "registry.example/app:1.0",
                    "resources": {"requests": {"cpu": "10m", "memory": "16Mi"}}}]}}}});
        let mut manifests = deployment.to_string();
        for map in 1..objects / SERVICES {
            let settings = json!({"apiVersion": "v1", "kind": "ConfigMap",
                "metadata": {"name": format!("{name}-{map}"), "namespace": "bench"},
                "data": {"greeting": "hello", "settings": format!("number = {map}\nlevel = 3\n").repeat(10)}});
            manifests += &format!("\n---\n{settings}");
        }
        let template = format!("{fleet}-{name}");
        all.push(json!({"apiVersion": "v1", "kind": "ConfigMap",
            "metadata": {"name": template, "namespace": "kcm-system"}, "data": {"all.yaml": manifests}}));
        let source =
            json!({"deploymentType": "Remote", "localSourceRef": {"kind": "ConfigMap", "name": template}});
        all.push(json!({"apiVersion": "k0rdent.mirantis.com/v1beta1", "kind": "ServiceTemplate",
            "metadata": {"name": template, "namespace": "kcm-system"}, "spec": {"resources": source}}));
        named.push(json!({"name": name, "namespace": "bench", "template": template}));
    }
    all.push(json!({"apiVersion": "k0rdent.mirantis.com/v1beta1", "kind": "MultiClusterService",
        "metadata": {"name": fleet}, "spec": {"clusterSelector": {"matchLabels": {"fleet": fleet}},
        "serviceSpec": {"services": named}}}));
    all.iter().map(|object| format!("---\n{object}\n")).collect()
}
