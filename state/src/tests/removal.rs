//! Removal: what leaves the plan leaves the cluster, and nothing else does.

use protocol::plan::{HookEvent, Removal};
use protocol::report::UnitState;
use serde_json::json;

use super::{MAPS, Planned, World, config_map, job, unit_id};

#[tokio::test]
async fn an_object_that_left_its_unit_and_a_unit_that_left_the_plan_are_deleted() {
    let world = World::new().await;
    let mut running = world.start().await;
    let a = || config_map("a", "1");
    running
        .carry_out(world.plan(vec![
            Planned::new("one", vec![a(), config_map("b", "1")]),
            Planned::new("two", vec![config_map("c", "1")]),
        ]))
        .await;
    running.carry_out(world.plan(vec![Planned::new("one", vec![a()])])).await;
    assert_eq!(running.state("two"), Some(UnitState::Deleted));
    assert!(world.get(&format!("{MAPS}/a")).await.is_some());
    assert!(world.get(&format!("{MAPS}/b")).await.is_none());
    assert!(world.get(&format!("{MAPS}/c")).await.is_none());
    assert_eq!(running.handle().metrics().prunes_total, 2);
    assert_eq!(running.handle().full_report().await.units.len(), 1);
}

#[tokio::test]
async fn units_go_in_reverse_order_of_their_dependencies() {
    let world = World::new().await;
    let mut running = world.start().await;
    running
        .carry_out(world.plan(vec![
        Planned::new("base", vec![config_map("a", "1")]),
        Planned::new("top", vec![config_map("b", "1")]).with(|unit| unit.depends_on = vec![unit_id("base")]),
    ]))
        .await;
    running.carry_out(world.plan(vec![])).await;
    let writes = world.wire.writes();
    let at = |part: &str| {
        writes.iter().position(|line| line.starts_with("DELETE") && line.contains(part)).unwrap()
    };
    assert!(at("configmaps/b") < at("configmaps/a"), "{writes:?}");
}

#[tokio::test]
async fn what_is_to_be_left_behind_stays_without_our_marks() {
    let world = World::new().await;
    let mut running = world.start().await;
    let unit = Planned::new("one", vec![config_map("a", "1")]).with(|unit| unit.removal = Removal::Leave);
    running.carry_out(world.plan(vec![unit])).await;
    running.carry_out(world.plan(vec![])).await;
    let object = world.get(&format!("{MAPS}/a")).await.unwrap();
    assert_eq!(object["data"]["key"], "1");
    assert!(object["metadata"]["labels"].get("skein.dev/unit").is_none());
    assert!(object["metadata"]["annotations"].get("skein.dev/unit").is_none());
}

#[tokio::test]
async fn what_its_author_wants_kept_outlives_its_unit() {
    let world = World::new().await;
    let mut running = world.start().await;
    let mut ledger = config_map("ledger", "1");
    ledger["metadata"]["annotations"] = json!({"helm.sh/resource-policy": "keep"});
    let mut other = ledger.clone();
    other["metadata"]["name"] = json!("other");
    let unit = |objects| world.plan(vec![Planned::new("one", objects)]);
    running.carry_out(unit(vec![ledger.clone(), other, config_map("a", "1")])).await;
    running.carry_out(unit(vec![ledger, config_map("a", "1")])).await;
    running.carry_out(world.plan(vec![])).await;
    assert_eq!(running.state("one"), Some(UnitState::Deleted));
    assert!(world.get(&format!("{MAPS}/a")).await.is_none());
    for kept in ["ledger", "other"] {
        let object = world.get(&format!("{MAPS}/{kept}")).await.unwrap();
        assert!(object["metadata"]["annotations"].get("skein.dev/unit").is_none(), "{object}");
    }
}

