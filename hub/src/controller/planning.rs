//! Planning: the services of targets and the clusters of regions as plans.
//!
//! # Why a plan may be held back
//! A plan is complete: what is not in it is removed. So a plan that lacks something only because it cannot be built
//! now (a chart that is not fetched since the hub started, a template that was deleted) is not published while the
//! agent has that something; the agent goes on with the plan it has, and the status says why.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use api::k0rdent::{DeploymentState, MultiClusterService, ServiceState};
use kube::ResourceExt;
use protocol::id::{AgentId, RegionName};
use protocol::plan::UnitId;
use protocol::report::{UnitReport, UnitState};

use super::cluster_deployment;
use super::engine::{Engine, Subject, TargetState};
use crate::cache::view::Reads;
use crate::cache::{Key, Kind, View};
use crate::planner::{self, prices};
use crate::roster::ObjectName;
use crate::services::built::Built;
use crate::services::claim::{Claim, Owner, claims};
use crate::services::resolve::{Knowledge, Problem, Resolution, SetPlan, resolve};
use crate::services::target::{Target, TargetKind, TargetName};
use crate::services::template::Sight;

/// Targets that are decided before any of them is published: few enough that the first plans leave at once.
const BATCH: usize = 64;
/// Fewer targets for each thread are not worth one.
const EACH_MIN: usize = 8;

/// What was decided for a target, and what was read for it.
struct Decision {
    next: Option<TargetState>,
    read: Reads,
}

impl Engine {
    /// Plans everything that waits: targets, then the regions they concern.
    pub(super) fn plan(&mut self) {
        while !self.dirty_targets.is_empty() {
            let some = std::iter::from_fn(|| self.dirty_targets.pop_first()).take(BATCH).collect::<Vec<_>>();
            for (name, decision) in some.iter().zip(self.decided(&some)) {
                self.take_over(name, decision);
            }
        }
        while let Some(region) = self.dirty_regions.pop_first() {
            self.plan_region(&region);
        }
    }

    /// What is decided for these targets, in their order. Nothing that is decided for one is read for another.
    ///
    /// # Why threads
    /// What takes long is rendering, and ten thousand targets are planned at once when the hub starts or a template of
    /// theirs changes. Everything else stays with the one deciding task.
    fn decided(&self, names: &[TargetName]) -> Vec<Decision> {
        let threads = std::thread::available_parallelism().map_or(1, std::num::NonZeroUsize::get);
        let threads = threads.min(names.len() / EACH_MIN).max(1);
        let next = AtomicUsize::new(0);
        let work = || {
            let mut decided = Vec::new();
            loop {
                let at = next.fetch_add(1, Ordering::Relaxed);
                let Some(name) = names.get(at) else { return decided };
                decided.push((at, self.decide(name)));
            }
        };
        // Sources are asked for what is missing, and fetch on the runtime.
        let runtime = tokio::runtime::Handle::try_current().ok();
        let other = || {
            let _entered = runtime.as_ref().map(tokio::runtime::Handle::enter);
            work()
        };
        let mut all = std::thread::scope(|scope| {
            let others: Vec<_> = (1..threads).map(|_| scope.spawn(other)).collect();
            let mut all = work();
            for other in others {
                match other.join() {
                    Ok(decided) => all.extend(decided),
                    // As if it had happened here.
                    Err(panic) => std::panic::resume_unwind(panic),
                }
            }
            all
        });
        all.sort_unstable_by_key(|(at, _)| *at);
        all.into_iter().map(|(_, decision)| decision).collect()
    }

    fn decide(&self, name: &TargetName) -> Decision {
        let TargetName { kind, namespace, name: of } = name;
        let _span = tracing::debug_span!("reconcile", ?kind, namespace, name = of).entered();
        let before = self.targets.get(name);
        let namespace = &self.settings.system_namespace;
        let view = View::new(&self.cache);
        let sight = Sight { view, sources: &self.sources, system_namespace: namespace };
        let next = match name.kind {
            _ if self.settings.serving.is_some() => self.served_target(name, &sight, before),
            TargetKind::ClusterDeployment => self.cluster_target(name, &sight, before),
            TargetKind::Edge => self.edge_target(name, &sight, before),
        };
        Decision { next, read: sight.view.into_read() }
    }

