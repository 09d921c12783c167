//! What the owner of a cluster decides on it, and orders whose time is over.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use protocol::id::Generation;
use protocol::plan::PlanHeader;
use protocol::report::UnitState;
use serde_json::json;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::hold::Hand;
use super::{MAPS, Planned, Running, World, config_map, plan_of, sign};
use crate::{Engine, Local};

fn unit(name: &str, value: &str, version: &str) -> Planned {
    Planned::new(name, vec![config_map(name, value)]).with(|unit| unit.version = version.into())
}

fn local(value: serde_json::Value) -> Result<Local, String> {
    Local::parse(&value.to_string())
}

/// An engine whose clock is set by hand and whose owner has decided before it began.
async fn start(world: &World, clock: &Arc<Hand>, before: Result<Local, String>) -> Running {
    let mut config = world.config();
    config.clock = clock.clone();
    config.local = before;
    let (tasks, cancel) = (TaskTracker::new(), CancellationToken::new());
    let handle = Engine::start(config, &tasks, cancel.clone()).await.unwrap();
    let reports = handle.reports();
    let (units, last) = Default::default();
    Running { handle: Some(handle), reports, tasks, cancel, units, last }
}

#[tokio::test]
async fn a_veto_holds_back_what_it_names_and_nothing_else_also_over_a_restart() {
    let world = World::new().await;
    let clock = Arc::new(Hand(AtomicU64::new(1_000)));
    let mut running = start(&world, &clock, Ok(Local::default())).await;
    running.carry_out(world.plan(vec![unit("a", "1", "1.0.0"), unit("b", "1", "1.0.0")])).await;
    let veto = || {
        local(json!({"holds": [{"namespace": "shop", "service": "a", "reason": "till is counted",
            "until": "1970-01-01T00:00:10Z"}]}))
    };
    running.handle().allow(veto());
    let second = world.plan(vec![unit("a", "2", "2.0.0"), unit("b", "2", "2.0.0")]);
    running.offer(second).await;
    let told = "version \"2.0.0\" is deferred until 1970-01-01T00:00:10Z: by the owner of this cluster: till is counted";
    running.until("a waits", |running| running.message("a") == told).await;
    running.until("b goes on", |running| running.units["b"].version == "2.0.0").await;
    running.until_state("b", UnitState::Deployed).await;
    // What runs is kept as it was.
    world.edit(&format!("{MAPS}/a"), json!({"data": {"key": "theirs"}})).await;
    running.until("drift is repaired", |running| running.units["a"].drift_repairs == 1).await;
    assert_eq!(world.get(&format!("{MAPS}/a")).await.unwrap()["data"]["key"], "1");
    running.kill().await;
    let mut running = start(&world, &clock, veto()).await;
    running.until("it is told again", |running| running.message("a") == told).await;
    clock.0.store(10_000, Ordering::SeqCst);
    // The removal of the veto and the end of its time lead to the same.
    running.handle().allow(Ok(Local::default()));
    running.until("a goes on", |running| running.units["a"].version == "2.0.0").await;
    running.until_state("a", UnitState::Deployed).await;
    world.becomes(&format!("{MAPS}/a"), "/data/key", json!("2")).await;
    running.kill().await;
}

#[tokio::test]
async fn new_plans_wait_for_a_window_removals_too_and_emergencies_do_not() {
    let world = World::new().await;
    // A Thursday, 00:00 UTC.
    let clock = Arc::new(Hand(AtomicU64::new(0)));
    let mut running = start(&world, &clock, Ok(Local::default())).await;
    running.carry_out(world.plan(vec![unit("a", "1", "1.0.0"), unit("b", "1", "1.0.0")])).await;
    let windows = json!({"windows": {"zone": "+02:00", "weekly": ["Thu 03:00-04:00"]}});
    running.handle().allow(local(windows));
    let urgent = unit("now", "1", "1.0.0").with(|unit| unit.set_emergency(true));
    running.offer(world.plan(vec![unit("a", "2", "2.0.0"), urgent])).await;
    running.until_state("now", UnitState::Deployed).await;
    let told = "version \"2.0.0\" is deferred until 1970-01-01T01:00:00Z: outside of the maintenance windows Thu 03:00-04:00 +02:00";
    running.until("a waits", |running| running.message("a") == told).await;
    running.until("b stays", |running| running.message("b").starts_with("its removal is deferred")).await;
    assert!(world.get(&format!("{MAPS}/b")).await.is_some());
    clock.0.store(3_600_000, Ordering::SeqCst);
    // Whatever makes the engine look finds the window open: here that the owner says the same once more, shorter.
    running.handle().allow(local(json!({"windows": {"zone": "UTC", "weekly": ["Thu 01:00-02:00"]}})));
    running.until("a goes on", |running| running.units["a"].version == "2.0.0").await;
    running.until("b is gone", |running| running.state("b") == Some(UnitState::Deleted)).await;
    running.kill().await;
}

