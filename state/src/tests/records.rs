//! Helm's records of releases, and releases that Helm installed.

use protocol::plan::UnitKind;
use protocol::policy::ChartHead;
use protocol::report::UnitState;
use serde_json::{Value, json};

use super::{MAPS, Planned, World, config_map};
use crate::release;

const SECRETS: &str = "/api/v1/namespaces/shop/secrets";

fn of_chart(objects: Vec<Value>) -> Planned {
    let chart = ChartHead { name: "shop".into(), version: "1.0.0".into(), app_version: "2".into() };
    Planned::new("web", objects).with(|unit| {
        unit.kind = UnitKind::Helm;
        unit.set_chart(Some(&chart));
    })
}

/// Name and status of each record, as labels have it.
async fn records(world: &World) -> Vec<(String, String)> {
    let list = world.get(SECRETS).await.unwrap();
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let of_helm = |item: &&Value| item["metadata"]["labels"]["owner"] == "helm";
    let items = list["items"].as_array().unwrap().iter().filter(of_helm);
    items.map(|item| (text(&item["metadata"]["name"]), text(&item["metadata"]["labels"]["status"]))).collect()
}

async fn until_records(world: &World, wanted: &[(&str, &str)]) {
    let wanted: Vec<_> =
        wanted.iter().map(|(name, status)| ((*name).to_owned(), (*status).to_owned())).collect();
    let there = async {
        while records(world).await != wanted {
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
    };
    let waited = tokio::time::timeout(super::PATIENCE, there).await;
    assert!(waited.is_ok(), "{:?}", records(world).await);
}

#[tokio::test]
async fn what_is_deployed_stands_in_helms_records_and_goes_with_the_unit() {
    let world = World::new().await;
    let mut running = world.start().await;
    let namespace = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "shop"}});
    let unit = |value| of_chart(vec![config_map("a", value), namespace.clone()]);
    running.carry_out(world.plan(vec![unit("1")])).await;
    until_records(&world, &[("sh.helm.release.v1.web.v1", "deployed")]).await;
    running.carry_out(world.plan(vec![unit("2")])).await;
    let second = [("sh.helm.release.v1.web.v1", "superseded"), ("sh.helm.release.v1.web.v2", "deployed")];
    until_records(&world, &second).await;
    running.kill().await;

    let mut running = world.start().await;
    let before = world.wire.writes().len();
    running.carry_out(world.plan(vec![unit("2")])).await;
    assert_eq!(world.wire.writes().len(), before, "{:?}", &world.wire.writes()[before..]);
    running.carry_out(world.plan(vec![unit("3")])).await;
    let third = [("sh.helm.release.v1.web.v2", "superseded"), ("sh.helm.release.v1.web.v3", "deployed")];
    until_records(&world, &third).await;

    // They are no reason to keep the namespace.
    running.carry_out(world.plan(vec![])).await;
    running.until("the unit is gone", |running| running.state("web") == Some(UnitState::Deleted)).await;
    assert!(world.get("/api/v1/namespaces/shop").await.is_none());
    running.kill().await;
}

