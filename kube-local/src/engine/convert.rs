//! Between the version a client speaks and the version in which an object is stored. Custom kinds convert by
//! changing `apiVersion` (strategy `None`); events of the two groups by renaming fields.

use bytes::Bytes;
use serde_json::{Value, json};

use crate::object::{at, remove, set};
use crate::registry::Kind;

/// (events.k8s.io, core)
const EVENT_FIELDS: [(&[&str], &[&str]); 8] = [
    (&["regarding"], &["involvedObject"]),
    (&["note"], &["message"]),
    (&["reportingController"], &["reportingComponent"]),
    (&["reportingInstance"], &["reportingInstance"]),
    (&["deprecatedCount"], &["count"]),
    (&["deprecatedSource"], &["source"]),
    (&["deprecatedFirstTimestamp"], &["firstTimestamp"]),
    (&["deprecatedLastTimestamp"], &["lastTimestamp"]),
];

fn same(kind: &Kind) -> bool {
    kind.api_version() == kind.stored_api_version
}

/// A stored object as this kind serves it.
pub(super) fn served(kind: &Kind, mut object: Value) -> Value {
    if !same(kind) {
        set(&mut object, &["apiVersion"], json!(kind.api_version()));
        if kind.is("events.k8s.io", "Event") {
            for (new, core) in EVENT_FIELDS {
                rename(&mut object, core, new);
            }
        }
    }
    object
}

/// An object of this kind as it is stored.
pub(super) fn stored(kind: &Kind, mut object: Value) -> Value {
    if !same(kind) {
        set(&mut object, &["apiVersion"], json!(kind.stored_api_version));
        if kind.is("events.k8s.io", "Event") {
            for (new, core) in EVENT_FIELDS {
                rename(&mut object, new, core);
            }
        }
    }
    object
}

/// Encoded, without decoding where both are the same.
pub(super) fn served_bytes(kind: &Kind, bytes: &Bytes) -> Bytes {
    if same(kind) {
        return bytes.clone();
    }
    let object = serde_json::from_slice(bytes).unwrap_or_default();
    serde_json::to_vec(&served(kind, object)).unwrap_or_default().into()
}

fn rename(object: &mut Value, from: &[&str], to: &[&str]) {
    if at(object, from).is_some()
        && let Some(value) = remove(object, from)
    {
        set(object, to, value);
    }
}
