//! What a dry run tells, and that it writes nothing.

use protocol::plan::HookEvent;
use protocol::report::{ObjectHealth, UnitState};
use serde_json::json;

use super::{MAPS, Planned, World, config_map, job, malformed};

fn dry(objects: Vec<serde_json::Value>) -> Planned {
    Planned::new("web", objects).with(|unit| unit.set_dry_run(true))
}

#[tokio::test]
async fn a_dry_run_tells_what_would_happen_and_writes_nothing_until_it_is_meant() {
    let world = World::new().await;
    world.create("/api/v1/namespaces", json!({"metadata": {"name": "shop"}})).await;
    let mut running = world.start().await;
    running
        .carry_out(world.plan(vec![Planned::new("web", vec![config_map("a", "1"), config_map("old", "1")])]))
        .await;
    let deployed = running.units["web"].deployed_hash;
    let before = world.wire.writes().len();
    let new = || vec![config_map("a", "2"), config_map("new", "1"), malformed()];
    let unit = dry(new()).hook(&job("hook"), vec![HookEvent::PreUpgrade], 0, vec![]);
    running.carry_out(world.plan(vec![unit])).await;
    let message = running.message("web");
    assert!(message.contains("1 to create, 1 to change, 1 to delete, 1 refused"), "{message}");
    assert!(message.contains("ConfigMap a: .data.key is \"1\", desired \"2\""), "{message}");
    assert_eq!(running.state("web"), Some(UnitState::Pending));
    assert_eq!(running.units["web"].deployed_hash, deployed);
    let told = |running: &super::Running, name: &str| {
        let object = running.units["web"].objects.iter().find(|object| object.key.name == name).unwrap();
        (object.health, object.message.clone())
    };
    assert_eq!(told(&running, "new"), (ObjectHealth::NotFound, "would be created".to_owned()));

    // Somebody else does what the dry run would.
    world.edit(&format!("{MAPS}/a"), json!({"data": {"key": "2"}})).await;
    running.until("the change is seen", |running| running.message("web").contains("0 to change")).await;
    running.kill().await;
    let mut running = world.start().await;
    running
        .until("it is told again", |running| running.message("web").contains("1 to create, 0 to change"))
        .await;
    let writes: Vec<_> =
        world.wire.writes()[before..].iter().filter(|line| !line.contains("dryRun=All")).cloned().collect();
    assert_eq!(writes, Vec::<String>::new());

    // Meant, it happens.
    let good = vec![config_map("a", "2"), config_map("new", "1")];
    running.carry_out(world.plan(vec![Planned::new("web", good)])).await;
    running.until_state("web", UnitState::Deployed).await;
    assert!(world.get(&format!("{MAPS}/old")).await.is_none());
    assert!(world.get(&format!("{MAPS}/new")).await.is_some());
    running.kill().await;
}

#[tokio::test]
async fn a_dry_run_of_what_is_there_is_deployed_and_what_the_server_refuses_is_told() {
    let world = World::new().await;
    let mut running = world.start().await;
    let objects = || vec![config_map("a", "1")];
    running.carry_out(world.plan(vec![Planned::new("web", objects())])).await;
    running.carry_out(world.plan(vec![dry(objects())])).await;
    running.until_state("web", UnitState::Deployed).await;
    let mut service = malformed();
    service["spec"]["ports"][0]["port"] = json!(80);
    running.carry_out(world.plan(vec![Planned::new("web", vec![service])])).await;
    running.carry_out(world.plan(vec![dry(vec![malformed()])])).await;
    let message = running.message("web");
    assert!(message.contains("1 refused") && message.contains("broken"), "{message}");
    let path = "/api/v1/namespaces/shop/services/broken";
    assert_eq!(world.get(path).await.unwrap()["spec"]["ports"][0]["port"], 80);
    running.kill().await;
}
