//! The health of a live object by the rules of kstatus (sigs.k8s.io/cli-utils, `pkg/kstatus`).
//!
//! Generic first: being deleted, a generation that its controller has not seen, the conditions
//! `Reconciling` and `Stalled`. Then a rule per built-in kind. Any other kind is ready when its `Ready`
//! condition, if it has one, is true.

use protocol::report::ObjectHealth;
use serde_json::Value;

use crate::live::Live;

/// A judgement: the health, and why when it is not current.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Judgement {
    pub(crate) health: ObjectHealth,
    pub(crate) message: String,
}

fn current() -> Judgement {
    Judgement { health: ObjectHealth::Current, message: String::new() }
}

fn waiting(message: impl Into<String>) -> Judgement {
    Judgement { health: ObjectHealth::InProgress, message: message.into() }
}

fn failed(message: impl Into<String>) -> Judgement {
    Judgement { health: ObjectHealth::Failed, message: message.into() }
}

/// A condition of `status.conditions`.
struct Condition<'a> {
    status: &'a str,
    reason: &'a str,
    message: &'a str,
}

impl Condition<'_> {
    fn holds(&self) -> bool {
        self.status == "True"
    }

    fn text(&self) -> String {
        match (self.reason, self.message) {
            ("", message) => message.to_owned(),
            (reason, "") => reason.to_owned(),
            (reason, message) => format!("{reason}: {message}"),
        }
    }
}

fn condition<'a>(live: &'a Live, name: &str) -> Option<Condition<'a>> {
    let text = |value: &'a Value, key: &str| value.get(key).and_then(Value::as_str).unwrap_or_default();
    live.status.get("conditions")?.as_array()?.iter().find(|condition| text(condition, "type") == name).map(
        |found| Condition {
            status: text(found, "status"),
            reason: text(found, "reason"),
            message: text(found, "message"),
        },
    )
}

fn number(value: &Value, key: &str) -> Option<i64> {
    value.get(key).and_then(Value::as_i64)
}

fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value.get(key).and_then(Value::as_str).unwrap_or_default()
}

/// Judges a live object of the given kind.
pub(crate) fn judge(group: &str, kind: &str, live: &Live) -> Judgement {
    if live.metadata.terminating() {
        let message = match live.metadata.finalizers.as_slice() {
            [] => "is being deleted".to_owned(),
            finalizers => format!("is being deleted; waits for its finalizers {}", finalizers.join(", ")),
        };
        return Judgement { health: ObjectHealth::Terminating, message };
    }
    if let (Some(wanted), Some(seen)) = (live.metadata.generation, number(&live.status, "observedGeneration"))
        && wanted > seen
    {
        return waiting(format!("generation {wanted} is not observed yet, the last one is {seen}"));
    }
    if let Some(stalled) = condition(live, "Stalled").filter(Condition::holds) {
        return failed(stalled.text());
    }
    if let Some(reconciling) = condition(live, "Reconciling").filter(Condition::holds) {
        return waiting(reconciling.text());
    }
    match (group, kind) {
        ("apps", "Deployment") => deployment(live),
        ("apps", "StatefulSet") => stateful_set(live),
        ("apps", "DaemonSet") => daemon_set(live),
        ("apps", "ReplicaSet") => replica_set(live),
        ("", "Pod") => pod(live),
        ("batch", "Job") => job(live),
        ("batch", "CronJob") | ("policy", "PodDisruptionBudget") | ("networking.k8s.io", "Ingress") => {
            current()
        }
        ("", "Service") => service(live),
        ("", "PersistentVolumeClaim") => phase(live, &["Bound"], &["Lost"]),
        ("", "PersistentVolume") => phase(live, &["Available", "Bound", "Released"], &["Failed"]),
        ("", "Namespace") => match text(&live.status, "phase") {
            "Terminating" => waiting("is being deleted"),
            _ => current(),
        },
        ("apiextensions.k8s.io", "CustomResourceDefinition") => definition(live),
        ("apiregistration.k8s.io", "APIService") => must_hold(live, "Available"),
        ("autoscaling", "HorizontalPodAutoscaler") => match condition(live, "AbleToScale") {
            Some(able) if able.status == "False" => waiting(able.text()),
            Some(_) | None => current(),
        },
        _ => match condition(live, "Ready") {
            Some(ready) if !ready.holds() => waiting(format!("is not ready: {}", ready.text())),
            Some(_) | None => current(),
        },
    }
}

