//! Changing an object: replacing it, its status, or running what a patch made of it through the same gate.

use std::sync::Arc;

use serde_json::Value;

use super::create::apply_defaults;
use super::{Engine, Ownership, Part, WriteOptions, Written, check, key_of, manager, meta, now, validate};
use crate::error::ApiError;
use crate::fields::{self, Operation};
use crate::object::{self, copy, text};
use crate::registry::Kind;

/// What a replacement still needs to know about the request.
pub(super) struct Replacement<'a> {
    pub(super) namespace: &'a str,
    pub(super) name: &'a str,
    pub(super) live: Value,
    pub(super) next: Value,
    pub(super) ownership: Ownership,
}

impl Engine {
    /// Replaces an object or one part of it.
    ///
    /// # Errors
    /// 404 when there is none, 409 when it changed since it was read, and what is wrong with it (400, 422).
    pub(crate) fn update(
        &self,
        kind: &Arc<Kind>,
        namespace: &str,
        name: &str,
        next: Value,
        options: &WriteOptions,
    ) -> Result<Written, ApiError> {
        let _writing = self.write_lock();
        let key = key_of(kind, namespace, name);
        let live = match self.live(kind, &key) {
            Some(live) => live,
            None if kind.is("coordination.k8s.io", "Lease") && options.part == Part::Main => {
                let ownership = Ownership::Track;
                return self.create_locked(kind, namespace, Some(name), next, options, ownership);
            }
            None => return Err(ApiError::not_found(kind, name)),
        };
        let version = text(&next, &["metadata", "resourceVersion"]).unwrap_or_default();
        if version.is_empty() && options.part == Part::Main && !kind.unconditional_update() {
            return Err(ApiError::version_required(kind, name));
        }
        let ownership = Ownership::Track;
        self.replace_locked(kind, Replacement { namespace, name, live, next, ownership }, options)
    }

    /// Reads, changes and stores an object in one step; for the cluster's own controllers.
    ///
    /// # Errors
    /// As `update`.
    pub(crate) fn modify(
        &self,
        kind: &Arc<Kind>,
        namespace: &str,
        name: &str,
        manager: &str,
        change: impl FnOnce(&mut Value),
    ) -> Result<Written, ApiError> {
        let _writing = self.write_lock();
        let live = self.live(kind, &key_of(kind, namespace, name));
        let live = live.ok_or_else(|| ApiError::not_found(kind, name))?;
        let mut next = live.clone();
        change(&mut next);
        let options = WriteOptions::controller(manager);
        let ownership = Ownership::Track;
        self.replace_locked(kind, Replacement { namespace, name, live, next, ownership }, &options)
    }

    pub(super) fn replace_locked(
        &self,
        kind: &Arc<Kind>,
        replacement: Replacement<'_>,
        options: &WriteOptions,
    ) -> Result<Written, ApiError> {
        let Replacement { namespace, name, live, mut next, ownership } = replacement;
        meta::admit(kind, namespace, Some(name), &mut next)?;
        require_version(kind, name, &live, &next)?;
        let warnings = check::fields(kind, &mut next, options.validation)?;
        let mut next = confined(kind, &live, next, options.part);
        meta::carry(&live, &mut next);
        apply_defaults(kind, &mut next);
        if ownership == Ownership::Track {
            let (time, api_version) = (now(), kind.api_version());
            let manager = manager(options, Operation::Update, &api_version, &time);
            fields::track_update(Some(&live), &mut next, &manager, kind.merge_schema());
            if options.part == Part::Scale {
                meta::untimed_scale(&mut next);
            }
        }
        self.prepare(kind, &mut next);
        let causes = validate::update(kind, &live, &next);
        if !causes.is_empty() {
            return Err(ApiError::invalid(kind, name, &causes));
        }
        meta::bump_generation(kind, &live, &mut next);
        let revision = self.store.revision();
        let key = key_of(kind, namespace, name);
        if object::deleting(&next) && may_vanish(kind, &next) {
            if options.dry_run {
                return Ok(Written { object: next, revision, created: false, warnings });
            }
            let (object, revision) = self.erase(kind, &key, next);
            return Ok(Written { object, revision, created: false, warnings });
        }
        if meta::unchanged(&live, &mut next) {
            return Ok(Written { object: live, revision, created: false, warnings });
        }
        let (object, revision) = self.commit(kind, &key, next, options.dry_run);
        Ok(Written { object, revision, created: false, warnings })
    }
}

/// Whether an object that is being deleted has nothing left that holds it.
pub(super) fn may_vanish(kind: &Kind, object: &Value) -> bool {
    let held_by_spec = kind.is("", "Namespace") && !object::items(object, &["spec", "finalizers"]).is_empty();
    object::finalizers(object).is_empty() && !held_by_spec
}

/// 409 unless the object is still what the client read.
fn require_version(kind: &Kind, name: &str, live: &Value, next: &Value) -> Result<(), ApiError> {
    let uid = object::uid(next);
    if !uid.is_empty() && uid != object::uid(live) {
        let why = format!(
            "Precondition failed: UID in precondition: {uid}, UID in object meta: {}",
            object::uid(live)
        );
        return Err(ApiError::conflict(kind, name, &why));
    }
    let version = text(next, &["metadata", "resourceVersion"]).unwrap_or_default();
    if !version.is_empty() && version != "0" && Some(version) != text(live, &["metadata", "resourceVersion"])
    {
        return Err(ApiError::modified(kind, name));
    }
    Ok(())
}

/// The live object with only the part changed that the request may change.
fn confined(kind: &Kind, live: &Value, mut next: Value, part: Part) -> Value {
    match part {
        Part::Whole => next,
        Part::Main | Part::Scale => {
            if kind.status {
                copy(live, &mut next, &["status"]);
            }
            next
        }
        Part::Status => {
            let mut result = live.clone();
            copy(&next, &mut result, &["status"]);
            copy(&next, &mut result, &["metadata", "managedFields"]);
            result
        }
        Part::Finalize => {
            let mut result = live.clone();
            copy(&next, &mut result, &["spec", "finalizers"]);
            result
        }
    }
}
