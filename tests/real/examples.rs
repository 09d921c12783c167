//! k0rdent's own service examples, as its users write them (`tests/k0rdent-examples`), between two real Kubernetes: only
//! the address of the chart repository is filled in. On the way, what the operator's tools tell of them.

use std::fmt::Write as _;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use skein_tests::control_plane::ControlPlane;
use skein_tests::process::output;

use crate::chart::Repository;
use crate::fleet::{Fleet, SYSTEM, until, until_all, until_gone, until_helm};
use crate::kubelet::Kubelet;

const EXAMPLES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/k0rdent-examples");

/// A chart that looks like a controller: the values that the examples set show in what it makes.
const TEMPLATE: &str = r#"
apiVersion: apps/v1
kind: Deployment
metadata: {name: {{ .Release.Name }}-controller}
spec:
  replicas: {{ .Values.controller.replicaCount }}
  selector: {matchLabels: {app: {{ .Release.Name }}}}
  template:
    metadata: {labels: {app: {{ .Release.Name }}}}
    spec:
      containers:
      - {name: controller, image: "registry.example.com/controller:{{ .Chart.Version }}"}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: {{ .Release.Name }}-settings}
data:
  version: {{ .Chart.Version | quote }}
  class: {{ .Values.controller.ingressClass | quote }}
  note: {{ .Values.controller.note | quote }}
---
apiVersion: v1
kind: Secret
metadata: {name: {{ .Release.Name }}-token}
stringData: {token: {{ .Values.controller.token | quote }}}
"#;

/// The repository that the examples name.
fn publish(plane: &ControlPlane, folder: &Path) -> Result<()> {
    std::fs::create_dir(folder)?;
    for (name, version) in [("kyverno", "3.2.6"), ("ingress-nginx", "4.11.0"), ("ingress-nginx", "4.11.3")] {
        let chart = folder.join(name);
        std::fs::create_dir_all(chart.join("templates"))?;
        std::fs::write(
            chart.join("Chart.yaml"),
            format!("apiVersion: v2\nname: {name}\nversion: {version}\n"),
        )?;
        let values = "controller: {replicaCount: 1, ingressClass: nginx, note: none, token: none}\n";
        std::fs::write(chart.join("values.yaml"), values)?;
        std::fs::write(chart.join("templates/controller.yaml"), TEMPLATE)?;
        output(plane.helm().arg("package").arg("--destination").arg(folder).arg(&chart))?;
    }
    output(plane.helm().args(["repo", "index"]).arg(folder)).map(|_| ())
}

/// A fleet, its charts, and nodes that seem to run what comes.
struct Stage {
    fleet: Fleet,
    repository: Repository,
    _kubelet: Kubelet,
}

impl Stage {
    async fn set() -> Result<Self> {
        let fleet = Fleet::start().await?;
        let charts = fleet.folder.path().join("charts");
        publish(&fleet.child, &charts)?;
        let third_party = concat!(env!("CARGO_MANIFEST_DIR"), "/../deploy/crds/third-party");
        output(fleet.management.kubectl().args(["apply", "--server-side", "-f", third_party]))?;
        let established = ["wait", "--for=condition=Established", "crd", "--all", "--timeout=180s"];
        output(fleet.management.kubectl().args(established))?;
        let repository = Repository::start(&charts).await?;
        let kubelet = Kubelet::start(fleet.child.client().await?);
        Ok(Self { fleet, repository, _kubelet: kubelet })
    }

    /// Applies an example.
    fn example(&self, name: &str) -> Result<()> {
        let text = std::fs::read_to_string(Path::new(EXAMPLES).join(name))?;
        let filled = text.replace("http://charts.example.com", &self.repository.url);
        self.fleet.apply(&filled).with_context(|| name.to_owned()).map(|_| ())
    }

    /// Waits until the child has a field of a ConfigMap like this.
    async fn setting(&self, namespace: &str, map: &str, key: &str, wanted: &str) -> Result<()> {
        let path = format!("jsonpath={{.data.{key}}}");
        let get = ["get", "configmap", map, "-n", namespace, "-o", &path];
        until(&self.fleet.child, &format!("{namespace}/{map} has {key}"), &get, wanted).await
    }

    async fn replicas(&self, name: &str, wanted: &str) -> Result<()> {
        let get = ["get", "deployment", name, "-n", name.trim_end_matches("-controller"), "-o"];
        let get = [&get[..], &["jsonpath={.spec.replicas}"]].concat();
        until(&self.fleet.child, &format!("{name} has its replicas"), &get, wanted).await
    }

