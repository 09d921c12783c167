//! Workloads that roll when what they mount changes.

use protocol::report::UnitState;
use serde_json::{Value, json};

use super::{MAPS, Planned, World, config_map, deployment};

const WEB: &str = "/apis/apps/v1/namespaces/shop/deployments/web";
const MARK: &str = "/spec/template/metadata/annotations/skein.dev~1mounted";

fn web() -> Value {
    let mut web = deployment("web", 1);
    let spec = &mut web["spec"]["template"]["spec"];
    spec["volumes"] = json!([{"name": "own", "configMap": {"name": "own"}}]);
    spec["containers"][0]["envFrom"] = json!([{"configMapRef": {"name": "theirs"}}]);
    web
}

fn unit(value: &str, reloads: bool) -> Planned {
    Planned::new("web", vec![config_map("own", value), web()]).with(|unit| unit.set_reloads(reloads))
}

async fn mark(world: &World) -> Value {
    world.get(WEB).await.unwrap().pointer(MARK).cloned().unwrap_or_default()
}

async fn until_another(world: &World, before: &Value) -> Value {
    let there = async {
        loop {
            let now = mark(world).await;
            if now != *before {
                return now;
            }
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(super::PATIENCE, there).await.expect("the workload is not rolled")
}

#[tokio::test]
async fn a_workload_rolls_when_a_map_that_it_uses_changes_whosever_it_is_and_only_then() {
    let world = World::new().await;
    world.create("/api/v1/namespaces", json!({"metadata": {"name": "shop"}})).await;
    world.create(MAPS, config_map("theirs", "1")).await;
    let mut running = world.start().await;
    running.carry_out(world.plan(vec![unit("1", true)])).await;
    assert_eq!(running.state("web"), Some(UnitState::Deployed), "{}", running.message("web"));
    let generation = |object: &Value| object["metadata"]["generation"].clone();
    assert_eq!(generation(&world.get(WEB).await.unwrap()), 1, "the first application is the only one");
    let first = mark(&world).await;
    assert!(first.is_string());
    // Somebody else's map, which the plan knows nothing of.
    world.edit(&format!("{MAPS}/theirs"), json!({"data": {"key": "2"}})).await;
    let second = until_another(&world, &first).await;
    // The unit's own map, by a new revision.
    running.carry_out(world.plan(vec![unit("2", true)])).await;
    let third = until_another(&world, &second).await;
    assert_eq!(running.units["web"].drift_repairs, 0);
    // What concerns only its metadata rolls nothing.
    let before = generation(&world.get(WEB).await.unwrap());
    world.edit(&format!("{MAPS}/theirs"), json!({"metadata": {"labels": {"a": "b"}}})).await;
    world.edit(&format!("{MAPS}/own"), json!({"data": {"key": "theirs"}})).await;
    running.until("the drift is repaired", |running| running.units["web"].drift_repairs == 1).await;
    running.kill().await;
    // While the agent was away.
    let running = world.start().await;
    world.edit(&format!("{MAPS}/theirs"), json!({"data": {"key": "3"}})).await;
    let fourth = until_another(&world, &third).await;
    assert_ne!(generation(&world.get(WEB).await.unwrap()), before);
    assert_ne!(fourth, second);
    running.kill().await;
}

#[tokio::test]
async fn without_the_wish_for_it_nothing_is_added_to_a_workload() {
    let world = World::new().await;
    let mut running = world.start().await;
    running.carry_out(world.plan(vec![unit("1", false)])).await;
    assert_eq!(mark(&world).await, Value::Null);
    running.carry_out(world.plan(vec![unit("1", true)])).await;
    until_another(&world, &Value::Null).await;
    running.kill().await;
}
