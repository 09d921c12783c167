//! Applying: order, dependencies, health, failures that stay where they belong, restarts.

use std::sync::atomic::Ordering;

use protocol::plan::DriftMode;
use protocol::report::{ObjectHealth, UnitState};
use serde_json::json;

use super::{MAPS, Planned, World, config_map, deployment, unit_id};

#[tokio::test]
async fn a_unit_becomes_deployed_and_its_objects_name_it() {
    let world = World::new().await;
    let mut running = world.start().await;
    running
        .carry_out(world.plan(vec![Planned::new("web", vec![config_map("a", "1"), deployment("web", 2)])]))
        .await;
    assert_eq!(running.state("web"), Some(UnitState::Deployed));
    let unit = &running.units["web"];
    assert_eq!((unit.objects_total, unit.objects_ready, unit.message.as_str()), (2, 2, ""));
    assert!(unit.deployed_hash.is_some());
    let object = world.get(&format!("{MAPS}/a")).await.unwrap();
    assert_eq!(object["metadata"]["labels"]["skein.dev/unit"], "shop.web");
    assert_eq!(object["metadata"]["annotations"]["skein.dev/unit"], "default/set:shop/web");
    assert!(world.get("/api/v1/namespaces/shop").await.is_some());
    let full = running.handle().full_report().await;
    assert!(full.full && full.units.len() == 1);
    let cluster = full.cluster.unwrap();
    assert!(cluster.reachable && cluster.kubernetes_version.starts_with("v1."));
    assert_eq!((cluster.nodes_total, cluster.nodes_ready), (1, 1));
    assert_eq!(running.handle().metrics().units.get("Deployed"), Some(&1));
}

#[tokio::test]
async fn only_what_changed_is_written() {
    let world = World::new().await;
    let mut running = world.start().await;
    let unit = |value: &str| Planned::new("web", vec![config_map("a", "same"), config_map("b", value)]);
    running.carry_out(world.plan(vec![unit("1")])).await;
    world.wire.log.lock().unwrap().clear();
    running.carry_out(world.plan(vec![unit("2")])).await;
    let writes = world.wire.writes();
    assert_eq!(writes.len(), 1, "{writes:?}");
    assert!(writes[0].contains("/configmaps/b"));
    assert_eq!(world.get(&format!("{MAPS}/b")).await.unwrap()["data"]["key"], "2");
}

#[tokio::test]
async fn after_a_restart_nothing_is_written_and_the_state_is_what_it_was() {
    let world = World::new().await;
    let mut running = world.start().await;
    let plan = world.plan(vec![Planned::new("web", vec![config_map("a", "1"), deployment("web", 1)])]);
    running.carry_out(plan).await;
    let before = running.units["web"].clone();
    running.kill().await;
    world.wire.log.lock().unwrap().clear();
    let mut running = world.start().await;
    running
        .until("the cluster answers", |running| {
            running.last.cluster.as_ref().is_some_and(|cluster| cluster.nodes_ready == 1)
        })
        .await;
    let full = running.handle().full_report().await;
    assert_eq!(full.applied, full.stored);
    assert_eq!(full.units[0], before);
    world.edit(&format!("{MAPS}/a"), json!({"data": {"key": "changed"}})).await;
    running
        .until("a repair", |running| running.units.get("web").is_some_and(|unit| unit.drift_repairs == 1))
        .await;
    assert_eq!(world.wire.writes().len(), 1, "{:?}", world.wire.writes());
}

#[tokio::test]
async fn a_restart_without_api_server_keeps_the_last_state_and_repairs_when_it_answers() {
    let world = World::new().await;
    let mut running = world.start().await;
    running.carry_out(world.plan(vec![Planned::new("web", vec![config_map("a", "1")])])).await;
    running.kill().await;
    world.delete(&format!("{MAPS}/a")).await;
    world.wire.cut.store(true, Ordering::SeqCst);
    let mut running = world.start().await;
    running.until("a first report", |running| running.state("web").is_some()).await;
    assert_eq!(running.state("web"), Some(UnitState::Deployed));
    assert!(!running.handle().full_report().await.cluster.unwrap().reachable);
    world.wire.cut.store(false, Ordering::SeqCst);
    running
        .until("a repair", |running| running.units.get("web").is_some_and(|unit| unit.drift_repairs == 1))
        .await;
    assert!(world.get(&format!("{MAPS}/a")).await.is_some());
}

