//! Explaining what was decided.

use std::sync::Arc;

use api::k0rdent::{DeploymentState, ServiceState};
use api::skein::LinkState;
use kube::ResourceExt;
use protocol::id::AgentId;
use protocol::plan::HookEvent;
use protocol::sealed::is_sealed;

use super::engine::{Engine, TargetState};
use super::{edge, since, way};
use crate::cache::View;
use crate::explain::{
    ANY_NAMESPACE, BuiltTold, Explanation, PlanTold, Question, ServiceTold, SourceTold, Step, Subject,
};
use crate::plans::Plan;
use crate::services::built::Built;
use crate::services::claim::Owner;
use crate::services::dependency::{ServiceName, name_of};
use crate::services::resolve::{ServicePlan, SetPlan};
use crate::services::selector::selects;
use crate::services::target::{Target, TargetKind, TargetName};
use crate::services::template::Sight;

impl Engine {
    /// Answers from what was last decided.
    pub(super) fn answer(&mut self, question: Question) {
        let (subject, service, answer) = match question {
            Question::Explain { subject, service, answer } => (subject, service, answer),
            Question::Would { objects, answer } => {
                let _ = answer.send(self.would(objects));
                return;
            }
        };
        let explanation = match subject {
            Subject::Target(name) => {
                self.found(&name).map(|name| self.explain(&name, None, service.as_deref()))
            }
            Subject::ServiceSet { namespace, name } => self
                .sets
                .get(&(namespace.clone(), name.clone()))
                .cloned()
                .map(|(target, at)| self.explain(&target, Some(at), service.as_deref()))
                .ok_or_else(|| format!("there is no ServiceSet {namespace}/{name}")),
        };
        // Whoever asked may be gone.
        let _ = answer.send(explanation);
    }

    /// The target that is meant: an edge that a ClusterDeployment made stands for that one, and the namespace may be
    /// left out where there is only one object of that name.
    fn found(&self, asked: &TargetName) -> Result<TargetName, String> {
        let TargetName { kind, namespace, name } = asked;
        let of_kind = |kind: TargetKind| {
            let names = match kind {
                TargetKind::ClusterDeployment => self.cache.cluster_deployments.names(),
                TargetKind::Edge => self.cache.edges.names(),
            };
            let any = namespace == ANY_NAMESPACE;
            let found = names.into_iter().filter(|one| one.1 == *name && (any || one.0 == *namespace));
            found.collect::<Vec<_>>()
        };
        let what = match kind {
            TargetKind::ClusterDeployment => "ClusterDeployment",
            TargetKind::Edge => "Edge",
        };
        let place = if namespace == ANY_NAMESPACE { String::new() } else { format!("{namespace}/") };
        let (namespace, name) = match of_kind(*kind).as_slice() {
            [] => return Err(format!("there is no {what} {place}{name}")),
            [one] => one.clone(),
            several => {
                let namespaces: Vec<_> = several.iter().map(|(namespace, _)| namespace.as_str()).collect();
                return Err(format!(
                    "there is a {what} {name} in each of the namespaces {}: name one",
                    namespaces.join(", ")
                ));
            }
        };
        let edge = (*kind == TargetKind::Edge).then(|| self.cache.edges.get(&namespace, &name)).flatten();
        let target = match edge.as_ref().and_then(|edge| edge.spec.cluster_deployment.as_ref()) {
            Some(cluster) => {
                TargetName::new(TargetKind::ClusterDeployment, &cluster.namespace, &cluster.name)
            }
            None => TargetName::new(*kind, &namespace, &name),
        };
        let known = self.targets.contains_key(&target);
        known.then_some(target).ok_or_else(|| format!("{what} {namespace}/{name} is not decided on yet"))
    }

