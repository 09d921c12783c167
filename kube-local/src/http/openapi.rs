//! `/openapi/v3`: an index, and a document per group and version that tells kubectl which kinds take which verbs,
//! that the server validates fields itself, and what the kinds look like.

use serde_json::{Map, Value, json};

use super::respond::Answer;
use crate::error::ApiError;
use crate::registry::{Kind, Registry, Verbs, builtin_schemas};

/// `/openapi/v3`
pub(super) fn index(registry: &Registry) -> Value {
    let mut paths = Map::new();
    for (group, versions) in registry.groups() {
        for version in versions {
            let path =
                if group.is_empty() { format!("api/{version}") } else { format!("apis/{group}/{version}") };
            let url = format!("/openapi/v3/{path}?hash={:016X}", fingerprint(registry, &group, &version));
            paths.insert(path, json!({"serverRelativeURL": url}));
        }
    }
    json!({"paths": paths})
}

/// Changes whenever the document does, so that clients may cache it.
fn fingerprint(registry: &Registry, group: &str, version: &str) -> u64 {
    use std::hash::{DefaultHasher, Hash, Hasher};
    let mut hasher = DefaultHasher::new();
    for kind in kinds(registry, group, version) {
        kind.kind.hash(&mut hasher);
        kind.custom().map(|custom| custom.open_api.to_string()).hash(&mut hasher);
    }
    hasher.finish()
}

fn kinds<'a>(registry: &'a Registry, group: &str, version: &str) -> Vec<&'a Kind> {
    registry
        .all()
        .map(AsRef::as_ref)
        .filter(|kind| *kind.group == *group && kind.version == version)
        .collect()
}

/// The document of a group and version.
pub(super) fn document(
    registry: &Registry,
    group: &str,
    version: &str,
    server_version: &str,
) -> Result<Answer, ApiError> {
    let kinds = kinds(registry, group, version);
    if kinds.is_empty() {
        return Err(ApiError::no_such_path());
    }
    let (mut paths, mut schemas) = (Map::new(), Map::new());
    for kind in kinds {
        let name = define(kind, &mut schemas);
        add_paths(kind, &name, &mut paths);
    }
    Ok(Answer::json(&json!({
        "openapi": "3.0.0",
        "info": {"title": "Kubernetes", "version": server_version},
        "paths": paths,
        "components": {"schemas": schemas},
    })))
}

fn type_marker(kind: &Kind) -> Value {
    json!({"group": *kind.group, "kind": kind.kind, "version": kind.version})
}

/// Adds the schemas of a kind and returns the name of its own.
fn define(kind: &Kind, schemas: &mut Map<String, Value>) -> String {
    let name = match (kind.builtin(), kind.custom()) {
        (Some(row), _) => {
            let name = (row.definition)();
            builtin_schemas().collect(&name, schemas);
            name
        }
        (None, Some(custom)) => {
            let reversed: Vec<&str> = kind.group.split('.').rev().collect();
            let name = format!("{}.{}.{}", reversed.join("."), kind.version, kind.kind);
            builtin_schemas().collect("io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta", schemas);
            schemas.insert(name.clone(), custom_schema(&custom.open_api));
            name
        }
        (None, None) => return String::new(),
    };
    if let Some(schema) = schemas.get_mut(&name) {
        schema["x-kubernetes-group-version-kind"] = json!([type_marker(kind)]);
    }
    name
}

fn custom_schema(written: &Value) -> Value {
    let mut schema = written.clone();
    if !schema.is_object() {
        schema = json!({"type": "object"});
    }
    let text = |description: &str| json!({"type": "string", "description": description});
    let metadata = json!({
        "allOf": [{"$ref": "#/components/schemas/io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta"}],
        "description": "Standard object's metadata.",
    });
    crate::object::set(&mut schema, &["properties", "metadata"], metadata);
    crate::object::set_default(
        &mut schema,
        &["properties", "apiVersion"],
        text("The versioned schema of this object."),
    );
    crate::object::set_default(
        &mut schema,
        &["properties", "kind"],
        text("The REST resource this object represents."),
    );
    schema
}

fn add_paths(kind: &Kind, definition: &str, paths: &mut Map<String, Value>) {
    let root = if kind.group.is_empty() {
        format!("/api/{}", kind.version)
    } else {
        format!("/apis/{}/{}", kind.group, kind.version)
    };
    let scope = if kind.namespaced { "/namespaces/{namespace}" } else { "" };
    let collection = format!("{root}{scope}/{}", kind.plural);
    let body = json!({"content": {"application/json": {"schema": {"$ref": format!("#/components/schemas/{definition}")}}}});
    let mut post = operation(kind, "post", &body);
    post["requestBody"] = body.clone();
    if kind.verbs == Verbs::Review {
        paths.insert(collection, json!({"post": post}));
        return;
    }
    let list = operation(kind, "list", &body);
    paths.insert(collection.clone(), json!({"get": list, "post": post}));
    let mut patch = operation(kind, "patch", &body);
    patch["requestBody"] = json!({"content": {
        "application/apply-patch+yaml": {}, "application/json-patch+json": {}, "application/merge-patch+json": {},
    }});
    let mut put = operation(kind, "put", &body);
    put["requestBody"] = body.clone();
    paths.insert(
        format!("{collection}/{{name}}"),
        json!({
            "get": operation(kind, "get", &body), "put": put, "patch": patch,
            "delete": operation(kind, "delete", &body),
        }),
    );
}

fn operation(kind: &Kind, action: &str, body: &Value) -> Value {
    let parameter = |name: &str, description: &str, schema: &str| json!({"name": name, "in": "query", "description": description, "schema": {"type": schema, "uniqueItems": true}});
    let mut parameters = Vec::new();
    if ["post", "put", "patch"].contains(&action) {
        parameters.push(parameter("dryRun", "All: process all stages, persist nothing.", "string"));
        parameters.push(parameter(
            "fieldManager",
            "The name of the actor that makes these changes.",
            "string",
        ));
        let description = "What to do about unknown or duplicate fields: Ignore, Warn or Strict.";
        parameters.push(parameter("fieldValidation", description, "string"));
    }
    if action == "patch" {
        parameters.push(parameter("force", "Take over fields that others own (apply only).", "boolean"));
    }
    json!({
        "tags": [if kind.group.is_empty() { "core".to_owned() } else { kind.group.replace('.', "_") }],
        "parameters": parameters,
        "responses": {"200": {"description": "OK", "content": body["content"]}},
        "x-kubernetes-action": action,
        "x-kubernetes-group-version-kind": type_marker(kind),
    })
}
