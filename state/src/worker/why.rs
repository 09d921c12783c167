//! Why the pods of a workload do not run, in words: a workload itself only says how many are missing.
//!
//! # Why
//! Pods are not watched: on a small device a watch of all pods costs more than all else. They are listed, a few of one
//! workload, when it has not become healthy for a while. What containers write themselves (logs, termination messages)
//! is never quoted: it may hold secrets.

use serde_json::Value;

use super::Context;
use crate::live::Live;
use crate::object::{ObjectId, Place};

/// Kinds that have pods.
const WORKLOADS: [(&str, &str); 5] = [
    ("apps", "Deployment"),
    ("apps", "StatefulSet"),
    ("apps", "DaemonSet"),
    ("apps", "ReplicaSet"),
    ("batch", "Job"),
];
/// Pods that are looked at.
const PODS_MAX: u32 = 50;
/// Characters of what is told; container runtimes nest their errors.
const TEXT_MAX: usize = 400;

/// Whether objects of this kind have pods that may be asked about.
pub(crate) fn has_pods(id: &ObjectId) -> bool {
    WORKLOADS.iter().any(|(group, kind)| id.group == *group && id.kind == *kind)
}

impl Context {
    /// What keeps pods of this workload from running; `None` when they do not say, or may not be asked.
    pub(crate) async fn why(&self, place: &Place) -> Option<String> {
        if !has_pods(&place.id) {
            return None;
        }
        let live = self.api.get(place).await.ok()??;
        let labels = live.spec.pointer("/selector/matchLabels")?.as_object()?;
        let terms: Vec<String> =
            labels.iter().filter_map(|(key, value)| Some(format!("{key}={}", value.as_str()?))).collect();
        if terms.is_empty() {
            return None;
        }
        let resource = self.discovery.resolve(&self.api, "", "v1", "Pod").await.ok()??;
        let namespace = place.id.namespace.clone();
        let id = ObjectId { group: String::new(), kind: "Pod".to_owned(), namespace, name: String::new() };
        let any = Place { id: std::sync::Arc::new(id), resource };
        let mut pods = self.api.selected_whole(&any, &terms.join(","), PODS_MAX).await.ok()?;
        // The newest first: what was before is not what keeps it.
        pods.sort_by(|a, b| created(b).cmp(created(a)));
        let told = pods.iter().filter(|pod| !pod.metadata.terminating()).find_map(|pod| {
            let text = trouble(pod)?;
            Some(format!("pod {}: {text}", pod.metadata.name))
        });
        let mut told = match told {
            Some(told) => told,
            None => self.not_made(place, &live.metadata.uid).await?,
        };
        if let Some((end, _)) = told.char_indices().nth(TEXT_MAX) {
            told.truncate(end);
            told.push_str("...");
        }
        Some(told)
    }

    /// Why its controller cannot make pods (a quota, a limit, an admission rule), as the controller's newest Event says.
    async fn not_made(&self, place: &Place, uid: &str) -> Option<String> {
        let events = self.api.warnings(&place.id.namespace, uid).await.ok()?;
        let field = |event: &Live, key: &str| {
            event.rest.get(key).and_then(Value::as_str).unwrap_or_default().to_owned()
        };
        let failed = events.iter().filter(|event| field(event, "reason") == "FailedCreate");
        let newest = failed.max_by_key(|event| field(event, "lastTimestamp"))?;
        Some(said("FailedCreate", &field(newest, "message")))
    }
}

fn created(pod: &Live) -> &str {
    &pod.metadata.creation_timestamp
}

fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value.get(key).and_then(Value::as_str).unwrap_or_default()
}

/// What is wrong with a pod, if anything is.
pub(crate) fn trouble(pod: &Live) -> Option<String> {
    let conditions = pod.status.get("conditions").and_then(Value::as_array);
    let unscheduled = conditions
        .into_iter()
        .flatten()
        .find(|condition| text(condition, "type") == "PodScheduled" && text(condition, "status") == "False");
    if let Some(condition) = unscheduled {
        return Some(said(text(condition, "reason"), text(condition, "message")));
    }
    let lists = ["initContainerStatuses", "containerStatuses"];
    let containers = lists.iter().filter_map(|list| pod.status.get(*list)?.as_array()).flatten();
    let told = containers.into_iter().find_map(container_trouble);
    told.or_else(|| {
        // Evicted, shut down with its node, over its deadline.
        let (reason, message) = (text(&pod.status, "reason"), text(&pod.status, "message"));
        (text(&pod.status, "phase") == "Failed" && !reason.is_empty()).then(|| said(reason, message))
    })
}

