//! Answers: bytes, a media type, a status code, warnings.

use ::http::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderName, HeaderValue};
use ::http::{Response, StatusCode};
use bytes::{BufMut, Bytes, BytesMut};
use serde_json::{Value, json};

use super::ApiBody;
use super::negotiate::{Encoding, Shape};
use crate::engine::Listed;
use crate::error::ApiError;
use crate::registry::Kind;
use crate::table::{self, IncludeObject};

/// An answer that is not an error.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) code: StatusCode,
    pub(super) media_type: &'static str,
    pub(super) body: ApiBody,
    pub(super) warnings: Vec<String>,
}

impl Answer {
    pub(super) fn json(value: &Value) -> Self {
        Self::bytes("application/json", value.to_string())
    }

    pub(super) fn text(text: impl Into<Bytes>) -> Self {
        Self::bytes("text/plain; charset=utf-8", text)
    }

    pub(super) fn bytes(media_type: &'static str, bytes: impl Into<Bytes>) -> Self {
        Self { code: StatusCode::OK, media_type, body: ApiBody::full(bytes), warnings: Vec::new() }
    }

    pub(super) fn stream(body: ApiBody) -> Self {
        Self { code: StatusCode::OK, media_type: "application/json", body, warnings: Vec::new() }
    }

    /// An encoded object in the shape and encoding asked for.
    pub(super) fn object(
        kind: &Kind,
        bytes: &Bytes,
        form: (Shape, Encoding),
        include: IncludeObject,
    ) -> Self {
        if form == (Shape::Object, Encoding::Json) {
            return Self::bytes("application/json", bytes.clone());
        }
        let object: Value = serde_json::from_slice(bytes).unwrap_or_default();
        let shaped = match form.0 {
            Shape::Object => object,
            Shape::Metadata => table::partial_metadata(&object),
            Shape::Table => {
                let metadata = json!({"resourceVersion": object["metadata"]["resourceVersion"]});
                table::table(kind, &[object], metadata, include, true)
            }
        };
        Self::encoded(&shaped, form.1)
    }

    /// A list in the shape and encoding asked for.
    pub(super) fn list(
        kind: &Kind,
        listed: &Listed,
        form: (Shape, Encoding),
        include: IncludeObject,
    ) -> Self {
        if form == (Shape::Object, Encoding::Json) {
            return Self::bytes("application/json", list_bytes(kind, listed));
        }
        let items: Vec<Value> =
            listed.items.iter().map(|bytes| serde_json::from_slice(bytes).unwrap_or_default()).collect();
        let metadata = list_metadata(listed);
        let shaped = match form.0 {
            Shape::Object => json!({
                "kind": kind.list_kind, "apiVersion": kind.api_version(), "metadata": metadata, "items": items,
            }),
            Shape::Metadata => json!({
                "kind": "PartialObjectMetadataList", "apiVersion": "meta.k8s.io/v1", "metadata": metadata,
                "items": items.iter().map(table::partial_metadata).collect::<Vec<_>>(),
            }),
            Shape::Table => table::table(kind, &items, metadata, include, true),
        };
        Self::encoded(&shaped, form.1)
    }

    pub(super) fn encoded(value: &Value, encoding: Encoding) -> Self {
        match encoding {
            Encoding::Json => Self::json(value),
            // Every JSON value has a YAML form; JSON itself is one.
            Encoding::Yaml => {
                let text = serde_saphyr::to_string(value).unwrap_or_else(|_| value.to_string());
                Self::bytes("application/yaml", text)
            }
        }
    }

    pub(super) fn with_code(mut self, code: StatusCode) -> Self {
        self.code = code;
        self
    }

    pub(super) fn with_warnings(mut self, warnings: Vec<String>) -> Self {
        self.warnings = warnings;
        self
    }

    pub(super) fn into_response(self) -> Response<ApiBody> {
        let mut response = Response::new(self.body);
        *response.status_mut() = self.code;
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(self.media_type));
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache, private"));
        for warning in self.warnings {
            let quoted = warning.replace('\\', "\\\\").replace('"', "\\\"");
            if let Ok(value) = HeaderValue::from_str(&format!("299 - \"{quoted}\"")) {
                headers.append(HeaderName::from_static("warning"), value);
            }
        }
        response
    }
}

/// The answer to a failed request.
pub(super) fn status(error: &ApiError) -> Response<ApiBody> {
    let code = StatusCode::from_u16(error.code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    Answer::json(&error.status()).with_code(code).into_response()
}

fn list_metadata(listed: &Listed) -> Value {
    let mut metadata = json!({"resourceVersion": listed.revision.to_string()});
    if let Some(token) = &listed.token {
        metadata["continue"] = json!(token);
    }
    if let Some(remaining) = listed.remaining {
        metadata["remainingItemCount"] = json!(remaining);
    }
    metadata
}

/// The list around the stored bytes, without decoding them.
fn list_bytes(kind: &Kind, listed: &Listed) -> Bytes {
    let head = format!(
        "{{\"kind\":{},\"apiVersion\":{},\"metadata\":{},\"items\":[",
        json!(kind.list_kind),
        json!(kind.api_version()),
        list_metadata(listed)
    );
    let size = listed.items.iter().map(|item| item.len() + 1).sum::<usize>() + head.len() + 2;
    let mut bytes = BytesMut::with_capacity(size);
    bytes.put_slice(head.as_bytes());
    for (index, item) in listed.items.iter().enumerate() {
        if index > 0 {
            bytes.put_u8(b',');
        }
        bytes.put_slice(item);
    }
    bytes.put_slice(b"]}");
    bytes.freeze()
}
