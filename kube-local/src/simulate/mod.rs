//! Simulated workloads: what controllers, a scheduler and a kubelet would do, without containers.
//!
//! ```text
//!   Deployment -> ReplicaSet -+
//!   StatefulSet --------------+-> Pod: Pending -> (scheduled) -> Running and Ready -> Succeeded, if not restarted
//!   DaemonSet ----------------+         |              +-> ImagePullBackOff: image contains "does-not-exist"
//!   Job ----------------------+         +-> Unschedulable: requests exceed the one node's capacity
//! ```
//! Each reconciler looks at one object and brings what it owns one step nearer; what it writes is looked at next.

mod daemon_set;
mod deployment;
mod event;
mod job;
mod log;
mod node;
mod pod;
mod quantity;
mod replica_set;
mod service;
mod settings;
mod stateful_set;
mod template;
mod volume;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde_json::Value;
use tokio::time::Instant;

pub(crate) use log::log;
pub(crate) use settings::Settings;
pub use settings::Simulate;

use crate::engine::{DeleteOptions, Engine, WriteOptions};
use crate::error::ApiError;
use crate::object::{self, items, text};
use crate::registry::Kind;
use crate::storage::{Address, ObjectKey};
use crate::timers::Timers;

const MANAGER: &str = "kube-controller-manager";

/// The workloads of one cluster.
#[derive(Debug)]
pub(crate) struct Workloads {
    engine: Arc<Engine>,
    settings: Settings,
    /// Who to look at when an object is gone.
    owners: BTreeMap<Address, Address>,
    /// What scheduled pods request.
    scheduled: BTreeMap<ObjectKey, quantity::Resources>,
    unschedulable: BTreeSet<ObjectKey>,
    /// When a pod moves on: to running, or to completion.
    due: BTreeMap<ObjectKey, Instant>,
    next_pod_address: u32,
}

impl Workloads {
    pub(crate) fn new(engine: Arc<Engine>, settings: &Settings) -> Self {
        Self {
            engine,
            settings: settings.clone(),
            owners: BTreeMap::new(),
            scheduled: BTreeMap::new(),
            unschedulable: BTreeSet::new(),
            due: BTreeMap::new(),
            next_pod_address: 0,
        }
    }

    /// Makes the node, and counts what already runs on it.
    pub(crate) fn start(&mut self) {
        node::ensure(self);
        service::ensure_kubernetes(self);
        pod::count(self);
    }

    /// Looks at an object that changed, and at its owner.
    pub(crate) fn look(&mut self, address: &Address, timers: &mut Timers) {
        let (resource, key) = address;
        let object = self.engine.store.find(resource, key).map(|stored| stored.decode());
        if let Some(owner) = self.owner(address, object.as_ref()) {
            self.reconcile(&owner, timers);
        }
        match object {
            Some(_) => self.reconcile(address, timers),
            None if &**resource == "pods" => pod::gone(self, key, timers),
            None if &**resource == "services" => service::ensure_kubernetes(self),
            None => {}
        }
        if &**resource == "pods" {
            service::pods_changed(self, &key.namespace);
        }
    }

    fn reconcile(&mut self, (resource, key): &Address, timers: &mut Timers) {
        let Some(object) = self.engine.store.find(resource, key).map(|stored| stored.decode()) else {
            return;
        };
        if object::deleting(&object) {
            return;
        }
        let result = match &**resource {
            "pods" => pod::reconcile(self, &object, timers),
            "deployments.apps" => deployment::reconcile(self, &object, timers),
            "replicasets.apps" => replica_set::reconcile(self, &object),
            "statefulsets.apps" => stateful_set::reconcile(self, &object),
            "daemonsets.apps" => daemon_set::reconcile(self, &object),
            "jobs.batch" => job::reconcile(self, &object, timers),
            "persistentvolumeclaims" => volume::reconcile(self, &object),
            "services" => service::reconcile(self, &object),
            _ => return,
        };
        if let Err(error) = result
            && ![404, 409].contains(&error.code)
        {
            tracing::warn!(%error, resource = &**resource, name = %key.name, "a simulated controller failed");
        }
    }

