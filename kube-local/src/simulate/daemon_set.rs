//! A DaemonSet: one pod on the one node.

use serde_json::{Value, json};

use super::event::{Notice, record};
use super::{Workloads, node, pod, set_count, template};
use crate::error::ApiError;
use crate::object::{self, set, text};

const REVISION_LABEL: &str = "controller-revision-hash";

/// Creates or replaces the pod, and keeps the status.
pub(super) fn reconcile(workloads: &mut Workloads, owner: &Value) -> Result<(), ApiError> {
    let revision = template::hash(&owner["spec"]["template"]);
    let pods_kind = workloads.kind("v1", "Pod")?;
    let wanted = selects_node(workloads, owner);
    let mut pods = workloads.active_pods(owner);
    let on_delete = owner["spec"]["updateStrategy"]["type"] == "OnDelete";
    let outdated = |pod: &Value| text(pod, &["metadata", "labels", REVISION_LABEL]) != Some(&revision);
    if let Some(index) = pods.iter().position(|pod| !wanted || (outdated(pod) && !on_delete)) {
        workloads.delete(&pods_kind, &pods.remove(index))?;
    }
    if pods.is_empty() && wanted {
        let name = format!("{}-", object::name(owner));
        let created =
            workloads.create(&pods_kind, template::pod(owner, &name, &[(REVISION_LABEL, &revision)]))?;
        let message = format!("Created pod: {}", object::name(&created));
        let notice = Notice { kind: "Normal", reason: "SuccessfulCreate", source: "daemonset-controller" };
        record(workloads, owner, notice, &message);
        pods.push(created);
    }
    let ready = pods.iter().filter(|pod| pod::ready(pod)).count();
    let updated = pods.iter().filter(|pod| !outdated(pod)).count();
    let desired = usize::from(wanted);
    let kind = workloads.kind("apps/v1", "DaemonSet")?;
    let generation = owner["metadata"]["generation"].clone();
    workloads.modify(&kind, owner, |live| {
        let mut status = live["status"].clone();
        set(&mut status, &["observedGeneration"], generation);
        set(&mut status, &["desiredNumberScheduled"], json!(desired));
        set(&mut status, &["currentNumberScheduled"], json!(pods.len()));
        set(&mut status, &["numberMisscheduled"], json!(0));
        set(&mut status, &["numberReady"], json!(ready));
        set_count(&mut status, "updatedNumberScheduled", updated);
        set_count(&mut status, "numberAvailable", ready);
        set_count(&mut status, "numberUnavailable", desired.saturating_sub(ready));
        set(live, &["status"], status);
    })
}

/// Whether the node carries what `nodeSelector` asks for.
fn selects_node(workloads: &Workloads, owner: &Value) -> bool {
    let Some(wanted) = owner.pointer("/spec/template/spec/nodeSelector").and_then(Value::as_object) else {
        return true;
    };
    let Some(kind) = workloads.engine.kind("v1", "Node") else { return false };
    let node = workloads.engine.read(&kind, "", &node::name(workloads)).unwrap_or_default();
    wanted.iter().all(|(label, value)| node["metadata"]["labels"].get(label) == Some(value))
}
