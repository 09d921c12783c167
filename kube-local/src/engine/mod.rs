//! The API's meaning, apart from HTTP and storage: what creating, reading, changing and deleting an object does.
//!
//! Every write runs under one lock per cluster: read the live object, compute the next one, store it. All calls
//! are synchronous; who answers a client waits for durability with `Engine::durable`.

mod apply;
mod check;
mod convert;
mod create;
mod defaults;
mod delete;
mod immutable;
mod meta;
mod read;
mod replace;
mod review;
mod scale;
mod validate;
mod watch;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use serde_json::Value;

pub(crate) use apply::PatchKind;
pub(crate) use delete::{DeleteOptions, Deleted, Propagation};
pub(crate) use read::{ListOptions, Listed, VersionMatch};
pub(crate) use review::review;
pub(crate) use watch::{Watch, WatchEvent, WatchOptions};

use crate::clock;
use crate::error::ApiError;
use crate::fields::{Manager, Operation};
use crate::object;
use crate::registry::{Kind, Registry, custom_kinds};
use crate::storage::{ObjectKey, Store};

/// What to do about fields that the schema does not know.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum FieldValidation {
    Ignore,
    #[default]
    Warn,
    Strict,
}

/// Which part of an object a write may change.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Part {
    /// Everything but the status of kinds that have it as a subresource.
    #[default]
    Main,
    Status,
    /// `spec.finalizers` of a namespace.
    Finalize,
    /// The replicas, through `Scale`.
    Scale,
    /// Everything: the cluster's own controllers.
    Whole,
}

impl Part {
    /// The name of the subresource in `managedFields`.
    fn subresource(self) -> &'static str {
        match self {
            Self::Main | Self::Whole => "",
            Self::Status => "status",
            Self::Finalize => "finalize",
            Self::Scale => "scale",
        }
    }
}

/// How a write is to be done.
#[derive(Debug, Clone, Default)]
pub(crate) struct WriteOptions {
    pub(crate) manager: String,
    pub(crate) validation: FieldValidation,
    pub(crate) dry_run: bool,
    pub(crate) part: Part,
    /// Server-side apply: take fields over from other managers.
    pub(crate) force: bool,
}

impl WriteOptions {
    /// For a controller of the cluster itself.
    pub(crate) fn controller(manager: &str) -> Self {
        Self { manager: manager.to_owned(), part: Part::Whole, ..Self::default() }
    }
}

/// An answered write.
#[derive(Debug, Clone)]
pub(crate) struct Written {
    /// The object as served.
    pub(crate) object: Value,
    pub(crate) revision: u64,
    pub(crate) created: bool,
    pub(crate) warnings: Vec<String>,
}

/// Whether `metadata.managedFields` is still to be worked out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ownership {
    Track,
    /// Server-side apply has done it.
    Done,
}

/// One cluster.
#[derive(Debug)]
pub(crate) struct Engine {
    pub(crate) store: Arc<Store>,
    registry: RwLock<Arc<Registry>>,
    writing: Mutex<()>,
}

impl Engine {
    /// The engine over a store; custom kinds found in it are served at once.
    pub(crate) fn new(store: Store) -> Self {
        let store = Arc::new(store);
        let engine =
            Self { store, registry: RwLock::new(Arc::new(Registry::new())), writing: Mutex::new(()) };
        for (_, stored) in engine.store.list("customresourcedefinitions.apiextensions.k8s.io", None).objects {
            engine.register(&stored.decode());
        }
        engine
    }

    /// The kinds served now.
    pub(crate) fn registry(&self) -> Arc<Registry> {
        self.registry.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The kind behind `apiVersion` and `kind`; for the built-in kinds of our own controllers.
    pub(crate) fn kind(&self, api_version: &str, kind: &str) -> Option<Arc<Kind>> {
        self.registry().by_kind(api_version, kind)
    }

    /// Waits until a revision is durable.
    ///
    /// # Errors
    /// 500 with the disk's complaint.
    pub(crate) async fn durable(&self, revision: u64) -> Result<(), ApiError> {
        self.store
            .durable(revision)
            .await
            .map_err(|error| ApiError::internal(format!("failed to write to disk: {error}")))
    }

    fn write_lock(&self) -> MutexGuard<'_, ()> {
        self.writing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Serves what a definition declares.
    fn register(&self, definition: &Value) {
        match custom_kinds(definition) {
            Ok(kinds) => {
                self.change_registry(|registry| registry.set_custom(object::name(definition), kinds))
            }
            Err(error) => tracing::warn!(%error, "a stored CustomResourceDefinition is not served"),
        }
    }

    fn unregister(&self, definition: &str) {
        self.change_registry(|registry| registry.set_custom(definition, Vec::new()));
    }

    fn change_registry(&self, change: impl FnOnce(&mut Registry)) {
        let mut current = self.registry.write().unwrap_or_else(PoisonError::into_inner);
        let mut next = Registry::clone(&current);
        change(&mut next);
        *current = Arc::new(next);
    }

    fn live(&self, kind: &Kind, key: &ObjectKey) -> Option<Value> {
        self.store.find(&kind.resource, key).map(|stored| convert::served(kind, stored.decode()))
    }

    /// Stores the next state of an object, or computes what it would be.
    fn commit(&self, kind: &Kind, key: &ObjectKey, object: Value, dry_run: bool) -> (Value, u64) {
        if dry_run {
            return (object, self.store.revision());
        }
        let mut stored = convert::stored(kind, object);
        let revision = self.store.put(&kind.resource, key, &mut stored).revision;
        if kind.is("apiextensions.k8s.io", "CustomResourceDefinition") {
            self.register(&stored);
        }
        (convert::served(kind, stored), revision)
    }

    /// Removes an object for good and lets what waited for that go on.
    fn erase(&self, kind: &Kind, key: &ObjectKey, last: Value) -> (Value, u64) {
        let mut last = convert::stored(kind, last);
        let revision = self.store.remove(&kind.resource, key, &mut last).revision;
        if kind.is("apiextensions.k8s.io", "CustomResourceDefinition") {
            self.unregister(&key.name);
        } else if kind.custom().is_some() {
            self.finish_definition(&kind.resource);
        }
        (convert::served(kind, last), revision)
    }
}

/// The `fields::Manager` of a write at a moment.
fn manager<'a>(
    options: &'a WriteOptions,
    operation: Operation,
    api_version: &'a str,
    time: &'a str,
) -> Manager<'a> {
    Manager { name: &options.manager, operation, api_version, subresource: options.part.subresource(), time }
}

fn key_of(kind: &Kind, namespace: &str, name: &str) -> ObjectKey {
    ObjectKey::new(if kind.namespaced { namespace } else { "" }, name)
}

fn now() -> String {
    clock::now()
}
