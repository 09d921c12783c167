//! The objects of one kind, by namespace and name.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, PoisonError, RwLock};

use api::names::label::HEALTH_RULE_TARGET;
use kube::ResourceExt;
use serde_json::Value;

use super::{Cached, Key};
use crate::roster::ObjectName;

/// An object came, changed or went.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Change {
    /// Which.
    pub key: Key,
    /// Whether what is desired of it changed, and not only its status.
    pub desired: bool,
}

/// The objects of one kind. Clones share the content.
pub struct Store<K>(Arc<RwLock<BTreeMap<ObjectName, Arc<K>>>>, Arc<RwLock<BTreeSet<ObjectName>>>);

impl<K> Clone for Store<K> {
    fn clone(&self) -> Self {
        Self(self.0.clone(), self.1.clone())
    }
}

impl<K> Default for Store<K> {
    fn default() -> Self {
        Self(Arc::default(), Arc::default())
    }
}

impl<K> Store<K> {
    /// The object of this name.
    pub fn get(&self, namespace: &str, name: &str) -> Option<Arc<K>> {
        self.read().get(&(namespace.to_owned(), name.to_owned())).cloned()
    }

    /// All objects, in order of namespace and name.
    pub fn list(&self) -> Vec<Arc<K>> {
        self.read().values().cloned().collect()
    }

    /// All objects of a namespace, in order of name.
    pub fn in_namespace(&self, namespace: &str) -> Vec<Arc<K>> {
        let from = (namespace.to_owned(), String::new());
        self.read()
            .range(from..)
            .take_while(|((at, _), _)| at == namespace)
            .map(|(_, one)| one.clone())
            .collect()
    }

    /// The objects of a namespace that carry the label of health rules, in order of name.
    pub fn with_health_rules(&self, namespace: &str) -> Vec<Arc<K>> {
        let from = (namespace.to_owned(), String::new());
        let labelled = self.1.read().unwrap_or_else(PoisonError::into_inner);
        let names = labelled.range(from..).take_while(|(at, _)| at == namespace);
        names.filter_map(|(namespace, name)| self.get(namespace, name)).collect()
    }

    /// Namespaces and names of all objects, in order.
    pub fn names(&self) -> Vec<ObjectName> {
        self.read().keys().cloned().collect()
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.read().len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn read(&self) -> std::sync::RwLockReadGuard<'_, BTreeMap<ObjectName, Arc<K>>> {
        self.0.read().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<K: Cached> Store<K> {
    /// `None` when the store has exactly this version already.
    pub(super) fn put(&self, mut object: K) -> Option<Change> {
        object.meta_mut().managed_fields = None;
        let name = (object.namespace().unwrap_or_default(), object.name_any());
        let key = Key::new(K::KIND, &name.0, &name.1);
        let labelled = object.labels().contains_key(HEALTH_RULE_TARGET);
        self.label(&name, labelled);
        let object = Arc::new(object);
        let before = self.0.write().unwrap_or_else(PoisonError::into_inner).insert(name, object.clone());
        let Some(before) = before else { return Some(Change { key, desired: true }) };
        let same =
            before.resource_version().is_some() && before.resource_version() == object.resource_version();
        // What other controllers fetch is told in status alone.
        let told = K::KIND == super::Kind::ExternalArtifact;
        (!same).then(|| Change { key, desired: told || desires_differ(&*before, &*object) })
    }

    fn label(&self, name: &ObjectName, labelled: bool) {
        let known = self.1.read().unwrap_or_else(PoisonError::into_inner).contains(name);
        if known != labelled {
            let mut all = self.1.write().unwrap_or_else(PoisonError::into_inner);
            if labelled {
                all.insert(name.clone())
            } else {
                all.remove(name)
            };
        }
    }

    pub(super) fn remove(&self, namespace: &str, name: &str) -> Option<Change> {
        let name = (namespace.to_owned(), name.to_owned());
        self.label(&name, false);
        self.0.write().unwrap_or_else(PoisonError::into_inner).remove(&name)?;
        Some(Change { key: Key { kind: K::KIND, namespace: name.0, name: name.1 }, desired: true })
    }
}

/// Whether anything but status and bookkeeping differs. The generation tells for kinds that have one; others
/// (ConfigMaps, Secrets) have no status.
fn desires_differ<K: Cached>(before: &K, after: &K) -> bool {
    let (old, new) = (before.meta(), after.meta());
    old.labels != new.labels
        || old.annotations != new.annotations
        || old.deletion_timestamp != new.deletion_timestamp
        || old.uid != new.uid
        || match (old.generation, new.generation) {
            (Some(old), Some(new)) => old != new,
            _ => content(before) != content(after),
        }
}

fn content<K: Cached>(object: &K) -> Option<Value> {
    let mut value = serde_json::to_value(object).ok()?;
    let map = value.as_object_mut()?;
    map.remove("metadata");
    map.remove("status");
    Some(value)
}
