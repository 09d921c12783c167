//! Serving another k0rdent's ServiceSets: their targets, their statuses, their end, and the registration as a provider.
//! See [`crate::state_management`].

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use api::k0rdent::{ClusterDeployment, ServiceSet};
use api::names::{self, finalizer, label};
use api::skein::LinkState;
use k8s_openapi::api::core::v1::{ConfigMap, ObjectReference};
use kube::ResourceExt;
use kube::api::{Api, PostParams};
use process::Process;
use protocol::id::RegionName;
use serde_json::{Value, json};
use tokio::time::Instant;

use super::engine::{Engine, TargetState};
use super::writer::{Part, Write};
use super::{service_set, since};
use crate::cache::resources::{Found, ResourceKind};
use crate::cache::view::Part as ObjectPart;
use crate::cache::{Change, Key, Kind};
use crate::roster::ObjectName;
use crate::services::target::{Target, TargetKind, TargetName};
use crate::services::template::Sight;
use crate::state_management::adoption::{is_self_management, management_cluster, target_of};
use crate::state_management::{claims, region_of, registration};

/// How long until what must be registered and is not there is tried again: KCM's definitions may come later.
const TRY_AGAIN: Duration = Duration::from_secs(10);
/// The objects that Sveltos' templates see as `.Cluster`, and what KCM's adapter names in a set's status.
const CLUSTERS: [(&str, &str); 2] =
    [("cluster.x-k8s.io/v1beta2", "Cluster"), ("lib.projectsveltos.io/v1beta1", "SveltosCluster")];

/// Says that this hub serves no more, when it ends in order. The process waits for it as for all its tasks, and no longer.
pub(super) fn say_farewell(client: &kube::Client, namespace: &str, term: u64, process: &Process) {
    let api = Api::<ConfigMap>::namespaced(client.clone(), namespace);
    let cancel = process.cancel.clone();
    process.tasks.spawn(async move {
        cancel.cancelled().await;
        loop {
            let there = api.get_opt(names::STATE_MANAGEMENT_CONFIG_MAP).await;
            let last = match there {
                Ok(there) => there.and_then(|there| registration::farewell(term, &there)),
                Err(error) => return tracing::debug!(%error, "the end is not told to the management cluster"),
            };
            let Some(last) = last else { return };
            // The version that was read is sent along: whoever leads next is not contradicted.
            match api.replace(&last.name_any(), &PostParams::default(), &last).await {
                // Somebody wrote in between; whether it is still ours to end is in what they wrote.
                Err(kube::Error::Api(status)) if status.is_conflict() => {}
                Err(error) => return tracing::debug!(%error, "the end is not told to the management cluster"),
                Ok(_) => return,
            }
        }
    });
}

impl Engine {
    /// The target of sets that are not ours, with what they claim on it.
    pub(super) fn served_target(
        &self,
        name: &TargetName,
        sight: &Sight<'_>,
        before: Option<&TargetState>,
    ) -> Option<TargetState> {
        let sets = self.adoption.sets_of(name);
        let sets: Vec<_> = sets.filter_map(|(at, name)| self.cache.service_sets.get(at, name)).collect();
        let (target, waits) = match name.kind {
            TargetKind::ClusterDeployment => self.served_cluster(name, sight, sets.is_empty())?,
            TargetKind::Edge => (self.served_edge(name, sets.is_empty())?, None),
        };
        let claims: Vec<_> = sets.iter().filter_map(|set| claims::claim(set)).collect();
        let (resolution, cannot) = self.carried(&target, &claims, sight, before);
        let held = waits.or_else(|| self.unreadable(name)).or_else(|| not_enrolled(&target)).or(cannot);
        Some(TargetState { target, resolution, cluster: None, held, states: None })
    }

