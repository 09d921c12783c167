//! What the server itself writes into `metadata`: identity on create, what an update may not change, generations.

use serde_json::{Value, json};

use super::now;
use crate::error::ApiError;
use crate::object::{self, at, copy, remove, text};
use crate::registry::Kind;

const SUFFIX_ALPHABET: &[u8] = b"bcdfghjklmnpqrstvwxz2456789";
const SUFFIX_LENGTH: usize = 5;
const GENERATED_NAME_MAX: usize = 63;

/// A random suffix as `generateName` adds.
pub(crate) fn random_suffix() -> String {
    let random = uuid::Uuid::new_v4();
    let bytes = random.as_bytes();
    bytes
        .iter()
        .take(SUFFIX_LENGTH)
        .map(|byte| char::from(SUFFIX_ALPHABET[usize::from(*byte) % SUFFIX_ALPHABET.len()]))
        .collect()
}

/// Gives a name to an object that has only `generateName`.
pub(super) fn generate_name(object: &mut Value) {
    if !object::name(object).is_empty() {
        return;
    }
    let Some(prefix) = text(object, &["metadata", "generateName"]).filter(|prefix| !prefix.is_empty()) else {
        return;
    };
    let kept: String = prefix.chars().take(GENERATED_NAME_MAX - SUFFIX_LENGTH).collect();
    let name = format!("{kept}{}", random_suffix());
    object::metadata(object).insert("name".to_owned(), json!(name));
}

/// The object's types, name and namespace against those of the request.
///
/// # Errors
/// 400 naming what does not match.
pub(super) fn admit(
    kind: &Kind,
    namespace: &str,
    name: Option<&str>,
    object: &mut Value,
) -> Result<(), ApiError> {
    if !object.is_object() {
        return Err(ApiError::bad_request(format!(
            "{} in version \"{}\" cannot be handled as a {}: the body must be an object",
            kind.kind, kind.version, kind.kind
        )));
    }
    admit_types(kind, object)?;
    if object.get("metadata").is_some_and(|metadata| !metadata.is_object() && !metadata.is_null()) {
        return Err(ApiError::bad_request(format!(
            "{} in version \"{}\" cannot be handled as a {}: metadata: Invalid value: must be an object",
            kind.kind, kind.version, kind.kind
        )));
    }
    let metadata = object::metadata(object);
    metadata.retain(|_, value| !value.is_null());
    metadata.remove("selfLink");
    if kind.namespaced {
        match metadata.get("namespace").and_then(Value::as_str).unwrap_or_default() {
            "" => {
                metadata.insert("namespace".to_owned(), json!(namespace));
            }
            same if same == namespace => {}
            _ => {
                return Err(ApiError::bad_request(
                    "the namespace of the provided object does not match the namespace sent on the request",
                ));
            }
        }
    } else {
        metadata.remove("namespace");
    }
    let Some(name) = name else { return Ok(()) };
    match metadata.get("name").and_then(Value::as_str).unwrap_or_default() {
        "" => {
            metadata.insert("name".to_owned(), json!(name));
            Ok(())
        }
        same if same == name => Ok(()),
        other => Err(ApiError::bad_request(format!(
            "the name of the object ({other}) does not match the name on the URL ({name})"
        ))),
    }
}

fn admit_types(kind: &Kind, object: &mut Value) -> Result<(), ApiError> {
    let expected = kind.api_version();
    let (api_version, object_kind) = (
        text(object, &["apiVersion"]).unwrap_or_default().to_owned(),
        text(object, &["kind"]).unwrap_or_default().to_owned(),
    );
    if kind.custom().is_some() && (api_version.is_empty() || object_kind.is_empty()) {
        let missing = if object_kind.is_empty() { "Kind" } else { "apiVersion" };
        return Err(ApiError::bad_request(format!(
            "{} in version \"{}\" cannot be handled as a {}: Object '{missing}' is missing in the body",
            kind.kind, kind.version, kind.kind
        )));
    }
    if !api_version.is_empty() && api_version != expected {
        return Err(ApiError::bad_request(format!(
            "the API version in the data ({api_version}) does not match the expected API version ({expected})"
        )));
    }
    if !object_kind.is_empty() && object_kind != kind.kind {
        if kind.builtin().is_some() {
            let internal =
                if kind.group.is_empty() { "core" } else { kind.group.split('.').next().unwrap_or_default() };
            return Err(ApiError::bad_request(format!(
                "{object_kind} in version \"{}\" cannot be handled as a {}: converting ({}.{object_kind}) to \
                 ({internal}.{}): unknown conversion",
                kind.version, kind.kind, kind.version, kind.kind
            )));
        }
        return Err(ApiError::other_kind(kind, &object_kind, object::name(object)));
    }
    object::set(object, &["apiVersion"], json!(expected));
    object::set(object, &["kind"], json!(kind.kind));
    Ok(())
}

