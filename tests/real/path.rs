//! The whole path between two real Kubernetes: one is the management cluster, the other the child of an edge.

use anyhow::Result;
use skein_tests::process::output;

use crate::chart::{self, Repository};
use crate::fleet::{Fleet, SYSTEM, until, until_gone, until_helm};
use crate::kubelet::Kubelet;

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

#[tokio::test]
#[ignore = "real parts: tests/run"]
async fn services_travel_from_one_real_kubernetes_to_another_and_back() -> Result<()> {
    let fleet = Fleet::start().await?;
    manifests(&fleet).await?;
    helm_chart(&fleet).await
}

async fn manifests(fleet: &Fleet) -> Result<()> {
    let Fleet { management, child, .. } = fleet;
    fleet.apply(SERVICE)?;
    let title = ["get", "configmap", "page", "-n", "shop", "-o", "jsonpath={.data.title}"];
    until(child, "the service arrives at the child", &title, "first").await?;
    let state = ["get", "serviceset", "-n", SYSTEM, "-o", "jsonpath={.items[*].status.services[*].state}"];
    until(management, "its state is at the hub", &state, "Deployed").await?;
    let clusters = ["get", "multiclusterservice", "page", "-o", "yaml"];
    until(management, "the MultiClusterService counts it", &clusters, "1/1").await?;

    fleet.apply(&SERVICE.replace("title: first", "title: second"))?;
    until(child, "a change arrives", &title, "second").await?;
    output(child.kubectl().args(["delete", "service", "page", "-n", "shop"]))?;
    until(child, "what was deleted comes back", &["get", "service", "-n", "shop"], "page").await?;
    let described = ["describe", "service", "page", "-n", "shop"];
    let told = "was deleted and was put back";
    until(child, "kubectl describe tells who looks after it", &described, told).await?;
    until(child, "and who tells that", &described, "skein.dev/edge-agent").await?;
    let events = ["get", "events", "-n", "shop"];
    until(child, "kubectl get events tells of the service", &events, "service shop/page: version").await?;
    output(management.kubectl().args(["delete", "multiclusterservice", "page", "--timeout=180s"]))?;
    let left = ["get", "configmap,service", "-n", "shop", "-o", "name", "--ignore-not-found"];
    until_gone(child, "what the service made is pruned", &left, "/page").await
}

