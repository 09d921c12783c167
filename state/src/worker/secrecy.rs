//! What may be told of content that is nobody's business: reports pass through a region and end in a status.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value};

use super::Content;
use crate::api::ApiError;
use crate::object::ObjectId;

/// Texts shorter than this are not hidden: they would hide half of every sentence, and tell nothing.
const HIDDEN_BYTES_MIN: usize = 4;

/// Whether nothing but names may be told of an object: it came sealed, or is a Secret.
pub(super) fn is_confidential(content: &Content, id: &ObjectId) -> bool {
    content.sealed || (id.group.is_empty() && id.kind == "Secret")
}

/// An API server's error without the values of a confidential object, which it may quote.
pub(super) fn told_error(content: &Content, id: &ObjectId, error: ApiError) -> ApiError {
    if !is_confidential(content, id) {
        return error;
    }
    let object: Map<String, Value> = serde_json::from_slice(&content.json).unwrap_or_default();
    let mut secrets = Vec::new();
    for (field, value) in &object {
        match field.as_str() {
            "apiVersion" | "kind" => {}
            "metadata" => {
                for field in ["annotations", "labels"] {
                    value.get(field).into_iter().for_each(|value| collect(value, &mut secrets));
                }
            }
            _ => collect(value, &mut secrets),
        }
    }
    // The longest first: one may be part of another.
    secrets.sort_by_key(|secret| std::cmp::Reverse(secret.len()));
    let text = secrets.iter().fold(error.text, |text, secret| text.replace(secret, "(hidden)"));
    ApiError { text, ..error }
}

/// Every text in a value, as it is, decoded, and line by line.
fn collect(value: &Value, secrets: &mut Vec<String>) {
    match value {
        Value::String(text) => {
            let decoded = STANDARD.decode(text).ok().and_then(|bytes| String::from_utf8(bytes).ok());
            for text in [Some(text.clone()), decoded].into_iter().flatten() {
                secrets.extend(text.lines().map(str::trim).map(str::to_owned).filter(|line| long(line)));
                if long(&text) {
                    secrets.push(text);
                }
            }
        }
        Value::Array(items) => items.iter().for_each(|item| collect(item, secrets)),
        Value::Object(fields) => fields.values().for_each(|field| collect(field, secrets)),
        Value::Number(number) => secrets.extend(Some(number.to_string()).filter(|text| long(text))),
        Value::Null | Value::Bool(_) => {}
    }
}

fn long(text: &str) -> bool {
    text.len() >= HIDDEN_BYTES_MIN
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::Failure;
    use serde_json::json;

    fn told(object: &Value, sealed: bool, text: &str) -> String {
        let content = Content { json: object.to_string().into(), sealed };
        let error = ApiError { failure: Failure::Refused, text: text.to_owned() };
        let field = |path: &str| object.pointer(path).unwrap().as_str().unwrap().to_owned();
        let id = ObjectId {
            group: String::new(),
            kind: field("/kind"),
            namespace: "shop".to_owned(),
            name: field("/metadata/name"),
        };
        told_error(&content, &id, error).text
    }

    #[test]
    fn values_of_secrets_and_of_sealed_objects_are_not_told() {
        let secret = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "login"},
            "data": {"password": "aHVudGVyMjI="}, "stringData": {"url": "https://u:pw@host"}});
        assert_eq!(
            told(
                &secret,
                false,
                "Secret \"login\" is invalid: \"aHVudGVyMjI=\", hunter22, https://u:pw@host"
            ),
            "Secret \"login\" is invalid: \"(hidden)\", (hidden), (hidden)"
        );
        let map = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "login"},
            "data": {"conf": "user: admin\npassword: hunter22\n", "pin": 123456}});
        let text = "ConfigMap \"login\" is invalid: password: hunter22, 123456";
        assert_eq!(told(&map, false, text), text);
        assert_eq!(told(&map, true, text), "ConfigMap \"login\" is invalid: (hidden), (hidden)");
    }
}
