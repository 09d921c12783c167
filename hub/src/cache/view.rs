//! Reading with a record of what was read: when any of it changes, whoever read it decides again.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use protocol::id::Digest;
use serde_json::Value;

use super::resources::{Found, ResourceKind, listing_key, resource_key};
use super::{Cache, Cached, Key, Kind};

/// The cache as one decision sees it.
pub struct View<'a> {
    cache: &'a Cache,
    read: RefCell<Reads>,
}

/// What was read, and which parts of it matter.
pub type Reads = BTreeMap<Key, Interest>;

/// Which parts of an object matter to whoever read it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Interest {
    /// All of it.
    Whole,
    /// Only these, with the digest of each when it was read.
    Parts(BTreeMap<Part, Option<Digest>>),
}

/// A part of an object.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Part {
    /// Everything but its status and the bookkeeping of the API server.
    Desired,
    /// Everything but the bookkeeping of the API server.
    Content,
    /// The value at a path such as `spec.replicas`.
    Field(String),
}

impl Part {
    /// The parts that a reference to an object watches.
    pub fn of(watch_fields: &[String], ignore_status_changes: bool) -> BTreeSet<Self> {
        if !watch_fields.is_empty() {
            return watch_fields.iter().cloned().map(Self::Field).collect();
        }
        BTreeSet::from([if ignore_status_changes { Self::Desired } else { Self::Content }])
    }

    /// The digest of the part, `None` when the object has none such.
    pub fn digest(&self, object: &Value) -> Option<Digest> {
        let part = match self {
            Self::Field(path) => field(object, path)?.clone(),
            Self::Desired | Self::Content => {
                let mut object = object.clone();
                let map = object.as_object_mut()?;
                if *self == Self::Desired {
                    map.remove("status");
                }
                if let Some(metadata) = map.get_mut("metadata").and_then(Value::as_object_mut) {
                    for name in ["resourceVersion", "generation", "managedFields"] {
                        metadata.remove(name);
                    }
                }
                object
            }
        };
        Some(Digest::of(part.to_string().as_bytes()))
    }
}

impl std::fmt::Display for Part {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Desired => f.write_str("all but status"),
            Self::Content => f.write_str("all"),
            Self::Field(path) => f.write_str(path),
        }
    }
}

/// The value at a path of names and list positions, separated by dots; a leading `$.` or `.` is ignored, and
/// `['a.b']` names a key with dots.
pub fn field<'v>(object: &'v Value, path: &str) -> Option<&'v Value> {
    let mut value = object;
    for step in steps(path) {
        value = match value {
            Value::Object(map) => map.get(&step)?,
            Value::Array(items) => items.get(step.parse::<usize>().ok()?)?,
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => return None,
        };
    }
    Some(value)
}

fn steps(path: &str) -> Vec<String> {
    let path = path.trim().trim_start_matches('{').trim_end_matches('}').trim_start_matches('$');
    let mut steps = Vec::new();
    let mut rest = path;
    while !rest.is_empty() {
        if let Some(inner) = rest.strip_prefix('[') {
            let (key, behind) = inner.split_once(']').unwrap_or((inner, ""));
            steps.push(key.trim_matches(['\'', '"']).to_owned());
            rest = behind;
        } else {
            let name = rest.trim_start_matches('.');
            let end = name.find(['.', '[']).unwrap_or(name.len());
            if end > 0 {
                steps.push(name[..end].to_owned());
            }
            rest = &name[end..];
        }
    }
    steps
}

impl<'a> View<'a> {
    /// A view that has read nothing yet.
    pub fn new(cache: &'a Cache) -> Self {
        Self { cache, read: RefCell::default() }
    }

    /// An object; its absence is recorded as well.
    pub fn get<K: Cached>(&self, namespace: &str, name: &str) -> Option<Arc<K>> {
        self.note(K::KIND, namespace, name);
        K::store(self.cache).get(namespace, name)
    }

