//! Explaining what was decided.

use kube::ResourceExt;
use protocol::id::AgentId;
use protocol::sealed::is_sealed;

use super::engine::{Engine, TargetState};
use super::since;
use crate::cache::View;
use crate::explain::{BuiltTold, Explanation, PlanTold, Question, ServiceTold, Subject};
use crate::services::built::Built;
use crate::services::claim::Owner;
use crate::services::target::{Target, TargetKind};
use crate::services::template::Sight;

impl Engine {
    /// Answers from what was last decided.
    pub(super) fn answer(&self, question: Question) {
        let Question { subject, answer } = question;
        let explanation = match subject {
            Subject::Target(name) => self.targets.get(&name).map(|state| self.explain(state, None)),
            Subject::ServiceSet { namespace, name } => self
                .sets
                .get(&(namespace, name))
                .and_then(|(target, at)| Some(self.explain(self.targets.get(target)?, Some(*at)))),
        };
        // Whoever asked may be gone.
        let _ = answer.send(explanation);
    }

    /// A target with all its sets, or with one.
    fn explain(&self, state: &TargetState, set: Option<usize>) -> Explanation {
        let TargetState { target, resolution, cluster, held, .. } = state;
        let namespace = &self.settings.system_namespace;
        let sight =
            Sight { view: View::new(&self.cache), sources: &self.sources, system_namespace: namespace };
        let sets = resolution.sets.iter().enumerate().filter(|(at, _)| set.is_none_or(|set| set == *at));
        let services = sets.flat_map(|(_, set)| {
            set.services.iter().map(|service| ServiceTold {
                set: format!("{}/{}", set.set.0, set.set.1),
                owner: match &set.owner {
                    Owner::ClusterDeployment => described(target),
                    Owner::MultiClusterService(name) => format!("MultiClusterService {name}"),
                },
                namespace: service.name.0.clone(),
                name: service.name.1.clone(),
                source: match &set.owner {
                    Owner::ClusterDeployment => sight.told_source(&target.name.namespace, &service.template),
                    Owner::MultiClusterService(_) => {
                        sight.told_source(&target.template_namespace, &service.template)
                    }
                },
                built: service.built.as_ref().map(told),
                problem: service.problem.as_ref().map(|problem| problem.message.clone()),
            })
        });
        let own = cluster.as_ref().filter(|_| set.is_none()).map(|cluster| ServiceTold {
            set: format!("{}/{}", target.name.namespace, target.name.name),
            owner: described(target),
            namespace: target.name.namespace.clone(),
            name: target.name.name.clone(),
            source: cluster.template.as_ref().ok().and_then(|template| {
                sight.told_chart(&template.namespace().unwrap_or_default(), &template.spec.helm)
            }),
            built: cluster.planned.as_ref().map(told),
            problem: cluster.chart.as_ref().err().or(cluster.region.as_ref().err()).cloned(),
        });
        let agent = target.agent.map(AgentId::Edge);
        let plan = agent.as_ref().and_then(|agent| self.plans.get(agent)).map(|plan| PlanTold {
            generation: plan.head.generation.to_string(),
            issued_at: since(plan.issued_at),
            applied: self.observed.agent(&plan.agent).and_then(|view| Some(view.applied?.to_string())),
        });
        Explanation {
            target: described(target),
            region: target.region.clone().unwrap_or_default(),
            plan,
            held: held.clone(),
            services: own.into_iter().chain(services).collect(),
            watched: self.watched(&target.name),
        }
    }
}

fn described(target: &Target) -> String {
    let kind = match target.name.kind {
        TargetKind::ClusterDeployment => "ClusterDeployment",
        TargetKind::Edge => "Edge",
    };
    format!("{kind} {}/{}", target.name.namespace, target.name.name)
}

fn told(built: &Built) -> BuiltTold {
    let bundle = &built.bundle;
    BuiltTold {
        origin: built.origin.clone(),
        rendered_by: if bundle.by_helm.is_some() { "helm" } else { "engine" },
        because: bundle.by_helm.clone(),
        rendered_at: since(built.since),
        random: bundle.entropy,
        objects: bundle.objects.len(),
        hooks: bundle.hooks.len(),
        sealed: bundle.blobs().filter(|(_, content)| is_sealed(content)).count(),
        hash: built.unit.hash.to_string(),
    }
}