    /// A cluster that a ClusterDeployment names, whether that is still there or not: its edge must hear of the end.
    fn served_cluster(
        &self,
        name: &TargetName,
        sight: &Sight<'_>,
        empty: bool,
    ) -> Option<(Target, Option<String>)> {
        let TargetName { namespace, name: of, .. } = name;
        let object = self.cache.cluster_deployments.get(namespace, of);
        if object.is_none() && empty && self.roster.by_cluster(namespace, of).is_none() {
            return None;
        }
        let deployment = object.unwrap_or_else(|| {
            let mut absent = ClusterDeployment::new(of, api::k0rdent::ClusterDeploymentSpec::default());
            absent.metadata.namespace = Some(namespace.clone());
            Arc::new(absent)
        });
        let (shown, waits) = if empty { (None, None) } else { shown(sight, namespace, of) };
        let mut target = Target::of_cluster(&deployment, None, shown.as_deref());
        target.deleting = false;
        self.with_agent(&mut target);
        if target.kubernetes_version.is_none() {
            target.kubernetes_version =
                deployment.status.as_ref().and_then(|status| status.k8s_version.clone());
        }
        Some((target, waits))
    }

    /// An edge that belongs to no ClusterDeployment: it has services only where it is the management cluster's.
    fn served_edge(&self, name: &TargetName, empty: bool) -> Option<Target> {
        let system = &self.settings.system_namespace;
        let object = self.cache.edges.get(&name.namespace, &name.name);
        let mut target = match object.filter(|edge| edge.spec.cluster_deployment.is_none()) {
            Some(edge) => Target::of_edge(&edge, system),
            None if *name == management_cluster() && !empty => {
                let edge = api::skein::Edge::new(&name.name, api::skein::EdgeSpec::default());
                let mut target = Target::of_edge(&edge, system);
                (target.name, target.region) = (name.clone(), None);
                target
            }
            None => return None,
        };
        target.template_namespace.clone_from(system);
        Some(target)
    }

    /// A plan is complete: while a set cannot be read, nobody knows what belongs in it.
    fn unreadable(&self, target: &TargetName) -> Option<String> {
        let namespace = match target.kind {
            TargetKind::ClusterDeployment => &target.namespace,
            TargetKind::Edge => &self.settings.system_namespace,
        };
        let invalid = self.cache.invalid().into_keys().find(|key| {
            key.kind == Kind::ServiceSet
                && key.namespace == *namespace
                && self.cache.service_sets.get(&key.namespace, &key.name).is_none()
        })?;
        Some(format!("the plan is held back: {invalid} cannot be read"))
    }

    /// Whether the provider is told to do nothing.
    pub(super) fn is_suspended(&self) -> bool {
        let Some(serving) = &self.settings.serving else { return false };
        let provider = self.cache.state_management_providers.get("", &serving.provider);
        provider.is_some_and(|provider| provider.spec.suspend)
    }

    fn adopts(&self, set: &ServiceSet) -> bool {
        let Some(serving) = &self.settings.serving else { return false };
        let provider = self.cache.state_management_providers.get("", &serving.provider);
        serving.adopts(set, provider.as_deref())
    }

    /// The edge agent on the management cluster: the first by name that says so with its label.
    pub(super) fn management_edge(&self) -> Option<TargetName> {
        let edges = self.cache.edges.list();
        let edge = edges.iter().find(|edge| {
            let is_in = !edge.spec.revoked && edge.spec.is_approved();
            Target::is_of_management(edge) && is_in && edge.metadata.deletion_timestamp.is_none()
        })?;
        Some(TargetName::new(TargetKind::Edge, &edge.namespace().unwrap_or_default(), &edge.name_any()))
    }

    /// Finds whom it concerns that another edge, or none, stands for the management cluster.
    pub(super) fn management_changed(&mut self, change: &Change) {
        let key = &change.key;
        if key.kind != Kind::Edge || !change.desired {
            return;
        }
        let own = TargetName::new(TargetKind::Edge, &key.namespace, &key.name);
        let edge = self.cache.edges.get(&key.namespace, &key.name);
        if own != self.management && !edge.as_deref().is_some_and(Target::is_of_management) {
            return;
        }
        let now = self.management_edge().unwrap_or_else(management_cluster);
        let before = std::mem::replace(&mut self.management, now.clone());
        if before == now {
            return;
        }
        self.dirty_targets.extend([before, now]);
        for name in self.adoption.sets() {
            self.set_changed(&name, false);
        }
        for (_, name) in self.cache.multi_cluster_services.names() {
            self.sum(Key::new(Kind::MultiClusterService, "", &name));
        }
    }