fn said(reason: &str, message: &str) -> String {
    let colon = if reason.is_empty() || message.is_empty() { "" } else { ": " };
    format!("{reason}{colon}{message}")
}

fn container_trouble(container: &Value) -> Option<String> {
    let name = text(container, "name");
    let ended = |state: &Value| {
        let code = state.get("exitCode").and_then(Value::as_i64).filter(|code| *code != 0)?;
        Some(format!("ended with code {code} ({})", text(state, "reason")))
    };
    let before = container.pointer("/lastState/terminated").and_then(ended);
    if let Some(waiting) = container.pointer("/state/waiting") {
        let reason = text(waiting, "reason");
        let beginning = matches!(reason, "" | "ContainerCreating" | "PodInitializing");
        return match (beginning, before) {
            (true, None) => None,
            (true, Some(before)) => Some(format!("container \"{name}\" {before}")),
            (false, before) => {
                let before = before.map(|before| format!("; it {before}")).unwrap_or_default();
                let waits = said(reason, text(waiting, "message"));
                Some(format!("container \"{name}\": {waits}{before}"))
            }
        };
    }
    if let Some(now) = container.pointer("/state/terminated").and_then(ended) {
        return Some(format!("container \"{name}\" {now}"));
    }
    let ready = container.get("ready").and_then(Value::as_bool).unwrap_or(true);
    if ready {
        return None;
    }
    let restarts = container.get("restartCount").and_then(Value::as_i64).unwrap_or_default();
    match before {
        Some(before) => Some(format!("container \"{name}\" was restarted {restarts} times and {before}")),
        None if text(&container["state"]["running"], "startedAt").is_empty() => None,
        None => Some(format!("container \"{name}\" runs and is not ready")),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn pod(status: &Value) -> Live {
        serde_json::from_value(json!({"metadata": {"name": "a"}, "status": status})).unwrap()
    }

    #[test]
    fn what_keeps_a_pod_is_told_in_words() {
        let waiting =
            |reason: &str, message: &str| json!({"waiting": {"reason": reason, "message": message}});
        let killed = json!({"terminated": {"exitCode": 137, "reason": "OOMKilled"}});
        let table = [
            (json!({}), None),
            (json!({"name": "a", "state": waiting("ContainerCreating", "")}), None),
            (
                json!({"name": "a", "state": waiting("ImagePullBackOff", "no image x")}),
                Some(r#"container "a": ImagePullBackOff: no image x"#),
            ),
            (
                json!({"name": "a", "state": waiting("CrashLoopBackOff", "back-off"), "lastState": killed}),
                Some(r#"container "a": CrashLoopBackOff: back-off; it ended with code 137 (OOMKilled)"#),
            ),
            (json!({"name": "a", "state": killed}), Some(r#"container "a" ended with code 137 (OOMKilled)"#)),
            (json!({"name": "a", "state": {"terminated": {"exitCode": 0, "reason": "Completed"}}}), None),
            (json!({"name": "a", "ready": true, "state": {"running": {"startedAt": "T"}}}), None),
            (
                json!({"name": "a", "ready": false, "state": {"running": {"startedAt": "T"}}}),
                Some(r#"container "a" runs and is not ready"#),
            ),
            (
                json!({"name": "a", "ready": false, "restartCount": 2, "lastState": killed, "state": {"running": {}}}),
                Some(r#"container "a" was restarted 2 times and ended with code 137 (OOMKilled)"#),
            ),
        ];
        for (container, wanted) in table {
            let told = trouble(&pod(&json!({"containerStatuses": [container]})));
            assert_eq!(told.as_deref(), wanted, "{container:#}");
        }
    }

    #[test]
    fn a_pod_without_a_node_says_why() {
        let scheduled = json!({
            "type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "0/2 nodes: memory",
        });
        let told = trouble(&pod(&json!({"conditions": [scheduled]})));
        assert_eq!(told.as_deref(), Some("Unschedulable: 0/2 nodes: memory"));
        let evicted = json!({"phase": "Failed", "reason": "Evicted", "message": "low on memory"});
        assert_eq!(trouble(&pod(&evicted)).as_deref(), Some("Evicted: low on memory"));
    }
}
