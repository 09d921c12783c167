//! Defaults of a pod's spec, in pods and in the templates of workloads.

use serde_json::{Value, json};

use crate::object::{at, set, set_default, text};

const FILE_MODE: i64 = 0o644;

/// Writes the defaults of a pod spec.
pub(crate) fn pod_spec(spec: &mut Value) {
    let defaults = [
        ("restartPolicy", json!("Always")),
        ("dnsPolicy", json!("ClusterFirst")),
        ("terminationGracePeriodSeconds", json!(30)),
        ("schedulerName", json!("default-scheduler")),
        ("securityContext", json!({})),
    ];
    for (field, value) in defaults {
        set_default(spec, &[field], value);
    }
    if let Some(account) = text(spec, &["serviceAccountName"]).map(str::to_owned) {
        set_default(spec, &["serviceAccount"], json!(account));
    }
    for list in ["containers", "initContainers", "ephemeralContainers"] {
        if let Some(Value::Array(containers)) = spec.get_mut(list) {
            containers.iter_mut().for_each(container);
        }
    }
    if let Some(Value::Array(volumes)) = spec.get_mut("volumes") {
        volumes.iter_mut().for_each(volume);
    }
}

fn container(container: &mut Value) {
    set_default(container, &["terminationMessagePath"], json!("/dev/termination-log"));
    set_default(container, &["terminationMessagePolicy"], json!("File"));
    set_default(container, &["resources"], json!({}));
    let image = text(container, &["image"]).unwrap_or_default();
    let last = image.rsplit('/').next().unwrap_or_default();
    let latest = !image.contains('@') && (!last.contains(':') || last.ends_with(":latest"));
    set_default(container, &["imagePullPolicy"], json!(if latest { "Always" } else { "IfNotPresent" }));
    if let Some(Value::Array(ports)) = container.get_mut("ports") {
        ports.iter_mut().for_each(|port| set_default(port, &["protocol"], json!("TCP")));
    }
    for name in ["livenessProbe", "readinessProbe", "startupProbe"] {
        if let Some(one) = container.get_mut(name) {
            probe(one);
        }
    }
    if let Some(Value::Array(variables)) = container.get_mut("env") {
        for variable in variables {
            if at(variable, &["valueFrom", "fieldRef"]).is_some() {
                set_default(variable, &["valueFrom", "fieldRef", "apiVersion"], json!("v1"));
            }
        }
    }
    requests_from_limits(container);
}

fn probe(probe: &mut Value) {
    let defaults =
        [("timeoutSeconds", 1), ("periodSeconds", 10), ("successThreshold", 1), ("failureThreshold", 3)];
    for (field, value) in defaults {
        set_default(probe, &[field], json!(value));
    }
    if at(probe, &["httpGet"]).is_some() {
        set_default(probe, &["httpGet", "path"], json!("/"));
        set_default(probe, &["httpGet", "scheme"], json!("HTTP"));
    }
}

/// A limit without a request is the request.
fn requests_from_limits(container: &mut Value) {
    let Some(Value::Object(limits)) = at(container, &["resources", "limits"]).cloned() else { return };
    for (resource, amount) in limits {
        set_default(container, &["resources", "requests", &resource], amount);
    }
}

fn volume(volume: &mut Value) {
    for source in ["configMap", "secret", "downwardAPI", "projected"] {
        if at(volume, &[source]).is_some() {
            set_default(volume, &[source, "defaultMode"], json!(FILE_MODE));
        }
    }
    if at(volume, &["hostPath"]).is_some() {
        set_default(volume, &["hostPath", "type"], json!(""));
    }
    let sources = volume.as_object().map_or(0, |map| map.keys().filter(|key| *key != "name").count());
    if sources == 0 {
        set(volume, &["emptyDir"], json!({}));
    }
}
