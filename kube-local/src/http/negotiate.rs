//! What form of answer a client accepts, and what form its body has.

use bytes::Bytes;
use serde_json::Value;

use super::Call;
use super::protobuf::{self, ProtobufError};
use crate::engine::PatchKind;
use crate::error::ApiError;

const PATCH_TYPES: [&str; 4] = [
    "application/json-patch+json",
    "application/merge-patch+json",
    "application/strategic-merge-patch+json",
    "application/apply-patch+yaml",
];

/// An error shows this many characters of a body at most.
const SHOWN_MAX: usize = 64;

/// The shape of an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Shape {
    Object,
    Table,
    Metadata,
}

/// The encoding of an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Encoding {
    Json,
    Yaml,
}

/// What the first acceptable entry of `Accept` asks for.
///
/// # Errors
/// 406 when nothing on the list can be served.
pub(super) fn accepted(accept: &str) -> Result<(Shape, Encoding), ApiError> {
    for entry in accept.split(',') {
        let mut parts = entry.split(';').map(str::trim);
        let encoding = match parts.next().unwrap_or_default() {
            "application/json" | "application/*" | "*/*" | "" => Encoding::Json,
            "application/yaml" => Encoding::Yaml,
            _ => continue,
        };
        let parameters: Vec<&str> = parts.collect();
        let form = parameters.iter().find_map(|parameter| parameter.strip_prefix("as="));
        let version = parameters.iter().find_map(|parameter| parameter.strip_prefix("v=")).unwrap_or("v1");
        let shape = match form {
            None => Shape::Object,
            Some("Table") if version == "v1" => Shape::Table,
            Some("PartialObjectMetadata" | "PartialObjectMetadataList") if version == "v1" => Shape::Metadata,
            Some(_) => continue,
        };
        return Ok((shape, encoding));
    }
    Err(ApiError {
        code: 406,
        reason: "NotAcceptable",
        message: "only the following media types are accepted: application/json, application/yaml".to_owned(),
        details: None,
    })
}

/// Whether the client prefers aggregated discovery.
pub(super) fn wants_aggregated(accept: &str) -> bool {
    accept.split(',').any(|entry| {
        let has = |wanted: &str| entry.split(';').any(|part| part.trim() == wanted);
        has("as=APIGroupDiscoveryList") && has("v=v2") && has("g=apidiscovery.k8s.io")
    })
}

/// The object in a body, JSON or YAML.
///
/// # Errors
/// 415 for other media types, 400 for text that cannot be parsed.
pub(super) fn object(call: &Call, kind: &str) -> Result<Value, ApiError> {
    match call.content_type() {
        "" | "application/json" => json(&call.body, kind),
        "application/yaml" => yaml(&call.body, kind),
        "application/vnd.kubernetes.protobuf" => protobuf::object(&call.body).map_err(|error| match error {
            ProtobufError::Kind { .. } | ProtobufError::Field { .. } => {
                ApiError::unsupported_media_type_because(&error.to_string())
            }
            ProtobufError::Magic
            | ProtobufError::Truncated
            | ProtobufError::Type { .. }
            | ProtobufError::Depth => ApiError::bad_request(error.to_string()),
        }),
        other => Err(ApiError::unsupported_media_type(
            other,
            &["application/json", "application/yaml", "application/vnd.kubernetes.protobuf"],
        )),
    }
}

/// The patch in a body.
///
/// # Errors
/// As `object`.
pub(super) fn patch(call: &Call, kind: &str) -> Result<(PatchKind, Value), ApiError> {
    let patch_kind = match call.content_type() {
        "application/json-patch+json" => PatchKind::Json,
        "application/merge-patch+json" => PatchKind::Merge,
        "application/strategic-merge-patch+json" => PatchKind::Strategic,
        "application/apply-patch+yaml" => {
            let looks_like_json = call.body.iter().find(|byte| !byte.is_ascii_whitespace()) == Some(&b'{');
            let body = if looks_like_json { json(&call.body, kind)? } else { yaml(&call.body, kind)? };
            return Ok((PatchKind::Apply, body));
        }
        other => return Err(ApiError::unsupported_media_type(other, &PATCH_TYPES)),
    };
    Ok((patch_kind, json(&call.body, kind)?))
}

fn json(body: &Bytes, kind: &str) -> Result<Value, ApiError> {
    serde_json::from_slice(body).map_err(|error| {
        let shown: String = String::from_utf8_lossy(body).chars().take(SHOWN_MAX).collect();
        let shown = if body.is_empty() { "<empty>" } else { &shown };
        let error = if error.is_eof() {
            format!("unexpected end of JSON input ({shown})")
        } else {
            error.to_string()
        };
        ApiError::bad_request(format!(
            "the object provided is unrecognized (must be of type {kind}): couldn't get version/kind; json parse \
             error: {error}"
        ))
    })
}

fn yaml(body: &Bytes, kind: &str) -> Result<Value, ApiError> {
    let text = std::str::from_utf8(body).map_err(|_| {
        ApiError::bad_request(format!("error decoding YAML of a {kind}: the body is not UTF-8"))
    })?;
    serde_saphyr::from_str(text)
        .map_err(|error| ApiError::bad_request(format!("error decoding YAML of a {kind}: {error}")))
}

/// `DeleteOptions` in a body; null when there is none.
///
/// # Errors
/// As `object`.
pub(super) fn delete_options(call: &Call) -> Result<Value, ApiError> {
    if call.body.is_empty() { Ok(Value::Null) } else { object(call, "DeleteOptions") }
}
