//! What people on the cluster are told with Events.

use protocol::id::Generation;
use protocol::policy::HOLD;
use protocol::report::UnitState;
use serde_json::{Value, json};
use std::collections::BTreeMap;

use super::{MAPS, PATIENCE, Planned, World, config_map, deployment, malformed, plan_with};

impl World {
    /// Waits for an Event with this reason about this object.
    pub(super) async fn told_of(&self, reason: &str, kind: &str, name: &str) -> Value {
        let is = |event: &Value| {
            let involved = &event["involvedObject"];
            event["reason"] == reason && involved["kind"] == kind && involved["name"] == name
        };
        self.told(&format!("{reason} of {kind} {name}"), is).await
    }

    async fn reasons(&self) -> Vec<String> {
        let events = self.events().await;
        let mut reasons: Vec<_> =
            events.iter().map(|event| event["reason"].as_str().unwrap().to_owned()).collect();
        reasons.sort();
        reasons
    }
}

fn version(version: &str, objects: Vec<Value>) -> Planned {
    Planned::new("web", objects).with(|unit| unit.version = version.into())
}

#[tokio::test]
async fn a_service_is_told_where_people_look_for_it_when_it_comes_changes_and_goes() {
    let world = World::new().await;
    let mut running = world.start().await;
    let objects = |value: &str| vec![config_map("a", value), deployment("web", 1)];
    running.carry_out(world.plan(vec![version("1.0.0", objects("1"))])).await;
    let event = world.told_of("Deployed", "Deployment", "web").await;
    let live = world.get("/apis/apps/v1/namespaces/shop/deployments/web").await.unwrap();
    assert_eq!(event["involvedObject"]["uid"], live["metadata"]["uid"], "describe finds it by that");
    assert_eq!(event["involvedObject"]["apiVersion"], "apps/v1");
    assert_eq!(event["metadata"]["namespace"], "shop");
    assert_eq!(event["message"], "service shop/web: version \"1.0.0\" is deployed");
    assert_eq!((&event["type"], &event["count"]), (&json!("Normal"), &json!(1)));
    assert_eq!(event["reportingInstance"], "shop-1");

    running.carry_out(world.plan(vec![version("2.0.0", objects("2"))])).await;
    let event = world.told_of("Upgraded", "Deployment", "web").await;
    assert_eq!(event["message"], "service shop/web: version \"2.0.0\" is deployed");
    running.carry_out(world.plan(Vec::new())).await;
    let event = world.told_of("Uninstalled", "Deployment", "web").await;
    assert_eq!(event["message"], "service shop/web: is uninstalled");
    assert_eq!(world.reasons().await, ["Deployed", "Uninstalled", "Upgraded"]);
    assert_eq!(running.handle().metrics().events_dropped_total, 0);
    running.kill().await;
}

#[tokio::test]
async fn a_repair_is_told_of_the_object_with_whoever_changed_it() {
    let world = World::new().await;
    let mut running = world.start().await;
    running
        .carry_out(world.plan(vec![Planned::new("web", vec![config_map("a", "1"), config_map("b", "1")])]))
        .await;
    world.edit(&format!("{MAPS}/a"), json!({"data": {"key": "theirs"}})).await;
    let event = world.told_of("DriftRepaired", "ConfigMap", "a").await;
    assert_eq!(event["message"], "service shop/web: was changed by \"kubectl-edit\" and was put back");
    world.delete(&format!("{MAPS}/b")).await;
    let event = world.told_of("DriftRepaired", "ConfigMap", "b").await;
    assert_eq!(event["message"], "service shop/web: was deleted and was put back");
    running.kill().await;
}

#[tokio::test]
async fn a_fight_is_told_and_not_at_every_blow() {
    let world = World::new().await;
    let mut running = world.start().await;
    running.carry_out(world.plan(vec![Planned::new("web", vec![config_map("a", "1")])])).await;
    let path = format!("{MAPS}/a");
    for blow in 1..=8 {
        world.edit(&path, json!({"data": {"key": format!("theirs {blow}")}})).await;
        if running.message("web").contains("fight") {
            break;
        }
        running.until("it is put back", |running| running.units["web"].drift_repairs >= blow).await;
    }
    let event = world.told_of("Contested", "ConfigMap", "a").await;
    assert_eq!(event["type"], "Warning");
    assert!(event["message"].as_str().unwrap().contains("\"kubectl-edit\" and this unit fight over it"));
    assert!(world.events().await.len() <= 4, "{:#?}", world.events().await);
    running.kill().await;
}

