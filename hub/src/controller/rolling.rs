//! Rollouts of MultiClusterServices: what is known becomes facts, what is decided becomes Secrets and annotations.
//!
//! A look at a rollout is a part of deciding its MultiClusterService's status, for that gathers the same facts. See
//! [`crate::rollout`] for what is decided and why in this order.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use api::conditions::reason;
use api::k0rdent::{DeploymentState, MultiClusterService, ServiceState, SyncMode};
use api::names::annotation;
use api::skein::{LinkState, RolloutClock, RolloutPhase, RolloutSpec, RolloutStatus};
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::ResourceExt;
use protocol::UnixMillis;
use protocol::id::AgentId;
use protocol::report::UnitState;
use serde_json::{Value, json};

use super::edge;
use super::engine::{Engine, TargetState};
use super::releases::{Begun, Given, now_millis};
use super::writer::{Part, Write};
use crate::cache::{Change, Key, Kind};
use crate::observed::AgentView;
use crate::rollout::facts::{Fact, Health, Link};
use crate::rollout::planner::{self, Decision, Input};
use crate::rollout::record::{self, Part as Kept};
use crate::rollout::settings::{Settings, SettingsError};
use crate::rollout::state::{Command, Stage, State};
use crate::rollout::steady::Steady;
use crate::roster::ObjectName;
use crate::services::claim::Owner;
use crate::services::resolve::SetPlan;
use crate::services::target::TargetName;

/// How long a hub that has just started waits for agents before those that it has not heard count as away.
const SETTLING: UnixMillis = 60_000;
/// Revisions that nobody has any more, and that are kept all the same.
const HISTORY: usize = 10;
/// Clusters whose time the status keeps.
const CLOCKS_MAX: usize = 256;

/// What a look at a rollout gives.
pub(super) struct Told {
    /// What the status says.
    pub status: RolloutStatus,
    /// Whether it is over.
    pub complete: bool,
}

/// A target of a rollout.
struct Member<'a> {
    /// Namespace and name.
    shown: String,
    state: &'a TargetState,
    set: &'a SetPlan,
    services: &'a [ServiceState],
}

impl Engine {
    /// Takes note of what concerns rollouts, before anything is planned.
    pub(super) fn rollout_changed(&mut self, change: &Change) {
        let key = &change.key;
        if key.kind == Kind::MultiClusterService && change.desired {
            let object = self.cache.multi_cluster_services.get("", &key.name);
            self.releases.service_changed(&key.name, object);
        } else if key.kind == Kind::Secret && key.namespace == self.settings.system_namespace {
            let secret = self.cache.secrets.get(&key.namespace, &key.name);
            if let Some(service) = self.releases.secret_changed(&key.name, secret.as_deref()) {
                self.redirect(&service);
                self.sum(Key::new(Kind::MultiClusterService, "", &service));
            }
        } else if key.kind == Kind::ServiceSet && !self.releases.is_empty() {
            let name = (key.namespace.clone(), key.name.clone());
            if self.cache.service_sets.get(&name.0, &name.1).is_none() {
                self.releases.gone(&name);
            }
            let Some((target, _)) = self.sets.get(&name).cloned() else { return };
            if let Some(service) = self.redirect_set(&target, &name) {
                self.sum(Key::new(Kind::MultiClusterService, "", &service));
            }
        }
    }

    /// Plans the targets again that are to have another revision of a MultiClusterService now.
    fn redirect(&mut self, service: &str) {
        for target in self.by_service.get(service).cloned().unwrap_or_default() {
            let Some(state) = self.targets.get(&target) else { continue };
            let sets: Vec<_> = state.resolution.sets.iter().map(|set| set.set.clone()).collect();
            for set in sets {
                self.redirect_set(&target, &set);
            }
        }
    }

    /// Plans the target again if a set is to be of another revision; gives the MultiClusterService if it has a rollout.
    fn redirect_set(&mut self, target: &TargetName, name: &ObjectName) -> Option<String> {
        let set = self.targets.get(target)?.resolution.sets.iter().find(|set| set.set == *name)?;
        let Owner::MultiClusterService(service) = set.owner.clone() else { return None };
        let release = set.release.as_ref()?;
        let object = self.cache.multi_cluster_services.get("", &service)?;
        let now = self.releases.of(&self.cache, &object, name);
        if now.is_none_or(|now| now.revision != release.revision) {
            self.dirty_targets.insert(target.clone());
        }
        Some(service)
    }

