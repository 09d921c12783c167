//! The crash-point sweep: the engine dies before and after every write of the store and every write to the
//! API server, and what comes out after a restart is the same, each effect once. The same where only the connection
//! to the API server breaks, before a write or before its answer.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use futures::StreamExt as _;
use protocol::id::Generation;
use protocol::message::BlobPart;
use protocol::plan::SignedPlan;
use protocol::plan::{HookDeletion, HookEvent, Removal};
use protocol::policy::ChartHead;
use protocol::report::{UnitReport, UnitState};
use serde_json::{Value, json};
use tokio_util::task::TaskTracker;

use super::{
    MAPS, PATIENCE, Planned, Running, World, config_map, deployment, job, malformed, plan_of, unit_id,
};
use crate::Offered;
use crate::faults::Faults;

/// Stories that are played at the same time: most of them wait.
const SIDE_BY_SIDE: usize = 8;

/// A step of a story.
enum Step {
    Plan(Vec<Planned>),
    /// Somebody changes an object, or deletes it; its value at the pointer becomes again what it was.
    Meddle(String, Option<Value>, &'static str),
}

type Story = fn() -> Vec<Step>;

/// What the story leads to: install, then upgrade with a hook, a pruned object and a removed unit.
fn story() -> Vec<Step> {
    let web = |value: &str, extra: bool| {
        let mut objects = vec![config_map("a", value), deployment("web", 1)];
        if extra {
            objects.push(config_map("extra", "1"));
        }
        Planned::new("web", objects)
            .hook(&job("before"), vec![HookEvent::PreInstall], 0, vec![HookDeletion::Succeeded])
            .hook(&job("upgrade"), vec![HookEvent::PreUpgrade], 0, vec![])
            .with(|unit| {
                unit.depends_on = vec![unit_id("base")];
                unit.version = value.into();
            })
    };
    let base = || Planned::new("base", vec![config_map("base", "1")]);
    let other = || Planned::new("other", vec![config_map("other", "1")]);
    vec![Step::Plan(vec![base(), web("1", true), other()]), Step::Plan(vec![base(), web("2", false)])]
}

/// What leads back: install, then an upgrade that is given up, with hooks around the way back.
fn failing_story() -> Vec<Step> {
    let web = |objects| {
        Planned::new("web", objects)
            .hook(&job("back"), vec![HookEvent::PreRollback], 0, vec![HookDeletion::Succeeded])
            .hook(&job("arrived"), vec![HookEvent::PostRollback], 0, vec![])
            .with(|unit| unit.set_rollback_after(Some(1)))
    };
    let good = web(vec![config_map("a", "1"), config_map("extra", "1")]);
    let bad = web(vec![config_map("a", "2"), config_map("new", "1"), malformed()]);
    vec![Step::Plan(vec![good]), Step::Plan(vec![bad])]
}

/// What is ordered on top: a chart with Helm's records, tests by two orders, a workload that rolls with what it mounts.
fn ordered_story() -> Vec<Step> {
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
    vec![Step::Plan(vec![unit("1", "first")]), Step::Plan(vec![unit("2", "second")])]
}

/// What changes hands and what goes: an object moves to another unit, one unit is left behind, one is uninstalled with
/// hooks before and after, in the order of dependencies; then the other one has it again.
fn moving_story() -> Vec<Step> {
    let unit = |name: &str, objects: &[&str]| {
        Planned::new(name, objects.iter().map(|name| config_map(name, "1")).collect())
    };
    let going =
        || {
            let going = unit("going", &["d", "e"]).with(|unit| unit.depends_on = vec![unit_id("left")]);
            going
                .hook(&job("farewell"), vec![HookEvent::PreDelete], 0, vec![HookDeletion::BeforeCreation])
                .hook(&job("after"), vec![HookEvent::PostDelete], 0, vec![HookDeletion::Succeeded])
        };
    let left = || unit("left", &["f"]).with(|unit| unit.removal = Removal::Leave);
    vec![
        Step::Plan(vec![unit("one", &["a", "b"]), unit("two", &["c"]), left(), going()]),
        Step::Plan(vec![unit("two", &["a", "c"]), unit("one", &["b"])]),
        Step::Plan(vec![unit("one", &["a"]), unit("two", &["c"])]),
    ]
}

/// What is repaired: a value, a deletion and a mark that is taken off; then an upgrade over it.
fn meddled_story() -> Vec<Step> {
    let web = |value: &str| {
        Step::Plan(vec![Planned::new("web", vec![config_map("a", value), deployment("web", 1)])])
    };
    let (map, web_path) = (format!("{MAPS}/a"), "/apis/apps/v1/namespaces/shop/deployments/web".to_owned());
    let unmarked = json!({"metadata": {"labels": {"skein.dev/unit": null}}});
    vec![
        web("1"),
        Step::Meddle(map.clone(), Some(json!({"data": {"key": "theirs"}})), "/data/key"),
        Step::Meddle(web_path.clone(), None, "/spec/replicas"),
        Step::Meddle(map.clone(), Some(unmarked), "/metadata/labels/skein.dev~1unit"),
        web("2"),
        Step::Meddle(map, None, "/data/key"),
    ]
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
                    item["metadata"]["labels"]["skein.dev/unit"],
                    item["spec"]["template"]["metadata"]["annotations"],
                ]));
            }
        }
    }
    all
}