    /// A target with all its sets, or with one; with a service only that, and its whole way.
    fn explain(&mut self, name: &TargetName, set: Option<usize>, wanted: Option<&str>) -> Explanation {
        let states: Vec<ServiceState> = self.states(name).iter().flatten().cloned().collect();
        let Some(state) = self.targets.get(name) else { return Explanation::default() };
        let TargetState { target, resolution, cluster, held, .. } = state;
        let sets = resolution.sets.iter().enumerate().filter(|(at, _)| set.is_none_or(|set| set == *at));
        let services: Vec<_> = sets
            .flat_map(|(_, set)| set.services.iter().map(move |service| (set, service)))
            .filter(|(_, service)| wanted.is_none_or(|wanted| is_named(&service.name, wanted)))
            .map(|(set, service)| self.service_told(state, (set, service), &states))
            .collect();
        let own = cluster.as_ref().filter(|_| set.is_none() && wanted.is_none()).map(|cluster| ServiceTold {
            set: format!("{}/{}", target.name.namespace, target.name.name),
            owner: described(target),
            namespace: target.name.namespace.clone(),
            name: target.name.name.clone(),
            source: cluster.template.as_ref().ok().and_then(|template| {
                self.sight().told_chart(&template.namespace().unwrap_or_default(), &template.spec.helm)
            }),
            built: cluster.planned.as_ref().map(told),
            problem: cluster.chart.as_ref().err().or(cluster.region.as_ref().err()).cloned(),
            ..ServiceTold::default()
        });
        let plan = self.plan_of(state).map(|plan| PlanTold {
            generation: plan.head.generation.to_string(),
            issued_at: since(plan.issued_at),
            applied: self.observed.agent(&plan.agent).and_then(|view| Some(view.applied?.to_string())),
        });
        Explanation {
            target: described(target),
            region: target.region.clone().unwrap_or_default(),
            agent: target.agent,
            away: self.away(state),
            plan,
            held: held.clone(),
            services: own.into_iter().chain(services).collect(),
            absent: wanted.map(|wanted| self.absent(state, wanted)).unwrap_or_default(),
            watched: self.watched(&target.name),
        }
    }

    /// Why the target's agent cannot be asked.
    fn away(&self, state: &TargetState) -> Option<String> {
        let region = state.target.region.as_ref().and_then(|region| self.region_view(region));
        let (link, at) = edge::link(self.view_of(state).as_deref(), region.as_deref());
        let at = at.map(|at| format!(" since {}", since(at))).unwrap_or_default();
        match link {
            LinkState::Up => None,
            LinkState::Down => Some(format!("the edge is away{at}")),
            LinkState::Unknown => Some(format!("nothing is heard of the edge's region{at}")),
        }
    }

