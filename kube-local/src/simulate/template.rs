//! Pods from templates, and the hash that tells templates apart.

use serde_json::{Value, json};

use super::owner_reference;
use crate::object::{self, set};

/// A short hash of a pod template, of the characters that Kubernetes uses in generated names.
pub(super) fn hash(template: &Value) -> String {
    const ALPHABET: &[u8] = b"bcdfghjklmnpqrstvwxz2456789";
    // FNV-1a over the canonical JSON (keys are sorted).
    let text = template.to_string();
    let hash =
        text.bytes().fold(0x811c_9dc5_u32, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193));
    hash.to_string().bytes().map(|digit| char::from(ALPHABET[usize::from(digit) % ALPHABET.len()])).collect()
}

/// A pod of an owner made from its template, with labels beyond the template's.
pub(super) fn pod(owner: &Value, name: &str, labels: &[(&str, &str)]) -> Value {
    let template = &owner["spec"]["template"];
    let mut pod = json!({"apiVersion": "v1", "kind": "Pod", "spec": template["spec"]});
    for field in ["labels", "annotations"] {
        if let Some(map) = template["metadata"].get(field) {
            set(&mut pod, &["metadata", field], map.clone());
        }
    }
    for (label, value) in labels {
        set(&mut pod, &["metadata", "labels", label], json!(value));
    }
    set(&mut pod, &["metadata", "namespace"], json!(object::namespace(owner)));
    if let Some(prefix) = name.strip_suffix('-') {
        set(&mut pod, &["metadata", "generateName"], json!(format!("{prefix}-")));
    } else {
        set(&mut pod, &["metadata", "name"], json!(name));
    }
    set(&mut pod, &["metadata", "ownerReferences"], json!([owner_reference(owner)]));
    pod
}