    /// Finds whom a change concerns, of what only a hub that serves looks at.
    pub(super) fn serving_changed(&mut self, change: &Change) {
        let Some(serving) = self.settings.serving.clone() else { return };
        let key = &change.key;
        if key.kind == Kind::ServiceSet {
            self.set_changed(&(key.namespace.clone(), key.name.clone()), change.desired);
        } else if key.kind == Kind::StateManagementProvider && key.name == serving.provider && change.desired
        {
            // Its selector or its suspension is another one.
            for name in self.cache.service_sets.names() {
                self.set_changed(&name, true);
            }
        } else if key.kind == Kind::ClusterDeployment && change.desired {
            let target = TargetName::new(TargetKind::ClusterDeployment, &key.namespace, &key.name);
            let sets = self.adoption.sets_of(&target).map(|(at, name)| Key::new(Kind::ServiceSet, at, name));
            self.dirty_statuses.extend(sets);
        } else if key.kind == Kind::ConfigMap
            && let Some(region) = self.recorded(key)
        {
            self.dirty_regions.insert(region);
        }
    }

    fn set_changed(&mut self, name: &ObjectName, desired: bool) {
        let object = self.cache.service_sets.get(&name.0, &name.1);
        let target = object.filter(|set| self.adopts(set)).map(|set| target_of(&set, &self.management));
        let moved = self.adoption.target_of(name) != target.as_ref();
        let concerned = self.adoption.put(name, target);
        if desired || moved {
            self.dirty_targets.extend(concerned);
            self.dirty_statuses.insert(Key::new(Kind::ServiceSet, &name.0, &name.1));
        }
    }

    /// The region that a ConfigMap of this key stands for, or stood for.
    pub(super) fn recorded(&self, key: &Key) -> Option<RegionName> {
        if self.settings.serving.is_none() || key.namespace != self.settings.system_namespace {
            return None;
        }
        key.name.strip_prefix(names::REGION_RECORD_PREFIX)?.parse().ok()
    }

    /// Whether the record of a region is there.
    pub(super) fn has_record(&self, key: &Key) -> bool {
        let record = self.cache.config_maps.get(&key.namespace, &key.name);
        record.is_some_and(|record| region_of(&record).is_some())
    }

    /// Decides a status as a hub that serves does. Returns whether there is nothing more to decide: the statuses of
    /// k0rdent's kinds are not ours to write.
    pub(super) fn serve_status(&mut self, key: &Key) -> bool {
        let Some(serving) = self.settings.serving.clone() else { return false };
        if matches!(key.kind, Kind::Edge | Kind::JoinToken | Kind::PriceBook) {
            return false;
        }
        if key.kind == Kind::ServiceSet {
            self.served_set(key);
        } else if key.kind == Kind::StateManagementProvider && key.name == serving.provider {
            self.register();
        } else if key.kind == Kind::Region {
            self.record_region(&key.name);
        } else if key.kind == Kind::ConfigMap && key.namespace == self.settings.system_namespace {
            let local = format!("{}{}", names::REGION_RECORD_PREFIX, names::LOCAL_REGION);
            if key.name == names::STATE_MANAGEMENT_CONFIG_MAP || key.name == local {
                self.register();
            }
            if let Some(region) = self.recorded(key) {
                self.record_region(region.as_str());
            }
        }
        true
    }

