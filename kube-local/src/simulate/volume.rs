//! Every claim is bound at once, to a volume made for it.

use serde_json::{Value, json};

use super::Workloads;
use crate::error::ApiError;
use crate::object::{self, set, text};

/// Binds a claim.
pub(super) fn reconcile(workloads: &mut Workloads, claim: &Value) -> Result<(), ApiError> {
    if text(claim, &["status", "phase"]) == Some("Bound") {
        return Ok(());
    }
    let name = format!("pvc-{}", object::uid(claim));
    let requested = claim["spec"]["resources"]["requests"].clone();
    let volume = json!({
        "apiVersion": "v1", "kind": "PersistentVolume",
        "metadata": {"name": name},
        "spec": {
            "capacity": requested, "accessModes": claim["spec"]["accessModes"],
            "persistentVolumeReclaimPolicy": "Delete", "storageClassName": claim["spec"]["storageClassName"],
            "volumeMode": "Filesystem", "hostPath": {"path": format!("/simulated/{name}"), "type": ""},
            "claimRef": {
                "apiVersion": "v1", "kind": "PersistentVolumeClaim", "name": object::name(claim),
                "namespace": object::namespace(claim), "uid": object::uid(claim),
            },
        },
        "status": {"phase": "Bound"},
    });
    let volumes = workloads.kind("v1", "PersistentVolume")?;
    match workloads.create(&volumes, volume) {
        Err(error) if error.code != 409 => return Err(error),
        _ => {}
    }
    let claims = workloads.kind("v1", "PersistentVolumeClaim")?;
    workloads.modify(&claims, claim, |live| {
        set(live, &["spec", "volumeName"], json!(name));
        set(live, &["status", "phase"], json!("Bound"));
        set(live, &["status", "accessModes"], live["spec"]["accessModes"].clone());
        set(live, &["status", "capacity"], requested);
    })
}
