//! Rollouts from the API and back, with agents that are played: who gets which revision when, and that a hub that is
//! started again goes on where it was.

#![allow(clippy::unwrap_used, clippy::panic, clippy::expect_used)]

mod support;

use hub::explain::{Standing, Step, Subject};
use hub::services::target::{TargetKind, TargetName};
use k8s_openapi::api::events::v1::Event;
use protocol::id::AgentId;
use protocol::report::UnitState;
use serde_json::{Value, json};
use support::{Hub, K0RDENT, condition, has};

/// A template whose only ConfigMap says its name.
async fn template(hub: &Hub, name: &str) {
    let manifest = json!({
        "apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "web", "namespace": "shop"},
        "data": {"revision": name},
    });
    hub.apply(json!({
        "apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, "namespace": "kcm-system"},
        "data": {"web.yaml": manifest.to_string()},
    }))
    .await;
    hub.apply(json!({
        "apiVersion": K0RDENT, "kind": "ServiceTemplate", "metadata": {"name": name, "namespace": "kcm-system"},
        "spec": {"resources": {
            "deploymentType": "Remote", "path": "",
            "localSourceRef": {"kind": "ConfigMap", "name": name},
        }},
    }))
    .await;
}

async fn service(hub: &Hub, template: &str, rollout: Value) {
    hub.apply(json!({
        "apiVersion": K0RDENT, "kind": "MultiClusterService", "metadata": {"name": "web"},
        "spec": {
            "clusterSelector": {"matchLabels": {"site": "store"}},
            "rollout": rollout,
            "serviceSpec": {"services": [{"name": "web", "namespace": "shop", "template": template}]},
        },
    }))
    .await;
}

async fn say(hub: &Hub, command: &str) {
    let object = json!({"apiVersion": K0RDENT, "kind": "MultiClusterService", "metadata": {}});
    let patch = json!({"metadata": {"annotations": {"skein.dev/rollout": command}}});
    let parameters = kube::api::PatchParams::default();
    hub.api(&object).patch("web", &parameters, &kube::api::Patch::Merge(patch)).await.unwrap();
}

/// Stores in two zones, linked.
async fn fleet(hub: &Hub, count: u8) -> Vec<AgentId> {
    hub.link(&AgentId::Region("eu".parse().unwrap()), true);
    let mut edges = Vec::new();
    for at in 1..=count {
        let zone = if at == 1 { "canary" } else { "other" };
        let labels = json!({"site": "store", "zone": zone});
        let edge = hub.enrol(&format!("store-{at}"), "kcm-system", "eu", at, json!({}), labels).await;
        hub.link(&edge, true);
        edges.push(edge);
    }
    edges
}

/// The template of the service in an agent's plan.
fn planned(hub: &Hub, agent: &AgentId) -> Option<String> {
    let plan = hub.plans.get(agent)?;
    plan.content.body().units.first().map(|unit| unit.template.clone())
}

async fn until_planned(hub: &Hub, agent: &AgentId, template: &str) {
    hub.plan(agent, |_| planned(hub, agent).as_deref() == Some(template)).await;
}

async fn until_phase(hub: &Hub, phase: &str, revision_counts: [i64; 2]) -> Value {
    let [updated, ready] = revision_counts;
    hub.until("MultiClusterService", "", "web", |it| {
        let rollout = &it["status"]["rollout"];
        rollout["phase"] == phase && rollout["updated"] == updated && rollout["ready"] == ready
    })
    .await
}

/// What is told of a store's turn in the rollout.
async fn turn(hub: &Hub, name: &str) -> Step {
    let target = Subject::Target(TargetName::new(TargetKind::Edge, "kcm-system", name));
    let told = hub.controllers.explainer.ask(target, Some("web".to_owned())).await.unwrap();
    let mut steps = told.services.into_iter().flat_map(|service| service.way);
    steps.find(|step| step.step == "rollout").expect("its owner has a rollout")
}

fn canary() -> Value {
    json!({"name": "canary", "selector": {"matchLabels": {"zone": "canary"}}})
}