#[tokio::test]
async fn what_others_take_over_is_told_of_the_object_with_who_has_it_now() {
    let world = World::new().await;
    let mut running = world.start().await;
    running.carry_out(world.plan(vec![Planned::new("web", vec![config_map("a", "1")])])).await;
    let theirs = json!({"skein.dev/unit": "x/y:z/w", "skein.dev/agent": "edge/other"});
    world.edit(&format!("{MAPS}/a"), json!({"metadata": {"annotations": theirs}})).await;
    let event = world.told_of("TakenOver", "ConfigMap", "a").await;
    assert_eq!(event["message"], "service shop/web: was taken over by unit \"x/y:z/w\" of edge/other");
    assert_eq!(event["type"], "Warning");
    running.kill().await;
}

#[tokio::test]
async fn what_is_refused_is_told_of_its_object_and_no_secret_with_it() {
    let world = World::new().await;
    world.create("/api/v1/namespaces", json!({"metadata": {"name": "shop"}})).await;
    let theirs = json!({"metadata": {"name": "theirs", "annotations": {
        "skein.dev/unit": "default/set:shop/other", "skein.dev/agent": "region/eu"}}});
    world.create(MAPS, theirs).await;
    let secret = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "login"},
        "data": {"password": "Y29ycmVjdCBob3JzZQ=="}});
    let mut running = world.start().await;
    let units = vec![
        Planned::new("broken", vec![malformed()]),
        Planned::new("taken", vec![config_map("theirs", "1")]),
        Planned::new("login", vec![secret]),
    ];
    running.carry_out(world.plan(units)).await;
    let event = world.told_of("ApplyRefused", "Service", "broken").await;
    assert!(event["message"].as_str().unwrap().starts_with("service shop/broken: "), "{event:#}");
    let event = world.told_of("AdoptionRefused", "ConfigMap", "theirs").await;
    let message = event["message"].as_str().unwrap();
    assert!(message.contains("belongs to unit \"default/set:shop/other\" of region/eu"), "{message}");
    let event = world.told_of("Failed", "Service", "broken").await;
    assert_eq!(event["type"], "Warning");
    assert!(event["message"].as_str().unwrap().contains("version \"1.0.0\" failed: Service shop/broken: "));
    world
        .edit("/api/v1/namespaces/shop/secrets/login", json!({"data": {"password": "YSB3cm9uZyBvbmU="}}))
        .await;
    world.told_of("DriftRepaired", "Secret", "login").await;
    let all = Value::from(world.events().await).to_string();
    let values = ["correct horse", "Y29ycmVj", "a wrong one", "YSB3cm9uZy"];
    assert!(values.iter().all(|value| !all.contains(value)), "{all}");
    running.kill().await;
}

#[tokio::test]
async fn a_way_back_is_told_when_it_begins_and_when_it_is_over() {
    let world = World::new().await;
    let mut running = world.start().await;
    let revision =
        |number: &str, objects| version(number, objects).with(|unit| unit.set_rollback_after(Some(1)));
    running.carry_out(world.plan(vec![revision("1.0.0", vec![config_map("a", "1")])])).await;
    running.carry_out(world.plan(vec![revision("2.0.0", vec![config_map("a", "2"), malformed()])])).await;
    let event = world.told_of("RollingBack", "ConfigMap", "a").await;
    let message = event["message"].as_str().unwrap();
    assert!(
        message.starts_with("service shop/web: version \"2.0.0\" is given up for version \"1.0.0\": Service")
    );
    let event = world.told_of("RolledBack", "ConfigMap", "a").await;
    assert!(event["message"].as_str().unwrap().contains("was rolled back to version \"1.0.0\""), "{event:#}");
    running.kill().await;
}

