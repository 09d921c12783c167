//! A pod's life: scheduled onto the node, started after a while, completed when a Job owns it.

use serde_json::{Value, json};
use tokio::time::Instant;

use super::event::{Notice, record};
use super::quantity::Resources;
use super::{Workloads, conditions, node, set_condition};
use crate::error::ApiError;
use crate::object::{self, items, set, text};
use crate::storage::ObjectKey;
use crate::timers::Timers;

const FAILING_IMAGE: &str = "does-not-exist";

/// Whether a pod has ended.
pub(super) fn finished(pod: &Value) -> bool {
    matches!(text(pod, &["status", "phase"]), Some("Succeeded" | "Failed"))
}

/// Whether a pod is ready.
pub(super) fn ready(pod: &Value) -> bool {
    conditions(pod).iter().any(|one| one["type"] == "Ready" && one["status"] == "True")
}

/// Takes stock of the pods that a reopened cluster holds.
pub(super) fn count(workloads: &mut Workloads) {
    for (key, stored) in workloads.engine.store.list("pods", None).objects {
        let pod = stored.decode();
        if text(&pod, &["spec", "nodeName"]).is_some() && !finished(&pod) {
            workloads.scheduled.insert(key, Resources::of_pod(&pod));
        }
        let last =
            text(&pod, &["status", "podIP"]).and_then(|ip| ip.strip_prefix("10.244.")).and_then(|rest| {
                let (high, low) = rest.split_once('.')?;
                Some(high.parse::<u32>().ok()? * 256 + low.parse::<u32>().ok()?)
            });
        workloads.next_pod_address = workloads.next_pod_address.max(last.unwrap_or(0));
    }
}

/// Forgets a pod and lets those that wait for room try again.
pub(super) fn gone(workloads: &mut Workloads, key: &ObjectKey, timers: &mut Timers) {
    workloads.due.remove(key);
    workloads.unschedulable.remove(key);
    release(workloads, key, timers);
}

fn release(workloads: &mut Workloads, key: &ObjectKey, timers: &mut Timers) {
    if workloads.scheduled.remove(key).is_none() {
        return;
    }
    for waiting in std::mem::take(&mut workloads.unschedulable) {
        timers.after(std::time::Duration::ZERO, ("pods".into(), waiting));
    }
}

/// Brings a pod one step further.
pub(super) fn reconcile(workloads: &mut Workloads, pod: &Value, timers: &mut Timers) -> Result<(), ApiError> {
    let key = ObjectKey::of(pod);
    if finished(pod) {
        workloads.due.remove(&key);
        release(workloads, &key, timers);
        return Ok(());
    }
    if text(pod, &["spec", "nodeName"]).is_none() {
        return schedule(workloads, pod, key);
    }
    let image_fails = failing_image(pod).is_some();
    let running = text(pod, &["status", "phase"]) == Some("Running");
    if running && !completes(pod) {
        return Ok(());
    }
    if !running && image_fails {
        return fail_to_pull(workloads, pod);
    }
    let now = Instant::now();
    let delay = workloads.settings.simulate.pod_start;
    let due = *workloads.due.entry(key.clone()).or_insert_with(|| now + delay);
    if due > now {
        timers.after(due - now, ("pods".into(), key));
        return Ok(());
    }
    workloads.due.remove(&key);
    if running { complete(workloads, pod) } else { run(workloads, pod) }
}

fn failing_image(pod: &Value) -> Option<&str> {
    items(pod, &["spec", "containers"])
        .iter()
        .filter_map(|container| text(container, &["image"]))
        .find(|image| image.contains(FAILING_IMAGE))
}

/// Pods that are not restarted for ever (those of Jobs, chart hooks and tests) do their work and end.
fn completes(pod: &Value) -> bool {
    matches!(text(pod, &["spec", "restartPolicy"]), Some("Never" | "OnFailure"))
}

fn schedule(workloads: &mut Workloads, pod: &Value, key: ObjectKey) -> Result<(), ApiError> {
    let kind = workloads.kind("v1", "Pod")?;
    let wanted = Resources::of_pod(pod);
    let used = Resources::sum(workloads.scheduled.values());
    let simulate = &workloads.settings.simulate;
    let cores = u64::from(simulate.node_cpu_cores) * 1000;
    let memory = u64::from(simulate.node_memory_gib) << 30;
    let mut lacking = Vec::new();
    if used.millicores + wanted.millicores > cores {
        lacking.push("1 Insufficient cpu");
    }
    if used.bytes + wanted.bytes > memory {
        lacking.push("1 Insufficient memory");
    }
    let source = "default-scheduler";
    if lacking.is_empty() {
        let node = node::name(workloads);
        workloads.unschedulable.remove(&key);
        workloads.scheduled.insert(key, wanted);
        workloads.modify(&kind, pod, |pod| {
            set(pod, &["spec", "nodeName"], json!(node));
            let mut all = conditions(pod);
            set_condition(&mut all, "PodScheduled", true, "", "");
            set(pod, &["status", "conditions"], json!(all));
        })?;
        let message =
            format!("Successfully assigned {}/{} to {node}", object::namespace(pod), object::name(pod));
        record(workloads, pod, Notice { kind: "Normal", reason: "Scheduled", source }, &message);
        return Ok(());
    }
    workloads.unschedulable.insert(key);
    let message = format!("0/1 nodes are available: {}.", lacking.join(", "));
    let known = conditions(pod).iter().any(|one| one["message"] == message.as_str());
    workloads.modify(&kind, pod, |pod| {
        let mut all = conditions(pod);
        set_condition(&mut all, "PodScheduled", false, "Unschedulable", &message);
        set(pod, &["status", "conditions"], json!(all));
    })?;
    if !known {
        record(workloads, pod, Notice { kind: "Warning", reason: "FailedScheduling", source }, &message);
    }
    Ok(())
}

