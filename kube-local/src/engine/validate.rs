//! What makes an object invalid: its metadata, its schema, and the rules of built-in kinds that clients lean on.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::immutable;
use crate::error::Cause;
use crate::names::{NameRule, label_value_complaints, qualified_name_complaints};
use crate::object::{self, at, integer, items, text};
use crate::registry::{Kind, validate_definition};
use crate::selector::LabelSelector;

/// A ConfigMap's or Secret's data may hold this much.
const DATA_BYTES_MAX: usize = 1024 * 1024;
const ANNOTATIONS_BYTES_MAX: usize = 256 * 1024;
const CONFIG_KEY_TEXT: &str = "a valid config key must consist of alphanumeric characters, '-', '_' or '.' (e.g. \
    'key.name',  or 'KEY_NAME',  or 'key-name', regex used for validation is '[-._a-zA-Z0-9]+')";

/// Causes against a new object.
pub(super) fn create(kind: &Kind, object: &Value) -> Vec<Cause> {
    let mut causes = metadata(object, kind.names, kind.namespaced);
    causes.extend(content(kind, object, None));
    causes
}

/// Causes against a changed object.
pub(super) fn update(kind: &Kind, live: &Value, next: &Value) -> Vec<Cause> {
    let mut causes = metadata(next, kind.names, kind.namespaced);
    causes.extend(content(kind, next, Some(live)));
    causes.extend(immutable::causes(kind, live, next));
    if crate::object::deleting(live) {
        let known = crate::object::finalizers(live);
        let added = crate::object::finalizers(next).into_iter().filter(|one| !known.contains(one));
        let added: Vec<String> = added.map(|one| format!("{one:?}")).collect();
        if !added.is_empty() {
            let detail = format!(
                "no new finalizers can be added if the object is being deleted, found new finalizers []string{{{}}}",
                added.join(", ")
            );
            causes.push(Cause::forbidden("metadata.finalizers", &detail));
        }
    }
    causes
}

fn content(kind: &Kind, object: &Value, live: Option<&Value>) -> Vec<Cause> {
    if let Some(custom) = kind.custom() {
        let errors = custom.schema.as_ref().map(|schema| schema.validate(object, live)).unwrap_or_default();
        return errors.iter().map(Cause::from).collect();
    }
    let mut causes = Vec::new();
    match (&*kind.group, kind.kind.as_str()) {
        ("apps", "Deployment" | "ReplicaSet" | "StatefulSet" | "DaemonSet") => workload(object, &mut causes),
        ("", "ReplicationController") => replicas(object, &mut causes),
        ("batch", "Job") => {
            pod_spec(&object["spec"]["template"]["spec"], "spec.template.spec", &mut causes);
            job_restart_policy(object, &mut causes);
        }
        ("batch", "CronJob") if text(object, &["spec", "schedule"]).unwrap_or_default().is_empty() => {
            causes.push(Cause::required("spec.schedule", ""));
        }
        ("", "Pod") => pod_spec(&object["spec"], "spec", &mut causes),
        ("", "Service") => service(object, &mut causes),
        ("", "ConfigMap") => {
            data(object, "data", false, &mut causes);
            data(object, "binaryData", true, &mut causes);
        }
        ("", "Secret") => data(object, "data", true, &mut causes),
        ("apiextensions.k8s.io", "CustomResourceDefinition") => causes.extend(validate_definition(object)),
        ("rbac.authorization.k8s.io", "RoleBinding" | "ClusterRoleBinding") => {
            for field in ["kind", "name"] {
                if text(object, &["roleRef", field]).unwrap_or_default().is_empty() {
                    causes.push(Cause::required(&format!("roleRef.{field}"), ""));
                }
            }
        }
        _ => {}
    }
    causes
}

fn replicas(object: &Value, causes: &mut Vec<Cause>) {
    if let Some(replicas) = integer(object, &["spec", "replicas"]).filter(|replicas| *replicas < 0) {
        causes.push(Cause::invalid("spec.replicas", &json!(replicas), "must be greater than or equal to 0"));
    }
}

