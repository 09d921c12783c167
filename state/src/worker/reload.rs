//! Workloads that roll when a ConfigMap or Secret that they use changes: the pod template carries a digest of their
//! content, so a change of it is a new revision for whoever runs the pods.
//!
//! # Why the digest is part of what is applied
//! It follows from what is on the cluster, so a crash forgets nothing; the first application has it already, so nothing
//! rolls twice; and nobody has to remember what was rolled.

use std::collections::BTreeSet;
use std::sync::Arc;

use serde_json::{Value, json};

use super::{Event, Item, Trouble, Worker};
use crate::object::{ObjectId, Place, is_workload};

/// Annotation of a pod template: a digest of the ConfigMaps and Secrets that its pods use.
pub(super) const MOUNTED_ANNOTATION: &str = "skein.dev/mounted";
/// Most ConfigMaps and Secrets of one workload that are looked at.
const MOUNTS_MAX: usize = 256;

impl Worker {
    /// The object with the digest of what its pods use, where the unit asks for that.
    pub(super) async fn with_mounts(&self, item: &Item, body: Vec<u8>) -> Result<Vec<u8>, Trouble> {
        let ObjectId { group, kind, namespace, .. } = &*item.place.id;
        if !self.unit.reloads() || !is_workload(group, kind) {
            return Ok(body);
        }
        let Ok(mut object) = serde_json::from_slice::<Value>(&body) else { return Ok(body) };
        let mounts = mounts(&object);
        let (mut used, mut kinds) = (Vec::new(), Vec::new());
        let mut hasher = blake3::Hasher::new();
        for (kind, name) in mounts.iter().take(MOUNTS_MAX) {
            let api = &self.context.api;
            let resource = self.context.discovery.resolve(api, "", "v1", kind).await.map_err(Trouble::api)?;
            let Some(resource) = resource else { continue };
            let id = ObjectId {
                group: String::new(),
                kind: (*kind).to_owned(),
                namespace: namespace.clone(),
                name: name.clone(),
            };
            let place = Place { id: Arc::new(id), resource };
            let live = api.get_whole(&place).await.map_err(|error| Trouble::about(&place, error))?;
            let content = live.as_ref().map(|live| json!([live.get("data"), live.get("binaryData")]));
            hasher.update(json!([kind, name, content]).to_string().as_bytes());
            let version = live.as_ref().and_then(|live| live.pointer("/metadata/resourceVersion"));
            let version = version.and_then(Value::as_str).and_then(|text| text.parse().ok()).unwrap_or(0);
            if !kinds.contains(&place.resource) {
                kinds.push(Arc::clone(&place.resource));
            }
            used.push((ObjectId::clone(&place.id), version));
        }
        if used.is_empty() {
            return Ok(body);
        }
        self.tell(Event::Mounts { index: item.index, used, kinds }).await;
        let digest = hasher.finalize().to_hex().as_str()[..32].to_owned();
        match annotate(&mut object, &digest) {
            Some(()) => Ok(object.to_string().into_bytes()),
            None => Ok(body),
        }
    }
}

fn annotate(object: &mut Value, digest: &str) -> Option<()> {
    let template = object.pointer_mut("/spec/template")?.as_object_mut()?;
    let metadata = template.entry("metadata").or_insert_with(|| json!({})).as_object_mut()?;
    let annotations = metadata.entry("annotations").or_insert_with(|| json!({}));
    if annotations.is_null() {
        *annotations = json!({});
    }
    annotations.as_object_mut()?.insert(MOUNTED_ANNOTATION.to_owned(), digest.into());
    Some(())
}

/// The ConfigMaps and Secrets that the pods of a workload use, as volumes or in their environment.
fn mounts(object: &Value) -> BTreeSet<(&'static str, String)> {
    let mut found = BTreeSet::new();
    let Some(spec) = object.pointer("/spec/template/spec") else { return found };
    let list = |value: &'_ Value, field: &str| -> Vec<Value> {
        value.get(field).and_then(Value::as_array).cloned().unwrap_or_default()
    };
    let mut note = |kind: &'static str, name: Option<&Value>| {
        found.extend(
            name.and_then(Value::as_str).filter(|name| !name.is_empty()).map(|name| (kind, name.to_owned())),
        );
    };
    for volume in list(spec, "volumes") {
        note("ConfigMap", volume.pointer("/configMap/name"));
        note("Secret", volume.pointer("/secret/secretName"));
        for source in volume.get("projected").map(|projected| list(projected, "sources")).unwrap_or_default()
        {
            note("ConfigMap", source.pointer("/configMap/name"));
            note("Secret", source.pointer("/secret/name"));
        }
    }
    for container in ["initContainers", "containers"].iter().flat_map(|field| list(spec, field)) {
        for from in list(&container, "envFrom") {
            note("ConfigMap", from.pointer("/configMapRef/name"));
            note("Secret", from.pointer("/secretRef/name"));
        }
        for variable in list(&container, "env") {
            note("ConfigMap", variable.pointer("/valueFrom/configMapKeyRef/name"));
            note("Secret", variable.pointer("/valueFrom/secretKeyRef/name"));
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_that_pods_take_from_maps_and_secrets_is_found_once() {
        let object = json!({"spec": {"template": {"spec": {
            "volumes": [
                {"name": "a", "configMap": {"name": "files"}},
                {"name": "b", "secret": {"secretName": "tls"}},
                {"name": "c", "projected": {"sources": [{"configMap": {"name": "more"}}, {"secret": {"name": "token"}}]}},
                {"name": "d", "emptyDir": {}},
            ],
            "initContainers": [{"envFrom": [{"secretRef": {"name": "login"}}]}],
            "containers": [{
                "envFrom": [{"configMapRef": {"name": "files"}}],
                "env": [
                    {"name": "X", "valueFrom": {"configMapKeyRef": {"name": "one", "key": "k"}}},
                    {"name": "Y", "valueFrom": {"secretKeyRef": {"name": "two", "key": "k"}}},
                    {"name": "Z", "value": "plain"},
                ],
            }],
        }}}});
        let found: Vec<String> =
            mounts(&object).into_iter().map(|(kind, name)| format!("{kind} {name}")).collect();
        let wanted = [
            "ConfigMap files",
            "ConfigMap more",
            "ConfigMap one",
            "Secret login",
            "Secret tls",
            "Secret token",
            "Secret two",
        ];
        assert_eq!(found, wanted);
        assert!(mounts(&json!({"spec": {}})).is_empty());
    }

    #[test]
    fn the_digest_stands_on_the_pod_template_whatever_stands_there() {
        for metadata in [json!(null), json!({"annotations": null}), json!({"annotations": {"a": "b"}})] {
            let mut object = json!({"spec": {"template": {"metadata": metadata, "spec": {}}}});
            if object["spec"]["template"]["metadata"].is_null() {
                object["spec"]["template"].as_object_mut().unwrap().remove("metadata");
            }
            annotate(&mut object, "x").unwrap();
            assert_eq!(object["spec"]["template"]["metadata"]["annotations"][MOUNTED_ANNOTATION], "x");
        }
    }
}
