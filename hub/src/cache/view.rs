//! Reading with a record of what was read: when any of it changes, whoever read it decides again.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::sync::Arc;

use super::{Cache, Cached, Key, Kind};

/// The cache as one decision sees it.
pub struct View<'a> {
    cache: &'a Cache,
    read: RefCell<BTreeSet<Key>>,
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

    /// Records that the decision hangs on this.
    pub fn note(&self, kind: Kind, namespace: &str, name: &str) {
        self.read.borrow_mut().insert(Key::new(kind, namespace, name));
    }

    /// The cache, to read what wakes the decision by other means.
    pub fn unrecorded(&self) -> &'a Cache {
        self.cache
    }

    /// Everything that was read.
    pub fn into_read(self) -> BTreeSet<Key> {
        self.read.into_inner()
    }
}