fn workload(object: &Value, causes: &mut Vec<Cause>) {
    replicas(object, causes);
    let selector = &object["spec"]["selector"];
    let labels = at(object, &["spec", "template", "metadata", "labels"]);
    let mismatch = |causes: &mut Vec<Cause>| {
        let field = "spec.template.metadata.labels";
        let labels = labels.cloned().unwrap_or(Value::Null);
        causes.push(Cause::invalid(field, &labels, "`selector` does not match template `labels`"));
    };
    if selector.is_null() {
        causes.push(Cause::required("spec.selector", ""));
        mismatch(causes);
    } else if LabelSelector::from_object(selector).is_empty() {
        let detail = "empty selector is invalid for deployment";
        causes.push(Cause::invalid("spec.selector", selector, detail));
    } else if !LabelSelector::from_object(selector).matches(labels) {
        mismatch(causes);
    }
    label_map(labels, "spec.template.metadata.labels", causes);
    pod_spec(&object["spec"]["template"]["spec"], "spec.template.spec", causes);
    let policy = text(object, &["spec", "template", "spec", "restartPolicy"]).unwrap_or("Always");
    if policy != "Always" {
        let field = "spec.template.spec.restartPolicy";
        causes.push(Cause::unsupported(field, &json!(policy), &["Always"]));
    }
}

fn job_restart_policy(object: &Value, causes: &mut Vec<Cause>) {
    let policy = text(object, &["spec", "template", "spec", "restartPolicy"]).unwrap_or_default();
    if !["OnFailure", "Never"].contains(&policy) {
        let field = "spec.template.spec.restartPolicy";
        causes.push(Cause {
            reason: "FieldValueRequired".to_owned(),
            message: "Required value: valid values: \"OnFailure\", \"Never\"".to_owned(),
            field: field.to_owned(),
        });
    }
}

fn pod_spec(spec: &Value, field: &str, causes: &mut Vec<Cause>) {
    let containers = items(spec, &["containers"]);
    if containers.is_empty() {
        causes.push(Cause::required(&format!("{field}.containers"), ""));
    }
    let mut seen = Vec::new();
    for (index, container) in containers.iter().enumerate() {
        let path = format!("{field}.containers[{index}]");
        let name = text(container, &["name"]).unwrap_or_default();
        if name.is_empty() {
            causes.push(Cause::required(&format!("{path}.name"), ""));
        } else {
            for complaint in NameRule::Label.complaints(name) {
                causes.push(Cause::invalid(&format!("{path}.name"), &json!(name), &complaint));
            }
        }
        if seen.contains(&name) {
            causes.push(Cause {
                reason: "FieldValueDuplicate".to_owned(),
                message: format!("Duplicate value: \"{name}\""),
                field: format!("{path}.name"),
            });
        }
        seen.push(name);
        if text(container, &["image"]).unwrap_or_default().is_empty() {
            causes.push(Cause::required(&format!("{path}.image"), ""));
        }
        for (number, port) in items(container, &["ports"]).iter().enumerate() {
            port_number(port, "containerPort", &format!("{path}.ports[{number}]"), causes);
        }
    }
    let policy = text(spec, &["restartPolicy"]).unwrap_or("Always");
    let accepted = ["Always", "OnFailure", "Never"];
    if !accepted.contains(&policy) {
        causes.push(Cause::unsupported(&format!("{field}.restartPolicy"), &json!(policy), &accepted));
    }
}

fn port_number(port: &Value, name: &str, field: &str, causes: &mut Vec<Cause>) {
    match integer(port, &[name]) {
        None => causes.push(Cause::required(&format!("{field}.{name}"), "")),
        Some(1..=65_535) => {}
        Some(number) => {
            let detail = "must be between 1 and 65535, inclusive";
            causes.push(Cause::invalid(&format!("{field}.{name}"), &json!(number), detail));
        }
    }
}

