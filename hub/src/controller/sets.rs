//! Sets of services: written beside the plan, their states shared by whoever sums them up, and their end.

use std::sync::Arc;

use api::k0rdent::{ServiceState, StateManagementProvider};
use kube::ResourceExt;
use protocol::id::AgentId;
use serde_json::{Value, json};

use super::difference::{addition, difference};
use super::engine::{Engine, TargetState};
use super::writer::{Part, Write};
use super::{edge, service_set};
use crate::cache::Key;
use crate::observed::AgentView;
use crate::services::claim::Owner;
use crate::services::resolve::SetPlan;
use crate::services::target::{TargetKind, TargetName};

impl Engine {
    /// The states of the services of each set of a target.
    pub(super) fn states(&mut self, name: &TargetName) -> Arc<Vec<Vec<ServiceState>>> {
        let Some(state) = self.targets.get(name) else { return Arc::default() };
        if let Some(states) = &state.states {
            return states.clone();
        }
        let view = self.view_of(state);
        let states: Vec<_> = state
            .resolution
            .sets
            .iter()
            .map(|set| {
                let object = self.cache.service_sets.get(&set.set.0, &set.set.1);
                let provider = self.provider(set);
                service_set::states(&self.facts(
                    state,
                    set,
                    object.as_deref(),
                    view.as_deref(),
                    provider.as_deref(),
                ))
            })
            .collect();
        let states = Arc::new(states);
        if let Some(state) = self.targets.get_mut(name) {
            state.states = Some(states.clone());
        }
        states
    }

    pub(super) fn facts<'a>(
        &'a self,
        state: &'a TargetState,
        set: &'a SetPlan,
        object: Option<&'a api::k0rdent::ServiceSet>,
        view: Option<&'a AgentView>,
        provider: Option<&'a StateManagementProvider>,
    ) -> service_set::Facts<'a> {
        let region = state.target.region.as_ref().and_then(|region| self.region_view(region));
        let (link, at) = edge::link(view, region.as_deref());
        let silent_since = (link != api::skein::LinkState::Up).then_some(at).flatten();
        service_set::Facts {
            set,
            target: &state.target,
            object,
            view: view.filter(|view| view.complete || !view.units.is_empty()),
            silent_since,
            held: state.held.as_deref(),
            provider,
            now: self.now(),
        }
    }

    pub(super) fn view_of(&self, state: &TargetState) -> Option<Arc<AgentView>> {
        self.observed.agent(&AgentId::Edge(state.target.agent?))
    }

    pub(super) fn region_view(&self, region: &str) -> Option<Arc<AgentView>> {
        self.observed.agent(&AgentId::Region(region.parse().ok()?))
    }

    fn provider(&self, set: &SetPlan) -> Option<Arc<StateManagementProvider>> {
        self.cache.state_management_providers.get("", set.carrying.provider.name.as_deref()?)
    }

    pub(super) fn service_set(&mut self, key: &Key) {
        let name = (key.namespace.clone(), key.name.clone());
        let object = self.cache.service_sets.get(&key.namespace, &key.name);
        let Some((target, index)) = self.sets.get(&name).cloned() else {
            if let Some(object) = object {
                self.leaving_set(key, &object);
            }
            return;
        };
        let Some(state) = self.targets.get(&target) else { return };
        if state.target.deleting {
            return;
        }
        let Some(set) = state.resolution.sets.get(index) else { return };
        let provider = self.provider(set);
        let desired = service_set::desired(set, &state.target, provider.as_deref());
        let Some(object) = object else {
            self.writer.submit(key, Part::Object, Write::Create(desired));
            return;
        };
        if let Some(patch) = set_patch(&object, &desired) {
            self.writer.submit(key, Part::Object, Write::Patch(patch));
        }
        let view = self.view_of(state);
        let after =
            service_set::status(&self.facts(state, set, Some(&object), view.as_deref(), provider.as_deref()));
        self.write_status(key, &*object, object.status.as_ref(), &after);
    }

    /// A set that nobody wants any more: shown while its services are removed, then deleted. An agent that is away is
    /// not waited for; it will obey the plan without them.
    fn leaving_set(&mut self, key: &Key, object: &api::k0rdent::ServiceSet) {
        if object.labels().get(service_set::WRITER.0).map(String::as_str) != Some(service_set::WRITER.1) {
            return;
        }
        let delete = Write::Delete(object.uid());
        let cluster = &object.spec.cluster;
        let target = [TargetKind::ClusterDeployment, TargetKind::Edge]
            .into_iter()
            .map(|kind| TargetName::new(kind, &key.namespace, cluster))
            .find_map(|name| self.targets.get_key_value(&name))
            .or_else(|| self.targets.get_key_value(&self.management).filter(|_| cluster.is_empty()));
        let Some((name, state)) = target else { return self.writer.submit(key, Part::Object, delete) };
        let Some(agent) = state.target.agent.map(AgentId::Edge) else {
            return self.writer.submit(key, Part::Object, delete);
        };
        let view = self.observed.agent(&agent);
        let set = nothing_left(key, object);
        let facts = self.facts(state, &set, Some(object), view.as_deref(), None);
        let status = service_set::status(&facts);
        let plan = self.plans.get(&agent).map(|plan| plan.head.generation);
        let obeyed = view.as_ref().is_none_or(|view| status.services.is_empty() && view.obeys(plan));
        if facts.silent_since.is_some() || obeyed {
            return self.writer.submit(key, Part::Object, delete);
        }
        self.leaving.entry(name.clone()).or_default().insert(key.clone());
        self.write_status(key, object, object.status.as_ref(), &status);
    }

    /// Something is new about a target: whoever waits for its agent looks again.
    pub(super) fn wake_leaving(&mut self, target: &TargetName) {
        self.dirty_statuses.extend(self.leaving.remove(target).into_iter().flatten());
    }
}

/// A set that is to have nothing any more.
pub(super) fn nothing_left(key: &Key, object: &api::k0rdent::ServiceSet) -> SetPlan {
    SetPlan {
        owner: Owner::ClusterDeployment,
        set: (key.namespace.clone(), key.name.clone()),
        carrying: crate::services::provider::Carrying::of(&api::k0rdent::ServiceSpec::default()),
        stepping: false,
        paused: false,
        release: None,
        spec: object.spec.clone(),
        services: Vec::new(),
        references: None,
        dependencies: None,
        health: Vec::new(),
    }
}

/// What of a set must be written: our labels, owner and the whole spec.
fn set_patch(object: &api::k0rdent::ServiceSet, desired: &Value) -> Option<Value> {
    let current = serde_json::to_value(object).ok()?;
    let metadata = addition(&current["metadata"], &desired["metadata"]);
    let spec = difference(&current["spec"], &desired["spec"]);
    if metadata.is_none() && spec.is_none() {
        return None;
    }
    let mut patch = json!({});
    for (field, value) in [("metadata", metadata), ("spec", spec)] {
        if let Some(value) = value {
            patch[field] = value;
        }
    }
    Some(patch)
}
