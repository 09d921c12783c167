//! Fields that the schema does not know, and values of the wrong type.

use serde_json::Value;

use super::FieldValidation;
use crate::error::{ApiError, Cause};
use crate::object;
use crate::registry::{Kind, Origin};

/// Drops unknown fields and says so as asked; refuses values that a built-in type cannot hold.
///
/// Returns warnings.
///
/// # Errors
/// 400 for unknown fields under `Strict`, and for values of the wrong type in built-in kinds.
pub(super) fn fields(
    kind: &Kind,
    object: &mut Value,
    validation: FieldValidation,
) -> Result<Vec<String>, ApiError> {
    let builtin = matches!(kind.origin, Origin::Builtin(..));
    if builtin {
        // Go's decoder reads null as absent.
        drop_nulls(object);
    }
    let mut warnings = Vec::new();
    let Some(schema) = kind.schema() else { return Ok(warnings) };
    let unknown: Vec<String> =
        schema.prune(object).into_iter().map(|path| format!("unknown field \"{path}\"")).collect();
    match validation {
        FieldValidation::Ignore => {}
        FieldValidation::Warn => warnings.extend(unknown),
        FieldValidation::Strict if unknown.is_empty() => {}
        FieldValidation::Strict => {
            return Err(cannot_be_handled(kind, &format!("strict decoding error: {}", unknown.join(", "))));
        }
    }
    if builtin {
        let mistyped: Vec<Cause> = schema
            .validate(object, None)
            .iter()
            .map(Cause::from)
            .filter(|cause| cause.reason == "FieldValueTypeInvalid")
            .collect();
        if let Some(first) = mistyped.first() {
            return Err(cannot_be_handled(kind, &format!("{}: {}", first.field, first.message)));
        }
    }
    Ok(warnings)
}

/// Prepares what a client applies.
///
/// # Errors
/// 500, as kube-apiserver has it, for fields that the schema does not know: they cannot be owned.
pub(super) fn before_apply(kind: &Kind, applied: &mut Value) -> Result<(), ApiError> {
    if kind.builtin().is_some() {
        drop_nulls(applied);
    }
    let unknown = kind.schema().map(|schema| schema.prune(&mut applied.clone())).unwrap_or_default();
    if unknown.is_empty() {
        return Ok(());
    }
    let lines: Vec<String> =
        unknown.iter().map(|path| format!(".{path}: field not declared in schema")).collect();
    let text = match lines.as_slice() {
        [only] => only.clone(),
        many => format!("errors:\n  {}", many.join("\n  ")),
    };
    Err(ApiError::unreasoned(format!(
        "failed to create typed patch object ({}/{}; {}/{}, Kind={}): {text}",
        object::namespace(applied),
        object::name(applied),
        kind.group,
        kind.version,
        kind.kind
    )))
}

fn cannot_be_handled(kind: &Kind, why: &str) -> ApiError {
    ApiError::bad_request(format!(
        "{} in version \"{}\" cannot be handled as a {}: {why}",
        kind.kind, kind.version, kind.kind
    ))
}

fn drop_nulls(value: &mut Value) {
    match value {
        Value::Object(map) => {
            map.retain(|_, value| !value.is_null());
            map.values_mut().for_each(drop_nulls);
        }
        Value::Array(items) => items.iter_mut().for_each(drop_nulls),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}
