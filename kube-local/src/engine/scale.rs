//! The `scale` subresource: an object seen as `autoscaling/v1` `Scale`, and replicas written back.

use std::sync::Arc;

use serde_json::{Value, json};

use super::apply::PatchKind;
use super::replace::Replacement;
use super::{Engine, Ownership, WriteOptions, Written, key_of};
use crate::error::{ApiError, Cause};
use crate::object::{self, at, set};
use crate::patch;
use crate::registry::{Kind, Scale, at_path};
use crate::selector::LabelSelector;

impl Engine {
    /// The scale of an object.
    ///
    /// # Errors
    /// 404 when there is no such object, or its kind does not scale.
    pub(crate) fn read_scale(&self, kind: &Kind, namespace: &str, name: &str) -> Result<Value, ApiError> {
        let scale = kind.scale.as_ref().ok_or_else(ApiError::no_such_path)?;
        let live = self.read(kind, namespace, name).ok_or_else(|| ApiError::not_found(kind, name))?;
        Ok(scale_of(kind, scale, &live))
    }

    /// Changes the scale of an object by replacing (`None`) or patching its `Scale`.
    ///
    /// # Errors
    /// As `update`; 422 when the replicas are missing or negative.
    pub(crate) fn write_scale(
        &self,
        kind: &Arc<Kind>,
        namespace: &str,
        name: &str,
        patch_kind: Option<PatchKind>,
        body: &Value,
        options: &WriteOptions,
    ) -> Result<Written, ApiError> {
        let scale = kind.scale.as_ref().ok_or_else(ApiError::no_such_path)?;
        let _writing = self.write_lock();
        let live = self.live(kind, &key_of(kind, namespace, name));
        let live = live.ok_or_else(|| ApiError::not_found(kind, name))?;
        let mut wanted = scale_of(kind, scale, &live);
        match patch_kind {
            None => wanted = body.clone(),
            Some(PatchKind::Json) => {
                patch::json(&mut wanted, body).map_err(|error| ApiError::unprocessable(error.to_string()))?
            }
            Some(PatchKind::Merge | PatchKind::Strategic | PatchKind::Apply) => {
                patch::merge(&mut wanted, body)
            }
        }
        let replicas = object::integer(&wanted, &["spec", "replicas"]).unwrap_or(0);
        if replicas < 0 {
            let detail = "must be greater than or equal to 0";
            let cause = Cause::invalid("spec.replicas", &json!(replicas), detail);
            return Err(ApiError::invalid_scale(name, &cause));
        }
        let mut next = live.clone();
        let path: Vec<&str> = scale.spec_replicas.iter().map(String::as_str).collect();
        set(&mut next, &path, json!(replicas));
        if let Some(version) = at(&wanted, &["metadata", "resourceVersion"]) {
            set(&mut next, &["metadata", "resourceVersion"], version.clone());
        }
        let ownership = Ownership::Track;
        let replacement = Replacement { namespace, name, live, next, ownership };
        let mut written = self.replace_locked(kind, replacement, options)?;
        written.object = scale_of(kind, scale, &written.object);
        Ok(written)
    }
}

fn scale_of(kind: &Kind, scale: &Scale, live: &Value) -> Value {
    let number = |path: &[String]| at_path(live, path).and_then(Value::as_i64).unwrap_or(0);
    let selector = match &scale.label_selector {
        Some(path) => at_path(live, path).and_then(Value::as_str).unwrap_or_default().to_owned(),
        None if kind.custom().is_some() => String::new(),
        None => {
            let selector = &live["spec"]["selector"];
            let parsed = if kind.is("", "ReplicationController") {
                LabelSelector::from_map(selector)
            } else {
                LabelSelector::from_object(selector)
            };
            parsed.to_string()
        }
    };
    let mut result = json!({
        "kind": "Scale", "apiVersion": "autoscaling/v1",
        "metadata": {
            "name": object::name(live), "namespace": object::namespace(live), "uid": object::uid(live),
            "resourceVersion": live["metadata"]["resourceVersion"],
            "creationTimestamp": live["metadata"]["creationTimestamp"],
        },
        "spec": {"replicas": number(&scale.spec_replicas)},
        "status": {"replicas": number(&scale.status_replicas)},
    });
    if !selector.is_empty() {
        result["status"]["selector"] = json!(selector);
    }
    result
}