    /// Sees to it that KCM finds the provider, and that it is ready.
    pub(super) fn register(&mut self) {
        let Some(serving) = self.settings.serving.clone() else { return };
        let (namespace, term) = (self.settings.system_namespace.clone(), self.settings.term);
        let smp = Key::new(Kind::StateManagementProvider, "", &serving.provider);
        let there = self.cache.state_management_providers.get("", &serving.provider);
        let correction = there.as_ref().map(|there| registration::correction(&serving, &namespace, there));
        let mut complete = self.put(&smp, correction, || registration::provider(&serving, &namespace));

        let asked = Key::new(Kind::ConfigMap, &namespace, names::STATE_MANAGEMENT_CONFIG_MAP);
        let there = self.cache.config_maps.get(&namespace, &asked.name);
        let correction =
            there.as_ref().map(|there| registration::readiness_correction(&serving, term, there));
        complete &= self.put(&asked, correction, || registration::readiness(&serving, &namespace, term));

        let local = format!("{}{}", names::REGION_RECORD_PREFIX, names::LOCAL_REGION);
        let record = Key::new(Kind::ConfigMap, &namespace, &local);
        let there = self.has_record(&record).then_some(None);
        complete &= self.put(&record, there, || registration::region_record(&namespace, names::LOCAL_REGION));
        if !complete {
            self.later.no_later_than(smp, Instant::now() + TRY_AGAIN);
        }
    }

    /// Makes an object, or corrects the one that is there. Returns whether it is there.
    fn put(&self, key: &Key, there: Option<Option<Value>>, make: impl FnOnce() -> Value) -> bool {
        let complete = there.is_some();
        match there {
            None => self.writer.submit(key, Part::Object, Write::Create(make())),
            Some(Some(correction)) => self.writer.submit(key, Part::Object, Write::Patch(correction)),
            Some(None) => {}
        }
        complete
    }

    /// Writes down where edges find the agent of a region.
    fn record_region(&self, region: &str) {
        let namespace = &self.settings.system_namespace;
        let name = format!("{}{region}", names::REGION_RECORD_PREFIX);
        let Some(record) = self.cache.config_maps.get(namespace, &name) else { return };
        let Some(view) = self.region_view(region).filter(|view| view.link.since > 0) else { return };
        let link = if view.link.up { LinkState::Up } else { LinkState::Down };
        let told = registration::region_correction(
            &record,
            &view.addresses(),
            &format!("{link:?}"),
            &since(view.link.since),
        );
        if let Some(told) = told {
            let key = Key::new(Kind::ConfigMap, namespace, &name);
            self.writer.submit(&key, Part::Object, Write::Patch(told));
        }
    }

    /// A set of another k0rdent: its status is ours, and a finalizer.
    fn served_set(&mut self, key: &Key) {
        let Some(object) = self.cache.service_sets.get(&key.namespace, &key.name) else { return };
        let adopted = self.adopts(&object);
        if !adopted || object.metadata.deletion_timestamp.is_some() {
            return self.served_set_leaves(key, &object, adopted);
        }
        if !object.finalizers().iter().any(|one| one == finalizer::SERVED_SERVICE_SET) {
            let mut finalizers = object.finalizers().to_vec();
            finalizers.push(finalizer::SERVED_SERVICE_SET.to_owned());
            let patch =
                json!({"metadata": {"finalizers": finalizers, "resourceVersion": object.resource_version()}});
            self.writer.submit(key, Part::Finalizers, Write::Patch(patch));
        }
        let name = (key.namespace.clone(), key.name.clone());
        let Some((target, index)) = self.sets.get(&name) else { return };
        let Some(state) = self.targets.get(target) else { return };
        let Some(set) = state.resolution.sets.get(*index) else { return };
        let (view, provider) = (self.view_of(state), self.serving_provider());
        let facts = self.facts(state, set, Some(&object), view.as_deref(), provider.as_deref());
        let mut after = service_set::status(&facts);
        after.cluster = Some(reference(&state.target, is_self_management(&object)));
        self.write_status(key, &*object, object.status.as_ref(), &after);
    }

    fn serving_provider(&self) -> Option<Arc<api::k0rdent::StateManagementProvider>> {
        let serving = self.settings.serving.as_ref()?;
        self.cache.state_management_providers.get("", &serving.provider)
    }