/// What Events say to be deployed, and how often.
async fn deployed(world: &World) -> BTreeMap<String, u64> {
    let events = world.events().await;
    let told = events.iter().filter(|event| event["message"].as_str().unwrap().ends_with("is deployed"));
    let told =
        told.map(|event| (event["message"].as_str().unwrap().to_owned(), event["count"].as_u64().unwrap()));
    told.collect()
}

/// Whether the writing of Events is a part of what is swept: it is the same for all stories, and takes its time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Events {
    Swept,
    /// They wait for longer than the story takes.
    Late,
}

/// Where a story is disturbed.
#[derive(Debug, Clone, Copy)]
enum Disturbed {
    Never,
    /// The engine dies at this point.
    Dies(i64),
    /// The connection to the API server breaks at this point.
    Breaks(i64),
}

/// How a story ended.
struct Ended {
    outcome: Vec<Value>,
    /// What was made, in how many requests.
    jobs: usize,
    /// Whether it was tried to delete ConfigMap `a`.
    deleted: bool,
    log: Vec<String>,
    /// How often each Event that tells of a deployed revision says that it happened.
    deployed: BTreeMap<String, u64>,
    /// Points that were passed until the end: of the engine's life, and of the connection.
    points: (i64, i64),
}

/// Plays the story.
async fn play(story: Story, events: Events, disturbed: Disturbed) -> Ended {
    let mut world = World::new().await;
    if events == Events::Late {
        world.events_delay = PATIENCE;
    }
    let faults = Arc::new(Faults::default());
    match disturbed {
        Disturbed::Never => {}
        Disturbed::Dies(point) => faults.arm(point),
        Disturbed::Breaks(point) => faults.break_at(point),
    }
    let mut running = world.start_with(Arc::clone(&faults)).await;
    for (number, step) in (1u64..).zip(story()) {
        let generation = Generation { term: 1, counter: number };
        let step = Stepped::new(&world, step, generation).await;
        loop {
            if !disturbed_while(&faults, step.take(&world, &mut running, &faults)).await {
                break;
            }
            running.kill().await;
            running = world.start().await;
            faults.revive();
        }
    }
    while events == Events::Swept && disturbed_while(&faults, all_told(&world, &running)).await {
        running.kill().await;
        running = world.start().await;
        faults.revive();
    }
    running.kill().await;
    let created = world.wire.created.lock().unwrap().clone();
    assert!(!world.wire.cut.load(Ordering::SeqCst));
    let log = world.wire.writes();
    Ended {
        outcome: outcome(&world).await,
        deployed: deployed(&world).await,
        jobs: created.iter().filter(|line| line.starts_with("POST") && line.ends_with("/jobs")).count(),
        deleted: log.iter().any(|line| line.starts_with("DELETE") && line.contains("/configmaps/a?")),
        log,
        points: (faults.passed(), faults.unbroken()),
    }
}

/// Whether the engine dies while something is done.
async fn disturbed_while(faults: &Faults, done: impl Future<Output = ()>) -> bool {
    let died = tokio::select! {
        () = done => false,
        () = faults.died.notified() => true,
    };
    died || faults.dead()
}