    fn take_over(&mut self, name: &TargetName, decision: Decision) {
        let Decision { next, read } = decision;
        let before = self.targets.remove(name);
        if let Some(before) = &before {
            self.unlist(name, before);
        }
        self.record(Subject::Plan(name.clone()), read);
        self.touch_regions(before.as_ref(), next.as_ref());
        if let Some(mut next) = next {
            let now = u64::try_from(self.now().as_millisecond()).unwrap_or_default();
            stamp(&mut next, before.as_ref(), now);
            let units = next.resolution.sets.iter().flat_map(|set| &set.services);
            let weights = units.filter_map(|service| service.built.as_ref().map(|built| built.weight));
            let large = planner::too_large(weights);
            next.held = next.held.or(large).or_else(|| self.unheld(&next.target));
            next.resolution.needs = next.resolution.needs.and(self.needed_by_settings(&next.target));
            self.publish(&next);
            self.rollout_planned(&next);
            self.list(name, &next);
            self.targets.insert(name.clone(), next);
        }
        for set in before.iter().flat_map(|before| &before.resolution.sets) {
            if !self.sets.contains_key(&set.set) {
                self.dirty_statuses.insert(Key::new(Kind::ServiceSet, &set.set.0, &set.set.1));
            }
        }
        self.wake_leaving(name);
        match name.kind {
            TargetKind::ClusterDeployment => {
                self.dirty_statuses.insert(name.key());
            }
            TargetKind::Edge => self.soon(name.key()),
        }
    }

    /// A ClusterDeployment: its part in its region's plan, and its services.
    fn cluster_target(
        &self,
        name: &TargetName,
        sight: &Sight<'_>,
        before: Option<&TargetState>,
    ) -> Option<TargetState> {
        let deployment = self.cache.cluster_deployments.get(&name.namespace, &name.name)?;
        let known = before.and_then(|before| before.cluster.as_ref());
        let cluster = cluster_deployment::plan(&deployment, sight, &self.bundles, known);
        let region = cluster.region.as_ref().ok().map(ToString::to_string);
        let rendered = cluster.planned.as_ref().map(|built| built.content().unpack());
        let shown = rendered.as_ref().and_then(|bundle| bundle.cluster.as_ref());
        let mut target = Target::of_cluster(&deployment, region, shown);
        if let Some(bundle) = &rendered {
            target.refer(bundle);
        }
        self.with_agent(&mut target);
        if target.kubernetes_version.is_none() {
            target.kubernetes_version =
                cluster.template.as_ref().ok().and_then(|template| template.spec.k8s_version.clone());
        }
        let (resolution, held) = if target.deleting {
            (before.map(|before| before.resolution.clone()).unwrap_or_default(), None)
        } else {
            self.services(&target, Some(&deployment), sight, before)
        };
        Some(TargetState { target, resolution, cluster: Some(cluster), held, states: None })
    }

    /// Takes over the edge agent that was enrolled for a ClusterDeployment.
    pub(super) fn with_agent(&self, target: &mut Target) {
        let Some(edge) = self.roster.by_cluster(&target.name.namespace, &target.name.name) else { return };
        let object = self.cache.edges.get(&edge.namespace, &edge.name);
        target.agent = Some(edge.id);
        target.region.get_or_insert_with(|| edge.region.to_string());
        target.recipient = object.as_deref().map(|object| Target::recipient(edge.id, object));
        target.edge = object.as_deref().map(Target::shown_edge);
        target.kubernetes_version =
            object.and_then(|object| object.status.as_ref()?.kubernetes_version.clone());
    }

    fn edge_target(
        &self,
        name: &TargetName,
        sight: &Sight<'_>,
        before: Option<&TargetState>,
    ) -> Option<TargetState> {
        let edge = self.cache.edges.get(&name.namespace, &name.name)?;
        if edge.spec.cluster_deployment.is_some() || !edge.spec.is_approved() {
            return None;
        }
        let mut target = Target::of_edge(&edge, &self.settings.system_namespace);
        // Several may say that they are there; one is.
        target.management = target.management.filter(|_| self.management_edge().as_ref() == Some(name));
        let (resolution, held) = self.services(&target, None, sight, before);
        Some(TargetState { target, resolution, cluster: None, held, states: None })
    }

    /// What the target is to have; a service that cannot be built keeps the unit it had.
    fn services(
        &self,
        target: &Target,
        own: Option<&api::k0rdent::ClusterDeployment>,
        sight: &Sight<'_>,
        before: Option<&TargetState>,
    ) -> (Resolution, Option<String>) {
        let all = self.active_services();
        let kept =
            |(namespace, name): &(String, String)| self.cache.service_sets.get(namespace, name).is_some();
        let released = |service: &MultiClusterService, set: &(String, String)| {
            self.releases.of(&self.cache, service, set)
        };
        let mut claims = claims(target, own, &all, kept, released);
        for claim in &mut claims {
            let set = self.cache.service_sets.get(&claim.set.0, &claim.set.1);
            if let (Some(set), Ok(orders)) = (set, &mut claim.carrying.orders) {
                *orders = std::mem::take(orders).tested(set.annotations());
            }
        }
        self.carried(target, &claims, sight, before)
    }

