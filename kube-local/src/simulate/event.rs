//! Events of simulated controllers, kubelet and scheduler.

use serde_json::{Value, json};

use super::Workloads;
use crate::object;

/// Something worth telling about an object.
#[derive(Debug, Clone, Copy)]
pub(super) struct Notice<'a> {
    /// `Normal` or `Warning`.
    pub(super) kind: &'a str,
    pub(super) reason: &'a str,
    pub(super) source: &'a str,
}

/// Records an event, or counts one that was recorded before.
pub(super) fn record(workloads: &mut Workloads, about: &Value, notice: Notice<'_>, message: &str) {
    let Ok(kind) = workloads.kind("v1", "Event") else { return };
    let namespace = match object::namespace(about) {
        "" => "default",
        namespace => namespace,
    };
    let now = crate::clock::now();
    let fingerprint = super::template::hash(&json!([object::uid(about), notice.reason, message]));
    let name = format!("{}.{fingerprint}", object::name(about));
    let counted = workloads.engine.modify(&kind, namespace, &name, notice.source, |event| {
        let count = object::integer(event, &["count"]).unwrap_or(1);
        object::set(event, &["count"], json!(count + 1));
        object::set(event, &["lastTimestamp"], json!(now));
    });
    if counted.is_ok() {
        return;
    }
    let event = json!({
        "apiVersion": "v1", "kind": "Event",
        "metadata": {"name": name, "namespace": namespace},
        "involvedObject": {
            "apiVersion": about["apiVersion"], "kind": about["kind"], "name": object::name(about),
            "namespace": object::namespace(about), "uid": object::uid(about),
            "resourceVersion": about["metadata"]["resourceVersion"],
        },
        "type": notice.kind, "reason": notice.reason, "message": message,
        "source": {"component": notice.source}, "reportingComponent": notice.source, "reportingInstance": "",
        "firstTimestamp": now, "lastTimestamp": now, "count": 1,
    });
    if let Err(error) = workloads.create(&kind, event) {
        tracing::debug!(%error, "an event was not recorded");
    }
}
