//! Patching: JSON patch, merge patch, strategic merge patch, and server-side apply.

use std::sync::Arc;

use serde_json::Value;

use super::replace::Replacement;
use super::{Engine, Ownership, Part, WriteOptions, Written, key_of, manager, meta, now};
use crate::error::{ApiError, Cause};
use crate::fields::{self, ApplyError, Operation};
use crate::object::{at, remove, text};
use crate::patch::{self, PatchError};
use crate::registry::Kind;

/// How a patch body is meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum PatchKind {
    Json,
    Merge,
    Strategic,
    Apply,
}

impl Engine {
    /// Patches an object; with `Apply` creates it where there is none.
    ///
    /// # Errors
    /// 404 when there is none, 409 on conflicts, and what is wrong with the patch or its result (400, 415, 422).
    pub(crate) fn patch(
        &self,
        kind: &Arc<Kind>,
        namespace: &str,
        name: &str,
        patch_kind: PatchKind,
        patch: &Value,
        options: &WriteOptions,
    ) -> Result<Written, ApiError> {
        if patch_kind == PatchKind::Apply {
            return self.apply(kind, namespace, name, patch.clone(), options);
        }
        if patch_kind == PatchKind::Strategic && kind.custom().is_some() {
            let accepted = [
                "application/json-patch+json",
                "application/merge-patch+json",
                "application/apply-patch+yaml",
            ];
            return Err(ApiError::unsupported_media_type(
                "application/strategic-merge-patch+json",
                &accepted,
            ));
        }
        let _writing = self.write_lock();
        let live = self.live(kind, &key_of(kind, namespace, name));
        let live = live.ok_or_else(|| ApiError::not_found(kind, name))?;
        let mut next = live.clone();
        let patched = match patch_kind {
            PatchKind::Json => patch::json(&mut next, patch),
            PatchKind::Strategic => patch::strategic(&mut next, patch, kind.merge_schema()),
            PatchKind::Merge | PatchKind::Apply => {
                patch::merge(&mut next, patch);
                Ok(())
            }
        };
        patched.map_err(|error| match error {
            PatchError::ApplyJson { .. } => ApiError::unprocessable(error.to_string()),
            PatchError::ParseJson { .. }
            | PatchError::NotAnObject { .. }
            | PatchError::MergeKey { .. }
            | PatchError::Directive { .. } => ApiError::bad_request(error.to_string()),
        })?;
        let ownership = Ownership::Track;
        self.replace_locked(kind, Replacement { namespace, name, live, next, ownership }, options)
    }

    fn apply(
        &self,
        kind: &Arc<Kind>,
        namespace: &str,
        name: &str,
        mut applied: Value,
        options: &WriteOptions,
    ) -> Result<Written, ApiError> {
        if options.manager.is_empty() {
            let cause = Cause::required("fieldManager", "is required for apply patch");
            return Err(ApiError::invalid_options("PatchOptions.meta.k8s.io", &cause));
        }
        let word = |field| text(&applied, &[field]).unwrap_or_default();
        if word("kind").is_empty() || word("apiVersion").is_empty() {
            let (group, version) = word("apiVersion").split_once('/').unwrap_or(("", word("apiVersion")));
            return Err(ApiError::bad_request(format!(
                "invalid object type: {group}/{version}, Kind={}",
                word("kind")
            )));
        }
        let names_namespace = at(&applied, &["metadata", "namespace"]).is_some();
        meta::admit(kind, namespace, Some(name), &mut applied)?;
        if !names_namespace {
            remove(&mut applied, &["metadata", "namespace"]);
        }
        if at(&applied, &["metadata", "managedFields"]).is_some() {
            return Err(ApiError::bad_request("metadata.managedFields must be nil"));
        }
        let _writing = self.write_lock();
        let key = key_of(kind, namespace, name);
        let live = self.live(kind, &key);
        if live.is_none() && options.part != Part::Main && options.part != Part::Whole {
            return Err(ApiError::not_found(kind, name));
        }
        let uid = text(&applied, &["metadata", "uid"]).map(str::to_owned);
        if live.is_none() && uid.is_some() {
            let why = format!(
                "Precondition failed: UID in precondition: {}, UID in object meta: ",
                uid.unwrap_or_default()
            );
            return Err(ApiError::conflict(kind, name, &why));
        }
        if let Some(live) = &live
            && let Some(version) = text(&applied, &["metadata", "resourceVersion"])
            && Some(version) != text(live, &["metadata", "resourceVersion"])
        {
            return Err(ApiError::modified(kind, name));
        }
        // Unknown fields and wrong types are found while merging; Go's decoder reads null as absent.
        super::check::before_apply(kind, &mut applied)?;
        confine_applied(kind, &mut applied, options.part);
        let (time, api_version) = (now(), kind.api_version());
        let manager = manager(options, Operation::Apply, &api_version, &time);
        let merged = fields::apply(live.as_ref(), &applied, &manager, options.force, kind.merge_schema())
            .map_err(|error| refused(&error))?;
        let ownership = Ownership::Done;
        match live {
            None => self.create_locked(kind, namespace, Some(name), merged, options, ownership),
            Some(live) => {
                let replacement = Replacement { namespace, name, live, next: merged, ownership };
                self.replace_locked(kind, replacement, options)
            }
        }
    }
}

/// A manager owns only what the endpoint it used can change.
fn confine_applied(kind: &Kind, applied: &mut Value, part: Part) {
    for field in ["resourceVersion", "uid", "creationTimestamp", "generation", "managedFields"] {
        remove(applied, &["metadata", field]);
    }
    match part {
        Part::Main if kind.status => {
            remove(applied, &["status"]);
        }
        Part::Status => {
            if let Some(map) = applied.as_object_mut() {
                map.retain(|field, _| ["apiVersion", "kind", "metadata", "status"].contains(&field.as_str()));
            }
            if let Some(Value::Object(metadata)) = applied.get_mut("metadata") {
                metadata.retain(|field, _| field == "name" || field == "namespace");
            }
        }
        Part::Main | Part::Finalize | Part::Scale | Part::Whole => {}
    }
}

fn refused(error: &ApplyError) -> ApiError {
    match error {
        ApplyError::Conflicts(conflicts) => {
            let causes: Vec<Cause> = conflicts
                .iter()
                .map(|conflict| Cause {
                    reason: "FieldManagerConflict".to_owned(),
                    message: conflict.to_string(),
                    field: conflict.field.clone(),
                })
                .collect();
            ApiError::apply_conflict(error.to_string(), &causes)
        }
        ApplyError::Invalid { .. } => ApiError::unreasoned(error.to_string()),
        ApplyError::ManagedFields | ApplyError::Version { .. } => ApiError::bad_request(error.to_string()),
    }
}
