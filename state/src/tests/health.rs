//! Health by rules, all the time; and what alternates.

use protocol::policy::{HealthRule, HealthRules};
use protocol::report::UnitState;
use serde_json::json;

use super::{MAPS, Planned, World, config_map, deployment};

fn rule(group: &str, kind: &str, healthy: &str, message: &str) -> HealthRule {
    HealthRule {
        source: "kcm-system/rules#0".into(),
        group: group.into(),
        kind: kind.into(),
        cluster_scoped: false,
        healthy: healthy.into(),
        message: message.into(),
    }
}

fn ruled(objects: Vec<serde_json::Value>, rules: Vec<HealthRule>) -> Planned {
    Planned::new("web", objects).with(|unit| unit.set_health_rules(&HealthRules(rules)))
}

const WEB: &str = "/apis/apps/v1/namespaces/shop/deployments/web";

#[tokio::test]
async fn a_rule_decides_as_long_as_the_unit_is_there_and_other_rules_decide_anew() {
    let world = World::new().await;
    let mut running = world.start().await;
    let calm = || {
        let healthy = "!has(obj.metadata.annotations) || !('alarm' in obj.metadata.annotations)";
        rule("apps", "Deployment", healthy, "'alarm: ' + obj.metadata.annotations['alarm']")
    };
    running.carry_out(world.plan(vec![ruled(vec![deployment("web", 1)], vec![calm()])])).await;
    assert_eq!(running.state("web"), Some(UnitState::Deployed), "{}", running.message("web"));
    world.edit(WEB, json!({"metadata": {"annotations": {"alarm": "fire"}}})).await;
    running.until_state("web", UnitState::Provisioning).await;
    let told = "Deployment.apps shop/web: alarm: fire (rule kcm-system/rules#0)";
    assert_eq!(running.message("web"), told);
    running.kill().await;
    // Nothing is forgotten over a restart.
    let mut running = world.start().await;
    running.until("told again", |running| running.message("web") == told).await;
    // Another rule, the same content: nothing is applied, and it is judged by that one.
    let before = world.wire.writes().len();
    let lax = rule("apps", "Deployment", "true", "''");
    running.carry_out(world.plan(vec![ruled(vec![deployment("web", 1)], vec![lax])])).await;
    running.until_state("web", UnitState::Deployed).await;
    running.carry_out(world.plan(vec![ruled(vec![deployment("web", 1)], vec![calm()])])).await;
    running.until("the alarm is seen", |running| running.message("web") == told).await;
    world.edit(WEB, json!({"metadata": {"annotations": {"alarm": null}}})).await;
    running.until_state("web", UnitState::Deployed).await;
    assert_eq!(world.wire.writes().len(), before, "{:?}", &world.wire.writes()[before..]);
    running.kill().await;
}

#[tokio::test]
async fn a_broken_rule_harms_its_own_unit_only_and_says_where_it_stands() {
    let world = World::new().await;
    let mut running = world.start().await;
    let broken = ruled(vec![config_map("a", "1")], vec![rule("", "ConfigMap", "obj.data.(", "''")]);
    let fine = Planned::new("fine", vec![config_map("b", "1")]);
    running.offer(world.plan(vec![broken, fine])).await;
    running.until_state("fine", UnitState::Deployed).await;
    running
        .until("the rule is named", |running| {
            let message = running.message("web");
            message.contains("is not understood: healthy") && message.contains("(rule kcm-system/rules#0)")
        })
        .await;
    assert_ne!(running.state("web"), Some(UnitState::Deployed));
    running.kill().await;
}

#[tokio::test]
async fn a_rule_sees_the_content_of_kinds_of_which_only_metadata_is_watched() {
    let world = World::new().await;
    let mut running = world.start().await;
    let on = rule("", "ConfigMap", "obj.data.key == '1' && !has(obj.data.off)", "'is off'");
    running.carry_out(world.plan(vec![ruled(vec![config_map("a", "1")], vec![on])])).await;
    assert_eq!(running.state("web"), Some(UnitState::Deployed), "{}", running.message("web"));
    world.edit(&format!("{MAPS}/a"), json!({"data": {"off": "yes"}})).await;
    running.until("it is off", |running| running.message("web").contains("is off")).await;
    world.edit(&format!("{MAPS}/a"), json!({"data": {"off": null}})).await;
    running.until_state("web", UnitState::Deployed).await;
    running.kill().await;
}

#[tokio::test]
async fn a_unit_that_alternates_is_told_as_flapping_with_a_count_and_floods_nothing() {
    let world = World::new().await;
    let mut running = world.start().await;
    let calm = rule("apps", "Deployment", "!has(obj.metadata.annotations.alarm)", "'alarm'");
    running.carry_out(world.plan(vec![ruled(vec![deployment("web", 1)], vec![calm])])).await;
    let snapshot = |running: &super::Running| running.handle().snapshot().remove(0);
    // Until the engine has seen a turn, the next one is not made.
    for turn in 0..3 {
        for (alarm, state) in [(json!("x"), UnitState::Provisioning), (json!(null), UnitState::Deployed)] {
            world.edit(WEB, json!({"metadata": {"annotations": {"alarm": alarm}}})).await;
            running.until(&format!("turn {turn}"), |running| running.state("web") == Some(state)).await;
        }
    }
    let event = world.told_of("Recovered", "Deployment", "web").await;
    assert_eq!(event["message"], "service shop/web: version \"1.0.0\" is healthy again");
    world.edit(WEB, json!({"metadata": {"annotations": {"alarm": "x"}}})).await;
    running.until("flapping", |running| running.message("web").contains("is flapping")).await;
    let message = running.message("web").to_owned();
    assert!(message.contains("stopped being healthy 4 times") && message.contains("alarm"), "{message}");
    let event = world.told_of("Flapping", "Deployment", "web").await;
    assert!(event["message"].as_str().unwrap().contains("stopped being healthy 4 times"), "{event:#}");
    let told = snapshot(&running);
    for _ in 0..3 {
        for alarm in [json!(null), json!("x")] {
            world.edit(WEB, json!({"metadata": {"annotations": {"alarm": alarm}}})).await;
        }
    }
    // What is applied next passes through the same watch: by then the turns were seen.
    world.edit(WEB, json!({"metadata": {"annotations": {"alarm": null}}, "spec": {"replicas": 2}})).await;
    world.becomes(WEB, "/spec/replicas", json!(1)).await;
    let now = snapshot(&running);
    assert!(now == told || now.message.contains("8 times"), "{now:?}");
    assert_eq!(now.state, UnitState::Provisioning);
    running.kill().await;
}

