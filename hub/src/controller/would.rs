//! What changed objects would change, before anybody applies them: claims, templates and values are resolved with them in
//! place of what is there, rendered, and compared with what was last decided. Nothing is written and nothing remembered.

use std::collections::BTreeMap;
use std::sync::Arc;

use api::k0rdent::{ClusterDeployment, MultiClusterService};
use kube::ResourceExt;
use protocol::plan::UnitId;
use serde_json::Value;

use super::difference::difference;
use super::engine::{Engine, TargetState};
use super::explaining::described;
use crate::planner::bundle::Bundle;
use crate::planner::rendering::{Bundles, Request, Unrendered};
use crate::planner::sealing::Recipient;
use crate::services::built::Built;
use crate::services::claim::{Owner, claims};
use crate::services::resolve::{Renderer, ServicePlan, resolve};
use crate::services::selector::selects;
use crate::services::target::{TargetKind, TargetName};
use crate::would::{Change, FieldChange, ObjectChange, TargetChange, Would};

/// Targets that are rendered for one question; others are counted.
const TARGETS_MAX: usize = 200;
/// Fields that are told of one object, and characters of a value.
const FIELDS_MAX: usize = 64;
const VALUE_CHARS_MAX: usize = 200;

/// The objects of a question.
#[derive(Default)]
struct Tried {
    services: BTreeMap<String, Arc<MultiClusterService>>,
    deployments: BTreeMap<(String, String), ClusterDeployment>,
}

impl Tried {
    fn read(objects: Vec<Value>) -> Result<Self, String> {
        let mut tried = Self::default();
        for (at, object) in objects.into_iter().enumerate() {
            let kind = object["kind"].as_str().unwrap_or_default().to_owned();
            let name = object["metadata"]["name"].as_str().unwrap_or_default().to_owned();
            let wrong =
                |error: serde_json::Error| format!("document {} ({kind} \"{name}\"): {error}", at + 1);
            match kind.as_str() {
                "MultiClusterService" => {
                    let service: MultiClusterService = serde_json::from_value(object).map_err(wrong)?;
                    tried.services.insert(service.name_any(), Arc::new(service));
                }
                "ClusterDeployment" => {
                    let deployment: ClusterDeployment = serde_json::from_value(object).map_err(wrong)?;
                    let namespace = deployment.namespace().unwrap_or_else(|| "default".to_owned());
                    tried.deployments.insert((namespace, deployment.name_any()), deployment);
                }
                _ => {
                    return Err(format!(
                        "document {} is a {kind} \"{name}\": MultiClusterService and ClusterDeployment are accepted",
                        at + 1
                    ));
                }
            }
        }
        Ok(tried)
    }

    /// Whether a target may be decided on otherwise because of these.
    fn concerns(&self, state: &TargetState) -> bool {
        let has = |name: &String| {
            let owner = Owner::MultiClusterService(name.clone());
            state.resolution.sets.iter().any(|set| set.owner == owner)
        };
        let selected = |service: &MultiClusterService| {
            selects(service.spec.cluster_selector.as_ref(), &state.target.labels)
        };
        let own = state.target.name.kind == TargetKind::ClusterDeployment
            && self.deployments.contains_key(&state.target.name.object());
        own || self.services.iter().any(|(name, service)| has(name) || selected(service))
    }
}

/// Renders as the hub does, and keeps nothing for later.
struct Trying<'a>(&'a Bundles);

impl Renderer for Trying<'_> {
    fn render(&self, request: &Request<'_>) -> Result<Arc<Bundle>, Unrendered> {
        self.0.render(&Request { store: None, ..request.clone() })
    }

    fn seal(&self, bundle: &Arc<Bundle>, _: &Recipient, _: bool) -> Result<Arc<Bundle>, String> {
        Ok(bundle.clone())
    }
}

