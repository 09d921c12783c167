//! Hooks: order, once per revision, failure.

use protocol::plan::{HookDeletion, HookEvent};
use protocol::report::UnitState;

use super::{Planned, World, config_map, job};

const JOBS: &str = "/apis/batch/v1/namespaces/shop/jobs";

#[tokio::test]
async fn hooks_run_around_an_installation_by_weight_and_again_for_an_upgrade() {
    let world = World::new().await;
    let mut running = world.start().await;
    let unit = |value: &str| {
        Planned::new("web", vec![config_map("a", value)])
            .hook(&job("late"), vec![HookEvent::PreInstall], 5, vec![HookDeletion::Succeeded])
            .hook(&job("early"), vec![HookEvent::PreInstall, HookEvent::PreUpgrade], -5, vec![])
            .hook(&job("after"), vec![HookEvent::PostInstall], 0, vec![])
    };
    running.carry_out(world.plan(vec![unit("1")])).await;
    assert_eq!(running.state("web"), Some(UnitState::Deployed), "{}", running.message("web"));
    let creates = || -> Vec<String> {
        let log = world.wire.writes();
        log.into_iter().filter(|line| line.contains("/jobs") || line.contains("configmaps")).collect()
    };
    let order = creates();
    assert_eq!(order.iter().filter(|line| line.starts_with("POST")).count(), 3, "{order:?}");
    assert!(order[3].starts_with("PATCH") || order[2].starts_with("PATCH"), "{order:?}");
    assert!(world.get(&format!("{JOBS}/late")).await.is_none());
    assert!(world.get(&format!("{JOBS}/early")).await.is_some());
    let first = world.get(&format!("{JOBS}/early")).await.unwrap()["metadata"]["uid"].clone();
    running.carry_out(world.plan(vec![unit("2")])).await;
    assert_eq!(running.state("web"), Some(UnitState::Deployed), "{}", running.message("web"));
    let second = world.get(&format!("{JOBS}/early")).await.unwrap()["metadata"]["uid"].clone();
    assert_ne!(first, second);
    assert_eq!(creates().iter().filter(|line| line.starts_with("POST")).count(), 4);
}

#[tokio::test]
async fn a_hook_that_does_not_end_fails_the_unit_and_nothing_is_applied() {
    let world = World::new().await;
    let mut running = world.start().await;
    let mut endless = job("endless");
    endless["spec"]["suspend"] = serde_json::json!(true);
    let unit = Planned::new("web", vec![config_map("a", "1")])
        .hook(&endless, vec![HookEvent::PreInstall], 0, vec![HookDeletion::Failed])
        .with(|unit| unit.timeout_ms = 200);
    running.carry_out(world.plan(vec![unit])).await;
    assert_eq!(running.state("web"), Some(UnitState::Failed));
    let message = running.message("web");
    assert!(message.contains("hook Job.batch shop/endless failed: it did not end"), "{message}");
    assert!(world.get("/api/v1/namespaces/shop/configmaps/a").await.is_none());
}
