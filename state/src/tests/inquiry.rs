//! What is answered about the cluster: how it differs from the plan, and what was there before.

use protocol::inquiry::{Aspect, Finding, Inquiry, UnitFindings};
use protocol::plan::DriftMode;
use protocol::policy::{Leeway, Leeways};
use protocol::report::UnitState;
use serde_json::{Value, json};
use std::sync::atomic::Ordering;

use super::{MAPS, Planned, Running, World, config_map, deployment, malformed};

async fn ask(running: &Running, service: &str, aspect: Aspect) -> Vec<UnitFindings> {
    let inquiry = Inquiry { service: service.to_owned(), aspect };
    running.handle().inquire(&inquiry).await.unwrap().units
}

/// Name, finding and lines of what differs.
fn told(unit: &UnitFindings) -> Vec<(String, Finding, Vec<String>)> {
    let lines = |lines: &[protocol::inquiry::Line]| {
        lines.iter().map(|line| format!("{} {:?} {:?}", line.path, line.live, line.desired)).collect()
    };
    let object = |object: &protocol::inquiry::ObjectFindings| {
        (object.key.name.clone(), object.finding.clone(), lines(&object.lines))
    };
    unit.objects.iter().map(object).collect()
}

fn watched(objects: Vec<Value>) -> Planned {
    Planned::new("web", objects).with(|unit| unit.drift = DriftMode::Report)
}

#[tokio::test]
async fn live_objects_are_compared_with_the_plan_without_a_write_and_secrets_stay_hidden() {
    let world = World::new().await;
    let mut running = world.start().await;
    let secret = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "login"}, "stringData": {"password": "hunter22"}});
    let objects = vec![
        config_map("a", "1"),
        config_map("b", "1"),
        config_map("free", "1"),
        deployment("web", 1),
        secret,
    ];
    let free = Leeways(vec![Leeway { object: 2, paths: vec!["/data/key".to_owned()] }]);
    let unit = watched(objects).with(|unit| unit.set_leeway(&free));
    running.carry_out(world.plan(vec![unit, Planned::new("other", vec![config_map("c", "1")])])).await;
    running.until_state("web", UnitState::Deployed).await;
    let all = ask(&running, "", Aspect::Differences).await;
    let counts: Vec<_> =
        all.iter().map(|unit| (unit.id.name.as_str(), unit.same, unit.objects.len())).collect();
    assert_eq!(counts, [("web", 5, 0), ("other", 1, 0)]);

    world.edit(&format!("{MAPS}/a"), json!({"data": {"key": "theirs", "more": "x"}})).await;
    world.edit(&format!("{MAPS}/free"), json!({"data": {"key": "theirs"}})).await;
    world.delete(&format!("{MAPS}/b")).await;
    let password = json!({"data": {"password": "aGVsbG8gd29ybGQ="}});
    world.edit("/api/v1/namespaces/shop/secrets/login", password).await;
    let before = world.wire.writes().len();
    let units = ask(&running, "shop.web", Aspect::Differences).await;
    assert_eq!(units.len(), 1);
    let mut found = told(&units[0]);
    found.sort_by_key(|(name, ..)| name.clone());
    let expected = [
        (
            "a".to_owned(),
            Finding::Differs,
            vec![".data.key Some(\"\\\"theirs\\\"\") Some(\"\\\"1\\\"\")".to_owned()],
        ),
        ("b".to_owned(), Finding::Missing, Vec::new()),
        ("login".to_owned(), Finding::Differs, vec![".data.password None None".to_owned()]),
    ];
    assert_eq!(found, expected);
    assert_eq!((units[0].same, world.wire.writes().len()), (2, before));

    // An API server that is away is told as such, of each object.
    world.wire.cut.store(true, Ordering::SeqCst);
    let units = ask(&running, "web", Aspect::Differences).await;
    let unknown = |(_, finding, _): &(String, Finding, Vec<String>)| matches!(finding, Finding::Unknown(why) if why.contains("does not answer"));
    assert!(told(&units[0]).iter().all(unknown) && units[0].objects.len() == 5, "{units:?}");
    assert!(ask(&running, "absent", Aspect::Differences).await.is_empty());
    world.wire.cut.store(false, Ordering::SeqCst);
    running.kill().await;
}

#[tokio::test]
async fn the_history_tells_what_each_revision_became_also_after_a_restart() {
    let world = World::new().await;
    let mut running = world.start().await;
    let revision = |objects: Vec<Value>, version: &str| {
        Planned::new("web", objects).with(|unit| {
            unit.version = version.into();
            unit.set_rollback_after(Some(1));
        })
    };
    running.carry_out(world.plan(vec![revision(vec![config_map("a", "1")], "1.0.0")])).await;
    running.carry_out(world.plan(vec![revision(vec![malformed()], "2.0.0")])).await;
    running.carry_out(world.plan(vec![revision(vec![config_map("a", "3")], "3.0.0")])).await;
    running.kill().await;
    let running = world.start().await;
    let units = ask(&running, "web", Aspect::History).await;
    let rows: Vec<_> = units[0]
        .revisions
        .iter()
        .map(|one| (one.version.as_str(), one.state, one.in_force.as_str(), one.message.is_empty()))
        .collect();
    assert_eq!(
        rows,
        [
            ("3.0.0", UnitState::Deployed, "3.0.0", true),
            ("2.0.0", UnitState::Failed, "1.0.0", false),
            ("1.0.0", UnitState::Deployed, "1.0.0", true),
        ]
    );
    assert!(units[0].revisions[1].message.contains("was rolled back to version \"1.0.0\""));
    assert!(units[0].revisions[0].at >= units[0].revisions[2].at);
    running.kill().await;
}
