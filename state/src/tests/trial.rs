//! Test hooks on demand.

use protocol::plan::{HookDeletion, HookEvent};
use protocol::report::UnitState;
use serde_json::{Value, json};

use super::{Planned, World, config_map, job};

const JOBS: &str = "/apis/batch/v1/namespaces/shop/jobs";

fn unit(order: Option<&str>, test: &Value) -> Planned {
    Planned::new("web", vec![config_map("a", "1")])
        .hook(test, vec![HookEvent::Test], 0, vec![HookDeletion::BeforeCreation])
        .with(|unit| {
            unit.timeout_ms = 5_000;
            unit.set_test_order(order);
        })
}

#[tokio::test]
async fn tests_run_once_for_an_order_and_their_result_is_told() {
    let world = World::new().await;
    let mut running = world.start().await;
    running.carry_out(world.plan(vec![unit(None, &job("probe"))])).await;
    assert!(world.get(&format!("{JOBS}/probe")).await.is_none());
    running.carry_out(world.plan(vec![unit(Some("first"), &job("probe"))])).await;
    running.until("passed", |running| running.message("web") == "test \"first\" passed: 1 hooks").await;
    assert_eq!(running.state("web"), Some(UnitState::Deployed));
    let uid = || async { world.get(&format!("{JOBS}/probe")).await.unwrap()["metadata"]["uid"].clone() };
    let first = uid().await;
    running.kill().await;
    let mut running = world.start().await;
    running.carry_out(world.plan(vec![unit(Some("first"), &job("probe"))])).await;
    running.until("told again", |running| running.message("web").contains("\"first\" passed")).await;
    assert_eq!(uid().await, first);
    running.carry_out(world.plan(vec![unit(Some("second"), &job("probe"))])).await;
    running.until("passed", |running| running.message("web").contains("\"second\" passed")).await;
    assert_ne!(uid().await, first);
    running.kill().await;
}

#[tokio::test]
async fn a_test_that_does_not_end_is_a_result_and_leaves_the_unit_deployed() {
    let world = World::new().await;
    let mut running = world.start().await;
    let mut endless = job("endless");
    endless["spec"]["suspend"] = json!(true);
    let order = unit(Some("one"), &endless).with(|unit| unit.timeout_ms = 300);
    running.offer(world.plan(vec![order])).await;
    running
        .until("failed", |running| {
            let message = running.message("web");
            message.starts_with("test \"one\" failed: ") && message.contains("did not end")
        })
        .await;
    assert_eq!(running.state("web"), Some(UnitState::Deployed));
    running.kill().await;
}