    /// What the target is to have of these claims.
    pub(super) fn carried(
        &self,
        target: &Target,
        claims: &[Claim],
        sight: &Sight<'_>,
        before: Option<&TargetState>,
    ) -> (Resolution, Option<String>) {
        let known = Units { engine: self, target };
        let mut resolution = resolve(target, claims, sight, &self.bundles, &known);
        let mut held = None;
        for set in &mut resolution.sets {
            if self.is_paused(&set.set) {
                pause(set, before);
            }
        }
        for service in resolution.sets.iter_mut().flat_map(|set| &mut set.services) {
            if let Some(needs) = service.built.as_ref().map(|built| built.needs) {
                resolution.needs = resolution.needs.and(needs);
                if let Some(withheld) = self.withheld(target, needs) {
                    (service.built, service.problem) = (None, Some(withheld));
                }
            }
            let Some(problem) = &service.problem else { continue };
            if service.built.is_some() || problem.withdraw {
                continue;
            }
            let last = before.and_then(|before| {
                before
                    .resolution
                    .sets
                    .iter()
                    .flat_map(|set| &set.services)
                    .find(|one| one.id == service.id)
                    .and_then(|one| one.built.clone())
                    .filter(|built| self.withheld(target, built.needs).is_none())
            });
            if last.is_none() && held.is_none() && known.is_there(&service.id) {
                held = Some(format!(
                    "the plan is held back: service {}/{} is deployed and cannot be built now: {}",
                    service.name.0, service.name.1, problem.message
                ));
            }
            // A device that enrolled anew has another key.
            let recipient = target.recipient.as_ref();
            service.built =
                last.map(|last| last.clone().for_recipient(recipient, &self.bundles).unwrap_or(last));
        }
        (resolution, held)
    }

    /// MultiClusterServices that are in force: those being deleted are, as long as others depend on them.
    pub(super) fn active_services(&self) -> Vec<Arc<MultiClusterService>> {
        let all = self.cache.multi_cluster_services.list();
        let needed: BTreeSet<String> = all
            .iter()
            .filter(|one| one.metadata.deletion_timestamp.is_none())
            .flat_map(|one| one.spec.depends_on.iter().cloned())
            .collect();
        all.into_iter()
            .map(|one| {
                if one.metadata.deletion_timestamp.is_some() && needed.contains(&one.name_any()) {
                    let mut kept = MultiClusterService::clone(&one);
                    kept.metadata.deletion_timestamp = None;
                    return Arc::new(kept);
                }
                one
            })
            .collect()
    }

    /// Whether a ServiceSet says to leave it alone.
    pub(super) fn is_paused(&self, (namespace, name): &ObjectName) -> bool {
        let object = self.cache.service_sets.get(namespace, name);
        self.is_suspended()
            || object.is_some_and(|object| {
                object.annotations().contains_key(api::names::annotation::SERVICE_SET_PAUSED)
            })
    }

    /// What is known of the units of a target.
    pub(super) fn knowledge<'a>(&'a self, target: &'a Target) -> impl Knowledge + 'a {
        Units { engine: self, target }
    }

    fn publish(&mut self, state: &TargetState) {
        let (Some(edge), None, false) = (state.target.agent, &state.held, state.target.deleting) else {
            return;
        };
        // Without the Edge object nothing was sealed; it is planned again when that is there.
        if state.target.recipient.is_none() {
            return;
        }
        let built = || {
            state
                .resolution
                .sets
                .iter()
                .flat_map(|set| &set.services)
                .filter_map(|service| service.built.as_ref())
        };
        let body = planner::body(built().map(Built::unit), self.edge_settings(&state.target));
        let blobs = built().flat_map(Built::blobs);
        let (head, new) = self.plans.publish(&AgentId::Edge(edge), body, blobs);
        if new {
            tracing::debug!(%edge, generation = %head.generation, "plan published");
        }
    }