#[tokio::test]
async fn a_malformed_or_refused_object_fails_only_its_unit_and_says_why() {
    let world = World::new().await;
    let mut running = world.start().await;
    let broken =
        json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "bad"}, "data": {"k": 7}});
    let unknown = json!({"apiVersion": "example.org/v1", "kind": "Widget", "metadata": {"name": "w"}});
    running
        .carry_out(world.plan(vec![
            Planned::new("good", vec![config_map("a", "1")]),
            Planned::new("broken", vec![config_map("b", "1"), broken]),
            Planned::new("unknown", vec![unknown]),
        ]))
        .await;
    assert_eq!(running.state("good"), Some(UnitState::Deployed));
    assert_eq!(running.state("broken"), Some(UnitState::Failed));
    assert!(running.message("broken").starts_with("ConfigMap shop/bad: "), "{}", running.message("broken"));
    assert_eq!(running.units["broken"].objects[0].health, ObjectHealth::Refused);
    assert!(world.get(&format!("{MAPS}/b")).await.is_some());
    assert_eq!(running.state("unknown"), Some(UnitState::Failed));
    assert!(
        running.message("unknown").contains("\"Widget\" in \"example.org/v1\""),
        "{}",
        running.message("unknown")
    );
}

#[tokio::test]
async fn a_dependency_is_deployed_first_and_a_missing_one_is_named() {
    let world = World::new().await;
    let mut running = world.start().await;
    let generation = running
        .offer(world.plan(vec![
                Planned::new("second", vec![config_map("b", "1")])
                    .with(|unit| unit.depends_on = vec![unit_id("first")]),
                Planned::new("first", vec![config_map("a", "1")]),
                Planned::new("never", vec![config_map("c", "1")])
                    .with(|unit| unit.depends_on = vec![unit_id("nobody")]),
            ]))
        .await;
    running.until_state("second", UnitState::Deployed).await;
    let writes = world.wire.writes();
    let at = |part: &str| writes.iter().position(|line| line.contains(part));
    assert!(at("configmaps/a") < at("configmaps/b"), "{writes:?}");
    assert_eq!(running.state("never"), Some(UnitState::Pending));
    assert!(running.message("never").contains("nobody\", which is not in the plan"));
    assert_ne!(running.handle().applied(), Some(generation));
}

