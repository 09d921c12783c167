//! Whom a change concerns: changes of objects, and reports of agents.

use std::collections::hash_map::DefaultHasher;
use std::collections::{BTreeSet, HashMap};
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use api::k0rdent::{MultiClusterService, Service};
use kube::ResourceExt;
use protocol::id::{AgentId, Generation, RegionName};
use protocol::plan::UnitId;
use protocol::report::UnitReport;
use protocol::version::Speaks;

use super::engine::Engine;
use crate::cache::{Change, Key, Kind};
use crate::observed::Link;
use crate::services::claim::Owner;
use crate::services::health;
use crate::services::orders::TEST;
use crate::services::resolve::SetPlan;
use crate::services::selector::selects;
use crate::services::target::{TargetKind, TargetName};

/// What was last seen of an agent, to find what is new.
#[derive(Default)]
pub(super) struct Seen {
    link: Link,
    applied: Option<Generation>,
    reported: Option<Generation>,
    complete: bool,
    speaks: Option<Speaks>,
    units: HashMap<UnitId, u64>,
}

impl Engine {
    /// Finds whom a change concerns.
    pub(super) fn changed(&mut self, change: &Change) {
        let key = &change.key;
        self.management_changed(change);
        self.serving_changed(change);
        self.rollout_changed(change);
        if change.desired {
            self.wake(key);
            if key.kind == Kind::ConfigMap
                && self
                    .cache
                    .config_maps
                    .get(&key.namespace, &key.name)
                    .is_some_and(|map| health::has_rules(&map))
            {
                // Nobody can have read it by name before it was there.
                self.wake(&Key::new(Kind::ConfigMap, &key.namespace, health::TIER_KEY));
            }
        }
        match key.kind {
            Kind::ClusterDeployment if change.desired => {
                self.dirty_targets.insert(TargetName::new(
                    TargetKind::ClusterDeployment,
                    &key.namespace,
                    &key.name,
                ));
            }
            Kind::Edge => self.edge_changed(key, change.desired),
            Kind::MultiClusterService => self.service_changed(&key.name, change.desired),
            Kind::PriceBook if change.desired => {
                self.dirty_targets.extend(self.targets.keys().cloned());
                let books = self.cache.price_books.names();
                self.dirty_statuses
                    .extend(books.into_iter().map(|(_, name)| Key::new(Kind::PriceBook, "", &name)));
            }
            Kind::Region if change.desired => {
                if let Ok(region) = key.name.parse::<RegionName>() {
                    self.dirty_regions.insert(region);
                }
            }
            Kind::ServiceSet => self.set_seen(key),
            Kind::Credential => self.wake(key),
            Kind::Region
            | Kind::ClusterDeployment
            | Kind::PriceBook
            | Kind::ClusterTemplate
            | Kind::ServiceTemplate
            | Kind::ClusterTemplateChain
            | Kind::ServiceTemplateChain
            | Kind::StateManagementProvider
            | Kind::JoinToken
            | Kind::ConfigMap
            | Kind::Secret
            | Kind::HelmRepository
            | Kind::HelmChart
            | Kind::GitRepository
            | Kind::Bucket
            | Kind::OCIRepository
            | Kind::ExternalArtifact
            | Kind::FetchedChart
            | Kind::Identity
            | Kind::Resource
            | Kind::Plan => {}
        }
        if matches!(key.kind, Kind::ServiceTemplate | Kind::ServiceTemplateChain) {
            self.judge_again(key);
        }
        if key.kind == Kind::MultiClusterService {
            self.sum(key.clone());
        } else if super::writer::resource(key.kind).is_some() {
            self.dirty_statuses.insert(key.clone());
        }
    }

    /// Sums up MultiClusterServices without a target that name a template or chain: those with one hear of it from there.
    fn judge_again(&mut self, key: &Key) {
        if key.namespace != self.settings.system_namespace {
            return;
        }
        let names = |service: &Service| {
            let by = if key.kind == Kind::ServiceTemplate {
                Some(&service.template)
            } else {
                service.template_chain.as_ref()
            };
            by == Some(&key.name)
        };
        let concerned = |one: &Arc<MultiClusterService>| {
            self.by_service.get(&one.name_any()).is_none_or(BTreeSet::is_empty)
                && one.spec.service_spec.iter().flat_map(|spec| &spec.services).any(names)
        };
        let all = self.cache.multi_cluster_services.list();
        let concerned: Vec<_> = all.iter().filter(|one| concerned(one)).map(|one| one.name_any()).collect();
        for name in concerned {
            self.sum(Key::new(Kind::MultiClusterService, "", &name));
        }
    }

