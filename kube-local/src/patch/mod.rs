//! The three kinds of patch that Kubernetes takes besides server-side apply: merge patch (RFC 7396), JSON patch
//! (RFC 6902) and strategic merge patch, which merges lists by the keys of a [`MergeSchema`].

mod strategic;

use serde_json::{Map, Value};

use crate::fields::MergeSchema;

/// Why a patch cannot be applied.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PatchError {
    /// The patch is not a list of JSON patch operations.
    #[error("error decoding patch: {cause}")]
    ParseJson {
        /// What is wrong with it.
        cause: String,
    },
    /// A JSON patch operation does not fit the object.
    #[error(
        "the server rejected our request due to an error in our request: operation {index}, path {path:?}: {cause}"
    )]
    ApplyJson {
        /// The operation's position in the patch.
        index: usize,
        /// The path that it names.
        path: String,
        /// Why it does not fit.
        cause: String,
    },
    /// The patch has to be a JSON object.
    #[error("invalid patch: expected a JSON object, got {found}")]
    NotAnObject {
        /// What was found instead.
        found: &'static str,
    },
    /// A strategic merge patch item lacks the key that says which item it changes.
    #[error("map: {item} does not contain declared merge key: {key}")]
    MergeKey {
        /// The item, as JSON.
        item: String,
        /// The key that it needs.
        key: String,
    },
    /// A directive of a strategic merge patch has a value that it cannot have.
    #[error("unknown patch directive {directive:?} with value {value} at {path:?}")]
    Directive {
        /// The directive: `$patch`, `$retainKeys`...
        directive: String,
        /// Its value, as JSON.
        value: String,
        /// Where it stands.
        path: String,
    },
}

/// Applies a merge patch: maps merge, `null` deletes, everything else replaces.
pub fn merge(target: &mut Value, patch: &Value) {
    let Value::Object(patch) = patch else {
        target.clone_from(patch);
        return;
    };
    if !target.is_object() {
        *target = Value::Object(Map::new());
    }
    let Value::Object(target) = target else { return };
    for (name, value) in patch {
        if value.is_null() {
            target.remove(name);
        } else {
            merge(target.entry(name.as_str()).or_insert(Value::Null), value);
        }
    }
}

/// Applies a JSON patch: all of its operations, or none.
///
/// As in the API server's library, a path that does not exist tests equal to `null` (that is how clients add the
/// first finalizer without racing another), and `replace` also sets a field that a map does not have yet.
///
/// # Errors
/// [`PatchError::ParseJson`] when it is no JSON patch, [`PatchError::ApplyJson`] when an operation does not fit;
/// `target` is unchanged then.
pub fn json(target: &mut Value, patch: &Value) -> Result<(), PatchError> {
    let operations: json_patch::Patch = serde_json::from_value(patch.clone())
        .map_err(|error| PatchError::ParseJson { cause: error.to_string() })?;
    let mut next = target.clone();
    for (index, operation) in operations.0.into_iter().enumerate() {
        if let json_patch::PatchOperation::Test(test) = &operation
            && test.value.is_null()
            && next.pointer(test.path.as_str()).is_none()
        {
            continue;
        }
        let operation = settable(operation, &next);
        json_patch::patch_unsafe(&mut next, &[operation]).map_err(|error| PatchError::ApplyJson {
            index,
            path: error.path.to_string(),
            cause: error.kind.to_string(),
        })?;
    }
    *target = next;
    Ok(())
}

/// A `replace` of what a map does not have yet, as the `add` that it amounts to.
fn settable(operation: json_patch::PatchOperation, target: &Value) -> json_patch::PatchOperation {
    let json_patch::PatchOperation::Replace(replace) = &operation else { return operation };
    let path = replace.path.as_str();
    let parent = path.rsplit_once('/').and_then(|(parent, _)| target.pointer(parent));
    if target.pointer(path).is_some() || !parent.is_some_and(Value::is_object) {
        return operation;
    }
    let (path, value) = (replace.path.clone(), replace.value.clone());
    json_patch::PatchOperation::Add(json_patch::AddOperation { path, value })
}

/// Applies a strategic merge patch: a merge patch whose keyed lists merge item by item, with the directives
/// `$patch` (`replace`, `merge`, `delete`), `$setElementOrder/<list>`, `$deleteFromPrimitiveList/<list>` and
/// `$retainKeys`.
///
/// # Errors
/// [`PatchError`] names the item or directive that cannot be applied; `target` may be half changed then.
pub fn strategic(target: &mut Value, patch: &Value, schema: &MergeSchema) -> Result<(), PatchError> {
    strategic::apply(target, patch, schema)
}

/// What a JSON value is called in messages.
fn kind_name(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}

#[cfg(test)]
mod tests;