pub(super) fn widgets() -> serde_json::Value {
    json!({"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": "widgets.example.org"}, "spec": {"group": "example.org", "scope": "Namespaced",
        "names": {"plural": "widgets", "singular": "widget", "kind": "Widget", "listKind": "WidgetList"},
        "versions": [{"name": "v1", "served": true, "storage": true,
            "schema": {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": true}}}]}})
}

#[tokio::test]
async fn definitions_and_namespaces_come_first_wherever_they_stand() {
    let world = World::new().await;
    let mut running = world.start().await;
    let widget = json!({"apiVersion": "example.org/v1", "kind": "Widget",
        "metadata": {"name": "w", "namespace": "tools"}, "size": 1});
    let namespace = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "tools"}});
    let tools = || Planned::new("tools", vec![widget.clone(), widgets(), namespace.clone()]);
    running.carry_out(world.plan(vec![tools()])).await;
    assert_eq!(running.state("tools"), Some(UnitState::Deployed), "{}", running.message("tools"));
    assert!(world.get("/apis/example.org/v1/namespaces/tools/widgets/w").await.is_some());

    world.edit("/apis/example.org/v1/namespaces/tools/widgets/w", json!({"size": 2})).await;
    running.until("a repair", |running| running.units["tools"].drift_repairs == 1).await;

    // With a definition go all objects of its kind, so it goes only when that is asked for.
    let definition = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions/widgets.example.org";
    let asked = tools().with(|unit| unit.set_prunes_definitions(true));
    running.carry_out(world.plan(vec![asked])).await;
    running.carry_out(world.plan(vec![])).await;
    running.until("the unit is gone", |running| running.state("tools") == Some(UnitState::Deleted)).await;
    assert!(world.get(definition).await.is_none());
    running.carry_out(world.plan(vec![tools()])).await;
    running.until_state("tools", UnitState::Deployed).await;
    running.carry_out(world.plan(vec![])).await;
    running.until("the unit is gone", |running| running.state("tools") == Some(UnitState::Deleted)).await;
    assert!(world.get(definition).await.is_some());
}

#[tokio::test]
async fn a_kind_that_is_listed_a_moment_after_it_was_established_is_waited_for() {
    let world = World::new().await;
    let mut running = world.start().await;
    world.wire.unlisted.store(4, Ordering::SeqCst);
    let widget =
        json!({"apiVersion": "example.org/v1", "kind": "Widget", "metadata": {"name": "w"}, "size": 1});
    running.carry_out(world.plan(vec![Planned::new("tools", vec![widget, widgets()])])).await;
    assert_eq!(running.state("tools"), Some(UnitState::Deployed), "{}", running.message("tools"));
    assert_eq!(world.wire.unlisted.load(Ordering::SeqCst), 0);
    running.carry_out(world.plan(vec![])).await;
}

#[tokio::test]
async fn another_managers_fields_are_a_conflict_that_names_it_until_ownership_is_taken() {
    let world = World::new().await;
    let mut running = world.start().await;
    world.create("/api/v1/namespaces", json!({"metadata": {"name": "shop"}})).await;
    world.create(MAPS, config_map("a", "theirs")).await;
    let unit = |take: bool| {
        Planned::new("web", vec![config_map("a", "ours")]).with(|unit| unit.take_ownership = take)
    };
    running.carry_out(world.plan(vec![unit(false)])).await;
    assert_eq!(running.state("web"), Some(UnitState::Failed));
    let message = running.message("web").to_owned();
    assert!(message.contains("\"kubectl\"") && message.contains(".data.key"), "{message}");
    running.offer(world.plan(vec![unit(true)])).await;
    running.until_state("web", UnitState::Deployed).await;
    assert_eq!(world.get(&format!("{MAPS}/a")).await.unwrap()["data"]["key"], "ours");
}

#[tokio::test]
async fn two_units_that_want_the_same_object_do_not_fight_the_first_has_it() {
    let world = World::new().await;
    let mut running = world.start().await;
    let first = Planned::new("first", vec![config_map("a", "1")]);
    let second = Planned::new("second", vec![config_map("a", "2"), config_map("b", "2")]);
    running.carry_out(world.plan(vec![first, second])).await;
    assert_eq!(running.state("first"), Some(UnitState::Deployed));
    assert_eq!(running.state("second"), Some(UnitState::Failed));
    assert!(running.message("second").contains("belongs to unit \"default/set:shop/first\""));
    running
        .offer(world.plan(vec![Planned::new("second", vec![config_map("a", "2"), config_map("b", "2")])]))
        .await;
    running.until_state("second", UnitState::Deployed).await;
    assert_eq!(world.get(&format!("{MAPS}/a")).await.unwrap()["data"]["key"], "2");
}

#[tokio::test]
async fn what_does_not_become_healthy_in_time_fails_and_recovers_when_it_does() {
    let world = World::new().await;
    let mut running = world.start().await;
    let claim = json!({"apiVersion": "example.org/v1", "kind": "Widget", "metadata": {"name": "w"}});
    world.create("/apis/apiextensions.k8s.io/v1/customresourcedefinitions", widgets()).await;
    let plan = world.plan(vec![Planned::new("slow", vec![claim]).with(|unit| unit.timeout_ms = 300)]);
    world.create("/api/v1/namespaces", json!({"metadata": {"name": "shop"}})).await;
    world
        .create(
            "/apis/example.org/v1/namespaces/shop/widgets",
            json!({
        "apiVersion": "example.org/v1", "kind": "Widget", "metadata": {"name": "w"},
        "status": {"conditions": [{"type": "Ready", "status": "False", "reason": "Slow"}]}}),
        )
        .await;
    running.offer(plan).await;
    running.until_state("slow", UnitState::Failed).await;
    assert!(running.message("slow").starts_with("is not healthy after 0 s: Widget.example.org shop/w"));
    world
        .edit(
            "/apis/example.org/v1/namespaces/shop/widgets/w",
            json!({
        "status": {"conditions": [{"type": "Ready", "status": "True"}]}}),
        )
        .await;
    running.until_state("slow", UnitState::Deployed).await;
}

#[tokio::test]
async fn what_is_applied_once_is_left_alone_and_what_is_reported_is_told_not_repaired() {
    let world = World::new().await;
    let mut running = world.start().await;
    running
        .carry_out(world.plan(vec![
            Planned::new("once", vec![config_map("a", "1")]).with(|unit| unit.drift = DriftMode::Once),
            Planned::new("told", vec![config_map("b", "1")]).with(|unit| unit.drift = DriftMode::Report),
        ]))
        .await;
    world.edit(&format!("{MAPS}/a"), json!({"data": {"key": "x"}})).await;
    world.edit(&format!("{MAPS}/b"), json!({"data": {"key": "x"}})).await;
    running
        .until("drift is told", |running| {
            running.units["told"]
                .objects
                .first()
                .is_some_and(|object| object.message.contains("drifted: .data.key is \"x\""))
        })
        .await;
    assert_eq!(running.units["told"].drift_repairs, 0);
    running
        .carry_out(world.plan(vec![
            Planned::new("once", vec![config_map("a", "2")]).with(|unit| unit.drift = DriftMode::Once),
            Planned::new("told", vec![config_map("b", "2")]).with(|unit| {
                unit.drift = DriftMode::Report;
                unit.take_ownership = true;
            }),
        ]))
        .await;
    assert_eq!(world.get(&format!("{MAPS}/a")).await.unwrap()["data"]["key"], "x");
    assert_eq!(world.get(&format!("{MAPS}/b")).await.unwrap()["data"]["key"], "2");
}

#[tokio::test]
async fn while_the_api_server_is_away_units_keep_their_state_and_a_plan_waits_for_it() {
    let world = World::new().await;
    let mut running = world.start().await;
    let unit = |value: &str| Planned::new("web", vec![config_map("a", value)]);
    running.carry_out(world.plan(vec![unit("1")])).await;
    world.wire.cut.store(true, Ordering::SeqCst);
    let generation =
        running.offer(world.plan(vec![unit("2"), Planned::new("new", vec![config_map("b", "1")])])).await;
    running
        .until("it is noticed", |running| running.last.cluster.as_ref().is_some_and(|c| !c.reachable))
        .await;
    assert_eq!(running.handle().metrics().apply_errors_total, 0);
    let units = running.handle().full_report().await.units;
    assert!(units.iter().all(|unit| unit.state != UnitState::Failed), "{units:?}");
    world.wire.cut.store(false, Ordering::SeqCst);
    running.until("the plan is carried out", |running| running.last.applied == Some(generation)).await;
    assert!(running.handle().full_report().await.cluster.is_some_and(|cluster| cluster.reachable));
    assert_eq!(world.get(&format!("{MAPS}/a")).await.unwrap()["data"]["key"], "2");
}

#[tokio::test]
async fn an_object_of_another_agent_is_refused_until_ownership_is_taken() {
    let world = World::new().await;
    let mut running = world.start().await;
    world.create("/api/v1/namespaces", json!({"metadata": {"name": "shop"}})).await;
    let mut theirs = config_map("a", "theirs");
    theirs["metadata"]["annotations"] = json!({"skein.dev/unit": "x/y:z/w", "skein.dev/agent": "edge/other"});
    world.create(MAPS, theirs).await;
    let unit = |take: bool| {
        Planned::new("web", vec![config_map("a", "ours")]).with(|unit| unit.take_ownership = take)
    };
    running.carry_out(world.plan(vec![unit(false)])).await;
    let message = running.message("web").to_owned();
    assert!(message.contains("belongs to unit \"x/y:z/w\" of edge/other"), "{message}");
    assert_eq!(world.get(&format!("{MAPS}/a")).await.unwrap()["data"]["key"], "theirs");
    running.carry_out(world.plan(vec![unit(true)])).await;
    running.until_state("web", UnitState::Deployed).await;
    assert_eq!(world.get(&format!("{MAPS}/a")).await.unwrap()["data"]["key"], "ours");
}

#[tokio::test]
async fn settings_of_a_plan_are_told_also_after_a_restart() {
    let world = World::new().await;
    let running = world.start().await;
    let settings = running.handle().settings();
    assert!(settings.borrow().is_empty());
    let body = protocol::plan::PlanBody {
        settings: [("prices".to_owned(), "{}".to_owned())].into(),
        ..Default::default()
    };
    let encoded = body.encode();
    let header = protocol::plan::PlanHeader {
        agent: super::AGENT,
        generation: protocol::id::Generation { term: 1, counter: 1 },
        body: protocol::id::Digest::of(&encoded),
        issued_at: 0,
        not_after: None,
        ext: Vec::new(),
    };
    let blobs = vec![protocol::message::BlobPart::make(&encoded, None)];
    running.offer((super::sign(&header), blobs)).await;
    running.kill().await;
    let running = world.start().await;
    assert_eq!(running.handle().settings().borrow().get("prices").map(String::as_str), Some("{}"));
}
