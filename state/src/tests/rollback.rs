//! A revision that fails is given up for the one that was healthy last.

use protocol::plan::{HookDeletion, HookEvent};
use protocol::report::UnitState;
use serde_json::json;

use super::{MAPS, Planned, World, config_map, deployment, job, malformed};

/// A unit that goes back after so many failed tries.
fn revision(tries: u32, objects: Vec<serde_json::Value>, version: &str) -> Planned {
    Planned::new("web", objects).with(|unit| {
        unit.version = version.into();
        unit.set_rollback_after(Some(tries));
    })
}

#[tokio::test]
async fn what_fails_so_often_is_given_up_for_what_was_there_and_not_tried_again() {
    let world = World::new().await;
    let mut running = world.start().await;
    let good = || vec![config_map("a", "1"), config_map("old", "1")];
    running.carry_out(world.plan(vec![revision(2, good(), "1.0.0")])).await;
    let bad = || vec![config_map("a", "2"), config_map("new", "1"), malformed()];
    running.carry_out(world.plan(vec![revision(2, bad(), "2.0.0")])).await;
    assert_eq!(running.state("web"), Some(UnitState::Failed));
    let message = running.message("web").to_owned();
    assert!(
        message.contains("broken") && message.contains("was rolled back to version \"1.0.0\""),
        "{message}"
    );
    let report = &running.units["web"];
    assert_eq!((report.version.as_str(), report.objects_ready), ("2.0.0", 2));
    assert_eq!(world.get(&format!("{MAPS}/a")).await.unwrap()["data"]["key"], "1");
    assert!(world.get(&format!("{MAPS}/old")).await.is_some());
    assert!(world.get(&format!("{MAPS}/new")).await.is_none());
    assert_eq!(running.handle().metrics().rollbacks_total, 1);
    let deployed = report.deployed_hash;

    // Neither a restart nor the same revision in another plan is a reason to try it again.
    running.kill().await;
    let mut running = world.start().await;
    let before = world.wire.writes().len();
    running.carry_out(world.plan(vec![revision(2, bad(), "2.0.0")])).await;
    assert_eq!((running.state("web"), running.message("web")), (Some(UnitState::Failed), message.as_str()));
    assert_eq!(running.units["web"].deployed_hash, deployed);
    assert_eq!(world.wire.writes().len(), before, "{:?}", &world.wire.writes()[before..]);

    // What was there is kept as it should be.
    world.edit(&format!("{MAPS}/a"), json!({"data": {"key": "theirs"}})).await;
    running.until("the drift is repaired", |running| running.units["web"].drift_repairs == 1).await;
    assert_eq!(running.state("web"), Some(UnitState::Failed));

    // Another revision is tried.
    let better = vec![config_map("a", "3"), config_map("new", "1")];
    running.carry_out(world.plan(vec![revision(2, better, "3.0.0")])).await;
    assert_eq!((running.state("web"), running.message("web")), (Some(UnitState::Deployed), ""));
    assert_eq!(world.get(&format!("{MAPS}/a")).await.unwrap()["data"]["key"], "3");
    assert!(world.get(&format!("{MAPS}/old")).await.is_none());
    assert!(world.get(&format!("{MAPS}/new")).await.is_some());
    running.kill().await;
}

#[tokio::test]
async fn a_return_to_the_good_revision_by_the_plan_ends_the_complaint() {
    let world = World::new().await;
    let mut running = world.start().await;
    let good = || revision(1, vec![config_map("a", "1")], "1.0.0");
    running.carry_out(world.plan(vec![good()])).await;
    running.carry_out(world.plan(vec![revision(1, vec![malformed()], "2.0.0")])).await;
    assert_eq!(running.state("web"), Some(UnitState::Failed));
    let before = world.wire.writes().len();
    running.carry_out(world.plan(vec![good()])).await;
    running.until_state("web", UnitState::Deployed).await;
    assert_eq!((running.message("web"), running.units["web"].version.as_str()), ("", "1.0.0"));
    assert_eq!(world.wire.writes().len(), before);
    running.kill().await;
}

#[tokio::test]
async fn what_does_not_become_healthy_in_its_time_is_given_up_at_once() {
    let world = World::new().await;
    let mut running = world.start().await;
    let large = |cpu: &str| {
        let mut web = deployment("web", 1);
        web["spec"]["template"]["spec"]["containers"][0]["resources"]["requests"]["cpu"] = cpu.into();
        web
    };
    running.carry_out(world.plan(vec![revision(9, vec![large("1")], "1.0.0")])).await;
    let late = revision(9, vec![large("4000")], "2.0.0").with(|unit| unit.timeout_ms = 300);
    running.carry_out(world.plan(vec![late])).await;
    let message = running.message("web");
    assert!(message.contains("is not healthy after") && message.contains("was rolled back to"), "{message}");
    let web = world.get("/apis/apps/v1/namespaces/shop/deployments/web").await.unwrap();
    assert_eq!(web["spec"]["template"]["spec"]["containers"][0]["resources"]["requests"]["cpu"], "1");
    running.kill().await;
}

#[tokio::test]
async fn rollback_hooks_of_the_revision_that_comes_back_run_around_it() {
    let world = World::new().await;
    let mut running = world.start().await;
    let kept = vec![HookDeletion::BeforeCreation];
    let good = revision(1, vec![config_map("a", "1")], "1.0.0")
        .hook(&job("before"), vec![HookEvent::PreRollback], 0, kept.clone())
        .hook(&job("after"), vec![HookEvent::PostRollback], 0, kept);
    running.carry_out(world.plan(vec![good])).await;
    let jobs = "/apis/batch/v1/namespaces/shop/jobs";
    assert_eq!(world.get(jobs).await.unwrap()["items"], json!([]));
    running.carry_out(world.plan(vec![revision(1, vec![config_map("a", "2"), malformed()], "2.0.0")])).await;
    let ran = world.get(jobs).await.unwrap();
    let names: Vec<_> = ran["items"].as_array().unwrap().iter().map(|job| &job["metadata"]["name"]).collect();
    assert_eq!(names, ["after", "before"]);
    running.kill().await;
}

#[tokio::test]
async fn without_a_good_revision_or_the_wish_for_it_a_unit_keeps_trying() {
    let world = World::new().await;
    let mut running = world.start().await;
    running.carry_out(world.plan(vec![revision(1, vec![malformed()], "1.0.0")])).await;
    assert_eq!(running.state("web"), Some(UnitState::Failed));
    let plain = |objects| Planned::new("plain", objects);
    running.carry_out(world.plan(vec![plain(vec![config_map("a", "1")])])).await;
    running.carry_out(world.plan(vec![plain(vec![config_map("a", "2"), malformed()])])).await;
    assert_eq!(running.handle().metrics().rollbacks_total, 0);
    assert_eq!(world.get(&format!("{MAPS}/a")).await.unwrap()["data"]["key"], "2");
    running.kill().await;
}