#[tokio::test]
async fn what_waits_or_is_too_late_is_told_once_also_over_a_restart() {
    let world = World::new().await;
    let mut running = world.start().await;
    running.carry_out(world.plan(vec![version("1.0.0", vec![config_map("a", "1")])])).await;
    let hold = json!({"reason": "stocktaking", "until": "2999-01-01T00:00:00Z"});
    let late = Planned::new("late", vec![config_map("late", "1")]).with(|unit| unit.set_not_after(Some(1)));
    let units = vec![version("2.0.0", vec![config_map("a", "2")]), late];
    let settings = BTreeMap::from([(HOLD.to_owned(), hold.to_string())]);
    running.offer(plan_with(units, settings, Generation { term: 1, counter: 9 })).await;
    let deferred = world.told_of("Deferred", "ConfigMap", "a").await;
    assert_eq!(
        deferred["message"],
        "service shop/web: version \"2.0.0\" is deferred until 2999-01-01T00:00:00Z: stocktaking"
    );
    let expired = world.told_of("Expired", "ConfigMap", "late").await;
    assert!(expired["message"].as_str().unwrap().contains("its time was over at 1970-01-01T00:00:00.001Z"));
    running.kill().await;
    let writes = world.wire.log.lock().unwrap().len();
    let mut running = world.start().await;
    running.until("it waits again", |running| running.message("web").contains("deferred")).await;
    world.edit(&format!("{MAPS}/a"), json!({"data": {"key": "theirs"}})).await;
    world.told_of("DriftRepaired", "ConfigMap", "a").await;
    // What was told of the wait came before that.
    let again = world.wire.log.lock().unwrap()[writes..]
        .iter()
        .any(|line| line.starts_with("PATCH") && line.contains("/events/"));
    assert!(!again, "{:?}", world.wire.log.lock().unwrap());
    running.kill().await;
}

#[tokio::test]
async fn of_a_dry_run_only_what_would_change_is_told() {
    let world = World::new().await;
    world.create("/api/v1/namespaces", json!({"metadata": {"name": "shop"}})).await;
    let mut running = world.start().await;
    let unit = version("1.0.0", vec![config_map("a", "1"), malformed()]).with(|unit| unit.set_dry_run(true));
    running.carry_out(world.plan(vec![unit, Planned::new("other", vec![config_map("o", "1")])])).await;
    let event = world.told_of("WouldChange", "ConfigMap", "a").await;
    assert!(event["message"].as_str().unwrap().contains("1 to create, 0 to change, 0 to delete, 1 refused"));
    world.told_of("Deployed", "ConfigMap", "o").await;
    assert_eq!(world.reasons().await, ["Deployed", "WouldChange"]);
    running.kill().await;
}

#[tokio::test]
async fn where_events_are_not_taken_services_go_on_and_one_request_is_made() {
    let world = World::new().await;
    *world.wire.forbidden.lock().unwrap() = "/events".to_owned();
    let mut running = world.start().await;
    let units = (0..5).map(|unit| {
        let name = format!("u{unit}");
        Planned::new(&name, vec![config_map(&name, "1")])
    });
    running.carry_out(world.plan(units.collect())).await;
    let dropped = async {
        while running.handle().metrics().events_dropped_total < 5 {
            tokio::task::yield_now().await;
        }
    };
    assert!(tokio::time::timeout(PATIENCE, dropped).await.is_ok(), "{:?}", running.handle().metrics());
    assert_eq!((running.handle().metrics().events_total, world.events().await.len()), (0, 0));
    assert!(running.units.values().all(|unit| unit.state == UnitState::Deployed));
    running.kill().await;
}

#[tokio::test]
async fn an_api_server_that_does_not_answer_about_events_holds_nothing_up() {
    let world = World::new().await;
    *world.wire.stalled.lock().unwrap() = "POST /api/v1/namespaces/shop/events".to_owned();
    let mut running = world.start().await;
    for number in 0..100 {
        let value = number.to_string();
        running.carry_out(world.plan(vec![version(&value, vec![config_map("a", &value)])])).await;
    }
    assert_eq!(running.state("web"), Some(UnitState::Deployed));
    let metrics = running.handle().metrics();
    assert_eq!(metrics.events_total, 0);
    assert!(metrics.events_dropped_total > 20, "{metrics:?}");
    running.kill().await;
}

#[tokio::test]
async fn what_has_no_namespace_to_be_told_in_is_told_of_the_namespace() {
    let world = World::new().await;
    let mut running = world.start().await;
    let unit = Planned::new("web", vec![config_map("a", "1")]).with(|unit| unit.create_namespace = false);
    running.carry_out(world.plan(vec![unit])).await;
    let event = world.told_of("ApplyRefused", "Namespace", "shop").await;
    assert_eq!(event["metadata"]["namespace"], "default");
    assert!(
        event["message"].as_str().unwrap().starts_with("ConfigMap shop/a: service shop/web: "),
        "{event:#}"
    );
    running.kill().await;
}
