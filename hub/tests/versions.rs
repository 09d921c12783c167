//! Edges whose agent is of an earlier version: they get what they can carry out, the rest is withheld, and everybody is
//! told.

#![allow(clippy::unwrap_used, clippy::panic, clippy::expect_used)]

mod support;

use hub::explain::{ANY_NAMESPACE, Subject};
use hub::services::target::{TargetKind, TargetName};
use protocol::id::AgentId;
use protocol::report::{Report, UnitState};
use protocol::version::Speaks;
use serde_json::{Value, json};
use support::{Hub, K0RDENT, PATIENCE, condition, has, service, store};

/// The agent tells its version, with a report that tells nothing else.
fn tell(hub: &Hub, edge: &AgentId, speaks: Speaks) {
    hub.observed.update(edge, |view| {
        "edge-agent 0.0.9".clone_into(&mut view.software);
        false
    });
    let ext = speaks.tell().into_iter().collect();
    hub.observed.report(edge, Report { ext, ..Report::default() }, 1_700_000_000_001);
}

/// A service of one object for every store, with these fields beside its services.
async fn declare(hub: &Hub, name: &str, fields: Value) {
    let map =
        json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": {"at": "1"}});
    let address = hub.serve("/map.yaml", map.to_string().into_bytes()).await;
    let remote = json!({"http": {"url": format!("{address}/map.yaml"), "interval": "1h"}});
    service(hub, name, json!({"resources": {"deploymentType": "Remote", "remoteSourceSpec": remote}})).await;
    let mut spec = json!({
        "clusterSelector": {"matchLabels": {"site": "store"}},
        "serviceSpec": {"services": [{"name": name, "namespace": "shop", "template": name}]},
    });
    spec["serviceSpec"].as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
    hub.apply(json!({
        "apiVersion": K0RDENT, "kind": "MultiClusterService", "metadata": {"name": name}, "spec": spec,
    }))
    .await;
}

fn names(units: &[protocol::plan::UnitId]) -> Vec<&str> {
    let mut names: Vec<_> = units.iter().map(|unit| unit.name.as_str()).collect();
    names.sort_unstable();
    names
}

/// What is told of a service of `store-1`, once it is told so.
async fn told(hub: &Hub, service: &str, parts: &[&str]) {
    let says = |set: &api::k0rdent::ServiceSet| {
        let services = set.status.iter().flat_map(|status| &status.services);
        services.filter(|one| one.name == service).any(|one| {
            let message = one.failure_message.as_deref().unwrap_or_default();
            parts.iter().all(|part| message.contains(part))
        })
    };
    hub.until_listed::<api::k0rdent::ServiceSet>(&format!("{service} tells {parts:?}"), says).await;
}

#[tokio::test]
async fn what_an_edge_of_before_would_carry_out_wrongly_is_withheld_and_everything_else_is_not() {
    let hub = Hub::start().await;
    let edge = store(&hub).await;
    tell(&hub, &edge, Speaks::of_minor(0));
    declare(&hub, "plain", json!({})).await;
    declare(&hub, "careful", json!({"syncMode": "DryRun"})).await;
    hub.plan(&edge, |units| names(units) == ["plain"]).await;
    told(&hub, "careful", &["edge-agent 0.0.9", "1.0", "dry-run (1.1)", env!("CARGO_PKG_VERSION")]).await;
    let older = |it: &Value| {
        let current = condition(it, "AgentCurrent");
        let message = current["message"].as_str().unwrap_or_default();
        current["reason"] == "AgentOlder" && message.contains("dry-run (1.1): a dry run would be carried out")
    };
    let shown = hub.until("Edge", "kcm-system", "store-1", older).await;
    assert_eq!(shown["status"]["protocol"], "1.0");
    let lacks = shown["status"]["lacks"].as_array().unwrap();
    assert!(lacks.contains(&json!("dry-run")) && !lacks.contains(&json!("delegated-renewal")), "{lacks:?}");
    // It is upgraded, and gets the rest.
    tell(&hub, &edge, Speaks::HERE);
    hub.plan(&edge, |units| names(units) == ["careful", "plain"]).await;
    let shown = hub.until("Edge", "kcm-system", "store-1", |it| has(it, "AgentCurrent", "True")).await;
    assert_eq!(shown["status"]["lacks"], Value::Null);
}

#[tokio::test]
async fn what_needs_a_feature_waits_for_the_first_report_and_a_hub_that_restarts_knows_the_version() {
    let mut hub = Hub::start().await;
    let edge = hub.enrol("store-1", "kcm-system", "eu", 3, json!({}), json!({"site": "store"})).await;
    declare(&hub, "plain", json!({})).await;
    declare(&hub, "careful", json!({"syncMode": "DryRun"})).await;
    hub.plan(&edge, |units| names(units) == ["plain"]).await;
    told(&hub, "careful", &["not sent before the edge's agent has told its version", "dry-run"]).await;
    tell(&hub, &edge, Speaks::HERE);
    hub.plan(&edge, |units| names(units) == ["careful", "plain"]).await;
    hub.until("Edge", "kcm-system", "store-1", |it| it["status"]["protocol"] == "1.3").await;
    hub.restart().await;
    hub.plan(&edge, |units| names(units) == ["careful", "plain"]).await;
}

