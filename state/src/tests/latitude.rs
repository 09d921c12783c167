//! What others may change, and what is made anew because it cannot be changed.

use protocol::policy::{Leeway, Leeways};
use protocol::report::UnitState;
use serde_json::json;

use super::{MAPS, Planned, World, config_map, deployment, malformed};

fn with_leeway(objects: Vec<serde_json::Value>, paths: &[&str]) -> Planned {
    let paths = paths.iter().map(|path| (*path).to_owned()).collect();
    let leeway = Leeways(vec![Leeway { object: 0, paths }]);
    Planned::new("web", objects).with(|unit| unit.set_leeway(&leeway))
}

const WEB: &str = "/apis/apps/v1/namespaces/shop/deployments/web";

#[tokio::test]
async fn a_field_that_others_may_change_is_left_to_them_also_when_the_rest_is_written() {
    let world = World::new().await;
    let mut running = world.start().await;
    let web = |label: &str| {
        let mut web = deployment("web", 1);
        web["metadata"]["labels"] = json!({"step": label});
        web
    };
    let unit = |label| with_leeway(vec![web(label), config_map("a", "1")], &["/spec/replicas"]);
    running.carry_out(world.plan(vec![unit("1")])).await;
    world.edit(WEB, json!({"spec": {"replicas": 2}})).await;
    world.edit(&format!("{MAPS}/a"), json!({"data": {"key": "theirs"}})).await;
    running.until("the map is repaired", |running| running.units["web"].drift_repairs == 1).await;
    running
        .until("two replicas are ready", |running| running.state("web") == Some(UnitState::Deployed))
        .await;
    assert_eq!(world.get(WEB).await.unwrap()["spec"]["replicas"], 2);

    running.carry_out(world.plan(vec![unit("2")])).await;
    let live = world.get(WEB).await.unwrap();
    assert_eq!((&live["metadata"]["labels"]["step"], &live["spec"]["replicas"]), (&json!("2"), &json!(2)));
    world.edit(WEB, json!({"spec": {"replicas": 3}})).await;
    running.kill().await;
    let mut running = world.start().await;
    let before = world.wire.writes().len();
    running.until("all is seen", |running| running.state("web") == Some(UnitState::Deployed)).await;
    assert_eq!(world.get(WEB).await.unwrap()["spec"]["replicas"], 3);
    assert_eq!(world.wire.writes().len(), before, "{:?}", &world.wire.writes()[before..]);

    // Other fields of the same object are still ours.
    world.edit(WEB, json!({"metadata": {"labels": {"step": "theirs"}}})).await;
    running.until("the label is repaired", |running| running.units["web"].drift_repairs == 2).await;
    assert_eq!(world.get(WEB).await.unwrap()["spec"]["replicas"], 3);

    // When it is theirs no more, it is put back.
    let plain = Planned::new("web", vec![web("2"), config_map("a", "1")]);
    running.carry_out(world.plan(vec![plain])).await;
    world.becomes(WEB, "/spec/replicas", json!(1)).await;
    running.kill().await;
}

#[tokio::test]
async fn an_object_that_is_left_to_others_is_neither_put_back_nor_complained_of() {
    let world = World::new().await;
    let mut running = world.start().await;
    let unit = |value| with_leeway(vec![config_map("theirs", value), config_map("ours", "1")], &[]);
    running.carry_out(world.plan(vec![unit("1")])).await;
    let theirs = format!("{MAPS}/theirs");
    world.edit(&theirs, json!({"data": {"key": "edited"}})).await;
    world.edit(&format!("{MAPS}/ours"), json!({"data": {"key": "edited"}})).await;
    running.until("ours is repaired", |running| running.units["web"].drift_repairs == 1).await;
    assert_eq!(world.get(&theirs).await.unwrap()["data"]["key"], "edited");
    // A new content is written all the same.
    running.carry_out(world.plan(vec![unit("2")])).await;
    assert_eq!(world.get(&theirs).await.unwrap()["data"]["key"], "2");
    world.delete(&theirs).await;
    world.delete(&format!("{MAPS}/ours")).await;
    running.until("ours is back", |running| running.units["web"].drift_repairs == 2).await;
    assert!(world.get(&theirs).await.is_none());
    assert_eq!(running.state("web"), Some(UnitState::Deployed));
    running.kill().await;
}

#[tokio::test]
async fn what_cannot_be_changed_is_made_anew_only_where_that_is_wanted_and_helps() {
    let world = World::new().await;
    let mut running = world.start().await;
    let fixed = |value: &str| {
        let mut map = config_map("fixed", value);
        map["immutable"] = json!(true);
        map
    };
    running.carry_out(world.plan(vec![Planned::new("web", vec![fixed("1")])])).await;
    let path = format!("{MAPS}/fixed");
    let first = world.get(&path).await.unwrap()["metadata"]["uid"].clone();
    running.carry_out(world.plan(vec![Planned::new("web", vec![fixed("2")])])).await;
    assert_eq!(running.state("web"), Some(UnitState::Failed));
    assert!(running.message("web").contains("immutable"), "{}", running.message("web"));
    assert_eq!(world.get(&path).await.unwrap()["metadata"]["uid"], first);

    let anew = |objects| Planned::new("web", objects).with(|unit| unit.set_recreates(true));
    running.offer(world.plan(vec![anew(vec![fixed("2")])])).await;
    running.until_state("web", UnitState::Deployed).await;
    let live = world.get(&path).await.unwrap();
    assert_eq!(live["data"]["key"], "2");
    assert_ne!(live["metadata"]["uid"], first);

    // An object that would not be taken either way stays what it is.
    let mut service = malformed();
    service["spec"]["ports"][0]["port"] = json!(80);
    running.carry_out(world.plan(vec![anew(vec![service])])).await;
    assert_eq!(running.state("web"), Some(UnitState::Deployed), "{}", running.message("web"));
    let path = "/api/v1/namespaces/shop/services/broken";
    let uid = world.get(path).await.unwrap()["metadata"]["uid"].clone();
    running.carry_out(world.plan(vec![anew(vec![malformed()])])).await;
    assert_eq!(running.state("web"), Some(UnitState::Failed));
    assert_eq!(world.get(path).await.unwrap()["metadata"]["uid"], uid);
    running.kill().await;
}
