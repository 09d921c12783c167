//! A Deployment rolls its template out: a ReplicaSet per template, the new one up and the old ones down within
//! `maxSurge` and `maxUnavailable`.

use std::time::Duration;

use jiff::Timestamp;
use serde_json::{Value, json};

use super::event::{Notice, record};
use super::{Workloads, conditions, owner_reference, set_count, template};
use crate::error::ApiError;
use crate::object::{self, integer, set, text};
use crate::storage::ObjectKey;
use crate::timers::Timers;

const REVISION: &str = "deployment.kubernetes.io/revision";
const HASH_LABEL: &str = "pod-template-hash";

/// The ReplicaSets of a Deployment.
struct Sets {
    new: Value,
    old: Vec<Value>,
}

/// Rolls out, scales, cleans up, and keeps the status.
pub(super) fn reconcile(
    workloads: &mut Workloads,
    deployment: &Value,
    timers: &mut Timers,
) -> Result<(), ApiError> {
    let sets = find_sets(workloads, deployment)?;
    let Some(sets) = sets else { return Ok(()) };
    if deployment["spec"]["paused"] != true {
        roll(workloads, deployment, &sets)?;
        forget_old(workloads, deployment, &sets)?;
    }
    keep_status(workloads, deployment, &sets, timers)
}

fn count(set: &Value, path: &[&str]) -> i64 {
    integer(set, path).unwrap_or(0)
}

fn revision(set: &Value) -> i64 {
    text(set, &["metadata", "annotations", REVISION]).and_then(|text| text.parse().ok()).unwrap_or(0)
}

/// Finds the set of the present template, or makes it; `None` while it was only just made.
fn find_sets(workloads: &mut Workloads, deployment: &Value) -> Result<Option<Sets>, ApiError> {
    let hash = template::hash(&deployment["spec"]["template"]);
    let (mut new, mut old) = (None, Vec::new());
    for set in workloads.owned(deployment, "replicasets.apps") {
        if text(&set, &["metadata", "labels", HASH_LABEL]) == Some(&hash) {
            new = Some(set);
        } else {
            old.push(set);
        }
    }
    let latest = old.iter().map(revision).max().unwrap_or(0);
    let kind = workloads.kind("apps/v1", "ReplicaSet")?;
    let deployments = workloads.kind("apps/v1", "Deployment")?;
    let new = match new {
        // A template that comes back becomes the latest revision again.
        Some(set) if revision(&set) < latest => {
            workloads.modify(&kind, &set, |set| annotate(set, latest + 1))?;
            set
        }
        Some(set) => set,
        None => {
            let initial = if old.is_empty() { count(deployment, &["spec", "replicas"]) } else { 0 };
            let mut set = new_set(deployment, &hash, initial);
            annotate(&mut set, latest + 1);
            let created = workloads.create(&kind, set)?;
            if initial > 0 {
                tell_scaled(workloads, deployment, &created, 0, initial);
            }
            created
        }
    };
    let number = revision(&new).max(latest);
    if revision(deployment) != number {
        workloads.modify(&deployments, deployment, |deployment| annotate(deployment, number))?;
    }
    Ok(Some(Sets { new, old }))
}

fn annotate(object: &mut Value, revision: i64) {
    set(object, &["metadata", "annotations", REVISION], json!(revision.to_string()));
}

fn new_set(deployment: &Value, hash: &str, replicas: i64) -> Value {
    let mut spec = json!({
        "replicas": replicas, "selector": deployment["spec"]["selector"], "template": deployment["spec"]["template"],
    });
    set(&mut spec, &["selector", "matchLabels", HASH_LABEL], json!(hash));
    set(&mut spec, &["template", "metadata", "labels", HASH_LABEL], json!(hash));
    let labels = spec["template"]["metadata"]["labels"].clone();
    json!({
        "apiVersion": "apps/v1", "kind": "ReplicaSet",
        "metadata": {
            "name": format!("{}-{hash}", object::name(deployment)), "namespace": object::namespace(deployment),
            "labels": labels, "ownerReferences": [owner_reference(deployment)],
        },
        "spec": spec,
    })
}

/// An absolute number or a percentage of the replicas.
fn resolve(value: &Value, replicas: i64, round_up: bool) -> i64 {
    if let Some(number) = value.as_i64() {
        return number;
    }
    let percent: i64 = value.as_str().and_then(|text| text.strip_suffix('%')?.parse().ok()).unwrap_or(0);
    if round_up { (replicas * percent + 99) / 100 } else { replicas * percent / 100 }
}

