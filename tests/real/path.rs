//! The whole path between two real Kubernetes: one is the management cluster, the other the child of an edge.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};
use skein_tests::control_plane::ControlPlane;
use skein_tests::mesh;
use skein_tests::process::{Process, output};
use skein_tests::{parts, wait};

const PATIENCE: Duration = Duration::from_secs(120);
const SYSTEM: &str = "kcm-system";

/// What a platform engineer applies: a service of raw manifests for every edge of a site.
const SERVICE: &str = r"
apiVersion: v1
kind: ConfigMap
metadata: {name: page, namespace: kcm-system}
data:
  page.yaml: |
    apiVersion: v1
    kind: ConfigMap
    metadata: {name: page, namespace: shop}
    data: {title: first}
    ---
    apiVersion: v1
    kind: Service
    metadata: {name: page, namespace: shop}
    spec:
      selector: {app: page}
      ports: [{port: 80}]
---
apiVersion: k0rdent.mirantis.com/v1beta1
kind: ServiceTemplate
metadata: {name: page, namespace: kcm-system}
spec:
  resources:
    deploymentType: Remote
    localSourceRef: {kind: ConfigMap, name: page}
---
apiVersion: k0rdent.mirantis.com/v1beta1
kind: MultiClusterService
metadata: {name: page}
spec:
  clusterSelector: {matchLabels: {site: berlin}}
  serviceSpec:
    services: [{name: page, namespace: shop, template: page}]
";

/// An agent as a process of its own, with the addresses it bound.
struct Agent {
    _process: Process,
}

impl Agent {
    async fn start(name: &str, folder: &Path, arguments: &[&str]) -> Result<Self> {
        std::fs::create_dir_all(folder)?;
        let bound = folder.join("bound.json");
        let mut command = Command::new(mesh::program()?);
        command.arg("agent").args(arguments).args(["--http", "127.0.0.1:0", "--state"]).arg(folder);
        command.arg("--bound-file").arg(&bound);
        let mut process = Process::spawn(name, &mut command, &folder.join("log"))?;
        let what = format!("{name} has started");
        let started = wait::until(&what, PATIENCE, || {
            let there = bound.exists();
            let alive = process.check_running();
            async move { alive.map(|()| there.then_some(())) }
        });
        let started = started.await;
        started.with_context(|| process.log_tail(40))?;
        Ok(Self { _process: process })
    }
}

/// Runs kubectl until it answers what is wanted.
async fn until(cluster: &ControlPlane, what: &str, arguments: &[&str], wanted: &str) -> Result<()> {
    let mut last = String::new();
    let seen = wait::until(what, PATIENCE, || {
        last = output(cluster.kubectl().args(arguments)).unwrap_or_else(|error| format!("{error:#}"));
        let seen = last.contains(wanted).then_some(());
        async move { Ok(seen) }
    });
    let seen = seen.await;
    seen.with_context(|| format!("kubectl {arguments:?} last said: {last}"))
}

fn apply(cluster: &ControlPlane, folder: &Path, manifest: &str) -> Result<String> {
    let file = folder.join("manifest.yaml");
    std::fs::write(&file, manifest)?;
    output(cluster.kubectl().args(["apply", "--server-side", "-f"]).arg(file))
}

#[tokio::test]
#[ignore = "real parts: tests/run"]
async fn a_service_travels_from_one_real_kubernetes_to_another_and_back() -> Result<()> {
    let parts = parts::require_parts()?;
    let folder = tempfile::Builder::new().prefix("skein-real-").tempdir()?;
    let (hub_folder, child_folder) = (folder.path().join("management"), folder.path().join("child"));
    let (management, child) = tokio::try_join!(
        ControlPlane::start(&parts, &hub_folder),
        ControlPlane::start(&parts, &child_folder)
    )?;
    let crds = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/crds");
    output(management.kubectl().args(["apply", "--server-side", "--recursive", "-f"]).arg(&crds))?;
    output(management.kubectl().args(["create", "namespace", SYSTEM]))?;
    output(management.kubectl().args([
        "wait",
        "--for=condition=Established",
        "crd",
        "--all",
        "--timeout=60s",
    ]))?;

    let kubeconfig = management.kubeconfig().display().to_string();
    let hub = ["hub", "--listen", "127.0.0.1:0", "--kubeconfig", &kubeconfig];
    let _hub = Agent::start("hub", &folder.path().join("hub"), &hub).await?;
    apply(
        &management,
        folder.path(),
        "apiVersion: k0rdent.mirantis.com/v1beta1\nkind: Region\nmetadata: {name: eu}\nspec: {}\n",
    )?;
    let token = token(&kubeconfig, &["--role", "region", "--region", "eu", "--name", "eu"])?;
    let region =
        ["regional-agent", "run", "--token", &token, "--listen", "127.0.0.1:0", "--kubeconfig", &kubeconfig];
    let _region = Agent::start("region", &folder.path().join("region"), &region).await?;
    until(&management, "the region is linked", &["get", "region", "eu", "-o", "yaml"], "link: Up").await?;

    let token = self::token(&kubeconfig, &["--region", "eu", "--name", "till-7", "--label", "site=berlin"])?;
    let child_kubeconfig = child.kubeconfig().display().to_string();
    let edge = ["edge-agent", "run", "--token", &token, "--kubeconfig", &child_kubeconfig];
    let ports = ["--otlp-grpc", "127.0.0.1:0", "--otlp-http", "127.0.0.1:0"];
    let edge: Vec<&str> = edge.into_iter().chain(ports).collect();
    let _edge = Agent::start("edge", &folder.path().join("edge"), &edge).await?;

    apply(&management, folder.path(), SERVICE)?;
    let title = ["get", "configmap", "page", "-n", "shop", "-o", "jsonpath={.data.title}"];
    until(&child, "the service arrives at the child", &title, "first").await?;
    let state = ["get", "serviceset", "-n", SYSTEM, "-o", "jsonpath={.items[*].status.services[*].state}"];
    until(&management, "its state is at the hub", &state, "Deployed").await?;
    let clusters = ["get", "multiclusterservice", "page", "-o", "yaml"];
    until(&management, "the MultiClusterService counts it", &clusters, "1/1").await?;

    apply(&management, folder.path(), &SERVICE.replace("title: first", "title: second"))?;
    until(&child, "a change arrives", &title, "second").await?;
    output(child.kubectl().args(["delete", "service", "page", "-n", "shop"]))?;
    until(&child, "what was deleted comes back", &["get", "service", "-n", "shop"], "page").await?;
    output(management.kubectl().args(["delete", "multiclusterservice", "page", "--timeout=90s"]))?;
    let left = ["get", "configmap,service", "-n", "shop", "-o", "name", "--ignore-not-found"];
    let mut last = String::new();
    wait::until("what the service made is pruned", PATIENCE, || {
        last = output(child.kubectl().args(left)).unwrap_or_default();
        let gone = (!last.contains("/page")).then_some(());
        async move { Ok(gone) }
    })
    .await
}

fn token(kubeconfig: &str, arguments: &[&str]) -> Result<String> {
    let mut command = Command::new(mesh::program()?);
    command.args(["token", "create", "--kubeconfig", kubeconfig]).args(arguments);
    Ok(output(&mut command)?.trim().to_owned())
}