fn run(workloads: &mut Workloads, pod: &Value) -> Result<(), ApiError> {
    let kind = workloads.kind("v1", "Pod")?;
    workloads.next_pod_address += 1;
    let number = workloads.next_pod_address;
    let address = format!("10.244.{}.{}", number / 256 % 256, number % 256);
    let now = crate::clock::now();
    workloads.modify(&kind, pod, |pod| {
        let mut all = conditions(pod);
        for condition in
            ["PodReadyToStartContainers", "Initialized", "Ready", "ContainersReady", "PodScheduled"]
        {
            set_condition(&mut all, condition, true, "", "");
        }
        let started = json!({"running": {"startedAt": now}});
        let containers = container_statuses(pod, &started, true);
        set(pod, &["status", "conditions"], json!(all));
        set(pod, &["status", "phase"], json!("Running"));
        set(pod, &["status", "podIP"], json!(address));
        set(pod, &["status", "podIPs"], json!([{"ip": address}]));
        set(pod, &["status", "hostIP"], json!(node::ADDRESS));
        set(pod, &["status", "hostIPs"], json!([{"ip": node::ADDRESS}]));
        set(pod, &["status", "startTime"], json!(now));
        set(pod, &["status", "containerStatuses"], json!(containers));
        observe(pod);
    })?;
    for container in items(pod, &["spec", "containers"]) {
        let name = text(container, &["name"]).unwrap_or_default();
        let notice = Notice { kind: "Normal", reason: "Started", source: "kubelet" };
        record(workloads, pod, notice, &format!("Started container {name}"));
    }
    Ok(())
}

fn observe(pod: &mut Value) {
    let generation = pod["metadata"]["generation"].clone();
    if !generation.is_null() {
        set(pod, &["status", "observedGeneration"], generation);
    }
}

fn complete(workloads: &Workloads, pod: &Value) -> Result<(), ApiError> {
    let kind = workloads.kind("v1", "Pod")?;
    let now = crate::clock::now();
    workloads.modify(&kind, pod, |pod| {
        let started = pod["status"]["startTime"].clone();
        let ended = json!({"terminated": {
            "exitCode": 0, "reason": "Completed", "startedAt": started, "finishedAt": now,
        }});
        let containers = container_statuses(pod, &ended, false);
        let mut all = conditions(pod);
        set_condition(&mut all, "Initialized", true, "PodCompleted", "");
        set_condition(&mut all, "Ready", false, "PodCompleted", "");
        set_condition(&mut all, "ContainersReady", false, "PodCompleted", "");
        set(pod, &["status", "conditions"], json!(all));
        set(pod, &["status", "phase"], json!("Succeeded"));
        set(pod, &["status", "containerStatuses"], json!(containers));
        observe(pod);
    })
}

fn fail_to_pull(workloads: &mut Workloads, pod: &Value) -> Result<(), ApiError> {
    let kind = workloads.kind("v1", "Pod")?;
    let image = failing_image(pod).unwrap_or_default().to_owned();
    let known = items(pod, &["status", "containerStatuses"])
        .iter()
        .any(|one| one["image"] == image.as_str() && one["state"].get("waiting").is_some());
    if known {
        return Ok(());
    }
    let message = format!("Back-off pulling image \"{image}\": ErrImagePull: {image}: not found");
    let now = crate::clock::now();
    workloads.modify(&kind, pod, |pod| {
        let waiting = json!({"waiting": {"reason": "ImagePullBackOff", "message": message}});
        let containers = container_statuses(pod, &waiting, false);
        let names: Vec<&str> = containers.iter().filter_map(|one| text(one, &["name"])).collect();
        let unready = format!("containers with unready status: [{}]", names.join(" "));
        let mut all = conditions(pod);
        set_condition(&mut all, "Initialized", true, "", "");
        set_condition(&mut all, "Ready", false, "ContainersNotReady", &unready);
        set_condition(&mut all, "ContainersReady", false, "ContainersNotReady", &unready);
        set(pod, &["status", "conditions"], json!(all));
        set(pod, &["status", "startTime"], json!(now));
        set(pod, &["status", "containerStatuses"], json!(containers));
        observe(pod);
    })?;
    let failed = Notice { kind: "Warning", reason: "Failed", source: "kubelet" };
    record(workloads, pod, failed, &format!("Failed to pull image \"{image}\": {image}: not found"));
    let back_off = Notice { kind: "Normal", reason: "BackOff", source: "kubelet" };
    record(workloads, pod, back_off, &format!("Back-off pulling image \"{image}\""));
    Ok(())
}

fn container_statuses(pod: &Value, state: &Value, ready: bool) -> Vec<Value> {
    let uid = object::uid(pod);
    items(pod, &["spec", "containers"])
        .iter()
        .map(|container| {
            let started = state.get("running").is_some();
            let mut status = json!({
                "name": container["name"], "image": container["image"], "imageID": "",
                "ready": ready, "started": started, "restartCount": 0, "state": state, "lastState": {},
            });
            if state.get("waiting").is_none() {
                let name = text(container, &["name"]).unwrap_or_default();
                status["containerID"] = json!(format!("simulated://{uid}/{name}"));
                status["imageID"] =
                    json!(format!("simulated://{}", text(container, &["image"]).unwrap_or_default()));
            }
            status
        })
        .collect()
}