/// Waits until Events tell how each unit ended.
async fn all_told(world: &World, running: &Running) {
    let told = async {
        loop {
            let events = world.events().await;
            let units = running.handle().snapshot();
            if units.iter().filter(|unit| unit.state != UnitState::Deleted).all(|unit| is_told(unit, &events))
            {
                return;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let told = tokio::time::timeout(PATIENCE, told).await;
    assert!(told.is_ok(), "{:?} is not told: {:#?}", running.handle().snapshot(), world.events().await);
}

/// Whether an Event tells how a unit ended.
fn is_told(unit: &UnitReport, events: &[Value]) -> bool {
    let (reasons, text) = if unit.state == UnitState::Deployed {
        let text = format!("{}/{}: version \"{}\"", unit.id.namespace, unit.id.name, unit.version);
        (["Deployed", "Upgraded", "Recovered"], text)
    } else {
        (["RolledBack"; 3], "was rolled back".to_owned())
    };
    events.iter().any(|event| {
        reasons.iter().any(|reason| event["reason"] == *reason)
            && event["message"].as_str().is_some_and(|message| message.contains(&text))
    })
}

/// A step that is taken until it is done, however often the engine begins again.
enum Stepped {
    Plan { generation: Generation, signed: SignedPlan, blobs: Vec<BlobPart>, orders: Vec<String> },
    Meddled { path: String, pointer: &'static str, wanted: Value },
}

impl Stepped {
    /// Signs the plan, or meddles.
    async fn new(world: &World, step: Step, generation: Generation) -> Self {
        match step {
            Step::Plan(units) => {
                let orders = units.iter().filter_map(|planned| planned.unit.test_order());
                let orders = orders.map(|order| format!("test \"{order}\" passed")).collect();
                let (signed, blobs) = plan_of(units, generation);
                Self::Plan { generation, signed, blobs, orders }
            }
            Step::Meddle(path, patch, pointer) => {
                let wanted = world.get(&path).await.unwrap().pointer(pointer).unwrap().clone();
                match patch {
                    Some(patch) => drop(world.edit(&path, patch).await),
                    None => world.delete(&path).await,
                }
                Self::Meddled { path, pointer, wanted }
            }
        }
    }

    async fn take(&self, world: &World, running: &mut Running, faults: &Faults) {
        match self {
            Self::Plan { generation, signed, blobs, orders } => {
                match running.handle().offer(signed.clone(), blobs.clone()).await {
                    Offered::Stored(_) => {}
                    other @ (Offered::Missing(_) | Offered::Refused(_)) => {
                        assert!(faults.dead(), "{other:?}")
                    }
                }
                let through = |unit: &UnitReport| {
                    unit.state != UnitState::Failed || unit.message.contains("was rolled back")
                };
                let carried_out = |running: &Running| {
                    running.last.applied == Some(*generation)
                        && running.units.values().all(through)
                        && orders
                            .iter()
                            .all(|order| running.units.values().any(|unit| unit.message.contains(order)))
                };
                running.until("carried out", carried_out).await;
            }
            Self::Meddled { path, pointer, wanted } => {
                world.becomes(path, pointer, wanted.clone()).await;
                let well =
                    |running: &Running| running.units.values().all(|unit| unit.state == UnitState::Deployed);
                running.until("all is well", well).await;
            }
        }
    }
}

/// Disturbs the story at every point.
async fn sweep(story: Story, events: Events, objects: usize, jobs: usize) -> Ended {
    let plans = story().iter().filter(|step| matches!(step, Step::Plan(_))).count() as u64;
    let wanted = play(story, events, Disturbed::Never).await;
    let (lives, connections) = wanted.points;
    assert_eq!((wanted.outcome.len(), wanted.jobs), (objects, jobs), "{:?}", wanted.outcome);
    assert!(lives > 15 && connections > 10, "{:?}: {:#?}", wanted.points, wanted.log);
    let points = (0..lives).map(Disturbed::Dies).chain((0..connections).map(Disturbed::Breaks));
    let tasks = TaskTracker::new();
    let runs =
        points.map(|disturbed| tasks.spawn(async move { (disturbed, play(story, events, disturbed).await) }));
    let mut runs = futures::stream::iter(runs).buffer_unordered(SIDE_BY_SIDE);
    while let Some(run) = runs.next().await {
        let (disturbed, got) = run.unwrap();
        let told = || format!("{disturbed:?}: {:#?}", got.log);
        assert_eq!(got.outcome, wanted.outcome, "{}", told());
        assert_eq!(got.jobs, wanted.jobs, "{}", told());
        assert_eq!(got.deleted, wanted.deleted, "{}", told());
        for (text, count) in &got.deployed {
            // A revision that is in force more than once is told as often.
            let most = if text.contains("\"1.0.0\"") { plans } else { 1 };
            assert!(*count <= most, "{text} {count} times: {}", told());
        }
    }
    wanted
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_crash_at_any_point_leads_to_the_same_cluster_and_no_effect_twice() {
    let ended = sweep(story, Events::Swept, 4, 2).await;
    let upgraded = "service shop/web: version \"2\" is deployed";
    assert_eq!(ended.deployed.get(upgraded), Some(&1), "{:?}", ended.deployed);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_crash_at_any_point_of_a_rollback_leads_to_the_good_revision_and_no_hook_runs_twice() {
    sweep(failing_story, Events::Swept, 3, 2).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_crash_at_any_point_of_records_tests_and_reloads_changes_nothing_and_no_test_runs_twice() {
    sweep(ordered_story, Events::Late, 3, 2).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_crash_at_any_point_of_a_hand_over_or_an_uninstall_deletes_nothing_that_stays() {
    let ended = sweep(moving_story, Events::Late, 4, 2).await;
    assert!(!ended.deleted, "{:#?}", ended.log);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_crash_at_any_point_of_a_repair_leads_to_what_was_declared() {
    sweep(meddled_story, Events::Late, 2, 0).await;
}