    pub(super) fn sight(&self) -> Sight<'_> {
        let namespace = &self.settings.system_namespace;
        Sight { view: View::new(&self.cache), sources: &self.sources, system_namespace: namespace }
    }

    fn plan_of(&self, state: &TargetState) -> Option<Arc<Plan>> {
        self.plans.get(&AgentId::Edge(state.target.agent?))
    }

    fn service_told(
        &self,
        state: &TargetState,
        (set, service): (&SetPlan, &ServicePlan),
        states: &[ServiceState],
    ) -> ServiceTold {
        let target = &state.target;
        let namespace = match &set.owner {
            Owner::ClusterDeployment => &target.name.namespace,
            Owner::MultiClusterService(_) => &target.template_namespace,
        };
        let source = self.sight().told_source(namespace, &service.template);
        let view = self.view_of(state);
        let report = view.as_ref().and_then(|view| view.units.get(&service.id));
        ServiceTold {
            set: format!("{}/{}", set.set.0, set.set.1),
            owner: owner_told(&set.owner, target),
            namespace: service.name.0.clone(),
            name: service.name.1.clone(),
            built: service.built.as_ref().map(told),
            problem: service.problem.as_ref().map(|problem| problem.message.clone()),
            way: self.way_of(state, (set, service), (states, source.as_ref())),
            unsettled: report.map(way::unsettled).unwrap_or_default(),
            source,
        }
    }

    fn way_of(
        &self,
        state: &TargetState,
        (set, service): (&SetPlan, &ServicePlan),
        (states, source): (&[ServiceState], Option<&SourceTold>),
    ) -> Vec<Step> {
        let target = &state.target;
        let multi = match &set.owner {
            Owner::ClusterDeployment => None,
            Owner::MultiClusterService(name) => self.cache.multi_cluster_services.get("", name),
        };
        let spec = match &multi {
            Some(multi) => multi.spec.service_spec.clone(),
            None => self.own_spec(state),
        };
        let declared = spec.iter().flat_map(|spec| &spec.services).find(|one| name_of(one) == service.name);
        let selector = multi.as_ref().and_then(|multi| multi.spec.cluster_selector.clone());
        let rivals = state.resolution.sets.iter().filter(|other| {
            other.set != set.set && other.services.iter().any(|one| one.name == service.name)
        });
        let view = self.view_of(state);
        let region = target.region.as_ref().and_then(|region| self.region_view(region));
        let plan = self.plan_of(state);
        let edge = target.agent.and_then(|id| self.roster.edge(&id));
        let edge = edge.and_then(|edge| self.cache.edges.get(&edge.namespace, &edge.name));
        let depends_on = multi.as_ref().map(|multi| multi.spec.depends_on.clone()).unwrap_or_default();
        way::way(&way::Facts {
            target: &described(target),
            set,
            service,
            declared,
            selected: multi.is_none() || selects(selector.as_ref(), &target.labels),
            rivals: rivals.map(|other| (owner_told(&other.owner, target), other.carrying.priority)).collect(),
            turn: multi.as_ref().and_then(|multi| self.turn(&target.name, set, multi)),
            blocked_by: unready(state, states, &depends_on),
            states,
            source,
            held: state.held.as_deref(),
            pause: edge.as_ref().and_then(|edge| edge.spec.hold.as_ref()),
            in_plan: plan
                .as_ref()
                .is_some_and(|plan| plan.content.body().units.iter().any(|unit| unit.id == service.id)),
            plan: plan.map(|plan| (plan.head.generation, plan.issued_at)),
            agent: target.agent.is_some(),
            link: edge::link(view.as_deref(), region.as_deref()),
            heard: view.as_ref().map_or(0, |view| view.last_report),
            at: view.as_ref().map_or((None, None), |view| {
                (view.stored.map(|head| head.generation).max(view.applied), view.applied)
            }),
            speaks: view.as_ref().and_then(|view| view.speaks),
            report: view.as_ref().and_then(|view| view.units.get(&service.id)),
        })
    }
}

/// Whether a service is meant.
pub(super) fn is_named((namespace, name): &ServiceName, wanted: &str) -> bool {
    protocol::inquiry::is_named(namespace, name, wanted)
}

fn owner_told(owner: &Owner, target: &Target) -> String {
    match owner {
        Owner::ClusterDeployment => described(target),
        Owner::MultiClusterService(name) => format!("MultiClusterService {name}"),
    }
}

/// The first of these MultiClusterServices that is not deployed on the target.
fn unready(state: &TargetState, states: &[ServiceState], depends_on: &[String]) -> Option<String> {
    state.resolution.sets.iter().find_map(|set| match &set.owner {
        Owner::MultiClusterService(name) if depends_on.contains(name) => {
            let ready = |service: &ServicePlan| {
                states.iter().any(|one| {
                    (&one.namespace, &one.name) == (&service.name.0, &service.name.1)
                        && one.state == DeploymentState::Deployed
                })
            };
            (!set.services.iter().all(ready)).then(|| name.clone())
        }
        Owner::MultiClusterService(_) | Owner::ClusterDeployment => None,
    })
}

pub(super) fn described(target: &Target) -> String {
    let kind = match target.name.kind {
        TargetKind::ClusterDeployment => "ClusterDeployment",
        TargetKind::Edge => "Edge",
    };
    format!("{kind} {}/{}", target.name.namespace, target.name.name)
}

fn told(built: &Built) -> BuiltTold {
    let bundle = built.content().unpack();
    BuiltTold {
        origin: built.origin.clone(),
        rendered_by: if bundle.by_helm.is_some() { "helm" } else { "engine" },
        because: bundle.by_helm.clone(),
        rendered_at: since(built.since),
        random: bundle.entropy,
        objects: bundle.objects.len(),
        hooks: bundle.hooks.len(),
        tests: built.unit().hooks.iter().filter(|hook| hook.events.contains(&HookEvent::Test)).count(),
        sealed: bundle.blobs().filter(|(_, content)| is_sealed(content)).count(),
        hash: built.hash.to_string(),
    }
}