#[tokio::test]
async fn a_workload_that_waits_says_why_its_pods_do_not_run() {
    let world = World::new().await;
    let mut running = world.start().await;
    let unit = |processors: &str| {
        let mut web = deployment("web", 1);
        web["spec"]["template"]["spec"]["containers"][0]["resources"]["requests"]["cpu"] = json!(processors);
        Planned::new("web", vec![web]).with(|unit| unit.timeout_ms = 2000)
    };
    running.offer(world.plan(vec![unit("100000")])).await;
    running
        .until("the pod is named with its reason", |running| {
            let message = running.message("web");
            message.contains("; pod web-") && message.contains(": Unschedulable: ")
        })
        .await;
    // It is no longer said when all is well.
    running.offer(world.plan(vec![unit("1")])).await;
    running.until("it is deployed", |running| running.state("web") == Some(UnitState::Deployed)).await;
    assert_eq!(running.message("web"), "");
    running.kill().await;
}

/// A pod that an operator made for the release: not an object of the plan.
fn made_by_others(name: &str, labels: serde_json::Value) -> serde_json::Value {
    json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "labels": labels},
        "spec": {"containers": [{"name": "c", "image": "i"}]}})
}

#[tokio::test]
async fn a_rule_is_asked_of_what_others_made_for_the_release_all_the_time() {
    const PODS: &str = "/api/v1/namespaces/shop/pods";
    let world = World::new().await;
    world.create("/api/v1/namespaces", json!({"metadata": {"name": "shop"}})).await;
    world.create(PODS, made_by_others("worker", json!({"app.kubernetes.io/instance": "web"}))).await;
    world.create(PODS, made_by_others("stranger", json!({"app.kubernetes.io/instance": "other"}))).await;
    let mut running = world.start().await;
    let healthy = "has(obj.metadata.annotations) && 'ok' in obj.metadata.annotations";
    let unit = || ruled(vec![config_map("a", "1")], vec![rule("", "Pod", healthy, "'has no mark'")]);
    running.offer(world.plan(vec![unit()])).await;
    let told = "Pod shop/worker: has no mark (rule kcm-system/rules#0)";
    running.until("it waits for the worker", |running| running.message("web") == told).await;
    assert_eq!(running.state("web"), Some(UnitState::Provisioning));
    let object = &running.units["web"].objects[0];
    assert_eq!(
        (object.key.name.as_str(), object.message.as_str()),
        ("worker", &told["Pod shop/worker: ".len()..])
    );
    assert_eq!(running.units["web"].objects_total, 1, "it is not the unit's");

    let worker = format!("{PODS}/worker");
    world.edit(&worker, json!({"metadata": {"annotations": {"ok": "yes"}}})).await;
    running.until_state("web", UnitState::Deployed).await;
    world.edit(&worker, json!({"metadata": {"annotations": {"ok": null}}})).await;
    running.until_state("web", UnitState::Provisioning).await;
    running.kill().await;
    // After a restart it is looked at anew; and what is gone is no complaint.
    let mut running = world.start().await;
    running.until("told again", |running| running.message("web") == told).await;
    world.delete(&worker).await;
    running.until_state("web", UnitState::Deployed).await;
    // Without the rule nobody asks.
    world.create(PODS, made_by_others("another", json!({"app": "web"}))).await;
    running.until_state("web", UnitState::Provisioning).await;
    running.carry_out(world.plan(vec![ruled(vec![config_map("a", "1")], Vec::new())])).await;
    running.until_state("web", UnitState::Deployed).await;
    running.kill().await;
}

#[tokio::test]
async fn a_rule_for_a_kind_that_comes_later_is_asked_once_it_is_there() {
    let world = World::new().await;
    let mut running = world.start().await;
    let unit = ruled(
        vec![config_map("a", "1")],
        vec![rule("example.org", "Widget", "has(obj.spec) && obj.spec.size > 2", "'is too small'")],
    );
    running.carry_out(world.plan(vec![unit])).await;
    assert_eq!(running.state("web"), Some(UnitState::Deployed), "{}", running.message("web"));
    world.create("/apis/apiextensions.k8s.io/v1/customresourcedefinitions", super::apply::widgets()).await;
    let path = "/apis/example.org/v1/namespaces/shop/widgets";
    world.comes("/apis/example.org/v1").await;
    let widget = json!({"apiVersion": "example.org/v1", "kind": "Widget", "spec": {"size": 1},
        "metadata": {"name": "small", "labels": {"release": "web"}}});
    world.create(path, widget).await;
    running
        .until("the widget is too small", |running| {
            running.message("web") == "Widget.example.org shop/small: is too small (rule kcm-system/rules#0)"
        })
        .await;
    world.edit(&format!("{path}/small"), json!({"spec": {"size": 3}})).await;
    running.until_state("web", UnitState::Deployed).await;
    running.kill().await;
}