    /// The owner of an object, remembered for when the object is gone.
    fn owner(&mut self, address: &Address, object: Option<&Value>) -> Option<Address> {
        let Some(object) = object else { return self.owners.remove(address) };
        let owner =
            items(object, &["metadata", "ownerReferences"]).iter().find(|one| one["controller"] == true)?;
        let kind = self.engine.kind(text(owner, &["apiVersion"])?, text(owner, &["kind"])?)?;
        let namespace = object::namespace(object);
        let owner = (kind.resource.clone(), ObjectKey::new(namespace, text(owner, &["name"])?));
        self.owners.insert(address.clone(), owner.clone());
        Some(owner)
    }

    fn kind(&self, api_version: &str, kind: &str) -> Result<Arc<Kind>, ApiError> {
        self.engine.kind(api_version, kind).ok_or_else(ApiError::no_such_path)
    }

    fn create(&mut self, kind: &Arc<Kind>, object: Value) -> Result<Value, ApiError> {
        let namespace = object::namespace(&object).to_owned();
        let created = self.engine.create(kind, &namespace, object, &WriteOptions::controller(MANAGER))?;
        Ok(created.object)
    }

    fn modify(
        &self,
        kind: &Arc<Kind>,
        object: &Value,
        change: impl FnOnce(&mut Value),
    ) -> Result<(), ApiError> {
        let (namespace, name) = (object::namespace(object), object::name(object));
        self.engine.modify(kind, namespace, name, MANAGER, change).map(|_| ())
    }

    fn delete(&self, kind: &Arc<Kind>, object: &Value) -> Result<(), ApiError> {
        let options = DeleteOptions { uid: Some(object::uid(object).to_owned()), ..DeleteOptions::default() };
        self.engine.delete(kind, object::namespace(object), object::name(object), &options).map(|_| ())
    }

    /// What an object owns of one resource.
    fn owned(&self, owner: &Value, resource: &str) -> Vec<Value> {
        self.engine
            .store
            .dependents(object::uid(owner))
            .into_iter()
            .filter(|(one, _)| &**one == resource)
            .filter_map(|(one, key)| self.engine.store.find(&one, &key))
            .map(|stored| stored.decode())
            .collect()
    }

    /// The pods of an owner that are not on their way out.
    fn active_pods(&self, owner: &Value) -> Vec<Value> {
        let mut pods = self.owned(owner, "pods");
        pods.retain(|pod| !object::deleting(pod) && !pod::finished(pod));
        pods
    }
}

/// The entry of `ownerReferences` for a controlling owner.
fn owner_reference(owner: &Value) -> Value {
    serde_json::json!({
        "apiVersion": owner["apiVersion"], "kind": owner["kind"], "name": object::name(owner),
        "uid": object::uid(owner), "controller": true, "blockOwnerDeletion": true,
    })
}

/// Sets a condition; its times move only when it does.
fn set_condition(conditions: &mut Vec<Value>, kind: &str, status: bool, reason: &str, message: &str) {
    let status = if status { "True" } else { "False" };
    let now = crate::clock::now();
    let live = conditions.iter().position(|one| one["type"] == kind);
    let kept = live.map(|index| &conditions[index]).filter(|one| one["status"] == status);
    let transition = kept.map_or_else(|| serde_json::json!(now), |one| one["lastTransitionTime"].clone());
    let mut next = serde_json::json!({"type": kind, "status": status, "lastTransitionTime": transition});
    if !reason.is_empty() {
        next["reason"] = reason.into();
    }
    if !message.is_empty() {
        next["message"] = message.into();
    }
    match live {
        Some(index) => conditions[index] = next,
        None => conditions.push(next),
    }
}

/// The conditions of an object.
fn conditions(object: &Value) -> Vec<Value> {
    items(object, &["status", "conditions"]).to_vec()
}

/// A count as JSON; absent when zero, as Kubernetes writes counts.
fn set_count(status: &mut Value, field: &str, count: usize) {
    if count == 0 {
        object::remove(status, &[field]);
    } else {
        object::set(status, &[field], count.into());
    }
}
