//! Plans that are held back.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use protocol::id::Generation;
use protocol::policy::HOLD;
use protocol::report::UnitState;
use serde_json::json;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::{MAPS, Planned, Running, World, config_map, plan_with};
use crate::{Clock, Engine};

/// A clock that is set by hand.
pub(super) struct Hand(pub(super) AtomicU64);

impl Clock for Hand {
    fn now(&self) -> u64 {
        self.0.load(Ordering::SeqCst)
    }
}

impl World {
    async fn offer_held(&self, running: &Running, units: Vec<Planned>, hold: Option<serde_json::Value>) {
        let counter = self.counter.fetch_add(1, Ordering::SeqCst) + 1;
        let settings = hold.map(|hold| (HOLD.to_owned(), hold.to_string())).into_iter().collect();
        running.offer(plan_with(units, settings, Generation { term: 1, counter })).await;
    }
}

fn unit(name: &str, value: &str, version: &str) -> Planned {
    Planned::new(name, vec![config_map(name, value)]).with(|unit| unit.version = version.into())
}

#[tokio::test]
async fn a_held_plan_changes_nothing_and_tells_why_until_another_one_frees_it() {
    let world = World::new().await;
    let mut running = world.start().await;
    let first = vec![unit("a", "1", "1.0.0"), unit("b", "1", "1.0.0"), unit("same", "1", "1.0.0")];
    running.carry_out(world.plan(first)).await;
    let second = || vec![unit("a", "2", "2.0.0"), unit("new", "1", "1.0.0"), unit("same", "1", "1.0.0")];
    let hold = json!({"reason": "stocktaking", "until": "2999-01-01T00:00:00Z"});
    world.offer_held(&running, second(), Some(hold.clone())).await;
    let told = "version \"2.0.0\" is deferred until 2999-01-01T00:00:00Z: stocktaking";
    running.until("a tells", |running| running.message("a") == told).await;
    running.until("b tells", |running| running.message("b").starts_with("its removal is deferred")).await;
    running.until("the new one waits", |running| running.state("new") == Some(UnitState::Pending)).await;
    assert_eq!((running.state("a"), running.message("same")), (Some(UnitState::Deployed), ""));
    assert_eq!(running.units["a"].version, "1.0.0");
    world.edit(&format!("{MAPS}/a"), json!({"data": {"key": "theirs"}})).await;
    running.until("drift is repaired", |running| running.units["a"].drift_repairs == 1).await;
    assert_eq!(world.get(&format!("{MAPS}/a")).await.unwrap()["data"]["key"], "1");
    running.kill().await;

    let mut running = world.start().await;
    running.until("it is told again", |running| running.message("a") == told).await;
    assert!(
        world.get(&format!("{MAPS}/b")).await.is_some() && world.get(&format!("{MAPS}/new")).await.is_none()
    );
    // Another plan without what waited, held too.
    let third = vec![unit("a", "2", "2.0.0"), unit("same", "1", "1.0.0")];
    world.offer_held(&running, third, Some(json!("nonsense"))).await;
    running.until("what waited is gone", |running| running.state("new") == Some(UnitState::Deleted)).await;
    running
        .until("the hold is not understood", |running| running.message("a").contains("not understood"))
        .await;
    world.offer_held(&running, second(), None).await;
    running
        .until("all is there", |running| {
            running.state("new") == Some(UnitState::Deployed) && running.units["a"].version == "2.0.0"
        })
        .await;
    running.until("b is gone", |running| running.state("b") == Some(UnitState::Deleted)).await;
    assert_eq!(world.get(&format!("{MAPS}/a")).await.unwrap()["data"]["key"], "2");
    running.kill().await;
}

#[tokio::test]
async fn a_hold_ends_by_itself_when_the_clock_says_so() {
    let world = World::new().await;
    let clock = Arc::new(Hand(AtomicU64::new(1_000)));
    let mut config = world.config();
    config.clock = clock.clone();
    let (tasks, cancel) = (TaskTracker::new(), CancellationToken::new());
    let handle = Engine::start(config, &tasks, cancel.clone()).await.unwrap();
    let reports = handle.reports();
    let mut running = Running {
        handle: Some(handle),
        reports,
        tasks,
        cancel,
        units: Default::default(),
        last: Default::default(),
    };
    let hold = json!({"until": "1970-01-01T00:00:01.100Z"});
    world.offer_held(&running, vec![unit("a", "1", "1.0.0")], Some(hold)).await;
    running.until("it waits", |running| running.state("a") == Some(UnitState::Pending)).await;
    assert_eq!(running.message("a"), "deferred until 1970-01-01T00:00:01.1Z");
    assert!(world.get(&format!("{MAPS}/a")).await.is_none());
    clock.0.store(2_000, Ordering::SeqCst);
    running.until_state("a", UnitState::Deployed).await;
    running.kill().await;
}