fn bounds(deployment: &Value, replicas: i64) -> (i64, i64) {
    let rolling = &deployment["spec"]["strategy"]["rollingUpdate"];
    let surge = resolve(&rolling["maxSurge"], replicas, true);
    let unavailable = resolve(&rolling["maxUnavailable"], replicas, false);
    if surge == 0 && unavailable == 0 { (0, 1) } else { (surge, unavailable) }
}

fn roll(workloads: &mut Workloads, deployment: &Value, sets: &Sets) -> Result<(), ApiError> {
    let replicas = count(deployment, &["spec", "replicas"]);
    let wanted = |set: &Value| count(set, &["spec", "replicas"]);
    let new = wanted(&sets.new);
    let old: i64 = sets.old.iter().map(wanted).sum();
    if deployment["spec"]["strategy"]["type"] == "Recreate" {
        for set in &sets.old {
            scale(workloads, deployment, set, 0)?;
        }
        let left: i64 = sets.old.iter().map(|set| count(set, &["status", "replicas"])).sum();
        return if left == 0 { scale(workloads, deployment, &sets.new, replicas) } else { Ok(()) };
    }
    let (surge, unavailable) = bounds(deployment, replicas);
    if new > replicas || old == 0 {
        scale(workloads, deployment, &sets.new, replicas)?;
        return Ok(());
    }
    let room = (replicas + surge - new - old).max(0);
    let grown = (new + room).min(replicas);
    scale(workloads, deployment, &sets.new, grown)?;
    let available = |set: &Value| count(set, &["status", "availableReplicas"]);
    let new_missing = grown - available(&sets.new).min(grown);
    let mut removable = (grown + old - (replicas - unavailable) - new_missing).max(0);
    for set in &sets.old {
        // Replicas that never became available cost nothing to remove.
        let broken = (wanted(set) - available(set)).clamp(0, removable.max(0));
        let healthy = (removable - broken).clamp(0, wanted(set) - broken);
        let down = broken + healthy;
        if down > 0 {
            scale(workloads, deployment, set, wanted(set) - down)?;
            removable -= down;
        }
    }
    Ok(())
}

fn scale(
    workloads: &mut Workloads,
    deployment: &Value,
    set_object: &Value,
    replicas: i64,
) -> Result<(), ApiError> {
    let before = count(set_object, &["spec", "replicas"]);
    if before == replicas {
        return Ok(());
    }
    let kind = workloads.kind("apps/v1", "ReplicaSet")?;
    workloads.modify(&kind, set_object, |live| set(live, &["spec", "replicas"], json!(replicas)))?;
    tell_scaled(workloads, deployment, set_object, before, replicas);
    Ok(())
}

fn tell_scaled(workloads: &mut Workloads, deployment: &Value, set_object: &Value, from: i64, to: i64) {
    let direction = if to > from { "up" } else { "down" };
    let message = format!("Scaled {direction} replica set {} from {from} to {to}", object::name(set_object));
    let notice = Notice { kind: "Normal", reason: "ScalingReplicaSet", source: "deployment-controller" };
    record(workloads, deployment, notice, &message);
}

/// Deletes the oldest empty sets beyond `revisionHistoryLimit`.
fn forget_old(workloads: &Workloads, deployment: &Value, sets: &Sets) -> Result<(), ApiError> {
    let limit =
        usize::try_from(integer(deployment, &["spec", "revisionHistoryLimit"]).unwrap_or(10)).unwrap_or(10);
    let empty =
        |set: &&Value| count(set, &["spec", "replicas"]) == 0 && count(set, &["status", "replicas"]) == 0;
    let mut old: Vec<&Value> = sets.old.iter().filter(empty).collect();
    old.sort_by_key(|set| revision(set));
    let kind = workloads.kind("apps/v1", "ReplicaSet")?;
    for set in old.iter().take(old.len().saturating_sub(limit)) {
        workloads.delete(&kind, set)?;
    }
    Ok(())
}

/// What the sets add up to.
struct Totals {
    replicas: i64,
    updated: i64,
    ready: i64,
    available: i64,
}