    /// Notes what a target was known to have failed with when it was given a revision: that is not the revision's.
    pub(super) fn rollout_planned(&mut self, state: &TargetState) {
        for set in &state.resolution.sets {
            let Some(revision) = set.release.as_ref().and_then(|release| release.revision.as_ref()) else {
                continue;
            };
            if self.releases.begun.get(&set.set).is_some_and(|begun| begun.revision == *revision) {
                continue;
            }
            let agent = state.target.agent.map(AgentId::Edge);
            let view = agent.as_ref().and_then(|agent| self.observed.agent(agent));
            let failed = view.iter().flat_map(|view| view.units.values());
            let failed = failed.filter(|unit| unit.state == UnitState::Failed);
            let begun = Begun {
                revision: revision.clone(),
                generation: agent.and_then(|agent| self.plans.get(&agent)).map(|plan| plan.head.generation),
                failed: failed.map(|unit| (unit.id.clone(), unit.since)).collect(),
            };
            self.releases.begun.insert(set.set.clone(), begun);
        }
    }

    /// Looks at the rollout of a MultiClusterService; `None` when it has none.
    pub(super) fn rollout(
        &mut self,
        object: &MultiClusterService,
        names: &BTreeSet<TargetName>,
    ) -> Option<Told> {
        let name = object.name_any();
        let Some(spec) = &object.spec.rollout else {
            for secret in self.releases.forget(&name) {
                let key = Key::new(Kind::Secret, &self.settings.system_namespace, &secret);
                self.writer.submit(&key, Part::Object, Write::Delete(None));
            }
            return None;
        };
        let before = object.status.as_ref().and_then(|status| status.rollout.clone()).unwrap_or_default();
        let (revision, body) = self.releases.current(object);
        let waits = |message: String, reason: &str, phase| {
            let status = RolloutStatus {
                message,
                reason: reason.to_owned(),
                phase,
                next: None,
                since: before.since.clone().or_else(|| Some(Time(self.now()))),
                ..before.clone()
            };
            Some(Told { status, complete: false })
        };
        let settings = match Settings::of(spec) {
            Ok(settings) => settings,
            Err(error) => return Some(self.misread(&error, &before)),
        };
        let uid = object.uid().unwrap_or_default();
        let base = self.releases.state(&name, &uid).or_else(|| self.first(object, names, &uid));
        // A revision is noted before anybody gets it, so that it is still known when the next one has come.
        let mut noted = self.note(object, &revision, &record::revision_data(&body));
        if let Some((baseline, body)) = self.releases.baseline(&name) {
            noted &= self.note(object, &baseline, &record::revision_data(&body));
        }
        let Some(base) = base.filter(|_| noted) else {
            return waits("the revision is being noted".to_owned(), "Progressing", RolloutPhase::Progressing);
        };
        // Apart while the rest is looked at.
        let mut steady = std::mem::take(&mut self.releases.steady);
        let (decision, clocks) =
            self.look(object, names, (&settings, &revision, &base), (&mut steady, &before.clocks));
        self.releases.steady = steady;
        self.carry_out(object, names, &base, &decision);
        let told = self.told(object, spec, &settings, &decision, &before);
        Some(Told { status: RolloutStatus { clocks, ..told.status }, ..told })
    }

    fn misread(&self, error: &SettingsError, before: &RolloutStatus) -> Told {
        let status = RolloutStatus {
            message: error.to_string(),
            reason: reason::INVALID_ROLLOUT.to_owned(),
            phase: RolloutPhase::Paused,
            next: None,
            since: before.since.clone().or_else(|| Some(Time(self.now()))),
            ..before.clone()
        };
        Told { status, complete: false }
    }

    /// Where a rollout begins that nothing is remembered of: from what is there already, or from nothing.
    fn first(&self, object: &MultiClusterService, names: &BTreeSet<TargetName>, uid: &str) -> Option<State> {
        let name = object.name_any();
        let sets = self.members(&name, names);
        let objects =
            sets.iter().filter_map(|one| self.cache.service_sets.get(&one.set.set.0, &one.set.set.1));
        let (mut there, mut given) = (false, false);
        for set in objects {
            there |= !set.spec.services.is_empty();
            given |= set.annotations().contains_key(annotation::ROLLOUT_REVISION);
        }
        let state = match self.releases.baseline(&name) {
            Some((baseline, _)) if there && !given => State::complete(uid, &baseline, now_millis()),
            _ => State { owner: uid.to_owned(), ..State::default() },
        };
        Some(state)
    }

