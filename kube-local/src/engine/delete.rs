//! Deleting: at once, or by marking and waiting for finalizers, namespaces' contents or a definition's objects.

use std::sync::Arc;

use serde_json::{Value, json};

use super::{Engine, key_of, now};
use crate::error::ApiError;
use crate::object::{self, items, set, text};
use crate::registry::Kind;
use crate::storage::ObjectKey;

const DEFINITION_FINALIZER: &str = "customresourcecleanup.apiextensions.k8s.io";

/// What happens to dependents.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Propagation {
    /// They are deleted afterwards.
    #[default]
    Background,
    /// They are deleted first.
    Foreground,
    /// They lose their owner.
    Orphan,
}

/// How to delete.
#[derive(Debug, Clone, Default)]
pub(crate) struct DeleteOptions {
    pub(crate) propagation: Propagation,
    pub(crate) uid: Option<String>,
    pub(crate) resource_version: Option<String>,
    pub(crate) dry_run: bool,
}

/// An answered delete.
#[derive(Debug)]
pub(crate) struct Deleted {
    pub(crate) object: Value,
    pub(crate) revision: u64,
    /// False: it is marked and waits for what holds it.
    pub(crate) gone: bool,
}

impl Engine {
    /// Deletes an object.
    ///
    /// # Errors
    /// 404 when there is none, 409 when a precondition does not hold.
    pub(crate) fn delete(
        &self,
        kind: &Arc<Kind>,
        namespace: &str,
        name: &str,
        options: &DeleteOptions,
    ) -> Result<Deleted, ApiError> {
        let _writing = self.write_lock();
        self.delete_locked(kind, namespace, name, options)
    }

    pub(super) fn delete_locked(
        &self,
        kind: &Arc<Kind>,
        namespace: &str,
        name: &str,
        options: &DeleteOptions,
    ) -> Result<Deleted, ApiError> {
        let key = key_of(kind, namespace, name);
        let mut object = self.live(kind, &key).ok_or_else(|| ApiError::not_found(kind, name))?;
        require(kind, name, &object, options)?;
        if kind.is("", "Namespace") && ["default", "kube-system", "kube-public"].contains(&name) {
            return Err(ApiError::forbidden(kind, name, "this namespace may not be deleted"));
        }
        let before = object.clone();
        hold(kind, &mut object, options.propagation);
        if super::replace::may_vanish(kind, &object) {
            let revision = self.store.revision();
            if options.dry_run {
                return Ok(Deleted { object, revision, gone: true });
            }
            let (object, revision) = self.erase(kind, &key, object);
            return Ok(Deleted { object, revision, gone: true });
        }
        if !object::deleting(&object) {
            mark(kind, &mut object);
        }
        if object == before {
            return Ok(Deleted { object, revision: self.store.revision(), gone: false });
        }
        let (object, revision) = self.commit(kind, &key, object, options.dry_run);
        if !options.dry_run && kind.is("apiextensions.k8s.io", "CustomResourceDefinition") {
            self.delete_instances(name);
            self.finish_definition(name);
            return Ok(Deleted { object, revision: self.store.revision(), gone: false });
        }
        Ok(Deleted { object, revision, gone: false })
    }

    /// Deletes every object of a custom kind; those with finalizers are marked.
    fn delete_instances(&self, definition: &str) {
        let Some(kind) = self.registry().by_resource(definition) else { return };
        for (key, _) in self.store.list(definition, None).objects {
            let deleted = self.delete_locked(&kind, &key.namespace, &key.name, &DeleteOptions::default());
            if let Err(error) = deleted {
                tracing::warn!(%error, definition, name = %key.name, "failed to delete an object of a deleted kind");
            }
        }
    }

    /// Lets a deleted definition go once none of its objects is left.
    pub(super) fn finish_definition(&self, definition: &str) {
        let Some(kind) = self.kind("apiextensions.k8s.io/v1", "CustomResourceDefinition") else {
            return;
        };
        let key = ObjectKey::new("", definition);
        let Some(mut object) = self.live(&kind, &key) else { return };
        if !object::deleting(&object) || !self.store.list(definition, None).objects.is_empty() {
            return;
        }
        object::remove_finalizer(&mut object, DEFINITION_FINALIZER);
        if object::finalizers(&object).is_empty() {
            self.erase(&kind, &key, object);
            return;
        }
        self.commit(&kind, &key, object, false);
    }
}

fn require(kind: &Kind, name: &str, object: &Value, options: &DeleteOptions) -> Result<(), ApiError> {
    if let Some(uid) = &options.uid
        && uid != object::uid(object)
    {
        let why = format!(
            "the UID in the precondition ({uid}) does not match the UID in record ({}). The object might have been \
             deleted and then recreated",
            object::uid(object)
        );
        return Err(ApiError::precondition(kind, name, &why));
    }
    let current = text(object, &["metadata", "resourceVersion"]).unwrap_or_default();
    if let Some(version) = &options.resource_version
        && version != current
    {
        let why = format!(
            "the ResourceVersion in the precondition ({version}) does not match the ResourceVersion in record \
             ({current}). The object might have been modified"
        );
        return Err(ApiError::precondition(kind, name, &why));
    }
    Ok(())
}

/// The finalizers that the way of deleting asks for.
fn hold(kind: &Kind, object: &mut Value, propagation: Propagation) {
    let wanted = match propagation {
        Propagation::Background => None,
        Propagation::Foreground => Some("foregroundDeletion"),
        Propagation::Orphan => Some("orphan"),
    };
    let mut finalizers: Vec<Value> = items(object, &["metadata", "finalizers"])
        .iter()
        .filter(|one| *one != "foregroundDeletion" && *one != "orphan")
        .cloned()
        .collect();
    finalizers.extend(wanted.map(|finalizer| json!(finalizer)));
    let definition = kind.is("apiextensions.k8s.io", "CustomResourceDefinition");
    if definition && !finalizers.iter().any(|one| one == DEFINITION_FINALIZER) {
        finalizers.push(json!(DEFINITION_FINALIZER));
    }
    if finalizers.is_empty() {
        object::remove(object, &["metadata", "finalizers"]);
    } else {
        set(object, &["metadata", "finalizers"], json!(finalizers));
    }
}

fn mark(kind: &Kind, object: &mut Value) {
    set(object, &["metadata", "deletionTimestamp"], json!(now()));
    set(object, &["metadata", "deletionGracePeriodSeconds"], json!(0));
    if kind.is("", "Namespace") {
        object::remove(object, &["metadata", "deletionGracePeriodSeconds"]);
        set(object, &["status", "phase"], json!("Terminating"));
    }
    if let Some(generation) = object::integer(object, &["metadata", "generation"]) {
        set(object, &["metadata", "generation"], json!(generation + 1));
    }
}
