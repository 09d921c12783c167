//! The crash-point sweep: the engine dies before and after every write of the store and every write to the
//! API server, and what comes out after a restart is the same, each effect once.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use protocol::id::Generation;
use protocol::plan::{HookDeletion, HookEvent};
use protocol::policy::ChartHead;
use protocol::report::UnitState;
use serde_json::{Value, json};

use super::{MAPS, Planned, World, config_map, deployment, job, malformed, plan_of, unit_id};
use crate::Offered;
use crate::faults::Faults;

/// What the story leads to: install, then upgrade with a hook, a pruned object and a removed unit.
fn story() -> Vec<Vec<Planned>> {
    let web = |value: &str, extra: bool| {
        let mut objects = vec![config_map("a", value), deployment("web", 1)];
        if extra {
            objects.push(config_map("extra", "1"));
        }
        Planned::new("web", objects)
            .hook(&job("before"), vec![HookEvent::PreInstall], 0, vec![HookDeletion::Succeeded])
            .hook(&job("upgrade"), vec![HookEvent::PreUpgrade], 0, vec![])
            .with(|unit| unit.depends_on = vec![unit_id("base")])
    };
    let base = || Planned::new("base", vec![config_map("base", "1")]);
    let other = || Planned::new("other", vec![config_map("other", "1")]);
    vec![vec![base(), web("1", true), other()], vec![base(), web("2", false)]]
}

/// What leads back: install, then an upgrade that is given up, with hooks around the way back.
fn failing_story() -> Vec<Vec<Planned>> {
    let web = |objects| {
        Planned::new("web", objects)
            .hook(&job("back"), vec![HookEvent::PreRollback], 0, vec![HookDeletion::Succeeded])
            .hook(&job("arrived"), vec![HookEvent::PostRollback], 0, vec![])
            .with(|unit| unit.set_rollback_after(Some(1)))
    };
    let good = web(vec![config_map("a", "1"), config_map("extra", "1")]);
    let bad = web(vec![config_map("a", "2"), config_map("new", "1"), malformed()]);
    vec![vec![good], vec![bad]]
}

/// What is ordered on top: a chart with Helm's records, tests by two orders, a workload that rolls with what it mounts.
fn ordered_story() -> Vec<Vec<Planned>> {
    let chart = ChartHead { name: "shop".into(), version: "1.0.0".into(), app_version: String::new() };
    let unit = |value: &str, order: &str| {
        let mut web = deployment("web", 1);
        web["spec"]["template"]["spec"]["volumes"] = json!([{"name": "v", "configMap": {"name": "a"}}]);
        Planned::new("web", vec![config_map("a", value), web])
            .hook(&job("probe"), vec![HookEvent::Test], 0, vec![HookDeletion::BeforeCreation])
            .with(|unit| {
                unit.set_chart(Some(&chart));
                unit.set_reloads(true);
                unit.set_test_order(Some(order));
            })
    };
    vec![vec![unit("1", "first")], vec![unit("2", "second")]]
}

/// The cluster at the end, without what differs between runs.
async fn outcome(world: &World) -> Vec<Value> {
    let mut all = Vec::new();
    for path in [MAPS, "/apis/apps/v1/namespaces/shop/deployments", "/apis/batch/v1/namespaces/shop/jobs"] {
        let list = world.get(path).await.unwrap();
        for item in list["items"].as_array().unwrap() {
            let name = &item["metadata"]["name"];
            if name != "kube-root-ca.crt" {
                all.push(json!([
                    path,
                    name,
                    item["data"],
                    item["metadata"]["annotations"]["skein.dev/unit"],
                    item["spec"]["template"]["metadata"]["annotations"],
                ]));
            }
        }
    }
    all
}

/// Runs the story, dying at the given point; returns how many points were passed until the end.
async fn run(story: fn() -> Vec<Vec<Planned>>, fatal: Option<i64>) -> (Vec<Value>, Vec<String>, i64) {
    let world = World::new().await;
    let faults = Arc::new(Faults::default());
    if let Some(fatal) = fatal {
        faults.arm(fatal);
    }
    let mut running = world.start_with(Arc::clone(&faults)).await;
    for (plan, units) in (1u64..).zip(story()) {
        let generation = Generation { term: 1, counter: plan };
        let orders: Vec<String> = units
            .iter()
            .filter_map(|planned| Some(format!("test \"{}\" passed", planned.unit.test_order()?)))
            .collect();
        let (signed, blobs) = plan_of(units, generation);
        loop {
            let attempt = async {
                match running.handle().offer(signed.clone(), blobs.clone()).await {
                    Offered::Stored(_) => {}
                    other @ (Offered::Missing(_) | Offered::Refused(_)) => {
                        assert!(faults.dead(), "{other:?}")
                    }
                }
                running
                    .until("carried out", |running| {
                        running.last.applied == Some(generation)
                            && running.units.values().all(|unit| {
                                unit.state != UnitState::Failed || unit.message.contains("was rolled back")
                            })
                            && orders
                                .iter()
                                .all(|order| running.units.values().any(|unit| unit.message.contains(order)))
                    })
                    .await;
            };
            let died = tokio::select! {
                () = attempt => false,
                () = faults.died.notified() => true,
            };
            if !died && !faults.dead() {
                break;
            }
            running.kill().await;
            running = world.start().await;
            faults.revive();
        }
    }
    running.kill().await;
    let log = world.wire.writes();
    let points = faults.passed();
    assert!(!world.wire.cut.load(Ordering::SeqCst));
    (outcome(&world).await, log, points)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_crash_at_any_point_leads_to_the_same_cluster_and_no_effect_twice() {
    let (wanted, log, points) = run(story, None).await;
    assert_eq!(wanted.len(), 4, "{wanted:?}");
    assert!(points > 20, "{points}: {log:?}");
    for fatal in 0..points {
        let (got, log, _) = run(story, Some(fatal)).await;
        assert_eq!(got, wanted, "died at {fatal}: {log:#?}");
        let creations = log.iter().filter(|line| line.starts_with("POST") && line.contains("/jobs")).count();
        assert_eq!(creations, 2, "died at {fatal}: {log:#?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_crash_at_any_point_of_a_rollback_leads_to_the_good_revision_and_no_hook_runs_twice() {
    let (wanted, log, points) = run(failing_story, None).await;
    assert_eq!(wanted.len(), 3, "{wanted:?}");
    assert!(points > 15, "{points}: {log:?}");
    for fatal in 0..points {
        let (got, log, _) = run(failing_story, Some(fatal)).await;
        assert_eq!(got, wanted, "died at {fatal}: {log:#?}");
        let creations = log.iter().filter(|line| line.starts_with("POST") && line.contains("/jobs")).count();
        assert_eq!(creations, 2, "died at {fatal}: {log:#?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_crash_at_any_point_of_records_tests_and_reloads_changes_nothing_and_no_test_runs_twice() {
    let (wanted, log, points) = run(ordered_story, None).await;
    assert_eq!(wanted.len(), 3, "{wanted:?}");
    assert!(points > 20, "{points}: {log:?}");
    for fatal in 0..points {
        let (got, log, _) = run(ordered_story, Some(fatal)).await;
        assert_eq!(got, wanted, "died at {fatal}: {log:#?}");
        let creations = log.iter().filter(|line| line.starts_with("POST") && line.contains("/jobs")).count();
        assert_eq!(creations, 2, "died at {fatal}: {log:#?}");
    }
}