/// A fleet that has revision `web-1`, completed.
async fn settled(hub: &Hub, rollout: Value, count: u8) -> Vec<AgentId> {
    for name in ["web-1", "web-2", "web-3"] {
        template(hub, name).await;
    }
    let edges = fleet(hub, count).await;
    service(hub, "web-1", rollout).await;
    let mut left = edges.clone();
    let mut changes = hub.plans.subscribe();
    let all = async {
        while !left.is_empty() {
            left.retain(|edge| {
                let there = planned(hub, edge).is_some();
                if there {
                    hub.carry_out(edge, UnitState::Deployed);
                }
                !there
            });
            if !left.is_empty() {
                changes.next().await;
            }
        }
    };
    tokio::time::timeout(support::PATIENCE, all).await.expect("the first rollout reaches everybody");
    until_phase(hub, "Completed", [count.into(), count.into()]).await;
    edges
}

#[tokio::test]
async fn a_change_reaches_wave_after_wave_and_the_others_keep_what_they_have() {
    let hub = Hub::start().await;
    let rollout = json!({"waves": [canary()], "maxUnavailable": 1});
    let edges = settled(&hub, rollout.clone(), 3).await;
    service(&hub, "web-2", rollout).await;
    until_planned(&hub, &edges[0], "web-2").await;
    let shown = until_phase(&hub, "Progressing", [1, 0]).await;
    assert_eq!(shown["status"]["rollout"]["wave"], "canary");
    assert!(has(&shown, "RolloutComplete", "False") && has(&shown, "Ready", "False"));
    assert_eq!(planned(&hub, &edges[1]).as_deref(), Some("web-1"));
    assert_eq!(planned(&hub, &edges[2]).as_deref(), Some("web-1"));
    let turn = turn(&hub, "store-1").await;
    assert!(turn.standing == Standing::Done && turn.text.contains("wave canary (1 of 2)"), "{turn:?}");
    let turn = self::turn(&hub, "store-2").await;
    assert_eq!(turn.standing, Standing::Waiting);
    let part = "its turn is in wave rest (2 of 2), which comes after wave canary (1 of 2) since 20";
    assert!(turn.text.contains(part) && turn.text.contains("until then it has revision"), "{turn:?}");
    hub.carry_out(&edges[0], UnitState::Deployed);
    until_planned(&hub, &edges[1], "web-2").await;
    until_phase(&hub, "Progressing", [2, 1]).await;
    assert_eq!(planned(&hub, &edges[2]).as_deref(), Some("web-1"));
    hub.carry_out(&edges[1], UnitState::Deployed);
    until_planned(&hub, &edges[2], "web-2").await;
    hub.carry_out(&edges[2], UnitState::Deployed);
    let shown = until_phase(&hub, "Completed", [3, 3]).await;
    assert!(has(&shown, "RolloutComplete", "True") && has(&shown, "Ready", "True"), "{shown:#}");
    assert_eq!(shown["status"]["rollout"]["completedRevision"], shown["status"]["rollout"]["revision"]);
    assert_eq!(shown["spec"]["rollout"]["maxUnavailable"], 1);
}

#[tokio::test]
async fn the_first_rollout_of_all_installs_wave_by_wave() {
    let hub = Hub::start().await;
    template(&hub, "web-1").await;
    let edges = fleet(&hub, 2).await;
    service(&hub, "web-1", json!({"waves": [canary()]})).await;
    until_planned(&hub, &edges[0], "web-1").await;
    let shown = until_phase(&hub, "Progressing", [1, 0]).await;
    let waiting = &shown["status"]["matchingClusters"][1];
    assert_eq!((&waiting["name"], &waiting["reason"]), (&json!("store-2"), &json!("WaitingForRollout")));
    assert_eq!(planned(&hub, &edges[1]), None);
    hub.carry_out(&edges[0], UnitState::Deployed);
    until_planned(&hub, &edges[1], "web-1").await;
    hub.carry_out(&edges[1], UnitState::Deployed);
    until_phase(&hub, "Completed", [2, 2]).await;
}

