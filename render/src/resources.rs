//! Raw manifests: several documents in one text, lists of objects expanded.

use serde_json::Value as Json;

use crate::limits::Limits;
use crate::manifest::{ManifestError, split};
use crate::yaml::read::read;

/// Reads the objects of a manifest. Kinds that end in `List` and carry `items` stand for their items; empty documents
/// are skipped.
///
/// # Errors
/// When a document is not YAML, not a map, or lacks `apiVersion` or `kind`.
pub fn parse_yaml_documents(text: &str, limits: &Limits) -> Result<Vec<Json>, ManifestError> {
    let mut objects = Vec::new();
    for (at, document) in split(text).into_iter().enumerate() {
        let value = read(document, limits)
            .map_err(|error| ManifestError::Yaml { document: at + 1, reason: error.to_string() })?;
        if !value.is_null() {
            expand(value, at + 1, &mut objects)?;
        }
    }
    Ok(objects)
}

fn expand(value: Json, document: usize, objects: &mut Vec<Json>) -> Result<(), ManifestError> {
    let Json::Object(mut entries) = value else {
        let got = match value {
            Json::Array(_) => "a list",
            Json::String(_) => "a text",
            Json::Number(_) => "a number",
            Json::Bool(_) => "a truth value",
            Json::Null | Json::Object(_) => "nothing",
        };
        return Err(ManifestError::NotAMap { document, got });
    };
    for field in ["apiVersion", "kind"] {
        if entries.get(field).and_then(Json::as_str).is_none_or(str::is_empty) {
            return Err(ManifestError::Incomplete { document, field });
        }
    }
    let is_list = entries.get("kind").and_then(Json::as_str).is_some_and(|kind| kind.ends_with("List"));
    match entries.remove("items") {
        Some(Json::Array(items)) if is_list => {
            items.into_iter().try_for_each(|item| expand(item, document, objects))
        }
        items => {
            entries.extend(items.map(|items| ("items".to_owned(), items)));
            objects.push(Json::Object(entries));
            Ok(())
        }
    }
}