    pub(super) fn edge_settings(&self, target: &Target) -> BTreeMap<String, String> {
        let mut settings = BTreeMap::new();
        if let Some(book) = self.cache.price_books.list().first()
            && let Some(text) = prices::setting(&book.spec, target.region.as_deref(), &target.labels)
        {
            settings.insert(planner::PRICES.to_owned(), text);
        }
        let edge = target.agent.and_then(|id| self.roster.edge(&id));
        let object = edge.and_then(|edge| self.cache.edges.get(&edge.namespace, &edge.name));
        if let Some(hold) = object.as_ref().and_then(|object| object.spec.hold.as_ref())
            && let Ok(text) = serde_json::to_string(hold)
        {
            settings.insert(protocol::policy::HOLD.to_owned(), text);
        }
        settings
    }

    fn plan_region(&mut self, region: &RegionName) {
        let _span = tracing::debug_span!("reconcile", kind = "Region", name = %region).entered();
        let agent = AgentId::Region(region.clone());
        if !self.roster.has_region(region) && region.as_str() != api::names::LOCAL_REGION {
            self.plans.withdraw(&agent);
            return;
        }
        let targets = self.by_region.get(region).cloned().unwrap_or_default();
        let clusters = || targets.iter().filter_map(|name| self.targets.get(name));
        let invalid = self.cache.invalid().into_keys().find(|key| key.kind == Kind::ClusterDeployment);
        let held = clusters().find_map(|state| self.holds(state)).or_else(|| {
            invalid.map(|key| {
                format!(
                    "the plan is held back: ClusterDeployment {}/{} cannot be read",
                    key.namespace, key.name
                )
            })
        });
        let built = || {
            clusters()
                .filter(|state| !state.target.deleting)
                .filter_map(|state| state.cluster.as_ref()?.planned.as_ref())
        };
        let held = held.or_else(|| planner::too_large(built().map(|built| built.weight)));
        if held.is_none() {
            let body = planner::body(built().map(Built::unit), BTreeMap::new());
            self.plans.publish(&agent, body, built().flat_map(Built::blobs));
        }
        self.dirty_statuses.insert(Key::new(Kind::Region, "", region.as_str()));
        // Those being deleted wait for this very plan.
        let leaving = |name: &&TargetName| self.targets.get(*name).is_some_and(|state| state.target.deleting);
        self.dirty_statuses.extend(targets.iter().filter(leaving).map(TargetName::key));
        match held {
            Some(why) => self.held.insert(region.clone(), why),
            None => self.held.remove(region),
        };
    }

    /// Regions whose plan is another one because of what was decided for a target.
    fn touch_regions(&mut self, before: Option<&TargetState>, next: Option<&TargetState>) {
        let part = |state: Option<&TargetState>| {
            let state = state?;
            let cluster = state.cluster.as_ref()?;
            let region = cluster.region.as_ref().ok()?.clone();
            let planned = cluster.planned.as_ref().filter(|_| !state.target.deleting);
            let unit = planned.map(|built| built.encoded().clone());
            Some((region, unit))
        };
        let (old, new) = (part(before), part(next));
        if old != new {
            self.dirty_regions.extend(old.into_iter().chain(new).map(|(region, _)| region));
        }
    }

    /// Why a cluster that the region has cannot be planned now.
    fn holds(&self, state: &TargetState) -> Option<String> {
        let cluster = state.cluster.as_ref()?;
        if cluster.planned.is_some() || state.target.deleting {
            return None;
        }
        let TargetName { namespace, name, .. } = &state.target.name;
        let deployment = self.cache.cluster_deployments.get(namespace, name)?;
        let region = cluster.region.as_ref().ok()?;
        let unit = cluster_deployment::unit_id(namespace, name);
        let reported = self
            .observed
            .agent(&AgentId::Region(region.clone()))
            .is_some_and(|view| view.units.get(&unit).is_some_and(|unit| unit.state != UnitState::Deleted));
        (reported || cluster_deployment::was_released(&deployment)).then(|| {
            let why = cluster.chart.as_ref().err().cloned();
            let why = why.or_else(|| cluster.template.as_ref().err().map(|lack| lack.message().to_owned()));
            format!(
                "the plan is held back: ClusterDeployment {namespace}/{name} is in the region and cannot be planned now: {}",
                why.unwrap_or_else(|| "it is a dry run, or its region is paused".to_owned())
            )
        })
    }