fn keep_status(
    workloads: &Workloads,
    deployment: &Value,
    sets: &Sets,
    timers: &mut Timers,
) -> Result<(), ApiError> {
    // The sets as they are now: scaling has just changed some.
    let kind = workloads.kind("apps/v1", "ReplicaSet")?;
    let fresh = |set: &Value| {
        workloads.engine.read(&kind, object::namespace(set), object::name(set)).unwrap_or_else(|| set.clone())
    };
    let new = fresh(&sets.new);
    let all: Vec<Value> = sets.old.iter().map(fresh).chain([new.clone()]).collect();
    let sum = |field: &str| all.iter().map(|set| count(set, &["status", field])).sum();
    let totals = Totals {
        replicas: sum("replicas"),
        updated: count(&new, &["status", "replicas"]),
        ready: sum("readyReplicas"),
        available: sum("availableReplicas"),
    };
    let deployments = workloads.kind("apps/v1", "Deployment")?;
    let generation = deployment["metadata"]["generation"].clone();
    let mut deadline = None;
    workloads.modify(&deployments, deployment, |live| {
        let mut status = live["status"].clone();
        if !status.is_object() {
            status = json!({});
        }
        set(&mut status, &["observedGeneration"], generation);
        let size = |count: i64| usize::try_from(count).unwrap_or(0);
        set_count(&mut status, "replicas", size(totals.replicas));
        set_count(&mut status, "updatedReplicas", size(totals.updated));
        set_count(&mut status, "readyReplicas", size(totals.ready));
        set_count(&mut status, "availableReplicas", size(totals.available));
        let wanted: i64 = all.iter().map(|set| count(set, &["spec", "replicas"])).sum();
        set_count(&mut status, "unavailableReplicas", size(wanted - totals.available));
        let mut list = conditions(live);
        deadline = judge(live, &new, &totals, &mut list);
        set(&mut status, &["conditions"], json!(list));
        set(live, &["status"], status);
    })?;
    if let Some(left) = deadline {
        timers.after(left, (deployments.resource.clone(), ObjectKey::of(deployment)));
    }
    Ok(())
}

/// The conditions Available and Progressing; how long until progress is overdue.
fn judge(deployment: &Value, new: &Value, totals: &Totals, list: &mut Vec<Value>) -> Option<Duration> {
    let replicas = count(deployment, &["spec", "replicas"]);
    let (_, unavailable) = bounds(deployment, replicas);
    let enough = totals.available >= replicas - unavailable;
    let (reason, message) = if enough {
        ("MinimumReplicasAvailable", "Deployment has minimum availability.")
    } else {
        ("MinimumReplicasUnavailable", "Deployment does not have minimum availability.")
    };
    dated(list, "Available", enough, reason, message);
    let name = object::name(new);
    let complete = totals.updated == replicas && totals.replicas == replicas && totals.available == replicas;
    if complete {
        let message = format!("ReplicaSet \"{name}\" has successfully progressed.");
        dated(list, "Progressing", true, "NewReplicaSetAvailable", &message);
        return None;
    }
    let allowed = integer(deployment, &["spec", "progressDeadlineSeconds"]).unwrap_or(600);
    let progressing = format!("ReplicaSet \"{name}\" is progressing.");
    let live = list.iter().find(|one| one["type"] == "Progressing");
    let same = live.filter(|one| one["message"].as_str().is_some_and(|text| text.contains(name)));
    let since = same.and_then(|one| text(one, &["lastUpdateTime"])?.parse::<Timestamp>().ok());
    let waited = since.map_or(0, |since| Timestamp::now().as_second() - since.as_second());
    let was_complete = same.is_some_and(|one| one["reason"] == "NewReplicaSetAvailable");
    if was_complete {
        // A rollout that is done stays done; pods lost later show in Available.
        return None;
    }
    if since.is_some() && waited >= allowed {
        let message = format!("ReplicaSet \"{name}\" has timed out progressing.");
        dated(list, "Progressing", false, "ProgressDeadlineExceeded", &message);
        return None;
    }
    dated(list, "Progressing", true, "ReplicaSetUpdated", &progressing);
    Some(Duration::from_secs(u64::try_from(allowed - waited).unwrap_or(0).max(1)))
}

/// A condition that also carries `lastUpdateTime`.
fn dated(list: &mut Vec<Value>, kind: &str, status: bool, reason: &str, message: &str) {
    let before = list.iter().find(|one| one["type"] == kind).cloned();
    super::set_condition(list, kind, status, reason, message);
    let same = before.as_ref().filter(|one| one["reason"] == reason && one["message"] == message);
    let updated = same.map_or_else(|| json!(crate::clock::now()), |one| one["lastUpdateTime"].clone());
    if let Some(condition) = list.iter_mut().find(|one| one["type"] == kind) {
        condition["lastUpdateTime"] = updated;
    }
}
