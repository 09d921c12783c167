//! Garbage collection by owner references: dependents of what is gone go too; foreground deletion waits for them;
//! orphaning frees them.

use serde_json::{Value, json};

use crate::engine::{DeleteOptions, Engine, Propagation};
use crate::object::{self, items, text};
use crate::storage::{Address, ObjectKey, Removed};

/// Looks at an object that changed, or at the dependents of one that is gone.
pub(super) fn look(engine: &Engine, address: &Address, removed: &[Removed]) {
    let (resource, key) = address;
    for gone in removed {
        for dependent in engine.store.dependents(&gone.uid) {
            collect(engine, &dependent, removed);
        }
        finish_owners(engine, &key.namespace, &gone.owners);
    }
    let Some(stored) = engine.store.find(resource, key) else { return };
    let contains = |needle: &[u8]| stored.bytes.windows(needle.len()).any(|window| window == needle);
    if contains(b"\"deletionTimestamp\"") {
        finish(engine, address);
    }
    if !contains(b"\"ownerReferences\"") {
        return;
    }
    collect(engine, address, &[]);
    // A dependent that changed may be what its owner's foreground deletion waits for.
    finish_owners(engine, &key.namespace, items(&stored.decode(), &["metadata", "ownerReferences"]));
}

fn finish_owners(engine: &Engine, namespace: &str, owners: &[Value]) {
    for owner in owners.iter().filter_map(|owner| owner_address(engine, namespace, owner)) {
        finish(engine, &owner);
    }
}

/// Deletes an object whose owners are all gone; forgets owners that are gone beside one that is not. Owners in
/// `removed` are known to be gone, even if their kind is gone with them.
fn collect(engine: &Engine, (resource, key): &Address, removed: &[Removed]) {
    let Some(object) = engine.store.find(resource, key).map(|stored| stored.decode()) else { return };
    if object::deleting(&object) {
        return;
    }
    let owners = items(&object, &["metadata", "ownerReferences"]);
    let known_gone = |owner: &Value| removed.iter().any(|gone| text(owner, &["uid"]) == Some(&gone.uid));
    let alive: Vec<Value> = owners
        .iter()
        .filter(|owner| !known_gone(owner) && exists(engine, &key.namespace, owner))
        .cloned()
        .collect();
    if owners.is_empty() || alive.len() == owners.len() {
        return;
    }
    let Some(kind) = engine.registry().by_resource(resource) else { return };
    let result = if alive.is_empty() {
        let options =
            DeleteOptions { uid: Some(object::uid(&object).to_owned()), ..DeleteOptions::default() };
        engine.delete(&kind, &key.namespace, &key.name, &options).map(|_| ())
    } else {
        let change = |object: &mut Value| object::set(object, &["metadata", "ownerReferences"], json!(alive));
        engine.modify(&kind, &key.namespace, &key.name, "garbage-collector", change).map(|_| ())
    };
    report(result, key);
}

/// Whether an owner still exists. An owner of a kind that is not served counts as existing: it may come back.
fn exists(engine: &Engine, namespace: &str, owner: &Value) -> bool {
    let kind = engine
        .kind(text(owner, &["apiVersion"]).unwrap_or_default(), text(owner, &["kind"]).unwrap_or_default());
    let Some(kind) = kind else { return true };
    let found = engine.read(&kind, namespace, text(owner, &["name"]).unwrap_or_default());
    found.is_some_and(|found| Some(object::uid(&found)) == text(owner, &["uid"]))
}

fn owner_address(engine: &Engine, namespace: &str, owner: &Value) -> Option<Address> {
    let kind = engine.kind(text(owner, &["apiVersion"])?, text(owner, &["kind"])?)?;
    let namespace = if kind.namespaced { namespace } else { "" };
    Some((kind.resource.clone(), ObjectKey::new(namespace, text(owner, &["name"])?)))
}

/// Continues a deletion that asked for its dependents to be deleted first, or to be orphaned.
fn finish(engine: &Engine, (resource, key): &Address) {
    let Some(object) = engine.store.find(resource, key).map(|stored| stored.decode()) else { return };
    if !object::deleting(&object) {
        return;
    }
    let uid = object::uid(&object);
    let finalizer = if object::finalizers(&object).contains(&"orphan") {
        for dependent in engine.store.dependents(uid) {
            orphan(engine, &dependent, uid);
        }
        "orphan"
    } else if object::finalizers(&object).contains(&"foregroundDeletion") {
        if delete_dependents(engine, uid) {
            return;
        }
        "foregroundDeletion"
    } else {
        return;
    };
    let Some(kind) = engine.registry().by_resource(resource) else { return };
    let change = |object: &mut Value| {
        object::remove_finalizer(object, finalizer);
    };
    let result = engine.modify(&kind, &key.namespace, &key.name, "garbage-collector", change);
    report(result.map(|_| ()), key);
}

fn orphan(engine: &Engine, (resource, key): &Address, owner: &str) {
    let Some(kind) = engine.registry().by_resource(resource) else { return };
    let change = |object: &mut Value| {
        let left: Vec<Value> = items(object, &["metadata", "ownerReferences"])
            .iter()
            .filter(|one| text(one, &["uid"]) != Some(owner))
            .cloned()
            .collect();
        if left.is_empty() {
            object::remove(object, &["metadata", "ownerReferences"]);
        } else {
            object::set(object, &["metadata", "ownerReferences"], json!(left));
        }
    };
    let result = engine.modify(&kind, &key.namespace, &key.name, "garbage-collector", change);
    report(result.map(|_| ()), key);
}

/// Deletes dependents in the foreground; true while one that blocks its owner is left.
fn delete_dependents(engine: &Engine, owner: &str) -> bool {
    let mut blocked = false;
    for (resource, key) in engine.store.dependents(owner) {
        let Some(kind) = engine.registry().by_resource(&resource) else { continue };
        let Some(object) = engine.store.find(&resource, &key).map(|stored| stored.decode()) else { continue };
        let blocks = items(&object, &["metadata", "ownerReferences"])
            .iter()
            .any(|one| text(one, &["uid"]) == Some(owner) && one["blockOwnerDeletion"] == true);
        if object::deleting(&object) {
            blocked |= blocks;
            continue;
        }
        let has_dependents = !engine.store.dependents(object::uid(&object)).is_empty();
        let propagation = if has_dependents { Propagation::Foreground } else { Propagation::Background };
        let options = DeleteOptions { propagation, ..DeleteOptions::default() };
        match engine.delete(&kind, &key.namespace, &key.name, &options) {
            Ok(deleted) => blocked |= blocks && !deleted.gone,
            Err(error) => report(Err(error), &key),
        }
    }
    blocked
}

fn report(result: Result<(), crate::error::ApiError>, key: &ObjectKey) {
    if let Err(error) = result
        && error.code != 404
    {
        tracing::warn!(%error, namespace = %key.namespace, name = %key.name, "garbage collection failed");
    }
}
