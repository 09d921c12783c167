//! A bundle: what one release renders to, content-addressed.

use std::sync::Arc;

use bytes::Bytes;
use protocol::frame::OBJECT_BYTES_MAX;
use protocol::id::Digest;
use protocol::plan::{HookEntry, ObjectEntry, ObjectKey};
use protocol::sealed::OVERHEAD_BYTES;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::canonical::canonical;
use super::parcel::Packing;

/// Says that an object is for its cluster only, as a Secret is.
const SEALED_ANNOTATION: &str = "skein.dev/sealed";

/// Objects and hooks of one release.
const OBJECTS_MAX: usize = 20_000;
/// Bytes of one object: what every agent takes, sealed or not.
const CONTENT_BYTES_MAX: usize = OBJECT_BYTES_MAX - OVERHEAD_BYTES;
/// Bytes of all objects of one release.
const BUNDLE_BYTES_MAX: usize = 128 << 20;

/// The rendered objects and hooks of one release, in order of installation.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Bundle {
    /// The objects.
    pub objects: Vec<Piece<ObjectEntry>>,
    /// The hooks.
    pub hooks: Vec<Piece<HookEntry>>,
    /// Whether the chart asked for randomness or the clock.
    pub entropy: bool,
    /// What the engine lacks, where a `helm` binary rendered it.
    pub by_helm: Option<Arc<str>>,
    /// The Cluster API `Cluster` among the objects.
    pub cluster: Option<Value>,
    /// The same packed, once somebody asked for it.
    pub packing: Packing,
}

/// An entry of a plan with its content.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
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

    /// The bundle, if agents can take it: whatever is larger would be refused by all of them.
    ///
    /// # Errors
    /// What is too large, and what is accepted.
    pub fn admitted(self) -> Result<Self, String> {
        let count = self.objects.len() + self.hooks.len();
        if count > OBJECTS_MAX {
            return Err(format!(
                "it renders to {count} objects, at most {OBJECTS_MAX} are accepted: split it"
            ));
        }
        let objects = self.objects.iter().map(|piece| (&piece.entry.key, piece.content.len()));
        let hooks = self.hooks.iter().map(|piece| (&piece.entry.object.key, piece.content.len()));
        if let Some((key, bytes)) = objects.chain(hooks).find(|(_, bytes)| *bytes > CONTENT_BYTES_MAX) {
            return Err(format!(
                "{key} has {bytes} bytes, at most {CONTENT_BYTES_MAX} are accepted (and 1.5 MiB by most API servers)"
            ));
        }
        let bytes = self.size();
        if bytes > BUNDLE_BYTES_MAX {
            return Err(format!(
                "it renders to {bytes} bytes, at most {BUNDLE_BYTES_MAX} are accepted: split it"
            ));
        }
        Ok(self)
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
    fn what_no_agent_takes_is_refused_with_its_name_and_size() {
        let large = |bytes: usize| {
            let object = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "big", "namespace": "x"},
                "data": {"key": "a".repeat(bytes)}});
            Bundle { objects: vec![piece(&object).unwrap()], ..Bundle::default() }
        };
        assert!(large(1 << 20).admitted().is_ok());
        let error = large(3 << 20).admitted().unwrap_err();
        assert!(error.starts_with("ConfigMap x/big has 31") && error.contains("at most 3145"), "{error}");
        let many = vec![large(1).objects[0].clone(); OBJECTS_MAX + 1];
        let error = Bundle { objects: many, ..Bundle::default() }.admitted().unwrap_err();
        assert!(error.contains("20001 objects"), "{error}");
    }

    #[test]
    fn an_object_is_named_by_what_it_says() {
        let object = json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web", "namespace": "x"}});
        assert_eq!(key_of(&object).unwrap().to_string(), "Deployment.apps x/web");
        assert_eq!(piece(&object).unwrap().entry.digest, piece(&object.clone()).unwrap().entry.digest);
        let error = key_of(&json!({"apiVersion": "v1", "kind": "Pod"})).unwrap_err();
        assert_eq!(error, "an object has no metadata.name: kind \"Pod\", name \"\"");
    }
}