#[tokio::test]
async fn what_the_owner_wrote_and_nobody_understands_holds_everything() {
    let world = World::new().await;
    let clock = Arc::new(Hand(AtomicU64::new(0)));
    let mut running = start(&world, &clock, Local::parse("{")).await;
    running.offer(world.plan(vec![unit("a", "1", "1.0.0")])).await;
    running.until("a waits", |running| running.message("a").contains("is not understood")).await;
    assert_eq!(running.state("a"), Some(UnitState::Pending));
    running.handle().allow(Ok(Local::default()));
    running.until_state("a", UnitState::Deployed).await;
    running.kill().await;
}

#[tokio::test]
async fn an_order_is_not_begun_after_its_time_whenever_the_edge_comes_to_it() {
    let world = World::new().await;
    let clock = Arc::new(Hand(AtomicU64::new(1_000)));
    let mut running = start(&world, &clock, Ok(Local::default())).await;
    running.carry_out(world.plan(vec![unit("a", "1", "1.0.0"), unit("old", "1", "1.0.0")])).await;
    // Stored in time, and cut off before anything was done.
    world.wire.cut.store(true, Ordering::SeqCst);
    running.handle().allow(local(json!({"holds": [{"reason": "night"}]})));
    let counter = world.counter.fetch_add(1, Ordering::SeqCst) + 1;
    let (plan, blobs) =
        plan_of(vec![unit("a", "2", "2.0.0"), unit("new", "1", "1.0.0")], Generation { term: 1, counter });
    let header: PlanHeader = protocol::codec::decode(&plan.header, 1 << 20).unwrap();
    running.offer((sign(&PlanHeader { not_after: Some(5_000), ..header }), blobs)).await;
    running.until("a waits", |running| running.message("a").contains("deferred until it is released")).await;
    running.kill().await;
    world.wire.cut.store(false, Ordering::SeqCst);
    clock.0.store(6_000, Ordering::SeqCst);
    let mut running = start(&world, &clock, Ok(Local::default())).await;
    let told = "not begun: its time was over at 1970-01-01T00:00:05Z";
    running
        .until("told for a", |running| running.message("a") == format!("version \"2.0.0\" is {told}"))
        .await;
    running.until("told for new", |running| running.message("new") == told).await;
    running.until("told for old", |running| running.message("old") == format!("its removal is {told}")).await;
    assert_eq!(running.state("new"), Some(UnitState::Failed));
    assert!(world.get(&format!("{MAPS}/new")).await.is_none());
    assert!(world.get(&format!("{MAPS}/old")).await.is_some());
    assert_eq!(world.get(&format!("{MAPS}/a")).await.unwrap()["data"]["key"], "1");
    // A unit may have a time of its own.
    let late = unit("late", "1", "1.0.0").with(|unit| unit.set_not_after(Some(5_999)));
    let soon = unit("soon", "1", "1.0.0").with(|unit| unit.set_not_after(Some(6_001)));
    running.carry_out(world.plan(vec![unit("a", "1", "1.0.0"), late, soon])).await;
    assert_eq!(running.state("soon"), Some(UnitState::Deployed));
    assert_eq!((running.state("late"), running.message("a")), (Some(UnitState::Failed), ""));
    running.kill().await;
}
