//! A bundle: what one release renders to, content-addressed.

use bytes::Bytes;
use protocol::id::Digest;
use protocol::plan::{HookEntry, ObjectEntry, ObjectKey};
use serde_json::Value;

use super::canonical::canonical;

/// Says that an object is for its cluster only, as a Secret is.
const SEALED_ANNOTATION: &str = "skein.dev/sealed";

/// The rendered objects and hooks of one release, in order of installation.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Bundle {
    /// The objects.
    pub objects: Vec<Piece<ObjectEntry>>,
    /// The hooks.
    pub hooks: Vec<Piece<HookEntry>>,
    /// Whether the chart asked for randomness or the clock.
    pub entropy: bool,
    /// Whether a `helm` binary rendered it, for want of something in the engine.
    pub by_helm: bool,
    /// The Cluster API `Cluster` among the objects.
    pub cluster: Option<Value>,
}

/// An entry of a plan with its content.
#[derive(Debug, Clone, PartialEq)]
pub struct Piece<T> {
    /// The entry.
    pub entry: T,
    /// Canonical JSON; sealed where it is for one recipient only.
    pub content: Bytes,
    /// Whether only the recipient may read it: it is a Secret, or says so.
    pub confidential: bool,
}

impl Bundle {
    /// Every digest with its content.
    pub fn blobs(&self) -> impl Iterator<Item = (Digest, Bytes)> + '_ {
        let objects = self.objects.iter().map(|piece| (piece.entry.digest, piece.content.clone()));
        let hooks = self.hooks.iter().map(|piece| (piece.entry.object.digest, piece.content.clone()));
        objects.chain(hooks)
    }

    /// Bytes of all content.
    pub fn size(&self) -> usize {
        self.blobs().map(|(_, content)| content.len()).sum()
    }
}

/// An object as an entry of a plan.
///
/// # Errors
/// What the object lacks.
pub fn piece(object: &Value) -> Result<Piece<ObjectEntry>, String> {
    let key = key_of(object)?;
    let content = canonical(object);
    let confidential = is_confidential(&key, object);
    Ok(Piece { entry: ObjectEntry { key, digest: Digest::of(&content) }, content, confidential })
}

fn is_confidential(key: &ObjectKey, object: &Value) -> bool {
    let annotations = object.pointer("/metadata/annotations");
    let mark = annotations.and_then(|annotations| annotations.get(SEALED_ANNOTATION)).and_then(Value::as_str);
    (key.group.is_empty() && key.kind == "Secret") || mark == Some("true")
}

/// The name of an object.
///
/// # Errors
/// What the object lacks.
pub fn key_of(object: &Value) -> Result<ObjectKey, String> {
    let text = |pointer: &str| object.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned();
    let (api_version, kind, name) = (text("/apiVersion"), text("/kind"), text("/metadata/name"));
    let lacks = |field: &str| format!("an object has no {field}: kind \"{kind}\", name \"{name}\"");
    if api_version.is_empty() {
        return Err(lacks("apiVersion"));
    }
    if kind.is_empty() {
        return Err(lacks("kind"));
    }
    if name.is_empty() {
        return Err(lacks("metadata.name"));
    }
    let (group, version) = match api_version.split_once('/') {
        Some((group, version)) => (group.to_owned(), version.to_owned()),
        None => (String::new(), api_version),
    };
    Ok(ObjectKey { group, version, kind, namespace: text("/metadata/namespace"), name })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn an_object_is_named_by_what_it_says() {
        let object = json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web", "namespace": "x"}});
        assert_eq!(key_of(&object).unwrap().to_string(), "Deployment.apps x/web");
        assert_eq!(piece(&object).unwrap().entry.digest, piece(&object.clone()).unwrap().entry.digest);
        let error = key_of(&json!({"apiVersion": "v1", "kind": "Pod"})).unwrap_err();
        assert_eq!(error, "an object has no metadata.name: kind \"Pod\", name \"\"");
    }
}
