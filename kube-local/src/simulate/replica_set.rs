//! A ReplicaSet keeps as many pods as it says.

use serde_json::{Value, json};

use super::event::{Notice, record};
use super::{Workloads, pod, set_count, template};
use crate::error::ApiError;
use crate::object::{self, integer, set, text};

const SOURCE: &str = "replicaset-controller";

/// Creates or deletes pods, and keeps the status.
pub(super) fn reconcile(workloads: &mut Workloads, set_object: &Value) -> Result<(), ApiError> {
    let pods_kind = workloads.kind("v1", "Pod")?;
    let wanted = usize::try_from(integer(set_object, &["spec", "replicas"]).unwrap_or(1)).unwrap_or(0);
    let mut pods = workloads.active_pods(set_object);
    let name = object::name(set_object);
    while pods.len() < wanted {
        let created = workloads.create(&pods_kind, template::pod(set_object, &format!("{name}-"), &[]))?;
        let message = format!("Created pod: {}", object::name(&created));
        record(
            workloads,
            set_object,
            Notice { kind: "Normal", reason: "SuccessfulCreate", source: SOURCE },
            &message,
        );
        pods.push(created);
    }
    // Pods that are not ready go first, then the youngest.
    pods.sort_by_key(|one| {
        (pod::ready(one), std::cmp::Reverse(text(one, &["metadata", "creationTimestamp"]).map(str::to_owned)))
    });
    for surplus in pods.drain(..pods.len().saturating_sub(wanted)) {
        workloads.delete(&pods_kind, &surplus)?;
        let message = format!("Deleted pod: {}", object::name(&surplus));
        record(
            workloads,
            set_object,
            Notice { kind: "Normal", reason: "SuccessfulDelete", source: SOURCE },
            &message,
        );
    }
    let ready = pods.iter().filter(|one| pod::ready(one)).count();
    let kind = workloads.kind("apps/v1", "ReplicaSet")?;
    let generation = set_object["metadata"]["generation"].clone();
    workloads.modify(&kind, set_object, |live| {
        let mut status = live["status"].clone();
        set(&mut status, &["replicas"], json!(pods.len()));
        set(&mut status, &["observedGeneration"], generation);
        set_count(&mut status, "fullyLabeledReplicas", pods.len());
        set_count(&mut status, "readyReplicas", ready);
        set_count(&mut status, "availableReplicas", ready);
        set(live, &["status"], status);
    })
}