/// Identity of a new object.
pub(super) fn begin(kind: &Kind, object: &mut Value) {
    let generation = kind.generation;
    let metadata = object::metadata(object);
    for server_owned in ["resourceVersion", "deletionTimestamp", "deletionGracePeriodSeconds", "generation"] {
        metadata.remove(server_owned);
    }
    metadata.insert("uid".to_owned(), json!(uuid::Uuid::new_v4().to_string()));
    metadata.insert("creationTimestamp".to_owned(), json!(now()));
    if generation {
        metadata.insert("generation".to_owned(), json!(1));
    }
}

/// What an update cannot change is as it was.
pub(super) fn carry(live: &Value, next: &mut Value) {
    for field in [
        "uid",
        "creationTimestamp",
        "deletionTimestamp",
        "deletionGracePeriodSeconds",
        "generation",
        "generateName",
    ] {
        copy(live, next, &["metadata", field]);
    }
    for field in ["labels", "annotations", "finalizers", "ownerReferences"] {
        let empty = match at(next, &["metadata", field]) {
            Some(Value::Object(map)) => map.is_empty(),
            Some(Value::Array(items)) => items.is_empty(),
            _ => false,
        };
        if empty {
            remove(next, &["metadata", field]);
        }
    }
}

/// Counts a change of what is desired: everything but metadata and, where it is a part of its own, status.
pub(super) fn bump_generation(kind: &Kind, live: &Value, next: &mut Value) {
    // The scheduler's choice of a node is no change of what is desired of a pod.
    let bound = kind.is("", "Pod") && at(live, &["spec", "nodeName"]) != at(next, &["spec", "nodeName"]);
    if !kind.generation || bound {
        return;
    }
    let desired_differs = {
        let part = |object: &Value, field: &String| object.get(field).cloned();
        let fields = live.as_object().into_iter().chain(next.as_object()).flat_map(|map| map.keys());
        fields
            .filter(|field| !["metadata", "apiVersion", "kind"].contains(&field.as_str()))
            .filter(|field| !(kind.status && field.as_str() == "status"))
            .any(|field| part(live, field) != part(next, field))
    };
    if desired_differs {
        let generation = object::integer(live, &["metadata", "generation"]).unwrap_or(0);
        object::set(next, &["metadata", "generation"], json!(generation + 1));
    }
}

/// What was written through `scale` is owned without a time, and listed before other updates, as kube-apiserver
/// has it.
pub(super) fn untimed_scale(object: &mut Value) {
    let Some(Value::Array(managers)) = object::metadata(object).get_mut("managedFields") else { return };
    for entry in managers.iter_mut().filter(|entry| entry["subresource"] == "scale") {
        remove(entry, &["time"]);
    }
    managers.sort_by_key(|entry| (entry["operation"] != "Apply", entry["subresource"] != "scale"));
}

/// Whether two states differ at most in their revision and in the times of `managedFields`.
pub(super) fn unchanged(live: &Value, next: &mut Value) -> bool {
    copy(live, next, &["metadata", "resourceVersion"]);
    if live == next {
        return true;
    }
    let without_managers = |object: &Value| {
        let mut object = object.clone();
        let managers = remove(&mut object, &["metadata", "managedFields"]);
        (object, managers)
    };
    let without_times = |managers: Option<Value>| {
        let mut managers = managers.and_then(|list| list.as_array().cloned()).unwrap_or_default();
        for entry in &mut managers {
            remove(entry, &["time"]);
        }
        managers
    };
    let ((live, live_managers), (next, next_managers)) = (without_managers(live), without_managers(next));
    live == next && without_times(live_managers) == without_times(next_managers)
}
