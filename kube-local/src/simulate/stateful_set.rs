//! A StatefulSet: pods with ordinals, made and replaced in order, with claims of their own.

use serde_json::{Value, json};

use super::event::{Notice, record};
use super::{Workloads, pod, set_count, template};
use crate::error::ApiError;
use crate::object::{self, integer, items, set, text};

const REVISION_LABEL: &str = "controller-revision-hash";

/// Creates, replaces or deletes one pod, and keeps the status.
pub(super) fn reconcile(workloads: &mut Workloads, owner: &Value) -> Result<(), ApiError> {
    let revision = format!("{}-{}", object::name(owner), template::hash(&owner["spec"]["template"]));
    let wanted = integer(owner, &["spec", "replicas"]).unwrap_or(1);
    let mut pods: Vec<(i64, Value)> = workloads
        .active_pods(owner)
        .into_iter()
        .filter_map(|pod| Some((ordinal(owner, &pod)?, pod)))
        .collect();
    pods.sort_by_key(|(ordinal, _)| *ordinal);
    step(workloads, owner, &revision, wanted, &pods)?;
    keep_status(workloads, owner, &revision, wanted, &pods)
}

fn ordinal(owner: &Value, pod: &Value) -> Option<i64> {
    object::name(pod).strip_prefix(object::name(owner))?.strip_prefix('-')?.parse().ok()
}

fn step(
    workloads: &mut Workloads,
    owner: &Value,
    revision: &str,
    wanted: i64,
    pods: &[(i64, Value)],
) -> Result<(), ApiError> {
    let parallel = owner["spec"]["podManagementPolicy"] == "Parallel";
    for number in 0..wanted {
        match pods.iter().find(|(one, _)| *one == number) {
            None => {
                create(workloads, owner, revision, number)?;
                if !parallel {
                    return Ok(());
                }
            }
            Some((_, pod)) if !pod::ready(pod) && !parallel => {
                // A pod of an older template that never became ready must not block its own repair.
                if outdated(pod, revision) {
                    return remove(workloads, owner, pod);
                }
                return Ok(());
            }
            Some(_) => {}
        }
    }
    if let Some((_, surplus)) = pods.iter().rev().find(|(number, _)| *number >= wanted) {
        return remove(workloads, owner, surplus);
    }
    if owner["spec"]["updateStrategy"]["type"] == "OnDelete" {
        return Ok(());
    }
    let partition = integer(owner, &["spec", "updateStrategy", "rollingUpdate", "partition"]).unwrap_or(0);
    let stale = pods.iter().rev().find(|(number, pod)| *number >= partition && outdated(pod, revision));
    stale.map_or(Ok(()), |(_, pod)| remove(workloads, owner, pod))
}

fn outdated(pod: &Value, revision: &str) -> bool {
    text(pod, &["metadata", "labels", REVISION_LABEL]) != Some(revision)
}

fn create(workloads: &mut Workloads, owner: &Value, revision: &str, number: i64) -> Result<(), ApiError> {
    let name = format!("{}-{number}", object::name(owner));
    let index = number.to_string();
    let labels = [
        (REVISION_LABEL, revision),
        ("statefulset.kubernetes.io/pod-name", name.as_str()),
        ("apps.kubernetes.io/pod-index", index.as_str()),
    ];
    let mut pod = template::pod(owner, &name, &labels);
    set(&mut pod, &["spec", "hostname"], json!(name));
    set(&mut pod, &["spec", "subdomain"], owner["spec"]["serviceName"].clone());
    for claim in items(owner, &["spec", "volumeClaimTemplates"]) {
        let volume = object::name(claim);
        let claim_name = format!("{volume}-{name}");
        create_claim(workloads, owner, claim, &claim_name)?;
        let mut volumes: Vec<Value> =
            items(&pod, &["spec", "volumes"]).iter().filter(|one| one["name"] != volume).cloned().collect();
        volumes.push(json!({"name": volume, "persistentVolumeClaim": {"claimName": claim_name}}));
        set(&mut pod, &["spec", "volumes"], json!(volumes));
    }
    let pods = workloads.kind("v1", "Pod")?;
    workloads.create(&pods, pod)?;
    let message = format!("create Pod {name} in StatefulSet {} successful", object::name(owner));
    let notice = Notice { kind: "Normal", reason: "SuccessfulCreate", source: "statefulset-controller" };
    record(workloads, owner, notice, &message);
    Ok(())
}

fn create_claim(workloads: &mut Workloads, owner: &Value, claim: &Value, name: &str) -> Result<(), ApiError> {
    let kind = workloads.kind("v1", "PersistentVolumeClaim")?;
    if workloads.engine.find(&kind, object::namespace(owner), name).is_some() {
        return Ok(());
    }
    let mut metadata = json!({"name": name, "namespace": object::namespace(owner)});
    set(&mut metadata, &["labels"], owner["spec"]["selector"]["matchLabels"].clone());
    let claim = json!({
        "apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": metadata, "spec": claim["spec"],
    });
    workloads.create(&kind, claim).map(|_| ())
}

fn remove(workloads: &mut Workloads, owner: &Value, pod: &Value) -> Result<(), ApiError> {
    let pods = workloads.kind("v1", "Pod")?;
    workloads.delete(&pods, pod)?;
    let message =
        format!("delete Pod {} in StatefulSet {} successful", object::name(pod), object::name(owner));
    let notice = Notice { kind: "Normal", reason: "SuccessfulDelete", source: "statefulset-controller" };
    record(workloads, owner, notice, &message);
    Ok(())
}

fn keep_status(
    workloads: &Workloads,
    owner: &Value,
    revision: &str,
    wanted: i64,
    pods: &[(i64, Value)],
) -> Result<(), ApiError> {
    let within: Vec<&Value> =
        pods.iter().filter(|(number, _)| *number < wanted).map(|(_, pod)| pod).collect();
    let ready = within.iter().filter(|pod| pod::ready(pod)).count();
    let updated = within.iter().filter(|pod| !outdated(pod, revision)).count();
    let kind = workloads.kind("apps/v1", "StatefulSet")?;
    let generation = owner["metadata"]["generation"].clone();
    workloads.modify(&kind, owner, |live| {
        let mut status = live["status"].clone();
        let known = text(&status, &["currentRevision"]).unwrap_or(revision).to_owned();
        let all = updated == within.len() && i64::try_from(updated).is_ok_and(|updated| updated == wanted);
        let current = if all { revision.to_owned() } else { known };
        set(&mut status, &["observedGeneration"], generation);
        set(&mut status, &["replicas"], json!(pods.len()));
        set(&mut status, &["currentRevision"], json!(current));
        set(&mut status, &["updateRevision"], json!(revision));
        set(&mut status, &["collisionCount"], json!(0));
        set(&mut status, &["availableReplicas"], json!(ready));
        set_count(&mut status, "readyReplicas", ready);
        set_count(&mut status, "updatedReplicas", updated);
        set_count(&mut status, "currentReplicas", if all { updated } else { within.len() - updated });
        set(live, &["status"], status);
    })
}