#[tokio::test]
async fn a_hub_that_is_killed_in_the_middle_goes_on_where_it_was() {
    let mut hub = Hub::start().await;
    let rollout = json!({"waves": [canary()], "maxUnavailable": 1});
    let edges = settled(&hub, rollout.clone(), 3).await;
    service(&hub, "web-2", rollout).await;
    until_planned(&hub, &edges[0], "web-2").await;
    until_phase(&hub, "Progressing", [1, 0]).await;
    hub.restart().await;
    // Whoever had its turn has the new revision from the first plan on, the others still the old one.
    for (edge, expected) in edges.iter().zip(["web-2", "web-1", "web-1"]) {
        hub.plan(edge, |units| !units.is_empty()).await;
        assert_eq!(planned(&hub, edge).as_deref(), Some(expected));
    }
    hub.link(&AgentId::Region("eu".parse().unwrap()), true);
    for edge in &edges {
        hub.link(edge, true);
        hub.carry_out(edge, UnitState::Deployed);
    }
    for edge in &edges[1..] {
        until_planned(&hub, edge, "web-2").await;
        hub.carry_out(edge, UnitState::Deployed);
    }
    until_phase(&hub, "Completed", [3, 3]).await;
}

#[tokio::test]
async fn the_time_that_counts_for_a_cluster_survives_a_kill_of_the_hub() {
    let mut hub = Hub::start().await;
    let rollout = json!({"waves": [canary()], "abortOnFailure": 1, "failureGrace": "1h", "deadline": "2h"});
    let edges = settled(&hub, rollout.clone(), 2).await;
    service(&hub, "web-2", rollout).await;
    until_planned(&hub, &edges[0], "web-2").await;
    hub.carry_out(&edges[0], UnitState::Failed);
    let clock = |it: &Value| it["status"]["rollout"]["clocks"][0].clone();
    let shown = hub.until("MultiClusterService", "", "web", |it| clock(it)["failing"].is_string()).await;
    let before = clock(&shown);
    assert!(before["connected"].is_string() && before["given"].is_string(), "{before}");
    hub.restart().await;
    hub.plan(&edges[0], |units| !units.is_empty()).await;
    hub.link(&AgentId::Region("eu".parse().unwrap()), true);
    for (edge, state) in edges.iter().zip([UnitState::Failed, UnitState::Deployed]) {
        hub.link(edge, true);
        hub.carry_out(edge, state);
    }
    // The hub has looked at it again when it has done what a person said.
    say(&hub, "pause").await;
    let shown =
        hub.until("MultiClusterService", "", "web", |it| it["status"]["rollout"]["handled"] == "pause").await;
    let after = clock(&shown);
    for field in ["set", "revision", "given", "connected", "failing"] {
        assert_eq!(after[field], before[field], "{field}: {before} {after}");
    }
}

#[tokio::test]
async fn a_canary_that_fails_takes_everybody_back_and_a_hub_killed_then_stays_there() {
    let mut hub = Hub::start().await;
    let rollout = json!({"waves": [canary()], "abortOnFailure": 1, "failureGrace": "100ms"});
    let edges = settled(&hub, rollout.clone(), 3).await;
    service(&hub, "web-2", rollout.clone()).await;
    until_planned(&hub, &edges[0], "web-2").await;
    hub.carry_out(&edges[0], UnitState::Failed);
    until_planned(&hub, &edges[0], "web-1").await;
    hub.carry_out(&edges[0], UnitState::Deployed);
    let shown = until_phase(&hub, "Aborted", [3, 3]).await;
    assert_eq!(condition(&shown, "RolloutComplete")["reason"], "Aborted");
    hub.until_listed::<Event>("an Event of the rollback", |event| {
        event.reason.as_deref() == Some("RolloutRollingBack") && event.type_.as_deref() == Some("Warning")
    })
    .await;
    let message = shown["status"]["rollout"]["message"].as_str().unwrap();
    assert!(message.contains("1 of 1 clusters failed"), "{message}");
    hub.restart().await;
    for edge in &edges {
        hub.plan(edge, |units| !units.is_empty()).await;
        assert_eq!(planned(&hub, edge).as_deref(), Some("web-1"));
    }
    hub.link(&AgentId::Region("eu".parse().unwrap()), true);
    for edge in &edges {
        hub.link(edge, true);
        hub.carry_out(edge, UnitState::Deployed);
    }
    // What cures it is a new revision.
    service(&hub, "web-3", rollout).await;
    until_planned(&hub, &edges[0], "web-3").await;
    assert_eq!(planned(&hub, &edges[1]).as_deref(), Some("web-1"));
}