    /// A ServiceSet is another one, or is gone: its states are summed up anew, and pausing it decides its target.
    fn set_seen(&mut self, key: &Key) {
        let name = (key.namespace.clone(), key.name.clone());
        let paused = self.is_paused(&name);
        let object = self.cache.service_sets.get(&name.0, &name.1);
        let test = object.and_then(|object| object.annotations().get(TEST).cloned());
        if self.cache.service_sets.get(&name.0, &name.1).is_none() {
            self.dirty_statuses.extend(self.services_leaving());
        }
        if let Some((target, index)) = self.sets.get(&name).cloned()
            && let Some(state) = self.targets.get_mut(&target)
        {
            state.states = None;
            let news = |set: &SetPlan| {
                let orders = set.carrying.orders.as_ref().ok();
                set.paused != paused || orders.is_some_and(|orders| test.is_some() && orders.test != test)
            };
            if state.resolution.sets.get(index).is_some_and(news) {
                self.dirty_targets.insert(target);
            }
        }
    }

    fn edge_changed(&mut self, key: &Key, desired: bool) {
        let object = self.cache.edges.get(&key.namespace, &key.name);
        let own = TargetName::new(TargetKind::Edge, &key.namespace, &key.name);
        let cluster = object.as_ref().and_then(|object| object.spec.cluster_deployment.clone());
        let target = match &cluster {
            Some(cluster) => {
                TargetName::new(TargetKind::ClusterDeployment, &cluster.namespace, &cluster.name)
            }
            None => own.clone(),
        };
        let known = self.targets.get(&target).map(|state| &state.target);
        let status = object.as_ref().and_then(|object| object.status.as_ref());
        let agent = status.and_then(|status| status.agent_id.as_ref()).and_then(|id| id.parse().ok());
        let version = status.and_then(|status| status.kubernetes_version.clone());
        let other = known.is_none_or(|known| {
            known.agent != agent || (version.is_some() && known.kubernetes_version != version)
        });
        if desired || (agent.is_some() && other) {
            // An edge that is gone gives its cluster back; whose it was, the target itself knows.
            self.dirty_targets.insert(target);
            self.dirty_targets.insert(own);
            if object.is_none_or(|object| !object.spec.is_approved()) {
                let gone: Vec<_> = self.agents_gone();
                for (name, agent) in gone {
                    self.plans.withdraw(&agent);
                    self.observed.forget(&agent);
                    self.dirty_targets.insert(name);
                }
            }
        }
    }

    /// Targets whose agent has no object any more.
    fn agents_gone(&self) -> Vec<(TargetName, AgentId)> {
        self.targets
            .iter()
            .filter_map(|(name, state)| state.target.agent.map(|id| (name, id)))
            .filter(|(_, id)| self.roster.edge(id).is_none())
            .map(|(name, id)| (name.clone(), AgentId::Edge(id)))
            .collect()
    }

    /// MultiClusterServices being deleted: they wait for their sets, and for those that depend on them.
    fn services_leaving(&self) -> Vec<Key> {
        let all = self.cache.multi_cluster_services.list();
        all.iter()
            .filter(|one| one.metadata.deletion_timestamp.is_some())
            .map(|one| Key::new(Kind::MultiClusterService, "", &one.name_any()))
            .collect()
    }

    fn service_changed(&mut self, name: &str, desired: bool) {
        if !desired || self.settings.serving.is_some() {
            return;
        }
        let mut concerned = self.by_service.get(name).cloned().unwrap_or_default();
        for leaving in self.services_leaving() {
            concerned.extend(self.by_service.get(&leaving.name).cloned().unwrap_or_default());
        }
        if let Some(object) = self.cache.multi_cluster_services.get("", name) {
            let selector = object.spec.cluster_selector.as_ref();
            let selected = self.targets.iter().filter(|(_, state)| selects(selector, &state.target.labels));
            concerned.extend(selected.map(|(name, _)| name.clone()));
        }
        self.dirty_targets.extend(concerned);
        // Dependencies are judged over the whole graph.
        let all = self.cache.multi_cluster_services.names();
        for (_, name) in all {
            self.sum(Key::new(Kind::MultiClusterService, "", &name));
        }
    }