/// Whether a hook's object has done its work: Jobs and Pods run to their end, anything else is done at once.
pub(crate) fn finished(group: &str, kind: &str, live: &Live) -> Option<Result<(), String>> {
    match (group, kind) {
        ("batch", "Job") => {
            if let Some(failure) = condition(live, "Failed").filter(Condition::holds) {
                return Some(Err(failure.text()));
            }
            condition(live, "Complete").filter(Condition::holds).map(|_| Ok(()))
        }
        ("", "Pod") => match text(&live.status, "phase") {
            "Succeeded" => Some(Ok(())),
            "Failed" => Some(Err(pod_failure(live))),
            _ => None,
        },
        _ => Some(Ok(())),
    }
}

fn must_hold(live: &Live, name: &str) -> Judgement {
    match condition(live, name) {
        Some(found) if found.holds() => current(),
        Some(found) => waiting(format!("is not {name}: {}", found.text())),
        None => waiting(format!("condition {name} is not set yet")),
    }
}

fn phase(live: &Live, good: &[&str], bad: &[&str]) -> Judgement {
    match text(&live.status, "phase") {
        phase if good.contains(&phase) => current(),
        phase if bad.contains(&phase) => failed(format!("is in phase {phase}")),
        "" => waiting("has no phase yet"),
        phase => waiting(format!("is in phase {phase}")),
    }
}

fn deployment(live: &Live) -> Judgement {
    if let Some(progressing) = condition(live, "Progressing")
        && progressing.reason == "ProgressDeadlineExceeded"
    {
        return failed(progressing.text());
    }
    if number(&live.status, "observedGeneration").is_none() {
        return waiting("its controller has not seen it yet");
    }
    // Beyond kstatus: what keeps pods from being made (a quota, a LimitRange, a webhook) is said here.
    if let Some(failure) = condition(live, "ReplicaFailure").filter(Condition::holds) {
        return waiting(failure.text());
    }
    let wanted = number(&live.spec, "replicas").unwrap_or(1);
    let status = |key| number(&live.status, key).unwrap_or(0);
    let (replicas, updated) = (status("replicas"), status("updatedReplicas"));
    if updated < wanted {
        return waiting(format!("{updated} of {wanted} replicas are updated"));
    }
    if replicas > updated {
        return waiting(format!("{} old replicas wait for termination", replicas - updated));
    }
    let available = status("availableReplicas");
    if available < updated {
        return waiting(format!("{available} of {updated} replicas are available"));
    }
    let ready = status("readyReplicas");
    if ready < wanted {
        return waiting(format!("{ready} of {wanted} replicas are ready"));
    }
    match condition(live, "Available") {
        Some(available) if !available.holds() => waiting(available.text()),
        Some(_) | None => current(),
    }
}

fn on_delete(live: &Live) -> bool {
    live.spec.get("updateStrategy").is_some_and(|strategy| text(strategy, "type") == "OnDelete")
}

fn stateful_set(live: &Live) -> Judgement {
    if number(&live.status, "observedGeneration").is_none() {
        return waiting("its controller has not seen it yet");
    }
    if on_delete(live) {
        return current();
    }
    let wanted = number(&live.spec, "replicas").unwrap_or(1);
    let status = |key| number(&live.status, key).unwrap_or(0);
    let (replicas, ready, updated) = (status("replicas"), status("readyReplicas"), status("updatedReplicas"));
    if replicas < wanted {
        return waiting(format!("{replicas} of {wanted} replicas exist"));
    }
    if ready < wanted {
        return waiting(format!("{ready} of {wanted} replicas are ready"));
    }
    if replicas > wanted {
        return waiting(format!("{} replicas wait for termination", replicas - wanted));
    }
    let partition = live
        .spec
        .pointer("/updateStrategy/rollingUpdate/partition")
        .and_then(Value::as_i64)
        .filter(|partition| *partition > 0);
    if let Some(partition) = partition {
        let target = (wanted - partition).max(0);
        return if updated < target {
            waiting(format!("{updated} of {target} replicas above partition {partition} are updated"))
        } else {
            current()
        };
    }
    if text(&live.status, "currentRevision") != text(&live.status, "updateRevision") {
        return waiting(format!("{updated} of {wanted} replicas are updated"));
    }
    current()
}