fn service(object: &Value, causes: &mut Vec<Cause>) {
    let kind = text(object, &["spec", "type"]).unwrap_or("ClusterIP");
    let accepted = ["ClusterIP", "ExternalName", "LoadBalancer", "NodePort"];
    if !accepted.contains(&kind) {
        causes.push(Cause::unsupported("spec.type", &json!(kind), &accepted));
    }
    let ports = items(object, &["spec", "ports"]);
    let headless = text(object, &["spec", "clusterIP"]) == Some("None");
    if ports.is_empty() && !headless && kind != "ExternalName" {
        causes.push(Cause::required("spec.ports", ""));
    }
    for (index, port) in ports.iter().enumerate() {
        port_number(port, "port", &format!("spec.ports[{index}]"), causes);
        if ports.len() > 1 && text(port, &["name"]).unwrap_or_default().is_empty() {
            causes.push(Cause::required(&format!("spec.ports[{index}].name"), ""));
        }
    }
}

fn data(object: &Value, field: &str, encoded: bool, causes: &mut Vec<Cause>) {
    let mut bytes = 0;
    for (key, value) in at(object, &[field]).and_then(Value::as_object).into_iter().flatten() {
        let path = format!("{field}[{key}]");
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
        if key.is_empty() || key.len() > 253 || !key.bytes().all(plain) {
            causes.push(Cause::invalid(&path, &json!(key), CONFIG_KEY_TEXT));
        }
        let value = value.as_str().unwrap_or_default();
        bytes += value.len();
        if encoded && STANDARD.decode(value).is_err() {
            causes.push(Cause::invalid(&path, &json!("<value omitted>"), "illegal base64 data"));
        }
    }
    if bytes > DATA_BYTES_MAX {
        causes.push(Cause {
            reason: "FieldValueTooLong".to_owned(),
            message: format!("Too long: may not be more than {DATA_BYTES_MAX} bytes"),
            field: field.to_owned(),
        });
    }
}

/// Everything wrong with an object's metadata, as causes under `metadata`.
fn metadata(object: &Value, rule: NameRule, namespaced: bool) -> Vec<Cause> {
    let mut causes = Vec::new();
    let name = object::name(object);
    if name.is_empty() {
        causes.push(Cause::required("metadata.name", "name or generateName is required"));
    }
    if !name.is_empty() {
        for complaint in rule.complaints(name) {
            causes.push(Cause::invalid("metadata.name", &json!(name), &complaint));
        }
    }
    let namespace = object::namespace(object);
    if namespaced && !namespace.is_empty() {
        for complaint in NameRule::Label.complaints(namespace) {
            causes.push(Cause::invalid("metadata.namespace", &json!(namespace), &complaint));
        }
    }
    label_map(object.pointer("/metadata/labels"), "metadata.labels", &mut causes);
    annotation_map(object.pointer("/metadata/annotations"), &mut causes);
    for (index, finalizer) in object::finalizers(object).into_iter().enumerate() {
        if !finalizer.contains('/') && !["orphan", "foregroundDeletion", "kubernetes"].contains(&finalizer) {
            let detail = "name is neither a standard finalizer name nor is it fully qualified";
            causes.push(Cause::invalid(&format!("metadata.finalizers[{index}]"), &json!(finalizer), detail));
        }
    }
    causes
}

/// Everything wrong with a map of labels that stands at `field`.
fn label_map(pairs: Option<&Value>, field: &str, causes: &mut Vec<Cause>) {
    for (key, value) in pairs.and_then(Value::as_object).into_iter().flatten() {
        for complaint in qualified_name_complaints(key) {
            causes.push(Cause::invalid(field, &json!(key), &complaint));
        }
        for complaint in label_value_complaints(value.as_str().unwrap_or_default()) {
            causes.push(Cause::invalid(field, value, &complaint));
        }
    }
}

fn annotation_map(pairs: Option<&Value>, causes: &mut Vec<Cause>) {
    let mut bytes = 0;
    for (key, value) in pairs.and_then(Value::as_object).into_iter().flatten() {
        bytes += key.len() + value.as_str().map_or(0, str::len);
        for complaint in qualified_name_complaints(&key.to_lowercase()) {
            causes.push(Cause::invalid("metadata.annotations", &json!(key), &complaint));
        }
    }
    if bytes > ANNOTATIONS_BYTES_MAX {
        causes.push(Cause {
            reason: "FieldValueTooLong".into(),
            message: format!("Too long: may not be more than {ANNOTATIONS_BYTES_MAX} bytes"),
            field: "metadata.annotations".into(),
        });
    }
}
