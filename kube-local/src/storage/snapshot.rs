//! Consistent reads of one shelf: now, or as it was at an earlier revision, as far as the history reaches.

use std::collections::BTreeMap;
use std::ops::Bound;

use super::{ObjectKey, Store, Stored};

/// Part of a shelf at one revision.
#[derive(Debug)]
pub(crate) struct Page {
    pub(crate) revision: u64,
    pub(crate) objects: Vec<(ObjectKey, Stored)>,
}

pub(super) fn range<'a>(
    objects: &'a BTreeMap<ObjectKey, Stored>,
    namespace: Option<&'a str>,
) -> impl Iterator<Item = (&'a ObjectKey, &'a Stored)> {
    let start = match namespace {
        Some(namespace) => Bound::Included(ObjectKey::new(namespace, "")),
        None => Bound::Unbounded,
    };
    objects
        .range((start, Bound::Unbounded))
        .take_while(move |(key, _)| namespace.is_none_or(|namespace| &*key.namespace == namespace))
}

impl Store {
    /// Every object of a resource, or of one namespace of it, now.
    pub(crate) fn list(&self, resource: &str, namespace: Option<&str>) -> Page {
        let state = self.lock();
        let objects = match state.shelves.get(resource) {
            Some(shelf) => {
                range(&shelf.objects, namespace).map(|(key, stored)| (key.clone(), stored.clone())).collect()
            }
            None => Vec::new(),
        };
        Page { revision: state.revision, objects }
    }

    /// Every object of a resource as it was at a revision; `None` when the history no longer reaches back.
    pub(crate) fn list_at(&self, resource: &str, namespace: Option<&str>, revision: u64) -> Option<Page> {
        let state = self.lock();
        let Some(shelf) = state.shelves.get(resource) else {
            return Some(Page { revision, objects: Vec::new() });
        };
        if revision < shelf.history.forgotten() {
            return None;
        }
        let mut objects: BTreeMap<ObjectKey, Stored> =
            range(&shelf.objects, namespace).map(|(key, stored)| (key.clone(), stored.clone())).collect();
        let within = |key: &ObjectKey| namespace.is_none_or(|namespace| &*key.namespace == namespace);
        for event in shelf.history.after(revision).rev().filter(|event| within(&event.key)) {
            match &event.previous {
                Some(bytes) => {
                    objects.insert(event.key.clone(), Stored { revision: 0, bytes: bytes.clone() });
                }
                None => {
                    objects.remove(&event.key);
                }
            }
        }
        Some(Page { revision, objects: objects.into_iter().collect() })
    }
}