#[tokio::test]
async fn an_edge_that_is_put_back_keeps_its_plan_rather_than_get_one_that_it_would_carry_out_wrongly() {
    let hub = Hub::start().await;
    let edge = store(&hub).await;
    tell(&hub, &edge, Speaks::HERE);
    let latitude = json!({"provider": {"config": {"driftIgnore": [{"kind": "ConfigMap"}]}}});
    declare(&hub, "shared", latitude).await;
    hub.plan(&edge, |units| names(units) == ["shared"]).await;
    hub.carry_out(&edge, UnitState::Deployed);
    let before = hub.plans.get(&edge).unwrap().head;
    tell(&hub, &edge, Speaks::of_minor(0));
    let held = |it: &Value| {
        let message = condition(it, "UpToDate")["message"].as_str().unwrap_or_default();
        ["the plan is held back", "shop/shared", "drift-latitude", "1.0"]
            .iter()
            .all(|part| message.contains(part))
    };
    hub.until("Edge", "kcm-system", "store-1", held).await;
    declare(&hub, "plain", json!({})).await;
    told(&hub, "plain", &["the plan is held back"]).await;
    assert_eq!(hub.plans.get(&edge).unwrap().head, before);
    tell(&hub, &edge, Speaks::HERE);
    hub.plan(&edge, |units| names(units) == ["plain", "shared"]).await;
}

#[tokio::test]
async fn a_hold_that_the_agent_would_not_know_is_kept_by_the_hub() {
    let hub = Hub::start().await;
    let edge = store(&hub).await;
    tell(&hub, &edge, Speaks::of_minor(0));
    declare(&hub, "first", json!({})).await;
    hub.plan(&edge, |units| names(units) == ["first"]).await;
    let held = |hold: Value| {
        json!({"apiVersion": "skein.dev/v1alpha1", "kind": "Edge",
            "metadata": {"name": "store-1", "namespace": "kcm-system"}, "spec": {"region": "eu", "hold": hold}})
    };
    hub.apply(held(json!({"reason": "stocktaking"}))).await;
    let says = |it: &Value| {
        let message = condition(it, "UpToDate")["message"].as_str().unwrap_or_default();
        message.contains("spec.hold") && message.contains("hold (1.1)")
    };
    hub.until("Edge", "kcm-system", "store-1", says).await;
    declare(&hub, "second", json!({})).await;
    told(&hub, "second", &["the plan is held back by the hub"]).await;
    let plan = hub.plans.get(&edge).unwrap().content.body();
    assert_eq!((plan.units.len(), plan.settings.contains_key("hold")), (1, false));
    // One that is over does not hold, nor does none.
    hub.apply(held(json!({"until": "2020-01-01T00:00:00Z"}))).await;
    hub.plan(&edge, |units| names(units) == ["first", "second"]).await;
}

#[tokio::test]
async fn what_an_edge_of_before_does_not_do_for_a_service_is_explained() {
    let hub = Hub::start().await;
    let edge = store(&hub).await;
    tell(&hub, &edge, Speaks::of_minor(0));
    declare(&hub, "urgent", json!({})).await;
    hub.apply(json!({
        "apiVersion": K0RDENT, "kind": "MultiClusterService",
        "metadata": {"name": "urgent", "annotations": {"skein.dev/emergency": "true"}},
        "spec": {
            "clusterSelector": {"matchLabels": {"site": "store"}},
            "serviceSpec": {"services": [{"name": "urgent", "namespace": "shop", "template": "urgent"}]},
        },
    }))
    .await;
    hub.plan(&edge, |units| names(units) == ["urgent"]).await;
    hub.carry_out(&edge, UnitState::Deployed);
    let subject = Subject::Target(TargetName::new(TargetKind::Edge, ANY_NAMESPACE, "store-1"));
    let asking = async {
        loop {
            let answer =
                hub.controllers.explainer.ask(subject.clone(), Some("urgent".to_owned())).await.unwrap();
            let way = answer.services.iter().flat_map(|service| &service.way);
            let told = way.filter(|step| step.step == "version").map(|step| step.text.clone()).next();
            if let Some(told) = told {
                return told;
            }
            tokio::task::yield_now().await;
        }
    };
    let told = tokio::time::timeout(PATIENCE, asking).await.expect("it is explained");
    assert!(told.contains("protocol 1.0") && told.contains("emergency (1.1)"), "{told}");
}