impl Engine {
    /// What these objects would change.
    ///
    /// # Errors
    /// Which document cannot be read, or is of a kind that cannot be tried.
    pub(super) fn would(&self, objects: Vec<Value>) -> Result<Would, String> {
        let tried = Tried::read(objects)?;
        let mut would = Would::default();
        for (name, state) in &self.targets {
            if state.target.deleting || !tried.concerns(state) {
                continue;
            }
            if would.targets.len() >= TARGETS_MAX {
                would.left_out += 1;
                continue;
            }
            would.targets.push(self.would_target(name, state, &tried));
        }
        for (namespace, name) in tried.deployments.keys() {
            if self.cache.cluster_deployments.get(namespace, name).is_none() {
                would.notes.push(format!(
                    "ClusterDeployment {namespace}/{name} is new: its cluster is not there to compare with"
                ));
            }
        }
        Ok(would)
    }

    fn would_target(&self, name: &TargetName, state: &TargetState, tried: &Tried) -> TargetChange {
        let mut all = self.active_services();
        all.retain(|one| !tried.services.contains_key(&one.name_any()));
        all.extend(tried.services.values().cloned());
        all.sort_by_key(|one| one.name_any());
        let own = tried.deployments.get(&name.object()).cloned().map(Arc::new);
        let own = own.or_else(|| match name.kind {
            TargetKind::ClusterDeployment => self.cache.cluster_deployments.get(&name.namespace, &name.name),
            TargetKind::Edge => None,
        });
        let kept =
            |(namespace, name): &(String, String)| self.cache.service_sets.get(namespace, name).is_some();
        // What is tried is shown as everybody has it in the end, whatever a rollout does on the way.
        let released = |service: &api::k0rdent::MultiClusterService, set: &(String, String)| {
            let tried = tried.services.contains_key(&service.name_any());
            if tried { None } else { self.releases.of(&self.cache, service, set) }
        };
        let claims = claims(&state.target, own.as_deref(), &all, kept, released);
        let known = self.knowledge(&state.target);
        let next = resolve(&state.target, &claims, &self.sight(), &Trying(&self.bundles), &known);
        let before = by_id(state.resolution.sets.iter().flat_map(|set| &set.services));
        let after = by_id(next.sets.iter().flat_map(|set| &set.services));
        let mut changes: Vec<Change> =
            after.iter().filter_map(|(id, service)| changed(before.get(id).copied(), service)).collect();
        changes.extend(before.iter().filter(|(id, _)| !after.contains_key(*id)).map(|(id, service)| {
            Change {
                namespace: id.namespace.clone(),
                name: id.name.clone(),
                change: "Removed",
                version: service.version.clone(),
                ..Change::default()
            }
        }));
        TargetChange { target: described(&state.target), services: changes }
    }
}

fn by_id<'a>(services: impl Iterator<Item = &'a ServicePlan>) -> BTreeMap<&'a UnitId, &'a ServicePlan> {
    services.map(|service| (&service.id, service)).collect()
}

/// How a service would be another one; nothing if it stays what it is.
fn changed(before: Option<&ServicePlan>, after: &ServicePlan) -> Option<Change> {
    let was = before.and_then(|before| before.built.as_ref());
    let problem = after.problem.as_ref().map(|problem| problem.message.clone());
    let change = Change {
        namespace: after.name.0.clone(),
        name: after.name.1.clone(),
        version: after.version.clone(),
        before: was.map(|was| was.version.to_string()),
        problem: problem.clone(),
        ..Change::default()
    };
    match (was, &after.built) {
        (Some(was), Some(will)) => {
            let objects = objects(was, will);
            let same = objects.is_empty() && was.version == will.version;
            (!same).then_some(Change { change: "Changed", objects, ..change })
        }
        (None, Some(will)) => {
            let content = will.plain();
            let objects = content.objects.iter().map(|piece| ObjectChange {
                object: piece.entry.key.to_string(),
                change: "Created",
                fields: Vec::new(),
            });
            Some(Change { change: "Added", objects: objects.collect(), ..change })
        }
        (_, None) => {
            let known = before.and_then(|before| before.problem.as_ref()).map(|problem| &problem.message);
            (problem.as_ref() != known).then_some(Change { change: "Refused", ..change })
        }
    }
}