#[tokio::test]
async fn what_was_there_before_or_belongs_to_somebody_else_is_not_deleted() {
    let world = World::new().await;
    let mut running = world.start().await;
    world.create("/api/v1/namespaces", json!({"metadata": {"name": "shop"}})).await;
    world.create(MAPS, config_map("before", "1")).await;
    running
        .carry_out(
            world.plan(vec![Planned::new("one", vec![config_map("before", "1"), config_map("taken", "1")])]),
        )
        .await;
    assert_eq!(running.state("one"), Some(UnitState::Deployed), "{}", running.message("one"));
    running.kill().await;
    world
        .edit(&format!("{MAPS}/taken"), json!({"metadata": {"annotations": {"skein.dev/unit": "x/y:z/w", "skein.dev/agent": "edge/other"}}}))
        .await;
    let mut running = world.start().await;
    running.until_state("one", UnitState::Failed).await;
    let message = running.message("one");
    assert!(message.contains("shop/taken: was taken over by unit \"x/y:z/w\" of edge/other"), "{message}");
    running.carry_out(world.plan(vec![])).await;
    assert!(world.get(&format!("{MAPS}/before")).await.is_some());
    assert!(world.get(&format!("{MAPS}/taken")).await.is_some());
}

#[tokio::test]
async fn a_namespace_with_foreign_objects_stays_an_empty_one_goes() {
    let world = World::new().await;
    let mut running = world.start().await;
    let namespace = |name: &str| json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}});
    let inside = |name: &str| {
        let mut map = config_map("m", "1");
        map["metadata"]["namespace"] = json!(name);
        map
    };
    running
        .carry_out(world.plan(vec![Planned::new(
            "one",
            vec![namespace("used"), namespace("unused"), inside("used"), inside("unused")],
        )]))
        .await;
    world.create("/api/v1/namespaces/used/configmaps", config_map("theirs", "1")).await;
    running.carry_out(world.plan(vec![])).await;
    assert!(world.get("/api/v1/namespaces/used/configmaps/theirs").await.is_some());
    assert!(world.get("/api/v1/namespaces/used/configmaps/m").await.is_none());
    let used = world.get("/api/v1/namespaces/used").await.unwrap();
    assert!(used["metadata"]["labels"].get("skein.dev/unit").is_none());
    let unused = world.get("/api/v1/namespaces/unused").await;
    assert!(unused.is_none_or(|namespace| namespace["metadata"]["deletionTimestamp"].is_string()));
}

#[tokio::test]
async fn delete_hooks_run_before_the_objects_go_also_after_a_restart() {
    let world = World::new().await;
    let mut running = world.start().await;
    let unit = Planned::new("one", vec![config_map("a", "1")]).hook(
        &job("bye"),
        vec![HookEvent::PreDelete],
        0,
        vec![],
    );
    running.carry_out(world.plan(vec![unit])).await;
    running.kill().await;
    let mut running = world.start().await;
    running.carry_out(world.plan(vec![])).await;
    let writes = world.wire.writes();
    let at = |part: &str| writes.iter().position(|line| line.contains(part)).unwrap();
    assert!(
        at("POST /apis/batch/v1/namespaces/shop/jobs") < at("DELETE /api/v1/namespaces/shop/configmaps/a")
    );
    assert_eq!(running.state("one"), Some(UnitState::Deleted));
}

#[tokio::test]
async fn a_unit_that_comes_back_while_it_is_being_removed_is_deployed_again() {
    let world = World::new().await;
    let mut running = world.start().await;
    let unit = || Planned::new("one", vec![config_map("a", "1"), config_map("b", "1")]);
    running.carry_out(world.plan(vec![unit()])).await;
    running.offer(world.plan(vec![])).await;
    running.carry_out(world.plan(vec![unit()])).await;
    running.until_state("one", UnitState::Deployed).await;
    // A deletion that was on its way when it was called off may come after the unit: then it is drift, and repaired.
    world.comes(&format!("{MAPS}/a")).await;
    world.comes(&format!("{MAPS}/b")).await;
}
