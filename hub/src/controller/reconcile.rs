//! The statuses of each kind: what is read for them, and how they are written.

use std::collections::BTreeSet;
use std::sync::Arc;

use api::k0rdent::{DeploymentState, ServiceState};
use api::names;
use kube::ResourceExt;
use protocol::id::{AgentId, RegionName};
use serde::Serialize;
use serde_json::json;

use super::difference::difference;
use super::engine::{Engine, Subject, TargetState};
use super::writer::{Part, Write};
use super::{cluster_deployment, edge, join_token, multi_cluster_service, price_book, region, template};
use crate::cache::view::{Interest, Reads};
use crate::cache::{Cached, Key, Kind, View};
use crate::services::claim::Owner;
use crate::services::dependency::check_multi_cluster_services;
use crate::services::judge;
use crate::services::target::{TargetKind, TargetName};
use crate::services::template::Sight;

impl Engine {
    /// Decides the status of an object.
    pub(super) fn status(&mut self, key: &Key) {
        let Key { kind, namespace, name } = key;
        let _span = tracing::debug_span!("status", ?kind, namespace, name).entered();
        if self.serve_status(key) {
            return;
        }
        match key.kind {
            Kind::ClusterDeployment => self.cluster_deployment(key),
            Kind::MultiClusterService => {
                let begun = tokio::time::Instant::now();
                let clusters = self.multi_cluster_service(key);
                self.summed(key.clone(), begun.elapsed(), clusters);
            }
            Kind::ServiceSet => self.service_set(key),
            Kind::Edge => self.edge(key),
            Kind::Region => self.region(key),
            Kind::Credential => self.credential(key),
            Kind::ServiceTemplate => self.sighted(key, |engine, key, sight| {
                let object = engine.cache.service_templates.get(&key.namespace, &key.name)?;
                Some((object.status.clone(), template::service(&object, sight, engine.now()), object))
            }),
            Kind::ClusterTemplate => self.sighted(key, |engine, key, sight| {
                let object = engine.cache.cluster_templates.get(&key.namespace, &key.name)?;
                Some((object.status.clone(), template::cluster(&object, sight), object))
            }),
            Kind::ServiceTemplateChain => self.sighted(key, |engine, key, sight| {
                let object = engine.cache.service_template_chains.get(&key.namespace, &key.name)?;
                let exists = |name: &str| {
                    sight.view.get::<api::k0rdent::ServiceTemplate>(&key.namespace, name).is_some()
                };
                Some((
                    object.status.clone(),
                    template::chain(&object.spec.supported_templates, exists),
                    object,
                ))
            }),
            Kind::ClusterTemplateChain => self.sighted(key, |engine, key, sight| {
                let object = engine.cache.cluster_template_chains.get(&key.namespace, &key.name)?;
                let exists = |name: &str| {
                    sight.view.get::<api::k0rdent::ClusterTemplate>(&key.namespace, name).is_some()
                };
                Some((
                    object.status.clone(),
                    template::chain(&object.spec.supported_templates, exists),
                    object,
                ))
            }),
            Kind::JoinToken => self.join_token(key),
            Kind::PriceBook => self.price_book(key),
            Kind::StateManagementProvider
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
    }

    /// A status that follows from what is read.
    fn sighted<K: Cached, S: Serialize + PartialEq>(
        &mut self,
        key: &Key,
        decide: impl FnOnce(&Self, &Key, &Sight<'_>) -> Option<(Option<S>, S, Arc<K>)>,
    ) {
        let (cache, sources) = (self.cache.clone(), self.sources.clone());
        let namespace = self.settings.system_namespace.clone();
        let sight = Sight { view: View::new(&cache), sources: &sources, system_namespace: &namespace };
        let decided = decide(self, key, &sight);
        let read = sight.view.into_read();
        self.record(Subject::Status(key.clone()), if decided.is_some() { read } else { Reads::new() });
        if let Some((before, after, object)) = decided {
            self.write_status(key, &*object, before.as_ref(), &after);
        }
    }

    /// Writes a status when it is another one, and tells what people look for.
    pub(super) fn write_status<K: kube::Resource<DynamicType = ()>, S: Serialize + PartialEq>(
        &self,
        key: &Key,
        object: &K,
        before: Option<&S>,
        after: &S,
    ) {
        if before == Some(after) {
            return;
        }
        let value = |status: &S| serde_json::to_value(status).unwrap_or_default();
        let old = before.map_or_else(|| json!({}), value);
        let new = value(after);
        if let Some(patch) = difference(&old, &new) {
            self.writer.submit(key, Part::Status, Write::Patch(json!({"status": patch})));
            self.events.conditions(object, &old, &new);
        }
    }

    fn cluster_deployment(&mut self, key: &Key) {
        let name = TargetName::new(TargetKind::ClusterDeployment, &key.namespace, &key.name);
        let Some(object) = self.cache.cluster_deployments.get(&key.namespace, &key.name) else { return };
        if object.metadata.deletion_timestamp.is_none() {
            self.ensure_finalizer(key, &*object, names::finalizer::CLUSTER_DEPLOYMENT);
        }
        let sets = self.states(&name);
        let Some(state) = self.targets.get(&name) else { return };
        let Some(plan) = &state.cluster else { return };
        let region = plan.region.as_ref().ok().map(|region| AgentId::Region(region.clone()));
        let view = region.as_ref().and_then(|region| self.observed.agent(region));
        let unit = cluster_deployment::unit_id(&key.namespace, &key.name);
        let deletion = if object.metadata.deletion_timestamp.is_some() {
            let head = region.as_ref().and_then(|region| self.plans.get(region)).map(|plan| plan.head);
            let released = cluster_deployment::was_released(&object);
            let region =
                plan.region.as_ref().map_or_else(|_| "of the cluster".to_owned(), ToString::to_string);
            let known = plan.region.is_ok();
            let waits = cluster_deployment::delete::waits_for(
                &region,
                view.as_deref(),
                head,
                &unit,
                released && known,
            );
            match waits {
                None => return self.let_go(key, &object),
                waits => waits,
            }
        } else {
            None
        };
        let own = state.resolution.sets.iter().find(|set| set.owner == Owner::ClusterDeployment);
        let (services, ready) = merged(&sets);
        let asked =
            object.spec.service_spec.as_ref().map(|spec| spec.services.as_slice()).unwrap_or_default();
        let upgrade_paths = self.upgrade_paths(&key.namespace, asked, &services);
        let after = cluster_deployment::status::status(cluster_deployment::status::Facts {
            deployment: &object,
            plan,
            region: view.as_deref(),
            unit: view.as_ref().and_then(|view| view.units.get(&unit)),
            services,
            ready,
            references: own.and_then(|set| set.references.clone()).or_else(|| {
                let template = plan.template.as_ref().ok()?;
                crate::admission::rules::compatible(&object, template, &self.cache).err()
            }),
            dependencies: own
                .and_then(|set| set.dependencies.clone())
                .or_else(|| judge::dependencies(asked).err()),
            upgrade_paths,
            upgrades: self.upgrades(&key.namespace, &object.spec.template),
            kubernetes_version: state.target.agent.and(state.target.kubernetes_version.clone()),
            deletion,
            now: self.now(),
        });
        self.write_status(key, &*object, object.status.as_ref(), &after);
    }

    /// The cluster is gone: its edges and sets go, then the object may.
    fn let_go(&mut self, key: &Key, object: &api::k0rdent::ClusterDeployment) {
        for edge in self.roster.edges() {
            if edge.cluster_deployment == Some((key.namespace.clone(), key.name.clone())) {
                let uid = self.cache.edges.get(&edge.namespace, &edge.name).and_then(|edge| edge.uid());
                let key = Key::new(Kind::Edge, &edge.namespace, &edge.name);
                self.writer.submit(&key, Part::Object, Write::Delete(uid));
            }
        }
        for set in self.cache.service_sets.in_namespace(&key.namespace) {
            let ours =
                set.owner_references().iter().any(|owner| Some(&owner.uid) == object.metadata.uid.as_ref());
            if ours {
                let key = Key::new(Kind::ServiceSet, &key.namespace, &set.name_any());
                self.writer.submit(&key, Part::Object, Write::Delete(set.uid()));
            }
        }
        self.drop_finalizer(key, object, names::finalizer::CLUSTER_DEPLOYMENT);
        self.events.tell(
            object,
            "SuccessfulDelete",
            "Delete",
            "the cluster and its services are gone".to_owned(),
            false,
        );
    }

    fn upgrades(&self, namespace: &str, template: &str) -> Vec<String> {
        let chains = self.cache.cluster_template_chains.in_namespace(namespace);
        let upgrades: BTreeSet<_> = chains
            .iter()
            .flat_map(|chain| &chain.spec.supported_templates)
            .filter(|supported| supported.name == template)
            .flat_map(|supported| supported.available_upgrades.iter().map(|upgrade| upgrade.name.clone()))
            .collect();
        upgrades.into_iter().collect()
    }

    /// What the services can be upgraded to; without a chain only to themselves (k0rdent).
    fn upgrade_paths(
        &self,
        namespace: &str,
        services: &[api::k0rdent::Service],
        states: &[ServiceState],
    ) -> Vec<api::k0rdent::ServiceUpgradePaths> {
        let path = |service: &api::k0rdent::Service| {
            let (at, name) = crate::services::dependency::name_of(service);
            let state = states.iter().find(|one| one.name == name && one.namespace == at);
            let template = state.map_or_else(|| service.template.clone(), |state| state.template.clone());
            let chain = service.template_chain.as_ref();
            let chain = chain.and_then(|chain| self.cache.service_template_chains.get(namespace, chain));
            let mut versions = vec![api::k0rdent::AvailableUpgrade {
                name: template.clone(),
                version: state.and_then(|state| state.version.clone()),
            }];
            if let Some(chain) = chain {
                versions
                    .extend(crate::services::chain::reachable(&chain.spec.supported_templates, &template));
            }
            let upgrade_paths = versions.iter().map(|version| version.name.clone()).collect();
            api::k0rdent::ServiceUpgradePaths {
                available_upgrades: vec![api::k0rdent::UpgradePath { upgrade_paths, versions }],
                name,
                namespace: at,
                template,
            }
        };
        services.iter().map(path).collect()
    }

    /// Answers over how many clusters the status sums up.
    fn multi_cluster_service(&mut self, key: &Key) -> usize {
        let Some(object) = self.cache.multi_cluster_services.get("", &key.name) else { return 0 };
        let deleting = object.metadata.deletion_timestamp.is_some();
        if !deleting {
            self.ensure_finalizer(key, &*object, names::finalizer::MULTI_CLUSTER_SERVICE);
        }
        let deletion = match deleting.then(|| self.service_held(&key.name)) {
            Some(None) => {
                self.drop_finalizer(key, &*object, names::finalizer::MULTI_CLUSTER_SERVICE);
                return 0;
            }
            held => held.flatten(),
        };
        let names = self.by_service.get(&key.name).cloned().unwrap_or_default();
        let all = object.spec.rollout.as_ref().map(|_| names.clone()).unwrap_or_default();
        let (mut references, mut dependencies, mut clusters) = (None, None, Vec::new());
        for name in names {
            let states = self.states(&name);
            let Some(state) = self.targets.get(&name) else { continue };
            let own = Owner::MultiClusterService(key.name.clone());
            let Some(at) = state.resolution.sets.iter().position(|set| set.owner == own) else { continue };
            let set = &state.resolution.sets[at];
            references = references.or_else(|| set.references.clone());
            dependencies = dependencies.or_else(|| set.dependencies.clone());
            clusters.push(multi_cluster_service::Matching {
                kind: match name.kind {
                    TargetKind::ClusterDeployment => ("k0rdent.mirantis.com/v1beta1", "ClusterDeployment"),
                    TargetKind::Edge => ("skein.dev/v1alpha1", "Edge"),
                },
                regional: state.target.is_regional(),
                uid: state.target.uid.clone(),
                waits: set.release.as_ref().is_some_and(|release| release.revision.is_none()),
                blocked_by: blocked_by(state, &states, &object.spec.depends_on),
                states: (states, at),
                namespace: name.namespace,
                name: name.name,
            });
        }
        let rollout = if deleting { None } else { self.rollout(&object, &all) };
        let services =
            object.spec.service_spec.as_ref().map(|spec| spec.services.as_slice()).unwrap_or_default();
        let count = clusters.len();
        let after = multi_cluster_service::status(multi_cluster_service::Facts {
            object: &object,
            clusters,
            references: references.or_else(|| self.references(services)),
            dependencies: dependencies.or_else(|| judge::dependencies(services).err()),
            graph: self.dependency_fault(&object),
            rollout,
            deletion,
            unmanaged: self_managed(&object) && self.management_edge().is_none(),
            upgrade_paths: self.upgrade_paths(&self.settings.system_namespace, services, &[]),
            now: self.now(),
        });
        self.write_status(key, &*object, object.status.as_ref(), &after);
        count
    }

    /// What the deletion of a MultiClusterService waits for: reason and message.
    fn service_held(&self, name: &String) -> Option<(&'static str, String)> {
        let all = self.cache.multi_cluster_services.list();
        let uses = |one: &&Arc<api::k0rdent::MultiClusterService>| {
            one.metadata.deletion_timestamp.is_none() && one.spec.depends_on.contains(name)
        };
        let users = all.iter().filter(uses).count();
        let sets = self.cache.service_sets.list();
        let left = sets.iter().filter(|set| set.spec.multi_cluster_service.as_ref() == Some(name)).count();
        match (users, left) {
            (0, 0) => None,
            (0, left) => Some((
                api::conditions::reason::WAITING_FOR_SERVICE_SETS_DELETION,
                format!("waiting for {left} ServiceSets to be removed"),
            )),
            (users, _) => Some((
                api::conditions::reason::FAILED,
                format!(
                    "failed to delete MultiClusterService {name} because {users} other MultiClusterServices depend on it"
                ),
            )),
        }
    }

    /// What is wrong with what a MultiClusterService waits for; with a thousand of them the graph is not made for those
    /// that wait for nothing.
    fn dependency_fault(&self, object: &api::k0rdent::MultiClusterService) -> Option<String> {
        if object.spec.depends_on.is_empty() {
            return None;
        }
        let all = self.cache.multi_cluster_services.list();
        let graph = all.iter().map(|one| (one.name_any(), one.spec.depends_on.clone())).collect();
        check_multi_cluster_services(&object.name_any(), &graph).err()
    }

    /// Templates that a MultiClusterService names must exist in the system namespace.
    fn references(&self, services: &[api::k0rdent::Service]) -> Option<String> {
        let namespace = &self.settings.system_namespace;
        let judged: Vec<_> =
            services.iter().filter(|one| judge::is_judged(&self.cache, namespace, one)).cloned().collect();
        judge::references(&self.cache, namespace, &judged).err()
    }

    fn edge(&mut self, key: &Key) {
        let Some(object) = self.cache.edges.get(&key.namespace, &key.name) else { return };
        let status = object.status.as_ref();
        let Some(id) = status.and_then(|status| status.agent_id.as_ref()).and_then(|id| id.parse().ok())
        else {
            return;
        };
        let target = match &object.spec.cluster_deployment {
            Some(cluster) => {
                TargetName::new(TargetKind::ClusterDeployment, &cluster.namespace, &cluster.name)
            }
            None => TargetName::new(TargetKind::Edge, &key.namespace, &key.name),
        };
        self.hold_over(&target, &object);
        let (services, _) = merged(&self.states(&target));
        let agent = AgentId::Edge(id);
        let view = self.observed.agent(&agent);
        let serving = self.roster.edge(&id).map(|listed| listed.region.clone());
        let serving = serving.as_ref().map_or(object.spec.region.as_str(), RegionName::as_str);
        let region = self.region_view(serving);
        let after = edge::status(&edge::Facts {
            object: &object,
            serving,
            is_region: |name| name.parse().is_ok_and(|name| self.roster.has_region(&name)),
            view: view.as_deref(),
            region: region.as_deref(),
            plan: self.plans.get(&agent).map(|plan| plan.head),
            held: self.targets.get(&target).and_then(|state| state.held.as_deref()),
            services: &services,
            now: self.now(),
        });
        self.write_status(key, &*object, object.status.as_ref(), &after);
    }

    fn region(&mut self, key: &Key) {
        let Some(object) = self.cache.regions.get("", &key.name) else { return };
        let Ok(name) = key.name.parse::<RegionName>() else { return };
        let agent = AgentId::Region(name.clone());
        let view = self.observed.agent(&agent);
        let standby = object.spec.standby.as_ref().and_then(|standby| standby.parse::<RegionName>().ok());
        let after = region::status(&region::Facts {
            object: &object,
            standby_exists: standby
                .is_some_and(|standby| standby != name && self.roster.has_region(&standby)),
            view: view.as_deref(),
            plan: self.plans.get(&agent).map(|plan| plan.head),
            held: self.held.get(&name).map(String::as_str),
            now: self.now(),
        });
        self.write_status(key, &*object, object.status.as_ref(), &after);
    }

    fn credential(&mut self, key: &Key) {
        let Some(object) = self.cache.credentials.get(&key.namespace, &key.name) else { return };
        let reference = &object.spec.identity_ref;
        let (identity, read) = self.identities.look_up(reference, &key.namespace);
        let mut reads = Reads::from([(read, Interest::Whole)]);
        let mut problem = None;
        if let Some(region) = object.spec.region.as_ref().filter(|region| !region.is_empty()) {
            reads.insert(Key::new(Kind::Region, "", region), Interest::Whole);
            if region != names::LOCAL_REGION && self.cache.regions.get("", region).is_none() {
                problem = Some(format!(
                    "failed to get Region {region}: Region.k0rdent.mirantis.com \"{region}\" not found"
                ));
            }
        }
        self.record(Subject::Status(key.clone()), reads);
        let after = super::credential::status(&object, &identity, problem, self.now());
        self.write_status(key, &*object, object.status.as_ref(), &after);
    }

    fn join_token(&mut self, key: &Key) {
        let Some(object) = self.cache.join_tokens.get(&key.namespace, &key.name) else { return };
        let now = self.now();
        if let Some(at) = join_token::expires(&object, now) {
            self.at(key.clone(), at);
        }
        let after = join_token::status(&object, now);
        self.write_status(key, &*object, object.status.as_ref(), &after);
    }

    fn price_book(&mut self, key: &Key) {
        let Some(object) = self.cache.price_books.get("", &key.name) else { return };
        let used = self.cache.price_books.names().first().is_some_and(|(_, name)| *name == key.name);
        let after = price_book::status(&object, used, self.cache.edges.len(), self.now());
        self.write_status(key, &*object, object.status.as_ref(), &after);
    }

    fn ensure_finalizer<K: kube::Resource<DynamicType = ()>>(&self, key: &Key, object: &K, finalizer: &str) {
        let there = object.finalizers();
        let label = names::label::COMPONENT;
        let labelled = object.labels().get(label).map(String::as_str) == Some(names::label::COMPONENT_KCM);
        if there.iter().any(|one| one == finalizer) && labelled {
            return;
        }
        let mut finalizers = there.to_vec();
        if !finalizers.iter().any(|one| one == finalizer) {
            finalizers.push(finalizer.to_owned());
        }
        let patch = json!({"metadata": {
            "finalizers": finalizers, "resourceVersion": object.resource_version(),
            "labels": {label: names::label::COMPONENT_KCM},
        }});
        self.writer.submit(key, Part::Finalizers, Write::Patch(patch));
    }

    pub(super) fn drop_finalizer<K: kube::Resource<DynamicType = ()>>(
        &self,
        key: &Key,
        object: &K,
        finalizer: &str,
    ) {
        let there = object.finalizers();
        if !there.iter().any(|one| one == finalizer) {
            return;
        }
        let finalizers: Vec<_> = there.iter().filter(|one| *one != finalizer).collect();
        let patch =
            json!({"metadata": {"finalizers": finalizers, "resourceVersion": object.resource_version()}});
        self.writer.submit(key, Part::Finalizers, Write::Patch(patch));
    }
}

/// Whether a MultiClusterService is for the management cluster too.
fn self_managed(object: &api::k0rdent::MultiClusterService) -> bool {
    let spec = object.spec.service_spec.as_ref();
    let provider = spec.filter(|spec| !spec.services.is_empty()).and_then(|spec| spec.provider.as_ref());
    provider.is_some_and(|provider| provider.self_management == Some(true))
}

/// The services of all sets, each once: a release that any set has deployed counts as deployed (k0rdent).
fn merged(sets: &[Vec<ServiceState>]) -> (Vec<ServiceState>, (usize, usize)) {
    let mut all = std::collections::BTreeMap::new();
    for state in sets.iter().flatten() {
        let name = (state.namespace.clone(), state.name.clone());
        let better = all.get(&name).is_none_or(|known: &ServiceState| {
            known.state != DeploymentState::Deployed && state.state == DeploymentState::Deployed
        });
        if better {
            all.insert(name, state.clone());
        }
    }
    let ready = all.values().filter(|state| state.state == DeploymentState::Deployed).count();
    let total = all.len();
    (all.into_values().collect(), (ready, total))
}

/// The first MultiClusterService that comes first, selects the target and is not deployed on it.
fn blocked_by(state: &TargetState, states: &[Vec<ServiceState>], depends_on: &[String]) -> Option<String> {
    state.resolution.sets.iter().zip(states).find_map(|(set, states)| match &set.owner {
        Owner::MultiClusterService(name)
            if depends_on.contains(name)
                && set.release.as_ref().is_some_and(|release| release.revision.is_none()) =>
        {
            Some(name.clone())
        }
        Owner::MultiClusterService(name)
            if depends_on.contains(name)
                && states.iter().any(|one| one.state != DeploymentState::Deployed) =>
        {
            Some(name.clone())
        }
        Owner::MultiClusterService(_) | Owner::ClusterDeployment => None,
    })
}