    /// Waits until the hub tells this of a service.
    async fn told(&self, service: &str, field: &str, wanted: &str) -> Result<()> {
        let mut path = String::new();
        write!(path, "jsonpath={{.items[*].status.services[?(@.name==\"{service}\")].{field}}}")?;
        let get = ["get", "serviceset", "-n", SYSTEM, "-o", &path];
        until(&self.fleet.management, &format!("the hub tells {field} of {service}"), &get, wanted).await
    }
}

#[tokio::test]
#[ignore = "real parts: tests/run"]
async fn the_documented_examples_run_unchanged_and_the_tools_tell_of_them() -> Result<()> {
    let stage = Stage::set().await?;
    stage.example("templates.yaml")?;
    beach_head(&stage).await?;
    values(&stage).await?;
    resources(&stage).await?;
    drift(&stage).await?;
    dry_run(&stage).await?;
    upgrade(&stage).await?;
    priority(&stage).await?;
    away(stage).await
}

async fn beach_head(stage: &Stage) -> Result<()> {
    let Fleet { management, child, .. } = &stage.fleet;
    stage.example("beach-head.yaml")?;
    stage.setting("kyverno", "kyverno-settings", "version", "3.2.6").await?;
    stage.setting("ingress-nginx", "ingress-nginx-settings", "version", "4.11.0").await?;
    stage.setting("ingress-nginx", "ingress-nginx-settings", "note", "till-7").await?;
    stage.replicas("ingress-nginx-controller", "2").await?;
    let clusters = ["get", "multiclusterservice", "beach-head"];
    until(management, "kubectl shows that it is on its cluster", &clusters, "1/1").await?;
    let states = ["get", "multiclusterservice", "beach-head", "-o", "jsonpath={.status.services[*].state}"];
    until(management, "and how its services are", &states, "Deployed Deployed").await?;
    let chain =
        ["get", "servicetemplatechain", "ingress-nginx", "-n", SYSTEM, "-o", "jsonpath={.status.valid}"];
    until(management, "the chain is valid", &chain, "true").await?;
    until_helm(child, "helm lists them", &["list", "-A", "-o", "json"], "ingress-nginx-4.11.0").await
}

async fn values(stage: &Stage) -> Result<()> {
    stage.example("values-from.yaml")?;
    stage.setting("policies", "policies-settings", "note", "from-configmap").await?;
    stage.setting("policies", "policies-settings", "class", "eu-central").await?;
    let token = ["get", "secret", "policies-token", "-n", "policies", "-o", "jsonpath={.data.token}"];
    let encoded = "czNjcmV0LW9mLXRoZS1leGFtcGxl";
    until(&stage.fleet.child, "the secret value arrives", &token, encoded).await?;
    let sets = output(stage.fleet.management.kubectl().args(["get", "serviceset,edge", "-A", "-o", "yaml"]))?;
    ensure!(!sets.contains("s3cret") && !sets.contains(encoded), "a status tells a secret value");
    Ok(())
}

async fn resources(stage: &Stage) -> Result<()> {
    stage.example("resources.yaml")?;
    stage.setting("greetings", "greeting", "cluster", "till-7").await?;
    stage.setting("kustomized", "eu-banner", "text", "welcome").await
}

async fn drift(stage: &Stage) -> Result<()> {
    let child = &stage.fleet.child;
    stage.example("drift.yaml")?;
    stage.replicas("autoscaled-controller", "1").await?;
    stage.told("autoscaled", "state", "Deployed").await?;
    output(child.kubectl().args([
        "scale",
        "deployment/autoscaled-controller",
        "-n",
        "autoscaled",
        "--replicas=4",
    ]))?;
    let image = "deployment/autoscaled-controller";
    output(child.kubectl().args(["set", "image", image, "-n", "autoscaled", "controller=other"]))?;
    let get = ["get", image, "-n", "autoscaled", "-o", "jsonpath={.spec.template.spec.containers[0].image}"];
    until(child, "what drifted is put back", &get, "controller:4.11.3").await?;
    stage.replicas("autoscaled-controller", "4").await
}

