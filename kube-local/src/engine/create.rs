//! Creating an object.

use std::sync::Arc;

use serde_json::Value;

use super::{
    Engine, Ownership, Part, WriteOptions, Written, check, defaults, key_of, manager, meta, now, validate,
};
use crate::error::ApiError;
use crate::fields::{self, Operation};
use crate::object::{self, remove, set, text};
use crate::registry::{Kind, Verbs};
use crate::storage::ObjectKey;

impl Engine {
    /// Creates an object.
    ///
    /// # Errors
    /// What is wrong with the object (400, 422), its namespace (404, 403), or that it exists (409).
    pub(crate) fn create(
        &self,
        kind: &Arc<Kind>,
        namespace: &str,
        object: Value,
        options: &WriteOptions,
    ) -> Result<Written, ApiError> {
        if kind.verbs == Verbs::Review {
            return Err(ApiError::method_not_allowed());
        }
        let _writing = self.write_lock();
        self.create_locked(kind, namespace, None, object, options, Ownership::Track)
    }

    pub(super) fn create_locked(
        &self,
        kind: &Arc<Kind>,
        namespace: &str,
        name: Option<&str>,
        mut object: Value,
        options: &WriteOptions,
        ownership: Ownership,
    ) -> Result<Written, ApiError> {
        meta::admit(kind, namespace, name, &mut object)?;
        if text(&object, &["metadata", "resourceVersion"]).is_some_and(|version| !version.is_empty()) {
            return Err(ApiError::bad_request("resourceVersion should not be set on objects to be created"));
        }
        let warnings = check::fields(kind, &mut object, options.validation)?;
        self.require_namespace(kind, namespace, &object)?;
        meta::generate_name(&mut object);
        meta::begin(kind, &mut object);
        if kind.status && options.part != Part::Whole {
            remove(&mut object, &["status"]);
        }
        apply_defaults(kind, &mut object);
        if ownership == Ownership::Track {
            let (time, api_version) = (now(), kind.api_version());
            let manager = manager(options, Operation::Update, &api_version, &time);
            fields::track_update(None, &mut object, &manager, kind.merge_schema());
        }
        self.prepare(kind, &mut object);
        let causes = validate::create(kind, &object);
        if !causes.is_empty() {
            return Err(ApiError::invalid(kind, object::name(&object), &causes));
        }
        let key = key_of(kind, namespace, object::name(&object));
        if self.store.find(&kind.resource, &key).is_some() {
            return Err(ApiError::already_exists(kind, &key.name));
        }
        let (object, revision) = self.commit(kind, &key, object, options.dry_run);
        Ok(Written { object, revision, created: true, warnings })
    }

    /// What the server fills in per kind and no manager owns.
    pub(super) fn prepare(&self, kind: &Kind, object: &mut Value) {
        if kind.custom().is_some() {
            return;
        }
        defaults::prepare(kind, object);
        if kind.is("", "Service") {
            self.allocate_addresses(object);
        }
    }

    fn require_namespace(&self, kind: &Kind, namespace: &str, object: &Value) -> Result<(), ApiError> {
        if !kind.namespaced {
            return Ok(());
        }
        let namespaces = self.kind("v1", "Namespace").ok_or_else(ApiError::no_such_path)?;
        let Some(found) = self.live(&namespaces, &ObjectKey::new("", namespace)) else {
            return Err(ApiError::not_found(&namespaces, namespace));
        };
        if object::deleting(&found) {
            return Err(ApiError::terminating(kind, object::name(object), namespace));
        }
        Ok(())
    }

    /// Cluster IPs and node ports that no other service has.
    fn allocate_addresses(&self, service: &mut Value) {
        let kind = text(service, &["spec", "type"]).unwrap_or("ClusterIP").to_owned();
        if kind == "ExternalName" {
            return;
        }
        let others: Vec<Value> = self
            .store
            .list("services", None)
            .objects
            .iter()
            .filter(|(key, _)| *key != ObjectKey::of(service))
            .map(|(_, stored)| stored.decode())
            .collect();
        if text(service, &["spec", "clusterIP"]).unwrap_or_default().is_empty() {
            let taken =
                |address: &str| others.iter().any(|one| text(one, &["spec", "clusterIP"]) == Some(address));
            let free = (10_u32..65_000)
                .map(|number| format!("10.96.{}.{}", number / 256, number % 256))
                .find(|address| !taken(address));
            set(service, &["spec", "clusterIP"], Value::from(free.unwrap_or_default()));
        }
        let address = text(service, &["spec", "clusterIP"]).unwrap_or_default().to_owned();
        set(service, &["spec", "clusterIPs"], serde_json::json!([address]));
        if kind == "NodePort" || kind == "LoadBalancer" {
            allocate_node_ports(service, &others);
        }
    }
}

/// Writes the defaults of a kind into an object.
pub(super) fn apply_defaults(kind: &Kind, object: &mut Value) {
    match kind.custom() {
        Some(custom) => {
            if let Some(schema) = &custom.schema {
                schema.apply_defaults(object);
            }
        }
        None => defaults::apply(kind, object),
    }
}

fn allocate_node_ports(service: &mut Value, others: &[Value]) {
    let ports = |service: &Value| -> Vec<i64> {
        object::items(service, &["spec", "ports"])
            .iter()
            .filter_map(|port| port["nodePort"].as_i64())
            .collect()
    };
    let mut taken: Vec<i64> = others.iter().chain([&*service]).flat_map(ports).collect();
    let Some(Value::Array(list)) = service.pointer_mut("/spec/ports") else { return };
    for port in list {
        if port["nodePort"].as_i64().unwrap_or(0) == 0
            && let Some(free) = (30_000..32_768).find(|number| !taken.contains(number))
        {
            taken.push(free);
            set(port, &["nodePort"], free.into());
        }
    }
}