    /// Whether a revision is in its Secret; writes it if it is not.
    fn note(&self, object: &MultiClusterService, revision: &str, data: &Value) -> bool {
        let part = Kept::Revision(revision.to_owned());
        if self.releases.is_noted(&object.name_any(), revision) {
            return true;
        }
        self.keep(object, &part, data);
        false
    }

    fn keep(&self, object: &MultiClusterService, part: &Kept, data: &Value) {
        let (namespace, name) = (&self.settings.system_namespace, object.name_any());
        let secret = record::secret_name(&record::short(&name), part);
        let key = Key::new(Kind::Secret, namespace, &secret);
        let write = match self.cache.secrets.get(namespace, &secret) {
            // Whoever wrote it meanwhile is heard first.
            Some(there) => Write::Patch(json!({
                "data": data, "metadata": {"resourceVersion": there.resource_version()},
            })),
            None => {
                let uid = object.uid().unwrap_or_default();
                Write::Create(record::secret(namespace, (&name, &uid), part, data))
            }
        };
        self.writer.submit(&key, Part::Object, write);
    }

    /// The targets that have a set of the MultiClusterService, by name.
    fn members(&self, service: &str, names: &BTreeSet<TargetName>) -> Vec<Member<'_>> {
        let own = Owner::MultiClusterService(service.to_owned());
        let member = |name: &TargetName| {
            let state = self.targets.get(name).filter(|state| !state.target.deleting)?;
            let at = state.resolution.sets.iter().position(|set| set.owner == own)?;
            let services = state.states.as_ref().and_then(|states| states.get(at));
            Some(Member {
                shown: format!("{}/{}", name.namespace, name.name),
                state,
                set: &state.resolution.sets[at],
                services: services.map(Vec::as_slice).unwrap_or_default(),
            })
        };
        names.iter().filter_map(member).collect()
    }

    /// Decides; gives the clocks of those on their way as well.
    fn look(
        &self,
        object: &MultiClusterService,
        names: &BTreeSet<TargetName>,
        (settings, revision, state): (&Settings, &str, &State),
        (steady, written): (&mut HashMap<ObjectName, Steady>, &[RolloutClock]),
    ) -> (Decision, Vec<RolloutClock>) {
        let name = object.name_any();
        let members = self.members(&name, names);
        let given: Vec<_> =
            members.iter().map(|member| self.releases.given(&self.cache, &name, &member.set.set)).collect();
        let now = now_millis();
        let settling = now < self.releases.started + SETTLING;
        let mut clocks = Vec::new();
        let seen = |(member, given): (&Member<'_>, &Option<Given>)| {
            let (link, health) = self.seen(member, given.as_ref());
            let Some(given) = given else { return (link, health) };
            let set = format!("{}/{}", member.set.set.0, member.set.set.1);
            let resume = || written.iter().find(|clock| clock.set == set).map(Steady::resume);
            let entry = steady.entry(member.set.set.clone());
            let steady = entry.or_insert_with(|| resume().unwrap_or_default());
            let seen = steady.see((&given.revision, given.at), (link, health), (now, settings.failure_grace));
            if given.at > 0 && health != Health::Ready && clocks.len() < CLOCKS_MAX {
                clocks.push(steady.clock(&set));
            }
            match seen {
                // What it did meanwhile may not have been heard yet.
                (Link::Up(since), health) if settling && steady.is_resumed() => {
                    (Link::Up(since.max(now)), health)
                }
                seen => seen,
            }
        };
        let seen: Vec<_> = members.iter().zip(&given).map(seen).collect();
        let facts: Vec<_> = members
            .iter()
            .zip(&given)
            .zip(seen)
            .map(|((member, given), seen)| self.fact(member, given.as_ref(), seen))
            .collect();
        let decision = planner::decide(Input {
            settings,
            revision,
            state,
            targets: &facts,
            command: object.annotations().get(annotation::ROLLOUT).map(String::as_str),
            now,
        });
        (decision, clocks)
    }

    /// How a target's link and health are at this moment.
    fn seen(&self, member: &Member<'_>, given: Option<&Given>) -> (Link, Health) {
        let Member { state, set, services, .. } = member;
        let view = state.target.agent.and_then(|agent| self.observed.agent(&AgentId::Edge(agent)));
        let region = state.target.region.as_ref().and_then(|region| self.region_view(region));
        let link = match edge::link(view.as_deref(), region.as_deref()) {
            (LinkState::Up, since) => Link::Up(since.unwrap_or_default()),
            (LinkState::Down | LinkState::Unknown, Some(since)) => Link::Away(Some(since)),
            (LinkState::Down | LinkState::Unknown, None) => {
                let settled = now_millis() >= self.releases.started + SETTLING;
                if settled { Link::Away(None) } else { Link::Unsettled }
            }
        };
        (link, self.health(set, services, given, view.as_deref()))
    }

    fn fact<'a>(
        &self,
        member: &'a Member<'_>,
        given: Option<&'a Given>,
        (link, health): (Link, Health),
    ) -> Fact<'a> {
        let Member { shown, state, set, .. } = member;
        Fact {
            name: shown,
            labels: &state.target.labels,
            given: given.map(|given| given.revision.as_str()),
            given_at: given.map_or(0, |given| given.at),
            health,
            link,
            held: set.paused || self.is_held(state),
        }
    }

    /// Whether the edge's object says to carry out no new plans.
    fn is_held(&self, state: &TargetState) -> bool {
        let edge = state.target.agent.and_then(|agent| self.roster.edge(&agent));
        let object = edge.and_then(|edge| self.cache.edges.get(&edge.namespace, &edge.name));
        let hold = object.as_ref().and_then(|object| object.spec.hold.as_ref());
        hold.is_some_and(|hold| hold.until.as_ref().is_none_or(|until| until.0 > self.now()))
    }

    fn health(
        &self,
        set: &SetPlan,
        services: &[ServiceState],
        given: Option<&Given>,
        view: Option<&AgentView>,
    ) -> Health {
        let planned = set.release.as_ref().and_then(|release| release.revision.as_deref());
        if given.is_none_or(|given| given.in_flight || Some(given.revision.as_str()) != planned) {
            return Health::Waiting;
        }
        if services.iter().all(|service| service.state == DeploymentState::Deployed) {
            return Health::Ready;
        }
        // A dry run deploys nothing; it is through once it was looked at.
        let looked = set.carrying.sync_mode == SyncMode::DryRun && self.is_carried_out(set, view);
        let pending =
            |one: &ServiceState| matches!(one.state, DeploymentState::Deployed | DeploymentState::Pending);
        if looked && services.iter().all(pending) {
            return Health::Ready;
        }
        let unbuilt =
            set.services.iter().any(|one| one.problem.as_ref().is_some_and(|problem| problem.failed));
        let failed = unbuilt || self.has_failed(set, services, view);
        if failed { Health::Failed(now_millis()) } else { Health::Waiting }
    }

    /// Whether the agent is through with the plan that brought the revision.
    fn is_carried_out(&self, set: &SetPlan, view: Option<&AgentView>) -> bool {
        let generation = self.releases.begun.get(&set.set).and_then(|begun| begun.generation);
        generation.is_some() && view.and_then(|view| view.applied) >= generation
    }

    /// Whether something failed with this revision, and not with the one before.
    fn has_failed(&self, set: &SetPlan, services: &[ServiceState], view: Option<&AgentView>) -> bool {
        if services.iter().all(|service| service.state != DeploymentState::Failed) {
            return false;
        }
        let (Some(begun), Some(view)) = (self.releases.begun.get(&set.set), view) else { return false };
        self.is_carried_out(set, Some(view))
            || set.services.iter().filter_map(|service| view.units.get(&service.id)).any(|unit| {
                unit.state == UnitState::Failed && begun.failed.get(&unit.id) != Some(&unit.since)
            })
    }

    /// Makes what was decided durable; once it is, targets get what they are to have.
    fn carry_out(
        &mut self,
        object: &MultiClusterService,
        names: &BTreeSet<TargetName>,
        base: &State,
        decision: &Decision,
    ) {
        let name = object.name_any();
        if !self.releases.is_durable(&name, &decision.state) {
            if decision.state.handled != base.handled
                && let Some(said) =
                    decision.state.handled.as_deref().filter(|said| Command::read(said).is_none())
            {
                let note = format!(
                    "annotation {} \"{said}\" is not understood: pause, resume, abort and promote are",
                    annotation::ROLLOUT
                );
                self.events.tell(object, "RolloutCommandUnknown", "Rollout", note, true);
            }
            self.keep(object, &Kept::State, &record::state_data(&decision.state));
            self.releases.writing(&name, &decision.state);
            return;
        }
        let sets: Vec<_> = self.members(&name, names).iter().map(|member| member.set.set.clone()).collect();
        let now = now_millis();
        for gift in &decision.give {
            let Some(set) = sets.get(gift.target) else { continue };
            if self.cache.service_sets.get(&set.0, &set.1).is_some() {
                self.releases.give(set, &gift.revision, if gift.known { 0 } else { now });
            }
        }
        for set in &sets {
            let Some(given) = self.releases.under_way(&self.cache, set) else { continue };
            let released = (given.at > 0).then(|| Timestamp::from_millisecond(given.at.cast_signed()).ok());
            let annotations = json!({
                annotation::ROLLOUT_REVISION: given.revision,
                annotation::ROLLOUT_RELEASED: released.flatten().map(|at| at.to_string()),
            });
            let key = Key::new(Kind::ServiceSet, &set.0, &set.1);
            let patch = Write::Patch(json!({"metadata": {"annotations": annotations}}));
            self.writer.submit(&key, Part::Release, patch);
        }
        if decision.state.stage == Stage::Completed {
            self.prune(&name, &sets);
        }
    }

    /// Forgets old revisions that nobody has.
    fn prune(&self, service: &str, sets: &[ObjectName]) {
        let mut unused = self.releases.unused(service);
        if unused.len() <= HISTORY {
            return;
        }
        for set in sets {
            let given = self.releases.given(&self.cache, service, set);
            unused.retain(|revision| given.as_ref().is_none_or(|given| given.revision != *revision));
        }
        let namespace = &self.settings.system_namespace;
        let mut aged: BTreeMap<_, String> = BTreeMap::new();
        for revision in unused {
            let secret = record::secret_name(&record::short(service), &Kept::Revision(revision));
            let made = self.cache.secrets.get(namespace, &secret).and_then(|one| one.creation_timestamp());
            aged.insert((made.map(|made| made.0), secret.clone()), secret);
        }
        let surplus = aged.len().saturating_sub(HISTORY);
        for secret in aged.into_values().take(surplus) {
            let key = Key::new(Kind::Secret, namespace, &secret);
            self.writer.submit(&key, Part::Object, Write::Delete(None));
        }
    }

    /// What the status says; tells of every new phase and wave.
    fn told(
        &mut self,
        object: &MultiClusterService,
        spec: &RolloutSpec,
        settings: &Settings,
        decision: &Decision,
        before: &RolloutStatus,
    ) -> Told {
        let state = &decision.state;
        let settling = Timestamp::from_millisecond((self.releases.started + SETTLING).cast_signed()).ok();
        if let Some(at) = settling.filter(|at| *at > Timestamp::now()) {
            self.at(Key::new(Kind::MultiClusterService, "", &object.name_any()), at);
        }
        let next = decision.next.and_then(|at| Timestamp::from_millisecond(at.cast_signed()).ok());
        if let Some(at) = next {
            self.at(Key::new(Kind::MultiClusterService, "", &object.name_any()), at);
        }
        let number = |count: usize| i64::try_from(count).unwrap_or(i64::MAX);
        let counts = &decision.counts;
        let wave = settings.waves.get(state.wave).map(|wave| wave.name.clone()).unwrap_or_default();
        let phase = decision.phase;
        let same = before.phase == phase
            && before.wave == wave
            && before.revision == state.revision
            && before.since.is_some();
        let since = if same { before.since.clone() } else { Some(Time(self.now())) };
        let waves = settings.waves.len();
        let status = RolloutStatus {
            away: number(counts.away),
            clocks: Vec::new(),
            completed_revision: state.completed.clone(),
            failed: number(counts.failed),
            handled: state.handled.clone(),
            message: decision.message.clone(),
            next: next.and_then(|at| Timestamp::from_second(at.as_second() + 1).ok()).map(Time),
            phase,
            ready: number(counts.ready),
            reason: format!("{phase:?}"),
            revision: state.revision.clone(),
            since,
            total: number(counts.total),
            updated: number(counts.updated),
            waiting: number(counts.waiting),
            // Without waves there is nothing to name.
            wave: if spec.waves.is_empty() { String::new() } else { wave },
            wave_number: if spec.waves.is_empty() { 0 } else { number(state.wave + 1) },
            waves: if spec.waves.is_empty() { 0 } else { number(waves) },
        };
        if self.releases.is_news(&object.name_any(), before, &status) {
            let bad = matches!(phase, RolloutPhase::Aborted | RolloutPhase::RollingBack)
                || (phase == RolloutPhase::Paused && counts.failed > 0);
            let note = format!("revision {}: {}", status.revision, status.message);
            self.events.tell(object, &format!("Rollout{phase:?}"), "Rollout", note, bad);
        }
        Told { complete: phase == RolloutPhase::Completed, status }
    }
}