/// What `helm create` makes, with hooks and a definition: installed, edited, upgraded, deleted.
async fn helm_chart(fleet: &Fleet) -> Result<()> {
    let Fleet { management, child, .. } = fleet;
    let charts = fleet.folder.path().join("charts");
    std::fs::create_dir(&charts)?;
    chart::publish(child, &charts, "0.1.0")?;
    // README: "Without Flux on that cluster, its source kinds are read all the same".
    let third_party = concat!(env!("CARGO_MANIFEST_DIR"), "/../deploy/crds/third-party");
    output(management.kubectl().args(["apply", "--server-side", "-f", third_party]))?;
    let established = ["wait", "--for=condition=Established", "crd", "--all", "--timeout=180s"];
    output(management.kubectl().args(established))?;
    let repository = Repository::start(&charts).await?;
    let _kubelet = Kubelet::start(child.client().await?);
    let service = |version: &str, values: &str| chart::service(&repository.url, version, values);

    fleet.apply(&service("0.1.0", "replicaCount: 2\nimage: {tag: \"1.28\"}\nboards: null\n")?)?;
    let web = ["get", "deployment", "till", "-n", "till", "-o"];
    let web = |path| [&web[..], &[path]].concat();
    let shown = "jsonpath={.status.readyReplicas} {.spec.template.spec.containers[0].image}";
    until(child, "the chart runs", &web(shown), "2 nginx:1.28").await?;
    let boards = ["get", "shelf.shop.example.com", "till", "-n", "till", "-o", "jsonpath={.spec.boards}"];
    until(child, "an object of the chart's own kind is there", &boards, "3").await?;
    let migrated = ["get", "job", "till-migrate", "-n", "till", "-o"];
    let migrated = |path| [&migrated[..], &[path]].concat();
    let run = "jsonpath={.status.succeeded} {.spec.template.spec.containers[0].args[1]} {.metadata.uid}";
    until(child, "the hook before has succeeded", &migrated(run), "1 1.28").await?;
    let first_run = output(child.kubectl().args(migrated("jsonpath={.metadata.uid}")))?;
    let note = ["get", "configmap", "till-done", "-n", "till", "-o", "jsonpath={.data.version}"];
    until(child, "the hook after has run", &note, "0.1.0").await?;
    let condition = |kind: &str| format!("jsonpath={{.status.conditions[?(@.type==\"{kind}\")].status}}");
    let template = ["get", "servicetemplate", "till-0-1-0", "-n", SYSTEM, "-o", "jsonpath={.status.valid}"];
    until(management, "kubectl tells that the template is valid", &template, "true").await?;
    let state = ["get", "serviceset", "-n", SYSTEM, "-o", "jsonpath={.items[*].status.services[*].state}"];
    until(management, "the release is deployed as the hub tells", &state, "Deployed").await?;

    // Values are edited.
    fleet.apply(&service("0.1.0", "replicaCount: 3\nimage: {tag: \"1.29\"}\nboards: 5\n")?)?;
    until(child, "edited values arrive", &web(shown), "3 nginx:1.29").await?;
    until(child, "in objects of its own kind too", &boards, "5").await?;
    until(child, "the hook before has run again", &migrated(run), "1 1.29").await?;
    let second_run = output(child.kubectl().args(migrated("jsonpath={.metadata.uid}")))?;
    anyhow::ensure!(first_run != second_run, "the hook's job of before was not replaced: {first_run}");

    // An upgrade to a version that has something more and something less.
    let templates = charts.join("till/templates");
    std::fs::write(
        templates.join("extra.yaml"),
        "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: till-extra}\ndata: {new: \"yes\"}\n",
    )?;
    std::fs::remove_file(templates.join("service.yaml"))?;
    std::fs::remove_file(templates.join("ledger.yaml"))?;
    chart::publish(child, &charts, "0.2.0")?;
    fleet.apply(&service("0.2.0", "replicaCount: 1\nimage: {tag: \"1.30\"}\n")?)?;
    until(child, "the upgrade arrives", &web(shown), "1 nginx:1.30").await?;
    until(child, "its hook has run", &note, "0.2.0").await?;
    let all = ["get", "configmap,service,deployment,serviceaccount,shelf", "-n", "till", "-o", "name"];
    until(child, "what is new is there", &all, "configmap/till-extra").await?;
    until_gone(child, "what is gone is pruned", &all, "service/till").await?;
    until(child, "what is to be kept is kept", &all, "configmap/till-ledger").await?;
    let clusters = ["get", "multiclusterservice", "till", "-o", &condition("ClusterInReadyState")];
    until(management, "the hub tells of it", &clusters, "True").await?;
    let releases = ["list", "-n", "till", "-o", "json"];
    until_helm(child, "helm lists the release", &releases, "\"chart\":\"till-0.2.0\"").await?;
    let history = ["history", "till", "-n", "till", "-o", "json"];
    until_helm(child, "and its history", &history, "\"status\":\"superseded\",\"chart\":\"till-0.1.0\"")
        .await?;
    let manifest = ["get", "manifest", "till", "-n", "till"];
    until_helm(child, "and its manifest", &manifest, "till-extra").await?;
    anyhow::ensure!(repository.served("till-0.2.0.tgz") == 1, "the chart was fetched more than once");

    output(management.kubectl().args(["delete", "multiclusterservice", "till", "--timeout=180s"]))?;
    let core = ["get", "configmap,service,deployment,serviceaccount", "-n", "till", "-o", "name"];
    for gone in ["deployment.apps/till", "serviceaccount/till", "till-extra"] {
        until_gone(child, "what the chart made is pruned", &core, gone).await?;
    }
    anyhow::ensure!(output(child.helm().args(releases))?.trim() == "[]", "helm still lists the release");
    let definitions = ["get", "customresourcedefinitions", "-o", "name"];
    until(child, "its definition stays, as with Helm", &definitions, "shelves").await?;
    until(child, "what is to be kept outlives the release", &core, "configmap/till-ledger").await
}
