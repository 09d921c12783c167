//! Drift: seen from watches, put back at once, not fought over forever.

use std::time::{Duration, Instant};

use protocol::report::UnitState;
use serde_json::json;

use super::{MAPS, Planned, World, config_map, deployment};

#[tokio::test]
async fn a_changed_field_and_a_deleted_object_are_put_back_and_counted() {
    let world = World::new().await;
    let mut running = world.start().await;
    running
        .carry_out(world.plan(vec![Planned::new("web", vec![config_map("a", "1"), deployment("web", 1)])]))
        .await;
    world.edit(&format!("{MAPS}/a"), json!({"data": {"key": "2"}})).await;
    let began = Instant::now();
    running.until("one repair", |running| running.units["web"].drift_repairs == 1).await;
    assert!(began.elapsed() < Duration::from_millis(500), "{:?}", began.elapsed());
    assert_eq!(world.get(&format!("{MAPS}/a")).await.unwrap()["data"]["key"], "1");
    world.delete("/apis/apps/v1/namespaces/shop/deployments/web").await;
    running
        .until("two repairs, healthy again", |running| {
            let unit = &running.units["web"];
            unit.drift_repairs == 2 && unit.state == UnitState::Deployed
        })
        .await;
    assert!(world.get("/apis/apps/v1/namespaces/shop/deployments/web").await.is_some());
    assert_eq!(running.handle().metrics().drift_repairs_total, 2);
}

#[tokio::test]
async fn fields_that_others_add_and_the_label_taken_away() {
    let world = World::new().await;
    let mut running = world.start().await;
    running.carry_out(world.plan(vec![Planned::new("web", vec![config_map("a", "1")])])).await;
    world.edit(&format!("{MAPS}/a"), json!({"data": {"other": "theirs"}})).await;
    world.edit(&format!("{MAPS}/a"), json!({"metadata": {"labels": {"skein.dev/unit": null}}})).await;
    running.until("one repair", |running| running.units["web"].drift_repairs == 1).await;
    let object = world.get(&format!("{MAPS}/a")).await.unwrap();
    assert_eq!(object["data"], json!({"key": "1", "other": "theirs"}));
    assert_eq!(object["metadata"]["labels"]["skein.dev/unit"], "shop.web");
    assert_eq!(running.handle().metrics().drift_repairs_total, 1);
}

#[tokio::test]
async fn a_namespace_deleted_by_a_user_comes_back_with_all_in_it() {
    let world = World::new().await;
    let mut running = world.start().await;
    running
        .carry_out(world.plan(vec![Planned::new("web", vec![config_map("a", "1"), config_map("b", "1")])]))
        .await;
    world.delete("/api/v1/namespaces/shop").await;
    running
        .until("both are back", |running| {
            let unit = &running.units["web"];
            unit.drift_repairs >= 2 && unit.state == UnitState::Deployed
        })
        .await;
    assert!(world.get(&format!("{MAPS}/a")).await.is_some());
    assert!(world.get(&format!("{MAPS}/b")).await.is_some());
}

#[tokio::test]
async fn a_fight_is_slowed_down_and_the_rival_named() {
    let world = World::new().await;
    let mut running = world.start().await;
    running.carry_out(world.plan(vec![Planned::new("web", vec![config_map("a", "1")])])).await;
    let fought = |running: &super::Running| {
        running.units["web"].objects.first().is_some_and(|object| object.message.contains("fight"))
    };
    for round in 0..6u64 {
        world.edit(&format!("{MAPS}/a"), json!({"data": {"key": format!("{round} theirs")}})).await;
        running
            .until("a repair", |running| running.units["web"].drift_repairs > round || fought(running))
            .await;
    }
    running.until("the fight is told", |running| fought(running)).await;
    let message = &running.units["web"].objects[0].message;
    assert!(message.contains("\"kubectl-edit\""), "{message}");
    assert!(running.units["web"].drift_repairs <= 6);
}
