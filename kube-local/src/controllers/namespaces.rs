//! Deleting a namespace deletes what is in it, then the namespace.

use crate::engine::{DeleteOptions, Engine};
use crate::object;
use crate::storage::Address;

/// Continues the deletion of a namespace when it, or something in it, changed.
pub(super) fn look(engine: &Engine, (resource, key): &Address) {
    let name = if &**resource == "namespaces" { &key.name } else { &key.namespace };
    if name.is_empty() {
        return;
    }
    let Some(kind) = engine.kind("v1", "Namespace") else { return };
    let Some(namespace) = engine.read(&kind, "", name) else { return };
    if !object::deleting(&namespace) {
        return;
    }
    let registry = engine.registry();
    let mut left = false;
    for resource in engine.store.resources(Some(name)) {
        let Some(kind) = registry.by_resource(&resource) else { continue };
        for (key, stored) in engine.store.list(&resource, Some(name)).objects {
            if object::deleting(&stored.decode()) {
                left = true;
                continue;
            }
            match engine.delete(&kind, &key.namespace, &key.name, &DeleteOptions::default()) {
                Ok(deleted) => left |= !deleted.gone,
                Err(error) if error.code == 404 => {}
                Err(error) => {
                    left = true;
                    tracing::warn!(%error, namespace = %name, "failed to delete an object of a deleted namespace");
                }
            }
        }
    }
    if left {
        return;
    }
    let finished = engine.modify(&kind, "", name, "namespace-controller", |namespace| {
        object::remove(namespace, &["spec", "finalizers"]);
    });
    if let Err(error) = finished
        && error.code != 404
    {
        tracing::warn!(%error, namespace = %name, "failed to finish the deletion of a namespace");
    }
}