fn daemon_set(live: &Live) -> Judgement {
    if number(&live.status, "observedGeneration").is_none() {
        return waiting("its controller has not seen it yet");
    }
    if on_delete(live) {
        return current();
    }
    let status = |key| number(&live.status, key).unwrap_or(0);
    let Some(wanted) = number(&live.status, "desiredNumberScheduled") else {
        return waiting("its controller has not counted the nodes yet");
    };
    for (key, what) in [
        ("currentNumberScheduled", "scheduled"),
        ("updatedNumberScheduled", "updated"),
        ("numberAvailable", "available"),
        ("numberReady", "ready"),
    ] {
        if status(key) < wanted {
            return waiting(format!("{} of {wanted} pods are {what}", status(key)));
        }
    }
    current()
}

fn replica_set(live: &Live) -> Judgement {
    if let Some(failure) = condition(live, "ReplicaFailure").filter(Condition::holds) {
        return waiting(failure.text());
    }
    if number(&live.status, "observedGeneration").is_none() {
        return waiting("its controller has not seen it yet");
    }
    let wanted = number(&live.spec, "replicas").unwrap_or(1);
    let status = |key| number(&live.status, key).unwrap_or(0);
    for (key, what) in
        [("fullyLabeledReplicas", "labelled"), ("availableReplicas", "available"), ("readyReplicas", "ready")]
    {
        if status(key) < wanted {
            return waiting(format!("{} of {wanted} replicas are {what}", status(key)));
        }
    }
    let replicas = status("replicas");
    if replicas > wanted {
        return waiting(format!("{} replicas wait for termination", replicas - wanted));
    }
    current()
}

/// Why containers of a pod do not run, if they say so.
fn container_trouble(live: &Live) -> Option<String> {
    for list in ["initContainerStatuses", "containerStatuses"] {
        for container in live.status.get(list).and_then(Value::as_array).into_iter().flatten() {
            let Some(waiting) = container.pointer("/state/waiting") else { continue };
            let reason = text(waiting, "reason");
            if matches!(reason, "" | "ContainerCreating" | "PodInitializing") {
                continue;
            }
            let message = text(waiting, "message");
            let colon = if message.is_empty() { "" } else { ": " };
            return Some(format!("container \"{}\": {reason}{colon}{message}", text(container, "name")));
        }
    }
    None
}

fn pod_failure(live: &Live) -> String {
    let terminated =
        live.status.get("containerStatuses").and_then(Value::as_array).into_iter().flatten().find_map(
            |container| {
                let state = container.pointer("/state/terminated")?;
                let code = number(state, "exitCode").filter(|code| *code != 0)?;
                let (name, reason) = (text(container, "name"), text(state, "reason"));
                Some(format!("container \"{name}\" ended with code {code} ({reason})"))
            },
        );
    terminated.unwrap_or_else(|| match (text(&live.status, "reason"), text(&live.status, "message")) {
        ("", "") => "the pod failed".to_owned(),
        (reason, message) => format!("{reason}: {message}"),
    })
}

fn pod(live: &Live) -> Judgement {
    match text(&live.status, "phase") {
        "Succeeded" => current(),
        "Failed" => failed(pod_failure(live)),
        "Running" => match condition(live, "Ready") {
            Some(ready) if ready.holds() => current(),
            Some(_) | None => match container_trouble(live) {
                Some(trouble) if trouble.contains("CrashLoopBackOff") => failed(trouble),
                Some(trouble) => waiting(trouble),
                None => waiting("runs, but is not ready"),
            },
        },
        _ => match condition(live, "PodScheduled") {
            Some(scheduled) if scheduled.status == "False" => waiting(scheduled.text()),
            Some(_) | None => {
                waiting(container_trouble(live).unwrap_or_else(|| "does not run yet".to_owned()))
            }
        },
    }
}

fn job(live: &Live) -> Judgement {
    match finished("batch", "Job", live) {
        Some(Ok(())) => current(),
        Some(Err(reason)) => failed(reason),
        None if text(&live.status, "startTime").is_empty() => waiting("is not started yet"),
        None => current(),
    }
}

fn service(live: &Live) -> Judgement {
    if text(&live.spec, "type") == "LoadBalancer" && text(&live.spec, "clusterIP").is_empty() {
        return waiting("has no cluster IP yet");
    }
    current()
}

fn definition(live: &Live) -> Judgement {
    if let Some(names) = condition(live, "NamesAccepted")
        && names.status == "False"
    {
        return failed(names.text());
    }
    must_hold(live, "Established")
}

#[cfg(test)]
#[path = "health_tests.rs"]
mod tests;
