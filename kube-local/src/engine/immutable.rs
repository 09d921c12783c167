//! Fields of built-in kinds that may not change once an object exists.

use serde_json::Value;

use crate::error::Cause;
use crate::object::{at, remove, text};
use crate::registry::Kind;

const IMMUTABLE: &str = "field is immutable";

/// Causes against a change.
pub(super) fn causes(kind: &Kind, live: &Value, next: &Value) -> Vec<Cause> {
    let mut causes = Vec::new();
    let mut fixed = |path: &[&str]| {
        if at(live, path) != at(next, path) {
            let value = at(next, path).cloned().unwrap_or(Value::Null);
            causes.push(Cause::invalid(&path.join("."), &value, IMMUTABLE));
        }
    };
    match (&*kind.group, kind.kind.as_str()) {
        ("apps", "Deployment" | "ReplicaSet" | "DaemonSet") => fixed(&["spec", "selector"]),
        ("batch", "Job") => {
            fixed(&["spec", "selector"]);
            fixed(&["spec", "template"]);
            fixed(&["spec", "completionMode"]);
        }
        ("rbac.authorization.k8s.io", "RoleBinding" | "ClusterRoleBinding")
            if live["roleRef"] != next["roleRef"] =>
        {
            causes.push(Cause::invalid("roleRef", &next["roleRef"], "cannot change roleRef"));
        }
        ("apps", "StatefulSet") => stateful_set(live, next, &mut causes),
        ("", "ConfigMap" | "Secret") => {
            if kind.kind == "Secret" {
                fixed(&["type"]);
            }
            frozen_data(live, next, &mut causes);
        }
        ("", "Service") => {
            let address = |object| text(object, &["spec", "clusterIP"]).unwrap_or_default().to_owned();
            let external = text(next, &["spec", "type"]) == Some("ExternalName");
            if !external && !address(live).is_empty() && address(live) != address(next) {
                fixed(&["spec", "clusterIP"]);
            }
        }
        ("", "Pod") => pod(live, next, &mut causes),
        ("storage.k8s.io", "StorageClass") => {
            for field in ["provisioner", "parameters", "reclaimPolicy", "volumeBindingMode"] {
                fixed(&[field]);
            }
        }
        ("apiextensions.k8s.io", "CustomResourceDefinition") => {
            fixed(&["spec", "scope"]);
            fixed(&["spec", "names", "kind"]);
        }
        _ => {}
    }
    causes
}

fn frozen_data(live: &Value, next: &Value, causes: &mut Vec<Cause>) {
    if live["immutable"] != true {
        return;
    }
    const DETAIL: &str = "field is immutable when `immutable` is set";
    for field in ["immutable", "data", "binaryData"] {
        if live[field] != next[field] {
            causes.push(Cause::forbidden(field, DETAIL));
        }
    }
}

fn stateful_set(live: &Value, next: &Value, causes: &mut Vec<Cause>) {
    const CHANGEABLE: [&str; 8] = [
        "replicas",
        "ordinals",
        "template",
        "updateStrategy",
        "revisionHistoryLimit",
        "persistentVolumeClaimRetentionPolicy",
        "minReadySeconds",
        "volumeClaimTemplates",
    ];
    let fixed = |object: &Value| {
        let mut spec = object["spec"].clone();
        for field in CHANGEABLE {
            remove(&mut spec, &[field]);
        }
        spec
    };
    if fixed(live) != fixed(next) {
        let detail = "updates to statefulset spec for fields other than 'replicas', 'ordinals', 'template', \
                      'updateStrategy', 'revisionHistoryLimit', 'persistentVolumeClaimRetentionPolicy' and \
                      'minReadySeconds' are forbidden";
        causes.push(Cause::forbidden("spec", detail));
    }
}

fn pod(live: &Value, next: &Value, causes: &mut Vec<Cause>) {
    let fixed = |object: &Value| {
        let mut spec = object["spec"].clone();
        for field in [
            "activeDeadlineSeconds",
            "terminationGracePeriodSeconds",
            "tolerations",
            "nodeName",
            "ephemeralContainers",
        ] {
            remove(&mut spec, &[field]);
        }
        for list in ["containers", "initContainers"] {
            if let Some(Value::Array(containers)) = spec.get_mut(list) {
                for container in containers {
                    remove(container, &["image"]);
                    remove(container, &["imagePullPolicy"]);
                    remove(container, &["resources"]);
                }
            }
        }
        spec
    };
    if fixed(live) != fixed(next) {
        let detail = "pod updates may not change fields other than `spec.containers[*].image`,\
                      `spec.initContainers[*].image`,`spec.activeDeadlineSeconds`,`spec.tolerations` (only additions \
                      to existing tolerations),`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it \
                      was previously negative)";
        causes.push(Cause::forbidden("spec", detail));
    }
}