#[tokio::test]
async fn an_edge_that_is_away_is_no_failure_and_gets_its_turn_when_it_is_back() {
    let hub = Hub::start().await;
    let rollout = json!({"maxUnavailable": "100%", "abortOnFailure": 1, "away": {"max": 1}});
    let edges = settled(&hub, rollout.clone(), 3).await;
    hub.link(&edges[2], false);
    service(&hub, "web-2", rollout).await;
    for edge in &edges[..2] {
        until_planned(&hub, edge, "web-2").await;
        hub.carry_out(edge, UnitState::Deployed);
    }
    let shown = until_phase(&hub, "Completed", [2, 2]).await;
    assert_eq!(
        (&shown["status"]["rollout"]["away"], &shown["status"]["rollout"]["failed"]),
        (&json!(1), &json!(0))
    );
    assert_eq!(planned(&hub, &edges[2]).as_deref(), Some("web-1"));
    hub.link(&edges[2], true);
    until_planned(&hub, &edges[2], "web-2").await;
    hub.carry_out(&edges[2], UnitState::Deployed);
    until_phase(&hub, "Completed", [3, 3]).await;
}

#[tokio::test]
async fn what_a_person_says_is_done_once_and_spec_stays_as_it_is() {
    let hub = Hub::start().await;
    let waves = json!([{"name": "canary", "edges": 1, "gate": "Manual"}]);
    let rollout = json!({"waves": waves, "maxUnavailable": "100%"});
    template(&hub, "web-1").await;
    let edges = fleet(&hub, 3).await;
    service(&hub, "web-1", rollout.clone()).await;
    say(&hub, "pause").await;
    hub.until("MultiClusterService", "", "web", |it| it["status"]["rollout"]["handled"] == "pause").await;
    say(&hub, "resume").await;
    let mut changes = hub.plans.subscribe();
    let first = async {
        loop {
            if let Some(edge) = edges.iter().find(|edge| planned(&hub, edge).is_some()) {
                return edge;
            }
            changes.next().await;
        }
    };
    let first = tokio::time::timeout(support::PATIENCE, first).await.unwrap();
    hub.carry_out(first, UnitState::Deployed);
    let shown = until_phase(&hub, "WaitingForGate", [1, 1]).await;
    let generation = shown["metadata"]["generation"].clone();
    say(&hub, "promote 1").await;
    for edge in edges.iter().filter(|edge| *edge != first) {
        until_planned(&hub, edge, "web-1").await;
        hub.carry_out(edge, UnitState::Deployed);
    }
    let shown = until_phase(&hub, "Completed", [3, 3]).await;
    assert_eq!(
        (&shown["metadata"]["generation"], &shown["status"]["rollout"]["handled"]),
        (&generation, &json!("promote 1"))
    );
}

#[tokio::test]
async fn a_rollout_that_is_added_to_what_runs_changes_nothing_and_one_that_is_taken_away_gives_everybody_the_newest()
 {
    let hub = Hub::start().await;
    for name in ["web-1", "web-2"] {
        template(&hub, name).await;
    }
    let edges = fleet(&hub, 2).await;
    hub.apply(json!({
        "apiVersion": K0RDENT, "kind": "MultiClusterService", "metadata": {"name": "web"},
        "spec": {
            "clusterSelector": {"matchLabels": {"site": "store"}},
            "serviceSpec": {"services": [{"name": "web", "namespace": "shop", "template": "web-1"}]},
        },
    }))
    .await;
    for edge in &edges {
        until_planned(&hub, edge, "web-1").await;
        hub.carry_out(edge, UnitState::Deployed);
    }
    hub.until("MultiClusterService", "", "web", |it| has(it, "Ready", "True")).await;
    // In one edit the services change and the rollout comes: what everybody has is the revision before.
    service(&hub, "web-2", json!({"waves": [canary()]})).await;
    until_planned(&hub, &edges[0], "web-2").await;
    until_phase(&hub, "Progressing", [1, 0]).await;
    assert_eq!(planned(&hub, &edges[1]).as_deref(), Some("web-1"));
    // As the test's own field manager, so that the field goes.
    hub.apply(json!({
        "apiVersion": K0RDENT, "kind": "MultiClusterService", "metadata": {"name": "web"},
        "spec": {
            "clusterSelector": {"matchLabels": {"site": "store"}},
            "serviceSpec": {"services": [{"name": "web", "namespace": "shop", "template": "web-2"}]},
        },
    }))
    .await;
    until_planned(&hub, &edges[1], "web-2").await;
    hub.until("MultiClusterService", "", "web", |it| it["status"]["rollout"].is_null()).await;
}