    /// Finds whom a report concerns.
    pub(super) fn reported(&mut self, agent: &AgentId) {
        let view = self.observed.agent(agent).unwrap_or_default();
        let before = self.seen.remove(agent).unwrap_or_default();
        let seen = Seen {
            link: view.link.clone(),
            applied: view.applied,
            reported: view.reported,
            complete: view.complete,
            speaks: view.speaks,
            units: view.units.iter().map(|(id, unit)| (id.clone(), fingerprint(unit))).collect(),
        };
        let linked = before.link != seen.link;
        let settled = before.applied != seen.applied || before.complete != seen.complete;
        let changed = before.speaks != seen.speaks;
        // Of interest to what leaves, and nobody else.
        let obeys = before.reported != seen.reported;
        let units: Vec<UnitId> = seen
            .units
            .iter()
            .filter(|(id, print)| before.units.get(*id) != Some(*print))
            .map(|(id, _)| id.clone())
            .chain(before.units.keys().filter(|id| !seen.units.contains_key(*id)).cloned())
            .collect();
        self.seen.insert(agent.clone(), seen);
        match agent {
            AgentId::Edge(id) => {
                let Some(edge) = self.roster.edge(id) else { return };
                self.soon(Key::new(Kind::Edge, &edge.namespace, &edge.name));
                let target = match &edge.cluster_deployment {
                    Some((namespace, name)) => {
                        TargetName::new(TargetKind::ClusterDeployment, namespace, name)
                    }
                    None => TargetName::new(TargetKind::Edge, &edge.namespace, &edge.name),
                };
                let needs = self.targets.get(&target).map(|state| state.resolution.needs);
                if changed && needs.is_some_and(|needs| !needs.is_empty()) {
                    self.dirty_targets.insert(target.clone());
                }
                if linked || settled || !units.is_empty() {
                    self.target_reported(&target, &units);
                } else if obeys {
                    self.wake_leaving(&target);
                }
            }
            AgentId::Region(region) => {
                self.dirty_statuses.insert(Key::new(Kind::Region, "", region.as_str()));
                for unit in &units {
                    self.dirty_statuses.insert(Key::new(
                        Kind::ClusterDeployment,
                        &unit.set_namespace,
                        &unit.set_name,
                    ));
                }
                if linked {
                    self.region_linked(region);
                }
                if linked || settled || obeys {
                    let targets = self.by_region.get(region).cloned().unwrap_or_default();
                    let leaves = |name: &&TargetName| {
                        self.targets.get(*name).is_none_or(|state| state.target.deleting)
                    };
                    let concerned = targets.iter().filter(|name| linked || settled || leaves(name));
                    self.dirty_statuses.extend(concerned.map(TargetName::key));
                }
            }
        }
    }

    fn target_reported(&mut self, target: &TargetName, units: &[UnitId]) {
        self.dirty_statuses.insert(target.key());
        self.wake_leaving(target);
        for unit in units {
            self.dirty_statuses.insert(Key::new(Kind::ServiceSet, &unit.set_namespace, &unit.set_name));
        }
        let Some(state) = self.targets.get_mut(target) else { return };
        state.states = None;
        if state.resolution.sets.iter().any(|set| set.stepping) && !units.is_empty() {
            self.dirty_targets.insert(target.clone());
        }
        let mut services = Vec::new();
        for set in &state.resolution.sets {
            self.dirty_statuses.insert(Key::new(Kind::ServiceSet, &set.set.0, &set.set.1));
            if let Owner::MultiClusterService(name) = &set.owner {
                services.push(Key::new(Kind::MultiClusterService, "", name));
            }
        }
        for key in services {
            self.sum(key);
        }
    }

    /// What is known of a region's edges depends on its own link.
    fn region_linked(&mut self, region: &RegionName) {
        for id in self.roster.of_region(region) {
            let Some(edge) = self.roster.edge(&id) else { continue };
            self.dirty_statuses.insert(Key::new(Kind::Edge, &edge.namespace, &edge.name));
            let target = match &edge.cluster_deployment {
                Some((namespace, name)) => TargetName::new(TargetKind::ClusterDeployment, namespace, name),
                None => TargetName::new(TargetKind::Edge, &edge.namespace, &edge.name),
            };
            self.target_reported(&target, &[]);
        }
    }
}

fn fingerprint(unit: &UnitReport) -> u64 {
    let mut hasher = DefaultHasher::new();
    (&unit.version, &unit.template, unit.deployed_hash, unit.state, &unit.message, unit.since)
        .hash(&mut hasher);
    (unit.objects_total, unit.objects_ready, unit.drift_repairs).hash(&mut hasher);
    for object in &unit.objects {
        (&object.key, object.health, &object.message).hash(&mut hasher);
    }
    hasher.finish()
}