    /// The services leave the cluster, then the finalizer goes. A cluster that goes itself, or has no agent any more, is
    /// not waited for; an edge that is away is, for it still has them.
    fn served_set_leaves(&mut self, key: &Key, object: &ServiceSet, adopted: bool) {
        if !object.finalizers().iter().any(|one| one == finalizer::SERVED_SERVICE_SET) {
            return;
        }
        let done = || self.drop_finalizer(key, object, finalizer::SERVED_SERVICE_SET);
        let name = target_of(object, &self.management);
        let state = self.targets.get(&name);
        let Some((state, agent)) = state.and_then(|state| Some((state, state.target.agent?))) else {
            return done();
        };
        let agent = protocol::id::AgentId::Edge(agent);
        let view = self.observed.agent(&agent);
        let set = super::sets::nothing_left(key, object);
        let provider = self.serving_provider();
        let facts = self.facts(state, &set, Some(object), view.as_deref(), provider.as_deref());
        let mut after = service_set::status(&facts);
        let cluster = self.cache.cluster_deployments.get(&name.namespace, &name.name);
        let ends = cluster.is_none_or(|cluster| cluster.metadata.deletion_timestamp.is_some())
            && name.kind == TargetKind::ClusterDeployment;
        if ends && (facts.silent_since.is_some() || facts.view.is_none()) || state.target.deleting {
            return done();
        }
        let plan = self.plans.get(&agent).map(|plan| plan.head.generation);
        let obeyed = view.is_some_and(|view| view.complete && view.obeys(plan)) && state.held.is_none();
        if after.services.is_empty() && obeyed {
            return done();
        }
        let reference = reference(&state.target, is_self_management(object));
        if adopted {
            after.deployed = false;
            after.cluster = Some(reference);
            self.write_status(key, object, object.status.as_ref(), &after);
        }
        self.leaving.entry(name).or_default().insert(key.clone());
    }
}

/// What is missing before a set can be carried out at all, and what to do.
fn not_enrolled(target: &Target) -> Option<String> {
    if target.agent.is_some() {
        return None;
    }
    let TargetName { kind, namespace, name } = &target.name;
    Some(match kind {
        TargetKind::ClusterDeployment => format!(
            "no edge agent is enrolled for ClusterDeployment {namespace}/{name}: make a token with `skein token create --region {} --cluster-deployment {namespace}/{name}` and give it to `skein enroll` on that cluster",
            names::LOCAL_REGION
        ),
        TargetKind::Edge => no_management_edge(),
    })
}

/// What to do before services can be put on the management cluster.
pub(super) fn no_management_edge() -> String {
    format!(
        "no edge agent is enrolled for the management cluster: make a token with `skein token create --region {} --label {}=true` and give it to `skein enroll` there",
        names::LOCAL_REGION,
        label::MANAGEMENT_CLUSTER
    )
}

/// The live object of a cluster as templates see it, and what must be known first.
fn shown(sight: &Sight<'_>, namespace: &str, name: &str) -> (Option<Arc<Value>>, Option<String>) {
    let mut waits = None;
    for (api_version, kind) in CLUSTERS {
        let of = ResourceKind { api_version: api_version.to_owned(), kind: kind.to_owned() };
        match sight.view.resource(&of, namespace, name, BTreeSet::from([ObjectPart::Desired])) {
            Found::Object(object) => return (Some(object), None),
            Found::Absent(_) => {}
            Found::Unknown => waits = Some(format!("the objects of kind {kind} are being listed")),
        }
    }
    (None, waits)
}

/// The cluster as a set's status names it: as KCM's own adapter does where there is such an object.
fn reference(target: &Target, self_management: bool) -> ObjectReference {
    let reference = |api_version: &str, kind: &str, namespace: &str, name: &str| ObjectReference {
        api_version: Some(api_version.to_owned()),
        kind: Some(kind.to_owned()),
        name: Some(name.to_owned()),
        namespace: Some(namespace.to_owned()),
        ..ObjectReference::default()
    };
    let TargetName { namespace, name, .. } = &target.name;
    if self_management {
        let mgmt = management_cluster();
        return reference(CLUSTERS[1].0, CLUSTERS[1].1, &mgmt.namespace, &mgmt.name);
    }
    let text = |field: &str| target.cluster[field].as_str().unwrap_or_default();
    if target.cluster.pointer("/metadata/uid").is_some() {
        return reference(text("apiVersion"), text("kind"), namespace, name);
    }
    reference("k0rdent.mirantis.com/v1beta1", "ClusterDeployment", namespace, name)
}