fn objects(was: &Built, will: &Built) -> Vec<ObjectChange> {
    let hidden = was.is_secret() || will.is_secret();
    let pieces = |built: &Built| -> BTreeMap<String, (bool, Value)> {
        let piece = |piece: &crate::planner::bundle::Piece<_>| {
            let entry: &protocol::plan::ObjectEntry = &piece.entry;
            let content = serde_json::from_slice(&piece.content).unwrap_or_default();
            (entry.key.to_string(), (piece.confidential || hidden, content))
        };
        let content = built.plain();
        content.objects.iter().map(piece).collect()
    };
    let (old, new) = (pieces(was), pieces(will));
    let mut changes = Vec::new();
    for (object, (secret, content)) in &new {
        match old.get(object) {
            None => {
                changes.push(ObjectChange { object: object.clone(), change: "Created", fields: Vec::new() })
            }
            Some((was_secret, before)) => {
                let Some(patch) = difference(before, content) else { continue };
                let mut fields = Vec::new();
                flatten(before, &patch, &mut String::new(), *secret || *was_secret, &mut fields);
                changes.push(ObjectChange { object: object.clone(), change: "Changed", fields });
            }
        }
    }
    let gone = old.keys().filter(|object| !new.contains_key(*object));
    changes.extend(gone.map(|object| ObjectChange {
        object: object.clone(),
        change: "Deleted",
        fields: Vec::new(),
    }));
    changes
}

/// A merge patch as fields with what was there before.
fn flatten(before: &Value, patch: &Value, path: &mut String, hidden: bool, fields: &mut Vec<FieldChange>) {
    if let (Value::Object(old), Value::Object(new)) = (before, patch) {
        for (key, value) in new {
            let length = path.len();
            path.push('.');
            path.push_str(key);
            flatten(old.get(key).unwrap_or(&Value::Null), value, path, hidden, fields);
            path.truncate(length);
        }
        return;
    }
    if fields.len() >= FIELDS_MAX {
        return;
    }
    let told = |value: &Value| {
        (!hidden && !value.is_null()).then(|| value.to_string().chars().take(VALUE_CHARS_MAX).collect())
    };
    fields.push(FieldChange { path: path.clone(), before: told(before), after: told(patch), hidden });
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_patch_becomes_fields_and_secrets_are_hidden() {
        let before = json!({"spec": {"replicas": 1, "old": true}, "data": {"a": "x"}});
        let after = json!({"spec": {"replicas": 3, "new": {"b": 1}}, "data": {"a": "x"}});
        let patch = difference(&before, &after).unwrap();
        let fields = |hidden| {
            let mut fields = Vec::new();
            flatten(&before, &patch, &mut String::new(), hidden, &mut fields);
            fields.into_iter().map(|field| (field.path, field.before, field.after)).collect::<Vec<_>>()
        };
        let some = |text: &str| Some(text.to_owned());
        let mut told = fields(false);
        told.sort();
        assert_eq!(
            told,
            [
                (".spec.new".to_owned(), None, some("{\"b\":1}")),
                (".spec.old".to_owned(), some("true"), None),
                (".spec.replicas".to_owned(), some("1"), some("3")),
            ]
        );
        assert!(fields(true).iter().all(|(_, before, after)| before.is_none() && after.is_none()));
    }

    #[test]
    fn what_cannot_be_tried_is_named() {
        let error = Tried::read(vec![json!({"kind": "Pod", "metadata": {"name": "x"}})]).err().unwrap();
        assert!(error.contains("document 1 is a Pod \"x\""), "{error}");
        let broken =
            json!({"kind": "MultiClusterService", "metadata": {"name": "x"}, "spec": {"serviceSpec": 1}});
        let error = Tried::read(vec![broken]).err().unwrap();
        assert!(error.starts_with("document 1 (MultiClusterService \"x\"): "), "{error}");
    }
}