async fn dry_run(stage: &Stage) -> Result<()> {
    stage.example("dry-run.yaml")?;
    stage.told("rehearsal", "failureMessage", "dry run, nothing was written: 3 to create").await?;
    let get = ["get", "namespace", "rehearsal", "--ignore-not-found"];
    ensure!(output(stage.fleet.child.kubectl().args(get))?.is_empty(), "a dry run made its namespace");
    let page = stage.fleet.skein(&["explain", "edge/till-7", "rehearsal"])?;
    ensure!(page.contains("syncMode is DryRun"), "{page}");
    Ok(())
}

/// One step of the chain; meanwhile somebody deletes and edits objects, and the tools tell.
async fn upgrade(stage: &Stage) -> Result<()> {
    let Fleet { child, .. } = &stage.fleet;
    stage.example("beach-head-upgraded.yaml")?;
    stage.setting("ingress-nginx", "ingress-nginx-settings", "version", "4.11.3").await?;
    stage.told("ingress-nginx", "version", "4.11.3").await?;
    stage.told("ingress-nginx", "state", "Deployed").await?;
    until_helm(child, "helm lists the upgrade", &["list", "-A", "-o", "json"], "ingress-nginx-4.11.3")
        .await?;
    let history = stage.fleet.skein(&["history", "edge/till-7", "ingress-nginx"])?;
    let rows: Vec<_> = history.lines().filter(|line| line.contains(" Deployed ")).collect();
    ensure!(rows.len() >= 2 && rows[0].contains("4.11.3") && history.contains("4.11.0"), "{history}");

    // What is left to others is no difference; what a dry run would make is not there yet.
    let diff = stage.fleet.skein(&["diff", "edge/till-7", "autoscaled"])?;
    ensure!(diff.contains("3 objects are as desired"), "{diff}");
    let diff = stage.fleet.skein(&["diff", "edge/till-7", "rehearsal"])?;
    ensure!(diff.contains("- ConfigMap rehearsal-settings is not there"), "{diff}");
    let page = stage.fleet.skein(&["explain", "service/ingress-nginx.ingress-nginx", "on", "edge/till-7"])?;
    for part in
        ["ok     after       kyverno/kyverno is deployed", "so         it is there, as new as it should be"]
    {
        ensure!(page.contains(part), "{page}");
    }
    Ok(())
}

async fn priority(stage: &Stage) -> Result<()> {
    stage.example("priority.yaml")?;
    stage.setting("policies", "policies-settings", "note", "stronger").await?;
    stage.told("policies", "failureMessage", "conflict: release policies/policies is managed by").await?;
    let page = stage.fleet.skein(&["explain", "edge/till-7", "policies.policies"])?;
    ensure!(page.contains("it has the release before MultiClusterService policies (priority 100)"), "{page}");
    let management = &stage.fleet.management;
    // Waited for below: while kubectl waited, no pod would run, for the kubelet lives on this thread.
    output(management.kubectl().args(["delete", "multiclusterservice", "stronger", "--wait=false"]))?;
    let names = ["get", "multiclusterservices", "-o", "name"];
    until_gone(management, "it is gone", &names, "stronger").await?;
    // It took its set with it, and what it had won goes back.
    let owners = ["get", "serviceset", "-n", SYSTEM, "-o", "jsonpath={.items[*].spec.multiClusterService}"];
    until_gone(management, "no set of it is left", &owners, "stronger").await?;
    stage.setting("policies", "policies-settings", "note", "from-configmap").await?;
    stage.told("policies", "state", "Deployed").await
}

/// The edge is away: what is asked of it is answered with since when, and with what was known last.
async fn away(mut stage: Stage) -> Result<()> {
    stage.fleet.stop_edge().await?;
    let link = ["get", "edge", "till-7", "-n", SYSTEM];
    until(&stage.fleet.management, "the hub sees that the edge is away", &link, "Down").await?;
    let diff = stage.fleet.skein(&["diff", "edge/till-7", "ingress-nginx"])?;
    ensure!(diff.contains("the edge is away since 20") && diff.contains("last known"), "{diff}");
    let page = stage.fleet.skein(&["explain", "edge/till-7", "ingress-nginx"])?;
    ensure!(page.contains("?      link        the edge is away since 20"), "{page}");
    stage.told("ingress-nginx", "state", "Deployed").await?;
    let collected =
        "jsonpath={.items[*].status.conditions[?(@.type==\"ServiceSetStatusesCollected\")].status}";
    let get = ["get", "serviceset", "-n", SYSTEM, "-o", collected];
    until_all(&stage.fleet.management, "offline is unknown of every set, not failed", &get, "Unknown").await
}
