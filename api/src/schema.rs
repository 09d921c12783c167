//! Pieces of OpenAPI schema that `schemars` cannot derive: Kubernetes' own types with their list types,
//! CEL rules, free-form JSON. Fields refer to them with `#[schemars(schema_with = "...")]` or `extend`.

use schemars::{Schema, SchemaGenerator, json_schema};
use serde_json::{Value, json};

/// Marks a field as required in the schema although Rust fills it when it is absent.
/// Taken out again by [`crate::crd`].
pub(crate) const REQUIRED: &str = "x-skein-required";

/// `x-kubernetes-validations` from (rule, message) pairs.
pub(crate) fn rules(pairs: &[(&str, &str)]) -> Value {
    pairs.iter().map(|(rule, message)| json!({"rule": rule, "message": message})).collect()
}

/// Any JSON value, kept as it is.
pub(crate) fn any(_: &mut SchemaGenerator) -> Schema {
    json_schema!({"x-kubernetes-preserve-unknown-fields": true})
}

/// A Go `int`: an integer without a format.
pub(crate) fn int(_: &mut SchemaGenerator) -> Schema {
    json_schema!({"type": "integer"})
}

/// `metav1.Condition` list, a map keyed by type, with the limits of the Kubernetes API conventions.
pub(crate) fn conditions(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "array",
        "x-kubernetes-list-type": "map",
        "x-kubernetes-list-map-keys": ["type"],
        "items": {
            "description": "One observed aspect of the object.",
            "type": "object",
            "required": ["lastTransitionTime", "message", "reason", "status", "type"],
            "properties": {
                "lastTransitionTime": {
                    "description": "When the status last changed from one value to another.",
                    "type": "string", "format": "date-time"
                },
                "message": {
                    "description": "What was observed, for a person. May be empty.",
                    "type": "string", "maxLength": 32768
                },
                "observedGeneration": {
                    "description": "The metadata.generation this condition was computed from.",
                    "type": "integer", "format": "int64", "minimum": 0
                },
                "reason": {
                    "description": "Why the condition has this status, as one CamelCase word for programs.",
                    "type": "string", "minLength": 1, "maxLength": 1024,
                    "pattern": "^[A-Za-z]([A-Za-z0-9_,:]*[A-Za-z0-9_])?$"
                },
                "status": {
                    "description": "Whether the condition holds.",
                    "type": "string", "enum": ["True", "False", "Unknown"]
                },
                "type": {
                    "description": "The aspect, in CamelCase or prefix/CamelCase.",
                    "type": "string", "maxLength": 316,
                    "pattern": "^([a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*/)?(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])$"
                }
            }
        }
    })
}

/// `metav1.LabelSelector`.
pub(crate) fn label_selector(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "object",
        "x-kubernetes-map-type": "atomic",
        "properties": {
            "matchExpressions": {
                "description": "Requirements that must all hold.",
                "type": "array",
                "x-kubernetes-list-type": "atomic",
                "items": {
                    "description": "One requirement on a label.",
                    "type": "object",
                    "required": ["key", "operator"],
                    "properties": {
                        "key": {"description": "The label's key.", "type": "string"},
                        "operator": {"description": "In, NotIn, Exists or DoesNotExist.", "type": "string"},
                        "values": {
                            "description": "The values of In and NotIn; empty for the other operators.",
                            "type": "array", "x-kubernetes-list-type": "atomic",
                            "items": {"type": "string"}
                        }
                    }
                }
            },
            "matchLabels": {
                "description": "Labels that must all be present with exactly these values.",
                "type": "object",
                "additionalProperties": {"type": "string"}
            }
        }
    })
}

/// `corev1.ObjectReference`.
pub(crate) fn object_reference(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "object",
        "x-kubernetes-map-type": "atomic",
        "properties": {
            "apiVersion": {"description": "API version of the referent.", "type": "string"},
            "fieldPath": {"description": "A part of the referent, as a field path.", "type": "string"},
            "kind": {"description": "Kind of the referent.", "type": "string"},
            "name": {"description": "Name of the referent.", "type": "string"},
            "namespace": {"description": "Namespace of the referent.", "type": "string"},
            "resourceVersion": {"description": "The version of the referent that was meant.", "type": "string"},
            "uid": {"description": "UID of the referent.", "type": "string"}
        }
    })
}

/// `map[string]map[string]string`.
pub(crate) fn map_of_maps(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "object",
        "additionalProperties": {"type": "object", "additionalProperties": {"type": "string"}}
    })
}

/// For `skip_serializing_if`.
pub(crate) fn is_false(value: &bool) -> bool {
    !value
}

/// For `serde(default)` of what is on unless switched off.
pub(crate) fn yes() -> bool {
    true
}
