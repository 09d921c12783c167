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
async fn a_controller_that_rewrites_at_once_is_damped_and_told_once_and_gone_it_has_lost() {
    let world = World::new().await;
    let mut running = world.start().await;
    running.carry_out(world.plan(vec![Planned::new("web", vec![config_map("a", "1")])])).await;
    let path = format!("{MAPS}/a");
    let wars = |world: &World| {
        let log = world.wire.log.lock().unwrap();
        log.iter().filter(|line| line.starts_with("PATCH") && line.contains("/configmaps/a?")).count()
    };
    let before = wars(&world);
    let rival = async {
        loop {
            // As its own watch would tell it.
            let live = world.get(&path).await.unwrap_or_default();
            if live["data"]["key"] == "1" {
                world.try_edit(&path, json!({"data": {"key": "theirs"}})).await;
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    let told =
        running.until("the rival is told of", |running| running.message("web").contains("fight over it"));
    tokio::select! {
        () = told => {}
        () = rival => {}
    }
    let message = running.message("web").to_owned();
    assert!(message.starts_with("ConfigMap shop/a: was put back more than 5 times in a row: "), "{message}");
    assert!(message.contains("\"kubectl-edit\""), "{message}");
    assert_eq!(running.state("web"), Some(UnitState::Deployed));
    let repairs = wars(&world) - before;
    assert!((6..=8).contains(&repairs), "{repairs} repairs until it was told");
    // Nobody fights any more: it is ours after the pause that was begun.
    world.becomes(&path, "/data/key", json!("1")).await;
    assert!(wars(&world) - before <= repairs + 2, "{:?}", world.wire.writes());
    assert_eq!(running.message("web"), message);
}
