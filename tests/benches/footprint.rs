//! What an idle edge costs its device: memory and processor of one `edge-agent` that has state, telemetry and cost to
//! look after, and nothing that changes.
//!
//! `cargo build --release --workspace && cargo bench -p skein-tests --bench footprint [-- SECONDS]` (default 120). The
//! hub and the region are those of `skein up`; the agent is the slim binary, against a cluster in this process that it
//! reaches over HTTP. Prints a table and a line `BENCH {..}` for each measure; aims are judged, not enforced.

use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};
use k8s_openapi::api::core::v1::Pod;
use kube::api::{Api, ListParams};
use kube_local::{Cluster, Options, Simulate, Storage};
use skein_tests::measure::{Aim, Table, Usage};
use skein_tests::mesh::{Mesh, PATIENCE, program};
use skein_tests::process::Process;
use skein_tests::wait;

/// Services on the edge, and the pods that they become.
const SERVICES: usize = 10;
const PODS: usize = 30;
/// What the agent is told to settle before it is measured.
const SETTLED: Duration = Duration::from_secs(20);

fn main() -> Result<()> {
    let seconds = std::env::args().skip(1).find_map(|argument| argument.parse().ok()).unwrap_or(120);
    tokio::runtime::Runtime::new()?.block_on(measure(Duration::from_secs(seconds)))
}

async fn measure(span: Duration) -> Result<()> {
    let mesh = Mesh::start(&["--regions", "eu", "--edges", "0"]).await?;
    let owner = process::Process::embedded();
    let (child, kubeconfig) = child(&mesh, &owner).await?;
    let token = mesh.skein(&["token", "create", "--region", "eu", "--label", "fleet=bench"])?;
    let state = mesh.state().join("device");
    let mut command = Command::new(edge_agent()?);
    command.args(["run", "--name", "device", "--token", token.trim()]);
    command.arg("--state").arg(&state).arg("--kubeconfig").arg(&kubeconfig);
    command.args(["--otlp-grpc", "127.0.0.1:0", "--otlp-http", "127.0.0.1:0", "--http", "127.0.0.1:0"]);
    let agent = Process::spawn("edge-agent", &mut command, &mesh.state().join("device.log"))?;
    mesh.apply("hub", &services())?;
    let pods = Api::<Pod>::all(child);
    wait::until("the pods of all services", PATIENCE, || async {
        let found = pods.list(&ListParams::default()).await?.items.len();
        Ok((found >= PODS).then_some(()))
    })
    .await
    .with_context(|| agent.log_tail(20))?;
    // Idle is what this measures, so time has to pass.
    tokio::time::sleep(SETTLED).await;
    let before = Usage::of(agent.id());
    tokio::time::sleep(span).await;
    let after = Usage::of(agent.id());
    let seconds = span.as_secs_f64();
    let title = format!("one idle edge agent, {SERVICES} services, {PODS} pods, {seconds} s");
    let table = Table::new("footprint", &title);
    let mib = 1_048_576.0;
    table.row("resident memory", after.resident_bytes / mib, "MiB", Aim::AtMost(12.0));
    table.row("of it heap and stacks", after.anonymous_bytes / mib, "MiB", Aim::None);
    let share = (after.processor_seconds - before.processor_seconds) / seconds * 1_000.0;
    table.row("processor", share, "mCPU", Aim::AtMost(1.0));
    owner.drain().await;
    Ok(())
}

/// A cluster behind HTTP, and the kubeconfig file for it.
async fn child(mesh: &Mesh, owner: &process::Process) -> Result<(kube::Client, PathBuf)> {
    let cluster = Cluster::open(Options {
        name: "device".to_owned(),
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
    let file = mesh.state().join("device.kubeconfig");
    std::fs::write(&file, cluster.kubeconfig(&url, None))?;
    let client = cluster.client();
    let cancel = owner.cancel.clone();
    owner.tasks.spawn(async move { cluster.serve(listener, None, cancel).await });
    Ok((client, file))
}

/// The agent's own binary, beside `skein`.
fn edge_agent() -> Result<PathBuf> {
    let beside = program()?.with_file_name("edge-agent");
    anyhow::ensure!(
        beside.is_file(),
        "{} is not built: run `cargo build --release --workspace`",
        beside.display()
    );
    Ok(beside)
}

/// Services of raw manifests, each a Deployment with a few pods and what comes with it.
fn services() -> String {
    let mut all = Vec::new();
    let mut named = Vec::new();
    for index in 0..SERVICES {
        let name = format!("app-{index}");
        let labels = serde_json::json!({"app": name});
        let deployment = serde_json::json!({"apiVersion": "apps/v1", "kind": "Deployment",
            "metadata": {"name": name, "namespace": "bench"},
            "spec": {"replicas": PODS / SERVICES, "selector": {"matchLabels": labels}, "template": {
                "metadata": {"labels": labels},
                "spec": {"containers": [{"name": "app", "image": "registry.example/app:1.0",
                    "resources": {"requests": {"cpu": "10m", "memory": "16Mi"}}}]}}}});
        let settings = serde_json::json!({"apiVersion": "v1", "kind": "ConfigMap",
            "metadata": {"name": name, "namespace": "bench"}, "data": {"greeting": "hello"}});
        all.push(serde_json::json!({"apiVersion": "v1", "kind": "ConfigMap",
            "metadata": {"name": name, "namespace": "kcm-system"},
            "data": {"all.yaml": format!("{deployment}\n---\n{settings}\n")}}));
        let source = serde_json::json!({"deploymentType": "Remote", "localSourceRef": {"kind": "ConfigMap", "name": name}});
        all.push(serde_json::json!({"apiVersion": "k0rdent.mirantis.com/v1beta1", "kind": "ServiceTemplate",
            "metadata": {"name": name, "namespace": "kcm-system"}, "spec": {"resources": source}}));
        named.push(serde_json::json!({"name": name, "namespace": "bench", "template": name}));
    }
    all.push(serde_json::json!({"apiVersion": "k0rdent.mirantis.com/v1beta1", "kind": "MultiClusterService",
        "metadata": {"name": "bench"}, "spec": {"clusterSelector": {"matchLabels": {"fleet": "bench"}},
        "serviceSpec": {"services": named}}}));
    all.iter().map(|object| format!("---\n{object}\n")).collect()
}
