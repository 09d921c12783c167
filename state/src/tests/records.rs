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
    // What only Helm's revision has: one that goes, one that is to be kept, one that is no longer the release's.
    for (name, more) in [
        ("old", json!({})),
        ("ledger", json!({"helm.sh/resource-policy": "keep"})),
        ("given", json!({"meta.helm.sh/release-name": "another"})),
    ] {
        let mut object = theirs.clone();
        object["metadata"]["name"] = json!(name);
        object["metadata"]["labels"] = json!({"app.kubernetes.io/managed-by": "Helm"});
        for (key, value) in more.as_object().unwrap() {
            object["metadata"]["annotations"][key] = value.clone();
        }
        world.create(MAPS, object).await;
    }
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
    let manifest: String = ["a", "old", "ledger", "given"]
        .map(|name| format!("---\n# Source: x\napiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: {name}\n"))
        .concat();
    let packed = release::packed(&facts, &manifest);
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
    assert!(world.get(&format!("{MAPS}/old")).await.is_none(), "Helm's upgrade would have deleted it");
    assert!(world.get(&format!("{MAPS}/ledger")).await.is_some());
    assert!(world.get(&format!("{MAPS}/given")).await.is_some());
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

#[tokio::test]
async fn after_a_rollback_by_hand_helms_history_ends_with_what_is_declared() {
    let world = World::new().await;
    let mut running = world.start().await;
    running.carry_out(world.plan(vec![of_chart(vec![config_map("a", "1")])])).await;
    until_records(&world, &[("sh.helm.release.v1.web.v1", "deployed")]).await;
    rolled_back(&world, 1, true).await;
    let ours = [("sh.helm.release.v1.web.v2", "superseded"), ("sh.helm.release.v1.web.v3", "deployed")];
    until_records(&world, &ours).await;
    assert!(world.get(&format!("{MAPS}/old")).await.is_none(), "what only Helm's revision had stays");
    assert_eq!(running.state("web"), Some(UnitState::Deployed));
    // The same while the agent is away, and when somebody deletes the record.
    running.kill().await;
    rolled_back(&world, 3, false).await;
    let mut running = world.start().await;
    let later = [("sh.helm.release.v1.web.v4", "superseded"), ("sh.helm.release.v1.web.v5", "deployed")];
    until_records(&world, &later).await;
    running.until_state("web", UnitState::Deployed).await;
    world.delete(&format!("{SECRETS}/sh.helm.release.v1.web.v5")).await;
    until_records(&world, &later).await;
    running.kill().await;
}

/// What `helm rollback` does to the records when this one is in force: its annotations are Helm's own, and another one
/// follows. Labels of others stay, for they may be the release's own.
async fn rolled_back(world: &World, number: u32, labelled: bool) {
    let record = |number: u32, status: &str, release: &str| {
        let mut record = json!({"apiVersion": "v1", "kind": "Secret", "type": release::SECRET_TYPE,
            "metadata": {"name": release::secret_name("web", number.into()), "labels": {
                "name": "web", "owner": "helm", "status": status, "version": number.to_string()}},
            "stringData": {"release": release}});
        if labelled {
            record["metadata"]["labels"]["skein.dev/unit"] = json!("shop.web");
        }
        record
    };
    let unit = Planned::new("web", vec![]).unit.id;
    let chart = ChartHead { name: "shop".into(), version: "0.9.0".into(), app_version: String::new() };
    let facts = release::Facts {
        unit: &unit,
        chart: &chart,
        revision: u64::from(number) + 1,
        first_deployed: 1_000,
        now: 2_000,
        status: "deployed",
        description: "Rollback to 1",
        hooks: Vec::new(),
    };
    let object = |name: &str| {
        format!("---\n# Source: x\napiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: {name}\n")
    };
    let packed = release::packed(&facts, &["a", "old"].map(object).concat());
    let mut old = config_map("old", "1");
    old["metadata"]["labels"] = json!({"app.kubernetes.io/managed-by": "Helm"});
    old["metadata"]["annotations"] =
        json!({"meta.helm.sh/release-name": "web", "meta.helm.sh/release-namespace": "shop"});
    world.create(MAPS, old).await;
    let put = async |record: Value| {
        let path = format!("{SECRETS}/{}", record["metadata"]["name"].as_str().unwrap());
        let put = http::Request::put(path).header("content-type", "application/json");
        let put = put.body(record.to_string().into_bytes()).unwrap();
        let _ = world.client.request::<Value>(put).await.unwrap();
    };
    let mut pending = record(number + 1, "pending-rollback", &packed);
    // Not long ago, whenever this is.
    pending["metadata"]["labels"]["createdAt"] = json!(u64::from(u32::MAX).to_string());
    world.create(SECRETS, pending).await;
    put(record(number, "superseded", &packed)).await;
    put(record(number + 1, "deployed", &packed)).await;
}