#[tokio::test]
async fn a_revision_that_was_given_up_stands_in_the_history_as_helm_tells_it() {
    let world = World::new().await;
    let mut running = world.start().await;
    let unit = |objects| {
        of_chart(objects).with(|unit| unit.set_rollback_after(Some(1))).hook(
            &super::job("before"),
            vec![protocol::plan::HookEvent::PreDelete],
            3,
            vec![protocol::plan::HookDeletion::Succeeded],
        )
    };
    running.carry_out(world.plan(vec![unit(vec![config_map("a", "1")])])).await;
    until_records(&world, &[("sh.helm.release.v1.web.v1", "deployed")]).await;
    let bad = || unit(vec![config_map("a", "2"), super::malformed()]);
    running.carry_out(world.plan(vec![bad()])).await;
    let told = [("sh.helm.release.v1.web.v2", "failed"), ("sh.helm.release.v1.web.v3", "deployed")];
    until_records(&world, &told).await;
    let record = |text: &Value| {
        use base64::Engine as _;
        let data = base64::engine::general_purpose::STANDARD.decode(text.as_str().unwrap()).unwrap();
        release::unpack(std::str::from_utf8(&data).unwrap()).unwrap()
    };
    let failed = world.get(&format!("{SECRETS}/sh.helm.release.v1.web.v2")).await.unwrap();
    let failed = record(&failed["data"]["release"]);
    let description = failed["info"]["description"].as_str().unwrap();
    assert!(description.starts_with("Upgrade \"web\" failed: "), "{description}");
    let back = world.get(&format!("{SECRETS}/sh.helm.release.v1.web.v3")).await.unwrap();
    let back = record(&back["data"]["release"]);
    assert_eq!(back["info"]["description"], "Rollback to 1");
    assert_eq!(back["hooks"][0]["events"], json!(["pre-delete"]));
    assert_eq!(back["hooks"][0]["delete_policies"], json!(["hook-succeeded"]));
    running.kill().await;
    // Over a restart nothing is written again.
    let mut running = world.start().await;
    let before = world.wire.writes().len();
    running.carry_out(world.plan(vec![bad()])).await;
    assert_eq!(world.wire.writes().len(), before, "{:?}", &world.wire.writes()[before..]);
    // What follows is an upgrade of what is deployed.
    running.carry_out(world.plan(vec![unit(vec![config_map("a", "3")])])).await;
    let next = [("sh.helm.release.v1.web.v3", "superseded"), ("sh.helm.release.v1.web.v4", "deployed")];
    until_records(&world, &next).await;
    running.kill().await;
}

#[tokio::test]
async fn a_release_that_helm_installed_is_taken_over_and_its_history_goes_on() {
    let world = World::new().await;
    world.create("/api/v1/namespaces", json!({"metadata": {"name": "shop"}})).await;
    let mut theirs = config_map("a", "1");
    theirs["metadata"]["annotations"] =
        json!({"meta.helm.sh/release-name": "web", "meta.helm.sh/release-namespace": "shop"});
    world.create(MAPS, theirs.clone()).await;
    let mut others = theirs;
    others["metadata"]["name"] = json!("b");
    others["metadata"]["annotations"]["meta.helm.sh/release-name"] = json!("another");
    world.create(MAPS, others).await;
    let unit = Planned::new("web", vec![]).unit.id;
    let chart = ChartHead { name: "shop".into(), version: "0.9.0".into(), app_version: String::new() };
    let facts = release::Facts {
        unit: &unit,
        chart: &chart,
        revision: 5,
        first_deployed: 1_000,
        now: 2_000,
        status: "deployed",
        description: "Install complete",
        hooks: Vec::new(),
    };
    let packed = release::packed(&facts, "");
    world
        .create(
            SECRETS,
            json!({"metadata": {"name": "sh.helm.release.v1.web.v5", "labels": {
                "name": "web", "owner": "helm", "status": "deployed", "version": "5"}},
                "type": release::SECRET_TYPE, "stringData": {"release": packed}}),
        )
        .await;

    let mut running = world.start().await;
    running.carry_out(world.plan(vec![of_chart(vec![config_map("a", "2"), config_map("b", "2")])])).await;
    assert_eq!(running.state("web"), Some(UnitState::Failed));
    assert!(running.message("web").contains("ConfigMap shop/b"), "{}", running.message("web"));
    assert_eq!(world.get(&format!("{MAPS}/a")).await.unwrap()["data"]["key"], "2");
    running.carry_out(world.plan(vec![of_chart(vec![config_map("a", "2")])])).await;
    let both = [("sh.helm.release.v1.web.v5", "superseded"), ("sh.helm.release.v1.web.v6", "deployed")];
    until_records(&world, &both).await;
    let secret = world.get(&format!("{SECRETS}/sh.helm.release.v1.web.v6")).await.unwrap();
    use base64::Engine as _;
    let data = secret["data"]["release"].as_str().unwrap();
    let data = base64::engine::general_purpose::STANDARD.decode(data).unwrap();
    assert_eq!(release::first_deployed(std::str::from_utf8(&data).unwrap()), Some(1_000));
    running.carry_out(world.plan(vec![])).await;
    assert!(world.get(&format!("{MAPS}/a")).await.is_none());
    until_records(&world, &[]).await;
    running.kill().await;
}