    /// An object of any kind, of which only these parts matter.
    pub fn resource(&self, kind: &ResourceKind, namespace: &str, name: &str, parts: BTreeSet<Part>) -> Found {
        let found = self.cache.resource(kind, namespace, name);
        let object = match &found {
            Found::Object(object) => Some(object.clone()),
            Found::Absent(_) | Found::Unknown => None,
        };
        let digests = parts.into_iter().map(|part| {
            let digest = object.as_deref().and_then(|object| part.digest(object));
            (part, digest)
        });
        let interest = Interest::Parts(digests.collect());
        let keys = [key_of(kind, namespace, name), key_of(kind, "", name)];
        for key in keys {
            self.interested(key, interest.clone());
        }
        self.interested(listing_key(kind), Interest::Whole);
        found
    }

    /// Records that the decision hangs on this.
    pub fn note(&self, kind: Kind, namespace: &str, name: &str) {
        self.interested(Key::new(kind, namespace, name), Interest::Whole);
    }

    fn interested(&self, key: Key, interest: Interest) {
        let mut read = self.read.borrow_mut();
        let both = match (read.remove(&key), interest) {
            (None, interest) => interest,
            (Some(Interest::Parts(mut one)), Interest::Parts(other)) => {
                one.extend(other);
                Interest::Parts(one)
            }
            (Some(_), _) => Interest::Whole,
        };
        read.insert(key, both);
    }

    /// The cache, to read what wakes the decision by other means.
    pub fn unrecorded(&self) -> &'a Cache {
        self.cache
    }

    /// Everything that was read.
    pub fn into_read(self) -> Reads {
        self.read.into_inner()
    }
}

/// The key of an object: kinds with a store of their own have keys of their own.
pub(crate) fn key_of(kind: &ResourceKind, namespace: &str, name: &str) -> Key {
    match (kind.api_version.as_str(), kind.kind.as_str()) {
        ("v1", "ConfigMap") => Key::new(Kind::ConfigMap, namespace, name),
        ("v1", "Secret") => Key::new(Kind::Secret, namespace, name),
        _ => resource_key(kind, namespace, name),
    }
}

impl Interest {
    /// Whether what matters is another now.
    pub fn concerns(&self, cache: &Cache, key: &Key) -> bool {
        let Self::Parts(parts) = self else { return true };
        let object = cache.resource_at(key);
        parts.iter().any(|(part, before)| object.as_deref().and_then(|one| part.digest(one)) != *before)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn paths_name_fields_as_people_write_them() {
        let object = json!({"spec": {"replicas": 3, "ports": [{"port": 80}], "a.b": 1}});
        for (path, value) in [
            ("spec.replicas", Some(json!(3))),
            (".spec.replicas", Some(json!(3))),
            ("$.spec.replicas", Some(json!(3))),
            ("{.spec.replicas}", Some(json!(3))),
            ("spec.ports[0].port", Some(json!(80))),
            ("spec.ports.0.port", Some(json!(80))),
            ("spec['a.b']", Some(json!(1))),
            ("spec.none", None),
        ] {
            assert_eq!(field(&object, path), value.as_ref(), "{path}");
        }
    }

    #[test]
    fn a_change_concerns_only_who_watches_that_part() {
        let cache = Cache::default();
        let object = |replicas: u8, ready: u8, version: &str| {
            json!({"apiVersion": "x/v1", "kind": "Thing", "metadata": {"name": "one", "namespace": "a", "resourceVersion": version},
                "spec": {"replicas": replicas}, "status": {"ready": ready}})
        };
        cache.put_resource(object(1, 1, "1"));
        let kind = ResourceKind { api_version: "x/v1".to_owned(), kind: "Thing".to_owned() };
        let read = |fields: &[String], ignore| {
            let view = View::new(&cache);
            let found = view.resource(&kind, "a", "one", Part::of(fields, ignore));
            assert!(matches!(found, Found::Object(_)));
            view.into_read()
        };
        let (all, desired, ready) =
            (read(&[], false), read(&[], true), read(&["status.ready".to_owned()], false));
        let key = key_of(&kind, "a", "one");
        let concerned = || [&all, &desired, &ready].map(|read| read[&key].concerns(&cache, &key));
        cache.put_resource(object(1, 1, "2"));
        assert_eq!(concerned(), [false, false, false]);
        cache.put_resource(object(1, 2, "3"));
        assert_eq!(concerned(), [true, false, true]);
        cache.put_resource(object(2, 1, "4"));
        assert_eq!(concerned(), [true, true, false]);
    }
}
