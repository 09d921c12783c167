//! Charts that need what the engine lacks: a `helm` binary renders them where there is one, and the objects say so.

#![allow(clippy::unwrap_used, clippy::panic, clippy::expect_used)]

mod support;

use std::path::PathBuf;

use k8s_openapi::api::core::v1::Event;
use k8s_openapi::api::core::v1::Secret;
use kube::api::ListParams;
use protocol::id::AgentId;
use serde_json::{Value, json};
use support::{Hub, K0RDENT, condition, packed_files, root, store};

/// A chart that asks for a DSA key, which the engine does not make.
const TEMPLATE: &str = "apiVersion: v1\nkind: Secret\nmetadata: {name: {{ .Release.Name }}}\nstringData:\n  \
key: {{ genPrivateKey \"dsa\" | quote }}\n  colour: {{ .Values.colour | quote }}\n";

/// A template whose chart lies behind a URL, and a service of it for every store.
async fn service(hub: &Hub, colour: &str) {
    let files = [
        ("web/Chart.yaml", "apiVersion: v2\nname: web\nversion: 0.3.0\n".to_owned()),
        ("web/templates/key.yaml", TEMPLATE.to_owned()),
    ];
    let address = hub.serve("/web-0.3.0.tgz", packed_files(&files)).await;
    hub.apply(json!({
        "apiVersion": K0RDENT, "kind": "ServiceTemplate", "metadata": {"name": "keys", "namespace": "kcm-system"},
        "spec": {"helm": {"chartSource": {"deploymentType": "Remote", "remoteSourceSpec": {
            "http": {"url": format!("{address}/web-0.3.0.tgz"), "interval": "1h"},
        }}}},
    }))
    .await;
    coloured(hub, colour).await;
}

async fn coloured(hub: &Hub, colour: &str) {
    hub.apply(json!({
        "apiVersion": K0RDENT, "kind": "MultiClusterService", "metadata": {"name": "keys"},
        "spec": {
            "clusterSelector": {"matchLabels": {"site": "store"}},
            "serviceSpec": {"services": [{
                "name": "keys", "namespace": "shop", "template": "keys", "values": format!("colour: {colour}\n"),
            }]},
        },
    }))
    .await;
}

/// The set of the store, once it is as `holds` says.
async fn set(hub: &Hub, holds: impl Fn(&Value) -> bool + Send + Sync) -> Value {
    let found = |set: &api::k0rdent::ServiceSet| holds(&serde_json::to_value(set).unwrap());
    let set = hub.until_listed("the ServiceSet", found).await;
    serde_json::to_value(set).unwrap()
}

async fn digest(hub: &Hub, edge: &AgentId) -> String {
    hub.plan(edge, |units| !units.is_empty()).await;
    let plan = hub.plans.get(edge).unwrap();
    plan.content.body().units[0].objects[0].digest.to_string()
}

async fn it_falls_back(binary: PathBuf) {
    let mut hub = Hub::with_helm(Some(binary)).await;
    // Without a key nothing confidential could be delivered: the store has told one.
    let edge = store(&hub).await;
    hub.tell_sealing_key("store-1", "kcm-system", 3).await;
    service(&hub, "red").await;
    let first = digest(&hub, &edge).await;
    let told = set(&hub, |set| condition(set, "HelmFallback")["status"] == "True").await;
    let told = condition(&told, "HelmFallback");
    assert_eq!(told["reason"], "RenderedByHelm");
    let message = told["message"].as_str().unwrap();
    let parts = ["shop/keys", "genPrivateKey", "web/templates/key.yaml:5"];
    assert!(parts.iter().all(|part| message.contains(part)), "{message}");

    let families = hub.process.metrics.gather();
    let runs = families.iter().find(|family| family.name == "skein_hub_helm_runs_total").unwrap();
    let rendered = runs.samples.iter().find(|(labels, _)| labels[0].1 == "rendered").unwrap();
    assert!(rendered.1 >= 1.0, "{runs:?}");
    let said = |event: &Event| event.reason.as_deref() == Some("RenderedByHelm");
    hub.until_listed::<Event>("an Event says so", said).await;
    let kept =
        |secret: &Secret| secret.metadata.name.as_deref().is_some_and(|name| name.starts_with("skein-helm-"));
    hub.until_listed::<Secret>("what helm printed is kept", kept).await;

    // Helm drew a key: it stays over a restart, and is another one for other values.
    hub.restart().await;
    hub.link(&edge, true);
    assert_eq!(digest(&hub, &edge).await, first);
    coloured(&hub, "blue").await;
    hub.plan(&edge, |_| {
        let plan = hub.plans.get(&edge);
        plan.is_some_and(|plan| plan.content.body().units[0].objects[0].digest.to_string() != first)
    })
    .await;
}

#[tokio::test]
async fn a_stand_in_for_helm_renders_what_the_engine_cannot() {
    it_falls_back(root().join("hub/tests/support/helm")).await;
}

#[tokio::test]
#[ignore = "real parts: tests/run"]
async fn the_real_helm_renders_what_the_engine_cannot() {
    let binary = std::env::var_os("SKEIN_HELM").expect("SKEIN_HELM names the helm binary of the real parts");
    it_falls_back(binary.into()).await;
}

#[tokio::test]
async fn without_a_binary_the_condition_says_cause_and_cure() {
    let hub = Hub::start().await;
    store(&hub).await;
    service(&hub, "red").await;
    let told = set(&hub, |set| condition(set, "ServiceSetProfile")["status"] == "False").await;
    let message = condition(&told, "ServiceSetProfile")["message"].as_str().unwrap().to_owned();
    for part in ["web/templates/key.yaml:5", "genPrivateKey \"dsa\"", "--helm FILE"] {
        assert!(message.contains(part), "{message}");
    }
}

#[tokio::test]
async fn a_binary_that_is_not_there_is_named() {
    let hub = Hub::with_helm(Some("/nowhere/helm".into())).await;
    store(&hub).await;
    service(&hub, "red").await;
    let told = set(&hub, |set| {
        let told = condition(set, "ServiceSetProfile");
        told["status"] == "False"
            && told["message"].as_str().is_some_and(|text| text.contains("/nowhere/helm"))
    })
    .await;
    assert!(condition(&told, "HelmFallback").is_null());
    let listed = kube::Api::<Secret>::all(hub.client.clone()).list(&ListParams::default()).await.unwrap();
    assert!(listed.items.iter().all(|one| !one.metadata.name.as_deref().unwrap().starts_with("skein-helm-")));
}