#[tokio::test]
async fn a_revision_that_comes_in_the_middle_takes_over_and_who_comes_then_has_the_last_completed_one() {
    let hub = Hub::start().await;
    let rollout = json!({"waves": [canary()], "maxUnavailable": 1});
    let edges = settled(&hub, rollout.clone(), 3).await;
    service(&hub, "web-2", rollout.clone()).await;
    until_planned(&hub, &edges[0], "web-2").await;
    hub.carry_out(&edges[0], UnitState::Failed);
    until_phase(&hub, "Progressing", [1, 0]).await;
    let labels = json!({"site": "store", "zone": "other"});
    let late = hub.enrol("store-9", "kcm-system", "eu", 9, json!({}), labels).await;
    hub.link(&late, true);
    until_planned(&hub, &late, "web-1").await;
    hub.carry_out(&late, UnitState::Deployed);
    service(&hub, "web-3", rollout).await;
    until_planned(&hub, &edges[0], "web-3").await;
    hub.carry_out(&edges[0], UnitState::Deployed);
    for edge in [&edges[1], &edges[2], &late] {
        until_planned(&hub, edge, "web-3").await;
        hub.carry_out(edge, UnitState::Deployed);
    }
    until_phase(&hub, "Completed", [4, 4]).await;
    // Who leaves does not count any more.
    hub.delete("skein.dev/v1alpha1", "Edge", "kcm-system", "store-9").await;
    until_phase(&hub, "Completed", [3, 3]).await;
}

#[tokio::test]
async fn who_depends_on_what_has_not_come_yet_waits_for_it() {
    let hub = Hub::start().await;
    for name in ["web-1", "web-2"] {
        template(&hub, name).await;
    }
    let edges = fleet(&hub, 2).await;
    service(&hub, "web-1", json!({"waves": [canary()]})).await;
    hub.apply(json!({
        "apiVersion": K0RDENT, "kind": "MultiClusterService", "metadata": {"name": "after"},
        "spec": {
            "clusterSelector": {"matchLabels": {"site": "store"}}, "dependsOn": ["web"],
            "serviceSpec": {"services": [{"name": "after", "namespace": "shop", "template": "web-2"}]},
        },
    }))
    .await;
    hub.plan(&edges[0], |units| units.len() == 2).await;
    let shown = hub
        .until("MultiClusterService", "", "after", |it| {
            it["status"]["matchingClusters"].as_array().is_some_and(|all| all.len() == 2)
                && has(it, "MultiClusterServiceDependencyReady", "False")
        })
        .await;
    assert!(shown.to_string().contains("MultiClusterService web"), "{shown:#}");
    assert!(hub.plans.get(&edges[1]).is_none_or(|plan| plan.content.body().units.is_empty()));
}

#[tokio::test]
async fn who_does_not_answer_within_the_deadline_has_failed_though_nothing_happens() {
    let hub = Hub::start().await;
    template(&hub, "web-1").await;
    fleet(&hub, 1).await;
    service(&hub, "web-1", json!({"deadline": "1ms", "waves": [canary()]})).await;
    hub.until("MultiClusterService", "", "web", |it| it["status"]["rollout"]["failed"] == 1).await;
}