    /// Enters a target into the lists of what concerns it.
    fn list(&mut self, name: &TargetName, state: &TargetState) {
        for (index, set) in state.resolution.sets.iter().enumerate() {
            self.sets.insert(set.set.clone(), (name.clone(), index));
            self.planned(Key::new(Kind::ServiceSet, &set.set.0, &set.set.1));
            if let Owner::MultiClusterService(service) = &set.owner {
                self.by_service.entry(service.clone()).or_default().insert(name.clone());
                self.sum(Key::new(Kind::MultiClusterService, "", service));
            }
        }
        if let Some(Ok(region)) = state.cluster.as_ref().map(|cluster| &cluster.region) {
            self.by_region.entry(region.clone()).or_default().insert(name.clone());
        }
        if let Some(edge) = state.target.agent.and_then(|id| self.roster.edge(&id)) {
            self.soon(Key::new(Kind::Edge, &edge.namespace, &edge.name));
        }
    }

    /// Takes a target out of the lists.
    fn unlist(&mut self, name: &TargetName, state: &TargetState) {
        for set in &state.resolution.sets {
            if self.sets.get(&set.set).is_some_and(|(at, _)| at == name) {
                self.sets.remove(&set.set);
            }
            if let Owner::MultiClusterService(service) = &set.owner {
                if let Some(targets) = self.by_service.get_mut(service) {
                    targets.remove(name);
                }
                self.sum(Key::new(Kind::MultiClusterService, "", service));
            }
        }
        if let Some(Ok(region)) = state.cluster.as_ref().map(|cluster| &cluster.region)
            && let Some(targets) = self.by_region.get_mut(region)
        {
            targets.remove(name);
        }
    }
}

/// Says since when each unit has the content it has.
fn stamp(next: &mut TargetState, before: Option<&TargetState>, now: u64) {
    fn all(state: &TargetState) -> impl Iterator<Item = &Built> {
        let services = state.resolution.sets.iter().flat_map(|set| &set.services);
        let own = state.cluster.as_ref().and_then(|cluster| cluster.planned.as_ref());
        services.filter_map(|service| service.built.as_ref()).chain(own)
    }
    // The hash is over the release's name as well.
    let known: BTreeMap<_, _> =
        before.into_iter().flat_map(all).map(|built| (built.hash, built.since)).collect();
    let since = |built: &Built| known.get(&built.hash).copied().unwrap_or(now);
    let services = next.resolution.sets.iter_mut().flat_map(|set| &mut set.services);
    let own = next.cluster.as_mut().and_then(|cluster| cluster.planned.as_mut());
    for built in services.filter_map(|service| service.built.as_mut()).chain(own) {
        built.since = since(built);
    }
}

/// A paused set stays what it was; what it was before the hub started nobody knows, so its services wait.
fn pause(set: &mut SetPlan, before: Option<&TargetState>) {
    let known = before.and_then(|before| before.resolution.sets.iter().find(|one| one.set == set.set));
    if let Some(known) = known {
        *set = known.clone();
    } else {
        for service in &mut set.services {
            service.built = None;
            service.problem = Some(Problem::pending("the ServiceSet is paused".to_owned()));
        }
    }
    set.paused = true;
}

/// What is known of the units of a target: what its agent reported, or what was written before the hub started.
struct Units<'a> {
    engine: &'a Engine,
    target: &'a Target,
}

impl Units<'_> {
    fn reported(&self, id: &UnitId) -> Option<UnitReport> {
        let view = self.engine.observed.agent(&AgentId::Edge(self.target.agent?))?;
        view.units.get(id).filter(|unit| unit.state != UnitState::Deleted).cloned()
    }

    fn written(&self, id: &UnitId) -> Option<ServiceState> {
        let set = self.engine.cache.service_sets.get(&id.set_namespace, &id.set_name)?;
        let services = &set.status.as_ref()?.services;
        let found =
            services.iter().find(|service| service.name == id.name && service.namespace == id.namespace)?;
        // Definitions of an older k0rdent have no hash.
        let was_there = found.last_deployed_hash.is_some() || found.state == DeploymentState::Deployed;
        (found.state != DeploymentState::Deleted && was_there).then(|| found.clone())
    }
}

impl Knowledge for Units<'_> {
    fn is_there(&self, id: &UnitId) -> bool {
        let reported = self.reported(id);
        reported.is_some_and(|unit| unit.state != UnitState::Pending || unit.deployed_hash.is_some())
            || self.written(id).is_some()
    }

    fn stands_at(&self, id: &UnitId) -> Option<(String, bool)> {
        match self.reported(id) {
            Some(unit) => Some((unit.template, unit.state == UnitState::Deployed)),
            None => self.written(id).map(|state| (state.template, state.state == DeploymentState::Deployed)),
        }
    }
}
